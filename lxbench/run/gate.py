"""Hold what was measured of a row against its baseline; how much is measured is in ``looks``."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from lxbench import baselines, commits, machine, verdict, verdict_speed
from lxbench.baselines import Speed
from lxbench.commands import to_calibrate, to_compare_codes, to_record, typed
from lxbench.corpus import EMBEDDED
from lxbench.models import EMBEDDED as EMBEDDED_MODEL
from lxbench.run import Run
from lxbench.run.row import Row
from lxbench.settings import repeated
from lxbench.stats import Change
from lxbench.variants import VARIANTS
from lxbench.verdict import Verdict, Word

AS_RECORDED = (Word.PASS, Word.INCONCLUSIVE)


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


def stored_speed(run: Run, row: Row) -> Speed | None:
    """What is stored of a row's speed on this kind of machine."""
    return row.baseline.speed_on(run.machine) if row.baseline is not None else None


def changed_speed(run: Run, row: Row) -> Change | None:
    """By what factor the ratios have changed since they were stored; None where there is nothing to compare."""
    then = stored_speed(run, row)
    if then is None:
        return None
    return verdict_speed.speed_change(row.timing, then, run.comparisons, run.reference_lately)


def judge_speed(run: Run, row: Row) -> Verdict:
    """Compare the ratio to fp32 with the one that is stored for this kind of machine."""
    if row.crash or row.speed_crash:
        return Verdict(Word.CRASHED, row.crash or row.speed_crash)
    if row.usage is not None and row.usage.compilations:
        return Verdict(
            Word.CRASHED,
            f"{row.usage.compilations} more graphs were compiled or recorded while clips were timed: "
            "an input changed its shape after the warm-up",
        )
    if not row.scored:
        ratio = "the reference" if row.ratio is None else f"{row.ratio.value:.2f} times fp32"
        return Verdict(Word.PASS, f"{ratio}; random weights, nothing is gated")
    if (identity := judge_identity(run, row)) is not None:
        return identity
    assert row.baseline is not None
    if row.is_reference:
        return Verdict(Word.PASS, f"{row.seconds:.3f} s/audio; the reference that others are held against")
    then = row.baseline.speed_on(run.machine)
    if then is None:
        differing = machine.differing(run.machine, row.baseline.speeds[0].machine, machine.RATIO_KEYS)
        return Verdict(
            Word.INCONCLUSIVE,
            f"no speed is stored for this kind of machine, the baseline's differs in {', '.join(differing)}; "
            f"{typed(to_record(row.device, options=repeated(run.settings)))} records it",
        )
    changed = changed_speed(run, row)
    kept = verdict_speed.stored_ratio(row.timing, then)
    said = verdict_speed.judge_speed(kept, changed, row.variant.tolerance.speed)
    length = verdict_speed.describe_length(row.records, row.baseline.clips_on(run.machine), row.pairs)
    noise = f"; {row.disturbance}" if said.word is Word.INCONCLUSIVE and row.disturbance is not None else ""
    doubts = _doubts(run, row, then) if said.word is Word.REGRESSED else ""
    return replace(said, text=said.text + noise + length + doubts)


def _doubts(run: Run, row: Row, then: Speed) -> str:
    """The commands that tell slower code from a slower machine, and from processes that are apart."""
    told, options = "", repeated(run.settings)
    if commit := recorded_in(run, row):
        in_turn = to_compare_codes(row.device, [row.id], commit, options)
        told += f"; {typed(in_turn)} runs the code of its record and this in turn"
    if then.spread is None:
        told += f"; {typed(to_calibrate(row.device, row.id, options))} tells how far equal runs are apart"
    return told


def recorded_in(run: Run, row: Row) -> str:
    """The commit that the record of a row's speed is of; empty where there is no record, or git does not know."""
    then = stored_speed(run, row)
    if then is None:
        return ""
    return commits.since(run.baseline_path(row.variant.name), partial(baselines.has_speed, then))


def judge_seconds(run: Run, row: Row) -> Verdict | None:
    """Compare the time per audio with the last saved run of this very machine; None where there is nothing to judge by.

    Until it is known how far equal runs are apart (``nox -s calibrate``), no change of seconds can be told from that,
    and is shown alone. So is fp32's: a machine has slower and faster hours, and fp32 is what shows them.
    """
    record = stored_speed(run, row)
    if run.saved is None or row.is_reference or not row.timed or record is None or record.spread is None:
        return None
    then = run.saved.seconds.get(row.id, [])
    now = {clip.id: row.transcripts[clip.id].seconds for clip in row.corpus.clips}
    before = dict(zip(now, then, strict=False))  # In the corpus's order; either may be of fewer clips.
    limit = row.variant.tolerance.speed
    beside = row.timing.reference, run.saved.reference.get(row.id, {})
    return verdict_speed.judge_seconds(
        now, before, beside, record.spread.seconds, limit, run.comparisons, run.saved.name
    )


