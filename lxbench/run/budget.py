"""How long a run may go on timing what is undecided. Pure but for its clock."""

from __future__ import annotations

import time
from collections.abc import Callable

# All rows of a run together.
SECONDS = 300.0


class Budget:
    """Seconds that the rows of a run may share for further timings.

    A row gets its share of what is left, so that those after it have something too; the last one may have all of it.

    Args:
        seconds: what there is.
        clock: tells the time in seconds.
    """

    def __init__(self, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self.left = seconds
        self._clock = clock
        self._row = ""
        self._began = self._until = 0.0

    def allows(self, row: str, share: float) -> bool:
        """Whether a row may be timed further; what it takes until ``close`` is counted.

        Args:
            row: its id.
            share: of what is left when it begins, that it may take.
        """
        now = self._clock()
        if self._row != row:
            self.close()
            self._row, self._began = row, now
            self._until = now + self.left * share
        return now < self._until

    def close(self) -> None:
        """The row is done."""
        if self._row:
            self.left = max(0.0, self.left - (self._clock() - self._began))
        self._row = ""
