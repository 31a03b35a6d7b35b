"""The command to paste next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from lxbench.commands import typed
from lxbench.corpus import EMBEDDED
from lxbench.settings import Settings, repeated
from lxbench.verdict import Word

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
        return f"git diff {settings.baselines}"
    rows = {row["id"]: Word(row["verdict"]) for row in results["rows"] if row["verdict"]}
    if crashed := [id for id, word in rows.items() if word is Word.CRASHED]:
        return f"less {settings.results / 'latest' / 'logs' / crashed[0]}.log"
    if results["orphans"]:
        return _baselines(settings, "prune", ["test_no_orphans"])
    accepted_by = {row["id"]: _against_baseline(row) for row in results["rows"] if row["verdict"]}
    for word in (Word.STALE, Word.NEW, Word.REGRESSED, Word.IMPROVED):
        if accepted := [id for id, said in accepted_by.items() if said is word]:
            # A test id in its brackets means that row alone; a bare name would be found in other names too.
            command = _baselines(settings, _ACCEPTS[word], [f"[{id}]" for id in accepted])
            return command + ("  # if this is what you want" if word is Word.REGRESSED else "")
    return ""


def _against_baseline(row: dict[str, Any]) -> Word:
    """The verdict of a row without that of its seconds, which no baseline holds."""
    words = [Word(said["word"]) for what, said in row["verdicts"].items() if what != "seconds"]
    return min(words, key=list(Word).index, default=Word.PASS)


def _baselines(settings: Settings, update: str, names: list[str]) -> str:
    # Not by the session that brings a CPU's pinned versions along: a GPU has the torch that is there.
    session = "bench-gpu" if settings.device == "cuda" else "baselines"
    # A part of the corpus may be recorded where nothing is; a stored baseline is not replaced by a smaller one, and
    # those of the embedded corpus cover all of it.
    part = update == "new" and settings.corpus != EMBEDDED
    arguments = ["--lx-update", update, "-k", " or ".join(names), *repeated(settings, part)]
    return typed(f"nox -s {session} -- {shlex.join(arguments)}")
