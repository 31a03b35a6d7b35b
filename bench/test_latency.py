"""Time per audio, one round per clip, and the speed against fp32 measured in the same minutes; seconds across runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from lxbench.run import Run, gate, looks
from lxbench.run.pairing import clips_heard_s
from lxbench.run.row import Row
from lxbench.verdict import Verdict


@pytest.mark.benchmark(timer=clips_heard_s)
@pytest.mark.filterwarnings("ignore:Benchmark fixture was not used")
def test_latency(row: Row, run: Run, benchmark: BenchmarkFixture, expect: Callable[[Row, str, Verdict], None]) -> None:
    if benchmark.disabled:
        pytest.skip("timing is off: --benchmark-disable")
    clips = looks.clips_to_time(run, row.variant)
    run.time(row, clips, looks.clips_to_pair(run, row), benchmark.pedantic)
    expect(row, "speed", looks.judge_first(run, row))


def test_seconds(row: Row, run: Run, expect: Callable[[Row, str, Verdict], None]) -> None:
    said = gate.judge_seconds(run, row)
    if said is None:
        pytest.skip("no saved run of this very machine to compare with, or it is not calibrated")
    expect(row, "seconds", said)


def test_speed(measured: Row, run: Run, expect: Callable[[Row, str, Verdict], None]) -> None:
    if "speed" not in measured.verdicts:
        pytest.skip("it was not timed")
    told = dict(measured.verdicts)
    for what, said in looks.judge_again(run, measured).items():
        if said != told.get(what):
            expect(measured, what, said)
