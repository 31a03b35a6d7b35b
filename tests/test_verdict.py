from __future__ import annotations

import math
from dataclasses import replace

import pytest

from lxbench import verdict, verdict_speed
from lxbench.baselines import ClipRecord, Speed, Spread
from lxbench.score import Counts
from lxbench.stats import Change, Interval, Shift, Timing
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
    assert verdict.judge_rates(now, counts(150), TOLERANCE).word is word


def changed(value: float, half: float, strict: float | None = None) -> Change:
    far = half * 1.5 if strict is None else strict
    return Change(Interval(value, value - half, value + half), Interval(value, value - far, value + far), 0.05)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (changed(1.00, 0.03), Word.PASS),
        (changed(0.85, 0.03), Word.REGRESSED),
        (changed(0.85, 0.03, 0.20), Word.INCONCLUSIVE),  # of so many rows, one may look like this by chance
        (changed(0.90, 0.03), Word.INCONCLUSIVE),
        (changed(1.05, 0.25), Word.PASS),  # one in six that it is a loss of so much
        (changed(1.00, 0.25), Word.INCONCLUSIVE),
        (changed(1.15, 0.03), Word.IMPROVED),
        (changed(1.15, 0.03, 0.20), Word.PASS),
        (changed(1.10, 0.03), Word.PASS),
        (None, Word.INCONCLUSIVE),
    ],
)
def test_speed_is_red_only_where_the_whole_interval_is(change: Change | None, word: Word) -> None:
    said = verdict_speed.judge_speed(2.0, change, 0.10)
    assert said.word is word
    assert change is not None or "too few clips" in said.text


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (changed(0.90, 0.03), Word.INCONCLUSIVE),
        (changed(0.905, 0.03), Word.INCONCLUSIVE),  # chances are that it is below 0.90
        (changed(0.91, 0.03), Word.INCONCLUSIVE),  # one in four that it is
        (changed(0.918, 0.03), Word.PASS),  # hardly: it will not become red
        (changed(0.85, 0.03, 0.20), Word.INCONCLUSIVE),
        (changed(0.85, 0.03), Word.REGRESSED),
        (changed(1.00, 0.03), Word.PASS),
    ],
)
def test_more_timings_are_worth_it_where_a_loss_is_likely_or_was_seen_once(change: Change, word: Word) -> None:
    assert verdict_speed.word_of(change, 0.10) is word
    assert verdict_speed.worth_more(change, 0.10, looks=2) is (word is Word.INCONCLUSIVE)
    assert verdict_speed.worth_more(change, 0.10, looks=1) is (word is not Word.PASS)


@pytest.mark.parametrize(
    ("lasting", "value", "worth"),
    [
        (0.000, 0.89, True),
        (0.030, 0.889, False),  # at best 0.912, and a PASS at 0.923; at worst 0.866, and red at 0.857
        (0.030, 0.91, True),
        (0.030, 0.87, True),
        (0.300, 0.60, False),
        (0.300, 1.05, False),
        (0.300, 0.56, True),
        (0.300, 1.11, True),
    ],
)
def test_nor_are_they_where_what_they_do_not_make_surer_leaves_it_undecided(
    lasting: float, value: float, worth: bool
) -> None:
    half = 1.645 * math.hypot(lasting, 0.01)
    plain = Interval(value, value * math.exp(-half), value * math.exp(half))
    change = Change(plain, replace(plain, low=0.1, high=1.9), 0.05, lasting=lasting)
    assert verdict_speed.word_of(change, 0.10) is Word.INCONCLUSIVE
    assert verdict_speed.worth_more(change, 0.10, looks=1) is worth


