"""Compare two saved runs without running anything: ``nox -s compare -- A B``, B held against A.

A stands for the baseline: the same verdicts, from the same functions, with the same exit codes. Either may be a
``results.json``, the folder that it is in, or a file that pytest-benchmark saved. With ``--across-models`` the two may
be of two models, as of a checkpoint and the one before it: the words of each row are held against those of the same row
of the other model, its ratio to fp32 too, each to its own.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.text import Text

from lxbench import machine, verdict, verdict_speed
from lxbench.baselines import Baseline, Speed, Spread, clip_from_json
from lxbench.commands import typed
from lxbench.errors import LxbenchError, UsageError
from lxbench.report import table, terminal
from lxbench.run import results
from lxbench.stats import Interval, change, timing_of
from lxbench.verdict import Tolerance, Verdict, Word

_COMMAND = "nox -s compare -- results/THEN results/NOW"


def load(path: Path, command: str = _COMMAND) -> dict[str, Any]:
    """Read a saved run as the values of results.json.

    Args:
        path: a ``results.json``, its folder, or a file of pytest-benchmark.
        command: what to do next where it cannot be read.

    Raises:
        UsageError: it is missing, damaged, of another format, or not of lxbench.
    """
    file = path / "results.json" if path.is_dir() else path
    try:
        content = json.loads(file.read_text("utf-8"))
        found = _from_benchmarks(content["benchmarks"]) if "benchmarks" in content else content
        kept = found["format"]
        known = kept == results.FORMAT and bool(found["rows"])
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UsageError(
            f"{file} cannot be read as a run: {type(error).__name__}: {error}",
            expected="a results.json, the folder it is in, or a file saved by pytest-benchmark in a run of lxbench",
            command=command,
        ) from None
    if not known:
        raise UsageError(
            f"{file} cannot be read as a run: format {kept}, {len(found.get('rows', ()))} rows",
            expected=f"format {results.FORMAT} and at least one row: a run of this version of lxbench",
            command="nox -s bench-cpu",
        )
    return dict(found)


def _from_benchmarks(benchmarks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    saved = [bench["extra_info"]["lxbench"] for bench in benchmarks if "lxbench" in bench["extra_info"]]
    rows = [each["row"] for each in saved]
    return {
        **saved[0],
        "rows": rows,
        "order": [row["variant"] for row in rows],
        "absent": [],
        "orphans": [],
        "notes": [],
        "timed_alone": True,
    }


def _without_taken_over(run: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """A run without the rows that took another's measurement over and that the other run lacks.

    pytest-benchmark saves what it has timed alone.
    """
    there = {row["id"] for row in other["rows"]}
    return {**run, "rows": [row for row in run["rows"] if not row.get("measured_as") or row["id"] in there]}


def judge(then: Mapping[str, Any], now: Mapping[str, Any], across_models: bool = False) -> dict[str, Any]:
    """Return ``now`` with the verdicts that it has when ``then`` is what was accepted.

    Args:
        then: the run that counts as accepted.
        now: the run that is judged.
        across_models: whether they may be of two models; each row's speed is then a multiple of its own fp32's.

    Raises:
        UsageError: they have no row in common.
    """
    if any(run.get("timed_alone") for run in (then, now)):
        then, now = _without_taken_over(then, now), _without_taken_over(now, then)
    before = {row["id"]: row for row in then["rows"]}
    shared = [row for row in now["rows"] if row["id"] in before]
    if not shared:
        raise UsageError(
            f"the two runs have no row in common: {', '.join(before)} and {_ids(now)}",
            expected="two runs of the same variants on the same kind of device",
            command=_COMMAND,
        )
    comparisons = sum(not row["reference"] for row in shared)
    two_models = across_models and then["model"]["fingerprint"] != now["model"]["fingerprint"]
    if two_models:
        then = {**then, "model": now["model"]}
    rows = []
    for row in now["rows"]:
        earlier = before.get(row["id"])
        said = _judge_row(then, earlier, now, row, comparisons, two_models)
        word = str(verdict.worst(said.values()))
        rows.append(
            {**row, "verdict": word, "verdicts": {what: _values(each) for what, each in said.items()}}
            | {"baseline": None if earlier is None else _kept(earlier), "excused": None}
        )
    present = {row["id"] for row in now["rows"]}
    gone = [row["variant"] for row in then["rows"] if row["id"] not in present]
    return {**now, "rows": rows, "orphans": gone, "absent": [], "suspected": {"rows": [], "command": ""}}


def _ids(run: Mapping[str, Any]) -> str:
    return ", ".join(row["id"] for row in run["rows"])


def _judge_row(
    then: Mapping[str, Any],
    earlier: Mapping[str, Any] | None,
    now: Mapping[str, Any],
    row: Mapping[str, Any],
    comparisons: int,
    two_models: bool,
) -> dict[str, Verdict]:
    said = _of_itself(row)
    if any(each.word is Word.CRASHED for each in said.values()):
        return said
    if earlier is None or not earlier["clips"]:
        why = "does not have this row" if earlier is None else f"says nothing of it: {earlier['crash'] or 'cut off'}"
        return {**said, "accuracy": Verdict(Word.NEW, f"the earlier run {why}")}
    known = {clip["id"] for clip in earlier["clips"]}
    heard = [clip for clip in row["clips"] if clip["id"] in known]
    kept, measured = _as_baseline(then, earlier), _as_baseline(now, {**row, "clips": heard})
    identity = verdict.judge_identity(
        kept, measured.clips, now["model"]["fingerprint"], now["language"], now["normalizer"], _calibration(now, row)
    )
    if identity is not None or not heard:
        return {**said, "accuracy": identity or Verdict(Word.STALE, "the two runs have no clip in common")}
    tolerance = Tolerance(**{name: math.inf if value is None else value for name, value in row["tolerance"].items()})
    if row.get("scored", True):  # What random weights say is noise.
        said["accuracy"] = verdict.judge_accuracy(measured.clips, kept.clips, tolerance)
    if row["reference"]:
        if row["seconds"]:
            text = f"{row['seconds']:.3f} s/audio; the reference that others are held against"
            said["speed"] = Verdict(Word.PASS, text)
    elif row["seconds"] and earlier["seconds"]:
        said["speed"] = _judge_speed(kept, measured, tolerance, comparisons, two_models)
    elif row["seconds"] or earlier["seconds"]:
        side = "earlier run" if row["seconds"] else "later run"
        said["speed"] = Verdict(Word.INCONCLUSIVE, f"the {side} did not time this row")
    if not two_models and (seconds := _judge_seconds(then, earlier, now, row, tolerance, comparisons)) is not None:
        said["seconds"] = seconds
    return said


def _of_itself(row: Mapping[str, Any]) -> dict[str, Verdict]:
    """What a run says of a row whatever it is compared with: that it crashed, was cut off, or should be unusable."""
    if row["crash"]:
        return {"effect": Verdict(Word.CRASHED, row["crash"])}
    if not row["complete"]:
        return {"effect": Verdict(Word.CRASHED, f"the run was cut off after {len(row['clips'])} of its clips")}
    return {
        what: Verdict(Word(said["word"]), said["text"])
        for what, said in row["verdicts"].items()
        if said["word"] == Word.CRASHED or what == "usable"
    }


def _judge_speed(
    kept: Baseline, measured: Baseline, tolerance: Tolerance, comparisons: int, two_models: bool
) -> Verdict:
    then, now = kept.speeds[0], measured.speeds[0]
    if differing := machine.differing(now.machine, then.machine, machine.RATIO_KEYS):
        return Verdict(Word.INCONCLUSIVE, f"the two machines differ in {', '.join(differing)}")
    # By how much fp32 takes longer is of the machine where the model is the same, of the model where it is not.
    timed = replace(now.timed, reference={}) if two_models else now.timed
    changed = verdict_speed.speed_change(timed, then, comparisons)
    said = verdict_speed.judge_speed(verdict_speed.stored_ratio(now.timed, then), changed, tolerance.speed)
    return Verdict(said.word, said.text + verdict_speed.describe_length(measured.clips, kept.clips, now.timed.ratios))


def _judge_seconds(
    then: Mapping[str, Any],
    earlier: Mapping[str, Any],
    now: Mapping[str, Any],
    row: Mapping[str, Any],
    tolerance: Tolerance,
    comparisons: int,
) -> Verdict | None:
    """The time per audio, see ``gate.judge_seconds``: on one and the same machine."""
    spread = (row["baseline"] or {}).get("spread")
    if not spread or row["reference"] or machine.differing(now["machine"], then["machine"], machine.SECONDS_KEYS):
        return None
    after, before = _clip_seconds(row), _clip_seconds(earlier)
    beside = timing_of(row).reference, timing_of(earlier).reference
    return verdict_speed.judge_seconds(
        after, before, beside, spread["seconds"], tolerance.speed, comparisons, "the earlier run"
    )


def _clip_seconds(row: Mapping[str, Any]) -> dict[str, float]:
    return {clip["id"]: clip["seconds"] for clip in row["clips"]} if row["seconds"] else {}


def _as_baseline(run: Mapping[str, Any], row: Mapping[str, Any]) -> Baseline:
    """A saved row as the baseline that it would be recorded as."""
    ratio = Interval(**row["ratio"]) if row["ratio"] else None
    spread = (row["baseline"] or {}).get("spread")
    return Baseline(
        variant=row["variant"],
        device=row["device"],
        model=run["model"],
        corpus=run["corpus"],
        language=run["language"],
        normalizer=run["normalizer"],
        clips=tuple(map(clip_from_json, row["clips"])),
        raw_wer=row["raw"]["wer"] or 0.0,
        raw_cer=row["raw"]["cer"] or 0.0,
        size_mib=row["size_mib"] or 0.0,
        calibration=_calibration(run, row),
        speeds=(
            Speed(
                ratio,
                row["seconds"] or 0.0,
                row["peak_mib"] or 0.0,
                run["machine"],
                timed=timing_of(row),
                spread=Spread(**spread) if spread else None,
            ),
        ),
    )


def _calibration(run: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """Fingerprint of the calibration clips where a step of the row has looked at them, else empty."""
    looked = row.get("calibrated") or (row.get("build") or {}).get("calibrated")
    return str(run["calibration"]["fingerprint"]) if looked and "calibration" in run else ""


def _kept(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the worst clips of a row are found against."""
    return {"clips": {clip["id"]: {"text": clip["text"], "word_edits": clip["word_edits"]} for clip in row["clips"]}}


