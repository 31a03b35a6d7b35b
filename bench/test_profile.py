"""With ``--lx-profile``: the top operators of encoder and decoder, and a trace of each."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lxbench.run import Run, gate
from lxbench.run.row import Row
from lxbench.verdict import Verdict


def test_profile(row: Row, run: Run, expect: Callable[[Row, str, Verdict], None]) -> None:
    if not run.settings.profile:
        pytest.skip("profiling is off: --lx-profile")
    run.profile(row)
    expect(row, "profile", gate.judge_profile(row))
