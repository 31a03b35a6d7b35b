"""Rows with the code of an earlier commit and with that of now, in turn: ``nox -s ab -- COMMIT``, an A/B test.

A machine in another state than when a baseline was recorded makes rows red that no code has made slower. Here both
codes run in the same minutes, in fresh processes each time, and no baseline is asked.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from statistics import NormalDist
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text
from scipy.stats import t

from lxbench import commits, files, machine, settings
from lxbench.baselines import Speed, Spread
from lxbench.commands import typed
from lxbench.errors import LxbenchError, UsageError
from lxbench.report import terminal
from lxbench.run import results
from lxbench.runs import heed_sigterm, refuse, run_once, time_left, write_last
from lxbench.stats import RUN_ALARMS, Change, Timing, mean_ratio, process_spread, timing, timing_of
from lxbench.verdict import Word
from lxbench.verdict_speed import BETWEEN_PROCESSES, describe_change, in_other_state, speed_change, word_of

MIN_ROUNDS = 2
_OWN = ("--rounds", "--lx-results")
_COMMAND = 'nox -s ab -- HEAD~1 -k "[bf16-cpu]"'
_PATHS = ("--lx-variants", "--lx-corpus", "--lx-model", "--lx-calibration")  # Options whose values may be paths.
Run = Mapping[str, Any]  # As in results.json; so is a row.


def judge(then: Sequence[Run], now: Sequence[Run]) -> list[dict[str, Any]]:
    """Hold each row of one code against the same row of the other.

    Args:
        then: the runs of the earlier code, as in results.json.
        now: those of the present one.

    Returns:
        What was found of each row that was timed in all runs.
    """
    before, after = _timed(then), _timed(now)
    shared = [name for name in after if name in before]
    return [_judge_row(before[name], after[name], len(shared)) for name in shared]


def _timed(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The rows that were timed beside fp32 in every run, on all of their clips, by variant."""
    rows: dict[str, list[Run]] = {}
    for run in runs:
        for row in run["rows"]:
            if row["ratio"] and row["complete"] and row["verdict"] != Word.CRASHED:
                rows.setdefault(row["variant"], []).append(row)
    return {name: found for name, found in rows.items() if len(found) == len(runs)}


def _judge_row(before: Sequence[Run], after: Sequence[Run], comparisons: int) -> dict[str, Any]:
    then, now = together(before), together(after)
    ratio = mean_ratio(list(then.ratios.values()))
    stored = Speed(ratio, 0.0, 0.0, {}, timed=then, spread=_spread(before, after, comparisons))
    changed = speed_change(now, stored, comparisons)
    assert changed is not None  # A ratio is of three clips or more, and both have heard the same.
    tolerated = after[0]["tolerance"]["speed"]
    return {
        "variant": after[0]["variant"],
        "seconds": [statistics.fmean(row["seconds"] for row in side) for side in (before, after)],
        "ratios": [ratio.value, mean_ratio(list(now.ratios.values())).value],
        "change": _values(changed),
        "texts_moved": _texts_moved(before[0], after[0]),
        "verdict": str(word_of(changed, math.inf if tolerated is None else tolerated)),
    }


def together(rows: Sequence[Run]) -> Timing:
    """What the runs of one code show of a row together: its clips, each with all its pairs of timings."""
    pairs: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for clip in row["clips"]:
            pairs.setdefault(clip["id"], []).extend(clip["pairs"])
    return timing(pairs, sum(row["processes"] for row in rows), len(rows))


def _spread(before: Sequence[Run], after: Sequence[Run], comparisons: int) -> Spread:
    """How far the processes of a row are apart: what runs of the same code show, and no less than is assumed.

    A few runs do not know it well: what they show is expanded as Student's t is wider than the normal distribution, at
    the level of the strict interval.
    """
    sides = [[{id: math.log(x) for id, x in timing_of(row).ratios.items()} for row in side] for side in (before, after)]
    seen = math.sqrt(statistics.fmean(process_spread(side) ** 2 for side in sides))
    processes = statistics.fmean(row["processes"] for row in (*before, *after))
    level = 1 - RUN_ALARMS / max(1, comparisons)
    unsure = float(t.ppf(level, len(before) + len(after) - 2)) / NormalDist().inv_cdf(level)
    return Spread(max(BETWEEN_PROCESSES, unsure * seen * math.sqrt(processes)), 0.0, len(before), "")


def _texts_moved(before: Run, after: Run) -> int:
    said = {clip["id"]: clip["text"] for clip in before["clips"]}
    return sum(clip["text"] != said.get(clip["id"]) for clip in after["clips"])


