"""How far the figures of equal runs are apart: ``nox -s calibrate``, an A/A test.

Every variant is held against its own baseline N times, each time in fresh processes. What the runs differ by is
stored beside the speeds of the baselines, where verdicts look for it; tolerances are policy, and only proposed.
"""

from __future__ import annotations

import argparse
import math
import os
import shlex
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from lxbench import baselines, files, settings
from lxbench.baselines import Spread
from lxbench.commands import to_record, typed
from lxbench.errors import LxbenchError, UsageError
from lxbench.report import terminal
from lxbench.run import results
from lxbench.run.pairing import PAIRED_CLIPS
from lxbench.runs import heed_sigterm, refuse, run_once, time_left, write_last
from lxbench.stats import process_spread, timing_of
from lxbench.verdict import Word
from lxbench.verdict_speed import UNLIKELY

MIN_RUNS = 3
_COLUMNS = (
    "variant",
    "runs",
    "ratio +-",
    "of it process",
    "s/audio +-",
    "red",
    "texts moved",
    "speed tolerance",
    "now",
)
_STEP = 0.01  # Tolerances are proposed in whole per cent.


def measure(rows: Sequence[Mapping[str, Any]], today: str) -> tuple[Spread, float]:
    """How far equal runs of one variant are apart.

    Args:
        rows: the variant's row of every run, as in results.json.
        today: the date to record, ISO 8601.

    Returns:
        What is stored, and the standard deviation of the logarithm of the whole ratio from run to run.
    """
    heard = _on_shared_clips(rows)
    seconds = statistics.stdev(math.log(statistics.fmean(clip["seconds"] for clip in clips)) for clips in heard)
    if rows[0]["reference"]:
        return Spread(0.0, round(seconds, 5), len(rows), today), 0.0
    ratios = [{id: math.log(value) for id, value in timing_of(row).ratios.items()} for row in rows]
    shared = [id for id in ratios[0] if all(id in run for run in ratios)]
    apart = statistics.stdev(statistics.fmean(run[id] for id in shared) for run in ratios)
    process = process_spread([_of_first_process(row) for row in rows])
    return Spread(round(process, 5), round(seconds, 5), len(rows), today), apart


def _of_first_process(row: Mapping[str, Any]) -> dict[str, float]:
    """Logarithms of the ratios that a row's first process was timed at, by clip id.

    A run that was not sure took more processes, and how many is another thing in every run.
    """
    timed = [clip for clip in row["clips"] if clip["pairs"]][:PAIRED_CLIPS]
    return {clip["id"]: math.log(clip["pairs"][0][0] / clip["pairs"][0][1]) for clip in timed}


