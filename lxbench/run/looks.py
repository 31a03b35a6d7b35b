"""How much of a row is measured until it is decided: its clips, fp32 beside it, and once more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from lxbench import baselines, verdict_speed
from lxbench.corpus import Corpus
from lxbench.errors import BaselineError
from lxbench.ladder import Variant
from lxbench.run import Run, gate
from lxbench.run.pairing import PAIRED_CLIPS
from lxbench.run.row import Row, row_id
from lxbench.stats import Timing
from lxbench.verdict import Verdict, Word

# How often fp32 is timed beside a block of clips at most, where the speed is still undecided.
MAX_LOOKS = 12
# How often it is timed beside the clips that are recorded, on average, at least and at most: every later run is held
# against a record, and its error is in each of their intervals. The second time is another occasion.
RECORD_ROUNDS = (1.5, 3.0)
RECORD_ERROR = 0.004  # standard error of the ratio, within an occasion
# How much more of the budget goes to a row that looks slower than is tolerated: it is what the gate is for.
SUSPECTED = 4.0


def clips_to_time(run: Run, variant: Variant) -> Corpus:
    """The clips that a variant is timed on: all that its row names, or those that fp32 is timed beside.

    The latter where the run only judges, and the variant is recorded on this kind of machine as no faster than fp32, or
    by no more than is tolerated: nobody chooses it, and on the slowest rows of the ladder most of its time would be
    spent. See ``hear``. What is declared unusable is to be caught on all of its clips.
    """
    clips = run.corpus.first(variant.clips)
    if run.settings.update or run.settings.study or not run.settings.timing or variant.unusable:
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
    as_recorded = row.against_baseline in gate.AS_RECORDED and not gate.says_otherwise(run, row)
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
    """Judge the speed of a row that was just timed; what is red waits for a second look, see ``judge_again``.

    Where none will come, for the test of it was not asked for, it is taken at once.
    """
    said = gate.judge_speed(run, row)
    if said.word is Word.REGRESSED and (row.measured_as or undecided(run, row)):
        if row.id not in run.judged_again:
            return judge_again(run, row)["speed"]
        return replace(said, word=Word.INCONCLUSIVE, text=f"{said.text}; at a first look")
    return said


def judge_again(run: Run, row: Row) -> dict[str, Verdict]:
    """Judge the speed of a row once all are measured, minutes later: those that are undecided are timed again.

    Returns:
        The verdicts that it changes, by what was judged.
    """
    heard, processes = len(row.corpus.clips), len(row.processes)
    if twin := next((other for other in run.rows if other.id == row.measured_as), None):
        row.take_over(twin)
    said = {"speed": decide_speed(run, row)}
    row.verdicts |= said
    # Else its worker has ended, and it was judged on what it had to hear.
    alive = len(row.processes) > processes and not (row.measured_as or row.crash)
    if alive and row.shortened and row.against_baseline not in gate.AS_RECORDED:
        hear(run, row)
    if len(row.corpus.clips) > heard:
        said["accuracy"] = gate.judge_accuracy(run, row)
    row.verdicts |= said
    return said


def decide_speed(run: Run, row: Row) -> Verdict:
    """Time a row again while its speed is undecided, as far as the budget goes, and judge it.

    No row is red by one look: what seems to be is timed once more, whatever the budget; so is what is recorded. The
    budget is shared with the later ones that are undecided too, see ``_claim``.
    """
    later = run.rows[run.rows.index(row) + 1 :]
    while undecided(run, row):
        mine = _claim(run, row)
        share = mine / (mine + sum(_claim(run, other) for other in later))  # They change as fp32 does, see ``_claim``.
        both = (row, *_twins(run, row))
        seems_red = _looks(row) < 2 and any(gate.judge_speed(run, each).word is Word.REGRESSED for each in both)
        unpaid = seems_red or _is_recorded(run, row)
        if not (unpaid or run.budget.allows(row.id, share)):
            break
        run.time_again(row)
        for twin in _twins(run, row):
            twin.take_over(row)
    run.budget.close()
    said = gate.judge_speed(run, row)
    changed = gate.changed_speed(run, row)
    hopeless = changed is not None and not verdict_speed.may_be_decided(changed, row.variant.tolerance.speed)
    if said.word is Word.INCONCLUSIVE and hopeless:
        return replace(said, text=f"{said.text}; timing it longer would not tell")
    return said


def _claim(run: Run, row: Row) -> float:
    """How much of the budget an undecided row claims, beside others: more where it looks slower than is tolerated.

    It claims nothing while fp32 is in a state in which no timing would decide it, and again when that has passed.
    """
    if not undecided(run, row):
        return 0.0
    slower = any(
        (changed := gate.changed_speed(run, each)) is not None
        and verdict_speed.looks_slower(changed, each.variant.tolerance.speed)
        for each in (row, *_twins(run, row))
    )
    return SUSPECTED if slower else 1.0


def undecided(run: Run, row: Row) -> bool:
    """Whether more pairs of timings may be worth their time: the speed is undecided, or it is recorded for others.

    Fewer clips than one block of pairs are a quick look, which no repeat would make a decision of. A row that is
    judged by another's measurement is timed with it.
    """
    if (
        row.is_reference
        or row.measured_as
        or row.crash
        or not row.scored
        or not row.timed
        or row.speed_crash
        or row.against_baseline is Word.CRASHED
        or (row.usage is not None and row.usage.compilations)
        or len(row.pairs) < PAIRED_CLIPS
    ):
        return False
    if _is_recorded(run, row):
        taken = sum(map(len, row.pairs.values()))
        least, most = (rounds * len(row.corpus.clips) for rounds in RECORD_ROUNDS)
        return taken < least or (
            taken < most and unsure(row.timing, verdict_speed.between_processes(gate.stored_speed(run, row)))
        )
    return _looks(row) < MAX_LOOKS and any(_worth_more(run, each) for each in (row, *_twins(run, row)))


def _looks(row: Row) -> int:
    """How many blocks of clips fp32 was timed beside."""
    return sum(map(len, row.pairs.values())) // PAIRED_CLIPS


def _worth_more(run: Run, row: Row) -> bool:
    """Whether what is stored of a row leaves its speed undecided after the looks at it."""
    then, changed = gate.stored_speed(run, row), gate.changed_speed(run, row)
    if then is None or changed is None or gate.judge_identity(run, row) is not None:
        return False
    # A record of format 1 knows no clips, and no further timing makes it surer: a row is only not red by one look.
    known = bool(then.timed.ratios) or verdict_speed.word_of(changed, row.variant.tolerance.speed) is Word.REGRESSED
    return known and verdict_speed.worth_more(changed, row.variant.tolerance.speed, _looks(row))


def _twins(run: Run, row: Row) -> list[Row]:
    """The rows of the same steps that are judged by its measurement."""
    return [other for other in run.rows if other.measured_as == row.id]


def _is_recorded(run: Run, row: Row) -> bool:
    """Whether this run may write how fast a row is."""
    update = run.settings.update & {"new", "changed"}
    then = gate.stored_speed(run, row)
    kept = then is not None and then.timed.reference and "changed" not in update
    return bool(update) and not kept


def unsure(timed: Timing, process: float = verdict_speed.BETWEEN_PROCESSES) -> bool:
    """Whether a record of these timings would be less sure than it should; see ``verdict_speed.record_error``."""
    return verdict_speed.record_error(timed, process) > RECORD_ERROR
