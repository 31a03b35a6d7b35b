"""Judge a result against its baseline. Pure: no torch, no files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from lxbench.baselines import Baseline, ClipRecord
from lxbench.score import Counts, total
from lxbench.stats import Shift, shift

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


# Verdicts that no baseline holds: seconds are compared with another run, what should be unusable with fp32; batches
# are only shown, and a row that dies in them has been judged one by one.
OF_NO_BASELINE = ("seconds", "usable", "throughput")
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
    speed: float = 0.025


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
    calibration: str = "",
    whole: bool = False,
) -> Verdict | None:
    """Return NEW or STALE where the baseline cannot be compared with, otherwise None.

    Args:
        baseline: what is stored, if anything.
        clips: the clips of this run; only these are compared.
        model: fingerprint of the model of this run.
        language: language of this run.
        normalizer: name and version of this run's normaliser.
        calibration: fingerprint of the calibration clips that its steps have looked at; empty where none has.
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
    if baseline.calibration and calibration and baseline.calibration != calibration:
        return Verdict(Word.STALE, "the baseline's steps were calibrated on other clips")
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


def judge_accuracy(clips: Sequence[ClipRecord], kept: Iterable[ClipRecord], tolerance: Tolerance) -> Verdict:
    """Compare corpus rates on the same clips: above baseline plus tolerance is REGRESSED, whatever chance says.

    Args:
        clips: what was said in this run.
        kept: what is stored, for these clips at least.
        tolerance: in absolute points.
    """
    known = {clip.id: clip for clip in kept}
    same = [known[clip.id] for clip in clips]
    said = judge_rates(total(clip.counts for clip in clips), total(clip.counts for clip in same), tolerance)
    if not (changed := sum(clip.text != old.text for clip, old in zip(clips, same, strict=True))):
        return said
    text = f"{said.text}; {changed} of {len(clips)} transcripts changed"
    moved = word_shift(clips, {clip.id: clip.counts for clip in same})
    if moved is not None and (moved.worse or moved.better):
        text += f": {describe_shift(moved)}"
    return Verdict(said.word, text)


def judge_rates(now: Counts, then: Counts, tolerance: Tolerance) -> Verdict:
    """Compare corpus rates; see ``judge_accuracy``."""
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


def describe_shift(moved: Shift) -> str:
    """How many clips moved, how likely chance is, and how many clips would decide it."""
    text = f"{moved.worse} clips are worse, {moved.better} better, by chance in {moved.chance:.1%} of such corpora"
    if moved.needed is None or moved.rate.low > 0 or moved.rate.high < 0:
        return text
    return f"{text}; about {moved.needed} clips would decide it"


def word_shift(now: Sequence[ClipRecord], then: Mapping[str, Counts]) -> Shift | None:
    """How far WER is from another one on the same clips; None where there are none."""
    if not now:
        return None
    return shift(
        [record.counts.word_edits for record in now],
        [then[record.id].word_edits for record in now],
        [record.counts.words for record in now],
    )


def usable(variant: Counts, reference: Counts, margin: float = USABLE_MARGIN) -> bool:
    """Whether a variant's WER is not worse than the reference's, same clips, by more than the margin.

    One word is never enough to say no: on fewer than 100 words it is more than the margin.
    """
    allowed = max(margin * reference.words, 1.0)
    return variant.word_edits - reference.word_edits <= allowed + _ROUNDING


def shown_usable(against: Shift, margin: float = USABLE_MARGIN) -> bool:
    """Whether a variant is shown to be no worse than fp32 by more than the margin: a test of non-inferiority.

    Within the margin by what was measured is ``usable``; here the whole interval lies within it.
    """
    return against.rate.high <= margin + _ROUNDING


def _some(names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