def _values(changed: Change) -> dict[str, Any]:
    text = describe_change(changed)
    return {**asdict(changed.plain), "fp32": changed.drift, "text": text}


def report(commit: str, found: Sequence[Mapping[str, Any]]) -> list[Any]:
    """What was found, as a table and a sentence for each row that is not a PASS."""
    grid = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0, show_edge=False)
    columns = ("variant", "s/audio\nnow", f"vs fp32\n{commit}", "\nnow", "change\n[90 % CI]", "texts\nmoved", "verdict")
    for index, column in enumerate(columns):
        right = 0 < index < len(columns) - 1
        grid.add_column(column, justify="right" if right else "left", overflow="fold", no_wrap=index > 0)
    for one in found:
        word, (then, now) = Word(one["verdict"]), one["ratios"]
        cells = (one["variant"], f"{one['seconds'][1]:.3f}", f"{then:.2f}", f"{now:.2f}", one["change"]["text"])
        grid.add_row(*map(Text, (*cells, str(one["texts_moved"]))), Text(word, terminal.style(word)))
    parts: list[Any] = ["", grid, ""]
    parts += [
        Text(f"{one['verdict']} {one['variant']}: {_sentence(one)}") for one in found if one["verdict"] != Word.PASS
    ]
    reference = statistics.geometric_mean(one["change"]["fp32"] for one in found)
    parts.append(Text(f"fp32 itself, which no ratio shows: s/audio {reference - 1:+.1%} with the code of now"))
    return parts


