"""How much is measured to decide, on rows made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lxbench.corpus import Corpus
from lxbench.run import Run, gate, looks, update
from lxbench.run.budget import Budget
from lxbench.run.row import Row
from lxbench.stats import Timing
from lxbench.transcribe import Transcript
from lxbench.verdict import Tolerance, Verdict, Word
from lxbench.worker.serve import Usage
from tests.made import BF16, FP32, judge, make_row, make_run, make_run_of


class Patient(Run):
    """Times a row again as fast as it should be, or as slow as it was."""

    repeats, slow = 0, 1.0

    def time_again(self, row: Row) -> None:
        self.repeats += 1
        row.processes.append(4)
        for number, rounds in enumerate(row.pairs.values()):
            rounds.append((1.0 + number / 50, self.slow * (0.5 + number / 100)))


def make_patient(stored: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch) -> Patient:
    monkeypatch.setattr(looks, "PAIRED_CLIPS", 4)
    patient = make_run_of(Patient, stored, clips)
    patient.judged_again = frozenset({"bf16-cpu", "other-cpu"})
    return patient


def test_an_undecided_speed_is_timed_again_as_far_as_the_budget_goes(
    stored: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def row_of(run: Run) -> Row:
        row = make_row(run, seconds=0.556)
        row.pairs = {
            id: [(ref, said * (1 + 0.3 * (n % 2)))] for n, (id, ((ref, said),)) in enumerate(row.pairs.items())
        }
        return row

    run = make_patient(stored, clips, monkeypatch)
    run.slow = 1.02
    row = row_of(run)
    assert looks.judge_first(run, row).word is Word.INCONCLUSIVE
    assert run.repeats == 0
    looks.judge_again(run, row)
    assert run.repeats == looks.MAX_LOOKS - 1
    run.budget = Budget(0.0)
    looks.judge_again(run, row_of(run))
    assert run.repeats == looks.MAX_LOOKS - 1
    steady = make_row(run)
    assert looks.judge_again(run, steady)["speed"].word is Word.PASS
    assert run.repeats == looks.MAX_LOOKS - 1
    run.budget = Budget()
    monkeypatch.setattr(looks, "PAIRED_CLIPS", 5)
    looks.judge_again(run, row_of(run))
    assert run.repeats == looks.MAX_LOOKS - 1  # 4 clips are a quick look


def test_no_time_is_spent_in_another_state_of_the_machine_unless_it_has_passed(
    stored: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_patient(stored, clips, monkeypatch)
    row = make_row(run)
    row.pairs = {id: [(2 * reference, 2 * seconds)] for id, ((reference, seconds),) in row.pairs.items()}
    assert gate.judge_speed(run, row).word is Word.INCONCLUSIVE
    run.reference_lately = {id: reference for id, ((reference, _),) in row.pairs.items()}
    assert not looks.undecided(run, row)
    assert "would not tell" not in looks.judge_first(run, row).text  # that is known when the others have been timed
    said = looks.judge_again(run, row)["speed"].text
    assert said.endswith("the machine is in another state; timing it longer would not tell")
    assert run.repeats == 0
    run.reference_lately = {id: reference / 2 for id, reference in run.reference_lately.items()}
    assert looks.undecided(run, row)
    looks.judge_again(run, row)
    assert run.repeats > 0


@pytest.mark.parametrize(("slow", "word", "repeats"), [(1.3, Word.REGRESSED, 1), (0.75, Word.PASS, 11)])
def test_no_row_is_red_by_one_look(
    stored: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch, slow: float, word: Word, repeats: int
) -> None:
    run = make_patient(stored, clips, monkeypatch)
    run.budget, run.slow = Budget(0.0 if word is Word.REGRESSED else 300.0), slow
    row = make_row(run, seconds=0.65)
    assert gate.judge_speed(run, row).word is Word.REGRESSED
    first = row.verdicts["speed"] = looks.judge_first(run, row)
    assert first.word is Word.INCONCLUSIVE
    assert first.text.endswith("; at a first look")
    said = looks.judge_again(run, row)
    assert 1 <= run.repeats <= repeats
    assert said["speed"].word is word
    assert row.verdicts["speed"] == said["speed"]


def test_where_no_second_look_will_come_it_is_taken_at_once(
    stored: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_patient(stored, clips, monkeypatch)
    run.slow, run.judged_again = 1.3, frozenset()
    row = make_row(run, seconds=0.65)
    assert looks.judge_first(run, row).word is Word.REGRESSED
    assert run.repeats == 1


def test_the_budget_is_shared_with_later_rows_that_are_undecided_and_most_goes_to_those_that_look_slower(
    stored: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_ = {"a": True, "b": True, "c": False, "d": True}
    asked: dict[str, float] = {}

    class Asked(Budget):
        def allows(self, row: str, share: float) -> bool:
            asked[row] = share
            return False

    run = make_patient(stored, clips, monkeypatch)
    run.budget = Asked()
    monkeypatch.setattr(looks, "undecided", lambda _, row: open_[row.variant.name])
    # b is 8 % slower than its record, more than is tolerated, and not surely so.
    rows = [make_row(run, seconds=0.54 if name == "b" else 0.5) for name in open_]
    rows[1].pairs = {
        id: [(ref, said * (0.7 + 0.6 * (n % 2)))] for n, (id, ((ref, said),)) in enumerate(rows[1].pairs.items())
    }
    for name, row in zip(open_, rows, strict=True):
        row.variant = replace(BF16, name=name)
    for row in rows:
        looks.decide_speed(run, row)
    assert asked == {"a-cpu": 1 / 6, "b-cpu": 4 / 5, "d-cpu": 1.0}


def test_shares_change_as_fp32_does_while_a_row_is_timed_again(
    stored: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fp32's state has left hopeless claims its part when that has passed, while there is budget."""
    run = make_patient(stored, clips, monkeypatch)
    rows = [make_row(run), make_row(run)]
    rows[1].variant = replace(BF16, name="other")
    shares: list[float] = []

    class Asked(Budget):
        def allows(self, _: str, share: float) -> bool:
            shares.append(share)
            return len(shares) < 4

    run.budget = Asked()
    monkeypatch.setattr(looks, "undecided", lambda _, row: row is rows[0] or len(shares) >= 2)
    looks.decide_speed(run, rows[0])
    assert shares == [1.0, 1.0, 0.5, 0.5]


