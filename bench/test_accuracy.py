"""WER and CER stay within tolerance of the baselines, what is unusable is caught, every baseline has its variant."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lxbench.run import Run, gate, looks
from lxbench.run.row import Row
from lxbench.verdict import Verdict


def test_accuracy(row: Row, run: Run, expect: Callable[[Row, str, Verdict], None]) -> None:
    looks.hear(run, row)
    if not row.scored:
        pytest.skip("the model's weights are random: what it says is not scored")
    expect(row, "accuracy", gate.judge_accuracy(run, row))


def test_caught(unusable: str, run: Run, expect: Callable[[Row, str, Verdict], None]) -> None:
    row = next((row for row in run.rows if row.id == unusable), None)
    said = gate.judge_caught(run, row) if row is not None else None
    if row is None or said is None:
        pytest.skip("nothing to compare: the row or fp32 was not heard on its clips")
    expect(row, "usable", said)


def test_no_orphans(run: Run) -> None:
    if orphans := gate.find_orphans(run):
        pytest.fail(f"{len(orphans)} baselines are orphans", pytrace=False)