def _values(said: Verdict) -> dict[str, str]:
    return {"word": str(said.word), "text": said.text}


def seconds_lines(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say how the time per audio has changed, row by row; on two machines only which keys differ."""
    if differing := machine.differing(now["machine"], then["machine"], machine.SECONDS_KEYS):
        return [f"seconds are not compared: the machines differ in {', '.join(differing)}"]
    before = {row["id"]: _clip_seconds(row) for row in then["rows"]}
    lines = []
    for row in now["rows"]:
        changed = change(_clip_seconds(row), before.get(row["id"], {}))
        if changed is not None:
            lines.append(f"{row['variant']} {verdict_speed.describe_change(changed)}")
    return [f"s/audio: {', '.join(lines)}"] if lines else []


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the final table of B with its verdicts against A; return the exit code."""
    parser = argparse.ArgumentParser(typed("nox -s compare --"), description=__doc__)
    parser.add_argument("then", type=Path, help="the run that counts as accepted")
    parser.add_argument("now", type=Path, help="the run that is judged")
    parser.add_argument("--across-models", action="store_true", help="they may be of two models, as of two checkpoints")
    try:
        chosen = parser.parse_args(arguments)
    except SystemExit as ended:
        return 4 if ended.code else 0
    try:
        then, now = load(chosen.then), load(chosen.now)
        judged = judge(then, now, chosen.across_models)
    except LxbenchError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 4
    width = terminal.columns()
    parts: list[Any] = [terminal.final_table(judged, width), *terminal.explanations(judged, width), ""]
    parts += [Text(line) for line in seconds_lines(then, now)]
    if then["model"]["fingerprint"] != now["model"]["fingerprint"]:
        again = shlex.join(["--across-models", str(chosen.then), str(chosen.now)])
        after, before = (f"{run['model']['name']} ({run['model']['fingerprint'][:8]})" for run in (now, then))
        meant = f"next: {typed(f'nox -s compare -- {again}')}  # if the two models are meant to be compared"
        parts.append(Text(f"two models: {after}, held against {before}" if chosen.across_models else meant))
    terminal.show(parts)
    return int(bool(table.red(judged) or judged["orphans"]))


if __name__ == "__main__":
    sys.exit(main())
