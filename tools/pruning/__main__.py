"""The tables and the plot of docs/pruning.md, from a run of the sweep.

python -m tools.pruning results/latest    # keep the figures of this run's rows, write the tables, draw the plot
python -m tools.pruning                   # write and draw those that are kept
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lxbench import files
from lxbench.verdict import USABLE_MARGIN
from tools import marks, picture
from tools.pruning.rows import CHOICES, LINES

DOCS = Path(__file__).parent.parent.parent / "docs"
PAGE, KEPT, PLOT = DOCS / "pruning.md", DOCS / "pruning.json", DOCS / "pruning.svg"
SCRIPT = Path(__file__).parent / "plot.js"
BEGIN, END = "<!-- {}: python -m tools.pruning -->", "<!-- end of the {} -->"

Points = Mapping[str, Mapping[str, Any]]


def points(results: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What the page tells of every row of a run, by its variant."""
    return {
        row["variant"]: {
            "steps": [step["name"] for step in row["build"]["steps"]],
            "wer": row["wer"],
            "cer": row["cer"],
            "clips": len(row["clips"]),
            "ratio": row["ratio"],
            "removed": 1 - _weights(row["build"]["census"]) / _weights(row["build"]["loaded"]),
        }
        for row in results["rows"]
        if row["complete"]
    }


def _weights(census: Mapping[str, Any]) -> int:
    return sum(count for kind, count in census["dtypes"].items() if kind.startswith("float"))


def sweep_table(kept: Points) -> str:
    """Every row of the sweep: what stays, what it says, how fast it is; in bold what is usable."""
    lines = ["| steps | weights removed | WER | CER | vs fp32 [95 % CI] |", "| --- | ---: | ---: | ---: | ---: |"]
    usable = kept["fp32"]["wer"] + USABLE_MARGIN
    for name in ("fp32", *(row.name for line in LINES.values() for row in line)):
        if (point := kept.get(name)) is not None:
            steps = ", ".join(f"`{step}`" for step in point["steps"]) or "fp32"
            wer = f"**{point['wer']:.3f}**" if point["wer"] <= usable else f"{point['wer']:.3f}"
            lines.append(f"| {steps} | {point['removed']:.1%} | {wer} | {point['cer']:.3f} | {_speed(point)} |")
    return "\n".join(lines)


def choices_table(kept: Points) -> str:
    """Importance and fit against each other."""
    lines = ["| chosen by | feed-forwards at 75 %: WER | heads at 6 of 8: WER |", "| --- | ---: | ---: |"]
    for label, pair in CHOICES.items():
        said = [kept.get(row.name) for row in pair]
        lines.append(f"| {label} | {' | '.join('' if one is None else _wer(one, kept) for one in said)} |")
    return "\n".join(lines)


def _wer(point: Mapping[str, Any], kept: Points) -> str:
    few = point["clips"] < kept["fp32"]["clips"]
    return f"{point['wer']:.3f}" + (f" ({point['clips']} clips)" if few else "")


def _speed(point: Mapping[str, Any]) -> str:
    ratio = point["ratio"]
    return f"{ratio['value']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]" if ratio else "1.00"


def updated(text: str, kept: Points) -> str:
    """The page with the tables in their places."""
    for name, table in (("sweep", sweep_table(kept)), ("choices", choices_table(kept))):
        text = marks.updated(text, BEGIN.format(name), END.format(name), table)
    return text


def draw(kept: Points) -> str:
    """WER and speed over the share of the model's weights that is removed, a line per kind of cut."""
    reference = kept["fp32"]
    drawn = [
        {
            "line": line,
            "removed": 100 * point["removed"],
            "wer": point["wer"] / reference["wer"],
            "speed": point["ratio"]["value"] if point["ratio"] else 1,
        }
        for line, rows in LINES.items()
        for point in (reference, *(kept[row.name] for row in rows if row.name in kept))
    ]
    usable = 1 + USABLE_MARGIN / reference["wer"]
    return picture.plot(SCRIPT.read_text("utf-8"), {"points": drawn, "usable": usable, "lines": list(LINES)})


def main(arguments: Sequence[str] | None = None) -> None:
    """Keep a run if one is given, write the tables, draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?")
    run = parser.parse_args(arguments).run
    kept = json.loads(KEPT.read_text("utf-8")) if KEPT.is_file() else {}
    if run is not None:
        kept |= points(json.loads((run / "results.json").read_text("utf-8")))
    drawn = draw(kept)  # first of all: what cannot be drawn changes nothing
    if run is not None:
        files.write(KEPT, json.dumps(kept, indent=1) + "\n")
    files.write(PAGE, updated(PAGE.read_text("utf-8"), kept))
    files.write(PLOT, drawn)


if __name__ == "__main__":
    main()
