"""Shared by lxbench's own tests: the real model, a small corpus of real clips, and the suite as a user runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

if shutil.which("nvidia-smi") is None:  # Triton decides when it is first imported; torch does that on the way.
    os.environ.setdefault("TRITON_INTERPRET", "1")

from lxbench import embedded, models
from lxbench.families import Loaded
from tests.suite import ROOT, Bench, bench_command, bench_environ, copy_clips


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
    """Run the suite in a process of its own, as a user would; results and storage go to the test's folder."""

    def bench(*arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            bench_command(tmp_path, *arguments),
            cwd=ROOT,
            env=bench_environ(**environ),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    return bench
