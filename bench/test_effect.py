"""The steps of a variant really changed the model, and it really runs the kernels that its row promises."""

from __future__ import annotations

from collections.abc import Callable

from lxbench.run import Run, gate
from lxbench.run.row import Row
from lxbench.verdict import Verdict


def test_effect(row: Row, run: Run, expect: Callable[[Row, str, Verdict], None]) -> None:
    run.look_at_kernels(row)
    expect(row, "effect", gate.judge_effect(row))
