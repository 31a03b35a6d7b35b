"""summary.md: the final table for a job summary or a pull request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from lxbench import study
from lxbench.report import details, remarks, table

_TITLE = "### lxbench:"  # .github/workflows/gate.yml finds its comment on a pull request by it.
_LIMIT = 60_000  # characters; GitHub refuses a comment of more than 65,536


def summary(results: table.Results) -> str:
    """Render a run as Markdown for a job summary or a pull request.

    The table and each verdict that is not PASS are open, the rest is folded. What GitHub would not take for its length
    is left out, and said to be.
    """
    corpus = results["corpus"]
    cut = "; **cut off before the end**" if results.get("interrupted") else ""
    head = [
        f"{_TITLE} {results['model']['name']} on {corpus['name']}, {results['device']}",
        "",
        f"{len(corpus['clips'])} clips, {corpus['seconds']:.0f} s of audio, {_machine(results)}, "
        f"torch {results['versions'].get('torch', '?')}; {details.wall_time(results)}{cut}",
        "",
        _row(columns := table.columns(results)),
        _row(["---", *["---:"] * (len(columns) - 2), "---"]),
        *(_row([*map(_escape, line.cells[:-1]), _marked(line)]) for line in table.lines(results)),
    ]
    told = [f"- **{word}** {_escape(where)}: {_escape(text)}" for word, where, text in table.verdicts(results)]
    notes = [f"- {_escape(remark)}" for remark in remarks.remarks(results)]
    parts = [
        ["", *told] if told else [],
        *(_worst(results, row) for row in table.red(results)),
        _folded(f"{len(notes)} notes", notes),
        _details("what the steps changed, and what is not timed", details.DETAILS, details.details(results)),
        _details("how near the machine's limits", details.ROOFLINE, details.limits(results)),
        _details("top operators", details.OPERATORS, details.operators(results)),
    ]
    end = ["", "Next:", "", f"```\n{results['next']}\n```"] if results["next"] else []
    return "\n".join([*head, *_fitting(parts, _LIMIT - len("\n".join(head + end))), *end]) + "\n"


def _machine(results: table.Results) -> str:
    """What the figures are of: the GPU where there is one, else the CPU."""
    machine = results["machine"]
    return str(machine["gpu"]) if machine.get("gpu") else f"{machine['cpu']}, {machine['threads']} threads"


def _marked(line: table.Line) -> str:
    shown = _escape(line.cells[-1])
    fails = line.word is not None and line.word.red and not line.cells[-1].endswith(table.EXPECTED)
    return f"🔴 **{shown}**" if fails else shown


def _fitting(parts: Iterable[Sequence[str]], room: int) -> Iterator[str]:
    """Yield the lines of all parts that there is room for, the first ones first."""
    left_out = 0
    for part in parts:
        length = sum(len(line) + 1 for line in part)
        if length <= room:
            room -= length
            yield from part
        else:
            left_out += 1
    if left_out:
        yield f"\n{left_out} longer parts do not fit here: see report.html or results.json of this run"


def study_tables(results: table.Results) -> str:
    """Render the study's five tables as Markdown."""
    corpus = results["corpus"]
    parts = [
        f"### The study's tables: {results['model']['name']} on {corpus['name']}, {results['device']}",
        "",
        f"{len(corpus['clips'])} clips, {_machine(results)}. "
        "The last column is the study's: WER / CER / seconds per audio of whisper-large-v3 on Golos, on its machine. "
        "Ratios compare, seconds do not.",
    ]
    for part in study.TABLES:
        parts += ["", f"#### {part.title}", "", _row(study.COLUMNS), _row(["---", "---:", "---:", "---:", "---"])]
        parts += [_row(map(_escape, cells)) for cells in study.cells(part, results)]
    parts += [f"\nnote: {_escape(remark)}" for remark in remarks.remarks(results)]
    return "\n".join(parts) + "\n"


def _details(title: str, columns: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    body = [_row(map(_escape, cells)) for cells in lines]
    return _folded(title, [_row(columns), _row(["---"] * len(columns)), *body] if body else [])


def _worst(results: table.Results, row: table.Record) -> list[str]:
    worst = table.worst_clips(results, row)
    body = ["\n  ".join([id, *lines]).replace("`", "'") for id, lines in worst]
    return _folded(f"worst clips of {row['id']}", ["```", *body, "```"] if body else [])


def _folded(title: str, body: Sequence[str]) -> list[str]:
    return ["", f"<details><summary>{title}</summary>", "", *body, "", "</details>"] if body else []


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escape(text: str) -> str:
    """A transcript or a path must not become markup, nor a decorator the mention of an account."""
    for character in "\\`*_|<>[]~&":
        text = text.replace(character, f"\\{character}")
    # GitHub finds mentions after Markdown is read: a backslash is gone by then, a space without width is not.
    return " ".join(text.replace("@", "@\u200b").split())
