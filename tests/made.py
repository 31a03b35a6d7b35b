"""Runs and rows made by hand: no worker runs here."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from lxbench import baselines, machine
from lxbench.corpus import Corpus
from lxbench.ladder import CPU, Variant
from lxbench.models import ModelSource
from lxbench.run import Run, gate
from lxbench.run.row import Row
from lxbench.settings import Settings
from lxbench.transcribe import PARTS, Transcript
from lxbench.worker.build import BuildReport
from lxbench.worker.serve import Usage
from tests.samples import MODEL

FP32, BF16 = Variant("fp32", CPU, runs="addmm float32"), Variant("bf16", CPU, runs="addmm bfloat16")


Kind = TypeVar("Kind", bound=Run)


class Silent:
    def stage(self, row: str, text: str) -> None: ...
    def clip(self, row: str, number: int, of: int, text: str) -> None: ...
    def more(self, row: str, share: float) -> None: ...


def make_run(folder: Path, clips: Corpus, *updates: str) -> Run:
    return make_run_of(Run, folder, clips, *updates)


def make_run_of(kind: type[Kind], folder: Path, clips: Corpus, *updates: str) -> Kind:
    """A run of a class that does something else where workers would be asked."""
    settings = Settings(
        "cpu", "embedded", "ivr-ru", "ru", 4, folder / "baselines", frozenset(updates), folder / "results", threads=2
    )
    source = ModelSource("embedded", "whisper-base", folder, MODEL)
    return kind(
        settings, source, clips, clips.first(1), (FP32, BF16), folder / "results" / "now", Silent(), machine.describe(2)
    )


def make_row(run: Run, variant: Variant = BF16, *, seconds: float = 0.5, wrong: int = 0, stored: str = "") -> Row:
    row = Row(variant, "cpu", variant is FP32, run.corpus, run.normalizer, timed=True, usage=Usage(900.0, 0, ()))
    row.report = BuildReport(census={"size_mib": 138.5}, kernels={variant.runs: 1})
    for number, clip in enumerate(run.corpus.clips):
        row.transcripts[clip.id] = Transcript(
            "совсем другое" if number < wrong else clip.text, 5, seconds + number / 100, dict.fromkeys(PARTS, 0.1)
        )
        if variant is not FP32:
            row.pairs[clip.id] = [(1.0 + number / 50, seconds + number / 100)]
    if row.pairs:
        row.processes = [len(row.pairs)]
    row.baseline_error = stored
    row.baseline = None if stored else baselines.read(run.baseline_path(variant.name))
    run.rows.append(row)
    return row


def judge(run: Run, row: Row) -> Row:
    row.verdicts["effect"] = gate.judge_effect(row)
    row.verdicts["speed"] = gate.judge_speed(run, row)
    row.verdicts["accuracy"] = gate.judge_accuracy(run, row)
    return row
