"""The tables of docs/performance.md, from runs of the rows that it tells of.

nox -s engines -- --lx-batch 8
python -m tools.performance rungs results/latest          # or several runs, of a row each
python -m tools.performance engines results/latest        # of nox -s engines
python -m tools.performance choices results/latest        # of the rows of tools/performance/rows.py
python -m tools.performance choices-bf16 results/latest   # of those of them that are for bfloat16
python -m tools.performance starts COLD WARM [WARM ...]   # the first run with an empty cache
python -m tools.performance machines                      # of what is in baselines/
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from lxbench import baselines, files, score
from lxbench.report import details, remarks, table
from lxbench.report.table import Results
from lxbench.variants import VARIANTS
from tools import marks

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "performance.md"
# Rows whose speed is told of on every kind of machine.
FASTER = re.compile(r"bf16|ptq-.*|plain|merge-.*|fast.*|ct2.*|ort.*|openvino.*|whispercpp.*")
COMMON = ("prune_vocabulary(CYRILLIC)", "plain_decoding")
OURS, THEIRS = ("fast-ort-bf16", "fast-ort"), "ct2-int8"
RUNGS = re.compile(r"fp32|plain|merge-.*|fast.*")
ENGINES = re.compile(r"fp32|fast.*|ct2.*|ort.*|openvino.*|whispercpp.*")
BEGIN, END = "<!-- {}: python -m tools.performance -->", "<!-- end of the {} -->"


def rows(runs: Sequence[Results], shown: re.Pattern[str] = RUNGS) -> str:
    """The final tables without their verdicts as one, of a row the last, and what the runs were."""
    machine, corpus = runs[0]["machine"], runs[0]["corpus"]
    columns = max((table.columns(run)[:-1] for run in runs), key=len)
    cells = {line.cells[0]: line.cells[:-1] for run in runs for line in table.lines(run)}
    lines = [(*line, *["-"] * (len(columns) - len(line))) for name, line in cells.items() if shown.fullmatch(name)]
    count = "One run" if len(runs) == 1 else f"{len(runs)} runs, every row beside fp32 in its own"
    starred = any(cell.endswith("*") for line in lines for cell in line)
    notes = [f" {note}." for run in runs for note in remarks.shortened(run)] if starred else []
    return _table(columns, lines) + (
        f"\n\n{count}: {runs[0]['model']['name']}, {len(corpus['clips'])} clips of {corpus['name']}, "
        f"{machine['threads']} cores of an {machine['cpu']} ({' '.join(machine['isa'])})." + "".join(notes)
    )


def limits(runs: Sequence[Results]) -> str:
    """How near the rows come to what the machine can do."""
    return _table(details.ROOFLINE, (line for run in runs for line in details.limits(run)))


def choices(runs: Sequence[Results]) -> str:
    """Every setting that was chosen between: what it says, on how many clips something else than fp32, how fast."""
    results = runs[0]
    said = {row["variant"]: {clip["id"]: clip["text"] for clip in row["clips"]} for row in results["rows"]}
    lines = []
    for row in results["rows"]:
        # What all of them have is left out: the vocabulary and the plain loop.
        steps = [step["name"] for step in row["build"]["steps"] if step["name"] not in COMMON]
        changed = sum(text != said["fp32"][id] for id, text in said[row["variant"]].items())
        names = ", ".join(f"`{step}`" for step in steps) or "fp32"
        lines.append((names, f"{row['wer']:.3f}", f"{row['cer']:.3f}", str(changed), table.ratio(row)))
    return _table(("steps", "WER", "CER", "clips that changed", "vs fp32 [95 % CI]"), lines)


def engines(runs: Sequence[Results]) -> str:
    """The final table, and how far our fastest row is ahead of the one that people know, in the same run."""
    ratios = {row["variant"]: row["ratio"]["value"] for run in runs for row in run["rows"] if row["ratio"]}
    ours = next(name for name in OURS if name in ratios)
    ahead = ratios[ours] / ratios[THEIRS]
    return f"{rows(runs, ENGINES)} `{ours}` is {ahead:.1f} times as fast as `{THEIRS}`, by their ratios to fp32."


def machines(_: Sequence[Results]) -> str:
    """Times as fast as fp32, and the word error rate, on every kind of machine that is in the baselines."""
    folder = baselines.folder(ROOT / "baselines", "whisper-base", "ivr-ru", "cpu")
    found: dict[str, dict[str, str]] = {}
    for variant in VARIANTS:
        recorded = baselines.read(folder / f"{variant.name}.json") if FASTER.fullmatch(variant.name) else None
        if recorded is None:
            continue
        for machine, ratio in ((speed.machine, speed.ratio) for speed in recorded.speeds if speed.ratio):
            wer = score.total(clip.counts for clip in recorded.clips_on(machine)).wer
            cell = f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}], {wer:.3f}"
            found.setdefault(variant.name, {})[f"{machine['cpu']}, {machine['isa'][-1]}"] = cell
    kinds = sorted({kind for cells in found.values() for kind in cells})
    lines = ((name, *(cells.get(kind, "-") for kind in kinds)) for name, cells in found.items())
    return _table(("variant", *kinds), lines)


def starts(runs: Sequence[Results]) -> str:
    """What it takes until a row is ready, where nothing of it was kept, and where all is."""
    cold, *others = ({row["variant"]: row for row in run["rows"] if row["build"]} for run in runs)
    warm = {name: row for run in others for name, row in run.items() if (row["build"]["origins"] or {}).get("cached")}
    lines = ((name, details.stages(row), details.stages(warm[name])) for name, row in cold.items() if name in warm)
    return _table(("variant", "cold", "warm"), lines)


def _table(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    head = [columns, ("---", *["---:"] * (len(columns) - 1))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [*head, *lines])


TABLES: dict[str, dict[str, Callable[[Sequence[Results]], str]]] = {
    "rungs": {"rows": rows, "limits": limits},
    "engines": {"engines": engines},
    "choices": {"choices": choices},
    "choices-bf16": {"choices-bf16": choices},
    "machines": {"machines": machines},
    "starts": {"starts": starts},
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the tables of some runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=TABLES)
    parser.add_argument("run", type=Path, nargs="*")
    chosen = parser.parse_args(arguments)
    if not chosen.run and chosen.what != "machines":
        parser.error(f"{chosen.what} is made from saved runs: name their folders, such as results/latest")
    runs = [json.loads((folder / "results.json").read_text("utf-8")) for folder in chosen.run]
    contents = {name: write(runs) for name, write in TABLES[chosen.what].items()}
    text = PAGE.read_text("utf-8")
    for name, content in contents.items():
        text = marks.updated(text, BEGIN.format(name), END.format(name), content)
    files.write(PAGE, text)


if __name__ == "__main__":
    main()
