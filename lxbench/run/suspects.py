"""Rows that look slower than is tolerated, surely so or not, and the command that tells code from machine."""

from __future__ import annotations

from typing import Any

from lxbench.commands import to_compare_codes, typed
from lxbench.run import Run, gate
from lxbench.run.pairing import PAIRED_CLIPS
from lxbench.settings import repeated
from lxbench.verdict import Word
from lxbench.verdict_speed import looks_slower

_ASKED = (Word.REGRESSED, Word.INCONCLUSIVE)
_MOST = 6  # rows in one command, which takes about two minutes for each


def find(run: Run) -> dict[str, Any]:
    """Find the rows of a run that have become slower, or may have.

    Fewer clips than one block of pairs are a quick look, which suspects nothing.

    Returns:
        ``rows``: ids of those that are undecided, what looks slowest first. ``command``: runs those that are red, or
        else these, as far as their records are of the same commit as the first one's, with its code and with that of
        now, in turn; empty where git knows no commit of any of their records.
    """
    looked_at = [row for row in run.rows if len(row.pairs) >= PAIRED_CLIPS and "speed" in row.verdicts]
    # One that is marked as slower asks for nothing.
    asked = [row for row in looked_at if row.verdicts["speed"].word in _ASKED and not row.failed.get("speed")]
    changes = [(changed, row) for row in asked if (changed := gate.changed_speed(run, row))]
    slower = [(changed, row) for changed, row in changes if looks_slower(changed, row.variant.tolerance.speed)]
    rows = [row for _, row in sorted(slower, key=lambda pair: pair[0].plain.value)]
    red, undecided = ([row for row in rows if row.verdicts["speed"].word is word] for word in _ASKED)
    known = {row.id: commit for row in red or undecided if (commit := gate.recorded_in(run, row))}
    found = {"rows": [row.id for row in undecided], "command": ""}
    if known:
        commit = next(iter(known.values()))
        together = [id for id, of in known.items() if of == commit][:_MOST]
        command = to_compare_codes(run.settings.device, together, commit, repeated(run.settings))
        found["command"] = typed(command)
    return found
