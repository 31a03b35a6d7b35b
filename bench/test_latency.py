"""Time per audio, one round per clip, and the speed against fp32 measured in the same minutes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from lxbench import gate
from lxbench.row import Row
from lxbench.run import Run
from lxbench.verdict import Verdict


def test_latency(
    row: Row,
    run: Run,
    benchmark: BenchmarkFixture,
    describe: Callable[[Row], dict[str, Any]],
    expect: Callable[[Row, str, Verdict], None],
) -> None:
    if benchmark.disabled:
        pytest.skip("timing is off: --benchmark-disable")
    run.time(row, benchmark.pedantic)
    benchmark.extra_info.update(describe(row))
    expect(row, "speed", gate.judge_speed(run, row))
