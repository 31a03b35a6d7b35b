"""Workers that tests start, and scripts of tests: nothing here imports torch, which takes seconds."""

from __future__ import annotations

from pathlib import Path

from lxbench import corpus
from lxbench.checkpoints import embedded
from lxbench.worker import Worker
from lxbench.worker.serve import Job
from tests.suite import CORPORA


def job(folder: Path, variant: str) -> Job:
    clips = corpus.load("ivr-ru", CORPORA, 1).clips
    return Job(variant, None, embedded.restore(), "cpu", 1, "ru", clips[0].path, (), folder / "logs" / "w.log")


def start(folder: Path, variant: str) -> Worker:
    return Worker(job(folder, variant), build_limit_s=120, clip_limit_s=60)
