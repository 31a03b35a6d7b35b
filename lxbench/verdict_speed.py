"""Judge how fast a variant is against its record, or against an earlier run. Pure: no torch, no files."""

from __future__ import annotations

import math
import statistics
from collections.abc import Container, Iterable, Mapping
from dataclasses import replace

from lxbench.baselines import ClipRecord, Speed
from lxbench.stats import MIN_CLIPS, Change, Timing, change, drift, extremes, inverse
from lxbench.verdict import Verdict, Word

# How far two processes of one variant are apart, as the standard deviation of the logarithm of the ratio: what counts
# where it is not calibrated, and what counts at least where it is, since a few runs may well show nothing.
BETWEEN_PROCESSES = 0.006
_LEAST_BETWEEN = 0.004
# The same of two occasions: what a machine does for some minutes is the same for all processes of them, and another
# time something else (docs/verdicts.md).
BETWEEN_OCCASIONS = 0.008
# By how much a ratio moves where fp32's own seconds have moved, all as logarithms: a standard deviation, as a share of
# that drift. A row that is faster than fp32 moves by more, the further the drift: the second times both logarithms is
# added to its share.
DRIFT_SHARE = 0.20
DRIFT_SHARE_OF_FASTER = 2.0
# Beyond this much, as a logarithm, the machine is said to be in another state.
OTHER_STATE = 0.10
# By how much of the half of its 90 % interval a change lies above the limit where a loss beyond that is unlikely, less
# than one in five: half of the 60 % interval.
UNLIKELY = 0.51
_SAME_LENGTH = 0.02  # a share of the tokens


def speed_change(
    now: Timing, then: Speed, comparisons: int = 1, lately: Mapping[str, float] | None = None
) -> Change | None:
    """By what factor the ratios to fp32 have changed, clip by clip; None where too few were timed then or now.

    A machine that is slower than it was is not slower for all alike: fp32 waits for memory where int8 does not. How far
    fp32 itself has moved therefore widens the intervals, and so does what differs from process to process and from one
    quarter of an hour to another.

    Args:
        now: what was timed.
        then: what is stored; a record of format 1 knows no clips, and its ratio is compared as a whole.
        comparisons: see ``stats.change``.
        lately: seconds of fp32 by clip id, as it was timed last in this run: whether further timings would find the
            machine in the state that ``now`` is of, or nearer to the record's.
    """
    moved = _drift(now, then)
    ratio = then.ratio.value if then.ratio is not None else 1.0
    process = between_processes(then)
    apart = math.hypot(
        process * math.sqrt(1 / now.processes + 1 / _processes(then.timed, now)),
        BETWEEN_OCCASIONS * math.sqrt(1 / now.occasions + 1 / then.timed.occasions),
        drift_error(ratio, moved),
    )
    lasting = math.hypot(
        process / math.sqrt(then.timed.processes),
        BETWEEN_OCCASIONS / math.sqrt(then.timed.occasions),
        drift_error(ratio, _least_drift(moved, lately or {}, then.timed.reference)),
    )
    changed = _speed_change(now.ratios, then, comparisons, apart)
    return None if changed is None else replace(changed, lasting=lasting, drift=moved)


def drift_error(ratio: float, moved: float) -> float:
    """By how much a ratio moves with fp32's own drift, as a standard deviation of its logarithm.

    Fitted to runs of the whole ladder, of hours in which fp32 took up to a quarter longer (docs/verdicts.md).

    Args:
        ratio: how many times as fast as fp32 the row is.
        moved: by what factor fp32 takes longer.
    """
    drifted = abs(math.log(moved))
    return (DRIFT_SHARE + DRIFT_SHARE_OF_FASTER * max(0.0, math.log(ratio)) * drifted) * drifted


def _least_drift(moved: float, lately: Mapping[str, float], then: Mapping[str, float]) -> float:
    """What fp32's drift may come down to over further timings, were fp32 to stay as it is: between then and now.

    Args:
        moved: the drift of what was timed.
        lately: see ``speed_change``.
        then: seconds of fp32 in the record, by clip id.
    """
    if len(lately.keys() & then.keys()) < MIN_CLIPS:
        return moved
    low, high = sorted((math.log(moved), math.log(drift(lately, then))))
    return math.exp(min(max(0.0, low), high))


