"""What a machine does to unchanged ratios from one time to another: tables, and the two settings that follow from it.

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
from lxbench.pairing import PAIRED_CLIPS
from lxbench.results import STARTED
from lxbench.stats import Timing, drift, mean_ratio, timing
from lxbench.verdict import Tolerance
from lxbench.verdict_speed import BETWEEN_OCCASIONS, BETWEEN_PROCESSES, DRIFT_SHARE, speed_change, word_of
from tools.gate.speed import ROWS

_FAST = 4.0  # Times as fast as fp32: rows whose clips take less than a sixth of a second.
_LAGS_MIN = (0, 2, 5, 10, 20, 40, 80)


@dataclass(frozen=True)
class Move:
    """One unchanged row in two runs.

    Attributes:
        row: its name.
        ratio: logarithm of the change of its ratio.
        reference: of fp32's seconds on the same clips.
        clips: variance of ``ratio`` that single clips explain.
        processes: sum of the reciprocals of the numbers of processes.
        weight: of this pair of runs; those of a row share their runs.
    """

    row: str
    ratio: float
    reference: float
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
    return Move(name, mean, math.log(drift(other.reference, one.reference)), clips, processes, weight)


def fit(found: Sequence[Move]) -> tuple[float, float, float]:
    """The standard deviation between occasions and the share of fp32's drift under which the moves are likeliest.

    Returns:
        Both, and by how much the logarithm of the likelihood is less with what lxbench believes.
    """

    def loss(occasions: float, share: float) -> float:
        lost = 0.0
        for move in found:
            variance = move.clips + BETWEEN_PROCESSES**2 * move.processes
            variance += 2 * occasions**2 + (share * move.reference) ** 2
            lost += move.weight * (math.log(variance) + move.ratio**2 / variance) / 2
        return lost

    best = minimize(lambda x: loss(*np.exp(x)), np.log((0.008, 0.2)), method="Nelder-Mead")
    occasions, share = map(float, np.exp(best.x))
    return occasions, share, loss(BETWEEN_OCCASIONS, DRIFT_SHARE) - float(best.fun)


def ladders(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what whole runs show: the fit, and what each would be called with the other as its record."""
    found = moves(runs)
    fast = {
        name
        for run in runs
        for name, row in run["rows"].items()
        if statistics.fmean(_timing(row).ratios.values()) > _FAST
    }
    yield "| rows | pairs of runs | a ratio moves by | fp32 by | between occasions | share of the drift | loss |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    groups = {
        "all": found,
        f"at least {_FAST:g} times fp32": [move for move in found if move.row in fast],
        "others": [move for move in found if move.row not in fast],
    }
    for name, group in groups.items():
        moved, reference = (_size(getattr(move, what) for move in group) for what in ("ratio", "reference"))
        occasions, share, lost = fit(group)
        yield (
            f"| {name} | {len(group)} | {moved:.1%} | {reference:.1%} | {occasions:.2%} | {share:.2f} | {lost:.1f} |"
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
