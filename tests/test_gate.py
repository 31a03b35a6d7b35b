"""What is judged, proposed and written, on rows made by hand: no worker runs here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lxbench import baselines, corpus, gate, score
from lxbench.build import BuildReport
from lxbench.corpus import Corpus
from lxbench.ladder import CPU, Variant
from lxbench.models import ModelSource
from lxbench.profile import Operator, Profile
from lxbench.row import Row
from lxbench.run import Run
from lxbench.settings import Settings
from lxbench.transcribe import Transcript
from lxbench.verdict import Verdict, Word
from lxbench.worker import Usage
from tests.samples import MODEL
from tests.suite import CORPORA

FP32, BF16 = Variant("fp32", CPU, runs="addmm float32"), Variant("bf16", CPU, runs="addmm bfloat16")


class Silent:
    def stage(self, row: str, text: str) -> None: ...
    def clip(self, row: str, number: int, of: int, text: str) -> None: ...


@pytest.fixture
def clips() -> Corpus:
    return corpus.load("ivr-ru", CORPORA, 4)


def make_run(folder: Path, clips: Corpus, *update: str) -> Run:
    settings = Settings(
        "cpu", "embedded", "ivr-ru", "ru", 4, folder / "baselines", frozenset(update), folder / "results", threads=2
    )
    source = ModelSource("embedded", "whisper-base", folder, MODEL)
    return Run(settings, source, clips, clips.first(1), (FP32, BF16), folder / "results" / "now", Silent())


def make_row(run: Run, variant: Variant = BF16, *, seconds: float = 0.5, wrong: int = 0) -> Row:
    row = Row(variant, "cpu", variant is FP32, run.corpus, score.RUSSIAN, timed=True, usage=Usage(900.0, 0, ()))
    row.report = BuildReport(census={"size_mib": 138.5}, kernels={variant.runs: 1})
    for number, clip in enumerate(run.corpus.clips):
        row.transcripts[clip.id] = Transcript(
            "совсем другое" if number < wrong else clip.text, 5, seconds + number / 100
        )
        if variant is not FP32:
            row.reference_seconds[clip.id] = 1.0 + number / 50
    row.baseline = baselines.read(run.baseline_path(variant.name))
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
    (line,) = gate.update(run, "2026-11-23")
    assert line == f"baseline written: {run.baseline_path('bf16')}"
    return tmp_path


def test_a_new_row_is_proposed_and_written_only_where_allowed(tmp_path: Path, clips: Corpus) -> None:
    run = make_run(tmp_path, clips, "changed", "prune")
    assert judge(run, make_row(run)).word is Word.NEW
    assert gate.update(run, "2026-11-23") == []
    assert not run.baseline_path("bf16").exists()
    proposed = baselines.read(run.folder / "proposed" / "whisper-base" / "ivr-ru" / "cpu" / "bf16.json")
    assert proposed is not None
    assert proposed.counts.word_edits == 0


def test_the_same_row_passes_and_is_not_rewritten(stored: Path, clips: Corpus) -> None:
    run = make_run(stored, clips, "new", "changed")
    assert judge(run, make_row(run)).word is Word.PASS
    assert gate.update(run, "2026-11-24") == []


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
    assert gate.update(run, "2026-11-24") == []
    run = make_run(stored, clips, "changed")
    judge(run, make_row(run, seconds=seconds, wrong=wrong))
    assert len(gate.update(run, "2026-11-24")) == 1
    again = make_run(stored, clips)
    assert judge(again, make_row(again, seconds=seconds, wrong=wrong)).word is Word.PASS


def test_a_baseline_of_another_machine_gates_accuracy_alone_and_can_be_renewed(stored: Path, clips: Corpus) -> None:
    run = make_run(stored, clips, "changed")
    run.machine = {**run.machine, "isa": ["none"]}
    row = judge(run, make_row(run, seconds=0.9))
    assert row.verdicts["speed"].word is Word.INCONCLUSIVE
    assert "the baseline's machine differs in isa" in row.verdicts["speed"].text
    assert row.verdicts["accuracy"].word is Word.PASS
    assert len(gate.update(run, "2026-11-24")) == 1


@pytest.mark.parametrize("update", ["new", "changed"])
def test_a_row_whose_kernel_never_ran_is_not_recorded(tmp_path: Path, clips: Corpus, update: str) -> None:
    run = make_run(tmp_path, clips, update)
    row = make_row(run)
    row.report = BuildReport(census={"size_mib": 138.5}, kernels={"addmm float32": 1})
    judge(run, row)
    assert row.verdicts["effect"] == Verdict(
        Word.CRASHED, "it never ran 'addmm bfloat16'; while transcribing it ran addmm float32"
    )
    assert gate.update(run, "2026-11-24") == []
    assert not run.baseline_path("bf16").exists()


def test_usable_is_judged_against_fp32_of_the_same_run(tmp_path: Path, clips: Corpus) -> None:
    run = make_run(tmp_path, clips)
    good, bad = make_row(run), make_row(run, wrong=2)
    gate.judge_usable(run)
    assert (good.usable, bad.usable) == (None, None)
    run.reference_said = make_row(run, FP32).transcripts
    gate.judge_usable(run)
    assert (good.usable, bad.usable) == (True, False)


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
