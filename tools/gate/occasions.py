"""What a machine does to unchanged ratios from one time to another: tables, and the settings that follow from it.

    python -m tools.gate.occasions tools/gate/recordings/xeon-ladder.json tools/gate/recordings/xeon.json

Takes what ``record.py`` left. A file of whole ladders, hours apart, shows how far ratios move between occasions and how
much of fp32's own drift they take with them; one row recorded again and again shows how long an occasion lasts.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

from lxbench.baselines import Speed
from lxbench.run.pairing import PAIRED_CLIPS
from lxbench.run.results import STARTED
from lxbench.stats import Timing, drift, mean_ratio, timing
from lxbench.verdict import Tolerance
from lxbench.verdict_speed import (
    BETWEEN_OCCASIONS,
    BETWEEN_PROCESSES,
    DRIFT_SHARE,
    DRIFT_SHARE_OF_FASTER,
    speed_change,
    word_of,
)
from tools.gate.speed import ROWS

_GROUPS = (  # Times as fast as fp32.
    ("less than 1.25 times fp32", 0.0, 1.25),
    ("1.25 to 4 times", 1.25, 4.0),
    ("at least 4 times", 4.0, math.inf),
)
# What lxbench believes in, in the order of ``fit``.
SETTINGS = (BETWEEN_OCCASIONS, DRIFT_SHARE, DRIFT_SHARE_OF_FASTER)
_PATIENT = {"maxiter": 2000}
_LAGS_MIN = (0, 2, 5, 10, 20, 40, 80)


@dataclass(frozen=True)
class Move:
    """One unchanged row in two runs.

    Attributes:
        row: its name.
        ratio: logarithm of the change of its ratio.
        reference: of fp32's seconds on the same clips.
        faster: logarithm of the ratio itself; 0 where the row is no faster than fp32.
        clips: variance of ``ratio`` that single clips explain.
        processes: sum of the reciprocals of the numbers of processes.
        weight: of this pair of runs; those of a row share their runs.
    """

    row: str
    ratio: float
    reference: float
    faster: float
    clips: float
    processes: float
    weight: float


def moves(runs: Sequence[Mapping[str, Any]]) -> list[Move]:
    """Every row in every two runs that have it."""
    found = []
    for name in sorted({name for run in runs for name in run["rows"]}):
        timed = [_timing(run["rows"][name]) for run in runs if name in run["rows"]]
        found += [_move(name, one, other, 2 / len(timed)) for one, other in itertools.combinations(timed, 2)]
    return found


def _timing(row: Mapping[str, Any]) -> Timing:
    return timing(row["pairs"], row["processes"])


def _move(name: str, one: Timing, other: Timing, weight: float) -> Move:
    factors = [math.log(other.ratios[id] / one.ratios[id]) for id in one.ratios if id in other.ratios]
    share = [len(factors) / len(side.ratios) for side in (one, other)]
    processes = sum(1 / max(1.0, side.processes * part) for side, part in zip((one, other), share, strict=True))
    mean, clips = statistics.fmean(factors), statistics.variance(factors) / len(factors)
    faster = statistics.fmean(math.log(ratio) for side in (one, other) for ratio in side.ratios.values())
    moved = math.log(drift(other.reference, one.reference))
    return Move(name, mean, moved, max(0.0, faster), clips, processes, weight)


def fit(found: Sequence[Move], *start: float) -> tuple[tuple[float, ...], float]:
    """The settings under which the moves are likeliest, of those of ``SETTINGS`` that are asked for.

    Args:
        found: see ``moves``.
        start: where to begin: the standard deviation between occasions, the share of fp32's drift, and what a row that
            is faster takes besides; what is left out is 0.

    Returns:
        As many, and the logarithm of the likelihood, but for what does not depend on them.
    """
    best = minimize(lambda x: -likelihood(found, *np.exp(x)), np.log(start), method="Nelder-Mead", options=_PATIENT)
    return tuple(map(float, np.exp(best.x))), -float(best.fun)


def likelihood(found: Sequence[Move], occasions: float, share: float, of_faster: float = 0.0) -> float:
    """Logarithm of the likelihood of the moves under settings; see ``fit``."""
    lost = 0.0
    for move in found:
        drifted = (share + of_faster * move.faster * abs(move.reference)) * move.reference
        variance = move.clips + BETWEEN_PROCESSES**2 * move.processes + 2 * occasions**2 + drifted**2
        lost += move.weight * (math.log(variance) + move.ratio**2 / variance) / 2
    return -lost


def ladders(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what whole runs show: the fits, and what each would be called with the other as its record."""
    found = moves(runs)
    yield "| rows | pairs of runs | a ratio moves by | fp32 by | between occasions | share of the drift |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for name, least, most in (("all", 0.0, math.inf), *_GROUPS):
        if group := [move for move in found if least <= math.exp(move.faster) < most]:
            moved, reference = (_size(getattr(move, what) for move in group) for what in ("ratio", "reference"))
            (occasions, share), _ = fit(group, *SETTINGS[:2])
            yield f"| {name} | {len(group)} | {moved:.1%} | {reference:.1%} | {occasions:.2%} | {share:.2f} |"
    _, one_share = fit(found, *SETTINGS[:2])
    (occasions, share, more), likeliest = fit(found, *SETTINGS)
    yield ""
    yield f"Likeliest: {occasions:.2%} between occasions, a share of {share:.2f} + {more:.1f} ln(ratio) |ln(drift)|."
    yield (
        f"The logarithm of the likelihood is less by {likeliest - one_share:.1f} with one share for all rows, and by "
        f"{likeliest - likelihood(found, *SETTINGS):.1f} with what lxbench believes in."
    )
    yield from ("", *_alarms(runs))


