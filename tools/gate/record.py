"""Record real timings for ``speed.py``: runs of the suite in fresh processes, every clip beside fp32.

    python -m tools.gate.record tools/gate/recordings/epyc.json --runs 14 -k "[ptq-dynamic-cpu]"
    python -m tools.gate.record tools/gate/recordings/epyc-disturbed.json --runs 6 --disturb -k "[ptq-dynamic-cpu]"

    python -m tools.gate.record tools/gate/recordings/xeon-ladder.json --saved results/*/results.json

``--disturb`` has a second process burn one core on and off meanwhile. ``--saved`` runs nothing and takes saved runs,
each once: ``results/latest`` is one of the others.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lxbench import files
from lxbench.runs import run_once


def burn(seed: int, longest_s: float = 4.0) -> None:
    """Use one core and leave it, each for a random while."""
    chance = random.Random(seed)
    while True:
        until = time.monotonic() + chance.uniform(0, longest_s)
        while time.monotonic() < until:
            pass
        time.sleep(chance.uniform(0, longest_s))


@contextmanager
def neighbour(seed: int, wanted: bool) -> Iterator[None]:
    """A process that burns a core on and off, if it is wanted."""
    if not wanted:
        yield
        return
    process = multiprocessing.get_context("spawn").Process(target=burn, args=(seed,), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def compact(run: dict[str, Any]) -> dict[str, Any]:
    """What ``speed.py`` needs: seconds of fp32 and of the variant for every clip, in the order they were taken."""
    return {
        "started": run["started"],
        "rows": {
            row["variant"]: {
                "disturbance": row["disturbance"],
                "processes": row["processes"],
                "pairs": {
                    clip["id"]: [[round(t, 5) for t in pair] for pair in clip["pairs"]]
                    for clip in row["clips"]
                    if clip["pairs"]
                },
            }
            for row in run["rows"]
            if row["ratio"] and not row["measured_as"]
        },
    }


def read_saved(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """The values of saved runs, each once whatever links lead to it."""
    return [json.loads(path.read_text("utf-8")) for path in dict.fromkeys(path.resolve() for path in paths)]


def _write(path: Path, machine: dict[str, Any], disturbed: bool, runs: list[dict[str, Any]]) -> None:
    found = {"machine": machine, "disturbed": disturbed, "runs": runs}
    files.write(path, json.dumps(found, ensure_ascii=False, separators=(",", ":")) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Record, and write after every run what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--disturb", action="store_true")
    parser.add_argument("--saved", type=Path, nargs="+", default=[])
    chosen, suite = parser.parse_known_args(arguments)  # The others are the suite's.
    runs: list[dict[str, Any]] = []
    if chosen.saved:
        saved = read_saved(chosen.saved)
        _write(chosen.file, saved[-1]["machine"], False, [compact(run) for run in saved])
        return
    for number in range(chosen.runs):
        with tempfile.TemporaryDirectory() as folder, neighbour(number, chosen.disturb):
            # Recording a baseline is what pairs every clip; this one is thrown away.
            fresh = [*suite, "--lx-baselines", f"{folder}/baselines", "--lx-update", "new"]
            run = run_once(Path(folder), fresh)
        runs.append(compact(run))
        _write(chosen.file, run["machine"], chosen.disturb, runs)
        print(f"recorded {number + 1} of {chosen.runs}", flush=True)


if __name__ == "__main__":
    main()