def between_processes(then: Speed | None) -> float:
    """How far a row's processes are apart: as it was calibrated, else as rows are."""
    spread = then.spread if then is not None else None
    return max(_LEAST_BETWEEN, spread.ratio) if spread is not None else BETWEEN_PROCESSES


def record_error(timed: Timing, process: float = BETWEEN_PROCESSES) -> float:
    """Standard error of a ratio that would be recorded, as a share of it, but for what occasions differ by.

    Infinite before a clip was timed twice.

    Args:
        timed: what would be recorded.
        process: how far the row's processes are apart, see ``between_processes``.
    """
    return math.hypot(timed.noise, process / math.sqrt(timed.processes))


def _drift(now: Timing, then: Speed) -> float:
    """By what factor fp32 takes longer than it did.

    Older records do not have its seconds: they follow from the variant's and the ratio, within a few per cent.
    """
    if then.timed.reference or then.ratio is None or not now.reference or not then.seconds:
        return drift(now.reference, then.timed.reference)
    return statistics.fmean(now.reference.values()) / (then.seconds * then.ratio.value)


def _processes(then: Timing, now: Timing) -> float:
    """In how many processes those clips were timed that are compared: a record times one block of clips in each."""
    shared = sum(id in then.ratios for id in now.ratios)
    return max(1.0, then.processes * shared / len(then.ratios)) if then.ratios else 1.0


def _speed_change(ratios: Mapping[str, float], then: Speed, comparisons: int, apart: float) -> Change | None:
    if then.timed.ratios or then.ratio is None:
        return change(ratios, then.timed.ratios, comparisons, apart)
    # Its interval stands for its noise as ours for ours; that clips differ is then in both.
    noise = math.log(then.ratio.high / then.ratio.low) / (2 * 1.96)
    whole = dict.fromkeys(ratios, then.ratio.value)
    return change(ratios, whole, comparisons, math.hypot(apart, noise))


def stored_ratio(now: Timing, then: Speed) -> float | None:
    """The stored ratio over the clips that were timed now, of which a change is the change; None for fp32 itself."""
    if then.ratio is None:
        return None
    shared = [then.timed.ratios[id] for id in now.ratios if id in then.timed.ratios]
    return statistics.geometric_mean(shared) if shared else then.ratio.value


def judge_speed(then: float | None, changed: Change | None, tolerance: float) -> Verdict:
    """Compare the ratio to fp32 with the stored one, see ``word_of``.

    Args:
        then: see ``stored_ratio``.
        changed: this run's ratios by the stored ones; None where too few clips were timed then or now.
        tolerance: share of the stored ratio that may be lost.
    """
    if then is None or changed is None:
        return Verdict(Word.INCONCLUSIVE, "too few clips were timed for a speed ratio")
    word = word_of(changed, tolerance)
    now = then * changed.plain.value
    text = f"{now:.2f}x fp32, baseline {then:.2f}x on these clips: {describe_change(changed)}"
    text += f", tolerated {-tolerance:+.1%}"
    if word is Word.INCONCLUSIVE:
        text += f": {_doubt(changed, tolerance)}, {_reason(changed)}"
    elif word is Word.PASS and changed.plain.low < 1 - tolerance:
        text += ": a loss beyond it is unlikely"
    return Verdict(word, text)


def _doubt(changed: Change, tolerance: float) -> str:
    if changed.plain.high >= 1 - tolerance:
        return "the interval straddles the limit"
    together = f"[{changed.strict.low - 1:+.1%}, {changed.strict.high - 1:+.1%}]"
    return f"beyond it, but {together} with all comparisons of the run taken together"


def _reason(changed: Change) -> str:
    if in_other_state(changed.drift):
        text = f"fp32 itself takes {changed.drift - 1:+.0%} since it was recorded: the machine is in another state"
        return f"{text}, and recording it anew keeps this better one" if changed.drift < 1 else text
    drifted = f"{changed.drift - 1:+.0%}"
    text = f"too noisy to judge: clips spread by {changed.spread:.0%}, equal runs by {changed.apart:.1%}"
    return text if drifted in ("+0%", "-0%") else f"{text}, fp32 itself takes {drifted} since it was recorded"


def in_other_state(moved: float) -> bool:
    """Whether the machine is said to be in another state, by the factor by which fp32 takes longer."""
    return abs(math.log(moved)) > OTHER_STATE