def test_a_change_of_speed_is_said_with_its_interval_its_limit_and_its_noise() -> None:
    then = 2.0
    text = "1.80x fp32, baseline 2.00x on these clips: -10.0% [-13.0%, -7.0%], tolerated -5.0%"
    assert verdict_speed.judge_speed(then, changed(0.9, 0.03), tolerance=0.05).text == text
    unlikely = verdict_speed.judge_speed(then, changed(0.94, 0.03), tolerance=0.08).text
    assert unlikely.endswith("-6.0% [-9.0%, -3.0%], tolerated -8.0%: a loss beyond it is unlikely")
    doubtful = verdict_speed.judge_speed(then, changed(0.9, 0.03), tolerance=0.09).text
    assert doubtful.endswith(
        "tolerated -9.0%: the interval straddles the limit, too noisy to judge: clips spread by 5%, equal runs by 0.0%"
    )
    one_of_many = verdict_speed.judge_speed(then, changed(0.9, 0.03, 0.20), tolerance=0.05)
    assert one_of_many.word is Word.INCONCLUSIVE
    beyond = "beyond it, but [-30.0%, +10.0%] with all comparisons of the run taken together, too noisy to judge: "
    assert f"-10.0% [-13.0%, -7.0%], tolerated -5.0%: {beyond}" in one_of_many.text


def test_the_stored_ratio_is_that_of_the_clips_that_are_timed() -> None:
    then = Speed(Interval(2.0, 1.9, 2.1), 0.5, 900.0, {}, timed=Timing({"a": 2.0, "b": 4.5, "c": 9.0}))
    assert verdict_speed.stored_ratio(Timing({"a": 1.0, "b": 1.0, "d": 1.0}), then) == pytest.approx(3.0)
    assert verdict_speed.stored_ratio(Timing({"a": 1.0}), replace(then, timed=Timing())) == 2.0
    assert verdict_speed.stored_ratio(Timing(), replace(then, ratio=None)) is None


@pytest.mark.parametrize(
    ("slower", "fp32", "word"),
    [(1.2, 1.0, Word.REGRESSED), (1.2, 1.2, Word.INCONCLUSIVE), (0.8, 1.0, Word.IMPROVED), (0.8, 0.8, Word.PASS)],
)
def test_seconds_are_not_judged_as_the_rows_where_fp32_beside_it_has_moved_too(
    slower: float, fp32: float, word: Word
) -> None:
    then = {f"c{n}": 0.5 + n / 100 for n in range(12)}
    now = {id: slower * seconds * (1.001 if id == "c3" else 1.0) for id, seconds in then.items()}
    beside = {id: 2 * fp32 * seconds for id, seconds in then.items()}, {id: 2 * seconds for id, seconds in then.items()}
    said = verdict_speed.judge_seconds(now, then, beside, 0.01, 0.025, 30, "0001_a")
    assert said is not None
    assert said.word is word
    assert f", fp32 beside it {fp32 - 1:+.1%}; equal runs of this machine are 1.0% apart" in said.text
    assert verdict_speed.judge_seconds(now, then, (beside[0], {}), 0.01, 0.025, 30, "0001_a") is None


def test_seconds_of_equal_runs_are_as_far_apart_as_two_of_them_are() -> None:
    then = {f"c{n}": 0.5 + n / 100 for n in range(12)}
    now = {id: 1.2 * each for id, each in then.items()}
    said = verdict_speed.judge_seconds(now, then, (then, then), 0.01, 0.025, 1, "x")
    assert said is not None
    assert said.text.startswith("s/audio since x: +20.0% [+17.2%, +22.8%], ")  # exp(1.645 * sqrt(2) * 0.01)


@pytest.mark.parametrize(("spread", "process"), [(None, 0.006), (0.0, 0.004), (0.003, 0.004), (0.02, 0.02)])
def test_a_few_runs_that_were_not_apart_do_not_show_that_none_are(spread: float | None, process: float) -> None:
    ratios = dict.fromkeys("abcd", 2.0)
    known = None if spread is None else Spread(spread, 0.01, 3, "2026-11-24")
    then = Speed(Interval(2.0, 1.9, 2.1), 0.5, 900.0, {}, timed=Timing(ratios), spread=known)
    changed = verdict_speed.speed_change(Timing(ratios), then)
    assert changed is not None
    assert changed.apart == pytest.approx(math.hypot(process, 0.008) * math.sqrt(2))


