"""Time per audio, one round per clip, and the speed against fp32 measured in the same minutes; seconds across runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from lxbench import gate
from lxbench.row import Row
from lxbench.run import Run
from lxbench.verdict import Verdict


@pytest.mark.filterwarnings("ignore:Benchmark fixture was not used")
def test_latency(
    row: Row,
    run: Run,
    benchmark: BenchmarkFixture,
    describe: Callable[[Row], dict[str, Any]],
    expect: Callable[[Row, str, Verdict], None],
) -> None:
    if benchmark.disabled:
        pytest.skip("timing is off: --benchmark-disable")
    clips = gate.clips_to_time(run, row.variant)
    run.time(row, clips, benchmark.pedantic, lambda timed: gate.wants_more(run, row, timed))
    said = gate.decide_speed(run, row)
    if not row.measured_as:
        benchmark.extra_info.update(describe(row))
    expect(row, "speed", said)


def test_seconds(row: Row, run: Run, expect: Callable[[Row, str, Verdict], None]) -> None:
    said = gate.judge_seconds(run, row)
    if said is None:
        pytest.skip("no saved run of this very machine to compare with, or it is not calibrated")
    expect(row, "seconds", said)
