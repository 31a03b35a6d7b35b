"""report.html: one self-contained page for a run, or for several side by side. Without torch.

The table is in the page itself; charts and clips are drawn by ``static/page.js`` from the values that stand in it as
JSON. Whatever a model or a corpus says is escaped: by the template, and in the script because it is only ever text.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lxbench import score
from lxbench.report import details, remarks, table
from lxbench.report.table import Record, Results
from lxbench.verdict import USABLE_MARGIN, Word

_STATIC = Path(__file__).parent / "static"
# Charts: Observable Plot (https://observablehq.com/plot), and D3 that it is built on; shipped: a page has no network.
_LIBRARIES = ("vendor/d3.min.js", "vendor/plot.umd.min.js")


def render(runs: Sequence[Results], folders: Sequence[Path], out: Path) -> str:
    """Render runs as one page.

    Args:
        runs: the values of results.json, each.
        folders: where each was read from; its recordings are found from there, if they still are on this machine.
        out: the folder that the page will lie in.
    """
    environment = Environment(
        loader=FileSystemLoader(_STATIC),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        title=title(runs),
        css=style(),
        detail_columns=details.DETAILS,
        limit_columns=details.ROOFLINE,
        operator_columns=details.OPERATORS,
        runs=[_run(run, label, several=len(runs) > 1) for run, label in zip(runs, labels(runs), strict=True)],
        data=_embedded(values(runs, folders, out)),
        scripts=[*libraries(), (_STATIC / "page.js").read_text("utf-8")],
    )


def libraries() -> list[str]:
    """The scripts that charts are drawn with."""
    return [(_STATIC / name).read_text("utf-8") for name in _LIBRARIES]


def style() -> str:
    """The page's style sheet; its colours come first."""
    return (_STATIC / "page.css").read_text("utf-8")


def _embedded(data: Mapping[str, Any]) -> str:
    """JSON that cannot end the script element that it stands in."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def title(runs: Sequence[Results]) -> str:
    """What a page is of: every model, corpus and device that its runs have, once."""
    models, corpora, devices = (" and ".join(dict.fromkeys(names)) for names in zip(*map(_subject, runs), strict=True))
    return f"{models} on {corpora}, {devices}"


def labels(runs: Sequence[Results]) -> list[str]:
    """What each run is called: its machine and when it began, with a number where that is not enough.

    In front stands what the runs are not all of: the model, the corpus, the device.
    """
    differs = [len(set(names)) > 1 for names in zip(*map(_subject, runs), strict=True)]
    machines = [run["machine"].get("gpu") or run["machine"]["cpu"] for run in runs]
    names = [
        ", ".join([*compress(_subject(run), differs), machine, run["started"][:16]])
        for run, machine in zip(runs, machines, strict=True)
    ]
    return [
        f"{name} ({names[: place + 1].count(name)})" if names.count(name) > 1 else name
        for place, name in enumerate(names)
    ]


def _subject(run: Results) -> tuple[str, str, str]:
    return run["model"]["name"], run["corpus"]["name"], run["device"]


def _run(run: Results, label: str, several: bool) -> dict[str, Any]:
    """What the template says of one run."""
    corpus, machine = run["corpus"], run["machine"]
    words = Counter(row["verdict"] for row in run["rows"] if row["verdict"])
    return {
        "label": label,
        "suffix": f": {label}" if several else "",
        "about": f"{len(corpus['clips'])} clips, {corpus['seconds']:.0f} s of audio, {machine['threads']} threads, "
        f"torch {run['versions'].get('torch', '?')}; {details.wall_time(run)}"
        f"{'; cut off before the end' if run['interrupted'] else ''}",
        "words": [(str(word), words[word]) for word in Word if words[word]],
        "columns": table.columns(run),
        "lines": table.lines(run),
        "verdicts": list(table.verdicts(run)),
        "remarks": list(remarks.remarks(run)),
        "next": run["next"],
        "details": list(details.details(run)),
        "limits": list(details.limits(run)),
        "operators": list(details.operators(run)),
        "card": run["model"].get("card"),
        "command": run["command"],
        "environment": [*_flat(machine), *run["versions"].items()],
    }


def _flat(machine: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in machine.items():
        if value is not None and not isinstance(value, Mapping):
            yield name, " ".join(map(str, value)) if isinstance(value, list) else str(value)


def values(runs: Sequence[Results], folders: Sequence[Path], out: Path) -> dict[str, Any]:
    """What charts and clips are drawn from; rows are referred to by their place in ``rows``."""
    clips: dict[str, dict[str, Any]] = {}
    for run, folder in zip(runs, folders, strict=True):
        for clip in run["corpus"]["clips"]:
            clips.setdefault(clip["id"], {**clip, "audio": _link(clip, folder, out)})
    places = {id: place for place, id in enumerate(clips)}
    rows: list[dict[str, Any]] = []
    heard: list[_Heard] = []
    for number, (run, label) in enumerate(zip(runs, labels(runs), strict=True)):
        errors = {row["variant"]: error_rate(row, run["rows"]) for row in run["rows"]}
        best = frontier(run["rows"], errors)
        reference = next((_by_id(row) for row in run["rows"] if row["reference"]), {})
        for row in sorted(run["rows"], key=lambda row: run["order"].index(row["variant"])):
            name = row["variant"] if len(runs) == 1 else f"{row['variant']}, {label}"
            rows.append({"run": number, "label": name, "best": row["variant"] in best, **errors[row["variant"]]})
            rows[-1] |= _row(row, places)
            heard.append(_Heard(_by_id(row), reference, (row["baseline"] or {}).get("clips", {})))
    normalize = score.normalizer_named(runs[0]["normalizer"]).apply
    return {
        "runs": labels(runs),
        "margin": USABLE_MARGIN,
        "rows": rows,
        "clips": [_clip(clip, heard, normalize) for clip in clips.values()],
        # Each run has the whole history of its machine: of several, the same runs would be there twice.
        "history": runs[0].get("history", []) if len(runs) == 1 else [],
    }


@dataclass(frozen=True)
class _Heard:
    """What one row said, what fp32 said in the same run, what the row's baseline says: each by clip id."""

    said: Mapping[str, Record]
    reference: Mapping[str, Record]
    kept: Mapping[str, Record]