def test_a_record_without_clips_is_as_unsure_as_its_interval() -> None:
    whole = Speed(Interval(2.0, 1.9, 2.1), 0.5, 900.0, {})
    changed = verdict_speed.speed_change(Timing(dict.fromkeys("abcd", 2.0)), whole)
    assert changed is not None
    unsure = math.hypot(math.log(2.1 / 1.9) / (2 * 1.96), math.hypot(0.006, 0.008) * math.sqrt(2))
    assert math.log(changed.plain.high / changed.plain.value) == pytest.approx(1.645 * unsure, rel=1e-3)


def test_a_record_without_clips_is_compared_as_a_whole() -> None:
    ratios = {"a": 2.0, "b": 2.1, "c": 1.9, "d": 2.0}
    whole = Speed(Interval(2.0, 1.9, 2.1), 0.5, 900.0, {})
    clipwise = replace(whole, timed=Timing(ratios))
    loose, tight = (verdict_speed.speed_change(Timing(ratios), then) for then in (whole, clipwise))
    assert loose is not None
    assert tight is not None
    assert loose.plain.value == pytest.approx(tight.plain.value, abs=0.01)
    assert loose.plain.high - loose.plain.low > 0.1 > tight.plain.high - tight.plain.low


@pytest.mark.parametrize(
    ("clips", "processes", "occasions", "apart"),
    [
        (4, 1, 1.0, math.hypot(0.006 * math.sqrt(1 + 1 / 2), 0.008 * math.sqrt(1 + 1 / 2))),  # 2 of the 4 processes
        (8, 1, 1.0, math.hypot(0.006 * math.sqrt(1 + 1 / 4), 0.008 * math.sqrt(1 + 1 / 2))),
        (8, 12, 1.0, math.hypot(0.006 * math.sqrt(1 / 12 + 1 / 4), 0.008 * math.sqrt(1 + 1 / 2))),
        (8, 12, 2.0, math.hypot(0.006 * math.sqrt(1 / 12 + 1 / 4), 0.008)),
    ],
)
def test_more_processes_and_occasions_make_the_interval_narrower(
    clips: int, processes: int, occasions: float, apart: float
) -> None:
    ratios = {f"c{n}": 2.0 + n / 100 for n in range(8)}
    then = Speed(Interval(2.0, 1.9, 2.1), 0.5, 900.0, {}, timed=Timing(ratios, processes=4, occasions=2.0))
    here = dict(list(ratios.items())[:clips])
    changed = verdict_speed.speed_change(Timing(here, processes=processes, occasions=occasions), then)
    assert changed is not None
    assert math.log(changed.plain.high / changed.plain.value) / 1.645 == pytest.approx(apart, rel=1e-3)


def test_a_machine_in_another_state_widens_the_interval_and_is_named() -> None:
    ratios = {"a": 2.0, "b": 2.1, "c": 1.9, "d": 2.0}
    seconds = dict.fromkeys(ratios, 1.2)
    then = Speed(Interval(2.0, 1.9, 2.1), 0.5, 900.0, {}, timed=Timing(ratios, seconds))
    slower = {id: ratio * 0.9 for id, ratio in ratios.items()}
    same = verdict_speed.speed_change(Timing(slower, seconds), then)
    other = verdict_speed.speed_change(Timing(slower, {id: value * 1.4 for id, value in seconds.items()}), then)
    assert same is not None
    assert other is not None
    assert same.drift == 1.0
    assert other.drift == pytest.approx(1.4)
    assert other.plain.value == same.plain.value
    assert verdict_speed.word_of(same, 0.03) is Word.REGRESSED
    said = verdict_speed.judge_speed(2.0, other, 0.03)
    assert said.word is Word.INCONCLUSIVE
    assert said.text.endswith("fp32 itself takes +40% since it was recorded: the machine is in another state")
    assert not verdict_speed.may_be_decided(other, 0.03)
    assert verdict_speed.word_of(other, 0.24) is Word.INCONCLUSIVE
    assert verdict_speed.may_be_decided(other, 0.24)  # nearly a PASS
    better = verdict_speed.speed_change(Timing(slower, {id: value * 0.7 for id, value in seconds.items()}), then)
    said = verdict_speed.judge_speed(2.0, better, 0.03)
    assert said.text.endswith("the machine is in another state, and recording it anew keeps this better one")
    somewhat = verdict_speed.speed_change(Timing(slower, {id: value * 1.08 for id, value in seconds.items()}), then)
    said = verdict_speed.judge_speed(2.0, somewhat, 0.08)
    assert said.word is Word.INCONCLUSIVE
    assert said.text.endswith("%, fp32 itself takes +8% since it was recorded")


