"""What is judged, on rows made by hand."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lxbench.baselines import Spread
from lxbench.corpus import Corpus
from lxbench.history import Saved
from lxbench.ladder import find
from lxbench.run import gate
from lxbench.run.disturbance import Disturbance
from lxbench.transcribe import Transcript
from lxbench.variants import VARIANTS
from lxbench.verdict import Tolerance, Verdict, Word
from lxbench.worker.profile import Operator, Profile
from lxbench.worker.serve import Usage
from tests.made import BF16, FP32, make_row, make_run


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


def test_kernels_that_are_left_until_all_is_timed_are_looked_at_once(tmp_path: Path, clips: Corpus) -> None:
    run = make_run(tmp_path, clips)
    row = make_row(run)
    assert row.report is not None
    row.report.kernels = {}
    asked: Any = SimpleNamespace(kernels=iter([{"addmm bfloat16": 9}]).__next__)
    run._workers[row.id] = asked
    assert gate.judge_effect(row).text.startswith("it never ran 'addmm bfloat16'")
    run.look_at_kernels(row)
    run.look_at_kernels(row)
    assert gate.judge_effect(row).word is Word.PASS


def test_an_encoder_compiled_alone_is_not_the_row_that_compiles_the_decoding_step_too(
    tmp_path: Path, clips: Corpus
) -> None:
    run = make_run(tmp_path, clips)
    row = make_row(run, find(VARIANTS, "compile"))
    assert row.report is not None
    row.report.kernels = {"addmm float32": 540, "Torch-Compiled Region 0": 1}
    assert gate.judge_effect(row).word is Word.CRASHED
    row.report.kernels["Torch-Compiled Region 1"] = 11
    assert gate.judge_effect(row).word is Word.PASS


def test_a_graph_compiled_while_clips_were_timed_spoils_the_speed(tmp_path: Path, clips: Corpus) -> None:
    run = make_run(tmp_path, clips)
    row = make_row(run)
    row.usage = Usage(900.0, 2, ())
    said = gate.judge_speed(run, row)
    assert said.word is Word.CRASHED
    assert "2 more graphs were compiled or recorded while clips were timed" in said.text


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


@pytest.mark.parametrize(
    ("spec", "corpus", "word", "text"),
    [
        ("embedded", "ivr-ru", Word.REGRESSED, "declared unusable and not caught"),
        ("my/whisper", "ivr-ru", Word.PASS, "usable here, though declared unusable of embedded on ivr-ru"),
        ("embedded", "mine", Word.PASS, "usable here, though declared unusable of embedded on ivr-ru"),
    ],
)
def test_rows_that_come_along_are_wrecks_of_what_comes_along(
    tmp_path: Path, clips: Corpus, spec: str, corpus: str, word: Word, text: str
) -> None:
    """A deeper model may lose a layer and not a word."""
    run = make_run(tmp_path, replace(clips, name=corpus))
    run.source = replace(run.source, spec=spec)
    run.reference_said = {clip.id: Transcript(clip.text, 5, 1.0) for clip in clips.clips}
    said = gate.judge_caught(run, make_row(run, find(VARIANTS, "prune-layers")))
    assert said == Verdict(word, f"{text}: WER 0.0000, fp32 0.0000, margin 0.0100")


def test_a_profile_names_what_is_on_top(tmp_path: Path, clips: Corpus) -> None:
    row = make_row(make_run(tmp_path, clips))
    assert gate.judge_profile(row).word is Word.CRASHED
    top = (Operator("aten::addmm", 0.44, 130.0, 36),)
    row.profiles = {"encoder": Profile(top, (), tmp_path), "decoder": Profile((), (), tmp_path)}
    assert gate.judge_profile(row).text == "the profile of the decoder is empty"
    row.profiles["decoder"] = Profile(top, (Operator("fmha", 0.5, 1.0, 1),), tmp_path)
    assert gate.judge_profile(row) == Verdict(Word.PASS, "encoder: aten::addmm 44%; decoder: fmha 50%")


def test_seconds_are_judged_where_it_is_known_how_far_equal_runs_are_apart(stored: Path, clips: Corpus) -> None:
    def said(seconds: float, spread: float | None, is_reference: bool = False) -> Verdict | None:
        run = make_run(stored, clips)
        row = make_row(run, seconds=seconds)
        row.is_reference = is_reference
        seen = {id: rounds[0][0] for id, rounds in row.pairs.items()}
        run.saved = Saved("0007_x", {row.id: [0.5 + n / 100 for n in range(4)]}, reference={row.id: seen})
        assert row.baseline is not None
        (speed,) = row.baseline.speeds
        known = None if spread is None else Spread(0.002, spread, 10, "2026-11-24")
        row.baseline = replace(row.baseline, speeds=(replace(speed, spread=known),))
        return gate.judge_seconds(run, row)

    slower = said(0.6, 0.01)
    assert slower is not None
    assert slower.word is Word.REGRESSED
    assert slower.text.startswith("s/audio since 0007_x: +19")
    assert slower.text.endswith(", fp32 beside it +0.0%; equal runs of this machine are 1.0% apart")
    for seconds, spread, word in ((0.5, 0.001, Word.PASS), (0.6, 0.2, Word.INCONCLUSIVE)):
        verdict = said(seconds, spread)
        assert verdict is not None
        assert verdict.word is word
    assert said(0.6, None) is None
    assert said(0.6, 0.01, is_reference=True) is None  # What shows the machine's hours is not judged by them.


@pytest.mark.parametrize(("comparisons", "word"), [(1, Word.REGRESSED), (1000, Word.INCONCLUSIVE)])
def test_the_more_rows_a_run_has_the_surer_a_slowdown_has_to_be(
    stored: Path, clips: Corpus, comparisons: int, word: Word
) -> None:
    run = make_run(stored, clips)
    run.comparisons = comparisons
    row = make_row(run, seconds=0.62)
    slower = {id: said.seconds * (0.97, 1.03)[n % 2] for n, (id, said) in enumerate(row.transcripts.items())}
    row.pairs = {id: [(ref, slower[id])] for id, ((ref, _),) in row.pairs.items()}
    row.transcripts = {id: replace(said, seconds=slower[id]) for id, said in row.transcripts.items()}
    assert gate.judge_speed(run, row).word is word
    assert row.baseline is not None
    (speed,) = row.baseline.speeds
    row.baseline = replace(row.baseline, speeds=(replace(speed, spread=Spread(0.002, 0.002, 10, "2026-11-24")),))
    seen = {id: rounds[0][0] for id, rounds in row.pairs.items()}
    run.saved = Saved("0007_x", {row.id: [0.5 + n / 100 for n in range(4)]}, reference={row.id: seen})
    said = gate.judge_seconds(run, row)
    assert said is not None
    assert said.word is word


def test_a_row_is_held_to_its_own_tolerance(stored: Path, clips: Corpus) -> None:
    run = make_run(stored, clips)
    assert gate.judge_accuracy(run, make_row(run, wrong=1)).word is Word.REGRESSED
    own = make_row(run, replace(BF16, tolerance=Tolerance(wer=1.0, cer=1.0)), wrong=1)
    assert gate.judge_accuracy(run, own).word is Word.PASS


def test_a_row_is_excused_where_all_that_is_red_of_it_is(tmp_path: Path, clips: Corpus) -> None:
    row = make_row(make_run(tmp_path, clips))
    assert row.excused == ""
    row.failed = {"accuracy": "waits for the next torch", "effect": "waits for the next torch", "speed": "slow disk"}
    assert row.excused == "waits for the next torch; slow disk"
    row.failed["seconds"] = ""
    assert row.excused == ""


def test_what_disturbed_an_undecided_speed_is_said(stored: Path, clips: Corpus) -> None:
    run = make_run(stored, clips)
    row = make_row(run)
    noise = (0.7, 1.3, 0.8, 1.2)
    row.pairs = {id: [(ref * noise[n], said)] for n, (id, ((ref, said),)) in enumerate(row.pairs.items())}
    row.disturbance = Disturbance(load=3.2, stolen=0.01, others=0.9, mhz=2600.0)
    said = gate.judge_speed(run, row)
    assert said.word is Word.INCONCLUSIVE
    assert re.search(
        r"clips spread by \d\d%, equal runs by 1\.\d%, fp32 itself takes -3% since it was recorded; "
        r"load 3.20, other processes 0.90 cores, stolen 0.01 cores$",
        said.text,
    )
