"""The command to paste next."""

from __future__ import annotations

import importlib.util
import shlex
from collections.abc import Sequence
from typing import Any

from lxbench.commands import typed
from lxbench.corpus import EMBEDDED
from lxbench.settings import Settings, repeated
from lxbench.variants import VARIANTS
from lxbench.verdict import OF_NO_BASELINE, Word

# Which update accepts a verdict; what is not listed cannot be accepted.
_ACCEPTS = {
    Word.NEW: "new",
    Word.STALE: "changed",
    Word.REGRESSED: "changed",
    Word.IMPROVED: "changed",
}


def command_line(arguments: Sequence[str]) -> str:
    """The pytest command that was run."""
    return shlex.join(["pytest", *map(str, arguments)])


def next_command(results: dict[str, Any], settings: Settings, updated: Sequence[str]) -> str:
    """Return the command for the most urgent verdict of a run; empty where all is well.

    Args:
        results: the values of results.json.
        settings: the options of the run; those that are not the default are repeated.
        updated: what ``--lx-update`` has done.
    """
    if updated:
        place, elsewhere = shlex.quote(str(settings.baselines)), ""
        if settings.baselines.is_absolute() or ".." in settings.baselines.parts:  # It may be of another repository.
            place, elsewhere = ".", f" -C {place}"
        # A diff shows neither new files nor deletions that are staged.
        return f"git{elsewhere} add -N --no-all {place} && git{elsewhere} diff {place}"
    judged = [row for row in results["rows"] if row["verdict"] and not row.get("excused")]
    if crashed := [row["id"] for row in judged if row["verdict"] == Word.CRASHED]:
        return f"less {shlex.quote(str(settings.results / 'latest' / 'logs' / f'{crashed[0]}.log'))}"
    if results["orphans"]:
        return _baselines(settings, "prune", ["test_no_orphans"]) + "  # deletes them; not if they are of --lx-variants"
    moved: dict[Word, list[str]] = {}
    for row in judged:
        # A test id in its brackets means that row alone; a bare name would be found in other names too.
        moved.setdefault(_against_baseline(row), []).append(f"[{row['id']}]")
    for word in (Word.STALE, Word.NEW):
        if word in moved:
            return _baselines(settings, _ACCEPTS[word], moved[word])
    suspected = str(results["suspected"]["command"])
    if Word.REGRESSED in moved:
        # What is slower alone is not accepted before it is known whether the code is.
        accepted = _worse(judged) if suspected else moved[Word.REGRESSED]
        if not accepted:
            return f"{suspected}  # slower code, or a slower machine?"
        return _baselines(settings, _ACCEPTS[Word.REGRESSED], accepted) + "  # if this is what you want"
    if usable := [row["variant"] for row in judged if _is_red(row["verdicts"].get("usable"))]:
        declared_in = _declared_in(usable[0], settings)
        there = ", ".join(name for name in usable if _declared_in(name, settings) == declared_in)
        return typed(f"less {declared_in}  # {there}: declared unusable here, and usable")
    if Word.IMPROVED in moved:
        return _baselines(settings, _ACCEPTS[Word.IMPROVED], moved[Word.IMPROVED])
    return suspected


def _worse(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Those of some rows that say worse than their baselines, each in its brackets."""
    return [f"[{row['id']}]" for row in rows if row["verdicts"].get("accuracy", {}).get("word") == Word.REGRESSED]


def _against_baseline(row: dict[str, Any]) -> Word:
    """The verdict of a row without what no baseline holds."""
    words = [Word(said["word"]) for what, said in row["verdicts"].items() if what not in OF_NO_BASELINE]
    return min(words, key=list(Word).index, default=Word.PASS)


def _is_red(said: dict[str, str] | None) -> bool:
    return said is not None and Word(said["word"]).red


def _declared_in(variant: str, settings: Settings) -> str:
    """The file with the line of a row."""
    if not settings.variants or any(each.name == variant for each in VARIANTS):
        return "lxbench/variants.py"
    module = None if settings.variants.endswith(".py") else importlib.util.find_spec(settings.variants)
    return shlex.quote(module.origin if module is not None and module.origin else settings.variants)


def _baselines(settings: Settings, update: str, names: list[str]) -> str:
    # Not by the session that brings a CPU's pinned versions along: a GPU has the torch that is there.
    session = "bench-gpu" if settings.device == "cuda" else "baselines"
    # A part of the corpus may be recorded where nothing is; a stored baseline is not replaced by a smaller one, and
    # those of the embedded corpus cover all of it.
    part = update == "new" and settings.corpus != EMBEDDED
    arguments = ["--lx-update", update, "-k", " or ".join(names), *repeated(settings, part)]
    return typed(f"nox -s {session} -- {shlex.join(arguments)}")
