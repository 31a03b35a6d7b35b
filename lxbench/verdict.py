"""Judge a result against its baseline. Pure: no torch, no files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from lxbench.baselines import Baseline, ClipRecord
from lxbench.score import Counts, total
from lxbench.stats import Interval

USABLE_MARGIN = 0.010  # absolute points of WER
_ROUNDING = 1e-9  # 0.16 - 0.15 is a little more than 0.01


class Word(StrEnum):
    """The first word of every verdict, worst first."""

    CRASHED = "CRASHED"
    ORPHAN = "ORPHAN"
    STALE = "STALE"
    NEW = "NEW"
    REGRESSED = "REGRESSED"
    INCONCLUSIVE = "INCONCLUSIVE"
    IMPROVED = "IMPROVED"
    PASS = "PASS"

    @property
    def red(self) -> bool:
        """Whether this verdict fails the run."""
        return self in _RED


_RED = {Word.CRASHED, Word.ORPHAN, Word.STALE, Word.NEW, Word.REGRESSED}


@dataclass(frozen=True)
class Verdict:
    """A word and the sentence that explains it."""

    word: Word
    text: str

    def __str__(self) -> str:
        return f"{self.word}: {self.text}"


@dataclass(frozen=True)
class Tolerance:
    """How far a result may move. Policy, set in code and never by the updater.

    Attributes:
        wer, cer: absolute points.
        speed: share of the stored ratio.
    """

    wer: float = 0.010
    cer: float = 0.005
    speed: float = 0.10


def worst(verdicts: Iterable[Verdict]) -> Word:
    """The word of a row: the worst of its parts."""
    order = list(Word)
    return min((verdict.word for verdict in verdicts), key=order.index, default=Word.PASS)


def judge_identity(
    baseline: Baseline | None,
    clips: Iterable[ClipRecord],
    model: str,
    language: str,
    normalizer: str,
    whole: bool = False,
) -> Verdict | None:
    """Return NEW or STALE where the baseline cannot be compared with, otherwise None.

    Args:
        baseline: what is stored, if anything.
        clips: the clips of this run; only these are compared.
        model: fingerprint of the model of this run.
        language: language of this run.
        normalizer: name and version of this run's normaliser.
        whole: whether the run is over the whole corpus, so that the baseline may not know more clips.
    """
    if baseline is None:
        return Verdict(Word.NEW, "no baseline is stored for this variant")
    if baseline.model["fingerprint"] != model:
        return Verdict(
            Word.STALE,
            f"the baseline was recorded on another model: {baseline.model['fingerprint'][:16]}, now {model[:16]}",
        )
    for what, then, now in (
        ("language", baseline.language, language),
        ("normaliser", baseline.normalizer, normalizer),
    ):
        if then != now:
            return Verdict(Word.STALE, f"the baseline was recorded with another {what}: {then}, now {now}")
    stored = {clip.id: clip.fingerprint for clip in baseline.clips}
    clips = list(clips)
    changed = [clip.id for clip in clips if stored.get(clip.id, clip.fingerprint) != clip.fingerprint]
    absent = [clip.id for clip in clips if clip.id not in stored]
    if changed:
        return Verdict(Word.STALE, f"audio or reference text changed since the baseline: {_some(changed)}")
    if absent:
        return Verdict(Word.STALE, f"the baseline does not cover these clips: {_some(absent)}")
    if whole and (gone := sorted(stored.keys() - {clip.id for clip in clips})):
        return Verdict(Word.STALE, f"clips of the baseline are gone from the corpus: {_some(gone)}")
    return None


def judge_accuracy(now: Counts, then: Counts, tolerance: Tolerance) -> Verdict:
    """Compare corpus rates on the same clips: above baseline plus tolerance is REGRESSED."""
    wer, cer = now.wer - then.wer, now.cer - then.cer
    text = (
        f"WER {now.wer:.4f}, baseline {then.wer:.4f} ({wer:+.4f}, tolerance {tolerance.wer:.4f}); "
        f"CER {now.cer:.4f}, baseline {then.cer:.4f} ({cer:+.4f}, tolerance {tolerance.cer:.4f})"
    )
    if wer > tolerance.wer + _ROUNDING or cer > tolerance.cer + _ROUNDING:
        return Verdict(Word.REGRESSED, text)
    if wer < -tolerance.wer - _ROUNDING or cer < -tolerance.cer - _ROUNDING:
        return Verdict(Word.IMPROVED, text)
    return Verdict(Word.PASS, text)


def judge_speed(
    now: Interval | None, then: Interval | None, tolerance: float, differing: Iterable[str] = ()
) -> Verdict:
    """Compare ratios to fp32: REGRESSED only where the whole interval lies below what is tolerated.

    Args:
        now: this run's ratio; None where too few clips were timed.
        then: the stored ratio.
        tolerance: share of the stored ratio that may be lost.
        differing: machine keys that make the two ratios incomparable.
    """
    if now is None or then is None:
        return Verdict(Word.INCONCLUSIVE, "too few clips were timed for a speed ratio")
    floor, ceiling = then.value * (1 - tolerance), then.value * (1 + tolerance)
    text = (
        f"{now.value:.2f}x fp32 [{now.low:.2f}, {now.high:.2f}], "
        f"baseline {then.value:.2f}x (tolerated from {floor:.2f}x)"
    )
    if keys := list(differing):
        return Verdict(
            Word.INCONCLUSIVE,
            f"{text}: not gated, the baseline's machine differs in {', '.join(keys)}",
        )
    if now.high < floor:
        return Verdict(Word.REGRESSED, text)
    if now.low < floor:
        return Verdict(Word.INCONCLUSIVE, f"{text}: the interval straddles the limit")
    if now.low > ceiling:
        return Verdict(Word.IMPROVED, text)
    return Verdict(Word.PASS, text)


def usable(variant: Counts, reference: Counts, margin: float = USABLE_MARGIN) -> bool:
    """Whether a variant's WER is not worse than the reference's, same clips, by more than the margin.

    One word is never enough to say no: on fewer than 100 words it is more than the margin.
    """
    allowed = max(margin * reference.words, 1.0)
    return variant.word_edits - reference.word_edits <= allowed + _ROUNDING


def counts_on(baseline: Baseline, clips: Iterable[ClipRecord]) -> Counts:
    """The baseline's counts on the clips of this run alone."""
    wanted = {clip.id for clip in clips}
    return total(clip.counts for clip in baseline.clips if clip.id in wanted)


def _some(names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
