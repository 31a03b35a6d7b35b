"""With ``--lx-batch``: clips per second where several are transcribed at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lxbench.run import Run, gate
from lxbench.run.row import Row
from lxbench.verdict import Verdict


def test_throughput(row: Row, run: Run, expect: Callable[[Row, str, Verdict], None]) -> None:
    if not run.settings.batch:
        pytest.skip("batches are off: --lx-batch N")
    run.transcribe_in_batches(row)
    expect(row, "throughput", gate.judge_throughput(row))