def _size(values: Iterable[float]) -> float:
    return math.sqrt(statistics.fmean(value * value for value in values))


def _alarms(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    words: list[str] = []
    for then, now in itertools.permutations(runs, 2):
        for name in then["rows"].keys() & now["rows"].keys():
            timed = _timing(then["rows"][name])
            stored = Speed(mean_ratio(list(timed.ratios.values())), 0.0, 0.0, {}, timed=timed)
            changed = speed_change(_timing(now["rows"][name]), stored, ROWS)
            assert changed is not None
            words.append(str(word_of(changed, Tolerance().speed)))
    told = ", ".join(f"{words.count(word)} {word}" for word in sorted(set(words), key=words.count, reverse=True))
    yield f"Each run with each other as its record, at a first look: {told} of {len(words)}."


def lasting(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield by how much the ratios of two blocks of clips differ, by the minutes between them."""
    yield "| row | " + " | ".join(f"{low} to {high} min" for low, high in itertools.pairwise(_LAGS_MIN)) + " |"
    yield "| --- |" + " ---: |" * (len(_LAGS_MIN) - 1)
    for name in runs[0]["rows"]:
        blocks, noise = _blocks(runs, name)
        cells = []
        for low, high in itertools.pairwise(_LAGS_MIN):
            squares = [
                (one[1] - other[1]) ** 2 / 2
                for one, other in itertools.combinations(blocks, 2)
                if low <= abs(one[0] - other[0]) < high
            ]
            variance = statistics.fmean(squares) - noise if squares else math.nan
            cells.append("" if math.isnan(variance) else f"{math.sqrt(max(0.0, variance)):.2%} ({len(squares)})")
        yield f"| {name} | {' | '.join(cells)} |"


def _blocks(runs: Sequence[Mapping[str, Any]], name: str) -> tuple[list[tuple[float, float]], float]:
    """Minutes and mean logarithm of every block, the clips' own taken out; and the variance that clips explain."""
    began = [datetime.strptime(run["started"][:19], STARTED).timestamp() / 60 for run in runs]
    logs = [{id: math.log(ratio) for id, ratio in _timing(run["rows"][name]).ratios.items()} for run in runs]
    own = {id: statistics.fmean(each[id] for each in logs) for id in logs[0]}
    blocks, noise = [], []
    for run, at, each in zip(runs, began, logs, strict=True):
        pairs = run["rows"][name]["pairs"]
        for first in range(0, len(each), PAIRED_CLIPS):
            ids = list(each)[first : first + PAIRED_CLIPS]
            left = [each[id] - own[id] for id in ids]
            blocks.append((at, statistics.fmean(left)))
            noise.append(statistics.variance(left) / len(left))
            at += sum(sum(pair) for id in ids for pair in pairs[id]) / 60
    return blocks, statistics.fmean(noise) * len(runs) / (len(runs) - 1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables of each file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    for path in parser.parse_args(arguments).files:
        runs = json.loads(path.read_text("utf-8"))["runs"]
        print(f"\n{path.name}, {len(runs)} runs\n")
        for line in (ladders if len(runs[0]["rows"]) > 2 else lasting)(runs):
            print(line, flush=True)


if __name__ == "__main__":
    main()