def _by_id(row: Record) -> dict[str, Record]:
    return {clip["id"]: clip for clip in row["clips"]}


def error_rate(row: Record, rows: Sequence[Record]) -> dict[str, float | None]:
    """WER for the chart, and the 95 % interval of what it is beside fp32's: ``wer``, ``wer_low``, ``wer_high``.

    A row that heard a part of the clips stands where the difference to fp32 on these clips puts it.
    """
    against = row.get("against_reference")
    reference = next((each["wer"] for each in rows if each["reference"] and each["wer"] is not None), None)
    if row["reference"] or against is None or reference is None:
        return {"wer": row["wer"], "wer_low": None, "wer_high": None}
    low, value, high = (reference + against["rate"][end] for end in ("low", "value", "high"))
    return {"wer": value if row.get("shortened") else row["wer"], "wer_low": low, "wer_high": high}


def _row(row: Record, places: Mapping[str, int]) -> dict[str, Any]:
    """One row as the charts need it."""
    ratio = row["ratio"] or {"value": 1.0 if row["reference"] and row["seconds"] else None, "low": None, "high": None}
    return {
        "name": row["variant"],
        "reference": row["reference"],
        "word": row["verdict"],
        "shown": table.cells(row)[-1],
        "words": "WER {}, CER {}".format(*table.cells(row)[1:3]),
        "usable": row["usable"],
        "ratio": ratio["value"],
        "low": ratio["low"],
        "high": ratio["high"],
        "mean": row["seconds"],
        "parts": row.get("parts"),
        "peak": row["peak_mib"],
        "size": row["size_mib"],
        "seconds": [round(clip["seconds"], 4) for clip in row["clips"]] if row["seconds"] else [],
        "clips": [places[clip["id"]] for clip in row["clips"]],
    }


def frontier(rows: Sequence[Record], errors: Mapping[str, Mapping[str, float | None]]) -> set[str]:
    """The usable variants that no other usable one beats in both words and speed (Pareto), fp32 among them.

    Args:
        rows: of one run.
        errors: see ``error_rate``, by variant.
    """
    points = {
        row["variant"]: (wer, row["ratio"]["value"] if row["ratio"] else 1.0)
        for row in rows
        if (wer := errors[row["variant"]]["wer"]) is not None
        and (row["ratio"] or (row["reference"] and row["seconds"]))
        and (row["reference"] or row["usable"])
    }
    return {
        name
        for name, (wer, ratio) in points.items()
        if not any(other != (wer, ratio) and other[0] <= wer and other[1] >= ratio for other in points.values())
    }


def _clip(clip: Record, heard: Sequence[_Heard], normalize: Callable[[str], str]) -> dict[str, Any]:
    """One clip with what was said to it, equal texts once."""
    id, reference = clip["id"], normalize(clip["text"])
    told: dict[str, dict[str, Any]] = {}
    for place, row in enumerate(heard):
        if (said := row.said.get(id)) is None:
            continue
        text = said["text"]
        if text not in told:
            diff = score.differences(reference, normalize(text)) if said["word_edits"] else []
            told[text] = {"text": text, "edits": said["word_edits"], "diff": diff} | {
                name: [] for name in ("rows", "changed", "differs")
            }
        told[text]["rows"].append(place)
        if row.kept.get(id, said)["text"] != text:
            told[text]["changed"].append(place)
        if normalize(row.reference.get(id, said)["text"]) != normalize(text):
            told[text]["differs"].append(place)
    return {
        **{name: clip[name] for name in ("id", "text", "seconds", "audio")},
        "said": sorted(told.values(), key=lambda each: -len(each["rows"])),
        "search": " ".join([id, clip["text"], *told]).lower(),
    }


def _link(clip: Record, folder: Path, out: Path) -> str | None:
    """A relative link from the page to a recording that is still there."""
    if (path := clip.get("path")) is None:
        return None
    # Where the results folder is a link, ".." is what a browser takes it for, by name, or where it really leads.
    places = (Path(os.path.normpath(folder / path)), (folder / path).resolve())
    there = next((place for place in places if place.is_file()), None)
    return None if there is None else quote(Path(os.path.relpath(there, out)).as_posix())