def _on_shared_clips(rows: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """The clips of each run that all of them heard: a slow row hears a part alone, unless it seems to have changed."""
    shared = set.intersection(*({clip["id"] for clip in row["clips"]} for row in rows))
    return [[clip for clip in row["clips"] if clip["id"] in shared] for row in rows]


def proposed_tolerance(apart: float) -> float:
    """The smallest tolerance, in whole per cent, with which an unchanged variant PASSes 19 times of 20.

    What PASSes lies above the limit by ``verdict_speed.UNLIKELY`` of an interval's half, which is 1.645 standard
    deviations of the change; and 1.645 of them too low lies one change of 20. Both runs have the noise.
    """
    return max(_STEP, _STEP * math.ceil(math.sqrt(2) * apart * 1.645 * (1 + UNLIKELY) / _STEP - 1e-9))


def find(runs: Sequence[Mapping[str, Any]], today: str) -> list[dict[str, Any]]:
    """What runs show of every variant that was timed in enough of them."""
    return [_found(name, rows, *measure(rows, today)) for name, rows in _timed(runs).items()]


def store(runs: Sequence[Mapping[str, Any]], today: str) -> tuple[list[str], list[str]]:
    """Write the spread of every variant beside the speed that its baseline has for this kind of machine.

    Returns:
        A line for each file that was written, and one for each that could not be.
    """
    written, unwritten = [], []
    for rows in _timed(runs).values():
        path = Path(rows[0]["baseline"]["path"]) if rows[0]["baseline"] else None
        kept = baselines.read(path) if path is not None else None
        speed = kept.speed_on(runs[0]["machine"]) if kept is not None else None
        if path is None or kept is None or speed is None or _is_stale(rows[0]):
            continue
        spread, _ = measure(rows, today)
        speeds = tuple(replace(each, spread=spread) if each is speed else each for each in kept.speeds)
        try:
            baselines.write(path, replace(kept, speeds=speeds))
        except OSError as error:
            unwritten.append(f"spread not stored: {path}: {error.strerror}")
        else:
            written.append(f"spread stored: {path}")
    return written, unwritten


def _is_stale(row: Mapping[str, Any]) -> bool:
    """Whether its baseline is of another model, or of other clips: the spread of this one is none of it."""
    return any(said["word"] == Word.STALE for said in row["verdicts"].values())


def _timed(runs: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The rows that were timed in enough runs, by variant."""
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        for row in run["rows"]:
            if row["seconds"] and (row["reference"] or row["ratio"]):
                rows.setdefault(row["variant"], []).append(row)
    return {name: found for name, found in rows.items() if len(found) >= MIN_RUNS}


def _found(name: str, rows: Sequence[Mapping[str, Any]], spread: Spread, apart: float) -> dict[str, Any]:
    texts = [[clip["text"] for clip in clips] for clips in _on_shared_clips(rows)]
    return {
        "variant": name,
        "runs": len(rows),
        "ratio": apart,
        "process": spread.ratio,
        "seconds": spread.seconds,
        "red": sum(Word(row["verdict"]).red for row in rows),
        "texts_moved": sum(other != texts[0] for other in texts[1:]),
        "proposed": proposed_tolerance(apart),
        "tolerance": rows[0]["tolerance"]["speed"],
    }


def report(found: Sequence[Mapping[str, Any]], written: Sequence[str]) -> list[Any]:
    """What was found, and what a person may do with it."""
    grid = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index, column in enumerate(_COLUMNS):
        grid.add_column(column, justify="right" if index else "left")
    for one in found:
        shares = (f"{one[name]:.2%}" for name in ("ratio", "process", "seconds"))
        counts = (str(one["red"]), str(one["texts_moved"]))
        grid.add_row(
            *map(Text, (one["variant"], str(one["runs"]), *shares, *counts)),
            Text(f"{one['proposed']:.1%}"),
            Text("any" if one["tolerance"] is None else f"{one['tolerance']:.1%}"),
        )
    limits = {one["variant"]: math.inf if one["tolerance"] is None else one["tolerance"] for one in found}
    loud = [one["variant"] for one in found if one["proposed"] > limits[one["variant"]]]
    parts: list[Any] = ["", grid, ""]
    if loud:
        parts.append(
            Text(
                f"on this machine the tolerance is below the noise: INCONCLUSIVE is to be expected of {', '.join(loud)}"
            )
        )
    parts.append(
        Text("tolerances are policy: the default is in lxbench/verdict.py, a row may have its own Tolerance(speed=...)")
    )
    return [*parts, *map(Text, written), *([Text("baselines changed: review them", "bold red")] if written else [])]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, measure, store, propose; return the exit code: 1 where baselines were written, 2 interrupted, 4 usage."""
    parser = argparse.ArgumentParser(
        typed("nox -s calibrate --"), description=__doc__, epilog="other options are pytest's", allow_abbrev=False
    )
    parser.add_argument("--runs", type=int, default=10, help="how many runs, at least 3 (default: 10)")
    parser.add_argument("--lx-results", type=files.at_home, default="results", help="where the runs are left")
    try:
        chosen, others = parser.parse_known_args(arguments)
    except SystemExit as ended:
        return 4 if ended.code else 0
    try:
        if chosen.runs < MIN_RUNS:
            raise UsageError(
                f"--runs {chosen.runs} shows no spread",
                expected=f"at least {MIN_RUNS}; 10 know it to within a quarter",
                command="nox -s calibrate -- --runs 10",
            )
        refuse(others, "--lx-update", "nox -s calibrate -- --runs 10")
        settings.parse_update("changed", os.environ, timing=True)  # The same that may write a baseline may write this.
        return _calibrate(chosen.runs, Path(chosen.lx_results), others)
    except LxbenchError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 4


def _calibrate(count: int, folder: Path, arguments: Sequence[str]) -> int:
    place = settings.new_run_folder(folder, f"{datetime.now():{results.STARTED}}-calibration")
    heed_sigterm()
    began, runs = time.monotonic(), []
    for number in range(1, count + 1):
        print(f"calibration: run {number} of {count}{time_left(began, number - 1, count)}", flush=True)
        try:
            runs.append(run_once(place, arguments))
        except KeyboardInterrupt:
            print(f"interrupted, nothing is stored: {len(runs)} whole runs are in {place}")
            return 2
        if number == 1:
            _check_recorded(runs[0], arguments)
    today = f"{datetime.now():%Y-%m-%d}"
    found = find(runs, today)
    kept = {"machine": runs[0]["machine"], "runs": count, "variants": found}
    where = write_last(place / "calibration.json", kept)
    written, unwritten = store(runs, today)
    terminal.show([*report(found, written), *(Text(line, "bold red") for line in unwritten)])
    print(where)
    return 4 if unwritten else int(bool(written))


def _check_recorded(run: Mapping[str, Any], arguments: Sequence[str]) -> None:
    """Refuse to go on where no row has a record of this kind of machine that a spread could be stored beside.

    Raises:
        UsageError: there is none, nothing is timed, or nothing can be stored there.
    """
    timed = [row for row in run["rows"] if row["seconds"]]
    if not any(row["baseline"] and row["baseline"]["recorded_here"] and not _is_stale(row) for row in timed):
        raise UsageError(
            f"none of {len(timed)} timed rows has a baseline of this model and kind of machine for its spread",
            expected="rows that are timed, and recorded on this kind of machine",
            command=to_record(run["device"], options=_to_record_with(arguments)),
        )
    for folder in {Path(row["baseline"]["path"]).parent for row in timed if row["baseline"]}:
        try:
            files.check_writable(folder)
        except OSError as error:
            raise UsageError(
                f"the baselines folder {folder} cannot be written: {error.strerror}",
                expected="a folder that spreads can be stored in when all runs are done",
                command=f"ls -ld {shlex.quote(str(folder))}",
            ) from None


def _to_record_with(arguments: Sequence[str]) -> list[str]:
    """The same options without the device, which the session names, and over all clips: a baseline is not shrunk."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--lx-device")
    parser.add_argument("--lx-clips")
    return parser.parse_known_args(arguments)[1]


if __name__ == "__main__":
    sys.exit(main())