@pytest.mark.parametrize("moved", [1.02, 1.2, 1 / 1.2])
@pytest.mark.parametrize("ratio", [0.5, 1.0, math.e, 8.0])
def test_what_is_faster_moves_by_more_the_further_fp32_drifts(ratio: float, moved: float) -> None:
    ratios = dict.fromkeys("abcd", ratio)
    stored = Timing(ratios, dict.fromkeys(ratios, 1.0), processes=4, occasions=2.0)
    then = Speed(Interval(ratio, ratio, ratio), 0.5, 900.0, {}, timed=stored)
    widths = []
    for seconds in (1.0, moved):
        changed = verdict_speed.speed_change(Timing(ratios, dict.fromkeys(ratios, seconds)), then)
        assert changed is not None
        widths.append(math.log(changed.plain.high / changed.plain.value) / 1.645)
    drift = abs(math.log(moved))
    expected = (0.20 + 2.0 * max(0.0, math.log(ratio)) * drift) * drift
    assert math.sqrt(widths[1] ** 2 - widths[0] ** 2) == pytest.approx(expected, rel=0.01)


def test_what_lasts_is_the_record_s_and_fp32_s_drift_as_it_was_and_as_it_is() -> None:
    ratios = {f"c{n}": 6.0 + n / 100 for n in range(8)}
    seconds = dict.fromkeys(ratios, 1.0)
    then = Speed(Interval(6.0, 5.9, 6.1), 0.5, 900.0, {}, timed=Timing(ratios, seconds, processes=4, occasions=2.0))
    record = math.hypot(0.006 / 2, 0.008 / math.sqrt(2))
    slow, slower = ({id: value * by for id, value in seconds.items()} for by in (1.2, 1.4))

    def lasting(now: dict[str, float], lately: dict[str, float] | None = None) -> float:
        # Fewer clips are compared than the record has, and so fewer of its processes: more of them do tell that.
        first = ("c0", "c1", "c2", "c3")
        timed = Timing({id: ratios[id] for id in first}, {id: now[id] for id in first})
        changed = verdict_speed.speed_change(timed, then, lately=lately)
        assert changed is not None
        assert changed.lasting < changed.apart
        return changed.lasting

    assert lasting(seconds) == pytest.approx(record)
    assert lasting(slow) == pytest.approx(math.hypot(record, verdict_speed.drift_error(6.0, 1.2)))
    assert lasting(slow, slower) == lasting(slow, slow) == lasting(slow, {}) == lasting(slow)
    assert lasting(slow, seconds) == pytest.approx(record)  # the disturbance has passed
    assert lasting(seconds, slow) == pytest.approx(record)
    faster = {id: value / 1.3 for id, value in seconds.items()}
    assert lasting(slow, faster) == pytest.approx(record)  # on the way from the one to the other it is as recorded
    assert lasting(faster, slow) == pytest.approx(record)
    assert lasting(slow, {"c0": 1.0, "c1": 1.0, "other": 1.0}) == lasting(slow)  # too few clips in common


def test_what_an_older_record_does_not_say_of_fp32_follows_from_its_ratio() -> None:
    ratios = {"a": 2.0, "b": 2.1, "c": 1.9}
    then = Speed(Interval(2.0, 1.9, 2.1), 0.5, 900.0, {}, timed=Timing(ratios))
    changed = verdict_speed.speed_change(Timing(ratios, dict.fromkeys(ratios, 0.7)), then)
    assert changed is not None
    assert changed.drift == pytest.approx(0.7)  # 1.0 s then


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


