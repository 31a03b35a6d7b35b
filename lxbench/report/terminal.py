"""The end of a run in the terminal: table, red verdicts with their worst clips, the command to paste."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lxbench import study
from lxbench.history import Comparison
from lxbench.report import details, remarks, table
from lxbench.verdict import Word
from lxbench.verdict_speed import describe_change

_WIDE = 100  # columns; below, room is scarce
_NAME_WIDTH = 17
_STYLES = {
    Word.PASS: "green",
    Word.IMPROVED: "bold green",
    Word.INCONCLUSIVE: "yellow",
}


def show(parts: Sequence[Any]) -> None:
    """Print rich renderables as wide as the terminal is, and in whatever encoding it has."""
    accept_any_text()
    print(render(parts, columns(), sys.stdout.isatty()), end="", flush=True)


def columns() -> int:
    """How many columns the terminal has, or a file that is read in one."""
    return shutil.get_terminal_size((100, 24)).columns


def accept_any_text(stream: object = None) -> None:
    """Have what a terminal's encoding lacks printed as escapes: it is no reason to lose what was measured.

    Args:
        stream: what is printed to; standard output by default.
    """
    stream = stream or sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")


def render(parts: Sequence[Any], width: int, color: bool) -> str:
    """Render rich renderables to text of a width, with or without colour."""
    buffer = io.StringIO()
    console = Console(
        file=buffer,
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        highlight=False,
        emoji=False,
        markup=False,
    )
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, Text) and part.no_wrap is True)
    return buffer.getvalue()


def style(word: Word | None) -> str:
    """The colour of a verdict."""
    return _STYLES.get(word, "bold red") if word else ""


def one_line(row: table.Record) -> Text:
    """A finished row while the run goes on."""
    variant, wer, cer, seconds, ratio, *_, shown = table.cells(row)
    word = Word(row["verdict"]) if row["verdict"] else None
    text = f"{variant:<16} WER {wer}  CER {cer}  {seconds} s  {ratio:>17}x  "
    return Text(text) + Text(shown, style(word)) + Text(f"  after {row['finished_s']:.0f} s", "dim")


def ending(
    results: table.Results, comparison: Comparison | None, updated: Sequence[str], folder: Path, width: int
) -> list[Any]:
    """Everything that stands at the end of a run, the command to paste last."""
    parts: list[Any] = [final_table(results, width), *explanations(results, width), "", *profiles(results)]
    parts += build_times(results)
    if any(row["seconds"] for row in results["rows"]):
        parts += across_runs(comparison)
    parts += [Text(f"note: {remark}") for remark in remarks.remarks(results)]
    parts.append(Text(f"{details.wall_time(results)}; everything is in {folder}"))
    if updated:
        parts += ["", *map(_whole, updated)]
        parts.append(Text("baselines changed: review them", "bold red"))
    if results["next"]:
        parts += ["", _whole(f"next: {results['next']}", "bold")]
    return parts


def _whole(text: str, style: str = "") -> Text:
    """A line to copy: never broken, whatever the width."""
    return Text(text, style, no_wrap=True)


def final_table(results: table.Results, width: int) -> Table:
    """The contract's row for every variant that this device has; the others are under it, see ``explanations``."""
    grid = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0) if width >= _WIDE else 0, show_edge=False)
    columns = table.columns(results)
    for index, name in enumerate(columns):
        head = name.replace(" MiB", "\nMiB").replace(" [", "\n[").replace(", ", "\n").replace(" (", "\n(")
        text = index in (0, len(columns) - 1)
        grid.add_column(head, justify="left" if text else "right", overflow="fold", no_wrap=index < len(columns) - 1)
    absent = {row["variant"] for row in results["absent"]}
    for line in table.lines(results):
        if line.cells[0] in absent and line.word is None:  # A baseline may be orphaned under the name of such a row.
            continue
        name, *cells, shown = line.cells
        if width < _WIDE and len(name) > _NAME_WIDTH:  # What would be left for the verdict would break its words.
            name = "-\n".join(name.rsplit("-", 1))
        grid.add_row(Text(name), *map(Text, cells), Text(shown, style(line.word)))
    return grid


def explanations(results: table.Results, width: int) -> list[Any]:
    """Why rows are not there, every verdict that is not PASS with its sentence, the worst clips of each red row."""
    reasons: dict[str, list[str]] = {}
    for row in results["absent"]:
        reasons.setdefault(row["why"], []).append(row["variant"])
    parts: list[Any] = [Text(f"n/a {', '.join(names)}: {why}") for why, names in reasons.items()]
    for word, where, text in table.verdicts(results):
        head = Text(f"{word} ", style(Word(word)))
        parts.append(head + Text(f"{where}: {text}"))
    for row in table.red(results):
        worst = list(table.worst_clips(results, row, width - 4))
        if worst:
            parts.append(Text(f"\nworst clips of {row['id']}:"))
        for id, lines in worst:
            parts += [Text(f"  {id}"), *(Text(f"    {line}") for line in lines)]
    return parts


def profiles(results: table.Results) -> list[Any]:
    """Where each row spends its time, if that was asked for."""
    lines = list(details.operators(results))
    return [_grid(details.OPERATORS, lines), ""] if lines else []


def study_tables(results: table.Results) -> list[Any]:
    """The study's five tables."""
    parts: list[Any] = []
    for part in study.TABLES:
        parts += [Text(part.title, "bold"), _grid(study.COLUMNS, study.cells(part, results), right=(1, 2, 3)), ""]
    return parts


def _grid(columns: Sequence[str], lines: Iterable[Sequence[str]], right: Sequence[int] = ()) -> Table:
    grid = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
    for index, name in enumerate(columns):
        grid.add_column(name, justify="right" if index in right else "left", overflow="fold")
    for cells in lines:
        grid.add_row(*map(Text, cells))
    return grid


def build_times(results: table.Results) -> list[Text]:
    """One line with what is not part of the time per audio."""
    built = [(row["variant"], row["build"]["seconds"]) for row in results["rows"] if row["build"]]
    if not built:
        return []
    shown = [f"{name} {'/'.join(f'{value:.0f}' for value in seconds.values())}" for name, seconds in built]
    return [Text("not in s/audio, in seconds, load/steps/warm-up with compilation: " + ", ".join(shown))]


def across_runs(comparison: Comparison | None) -> list[Text]:
    """The change of each variant since the last saved run, and who is missing on either side."""
    if comparison is None:
        return [Text("no earlier run of this model, corpus and clips to compare with")]
    if comparison.differing:
        return [
            Text(
                f"the last such run, {comparison.name}, was on another machine ({', '.join(comparison.differing)} "
                "differ): seconds are not compared"
            )
        ]
    changes = ", ".join(f"{row} {describe_change(change)}" for row, change in comparison.change.items())
    parts = [Text(f"s/audio since run {comparison.name}: {changes or 'no variant in common'}")]
    if comparison.only_then:
        parts.append(Text(f"in that run but not in this one: {', '.join(comparison.only_then)}"))
    if comparison.only_now:
        parts.append(Text(f"in this run but not in that one: {', '.join(comparison.only_now)}"))
    return parts
