"""A worker on its own: what it answers and what it costs."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lxbench import corpus, embedded
from lxbench.serve import Job
from lxbench.worker import CrashError, Worker
from tests.suite import CORPORA


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    clips = corpus.load("ivr-ru", CORPORA, 1).clips
    job = Job("bf16", None, embedded.restore(), "cpu", 1, "ru", clips[0].path, (), tmp_path / "logs" / "w.log")
    worker = Worker(job, build_limit_s=120, clip_limit_s=60)
    yield worker
    worker.stop()


def test_a_worker_transcribes_and_can_be_killed(worker: Worker) -> None:
    stages: list[str] = []
    report = worker.ready(stages.append)
    assert stages == ["loading", "cast(bfloat16)", "warming up"]
    assert worker.ready(stages.append) is report
    (clip,) = corpus.load("ivr-ru", CORPORA, 1).clips
    said = []
    for _ in range(2):
        worker.prepare(clip)
        said.append(worker.transcribe())
    assert said[0].text == said[1].text != ""
    assert said[0].tokens == said[1].tokens > 0
    assert worker.waited > worker.transcribing > sum(one.seconds for one in said)
    assert worker.transcribing == pytest.approx(sum(one.seconds for one in said), abs=0.2)
    # Steady state of a 139 MiB model with torch and transformers in memory, the float32 model forgotten.
    usage = worker.usage()
    assert 400 < usage.peak_mib < 1500
    assert usage.compilations == 0
    assert usage.warnings == ()
    assert "MALLOC_TRIM_THRESHOLD_" not in os.environ
    assert worker.pid is not None
    os.kill(worker.pid, 9)
    worker_gone = pytest.raises(CrashError, match="killed by SIGKILL")
    with worker_gone:
        worker.prepare(clip)
    with worker_gone:
        worker.transcribe()
    assert worker.crashed


def test_graphs_of_an_earlier_process_are_told_from_new_ones(tmp_path: Path) -> None:
    script = (
        "import torch; from lxbench import serve; torch.compile(lambda x: x.sin() + 1)(torch.ones(4)); "
        "print(serve._origins())"
    )
    environ = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}

    def found() -> object:
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
        return ast.literal_eval(done.stdout.splitlines()[-1])

    assert [found(), found()] == [{"cached": 0, "new": 1}, {"cached": 1, "new": 0}]
