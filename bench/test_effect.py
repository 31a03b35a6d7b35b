"""The steps of a variant really changed the model, and it really runs the kernels that its row promises."""

from __future__ import annotations

from collections.abc import Callable

from lxbench import gate
from lxbench.row import Row
from lxbench.verdict import Verdict


def test_effect(row: Row, expect: Callable[[Row, str, Verdict], None]) -> None:
    expect(row, "effect", gate.judge_effect(row))
