"""README's first table and its picture, from a run that is kept in the repository.

python -m tools.readme results/latest    # keep this run, write its table, draw its picture
python -m tools.readme                   # write and draw those of the run that is kept
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from lxbench import files
from lxbench.report import table
from lxbench.report.table import Results
from tools import marks, picture

ROOT = Path(__file__).parent.parent
README, KEPT, PICTURE = ROOT / "README.md", ROOT / "docs" / "run.json", ROOT / "docs" / "run.svg"
ROWS = ("fp32", "bf16", "ptq-dynamic", "ptq-static", "ao-a8w8-compile", "prune-structured-bf16", "q+p+c", "fast-bf16")
BEGIN, END = "<!-- the table of docs/run.json: python -m tools.readme -->", "<!-- end of the table -->"


def first_screen(results: Results) -> str:
    """The table of a few rows, and what the run was."""
    shown = [line.cells for line in table.lines(results) if line.cells[0] in ROWS]
    machine, corpus = results["machine"], results["corpus"]
    minutes, model = results["harness"]["wall_s"] / 60, results["model"]["name"]
    lines = [table.COLUMNS, ("---", *["---:"] * (len(table.COLUMNS) - 2), "---"), *shown]
    return "\n".join(
        (
            *(f"| {' | '.join(cells)} |" for cells in lines),
            "",
            f"{len(shown)} of the {len(results['rows'])} rows of one run of {minutes:.0f} minutes: {model} on "
            f"{len(corpus['clips'])} clips of Russian speech,",
            f"{machine['threads']} cores of an {machine['cpu']} ({' '.join(machine['isa'])}), torch "
            f"{results['versions']['torch'].split('+')[0]}, batch 1.",
        )
    )


def updated(text: str, results: Results) -> str:
    """README with the table in its place."""
    return marks.updated(text, BEGIN, END, first_screen(results))


def main(arguments: Sequence[str] | None = None) -> None:
    """Keep a run if one is given, write the table, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?")
    chosen = parser.parse_args(arguments)
    run = json.loads((chosen.run / "results.json" if chosen.run else KEPT).read_text("utf-8"))
    drawn = picture.draw(run)  # first of all: what cannot be drawn changes nothing
    if chosen.run is not None:
        files.write(KEPT, json.dumps(run, ensure_ascii=False, separators=(",", ":")) + "\n")
    files.write(README, updated(README.read_text("utf-8"), run))
    files.write(PICTURE, drawn)


if __name__ == "__main__":
    main()