def _sentence(one: Mapping[str, Any]) -> str:
    if one["verdict"] == Word.INCONCLUSIVE:
        if in_other_state(one["change"]["fp32"]):
            return "not sure enough, nor with more --rounds: it is held against fp32, which takes another time itself"
        return "not sure enough; more --rounds make the interval narrower"
    then, now = one["seconds"]
    slower = one["verdict"] == Word.REGRESSED
    text = f"{'slower' if slower else 'faster'} beside fp32, {then:.3f} s/audio with the earlier code, {now:.3f} now"
    itself = (now > then) == slower
    return text if itself else f"{text}: it is fp32 that has become {'faster' if slower else 'slower'}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both codes in turn, and judge.

    Returns:
        The exit code: 1 where a row is slower with the code of now, or no longer runs; 2 interrupted, 4 wrong usage.
    """
    parser = argparse.ArgumentParser(
        typed("nox -s ab --"), description=__doc__, epilog="other options are pytest's", allow_abbrev=False
    )
    parser.add_argument("commit", metavar="COMMIT", help="with whose code; that of now is the working tree's")
    parser.add_argument("--rounds", type=int, default=4, help="how often each runs, at least 2 (default: 4)")
    parser.add_argument("--lx-results", type=files.at_home, default="results", help="where the runs are left")
    try:
        chosen, others = parser.parse_known_args(arguments)
    except SystemExit as ended:
        return 4 if ended.code else 0
    try:
        _check_order(sys.argv[1:] if arguments is None else arguments, chosen.commit)
        if chosen.rounds < MIN_ROUNDS:
            raise UsageError(
                f"--rounds {chosen.rounds} does not show how far equal runs are apart",
                expected=f"at least {MIN_ROUNDS}",
                command=f"{_COMMAND} --rounds 4",
            )
        refuse(others, "--lx-update", _COMMAND)
        return _compare(commits.resolve(chosen.commit), chosen.rounds, Path(chosen.lx_results), others)
    except LxbenchError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 4


def _check_order(arguments: Sequence[str], commit: str) -> None:
    """Refuse an option of pytest's before COMMIT: its value would be taken for the commit.

    Raises:
        UsageError: there is one.
    """
    before = arguments[: arguments.index(commit)]
    if odd := [word for word in before if word.startswith("-") and "=" not in word and word not in _OWN]:
        raise UsageError(
            f"{commit!r} stands behind {odd[-1]}, and is no commit then",
            expected="COMMIT first, and pytest's options behind it",
            command=_COMMAND,
        )


def _compare(commit: str, rounds: int, folder: Path, arguments: Sequence[str]) -> int:
    place = settings.new_run_folder(folder, f"{datetime.now():{results.STARTED}}-ab").resolve()
    heed_sigterm()
    then: list[Run] = []
    now: list[Run] = []
    try:
        with commits.checked_out(commit) as tree:
            for is_then, run in _runs(commit, tree, rounds, place, arguments):
                (then if is_then else now).append(run)
                if len(then) == len(now) == 1:
                    _check_alike(then[0], now[0])
                    if not _timed(then).keys() & _timed(now).keys():
                        break  # The code of now runs none of these rows: that is known by now.
    except KeyboardInterrupt:
        print(f"interrupted, nothing is judged: {len(then) + len(now)} whole runs are in {place}")
        return 2
    found = judge(then, now)
    lacking = list(_left_out(then, now, found))
    gone = _timed(then).keys() - {one["variant"] for one in found}
    if not (found or gone):
        raise UsageError("; ".join(lacking), expected="a row that is timed in every run", command=f"ls {place}/*/logs")
    terminal.show([*(report(commit, found) if found else ()), *map(Text, lacking)])
    kept = {"commit": commit, "machine": now[0]["machine"], "rounds": len(now), "variants": found}
    print(write_last(place / "ab.json", kept))
    return int(bool(gone) or any(one["verdict"] == Word.REGRESSED for one in found))


def _runs(
    commit: str, tree: Path, rounds: int, place: Path, arguments: Sequence[str]
) -> Iterator[tuple[bool, dict[str, Any]]]:
    """Yield every run as it ends, and whether it was of the earlier code.

    Each round begins with the code that the one before has ended with: over an even number of rounds, what changes
    evenly meanwhile is the same for both. There is no baseline, so that neither is timed once more than the other
    because of what it is held against.
    """
    path = os.pathsep.join([*commits.search_path(tree), *filter(None, [os.environ.get("PYTHONPATH")])])
    order = itertools.chain.from_iterable(
        (True, False) if number % 2 == 0 else (False, True) for number in range(rounds)
    )
    began = time.monotonic()
    for number, is_then in enumerate(order):
        label = commit if is_then else "now"
        print(f"ab: run {number + 1} of {2 * rounds}, {label}{time_left(began, number, 2 * rounds)}", flush=True)
        own = [f"--lx-baselines={place / 'none'}", f"--benchmark-storage=file://{place}/saved-{number + 1}"]
        if is_then:
            asked = ["--lx-clips=24", *_as_there(arguments, tree), *own]
            run = run_once(place, asked, tree, {"PYTHONPATH": path}, tables=False, again=f"git show --stat {commit}")
        else:
            run = run_once(place, ["--lx-clips=24", *arguments, *own], tables=False)
        yield is_then, run


def _as_there(arguments: Sequence[str], tree: Path) -> list[str]:
    """The arguments of the earlier code: of files that are committed its own, of others the very same."""
    words: list[str] = []
    for word in arguments:
        name, equals, value = word.partition("=")
        if name in _PATHS and equals:
            words.append(f"{name}={commits.there(files.at_home(value), tree)}")
        else:
            words.append(commits.there(files.at_home(word), tree) if words and words[-1] in _PATHS else word)
    return words


def _check_alike(then: Run, now: Run) -> None:
    """Refuse to go on where the two did not do the same work.

    Raises:
        UsageError: they have heard other clips or another model, or the earlier has no row to compare.
    """
    if then.get("format") != now["format"] or now["format"] != results.FORMAT:
        happened = f"runs of the two are of formats {then.get('format')} and {now['format']}"
    elif differing := [what for what in ("model", "corpus") if then[what]["fingerprint"] != now[what]["fingerprint"]]:
        happened = f"the two have not the same {' and '.join(differing)}"
    elif differing := machine.differing(then.get("machine", {}), now.get("machine", {}), machine.RATIO_KEYS):
        happened = f"the two have not seen the same {' and '.join(differing)} of this machine"
    elif not _timed([then]):
        happened = f"no row was timed beside fp32 by the earlier code: {_names(then)}"
    else:
        return
    raise UsageError(
        happened,
        expected="a commit with which the same rows can be timed, over three clips or more, with the same options",
        command=_COMMAND,
    )


def _names(run: Run) -> str:
    return ", ".join(f"{row['variant']} {row['verdict']}" for row in run["rows"]) or "none"


def _left_out(then: Sequence[Run], now: Sequence[Run], found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for every row that one of the runs lacks."""
    compared = {one["variant"] for one in found}
    names = dict.fromkeys(row["variant"] for run in (*then, *now) for row in run["rows"] if not row["reference"])
    for name in names:
        if name not in compared:
            counts = [sum(name in _timed([run]) for run in side) for side in (then, now)]
            crash = next((f": {row['crash']}" for run in now for row in run["rows"] if _crashed(row, name)), "")
            times = f"timed in {counts[0]} of {len(then)} runs then, {counts[1]} of {len(now)} now"
            yield f"not compared: {name}, {times}{crash}"


def _crashed(row: Run, variant: str) -> bool:
    return row["variant"] == variant and bool(row["crash"])


if __name__ == "__main__":
    sys.exit(main())