def judge_accuracy(run: Run, row: Row) -> Verdict:
    """Compare WER and CER with the baseline's, on the clips of this run."""
    if row.crash:
        return Verdict(Word.CRASHED, row.crash)
    if (identity := judge_identity(run, row)) is not None:
        return identity
    assert row.baseline is not None
    return verdict.judge_accuracy(row.records, row.baseline.clips_on(run.machine), row.variant.tolerance)


def judge_usable(run: Run) -> None:
    """Say of every complete row whether its WER is within the margin of fp32's; fp32 has finished last.

    Not of a row that heard a part of its clips: on 24 of them two words are more than the margin.
    """
    for row in run.rows:
        reference = row.counts_of(run.reference_said)
        if row.complete and row.scored and reference is not None:
            row.usable = None if row.shortened else verdict.usable(row.counts, reference)
            row.against_reference = verdict.word_shift(row.records, row.clip_counts_of(run.reference_said))


def judge_throughput(row: Row) -> Verdict:
    """Clips per second in batches, shown and not gated; CRASHED where it died in them."""
    if row.throughput is None:
        return Verdict(Word.CRASHED, row.crash or row.batch_crash)
    done = row.throughput
    return Verdict(Word.PASS, f"{done.clips_per_s:.2f} clips/s in batches of {done.batch}")


def judge_profile(row: Row) -> Verdict:
    """Whether encoder and decoder could be profiled; names the operator on top of each."""
    if row.crash or not row.profiles:
        return Verdict(Word.CRASHED, row.crash or "it was not profiled")
    tops = {part: (*taken.kernels, *taken.operators) for part, taken in row.profiles.items()}
    if idle := [part for part, operators in tops.items() if not operators]:
        return Verdict(Word.CRASHED, f"the profile of the {' and the '.join(idle)} is empty")
    return Verdict(Word.PASS, "; ".join(f"{part}: {top[0].name} {top[0].share:.0%}" for part, top in tops.items()))


def judge_caught(run: Run, row: Row) -> Verdict | None:
    """Whether a row that is declared unusable is still caught; None where fp32 was not heard on its clips.

    Rows that come along are declared so of what comes along: a deeper model may lose a layer and not a word.
    """
    reference = row.counts_of(run.reference_said)
    if not row.complete or not row.scored or reference is None:
        return None
    text = f"WER {row.counts.wer:.4f}, fp32 {reference.wer:.4f}, margin {verdict.USABLE_MARGIN:.4f}"
    if verdict.usable(row.counts, reference):
        if row.variant in VARIANTS and (run.source.spec, run.corpus.name) != (EMBEDDED_MODEL, EMBEDDED):
            return Verdict(
                Word.PASS, f"usable here, though declared unusable of {EMBEDDED_MODEL} on {EMBEDDED}: {text}"
            )
        return Verdict(Word.REGRESSED, f"declared unusable and not caught: {text}")
    return Verdict(Word.PASS, f"unusable, as declared: {text}")


def judge_identity(run: Run, row: Row) -> Verdict | None:
    """STALE or NEW where what is stored is not of what was measured, and None where it is."""
    if row.baseline_error:
        return Verdict(Word.STALE, row.baseline_error)
    return verdict.judge_identity(
        row.baseline,
        row.records,
        run.source.fingerprint,
        run.settings.language,
        row.normalizer.name,
        calibration(run, row),
        whole=run.settings.clips == 0 and row.complete and not row.shortened,
    )


def calibration(run: Run, row: Row) -> str:
    """Fingerprint of the calibration clips where a step of the row looks at them, else empty."""
    return run.calibration.fingerprint if row.report is not None and row.report.calibrated else ""


def find_orphans(run: Run) -> list[Path]:
    """Baselines of this model, corpus and device that no row of the ladder owns; kept in the run."""
    names = {variant.name for variant in run.ladder if run.settings.device in variant.devices}
    run.orphans = baselines.orphans(run.baseline_folder, names)
    return run.orphans


def says_otherwise(run: Run, row: Row) -> bool:
    """Whether a transcript is another one than the baseline's."""
    kept = {clip.id: clip.text for clip in row.baseline.clips_on(run.machine)} if row.baseline is not None else {}
    return any(kept.get(clip.id) != clip.text for clip in row.records)
