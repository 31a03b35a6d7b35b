"""Hold the rows of a run against the stored baselines: how much is measured to decide, and what is said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from lxbench import baselines, machine, verdict, verdict_speed
from lxbench.baselines import Speed
from lxbench.corpus import Corpus
from lxbench.errors import BaselineError
from lxbench.ladder import Variant
from lxbench.pairing import PAIRED_CLIPS
from lxbench.row import Row, row_id
from lxbench.run import Run
from lxbench.stats import Timing
from lxbench.verdict import Verdict, Word

# How often fp32 is timed beside a block of clips at most, where the speed is still undecided.
MAX_LOOKS = 12
# How often it is timed beside the clips that are recorded, on average, at least and at most: every later run is held
# against a record, and its error is in each of their intervals. The second time is another occasion.
RECORD_ROUNDS = (1.5, 3.0)
RECORD_ERROR = 0.004  # standard error of the ratio, within an occasion
_RECORDS = {"cpu": "nox -s baselines", "cuda": "nox -s bench-gpu -- --lx-update new,changed"}
# How much more of the budget goes to a row that looks slower than is tolerated: it is what the gate is for.
SUSPECTED = 4.0
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


def clips_to_time(run: Run, variant: Variant) -> Corpus:
    """The clips that a variant is timed on: all that its row names, or those that fp32 is timed beside.

    The latter where the run only judges, and the variant is recorded on this kind of machine as no faster than fp32, or
    by no more than is tolerated: nobody chooses it, and on the slowest rows of the ladder most of its time would be
    spent. See ``hear``.
    """
    clips = run.corpus.first(variant.clips)
    if run.settings.update or run.settings.study or not run.settings.timing:
        return clips
    try:
        kept = baselines.read(run.baseline_path(variant.name))
    except BaselineError:
        return clips
    speed = kept.speed_on(run.machine) if kept is not None else None
    slow = speed is not None and speed.ratio is not None and speed.ratio.low <= 1 + variant.tolerance.speed
    return clips.first(PAIRED_CLIPS) if slow else clips


def hear(run: Run, row: Row) -> None:
    """Have a row transcribe what was not timed of its clips, as far as it takes to judge it.

    A variant says the same letter for letter as long as nothing has changed. One that is timed on a part of its clips
    therefore hears the others only where it says something else than its baseline there, or is not what it was.
    """
    run.transcribe_rest(row)
    if not row.scored:
        return
    as_recorded = row.against_baseline in AS_RECORDED and not says_otherwise(run, row)
    if row.shortened and not row.measured_as and not as_recorded:
        row.corpus, row.shortened = run.corpus.first(row.variant.clips), False
        run.transcribe_rest(row)


def plan(run: Run, variants: Sequence[Variant]) -> Iterator[tuple[str, int]]:
    """Yield the id of each row and how many clips will be transcribed for it, fp32's beside it counted too."""
    for number, variant in enumerate(variants):
        id, clips = row_id(variant, run.settings.device), len(clips_to_time(run, variant).clips)
        reference = variant is run.ladder[0]
        if not reference and any(variant.same_work(other) for other in variants[:number]):
            yield id, 0  # It takes that row's measurement over.
            continue
        alone = reference or not run.settings.timing
        if run.settings.update and not alone:
            yield id, 2 * clips * (2 if clips >= PAIRED_CLIPS else 1)  # About twice, see ``RECORD_ERROR``.
        else:
            yield id, clips + (0 if alone else min(clips, PAIRED_CLIPS))


def clips_to_pair(run: Run, row: Row) -> int:
    """How many clips fp32 is timed beside at first: all where a row is recorded, else one block."""
    return len(row.corpus.clips) if _is_recorded(run, row) else PAIRED_CLIPS


def judge_first(run: Run, row: Row) -> Verdict:
    """Judge the speed of a row that was just timed; what is red waits for a second look, see ``judge_again``."""
    said = judge_speed(run, row)
    if said.word is Word.REGRESSED and undecided(run, row):
        return replace(said, word=Word.INCONCLUSIVE, text=f"{said.text}; at a first look")
    return said


def judge_again(run: Run, row: Row) -> dict[str, Verdict]:
    """Judge the speed of a row once all are measured, minutes later: those that are undecided are timed again.

    Returns:
        The verdicts that it changes, by what was judged.
    """
    if twin := next((other for other in run.rows if other.id == row.measured_as), None):
        row.take_over(twin)
    said = {"speed": decide_speed(run, row)}
    row.verdicts |= said
    if row.shortened and row.against_baseline not in AS_RECORDED:
        hear(run, row)
        said["accuracy"] = judge_accuracy(run, row)
    row.verdicts |= said
    return said


def decide_speed(run: Run, row: Row) -> Verdict:
    """Time a row again while its speed is undecided, as far as the budget goes, and judge it.

    No row is red by one look: what seems to be is timed once more, whatever the budget; so is what is recorded. The
    budget is shared with the later ones that are undecided too, see ``_claim``.
    """
    later = run.rows[run.rows.index(row) + 1 :]
    share: float | None = None
    while undecided(run, row):
        if share is None:
            mine = _claim(run, row)
            share = mine / (mine + sum(_claim(run, other) for other in later))
        unpaid = _is_recorded(run, row) or judge_speed(run, row).word is Word.REGRESSED
        if not (unpaid or run.budget.allows(row.id, share)):
            break
        run.time_again(row)
    run.budget.close()
    return judge_speed(run, row)


