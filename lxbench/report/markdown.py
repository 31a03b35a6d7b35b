"""summary.md: the final table for a job summary or a pull request."""

from __future__ import annotations

from collections.abc import Iterable

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
        mark = f"**{shown}**" if line.word is None or line.word.red else shown
        parts.append(_row([*cells, mark]))
    told = list(table.verdicts(results))
    if told:
        parts.append("")
        parts += [f"- **{word}** `{row}` {what}: {_escape(text)}" for row, what, word, text in told]
    for row in table.red(results):
        parts += _worst(results, row)
    if results["next"]:
        parts += ["", "Next:", "", f"```\n{results['next']}\n```"]
    return "\n".join(parts) + "\n"


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
