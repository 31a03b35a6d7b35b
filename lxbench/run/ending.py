"""What a run leaves when it ends: the baselines that it may write, results.json, the page and what else is of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from lxbench import files, history
from lxbench.report import advice, bencher, markdown, page
from lxbench.run import Run, results, suspects, update


@dataclass
class Ending:
    """What was left of a run.

    Attributes:
        updated: a line for every baseline that was written or deleted.
        unwritten: what could not be written, and why.
        results: what stands in results.json; None where nothing was measured.
        comparison: seconds beside those of the run before; None where there is nothing to compare.
    """

    updated: list[str] = field(default_factory=list)
    unwritten: list[str] = field(default_factory=list)
    results: dict[str, Any] | None = None
    comparison: history.Comparison | None = None


def write(
    run: Run, arguments: Sequence[str], earlier: list[dict[str, Any]], wall_s: float, interrupted: bool
) -> Ending:
    """Write baselines, as far as ``--lx-update`` allows, and the files of a run into its folder.

    Args:
        run: the run, its rows judged.
        arguments: the command line behind pytest.
        earlier: ratios of runs before this one, see ``history.ratios``.
        wall_s: seconds that it took.
        interrupted: whether it was; no baseline is written then.

    Returns:
        What was written; what was measured is in it, whatever the disk says.
    """
    ending = Ending()
    try:
        # One by one: what is written is told even if the next cannot be.
        for line in update.write(run, date.today().isoformat(), interrupted):
            ending.updated.append(line)
    except OSError as error:
        ending.unwritten.append(str(error))
    if not (run.rows or run.orphans or ending.updated):
        return ending
    command = advice.command_line(arguments)
    found = results.collect(run, started=run.folder.name, wall_s=wall_s, command=command, interrupted=interrupted)
    found["history"] = [*earlier, *results.ratios(found)]
    found["suspected"] = {"rows": [], "command": ""} if interrupted else suspects.find(run)
    found["next"] = advice.next_command(found, run.settings, ending.updated)
    ending.results, ending.comparison = found, _beside_the_last(run)
    try:
        _write_files(run, found)
    except OSError as error:
        ending.unwritten.append(str(error))
    return ending


def _beside_the_last(run: Run) -> history.Comparison | None:
    seconds = {
        row.id: [said.seconds for said in row.transcripts.values()]
        for row in run.rows
        if row.timed and not row.measured_as
    }
    return history.compare(seconds, run.saved) if run.saved and seconds else None


def _write_files(run: Run, found: dict[str, Any]) -> None:
    results.write(run.folder, found)
    files.write(run.folder / "bencher.json", json.dumps(bencher.metrics(found), indent=1) + "\n")
    files.write(run.folder / "report.html", page.render([found], [run.folder], run.folder))
    files.write(run.folder / "summary.md", markdown.summary(found))
    if run.settings.study:
        files.write(run.folder / "study.md", markdown.study_tables(found))
