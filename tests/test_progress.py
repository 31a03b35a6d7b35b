"""How a run gets on, for a person at a terminal and for a log."""

from __future__ import annotations

import io
import time

import pytest
from rich.text import Text

from lxbench.report.progress import LiveProgress


def test_what_is_timed_again_takes_time_too(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    out = io.StringIO()
    progress = LiveProgress(out)
    progress.plan([("bf16-cpu", 4)])
    for number in range(1, 5):
        now[0] += 10.0
        progress.clip("bf16-cpu", number, 4, "раз")
    assert out.getvalue().splitlines()[-1].startswith("bf16-cpu: clip 4 of 4, 0:00 left")
    progress.more("bf16-cpu", 0.5)
    now[0] += 40.0
    progress.clip("bf16-cpu", 1, 4, "раз")
    # 4 in the 70 s since the first, and one more to come.
    assert out.getvalue().splitlines()[-1].startswith("bf16-cpu: clip 1 of 4, 0:17 left")


def test_progress_without_a_terminal_is_plain_lines() -> None:
    out = io.StringIO()
    progress = LiveProgress(out)
    progress.plan([("fp32-cpu", 2)])
    progress.stage("fp32-cpu", "loading")
    progress.clip("fp32-cpu", 1, 2, "раз [b]два[/b]")
    progress.clip("fp32-cpu", 2, 2, "три")
    progress.line(Text("done"))
    progress.stop()
    lines = out.getvalue().splitlines()
    assert lines[0] == "fp32-cpu: loading"
    assert lines[1].startswith("fp32-cpu: clip 1 of 2, -:-- left"), "by one clip nobody knows"
    assert lines[-2:] == ["fp32-cpu: clip 2 of 2, 0:00 left: три", "done"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("out", "environ", "live"),
    [
        (Terminal(), {"TERM": "xterm"}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (Terminal(), {"TERM": "xterm", "TTY_COMPATIBLE": "0"}, False),
        (io.StringIO(), {"TERM": "xterm", "FORCE_COLOR": "1"}, False),
        (io.StringIO(), {"TERM": "xterm", "TTY_COMPATIBLE": "1"}, False),
    ],
)
def test_the_bar_is_for_a_terminal_that_can_draw_it(
    out: io.StringIO, environ: dict[str, str], live: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    progress = LiveProgress(out)
    progress.plan([("fp32-cpu", 1)])
    progress.stage("fp32-cpu", "loading")
    progress.stop()
    progress.stop()  # By a debugger, and when all is over.
    assert progress._bar.tasks == []
    assert ("\x1b[" in out.getvalue()) is live
    assert (out.getvalue() == "fp32-cpu: loading\n") is not live
