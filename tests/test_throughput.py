"""Batches: how clips are put together, and what is made of what they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from lxbench import run as running
from lxbench.corpus import Clip, Corpus
from lxbench.run import gate, throughput, update
from lxbench.transcribe import Transcript
from lxbench.verdict import Verdict, Word
from lxbench.worker import CrashError
from tests.made import make_row, make_run

CLIPS = [Clip(id, Path(f"{id}.flac"), "text", 3.0, id, id) for id in "abcdefg"]


def test_batches_are_whole() -> None:
    assert [[clip.id for clip in batch] for batch in throughput.batches(CLIPS, 3)] == [["a", "b", "c"], ["d", "e", "f"]]
    assert throughput.batches(CLIPS, 7) == [CLIPS]
    assert throughput.batches(CLIPS, 8) == [CLIPS]


def test_seconds_are_added_and_texts_compared_with_those_alone() -> None:
    said = {id: Transcript(text, 3, 0.5) for id, text in zip("abcd", ["one", "two", "three", "four"], strict=True)}
    alone = {id: Transcript(text, 3, 1.0) for id, text in zip("abc", ["one", "too", "three"], strict=True)}
    done = throughput.measured(2, CLIPS, said, alone)
    assert (done.batch, done.clips, done.audio_s, done.seconds, done.changed) == (2, 4, 12.0, 2.0, ("b",))
    assert done.clips_per_s == pytest.approx(2.0)
    assert done.real_time_factor == pytest.approx(6.0)


def test_a_row_that_dies_in_batches_has_not_crashed_one_by_one(
    tmp_path: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dying:
        crashed = True

        def transcribe_batch(self, _: object) -> None:
            raise CrashError("out of memory", expected="a worker that answers", command="less log")

    run = make_run(tmp_path, clips)
    run.settings = replace(run.settings, batch=2)
    row = make_row(run)
    run._workers[row.id] = cast(Any, Dying())
    run.transcribe_in_batches(row)
    assert row.crash == ""
    said = gate.judge_throughput(row)
    assert said.word is Word.CRASHED
    assert "out of memory" in said.text
    assert gate.judge_effect(row).word is Word.PASS
    row.verdicts |= {"speed": Verdict(Word.NEW, ""), "throughput": said}
    assert row.word is Word.CRASHED
    assert row.against_baseline is Word.NEW
    assert update.propose(run, row, "2026-11-28") is not None

    class Fresh:
        def __init__(self, job: object, *_: object) -> None:
            self.job = job

        def ready(self, _: object) -> object:
            return row.report

        def kernels(self) -> dict[str, int]:
            return {"addmm bfloat16": 2}

    monkeypatch.setattr(running, "Worker", Fresh)
    assert row.report is not None
    row.report.kernels = {}
    run.look_at_kernels(row)  # on a GPU that is done last
    assert row.crash == ""
    assert row.report.kernels == {"addmm bfloat16": 2}


@pytest.mark.parametrize(("device", "before"), [("cpu", ["ab"]), ("cuda", ["ab", "cd"])])
def test_a_gpu_hears_every_batch_once_before_it_is_timed(
    tmp_path: Path, clips: Corpus, device: str, before: list[str]
) -> None:
    """Its libraries plan anew for every length; what else is of another shape is so from the first batch on."""
    heard: list[str] = []
    names = {clip.id: name for clip, name in zip(clips.clips, "abcd", strict=True)}

    class Hearing:
        def transcribe_batch(self, batch: tuple[Clip, ...]) -> list[Transcript]:
            heard.append("".join(names[clip.id] for clip in batch))
            return [Transcript(clip.text, 3, 0.1) for clip in batch]

    run = make_run(tmp_path, clips)
    run.settings = replace(run.settings, batch=2, device=device)
    row = make_row(run)
    run._workers[row.id] = cast(Any, Hearing())
    run.transcribe_in_batches(row)
    assert heard == [*before, "ab", "cd"]
    assert row.throughput is not None