def test_steps_calibrated_on_other_clips_make_a_baseline_stale() -> None:
    def said(stored: str, now: str) -> Verdict | None:
        kept = replace(baseline(), calibration=stored)
        return verdict.judge_identity(kept, [CLIP], MODEL, "ru", "russian/1", now)

    assert said("a", "b") == Verdict(Word.STALE, "the baseline's steps were calibrated on other clips")
    assert said("a", "a") is None
    assert said("", "b") is None, "a file from before it was stored"


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


def test_usable_is_shown_where_the_whole_interval_is_within_the_margin() -> None:
    def against(high: float) -> Shift:
        return Shift(Interval(0.004, -0.002, high), 0.1, 3, 1, 500)

    assert verdict.shown_usable(against(0.010))
    assert not verdict.shown_usable(against(0.0101))


@pytest.mark.parametrize(
    ("moved", "text"),
    [
        (
            Shift(Interval(0.004, -0.002, 0.01), 0.118, 7, 3, 410),
            "7 clips are worse, 3 better, by chance in 11.8% of such corpora; about 410 clips would decide it",
        ),
        (
            Shift(Interval(0.02, 0.01, 0.03), 0.0001, 12, 0, 30),
            "12 clips are worse, 0 better, by chance in 0.0% of such corpora",
        ),
    ],
)
def test_a_shift_says_how_likely_chance_is(moved: Shift, text: str) -> None:
    assert verdict.describe_shift(moved) == text


def clips(*edits: int, text: str = "x", tokens: int = 5) -> list[ClipRecord]:
    return [ClipRecord(str(n), "f", f"{text}{edit}", tokens, Counts(6, edit, 30, 0)) for n, edit in enumerate(edits)]


@pytest.mark.parametrize(("tokens", "text"), [(100, ""), (101, ""), (70, "-30% tokens"), (444, "+344% tokens")])
def test_a_speed_that_comes_from_the_length_of_the_output_says_so(tokens: int, text: str) -> None:
    then, now = clips(0, 0, 0, tokens=100), clips(0, 0, 0, tokens=tokens)
    said = verdict_speed.describe_length(now, then, {"0", "1"})
    whole = f"; it says {text} on the timed clips (200 then, {2 * tokens} now), and speed follows"
    assert said == (whole if text else "")


def test_how_many_transcripts_changed_is_said_and_how_likely_chance_is() -> None:
    then = clips(0, 0, 0, 1)
    assert verdict.judge_accuracy(then, then, TOLERANCE).text.endswith("tolerance 0.0050)")
    other = verdict.judge_accuracy(clips(0, 0, 0, 1, text="y"), then, TOLERANCE)
    assert other.text.endswith("; 4 of 4 transcripts changed")
    worse = verdict.judge_accuracy(clips(0, 0, 3, 0), then, Tolerance(wer=0.5))
    assert (worse.word, "; 2 of 4 transcripts changed: 1 clips are worse, 1 better" in worse.text) == (Word.PASS, True)


def test_chance_does_not_soften_the_tolerance() -> None:
    said = verdict.judge_accuracy(clips(5, 0, 0, 0), clips(0, 1, 1, 1), TOLERANCE)
    assert said.word is Word.REGRESSED
    assert "by chance in" in said.text


def test_a_subset_is_compared_with_the_same_clips_of_the_baseline() -> None:
    said = verdict.judge_accuracy(clips(1), clips(1, 6, 6), TOLERANCE)
    assert said.text.startswith("WER 0.1667, baseline 0.1667 (+0.0000,")


def test_one_word_alone_does_not_make_a_variant_unusable() -> None:
    assert verdict.usable(Counts(40, 4, 200, 9), Counts(40, 3, 200, 8))
    assert not verdict.usable(Counts(40, 5, 200, 9), Counts(40, 3, 200, 8))
