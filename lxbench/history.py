"""Across runs: compare with the last saved run of pytest-benchmark on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lxbench import machine
from lxbench.corpus import Corpus
from lxbench.models import ModelSource
from lxbench.settings import Settings
from lxbench.stats import Change, change, timing_of


@dataclass(frozen=True)
class Saved:
    """One saved run.

    Attributes:
        name: of its file.
        seconds: of every clip in the corpus's order for each row, by its test id.
        reference: seconds of fp32 beside each row, by clip id.
        differing: which keys of the machine's fingerprint are others than here; seconds do not compare then.
    """

    name: str
    seconds: dict[str, list[float]]
    differing: tuple[str, ...] = ()
    reference: dict[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """This run against the last comparable one.

    Attributes:
        name: which saved run.
        change: by what factor the time per audio has changed, clip by clip, by row; 1.10 is 10 % slower.
        only_then, only_now: rows missing from one side.
        differing: see ``Saved``; nothing is compared then.
    """

    name: str
    change: dict[str, Change]
    only_then: list[str]
    only_now: list[str]
    differing: tuple[str, ...] = ()


def key(settings: Settings, source: ModelSource, corpus: Corpus, here: Mapping[str, Any]) -> dict[str, Any]:
    """What two runs must share for their seconds to be compared; stored with every benchmark.

    Args:
        settings: the options of the run.
        source: its model.
        corpus: its clips.
        here: see ``machine.describe``.
    """
    return {
        "model": source.fingerprint,
        "corpus": corpus.fingerprint,
        "language": settings.language,
        "device": settings.device,
        "machine": {name: here.get(name) for name in machine.SECONDS_KEYS},
    }


def last(files: Iterable[Path], wanted: Mapping[str, Any]) -> Saved | None:
    """Return the newest saved run of this key, or else the newest of another machine; None where there is neither.

    Args:
        files: pytest-benchmark's saved JSON files; their names sort by age.
        wanted: the key of this run.
    """
    elsewhere = None
    for path in sorted(files, key=lambda path: path.name, reverse=True):
        try:
            found = {
                bench["param"]: (bench["extra_info"]["key"], bench["extra_info"]["lxbench"]["row"])
                for bench in json.loads(path.read_text("utf-8"))["benchmarks"]
                if _apart_from_machine(bench["extra_info"].get("key")) == _apart_from_machine(wanted)
            }
            here = {id: row for id, (key, row) in found.items() if key == wanted}
            seconds = {id: [float(clip["seconds"]) for clip in row["clips"]] for id, row in here.items()}
            reference = {id: timing_of(row).reference for id, row in here.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # Not ours, or damaged: pytest-benchmark warns of it by itself.
        if here:
            return Saved(path.stem, seconds, reference=reference)
        if found and elsewhere is None:
            there = next(iter(found.values()))[0]["machine"]
            differing = machine.differing(wanted["machine"], there, tuple(wanted["machine"]))
            elsewhere = Saved(path.stem, {}, tuple(differing))
    return elsewhere


def ratios(files: Iterable[Path], wanted: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How fast rows were in the saved runs of this key, oldest first.

    Args:
        files: see ``last``.
        wanted: the key of this run.

    Returns:
        For every run and row ``name``, ``ratio``, when it was saved (``at``, ISO 8601) and the ``commit`` it was of.
    """
    found = []
    for path in sorted(files, key=lambda path: path.name):
        try:
            saved = json.loads(path.read_text("utf-8"))
            commit = (saved["commit_info"].get("id") or "")[:10]
            if commit and saved["commit_info"].get("dirty"):
                commit += ", with changes"
            found += [
                {
                    "name": bench["extra_info"]["lxbench"]["row"]["variant"],
                    "ratio": bench["extra_info"]["ratio"]["value"],
                    "at": saved["datetime"],
                    "commit": commit or None,
                }
                for bench in saved["benchmarks"]
                if bench["extra_info"].get("key") == wanted and bench["extra_info"].get("ratio")
            ]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # As in ``last``.
    return found


def compare(now: Mapping[str, Sequence[float]], saved: Saved) -> Comparison:
    """Compare the seconds of every clip row by row, from raw data; rows on one side only are named.

    One machine's minutes differ more than its clips: a change that all rows share is the machine's.
    """
    if saved.differing:
        return Comparison(saved.name, {}, [], [], saved.differing)
    return Comparison(
        saved.name,
        {row: changed for row in now if (changed := _change(now[row], saved.seconds.get(row, ()))) is not None},
        [row for row in saved.seconds if row not in now],
        [row for row in now if row not in saved.seconds],
    )


def _change(now: Sequence[float], then: Sequence[float]) -> Change | None:
    # Both in the corpus's order, and either may be of fewer clips.
    after, before = ({str(number): value for number, value in enumerate(side)} for side in (now, then))
    return change(after, before)


def _apart_from_machine(key: Any) -> Any:
    return {name: value for name, value in key.items() if name != "machine"} if isinstance(key, Mapping) else key
