"""Across runs: compare with the last saved run of pytest-benchmark on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lxbench import machine

if TYPE_CHECKING:
    from lxbench.run import Run


@dataclass(frozen=True)
class Saved:
    """One saved run: its name, and the mean seconds per audio of each row by its test id."""

    name: str
    means: dict[str, float]


@dataclass(frozen=True)
class Comparison:
    """This run against the last comparable one.

    Attributes:
        name: which saved run.
        change: relative change of the mean seconds per audio by row; 0.10 is 10 % slower.
        only_then, only_now: rows missing from one side.
    """

    name: str
    change: dict[str, float]
    only_then: list[str]
    only_now: list[str]


def key(run: Run) -> dict[str, Any]:
    """What two runs must share for their seconds to be compared; stored with every benchmark."""
    return {
        "model": run.source.fingerprint,
        "corpus": run.corpus.fingerprint,
        "language": run.settings.language,
        "device": run.settings.device,
        "machine": {name: run.machine.get(name) for name in machine.SECONDS_KEYS},
    }


def last(files: Iterable[Path], wanted: Mapping[str, Any]) -> Saved | None:
    """Return the newest saved run with a row of this key; None where there is none.

    Args:
        files: pytest-benchmark's saved JSON files; their names sort by age.
        wanted: the key of this run.
    """
    for path in sorted(files, key=lambda path: path.name, reverse=True):
        try:
            benchmarks = json.loads(path.read_text("utf-8"))["benchmarks"]
            means = {
                bench["param"]: float(bench["stats"]["mean"])
                for bench in benchmarks
                if bench["extra_info"].get("key") == wanted
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # Not ours, or damaged: pytest-benchmark warns of it by itself.
        if means:
            return Saved(path.stem, means)
    return None


def compare(now: Mapping[str, float], saved: Saved) -> Comparison:
    """Compare mean seconds per audio row by row; rows on one side only are named."""
    shared = [row for row in now if row in saved.means]
    return Comparison(
        saved.name,
        {row: now[row] / saved.means[row] - 1 for row in shared},
        [row for row in saved.means if row not in now],
        [row for row in now if row not in saved.means],
    )