def word_of(changed: Change, tolerance: float) -> Word:
    """What a change of speed is called; a factor above 1 is faster.

    REGRESSED and IMPROVED say two things: the whole 90 % interval is beyond the tolerance, and with all comparisons of
    the run taken together there is hardly a chance that nothing has changed at all. PASS says that a loss beyond the
    tolerance is unlikely, less than one in five: the 60 % interval lies above.
    """
    if changed.plain.high < 1 - tolerance and changed.strict.high < 1:
        return Word.REGRESSED
    if changed.plain.low > 1 + tolerance and changed.strict.low > 1:
        return Word.IMPROVED
    unlikely = changed.plain.value - UNLIKELY * (changed.plain.value - changed.plain.low)
    return Word.PASS if unlikely >= 1 - tolerance else Word.INCONCLUSIVE


def worth_more(changed: Change, tolerance: float, looks: int) -> bool:
    """Whether more timings are worth their time: they may decide what is undecided, or it is red by a single look.

    Args:
        changed: what is known of the change.
        tolerance: share of the stored ratio that may be lost.
        looks: how often it was looked at.
    """
    if word_of(changed, tolerance) is not Word.INCONCLUSIVE:
        return word_of(changed, tolerance) is Word.REGRESSED and looks < 2
    return may_be_decided(changed, tolerance)


def may_be_decided(changed: Change, tolerance: float) -> bool:
    """Whether further timings may show anything at which it is no longer INCONCLUSIVE.

    They do not make surer what a ratio takes of fp32's drift, nor the record: where that alone is too much, whatever
    they show, the time is better spent on other rows. Only the 90 % interval is asked, the likelier one to decide.
    """
    ends = (word_of(replace(changed, plain=end, strict=end), tolerance) for end in extremes(changed))
    return any(word is not Word.INCONCLUSIVE for word in ends)


def looks_slower(changed: Change, tolerance: float) -> bool:
    """Whether a change is a loss of more than is tolerated, surely so or not."""
    return changed.plain.value < 1 - tolerance


def judge_seconds(
    now: Mapping[str, float],
    then: Mapping[str, float],
    beside: tuple[Mapping[str, float], Mapping[str, float]],
    apart: float,
    tolerance: float,
    comparisons: int,
    since: str,
) -> Verdict | None:
    """Compare the time per audio with that of an earlier run of the same machine; None where too few clips are shared.

    How far equal runs are apart is known of runs in a row; another day the machine itself is another, which fp32 beside
    the row shows: by as much as that has moved the row may have moved with it, as a standard deviation.

    Args:
        now: seconds of each clip.
        then: the same of the earlier run.
        beside: seconds of fp32 beside it, by clip id, now and then; without a clip in common nothing is judged.
        apart: how far equal runs of this machine are apart, as the standard deviation of the logarithm.
        tolerance: share of the earlier speed that may be lost.
        comparisons: see ``stats.change``.
        since: the name of the earlier run.
    """
    if not beside[0].keys() & beside[1].keys():
        return None
    moved = drift(*beside)
    changed = change(now, then, comparisons, math.hypot(math.sqrt(2) * apart, math.log(moved)))
    if changed is None:
        return None
    text = (
        f"s/audio since {since}: {describe_change(changed)}, fp32 beside it {moved - 1:+.1%}; "
        f"equal runs of this machine are {apart:.1%} apart"
    )
    return Verdict(word_of(inverse(changed), tolerance), text)


def describe_change(changed: Change) -> str:
    """The change in per cent with its interval."""
    plain = changed.plain
    return f"{plain.value - 1:+.1%} [{plain.low - 1:+.1%}, {plain.high - 1:+.1%}]"


def describe_length(now: Iterable[ClipRecord], then: Iterable[ClipRecord], timed: Container[str]) -> str:
    """Say where a variant's output is longer or shorter than its baseline's; empty below 2 %.

    The length of the output is a hidden variable of speed: who stops early is fast, who repeats himself is slow.
    """
    tokens, kept = (sum(record.tokens for record in side if record.id in timed) for side in (now, then))
    if not kept or abs(tokens / kept - 1) < _SAME_LENGTH:
        return ""
    return (
        f"; it says {tokens / kept - 1:+.0%} tokens on the timed clips ({kept} then, {tokens} now), and speed follows"
    )