def test_a_row_that_another_has_measured_for_is_judged_by_what_was_timed_again(
    stored: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_patient(stored, clips, monkeypatch)
    twin, row = make_row(run, seconds=0.65), make_row(run)
    twin.variant = replace(BF16, name="other")
    row.take_over(twin)
    run.time_again(twin)
    twin.usage = Usage(950.0, 0, ())
    looks.judge_again(run, row)
    assert row.usage is twin.usage
    assert row.processes == [4, 4]
    assert run.repeats == 1  # it is not timed for itself


@pytest.mark.parametrize(("slow", "word", "looked"), [(1.3, Word.REGRESSED, 2), (0.75, Word.PASS, 12)])
def test_nor_is_one_that_shares_its_measurement(
    stored: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch, slow: float, word: Word, looked: int
) -> None:
    """It may be red where the other is not: each has a record of its own."""
    run = make_patient(stored, clips, monkeypatch)
    run.slow = slow
    row, twin = make_row(run, seconds=0.65), make_row(run)
    row.variant = replace(BF16, name="other")
    row.baseline = make_row(run, seconds=0.65).baseline
    assert row.baseline is not None
    (speed,) = row.baseline.speeds
    ratios = {id: ratio / 1.3 for id, ratio in speed.timed.ratios.items()}
    row.baseline = replace(row.baseline, speeds=(replace(speed, timed=replace(speed.timed, ratios=ratios)),))
    twin.take_over(row)
    run.rows = [row, twin]
    row.verdicts["speed"], twin.verdicts["speed"] = looks.judge_first(run, row), looks.judge_first(run, twin)
    assert gate.judge_speed(run, twin).word is Word.REGRESSED
    assert twin.verdicts["speed"].word is Word.INCONCLUSIVE
    assert looks.undecided(run, row)
    run.budget = Budget(0.0 if word is Word.REGRESSED else 300.0)
    looks.judge_again(run, row)
    looks.judge_again(run, twin)
    assert 1 < sum(map(len, row.pairs.values())) / 4 <= looked
    assert twin.word is word


def test_what_is_surely_red_of_two_does_not_pay_for_what_is_undecided_of_the_other(
    stored: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_patient(stored, clips, monkeypatch)
    run.slow, run.budget = 1.2, Budget(0.0)
    row, twin = make_row(run, seconds=0.6), make_row(run)
    row.variant = replace(BF16, name="other", tolerance=Tolerance(speed=0.165))
    twin.take_over(row)
    run.rows = [row, twin]
    assert looks.judge_first(run, row).word is Word.INCONCLUSIVE
    looks.judge_again(run, row)
    looks.judge_again(run, twin)
    assert (row.word, twin.word) == (Word.INCONCLUSIVE, Word.REGRESSED)
    assert run.repeats == 1


def test_a_row_that_is_red_in_the_end_hears_all_its_clips(
    stored: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_slow(stored, clips, monkeypatch)
    monkeypatch.setattr(looks, "undecided", lambda _, row: len(row.processes) == 1)
    monkeypatch.setattr(gate, "judge_speed", lambda *_: Verdict(Word.REGRESSED, "slow"))
    row = listen(run)
    assert len(row.transcripts) == 2
    said = looks.judge_again(run, row)
    assert {what: verdict.word for what, verdict in said.items()} == {"speed": Word.REGRESSED, "accuracy": Word.PASS}
    assert len(row.transcripts) == 4


def test_a_row_is_judged_by_all_that_the_one_has_heard_whose_measurement_it_takes_over(
    stored: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_slow(stored, clips, monkeypatch)
    row = listen(run)
    twin = make_row(run, seconds=1.0)
    twin.variant = replace(BF16, name="other")
    twin.take_over(row)
    assert "accuracy" not in looks.judge_again(run, twin)
    row.corpus, row.shortened, run.says_otherwise = clips, False, clips.clips[3].id
    run.transcribe_rest(row)
    assert looks.judge_again(run, twin)["accuracy"].word is Word.REGRESSED
    assert len(twin.transcripts) == 4


def test_a_row_that_is_red_for_something_else_is_not_asked_when_it_has_ended(
    stored: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_slow(stored, clips, monkeypatch)
    row = listen(run)
    row.verdicts["throughput"] = Verdict(Word.CRASHED, "out of memory in batches")
    assert list(looks.judge_again(run, row)) == ["speed"]
    assert (len(row.transcripts), row.shortened) == (2, True)


def test_what_is_declared_unusable_hears_all_it_is_to_be_caught_on(
    stored: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_slow(stored, clips, monkeypatch)
    assert len(looks.clips_to_time(run, BF16).clips) == 2
    assert looks.clips_to_time(run, replace(BF16, unusable=True)) == clips


def test_a_record_is_timed_again_until_it_is_sure(stored: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "PAIRED_CLIPS", 4)

    def repeats(noise: float, *update: str, baseline: bool = True, clips_known: bool = True) -> tuple[int, int]:
        class Recording(Run):
            repeats = 0

            def time_again(self, row: Row) -> None:
                self.repeats += 1
                row.processes.append(4)
                for rounds in row.pairs.values():
                    fp32, own = rounds[0]
                    rounds.append((fp32 * (1 + noise * (-1) ** self.repeats), own))

        run = make_run_of(Recording, stored, clips, *update)
        row = make_row(run)
        assert row.baseline is not None
        if not clips_known:
            (speed,) = row.baseline.speeds
            row.baseline = replace(row.baseline, speeds=(replace(speed, timed=Timing()),))
        row.baseline = row.baseline if baseline else None
        looks.decide_speed(run, row)
        return run.repeats, len(row.processes)

    assert repeats(0.5, "changed") == (2, 3)  # as often as there is to repeat
    assert repeats(0.0, "changed") == (2, 3)  # processes differ, too: two are not sure
    assert repeats(0.5, "new") == (0, 1)  # the record that there is stays
    assert repeats(0.5, "new", baseline=False) == (2, 3)
    assert repeats(0.5, "new", clips_known=False) == (2, 3)  # one of format 1 gives way
    monkeypatch.setattr(looks, "RECORD_ERROR", 0.0043)
    assert repeats(0.0, "changed") == (1, 2)
    assert repeats(0.5, "changed") == (2, 3)
    monkeypatch.setattr(looks, "RECORD_ERROR", 1.0)
    assert repeats(0.5, "changed") == (1, 2)  # twice whatever it shows, for the machine has its hours


@pytest.mark.parametrize("updates", [(), ("changed",)])
@pytest.mark.parametrize("what", ["crash", "speed_crash"])
def test_a_row_that_crashes_when_it_is_timed_again_is_not_timed_for_ever(
    stored: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch, updates: tuple[str, ...], what: str
) -> None:
    monkeypatch.setattr(looks, "PAIRED_CLIPS", 4)

    class Dying(Run):
        repeats = 0

        def time_again(self, row: Row) -> None:
            self.repeats += 1
            assert self.repeats < 9
            setattr(row, what, "killed")

    run = make_run_of(Dying, stored, clips, *updates)
    row = make_row(run, seconds=0.65)
    assert looks.judge_again(run, row)["speed"] == Verdict(Word.CRASHED, "killed")
    assert run.repeats == 1


class Listening(Run):
    """Answers what every clip says, or something else to one of them."""

    says_otherwise = ""

    def time_again(self, row: Row) -> None:
        row.processes.append(4)

    def transcribe_rest(self, row: Row) -> None:
        for number, clip in enumerate(row.corpus.clips):
            text = "совсем другое" if clip.id == self.says_otherwise else clip.text
            row.transcripts.setdefault(clip.id, Transcript(text, 5, 0.5 + number / 100))


def make_slow(
    stored: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch, seconds: float = 1.0, **changes: Any
) -> Listening:
    """A run in which bf16 is recorded as not faster than fp32, and fp32 is timed beside two clips of four."""
    monkeypatch.setattr(looks, "PAIRED_CLIPS", 2)
    recorded = make_run(stored, clips, "changed")
    judge(recorded, make_row(recorded, seconds=seconds))
    list(update.write(recorded, "2026-11-24"))
    run = make_run_of(Listening, stored, clips)
    run.settings = replace(run.settings, **changes)
    return run


def listen(run: Listening, seconds: float = 1.0) -> Row:
    row = make_row(run, seconds=seconds)
    row.corpus = looks.clips_to_time(run, BF16)
    row.shortened = len(row.corpus.clips) < len(run.corpus.clips)
    kept = [clip.id for clip in row.corpus.clips]
    row.transcripts, row.pairs = ({id: each[id] for id in kept} for each in (row.transcripts, row.pairs))  # type: ignore[assignment]
    row.verdicts["speed"] = Verdict(Word.PASS, "")
    looks.hear(run, row)
    return row


def test_a_row_recorded_as_not_faster_than_fp32_hears_a_part_of_the_clips(
    stored: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_slow(stored, clips, monkeypatch)
    run.settings = replace(run.settings, clips=0)
    row = listen(run)
    assert (len(row.transcripts), row.shortened, row.complete) == (2, True, True)
    assert gate.judge_accuracy(run, row).word is Word.PASS  # and not STALE: the other clips were left out on purpose
    assert update.propose(run, row, "2026-11-24") is None  # a record of fewer clips is not to be had by accident
    assert list(looks.plan(run, [BF16, FP32])) == [("bf16-cpu", 4), ("fp32-cpu", 4)]


@pytest.mark.parametrize(("seconds", "heard"), [(1.1, 2), (0.985, 2), (0.9, 4)])
def test_faster_by_less_than_is_tolerated_is_not_faster(
    stored: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch, seconds: float, heard: int
) -> None:
    assert len(looks.clips_to_time(make_slow(stored, clips, monkeypatch, seconds), BF16).clips) == heard


def test_it_hears_all_where_it_says_something_else_or_is_slower(
    stored: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_slow(stored, clips, monkeypatch)
    run.says_otherwise = clips.clips[1].id
    row = make_row(run)
    row.transcripts[run.says_otherwise] = Transcript("совсем другое", 5, 1.0)
    row.corpus, row.shortened = clips.first(2), True
    row.transcripts = {clip.id: row.transcripts[clip.id] for clip in row.corpus.clips}
    looks.hear(run, row)
    assert (len(row.transcripts), row.shortened) == (4, False)
    row.corpus, row.shortened = clips.first(2), True
    row.transcripts = {clip.id: Transcript(clip.text, 5, 1.0) for clip in row.corpus.clips}
    row.verdicts["speed"] = Verdict(Word.REGRESSED, "")
    looks.hear(run, row)
    assert (len(row.transcripts), row.shortened) == (4, False)


@pytest.mark.parametrize("changes", [{"update": frozenset({"new"})}, {"study": True}, {"timing": False}])
def test_a_row_hears_all_where_the_run_records_or_tabulates_or_does_not_time(
    stored: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    run = make_slow(stored, clips, monkeypatch, **changes)
    assert looks.clips_to_time(run, BF16) == clips
    plain = make_slow(stored, clips, monkeypatch)
    assert len(looks.clips_to_time(plain, BF16).clips) == 2
    plain.machine = {**plain.machine, "isa": ["none"]}  # not recorded there: it may round differently
    assert looks.clips_to_time(plain, BF16) == clips
    assert looks.clips_to_time(plain, FP32) == clips


def test_the_reference_is_never_timed_again(stored: Path, clips: Corpus) -> None:
    run = make_run(stored, clips, "new")
    row = make_row(run, FP32)
    assert not looks.undecided(run, row)
    assert looks.decide_speed(run, row).word is Word.NEW


def test_no_time_is_spent_on_a_speed_that_will_not_be_judged(
    stored: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_patient(stored, clips, monkeypatch)
    row = make_row(run, seconds=0.53)
    noise = (0.8, 1.2, 0.85, 1.15)
    row.pairs = {id: [(ref * noise[n], said)] for n, (id, ((ref, said),)) in enumerate(row.pairs.items())}
    assert looks.undecided(run, row)
    assert row.baseline is not None
    good = row.baseline
    row.baseline = replace(good, speeds=tuple(replace(speed, timed=Timing()) for speed in good.speeds))
    assert not looks.undecided(run, row)  # format 1: more pairs do not make its interval narrower
    slow = make_row(run, seconds=0.65)
    slow.baseline = row.baseline
    assert gate.judge_speed(run, slow).word is Word.REGRESSED
    assert looks.undecided(run, slow)  # but it is not red by one look
    slow.pairs = {id: pairs * 2 for id, pairs in slow.pairs.items()}
    assert not looks.undecided(run, slow)
    row.baseline = replace(good, language="de")
    assert not looks.undecided(run, row)
    row.baseline = good
    row.usage = Usage(900.0, 3, ())
    assert not looks.undecided(run, row)
