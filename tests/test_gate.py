"""What is judged, proposed and written, on rows made by hand: no worker runs here."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lxbench import baselines, corpus, gate, machine, update
from lxbench.baselines import Spread
from lxbench.budget import Budget
from lxbench.build import BuildReport
from lxbench.corpus import Corpus
from lxbench.disturbance import Disturbance
from lxbench.errors import UsageError
from lxbench.history import Saved
from lxbench.ladder import CPU, Variant
from lxbench.models import ModelSource
from lxbench.profile import Operator, Profile
from lxbench.row import Row
from lxbench.run import Run
from lxbench.serve import Usage
from lxbench.settings import Settings
from lxbench.stats import Timing
from lxbench.transcribe import Transcript
from lxbench.verdict import Verdict, Word
from tests.samples import MODEL
from tests.suite import CORPORA

FP32, BF16 = Variant("fp32", CPU, runs="addmm float32"), Variant("bf16", CPU, runs="addmm bfloat16")


class Silent:
    def stage(self, row: str, text: str) -> None: ...
    def clip(self, row: str, number: int, of: int, text: str) -> None: ...
    def more(self, row: str, share: float) -> None: ...


@pytest.fixture
def clips() -> Corpus:
    return corpus.load("ivr-ru", CORPORA, 4)


def make_run(folder: Path, clips: Corpus, *updates: str) -> Run:
    settings = Settings(
        "cpu", "embedded", "ivr-ru", "ru", 4, folder / "baselines", frozenset(updates), folder / "results", threads=2
    )
    source = ModelSource("embedded", "whisper-base", folder, MODEL)
    return Run(
        settings, source, clips, clips.first(1), (FP32, BF16), folder / "results" / "now", Silent(), machine.describe(2)
    )


def make_row(run: Run, variant: Variant = BF16, *, seconds: float = 0.5, wrong: int = 0, stored: str = "") -> Row:
    row = Row(variant, "cpu", variant is FP32, run.corpus, run.normalizer, timed=True, usage=Usage(900.0, 0, ()))
    row.report = BuildReport(census={"size_mib": 138.5}, kernels={variant.runs: 1})
    for number, clip in enumerate(run.corpus.clips):
        row.transcripts[clip.id] = Transcript(
            "совсем другое" if number < wrong else clip.text, 5, seconds + number / 100
        )
        if variant is not FP32:
            row.pairs[clip.id] = [(1.0 + number / 50, seconds + number / 100)]
    row.baseline_error = stored
    row.baseline = None if stored else baselines.read(run.baseline_path(variant.name))
    run.rows.append(row)
    return row


def judge(run: Run, row: Row) -> Row:
    row.verdicts["effect"] = gate.judge_effect(row)
    row.verdicts["speed"] = gate.judge_speed(run, row)
    row.verdicts["accuracy"] = gate.judge_accuracy(run, row)
    return row


@pytest.fixture
def stored(tmp_path: Path, clips: Corpus) -> Path:
    """A folder with a baseline of bf16, twice as fast as fp32 and without an error."""
    run = make_run(tmp_path, clips, "new")
    judge(run, make_row(run))
    (line,) = update.write(run, "2026-11-23")
    assert line == f"baseline written: {run.baseline_path('bf16')}"
    return tmp_path


def test_a_new_row_is_proposed_and_written_only_where_allowed(tmp_path: Path, clips: Corpus) -> None:
    run = make_run(tmp_path, clips, "changed", "prune")
    assert judge(run, make_row(run)).word is Word.NEW
    assert update.write(run, "2026-11-23") == []
    assert not run.baseline_path("bf16").exists()
    proposed = baselines.read(run.folder / "proposed" / "whisper-base" / "ivr-ru" / "cpu" / "bf16.json")
    assert proposed is not None
    assert proposed.counts.word_edits == 0


def test_the_same_row_passes_and_is_not_rewritten(stored: Path, clips: Corpus) -> None:
    run = make_run(stored, clips, "new", "changed")
    assert judge(run, make_row(run)).word is Word.PASS
    assert update.write(run, "2026-11-24") == []


@pytest.mark.parametrize(
    ("seconds", "wrong", "what", "word"),
    [
        (0.70, 0, "speed", Word.REGRESSED),
        (0.40, 0, "speed", Word.IMPROVED),
        (0.50, 1, "accuracy", Word.REGRESSED),
    ],
)
def test_what_moved_is_judged_and_rewritten_where_allowed(
    stored: Path, clips: Corpus, seconds: float, wrong: int, what: str, word: Word
) -> None:
    run = make_run(stored, clips, "new")
    row = judge(run, make_row(run, seconds=seconds, wrong=wrong))
    assert row.verdicts[what].word is word
    assert ("nox -s calibrate" in row.verdicts["speed"].text) == ((what, word) == ("speed", Word.REGRESSED))
    assert update.write(run, "2026-11-24") == []
    run = make_run(stored, clips, "changed")
    judge(run, make_row(run, seconds=seconds, wrong=wrong))
    assert len(update.write(run, "2026-11-24")) == 1
    again = make_run(stored, clips)
    assert judge(again, make_row(again, seconds=seconds, wrong=wrong)).word is Word.PASS


def test_another_kind_of_machine_gates_accuracy_and_has_its_own_speed(stored: Path, clips: Corpus) -> None:
    def run_elsewhere(*updates: str, seconds: float = 0.9, wrong: int = 0) -> tuple[Run, Row]:
        run = make_run(stored, clips, *updates)
        run.machine = {**run.machine, "isa": ["none"]}
        return run, judge(run, make_row(run, seconds=seconds, wrong=wrong))

    run, row = run_elsewhere("new")
    assert row.verdicts["speed"].word is Word.INCONCLUSIVE
    assert "the baseline's differs in isa; nox -s baselines records it" in row.verdicts["speed"].text
    assert row.verdicts["accuracy"].word is Word.PASS
    assert not gate.undecided(make_run(stored, clips), row)  # there is nothing to decide
    assert len(update.write(run, "2026-11-24")) == 1

    _, slower = run_elsewhere(seconds=1.2)
    assert slower.verdicts["speed"].word is Word.REGRESSED
    home = make_run(stored, clips)
    assert judge(home, make_row(home)).word is Word.PASS  # the speed of the first machine is still there

    run, changed = run_elsewhere("changed", wrong=2)
    assert changed.word is Word.REGRESSED
    assert len(update.write(run, "2026-11-25")) == 1
    kept = baselines.read(run.baseline_path("bf16"))
    assert kept is not None
    assert [speed.machine["isa"] == ["none"] for speed in kept.speeds] == [False, True]
    assert [len(speed.otherwise) for speed in kept.speeds] == [0, 2]  # what it says there, and only there
    _, same = run_elsewhere(wrong=2)
    assert same.verdicts["accuracy"].word is Word.PASS
    assert judge(home, make_row(home)).word is Word.PASS


class Patient(Run):
    """Times a row again as fast as it should be, or as slow as it was."""

    repeats, slow = 0, 1.0

    def time_again(self, row: Row) -> None:
        self.repeats += 1
        row.processes += 1
        for number, rounds in enumerate(row.pairs.values()):
            rounds.append((1.0 + number / 50, self.slow * (0.5 + number / 100)))


def make_patient(stored: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch) -> Patient:
    monkeypatch.setattr(gate, "PAIRED_CLIPS", 4)
    plain = make_run(stored, clips)
    return Patient(plain.settings, plain.source, clips, clips, plain.ladder, plain.folder, Silent(), plain.machine)


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
    assert gate.judge_first(run, row).word is Word.INCONCLUSIVE
    assert run.repeats == 0
    gate.judge_again(run, row)
    assert run.repeats == gate.MAX_LOOKS - 1
    run.budget = Budget(0.0)
    gate.judge_again(run, row_of(run))
    assert run.repeats == gate.MAX_LOOKS - 1
    steady = make_row(run)
    assert gate.judge_again(run, steady)["speed"].word is Word.PASS
    assert run.repeats == gate.MAX_LOOKS - 1
    run.budget = Budget()
    monkeypatch.setattr(gate, "PAIRED_CLIPS", 5)
    gate.judge_again(run, row_of(run))
    assert run.repeats == gate.MAX_LOOKS - 1  # 4 clips are a quick look


@pytest.mark.parametrize(("slow", "word", "repeats"), [(1.3, Word.REGRESSED, 1), (0.75, Word.PASS, 11)])
def test_no_row_is_red_by_one_look(
    stored: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch, slow: float, word: Word, repeats: int
) -> None:
    run = make_patient(stored, clips, monkeypatch)
    run.budget, run.slow = Budget(0.0 if word is Word.REGRESSED else 300.0), slow
    row = make_row(run, seconds=0.65)
    assert gate.judge_speed(run, row).word is Word.REGRESSED
    first = row.verdicts["speed"] = gate.judge_first(run, row)
    assert first.word is Word.INCONCLUSIVE
    assert first.text.endswith("; at a first look")
    said = gate.judge_again(run, row)
    assert run.repeats <= repeats
    assert said["speed"].word is word
    assert row.verdicts["speed"] == said["speed"]


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
    monkeypatch.setattr(gate, "undecided", lambda _, row: open_[row.variant.name])
    # b is 8 % slower than its record, more than is tolerated, and not surely so.
    rows = [make_row(run, seconds=0.54 if name == "b" else 0.5) for name in open_]
    rows[1].pairs = {
        id: [(ref, said * (0.7 + 0.6 * (n % 2)))] for n, (id, ((ref, said),)) in enumerate(rows[1].pairs.items())
    }
    for name, row in zip(open_, rows, strict=True):
        row.variant = replace(BF16, name=name)
    for row in rows:
        gate.decide_speed(run, row)
    assert asked == {"a-cpu": 1 / 6, "b-cpu": 4 / 5, "d-cpu": 1.0}


def test_a_row_that_another_has_measured_for_is_judged_by_what_was_timed_again(
    stored: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_patient(stored, clips, monkeypatch)
    twin, row = make_row(run, seconds=0.65), make_row(run)
    twin.variant = replace(BF16, name="other")
    row.take_over(twin)
    run.time_again(twin)
    assert row.processes == 1
    gate.judge_again(run, row)
    assert row.processes == 2
    assert run.repeats == 1  # it is not timed for itself


def test_a_row_that_is_red_in_the_end_hears_all_its_clips(
    stored: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_slow(stored, clips, monkeypatch)
    monkeypatch.setattr(gate, "undecided", lambda *_: False)
    monkeypatch.setattr(gate, "judge_speed", lambda *_: Verdict(Word.REGRESSED, "slow"))
    row = listen(run)
    assert len(row.transcripts) == 2
    said = gate.judge_again(run, row)
    assert {what: verdict.word for what, verdict in said.items()} == {"speed": Word.REGRESSED, "accuracy": Word.PASS}
    assert len(row.transcripts) == 4


def test_a_record_is_timed_again_until_it_is_sure(stored: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "PAIRED_CLIPS", 4)

    def repeats(noise: float, *update: str, baseline: bool = True, clips_known: bool = True) -> tuple[int, int]:
        class Recording(Run):
            repeats = 0

            def time_again(self, row: Row) -> None:
                self.repeats += 1
                row.processes += 1
                for rounds in row.pairs.values():
                    fp32, own = rounds[0]
                    rounds.append((fp32 * (1 + noise * (-1) ** self.repeats), own))

        plain = make_run(stored, clips, *update)
        run = Recording(plain.settings, plain.source, clips, clips, plain.ladder, plain.folder, Silent(), plain.machine)
        row = make_row(run)
        assert row.baseline is not None
        if not clips_known:
            (speed,) = row.baseline.speeds
            row.baseline = replace(row.baseline, speeds=(replace(speed, timed=Timing()),))
        row.baseline = row.baseline if baseline else None
        gate.decide_speed(run, row)
        return run.repeats, row.processes

    assert repeats(0.5, "changed") == (2, 3)  # as often as there is to repeat
    assert repeats(0.0, "changed") == (2, 3)  # processes differ, too: two are not sure
    assert repeats(0.5, "new") == (0, 1)  # the record that there is stays
    assert repeats(0.5, "new", baseline=False) == (2, 3)
    assert repeats(0.5, "new", clips_known=False) == (2, 3)  # one of format 1 gives way
    monkeypatch.setattr(gate, "RECORD_ERROR", 0.0043)
    assert repeats(0.0, "changed") == (1, 2)
    assert repeats(0.5, "changed") == (2, 3)
    monkeypatch.setattr(gate, "RECORD_ERROR", 1.0)
    assert repeats(0.5, "changed") == (1, 2)  # twice whatever it shows, for the machine has its hours


class Listening(Run):
    """Answers what every clip says, or something else to one of them."""

    says_otherwise = ""

    def transcribe_rest(self, row: Row) -> None:
        for number, clip in enumerate(row.corpus.clips):
            text = "совсем другое" if clip.id == self.says_otherwise else clip.text
            row.transcripts.setdefault(clip.id, Transcript(text, 5, 0.5 + number / 100))


def make_slow(
    stored: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch, seconds: float = 1.0, **changes: Any
) -> Listening:
    """A run in which bf16 is recorded as not faster than fp32, and fp32 is timed beside two clips of four."""
    monkeypatch.setattr(gate, "PAIRED_CLIPS", 2)
    plain = make_run(stored, clips)
    recorded = make_run(stored, clips, "changed")
    judge(recorded, make_row(recorded, seconds=seconds))
    update.write(recorded, "2026-11-24")
    settings = replace(plain.settings, **changes)
    return Listening(settings, plain.source, clips, clips, plain.ladder, plain.folder, Silent(), plain.machine)


def listen(run: Listening, seconds: float = 1.0) -> Row:
    row = make_row(run, seconds=seconds)
    row.corpus = gate.clips_to_time(run, BF16)
    row.shortened = len(row.corpus.clips) < len(run.corpus.clips)
    kept = [clip.id for clip in row.corpus.clips]
    row.transcripts, row.pairs = ({id: each[id] for id in kept} for each in (row.transcripts, row.pairs))  # type: ignore[assignment]
    row.verdicts["speed"] = Verdict(Word.PASS, "")
    gate.hear(run, row)
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
    assert list(gate.plan(run, [BF16, FP32])) == [("bf16-cpu", 4), ("fp32-cpu", 4)]


@pytest.mark.parametrize(("seconds", "heard"), [(1.1, 2), (0.985, 2), (0.9, 4)])
def test_faster_by_less_than_is_tolerated_is_not_faster(
    stored: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch, seconds: float, heard: int
) -> None:
    assert len(gate.clips_to_time(make_slow(stored, clips, monkeypatch, seconds), BF16).clips) == heard


def test_it_hears_all_where_it_says_something_else_or_is_slower(
    stored: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_slow(stored, clips, monkeypatch)
    run.says_otherwise = clips.clips[1].id
    row = make_row(run)
    row.transcripts[run.says_otherwise] = Transcript("совсем другое", 5, 1.0)
    row.corpus, row.shortened = clips.first(2), True
    row.transcripts = {clip.id: row.transcripts[clip.id] for clip in row.corpus.clips}
    gate.hear(run, row)
    assert (len(row.transcripts), row.shortened) == (4, False)
    row.corpus, row.shortened = clips.first(2), True
    row.transcripts = {clip.id: Transcript(clip.text, 5, 1.0) for clip in row.corpus.clips}
    row.verdicts["speed"] = Verdict(Word.REGRESSED, "")
    gate.hear(run, row)
    assert (len(row.transcripts), row.shortened) == (4, False)


@pytest.mark.parametrize("changes", [{"update": frozenset({"new"})}, {"study": True}, {"timing": False}])
def test_a_row_hears_all_where_the_run_records_or_tabulates_or_does_not_time(
    stored: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    run = make_slow(stored, clips, monkeypatch, **changes)
    assert gate.clips_to_time(run, BF16) == clips
    plain = make_slow(stored, clips, monkeypatch)
    assert len(gate.clips_to_time(plain, BF16).clips) == 2
    plain.machine = {**plain.machine, "isa": ["none"]}  # not recorded there: it may round differently
    assert gate.clips_to_time(plain, BF16) == clips
    assert gate.clips_to_time(plain, FP32) == clips


def test_a_record_is_not_shrunk_but_by_its_row(stored: Path, clips: Corpus) -> None:
    run = make_run(stored, clips.first(2), "changed")
    with pytest.raises(UsageError, match="would record bf16 over 2 clips, its baseline has 4"):
        update.check(run, [BF16])
    update.check(run, [replace(BF16, clips=2)])


@pytest.mark.parametrize("kind", ["new", "changed"])
def test_a_row_whose_kernel_never_ran_is_not_recorded(tmp_path: Path, clips: Corpus, kind: str) -> None:
    run = make_run(tmp_path, clips, kind)
    row = make_row(run)
    row.report = BuildReport(census={"size_mib": 138.5}, kernels={"addmm float32": 1})
    judge(run, row)
    assert row.verdicts["effect"] == Verdict(
        Word.CRASHED, "it never ran 'addmm bfloat16'; while transcribing it ran addmm float32"
    )
    assert update.write(run, "2026-11-24") == []
    assert not run.baseline_path("bf16").exists()


def test_usable_is_judged_against_fp32_of_the_same_run(tmp_path: Path, clips: Corpus) -> None:
    run = make_run(tmp_path, clips)
    good, bad = make_row(run), make_row(run, wrong=2)
    gate.judge_usable(run)
    assert (good.usable, bad.usable) == (None, None)
    run.reference_said = make_row(run, FP32).transcripts
    gate.judge_usable(run)
    assert (good.usable, bad.usable) == (True, False)
    bad.shortened = True
    gate.judge_usable(run)
    assert bad.usable is None
    assert bad.against_reference is not None


def test_a_reference_that_contradicts_itself_is_noted(tmp_path: Path, clips: Corpus) -> None:
    run = make_run(tmp_path, clips)
    first = clips.clips[0]
    said = Transcript("раз", 1, 0.5)
    run._remember_reference({first.id: said})
    run._remember_reference({first.id: replace(said, seconds=0.7)})
    assert run.notes == []
    run._remember_reference({first.id: replace(said, text="два")})
    assert run.notes == [f"fp32 said two things to clip {first.id}: 'раз', then 'два'"]


def test_a_graph_compiled_while_clips_were_timed_spoils_the_speed(tmp_path: Path, clips: Corpus) -> None:
    run = make_run(tmp_path, clips)
    row = make_row(run)
    row.usage = Usage(900.0, 2, ())
    said = gate.judge_speed(run, row)
    assert said.word is Word.CRASHED
    assert "torch compiled 2 more graphs while clips were timed" in said.text


def test_a_declared_wreck_must_be_caught(tmp_path: Path, clips: Corpus) -> None:
    run = make_run(tmp_path, clips)
    wreck, harmless = make_row(run, wrong=4), make_row(run)
    assert gate.judge_caught(run, wreck) is None  # fp32 was not heard yet
    run.reference_said = {clip.id: Transcript(clip.text, 5, 1.0) for clip in clips.clips}
    caught, missed = gate.judge_caught(run, wreck), gate.judge_caught(run, harmless)
    assert caught is not None
    assert caught.word is Word.PASS
    assert missed is not None
    assert missed.word is Word.REGRESSED
    assert missed.text.startswith("declared unusable and not caught: WER 0.0000, fp32 0.0000")


def test_a_profile_names_what_is_on_top(tmp_path: Path, clips: Corpus) -> None:
    row = make_row(make_run(tmp_path, clips))
    assert gate.judge_profile(row).word is Word.CRASHED
    top = (Operator("aten::addmm", 0.44, 130.0, 36),)
    row.profiles = {"encoder": Profile(top, (), tmp_path), "decoder": Profile((), (), tmp_path)}
    assert gate.judge_profile(row).text == "the profile of the decoder is empty"
    row.profiles["decoder"] = Profile(top, (Operator("fmha", 0.5, 1.0, 1),), tmp_path)
    assert gate.judge_profile(row) == Verdict(Word.PASS, "encoder: aten::addmm 44%; decoder: fmha 50%")


def test_seconds_are_judged_where_it_is_known_how_far_equal_runs_are_apart(stored: Path, clips: Corpus) -> None:
    def said(seconds: float, spread: float | None, **elsewhere: tuple[str, ...]) -> Verdict | None:
        run = make_run(stored, clips)
        run.saved = Saved("0007_x", {"bf16-cpu": [0.5 + n / 100 for n in range(4)]}, **elsewhere)
        row = make_row(run, seconds=seconds)
        assert row.baseline is not None
        (speed,) = row.baseline.speeds
        known = None if spread is None else Spread(0.002, spread, 10, "2026-11-24")
        row.baseline = replace(row.baseline, speeds=(replace(speed, spread=known),))
        return gate.judge_seconds(run, row)

    slower = said(0.6, 0.01)
    assert slower is not None
    assert slower.word is Word.REGRESSED
    assert slower.text.startswith("s/audio since 0007_x: +19")
    assert slower.text.endswith("equal runs of this machine are 1.0% apart")
    for seconds, spread, word in ((0.5, 0.001, Word.PASS), (0.6, 0.2, Word.INCONCLUSIVE)):
        verdict = said(seconds, spread)
        assert verdict is not None
        assert verdict.word is word
    assert said(0.6, None) is None


def test_what_disturbed_an_undecided_speed_is_said(stored: Path, clips: Corpus) -> None:
    run = make_run(stored, clips)
    row = make_row(run)
    noise = (0.7, 1.3, 0.8, 1.2)
    row.pairs = {id: [(ref * noise[n], said)] for n, (id, ((ref, said),)) in enumerate(row.pairs.items())}
    row.disturbance = Disturbance(load=3.2, stolen=0.01, others=0.9, mhz=2600.0)
    said = gate.judge_speed(run, row)
    assert said.word is Word.INCONCLUSIVE
    assert re.search(
        r"clips spread by \d\d%, equal runs by 1\.\d%; load 3.20, other processes 0.90 cores, stolen 0.01 cores$",
        said.text,
    )


def test_a_record_of_half_the_processes_gives_way_to_a_surer_one(stored: Path, clips: Corpus) -> None:
    def written(processes: int, *allowed: str, occasions: tuple[int, ...] = (4,)) -> int:
        run = make_run(stored, clips, *allowed)
        row = make_row(run)
        row.processes, row.occasions = processes, list(occasions)
        judge(run, row)
        return len(update.write(run, "2026-11-25"))

    assert written(1, "changed") == 0
    assert written(2, "new") == 0
    assert written(2, "changed") == 1
    assert written(3, "changed") == 0
    assert written(2, "changed", occasions=(4, 1)) == 0
    assert written(2, "changed", occasions=(4, 4)) == 1
    assert written(2, "changed", occasions=(4, 4, 2)) == 0


def test_seconds_do_not_move_a_baseline(stored: Path, clips: Corpus) -> None:
    run = make_run(stored, clips, "new", "changed")
    row = judge(run, make_row(run))
    row.verdicts["seconds"] = Verdict(Word.REGRESSED, "slow hours")
    assert (row.word, row.against_baseline) == (Word.REGRESSED, Word.PASS)
    assert update.write(run, "2026-11-24") == []


def test_the_reference_is_never_timed_again(stored: Path, clips: Corpus) -> None:
    run = make_run(stored, clips, "new")
    row = make_row(run, FP32)
    assert not gate.undecided(run, row)
    assert gate.decide_speed(run, row).word is Word.NEW


def test_no_time_is_spent_on_a_speed_that_will_not_be_judged(
    stored: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_patient(stored, clips, monkeypatch)
    row = make_row(run, seconds=0.53)
    noise = (0.8, 1.2, 0.85, 1.15)
    row.pairs = {id: [(ref * noise[n], said)] for n, (id, ((ref, said),)) in enumerate(row.pairs.items())}
    assert gate.undecided(run, row)
    assert row.baseline is not None
    good = row.baseline
    row.baseline = replace(good, speeds=tuple(replace(speed, timed=Timing()) for speed in good.speeds))
    assert not gate.undecided(run, row)  # format 1: more pairs do not make its interval narrower
    row.baseline = replace(good, language="de")
    assert not gate.undecided(run, row)
    row.baseline = good
    row.usage = Usage(900.0, 3, ())
    assert not gate.undecided(run, row)


def test_a_record_of_format_1_is_recorded_anew(stored: Path, clips: Corpus) -> None:
    run = make_run(stored, clips, "new")
    row = judge(run, make_row(run))
    assert row.baseline is not None
    speeds = tuple(replace(speed, timed=Timing()) for speed in row.baseline.speeds)
    row.baseline = replace(row.baseline, speeds=speeds)
    assert len(update.write(run, "2026-11-24")) == 1


def test_a_record_of_a_bad_hour_is_replaced_by_a_better_one_and_never_the_other_way(
    stored: Path, clips: Corpus
) -> None:
    def slower(by: float) -> list[str]:
        run = make_run(stored, clips, "changed")
        row = make_row(run)
        row.pairs = {id: [(ref * by, said * by) for ref, said in rounds] for id, rounds in row.pairs.items()}
        assert judge(run, row).word is Word.INCONCLUSIVE
        return update.write(run, "2026-11-24")

    assert slower(1.4) == []
    assert len(slower(0.7)) == 1
    assert slower(1.0) == []


def test_an_unreadable_baseline_is_not_new(stored: Path, clips: Corpus) -> None:
    path = make_run(stored, clips).baseline_path("bf16")
    path.write_text(path.read_text("utf-8").replace('"tokens": 5', '"tokens": 6', 1), "utf-8")
    for kind, lines in (("new", 0), ("changed", 1)):
        run = make_run(stored, clips, kind)
        row = make_row(run, stored="edited by hand")
        assert judge(run, row).word is Word.STALE
        assert len(update.write(run, "2026-11-24")) == lines
