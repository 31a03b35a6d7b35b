"""WER and CER stay within tolerance of the stored baselines, and every baseline belongs to a variant."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lxbench import gate
from lxbench.row import Row
from lxbench.run import Run
from lxbench.verdict import Verdict


def test_accuracy(row: Row, run: Run, expect: Callable[[Row, str, Verdict], None]) -> None:
    run.transcribe_rest(row)
    expect(row, "accuracy", gate.judge_accuracy(run, row))


def test_no_orphans(run: Run) -> None:
    if orphans := gate.find_orphans(run):
        pytest.fail(f"{len(orphans)} baselines are orphans", pytrace=False)
