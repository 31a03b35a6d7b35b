"""The tables of docs/performance.md, from a run of the rows that it tells of.

nox -s engines -- -k "fp32 or plain or merge or fast or ct2 or ptq-dynamic" --lx-batch 8
python -m tools.performance results/latest
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from lxbench.report import table
from lxbench.report.table import Results
from lxbench.results import write_text

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- {}: python -m tools.performance -->", "<!-- end of the {} -->"


def rows(results: Results) -> str:
    """The final table without its verdicts, and what the run was."""
    machine = results["machine"]
    shown = (line.cells[:-1] for line in table.lines(results))
    return _table(table.columns(results)[:-1], shown) + (
        f"\n\nOne run of {results['harness']['wall_s'] / 60:.0f} minutes: {results['model']['name']}, "
        f"{len(results['corpus']['clips'])} clips of {results['corpus']['name']}, {machine['threads']} cores of an "
        f"{machine['cpu']} ({' '.join(machine['isa'])})."
    )


def limits(results: Results) -> str:
    """How near the rows come to what the machine can do."""
    return _table(table.ROOFLINE, table.limits(results))


def updated(text: str, name: str, content: str) -> str:
    """The page with new content between the marks of a name."""
    begin, end = BEGIN.format(name), END.format(name)
    before, rest = text.split(begin)
    return f"{before}{begin}\n{content}\n{end}{rest.split(end)[1]}"


def _table(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    head = [columns, ("---", *["---:"] * (len(columns) - 1))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [*head, *lines])


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the tables of a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    results = json.loads((parser.parse_args(arguments).run / "results.json").read_text("utf-8"))
    text = PAGE.read_text("utf-8")
    for name, content in (("rows", rows(results)), ("limits", limits(results))):
        text = updated(text, name, content)
    write_text(PAGE, text)


if __name__ == "__main__":
    main()
