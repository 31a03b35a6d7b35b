"""Shared by lxbench's own tests: the real model, a small corpus of real clips, and the suite as a user runs it."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path

import pytest

if shutil.which("nvidia-smi") is None:  # Triton decides when it is first imported; torch does that on the way.
    os.environ.setdefault("TRITON_INTERPRET", "1")

from lxbench import corpus, models
from lxbench.checkpoints import embedded
from lxbench.corpus import Corpus
from lxbench.families import Loaded
from lxbench.run import update
from tests.made import judge, make_row, make_run
from tests.suite import CORPORA, Bench, copy_clips, run_bench


def pytest_configure(config: pytest.Config) -> None:
    # Here alone: who benchmarks on a full disk, or with other versions, wants his table and not an error of a warning.
    config.getini("filterwarnings").insert(0, "error")


@pytest.fixture(scope="session")
def loaded() -> Loaded:
    """The embedded whisper-base in float32."""
    return models.load(embedded.restore(), "cpu")


@pytest.fixture
def small_corpus(tmp_path: Path) -> Path:
    """A folder of a few real clips that a test may damage."""
    return copy_clips(tmp_path / "small", 3)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Run the suite as a user would, with its outputs in the test's folder."""
    return partial(run_bench, tmp_path)


@pytest.fixture
def clips() -> Corpus:
    return corpus.load("ivr-ru", CORPORA, 4)


@pytest.fixture
def stored(tmp_path: Path, clips: Corpus) -> Path:
    """A folder with a baseline of bf16, twice as fast as fp32 and without an error."""
    run = make_run(tmp_path, clips, "new")
    judge(run, make_row(run))
    (line,) = list(update.write(run, "2026-11-23"))
    assert line == f"baseline written: {run.baseline_path('bf16')}"
    return tmp_path