def _claim(run: Run, row: Row) -> float:
    """How much of the budget an undecided row claims, beside others: more where it looks slower than is tolerated."""
    if not undecided(run, row):
        return 0.0
    then = _stored_speed(run, row)
    changed = None if then is None else verdict_speed.speed_change(row.timing, then, run.comparisons)
    slower = changed is not None and changed.plain.value < 1 - row.variant.tolerance.speed
    return SUSPECTED if slower else 1.0


def undecided(run: Run, row: Row) -> bool:
    """Whether more pairs of timings may be worth their time: the speed is undecided, or it is recorded for others.

    Fewer clips than one block of pairs are a quick look, which no repeat would make a decision of.
    """
    if (
        row.is_reference
        or row.measured_as
        or not row.scored
        or not row.timed
        or row.speed_crash
        or row.word is Word.CRASHED
        or (row.usage is not None and row.usage.compilations)
        or len(row.pairs) < PAIRED_CLIPS
    ):
        return False
    taken = sum(map(len, row.pairs.values()))
    if _is_recorded(run, row):
        least, most = (rounds * len(row.corpus.clips) for rounds in RECORD_ROUNDS)
        return taken < least or (taken < most and unsure(row.timing))
    then = _stored_speed(run, row)
    if then is None or not then.timed.ratios or _judge_identity(run, row) is not None:
        return False
    changed, looks = verdict_speed.speed_change(row.timing, then, run.comparisons), taken // PAIRED_CLIPS
    if changed is None or looks >= MAX_LOOKS:
        return False
    return verdict_speed.worth_more(changed, row.variant.tolerance.speed, looks)


def _stored_speed(run: Run, row: Row) -> Speed | None:
    """What is stored of a row's speed on this kind of machine."""
    return row.baseline.speed_on(run.machine) if row.baseline is not None else None


def _is_recorded(run: Run, row: Row) -> bool:
    """Whether this run may write how fast a row is."""
    update = run.settings.update & {"new", "changed"}
    then = _stored_speed(run, row)
    kept = then is not None and then.timed.reference and "changed" not in update
    return bool(update) and not kept


def unsure(timed: Timing) -> bool:
    """Whether a record of these timings would be less sure than it should."""
    return verdict_speed.record_error(timed) > RECORD_ERROR


def judge_speed(run: Run, row: Row) -> Verdict:
    """Compare the ratio to fp32 with the one that is stored for this kind of machine."""
    if row.crash or row.speed_crash:
        return Verdict(Word.CRASHED, row.crash or row.speed_crash)
    if row.usage is not None and row.usage.compilations:
        return Verdict(
            Word.CRASHED,
            f"torch compiled {row.usage.compilations} more graphs while clips were timed: "
            "an input changed its shape after the warm-up",
        )
    if not row.scored:
        ratio = "the reference" if row.ratio is None else f"{row.ratio.value:.2f} times fp32"
        return Verdict(Word.PASS, f"{ratio}; random weights, nothing is gated")
    if (identity := _judge_identity(run, row)) is not None:
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
            f"{_RECORDS[row.device]} records it",
        )
    changed = verdict_speed.speed_change(row.timing, then, run.comparisons)
    said = verdict_speed.judge_speed(then.ratio, changed, row.variant.tolerance.speed)
    length = verdict_speed.describe_length(row.records, row.baseline.clips_on(run.machine), row.pairs)
    noise = f"; {row.disturbance}" if said.word is Word.INCONCLUSIVE and row.disturbance is not None else ""
    if said.word is Word.REGRESSED and then.spread is None:
        noise = f"; nox -s calibrate -- --runs 8 --lx-clips 24 -k '[{row.id}]' tells how far equal runs are apart"
    return replace(said, text=said.text + noise + length)


def judge_seconds(run: Run, row: Row) -> Verdict | None:
    """Compare the time per audio with the last saved run of this very machine; None where there is nothing to judge by.

    A machine has slower and faster hours: until it is known how far they are apart (``nox -s calibrate``), no change of
    seconds can be told from one, and the change is shown alone.
    """
    then = run.saved.seconds.get(row.id, []) if run.saved is not None else []
    record = _stored_speed(run, row)
    if run.saved is None or not row.timed or record is None or record.spread is None:
        return None
    now = {clip.id: row.transcripts[clip.id].seconds for clip in row.corpus.clips}
    before = dict(zip(now, then, strict=False))  # In the corpus's order; either may be of fewer clips.
    limit = row.variant.tolerance.speed
    return verdict_speed.judge_seconds(now, before, record.spread.seconds, limit, run.comparisons, run.saved.name)


def judge_accuracy(run: Run, row: Row) -> Verdict:
    """Compare WER and CER with the baseline's, on the clips of this run."""
    if row.crash:
        return Verdict(Word.CRASHED, row.crash)
    if (identity := _judge_identity(run, row)) is not None:
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
    """Clips per second in batches: shown, not gated."""
    if row.crash or row.throughput is None:
        return Verdict(Word.CRASHED, row.crash)
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
    """Whether a row that is declared unusable is still caught; None where fp32 was not heard on its clips."""
    reference = row.counts_of(run.reference_said)
    if not row.complete or not row.scored or reference is None:
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
        whole=run.settings.clips == 0 and row.complete and not row.shortened,
    )


def find_orphans(run: Run) -> list[Path]:
    """Baselines of this model, corpus and device that no row of the ladder owns; kept in the run."""
    names = {variant.name for variant in run.ladder if run.settings.device in variant.devices}
    run.orphans = baselines.orphans(run.baseline_folder, names)
    return run.orphans


def says_otherwise(run: Run, row: Row) -> bool:
    """Whether a transcript is another one than the baseline's."""
    kept = {clip.id: clip.text for clip in row.baseline.clips_on(run.machine)} if row.baseline is not None else {}
    return any(kept.get(clip.id) != clip.text for clip in row.records)
