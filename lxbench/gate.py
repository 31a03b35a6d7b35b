"""Hold the rows of a run against the stored baselines, and rewrite those where the user asks for it."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from lxbench import baselines, machine, verdict
from lxbench.baselines import Baseline, Speed
from lxbench.errors import BaselineError, UsageError
from lxbench.row import Row
from lxbench.run import Run
from lxbench.verdict import Verdict, Word


def judge_effect(row: Row) -> Verdict:
    """Whether the variant was built and runs the kernels that its row promises; the worker has checked the steps."""
    if row.crash or row.report is None:
        return Verdict(Word.CRASHED, row.crash)
    wanted, seen = row.variant.runs, row.report.kernels
    if wanted and not any(fnmatchcase(kernel, wanted) for kernel in seen):
        some = ", ".join(list(seen)[:6])
        return Verdict(Word.CRASHED, f"it never ran {wanted!r}; while transcribing it ran {some}")
    steps = ", ".join(step["name"] for step in row.report.steps) or "no steps"
    return Verdict(Word.PASS, f"{steps}; runs {wanted or 'whatever it likes'}")


def judge_speed(run: Run, row: Row) -> Verdict:
    """Compare the ratio to fp32 with the baseline's."""
    if row.crash or row.speed_crash:
        return Verdict(Word.CRASHED, row.crash or row.speed_crash)
    if row.usage is not None and row.usage.compilations:
        return Verdict(
            Word.CRASHED,
            f"torch compiled {row.usage.compilations} more graphs while clips were timed: "
            "an input changed its shape after the warm-up",
        )
    if (identity := _judge_identity(run, row)) is not None:
        return identity
    assert row.baseline is not None
    if row.is_reference:
        return Verdict(Word.PASS, f"{row.seconds:.3f} s/audio; the reference that others are held against")
    return verdict.judge_speed(
        row.ratio,
        row.baseline.speed.ratio,
        row.variant.tolerance.speed,
        machine.differing(run.machine, row.baseline.speed.machine, machine.RATIO_KEYS),
    )


def judge_accuracy(run: Run, row: Row) -> Verdict:
    """Compare WER and CER with the baseline's, on the clips of this run."""
    if row.crash:
        return Verdict(Word.CRASHED, row.crash)
    if (identity := _judge_identity(run, row)) is not None:
        return identity
    assert row.baseline is not None
    then = verdict.counts_on(row.baseline, row.records)
    return verdict.judge_accuracy(row.counts, then, row.variant.tolerance)


def judge_usable(run: Run) -> None:
    """Say of every complete row whether its WER is within the margin of fp32's; fp32 has finished last."""
    for row in run.rows:
        reference = row.counts_of(run.reference_said)
        if row.complete and reference is not None:
            row.usable = verdict.usable(row.counts, reference)


def judge_profile(row: Row) -> Verdict:
    """Whether encoder and decoder could be profiled; names the operator on top of each."""
    if row.crash or not row.profiles:
        return Verdict(Word.CRASHED, row.crash or "it was not profiled")
    tops = {part: (*taken.kernels, *taken.operators) for part, taken in row.profiles.items()}
    if idle := [part for part, operators in tops.items() if not operators]:
        return Verdict(Word.CRASHED, f"the profile of the {' and the '.join(idle)} is empty")
    return Verdict(Word.PASS, "; ".join(f"{part}: {top[0].name} {top[0].share:.0%}" for part, top in tops.items()))


def judge_caught(run: Run, row: Row) -> Verdict | None:
    """Whether a row that is declared unusable is still caught; None where fp32 was not heard on its clips."""
    reference = row.counts_of(run.reference_said)
    if not row.complete or reference is None:
        return None
    text = f"WER {row.counts.wer:.4f}, fp32 {reference.wer:.4f}, margin {verdict.USABLE_MARGIN:.4f}"
    if verdict.usable(row.counts, reference):
        return Verdict(Word.REGRESSED, f"declared unusable and not caught: {text}")
    return Verdict(Word.PASS, f"unusable, as declared: {text}")


def _judge_identity(run: Run, row: Row) -> Verdict | None:
    if row.baseline_error:
        return Verdict(Word.STALE, row.baseline_error)
    return verdict.judge_identity(
        row.baseline,
        row.records,
        run.source.fingerprint,
        run.settings.language,
        row.normalizer.name,
        whole=run.settings.clips == 0 and row.complete,
    )


def find_orphans(run: Run) -> list[Path]:
    """Baselines of this model, corpus and device that no row of the ladder owns; kept in the run."""
    names = {variant.name for variant in run.ladder if run.settings.device in variant.devices}
    run.orphans = baselines.orphans(run.baseline_folder, names)
    return run.orphans


def propose(run: Run, row: Row, today: str) -> Baseline | None:
    """The baseline that would make this row pass; None where it crashed, is incomplete or was not timed.

    Args:
        run: the run.
        row: one of its rows.
        today: the date to record, ISO 8601.
    """
    if row.word is Word.CRASHED or not row.complete:
        return None
    if row.report is None or row.seconds is None or row.usage is None:
        return None
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
        size_mib=row.report.census["size_mib"],
        speed=Speed(row.ratio, row.seconds, row.usage.peak_mib, machine.lasting(run.machine)),
        versions=machine.versions(),
        recorded=today,
    )


def update(run: Run, today: str) -> list[str]:
    """Write and delete baselines as ``--lx-update`` allows; return a line for each.

    Every proposal is also left in the run's folder under ``proposed/``, whether it is allowed or not.
    """
    lines = []
    for row in run.rows:
        proposed = propose(run, row, today)
        if proposed is None or not _moved(run, row, proposed):
            continue
        path = run.baseline_path(row.variant.name)
        baselines.write(run.folder / "proposed" / path.relative_to(run.settings.baselines), proposed)
        if ("new" if row.word is Word.NEW else "changed") in run.settings.update:
            baselines.write(path, proposed)
            lines.append(f"baseline written: {path}")
    if "prune" in run.settings.update:
        for path in find_orphans(run):
            path.unlink()
            lines.append(f"baseline deleted: {path}")
        run.orphans = []
    return lines


def _moved(run: Run, row: Row, proposed: Baseline) -> bool:
    """Whether a baseline is worth rewriting: another verdict, another transcript, or a machine it cannot be held to."""
    if row.baseline is None or row.word not in (Word.PASS, Word.INCONCLUSIVE):
        return True
    kept = {clip.id: clip.text for clip in row.baseline.clips}
    return any(kept.get(clip.id) != clip.text for clip in proposed.clips) or bool(
        machine.differing(run.machine, row.baseline.speed.machine, machine.RATIO_KEYS)
    )


def check_update(run: Run, names: Iterable[str]) -> None:
    """Refuse to replace a baseline by one over fewer clips.

    Raises:
        UsageError: ``--lx-clips`` would shrink a stored baseline.
    """
    for name in sorted(names) if "changed" in run.settings.update else ():
        try:
            stored = baselines.read(run.baseline_path(name))
        except BaselineError:
            continue
        if stored is not None and len(stored.clips) > len(run.corpus.clips):
            raise UsageError(
                f"--lx-update changed would replace the baseline of {name} over {len(stored.clips)} clips "
                f"by one over {len(run.corpus.clips)}",
                expected="at least as many clips as the stored baseline has",
                command=f"nox -s baselines -- -k {name}",
            )
