"""Propose baselines, and write and delete them where the user asks for it (``--lx-update``)."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from lxbench import baselines, files, machine, verdict_speed
from lxbench.baselines import Baseline, Speed
from lxbench.commands import to_record
from lxbench.errors import BaselineError, UsageError
from lxbench.ladder import Variant
from lxbench.run import Run, gate
from lxbench.run.row import Row, row_id
from lxbench.settings import repeated
from lxbench.stats import drift
from lxbench.verdict import Word


def propose(run: Run, row: Row, today: str) -> Baseline | None:
    """The baseline that would make this row pass; None where it crashed, is incomplete or was not timed.

    Args:
        run: the run.
        row: one of its rows.
        today: the date to record, ISO 8601.
    """
    if row.against_baseline is Word.CRASHED or not row.complete or row.shortened:
        return None
    if row.report is None or row.seconds is None or row.usage is None:
        return None
    kept = row.baseline if row.against_baseline is not Word.STALE else None
    before = kept.speed_on(run.machine) if kept is not None else None
    speed = Speed(
        row.ratio,
        row.seconds,
        row.usage.peak_mib,
        machine.lasting(run.machine),
        today,
        row.timing,
        before.spread if before is not None else None,
    )
    if kept is not None and not machine.same_kind(kept.speeds[0].machine, run.machine):
        return kept.with_record(speed, row.records)
    fresh = _recorded(run, row, row.report.census["size_mib"], speed, today)
    if kept is not None:
        for other in kept.speeds_elsewhere(run.machine):
            fresh = fresh.with_record(other, kept.clips_on(other.machine))
    return fresh


def _recorded(run: Run, row: Row, size_mib: float, speed: Speed, today: str) -> Baseline:
    raw = row.raw_counts
    return Baseline(
        variant=row.variant.name,
        device=row.device,
        model={"spec": run.source.spec, "fingerprint": run.source.fingerprint},
        corpus={"name": run.corpus.name, "fingerprint": run.corpus.fingerprint},
        language=run.settings.language,
        normalizer=row.normalizer.name,
        clips=row.records,
        raw_wer=raw.wer,
        raw_cer=raw.cer,
        size_mib=size_mib,
        speeds=(speed,),
        versions=machine.versions(),
        recorded=today,
        calibration=gate.calibration(run, row),
    )


def write(run: Run, today: str, interrupted: bool = False) -> Iterator[str]:
    """Write and delete baselines as ``--lx-update`` allows; yield a line for each.

    Every proposal is also left in the run's folder under ``proposed/``, whether it is allowed or not; of an interrupted
    run that is all.

    Raises:
        OSError: one could not be written, or was written by somebody else meanwhile; the others are.
    """
    allowed = frozenset() if interrupted else run.settings.update
    accepted, refused = [], []
    for row in run.rows:
        proposed = propose(run, row, today)
        kind = _moved(run, row) if proposed is not None else ""
        if proposed is None or not kind:
            continue
        path = run.baseline_path(row.variant.name)
        left = run.folder / "proposed" / path.relative_to(run.settings.baselines)
        baselines.write(left, proposed)
        if kind in allowed and row.excused:
            run.notes.append(
                f"{row.id} is marked xfail and was not recorded: take the mark away if this is what you want"
            )
        elif kind in allowed:
            accepted.append((row, path, left, proposed))
    for row, path, left, proposed in accepted:  # All are proposed by now: one that cannot be written loses no other.
        if _written_meanwhile(row, path):
            refused.append(f"{path}, which somebody else has written during this run; it would be {left}")
            continue
        baselines.write(path, proposed)
        yield f"baseline written: {path}"
    if "prune" in allowed:
        for path in gate.find_orphans(run):
            left = run.folder / "pruned" / path.relative_to(run.settings.baselines)
            left.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, left)
            yield f"baseline deleted: {path}, kept in {left.parent}"
        run.orphans = []
    if refused:
        raise OSError("; ".join(refused))


def _written_meanwhile(row: Row, path: Path) -> bool:
    """Whether a baseline is another than the one that a row was judged by: another machine may have added its speed."""
    try:
        return baselines.read(path) != row.baseline
    except BaselineError:
        return not row.baseline_error


def _moved(run: Run, row: Row) -> str:
    """Which update would write a baseline: ``new``, ``changed``, or empty where there is nothing to write."""
    if row.baseline is None:
        return "changed" if row.baseline_error else "new"
    if row.against_baseline not in gate.AS_RECORDED:
        return "changed"
    speed = row.baseline.speed_on(run.machine)
    if speed is None or _knows_no_clips(speed):
        return "new"
    moved = drift(row.timing.reference, speed.timed.reference)
    in_other_state = verdict_speed.in_other_state(moved)
    if moved < 1 and in_other_state:
        return "changed"  # It was recorded in a bad hour of the machine.
    if not (row.is_reference or in_other_state) and (
        row.timing.processes >= 2 * speed.timed.processes or row.timing.occasions >= 1.5 * speed.timed.occasions
    ):
        return "changed"  # This record is much surer.
    return "changed" if gate.says_otherwise(run, row) else ""


def _knows_no_clips(speed: Speed) -> bool:
    """Whether a record has no seconds of fp32 to compare with clip by clip, as those of format 1."""
    return speed.ratio is not None and not speed.timed.reference


def check(run: Run, variants: Iterable[Variant]) -> None:
    """Refuse to record over fewer clips than a baseline has: the others would be lost, or taken for what they are not.

    A row that names fewer itself is recorded over these.

    Raises:
        UsageError: ``--lx-clips`` would shrink a stored baseline, the model's weights are random, or nothing can be
            written.
    """
    device = run.settings.device
    session, options = "bench-gpu" if device == "cuda" else "bench-cpu", repeated(run.settings, part=True)
    without = f"nox -s {session} -- {shlex.join(options)}".removesuffix(" -- ")
    if run.settings.update and run.source.random:
        raise UsageError(
            f"--lx-update with model {run.source.spec}, whose weights are random",
            expected="a model that says something; of a shape, rows are compared with fp32 in one run",
            command=without,
        )
    if run.settings.update:
        folder = run.baseline_folder if run.baseline_folder.is_dir() else run.settings.baselines
        try:
            files.check_writable(folder)
        except OSError as error:
            raise UsageError(
                f"the baselines folder {folder} cannot be written: {error.strerror}",
                expected="a folder this user may create and write",
                command=f"{without}  # judges, and writes nothing there",
            ) from None
    if not (run.settings.clips or run.settings.skip_bad):
        return  # What is gone from a corpus is gone: to record what is left is what STALE proposes.
    for variant in sorted(variants, key=lambda variant: variant.name):
        name, clips = variant.name, len(run.corpus.first(variant.clips).clips)
        try:
            stored = baselines.read(run.baseline_path(name))
        except BaselineError:
            continue
        if stored is None or min(len(stored.clips), variant.clips or len(stored.clips)) <= clips:
            continue
        speed = stored.speed_on(run.machine)
        writing = {"new", "changed"} if speed is None or _knows_no_clips(speed) else {"changed"}
        if update := ",".join(sorted(writing & run.settings.update)):
            raise UsageError(
                f"--lx-update {update} would record {name} over {clips} clips, its baseline has {len(stored.clips)}",
                expected="at least as many clips as the stored baseline has"
                + (", or a listing without those that are bad" if run.settings.skip_bad else ""),
                command=to_record(device, row_id(variant, device), repeated(replace(run.settings, skip_bad=False))),
            )
