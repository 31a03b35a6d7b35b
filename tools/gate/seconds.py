"""How often the time per audio of unchanged code is red, on recorded timings: as a table.

    python -m tools.gate.seconds tools/gate/recordings/epyc-confirm.json tools/gate/recordings/epyc.json

Takes what ``record.py`` left. How far equal runs are apart is taken from the first file, as ``nox -s calibrate`` would
have on that day; every run of the second is held against every other one of either file. Each is judged as lxbench does
and as it would be without a look at fp32 beside the row. Nothing is simulated but the slowdown.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from lxbench.run.pairing import PAIRED_CLIPS
from lxbench.verdict import Tolerance, Word
from lxbench.verdict_speed import judge_seconds
from tools.gate.speed import ROWS, Recording, load

SLOWDOWNS = (0.0, 0.10, 0.20)


def red(calibrated: Sequence[Recording], today: Sequence[Recording], slower: float, beside: bool) -> tuple[int, int]:
    """How many of today's runs are REGRESSED against an earlier one, and of how many comparisons.

    Args:
        calibrated: the runs that the spread of equal ones is of.
        today: those that are judged, against one another and against the calibrated ones.
        slower: what today's row takes longer by, as a share.
        beside: whether fp32 beside the row is looked at.
    """
    apart = statistics.stdev(math.log(statistics.fmean(_seconds(each, 1).values())) for each in calibrated)
    said = []
    for then, now in itertools.product([*calibrated, *today], today):
        if then.pairs == now.pairs:
            continue
        # A row's seconds are judged when fp32 was heard beside its first block.
        fp32 = (_seconds(now, 0, PAIRED_CLIPS), _seconds(then if beside else now, 0))
        seconds = {id: value * (1 + slower) for id, value in _seconds(now, 1).items()}
        found = judge_seconds(seconds, _seconds(then, 1), fp32, apart, Tolerance().speed, ROWS, "")
        assert found is not None
        said.append(found.word)
    return said.count(Word.REGRESSED), len(said)


def _seconds(recording: Recording, side: int, first: int | None = None) -> Mapping[str, float]:
    """Seconds of fp32 (0) or of the row (1), by clip id, as they were taken first; of the first so many clips."""
    return {id: timed[0][side] for id, timed in islice(recording.pairs.items(), first)}


def table(calibrated: Path, today: Path) -> Iterator[str]:
    """Yield the lines: for each row and slowdown how many are red, without and with a look at fp32."""
    then, now = load(calibrated), load(today)
    yield "| row | slower by | red, were fp32 not looked at | red |"
    yield "| --- | ---: | ---: | ---: |"
    for name, slower in itertools.product([name for name in now if name in then], SLOWDOWNS):
        counts = (red(then[name], now[name], slower, beside) for beside in (False, True))
        yield f"| {name} | {slower:.0%} | {' | '.join(f'{hits} of {of}' for hits, of in counts)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("calibrated", type=Path, help="recordings of the day that the spread is of")
    parser.add_argument("today", type=Path, help="recordings that are judged")
    chosen = parser.parse_args()
    for line in table(chosen.calibrated, chosen.today):
        print(line)


if __name__ == "__main__":
    main()
