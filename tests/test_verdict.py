from __future__ import annotations

import pytest

from lxbench import verdict
from lxbench.baselines import ClipRecord
from lxbench.score import Counts
from lxbench.stats import Interval
from lxbench.verdict import Tolerance, Verdict, Word
from tests.samples import CLIP, MODEL, baseline

TOLERANCE = Tolerance()


def counts(word_edits: int, character_edits: int = 0) -> Counts:
    return Counts(1000, word_edits, 10000, character_edits)


@pytest.mark.parametrize(
    ("now", "word"),
    [
        (counts(150), Word.PASS),
        (counts(160), Word.PASS),
        (counts(161), Word.REGRESSED),
        (counts(150, 51), Word.REGRESSED),
        (counts(140), Word.PASS),
        (counts(139), Word.IMPROVED),
        (counts(139, 51), Word.REGRESSED),
    ],
)
def test_accuracy_is_held_to_the_baseline_plus_tolerance(now: Counts, word: Word) -> None:
    assert verdict.judge_accuracy(now, counts(150), TOLERANCE).word is word


@pytest.mark.parametrize(
    ("now", "word"),
    [
        (Interval(2.0, 1.95, 2.05), Word.PASS),
        (Interval(1.75, 1.72, 1.79), Word.REGRESSED),
        (Interval(1.8, 1.75, 1.85), Word.INCONCLUSIVE),
        (Interval(2.1, 1.75, 2.5), Word.INCONCLUSIVE),
        (Interval(2.3, 2.25, 2.35), Word.IMPROVED),
        (Interval(2.2, 2.15, 2.25), Word.PASS),
        (None, Word.INCONCLUSIVE),
    ],
)
def test_speed_is_red_only_where_the_whole_interval_is(now: Interval | None, word: Word) -> None:
    assert verdict.judge_speed(now, Interval(2.0, 1.9, 2.1), 0.10).word is word


def test_speed_of_another_machine_is_not_gated_and_says_why() -> None:
    said = verdict.judge_speed(Interval(0.5, 0.4, 0.6), Interval(2.0, 1.9, 2.1), 0.10, ["isa", "threads"])
    assert said.word is Word.INCONCLUSIVE
    assert "the baseline's machine differs in isa, threads" in said.text


def test_identity_of_a_fitting_baseline() -> None:
    assert verdict.judge_identity(baseline(), [CLIP], MODEL, "ru", "russian/1") is None


def test_no_baseline_is_new() -> None:
    said = verdict.judge_identity(None, [CLIP], MODEL, "ru", "russian/1")
    assert said == Verdict(Word.NEW, "no baseline is stored for this variant")


@pytest.mark.parametrize(
    ("clip", "model", "language", "normalizer", "text"),
    [
        (CLIP, "f" * 64, "ru", "russian/1", "recorded on another model"),
        (CLIP, MODEL, "de", "russian/1", "another language: ru, now de"),
        (CLIP, MODEL, "ru", "russian/2", "another normaliser: russian/1, now russian/2"),
        (
            ClipRecord(CLIP.id, "changed", CLIP.text, CLIP.tokens, CLIP.counts),
            MODEL,
            "ru",
            "russian/1",
            "audio or reference text changed since the baseline: one",
        ),
        (
            ClipRecord("other", CLIP.fingerprint, CLIP.text, CLIP.tokens, CLIP.counts),
            MODEL,
            "ru",
            "russian/1",
            "the baseline does not cover these clips: other",
        ),
    ],
)
def test_what_makes_a_baseline_stale(clip: ClipRecord, model: str, language: str, normalizer: str, text: str) -> None:
    said = verdict.judge_identity(baseline(), [clip], model, language, normalizer)
    assert said is not None
    assert said.word is Word.STALE
    assert text in said.text


def test_a_clip_gone_from_the_whole_corpus_makes_a_baseline_stale() -> None:
    two = baseline(CLIP, ClipRecord("two", "g", "x", 1, Counts(10, 10, 50, 50)))
    assert verdict.judge_identity(two, [CLIP], MODEL, "ru", "russian/1") is None
    said = verdict.judge_identity(two, [CLIP], MODEL, "ru", "russian/1", whole=True)
    assert said == Verdict(Word.STALE, "clips of the baseline are gone from the corpus: two")


def test_the_worst_word_of_a_row_wins() -> None:
    words = [Word.PASS, Word.IMPROVED, Word.REGRESSED, Word.INCONCLUSIVE]
    assert verdict.worst(Verdict(word, "") for word in words) is Word.REGRESSED
    assert verdict.worst([]) is Word.PASS


def test_which_words_are_red() -> None:
    assert {word for word in Word if not word.red} == {Word.PASS, Word.IMPROVED, Word.INCONCLUSIVE}


def test_usable_is_measured_against_the_reference() -> None:
    assert verdict.usable(counts(160), counts(150))
    assert not verdict.usable(counts(161), counts(150))


def test_one_word_alone_does_not_make_a_variant_unusable() -> None:
    assert verdict.usable(Counts(40, 4, 200, 9), Counts(40, 3, 200, 8))
    assert not verdict.usable(Counts(40, 5, 200, 9), Counts(40, 3, 200, 8))


def test_a_subset_is_compared_with_the_same_clips_of_the_baseline() -> None:
    two = baseline(CLIP, ClipRecord("two", "g", "x", 1, Counts(10, 10, 50, 50)))
    assert verdict.counts_on(two, [CLIP]) == CLIP.counts
