"""Seconds until rows are ready: a first process, and a row's and fp32's begun anew as in the middle of a run.

    python -m tools.performance.ready fp32 fast

Medians of three. To compare with an earlier commit, copy this file there and run both in turn.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from lxbench import corpus
from lxbench.checkpoints import embedded
from lxbench.commands import CORPORA
from lxbench.worker import Worker
from lxbench.worker.serve import Job

_TIMES = 3


def until_ready(*jobs: Job) -> tuple[float, list[Any]]:
    """Start workers as a run does; return the seconds until all are ready, and their reports."""
    start = time.perf_counter()
    workers = [Worker(job, build_limit_s=600, clip_limit_s=60) for job in jobs]
    reports = [worker.ready(lambda _: None) for worker in workers]
    seconds = time.perf_counter() - start
    for worker in workers:
        worker.stop()
    return seconds, reports


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print a line a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="+")
    chosen = parser.parse_args(arguments)
    folder, clip = embedded.restore(), corpus.load(corpus.EMBEDDED, CORPORA, 1).clips[0].path
    observed = tuple(clip.path for clip in corpus.load("ivr-ru-calibration", CORPORA, texts=False).clips)
    with tempfile.TemporaryDirectory() as logs:
        jobs = {
            row: Job(row, None, folder, "cpu", 2, "ru", clip, observed, Path(logs) / row)
            for row in ("fp32", *chosen.rows)
        }
        _, (reference,) = until_ready(jobs["fp32"])  # Its seconds are the server's.
        for row in chosen.rows:
            first, anew = [], []
            for _ in range(_TIMES):
                seconds, (report,) = until_ready(jobs[row])
                first.append(seconds)
                again: list[dict[str, Any]] = [{"earlier": report}, {"earlier": reference}]
                if all(field.name != "earlier" for field in fields(Job)):  # Earlier commits do not know it.
                    again = [{}, {}]
                anew.append(until_ready(replace(jobs[row], **again[0]), replace(jobs["fp32"], **again[1]))[0])
            print(
                f"{row}: a first process {statistics.median(first):.2f} s, "
                f"its own and fp32's begun anew {statistics.median(anew):.2f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
