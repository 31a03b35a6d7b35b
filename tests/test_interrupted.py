"""A run that is interrupted at any line while it times a row: what was measured by then can be told and proposed.

Workers that answer at once stand in for real ones; the whole suite is interrupted in ``test_cli``.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from lxbench import plugin
from lxbench import run as running
from lxbench.corpus import Clip, Corpus
from lxbench.run import Run, pairing, results, update
from lxbench.run.row import Row
from lxbench.transcribe import PARTS, Transcript
from lxbench.verdict import Verdict, Word
from lxbench.worker.build import BuildReport
from lxbench.worker.serve import Usage
from tests.made import BF16, FP32, make_run


class Instant:
    """Answers at once."""

    pid, crashed = None, False

    def __init__(self, job: Any, *_: float) -> None:
        self.job, self._text = job, ""

    def ready(self, _: Callable[[str], None]) -> BuildReport:
        return BuildReport(census={"size_mib": 138.5}, kernels={"addmm bfloat16": 1})

    def prepare(self, clip: Clip) -> None:
        self._text = clip.text

    def transcribe(self) -> Transcript:
        seconds = 1.0 if self.job.variant == "fp32" else 0.5
        return Transcript(self._text, 5, seconds, dict.fromkeys(PARTS, seconds / len(PARTS)))

    def usage(self) -> Usage:
        return Usage(900.0, 0, ())

    def stop(self) -> None: ...


def pedantic(target: Any, setup: Any, teardown: Any, rounds: int, iterations: int) -> None:
    """As pytest-benchmark's, without a clock."""
    assert iterations == 1
    for _ in range(rounds):
        arguments, _nothing = setup()
        target(*arguments)
        teardown(*arguments)


def measure(run: Run, row: Row) -> None:
    run.time(row, run.corpus, len(run.corpus.clips), pedantic)
    row.verdicts["speed"] = Verdict(Word.NEW, "")
    run.time_again(row)


def interrupted(line: int, run: Run, row: Row) -> bool:
    """Press Ctrl-C at the n-th line of run.py and pairing.py while a row is measured; False where it ended before."""
    left = count(line, -1)

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename not in (running.__file__, pairing.__file__):
            return None
        if event == "line" and next(left) == 0:
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        measure(run, row)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def test_at_any_line_of_timing(tmp_path: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "Worker", Instant)
    monkeypatch.setattr(pairing, "PAIRED_CLIPS", 2)  # A process of either ends and another begins on the way.
    proposals = []
    for line in count():
        run = make_run(tmp_path, clips, "new")
        run.start(FP32)
        row = run.start(BF16)
        once_more = interrupted(line, run, row)
        values = results.saved_values(run, row)["row"]
        assert values["seconds"] in (None, 0.5)
        proposals.append(update.propose(run, row, "2026-11-27") is not None)
        if not once_more:
            break
    assert line > 100
    assert proposals == sorted(proposals), "nothing is proposed until all is measured that it is of"
    assert proposals.count(False) > 50
    assert proposals.count(True) > 10


@pytest.mark.parametrize(("calibration", "language"), [("ivr-ru-calibration", "ru"), ("mine", "de")])
def test_calibration_clips_that_are_shipped_are_russian(
    tmp_path: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch, calibration: str, language: str
) -> None:
    monkeypatch.setattr(running, "Worker", Instant)
    run = make_run(tmp_path, clips)
    run.settings = replace(run.settings, language="de", calibration=calibration)
    run.start(FP32)
    job: Any = run._workers["fp32-cpu"].job
    assert (job.language, job.calibration_language) == ("de", language)


def test_what_fp32_took_lately_is_of_the_processes_that_were_timed_last(
    tmp_path: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "Worker", Instant)
    monkeypatch.setattr(pairing, "PAIRED_CLIPS", 2)
    run = make_run(tmp_path, clips)
    reference, row = run.start(FP32), run.start(BF16)
    first, second, third, fourth = (clip.id for clip in clips.clips)
    run.time(row, run.corpus, 4, pedantic)
    assert run.reference_lately == {third: 1.0, fourth: 1.0}
    run.time_again(row)
    assert run.reference_lately == {first: 1.0, second: 1.0}
    run.time(reference, run.corpus, 0, pedantic)  # Alone it may be faster.
    assert run.reference_lately == {first: 1.0, second: 1.0}


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_does_not_cut_off_the_ending_of_a_run(kind: signal.Signals) -> None:
    before = signal.signal(kind, signal.default_int_handler)
    try:
        with plugin._signals_ignored():
            signal.raise_signal(kind)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(kind)
    finally:
        signal.signal(kind, before)
