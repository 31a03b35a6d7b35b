"""Whether workers that are forked from one server are as independent of each other as spawned ones: two tables.

    python -m tools.gate.forks tools/gate/recordings/forks.json --rounds 9

Several servers live side by side. In every round each of them, and none, starts a process of every row; these hear the
same clips twice in alternation. What is compared is one figure a process: its mean logarithm of the ratio to fp32. A
recording that is there already is only read.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import multiprocessing.forkserver
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy.stats import f_oneway, levene

from lxbench import corpus, files
from lxbench.checkpoints import embedded
from lxbench.commands import CORPORA
from lxbench.worker import Worker, processes
from lxbench.worker.serve import Job

ROWS = ("fp32", "fast", "ptq-dynamic")
CLIPS = 12
SPAWNED, SERVERS = "spawned", ("server A", "server B", "server C")


def record(rounds: int) -> Iterator[dict[str, Any]]:
    """Yield what every process took: by row and clip, seconds of each time."""
    clips, folder = corpus.load(corpus.EMBEDDED, CORPORA, CLIPS).clips, embedded.restore()
    servers = {name: multiprocessing.forkserver.ForkServer() for name in SERVERS}
    for server in servers.values():
        server.set_forkserver_preload([processes._PRELOADED])
    begin = processes.start
    with tempfile.TemporaryDirectory() as logs:
        for kind in (SPAWNED, *SERVERS) * rounds:
            if kind == SPAWNED:
                processes.start = lambda job: processes._process(multiprocessing.get_context("spawn"), job)
            else:
                processes.start = begin
                multiprocessing.forkserver.ensure_running = servers[kind].ensure_running
                multiprocessing.forkserver.connect_to_new_process = servers[kind].connect_to_new_process
            started = {}
            for row in ROWS:
                job = Job(row, None, folder, "cpu", 2, "ru", clips[0].path, (), Path(logs) / row)
                started[row] = Worker(job, build_limit_s=120, clip_limit_s=60)
                started[row].ready(lambda _: None)
            yield {"kind": kind, "seconds": _time(started, clips)}
            for each in started.values():
                each.stop()


def _time(started: Mapping[str, Worker], clips: Sequence[corpus.Clip]) -> dict[str, dict[str, list[float]]]:
    seconds: dict[str, dict[str, list[float]]] = {row: {clip.id: [] for clip in clips} for row in started}
    for order in (list(started), list(started)[::-1]):
        for clip in clips:
            for row in order:
                started[row].prepare(clip)
                seconds[row][clip.id].append(round(started[row].transcribe().seconds, 5))
    return seconds


def tables(recorded: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield how far processes are apart by how they were started, and whether a server's are alike."""
    yield "| row | how it starts | processes | ratio to fp32 | standard deviation |"
    yield "| --- | --- | ---: | ---: | ---: |"
    tests = []
    for row in ROWS[1:]:
        found = {kind: [_ratio(each, row) for each in recorded if each["kind"] == kind] for kind in (SPAWNED, *SERVERS)}
        for kind, logs in found.items():
            ratio, spread = math.exp(statistics.fmean(logs)), statistics.stdev(logs)
            yield f"| {row} | {kind} | {len(logs)} | {ratio:.3f} | {spread:.2%} |"
        forked = [found[server] for server in SERVERS]
        centred = [log - statistics.fmean(logs) for logs in forked for log in logs]
        alike, spreads = f_oneway(*forked), levene(found[SPAWNED], centred)
        tests.append(f"| {row} | {alike.statistic:.2f}, p = {alike.pvalue:.2f} | p = {spreads.pvalue:.2f} |")
    yield from ("", "| row | servers differ (F) | spawned are spread otherwise (Levene) |", "| --- | ---: | ---: |")
    yield from tests


def _ratio(process: Mapping[str, Any], row: str) -> float:
    seconds = process["seconds"]
    return statistics.fmean(
        math.log(fp32 / own)
        for id, times in seconds[row].items()
        for fp32, own in zip(seconds["fp32"][id], times, strict=True)
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Record what is not there, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    chosen = parser.parse_args(arguments)
    if not chosen.file.exists():
        recorded = []
        for process in record(chosen.rounds):
            recorded.append(process)
            print(f"{len(recorded)} of {chosen.rounds * (1 + len(SERVERS))}", flush=True)
        files.write(chosen.file, json.dumps(recorded, ensure_ascii=False, separators=(",", ":")) + "\n")
    for line in tables(json.loads(chosen.file.read_text("utf-8"))):
        print(line, flush=True)


if __name__ == "__main__":
    main()
