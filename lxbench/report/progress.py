"""What a run shows while it goes on: a live bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

_LINE_EVERY_S = 20.0
_CHECKED_EVERY_S = 5.0


class LiveProgress:
    """Which row, what it is doing, which clip, time left, the last transcript.

    Args:
        out: the real terminal or log, not what pytest captures.
    """

    def __init__(self, out: IO[str]) -> None:
        self._work: dict[str, int] = {}
        self._console = Console(file=out, highlight=False, emoji=False, markup=False)
        # FORCE_COLOR makes a terminal of any log for rich; a bar is for what moves a cursor.
        self._live = out.isatty() and self._console.is_terminal and not self._console.is_dumb_terminal
        # Twice a second: redrawing competes with what is being timed.
        self._bar = Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=10, table_column=Column(min_width=10)),
            TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True, min_width=5)),
            # What was said gets the room that is left, and is cut there.
            TextColumn(
                "left  {task.fields[said]}",
                markup=False,
                table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
            ),
            console=self._console,
            expand=True,
            refresh_per_second=2,
            transient=True,
        )
        self._task: TaskID | None = None
        self._done = self._total = 0.0
        self._last_line = -_LINE_EVERY_S
        self._first: tuple[float, float] | None = None  # when a clip was first done, and how much was done then
        self._checking = 0.0

    def plan(self, work: Iterable[tuple[str, int]]) -> None:
        """Take in how many clips will be transcribed for each row, by its id, the reference's beside it counted too."""
        self._work = dict(work)
        self._total = sum(self._work.values())

    def more(self, row: str, share: float) -> None:
        """So much of a row's clips will be heard once more, for which no time was planned."""
        self._total = max(self._total, self._done + share * self._work.get(row, 0))

    def checked(self, number: int, of: int) -> None:
        """A clip of the corpus was read and checked; told where that takes a while."""
        now = time.monotonic()
        if number == 1:
            self._checking = now
        elif now - self._checking > _CHECKED_EVERY_S:
            self._checking = now
            self._console.print(f"checking the corpus: clip {number} of {of}", soft_wrap=True)

    def stage(self, row: str, text: str) -> None:
        """A row is being built."""
        self._show(f"{row}  {text}", "")
        if not self._live:
            self._console.print(f"{row}: {text}", soft_wrap=True)

    def clip(self, row: str, number: int, of: int, text: str) -> None:
        """A clip was transcribed."""
        self._done += self._work.get(row, of) / of
        self._first = self._first or (time.monotonic(), self._done)
        self._show(f"{row}  clip {number} of {of}", text)
        now = time.monotonic()
        if not self._live and (number == of or now - self._last_line > _LINE_EVERY_S):
            self._last_line = now
            self._console.print(f"{row}: clip {number} of {of}, {self._left()} left: {_short(text)}", soft_wrap=True)

    def line(self, text: Text) -> None:
        """Print a line for good, above the bar."""
        self._console.print(text, soft_wrap=True)

    def stop(self) -> None:
        """Take the bar away."""
        if self._task is not None:
            self._bar.stop()
            self._bar.remove_task(self._task)  # It may be shown again, behind a debugger.
            self._task = None

    def _show(self, description: str, said: str) -> None:
        if not self._live:
            return
        if self._task is None:
            self._console.print()
            self._task = self._bar.add_task("", total=self._total, said="")
            self._bar.start()
        self._bar.update(self._task, total=self._total, completed=self._done, description=description, said=said)

    def _left(self) -> str:
        began, before = self._first or (0.0, self._done)
        if not (done := self._done - before):
            return "-:--"
        seconds = max(0, int((time.monotonic() - began) / done * (self._total - self._done)))
        return f"{seconds // 60}:{seconds % 60:02d}"


def _short(text: str, width: int = 40) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
