"""summary.md: the final table for a job summary or a pull request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lxbench import study
from lxbench.report import table


def summary(results: table.Results) -> str:
    """Render a run as Markdown: the table, then each verdict that is not PASS, then the worst clips of red rows."""
    corpus, harness = results["corpus"], results["harness"]
    parts = [
        f"### lxbench: {results['model']['name']} on {corpus['name']}, {results['device']}",
        "",
        f"{len(corpus['clips'])} clips, {corpus['seconds']:.0f} s of audio, {results['machine']['cpu']}, "
        f"{results['machine']['threads']} threads, torch {results['versions'].get('torch', '?')}; "
        f"{harness['wall_s']:.0f} s in all, {harness['own_share']:.1%} of it the harness itself",
        "",
        _row(table.COLUMNS),
        _row(["---", *["---:"] * 6, "---"]),
    ]
    for line in table.lines(results):
        *cells, shown = map(_escape, line.cells)
        mark = f"**{shown}**" if line.word is not None and line.word.red else shown
        parts.append(_row([*cells, mark]))
    told = list(table.verdicts(results))
    if told:
        parts.append("")
        parts += [f"- **{word}** {_escape(where)}: {_escape(text)}" for word, where, text in told]
    parts += [f"- note: {_escape(remark)}" for remark in table.remarks(results)]
    for row in table.red(results):
        parts += _worst(results, row)
    parts += _details("what the steps changed, and what is not timed", table.DETAILS, table.details(results))
    parts += _details("top operators", table.OPERATORS, table.operators(results))
    if results["next"]:
        parts += ["", "Next:", "", f"```\n{results['next']}\n```"]
    return "\n".join(parts) + "\n"


def study_tables(results: table.Results) -> str:
    """Render the study's five tables as Markdown."""
    corpus = results["corpus"]
    parts = [
        f"### The study's tables: {results['model']['name']} on {corpus['name']}, {results['device']}",
        "",
        f"{len(corpus['clips'])} clips, {results['machine']['cpu']}, {results['machine']['threads']} threads. "
        "The last column is the study's: WER / CER / seconds per audio of whisper-large-v3 on Golos, on its machine. "
        "Ratios compare, seconds do not.",
    ]
    for part in study.TABLES:
        parts += ["", f"#### {part.title}", "", _row(study.COLUMNS), _row(["---", "---:", "---:", "---:", "---"])]
        parts += [_row(map(_escape, cells)) for cells in study.cells(part, results)]
    parts += [f"\nnote: {_escape(remark)}" for remark in table.remarks(results)]
    return "\n".join(parts) + "\n"


def _details(title: str, columns: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    body = [_row(map(_escape, cells)) for cells in lines]
    if not body:
        return []
    head = ["", f"<details><summary>{title}</summary>", "", _row(columns), _row(["---"] * len(columns))]
    return [*head, *body, "", "</details>"]


def _worst(results: table.Results, row: table.Record) -> list[str]:
    worst = list(table.worst_clips(results, row))
    if not worst:
        return []
    body = "\n".join("\n  ".join([id, *lines]) for id, lines in worst)
    title = f"worst clips of {row['id']}"
    return ["", f"<details><summary>{title}</summary>", "", f"```\n{body}\n```", "", "</details>"]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escape(text: str) -> str:
    """A transcript or a path must not become markup."""
    for character in "\\`*_|<>[]":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())
