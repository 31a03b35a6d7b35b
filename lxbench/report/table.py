"""The final table, its verdicts and its worst clips, as plain values shared by the terminal, Markdown and the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lxbench import score
from lxbench.verdict import Word

EXPECTED = ", expected"  # behind the verdict of a row that is marked xfail
COLUMNS = ("variant", "WER", "CER", "s/audio", "vs fp32 [95 % CI]", "peak MiB", "size MiB", "verdict")
WORST_CLIPS = 3

Results = Mapping[str, Any]
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Line:
    """One row of the final table.

    Attributes:
        cells: texts in the order of ``columns``.
        word: the verdict, for colour; None where nothing was judged or the device lacks the row.
    """

    cells: tuple[str, ...]
    word: Word | None


def columns(results: Results) -> tuple[str, ...]:
    """``COLUMNS``, with one more before the verdict where throughput was measured."""
    sizes = {row["throughput"]["batch"] for row in results["rows"] if row.get("throughput")}
    return (*COLUMNS[:-1], *(f"clips/s, {size} at once (RTFx)" for size in sorted(sizes)), COLUMNS[-1])


def lines(results: Results) -> list[Line]:
    """The rows of the final table, those that the device lacks in their places, orphaned baselines last."""
    named = {row["variant"]: _line(row) for row in results["rows"]}
    named |= {row["variant"]: _empty(row["variant"], f"n/a: {row['why']}", None) for row in results["absent"]}
    table = [named[name] for name in results["order"] if name in named]
    for path in results["orphans"]:
        name = path.rsplit("/", 1)[-1].removesuffix(".json")
        table.append(_empty(name, str(Word.ORPHAN), Word.ORPHAN))
    if len(columns(results)) > len(COLUMNS):
        done = {row["variant"]: _throughput(row.get("throughput")) for row in results["rows"]}
        table = [replace(line, cells=_before_last(line.cells, done.get(line.cells[0], "-"))) for line in table]
    return table


def _throughput(done: Mapping[str, Any] | None) -> str:
    return f"{done['clips_per_s']:.2f} ({done['real_time_factor']:.1f})" if done else "-"


def _before_last(cells: tuple[str, ...], cell: str) -> tuple[str, ...]:
    return (*cells[:-1], cell, cells[-1])


def _empty(name: str, said: str, word: Word | None) -> Line:
    return Line((name, *["-"] * (len(COLUMNS) - 2), said), word)


def _line(row: Record) -> Line:
    return Line(cells(row), Word(row["verdict"]) if row["verdict"] else None)


def cells(row: Record) -> tuple[str, ...]:
    """One row of results.json as texts in the order of ``COLUMNS``."""
    shown = row["verdict"] or "-"
    if row["usable"] is False:
        shown += ", unusable as declared" if row["declared_unusable"] else ", unusable"
    if row.get("excused"):
        shown += EXPECTED
    part = "*" if row.get("shortened") and row["complete"] else ""  # see ``remarks``
    heard = [number(row[name] if row["complete"] else None, ".3f") + part for name in ("wer", "cer")]
    rates = heard if row.get("scored", True) else ["n/a"] * 2
    return (
        row["variant"],
        *rates,
        number(row["seconds"], ".3f") + (part if row["seconds"] else ""),
        ratio(row),
        number(row["peak_mib"], ".0f"),
        number(row["size_mib"], ".0f"),
        shown,
    )


def ratio(row: Record) -> str:
    """Times as fast as fp32 with its interval; the reference itself is 1 by definition."""
    if row["reference"] and row["seconds"]:
        return "1.00"
    value = row["ratio"]
    return f"{value['value']:.2f} [{value['low']:.2f}, {value['high']:.2f}]" if value else "-"


def verdicts(results: Results) -> Iterator[tuple[str, str, str]]:
    """Yield word, rows with what was judged, and sentence of every verdict that is not PASS; equal sentences once."""
    said: dict[tuple[str, str], dict[str, list[str]]] = {}
    for row in results["rows"]:
        for what, verdict in row["verdicts"].items():
            if verdict["word"] != Word.PASS:
                said.setdefault((verdict["word"], verdict["text"]), {}).setdefault(row["id"], []).append(what)
    for (word, text), rows in said.items():
        yield word, ", ".join(f"{id} {' and '.join(whats)}" for id, whats in rows.items()), text
    for path in results["orphans"]:
        yield (
            Word.ORPHAN,
            path,
            "no variant of this run owns it: was one renamed or removed, or is it of --lx-variants?",
        )


def red(results: Results) -> list[Record]:
    """The rows whose verdict is red, expected or not."""
    return [row for row in results["rows"] if row["verdict"] and Word(row["verdict"]).red]


def worst_clips(results: Results, row: Record, width: int = 10_000) -> Iterator[tuple[str, list[str]]]:
    """Yield the clips that got worst since the baseline, or are worst where there is none, as REF and HYP lines.

    Args:
        results: the values of results.json.
        row: one of its rows.
        width: of a line, in characters.
    """
    normalize = score.normalizer_named(results["normalizer"]).apply
    references = {clip["id"]: clip["text"] for clip in results["corpus"]["clips"]}
    kept = (row["baseline"] or {}).get("clips", {})

    def loss(clip: Record) -> tuple[int, int]:
        return clip["word_edits"] - kept.get(clip["id"], {}).get("word_edits", 0), clip["word_edits"]

    # A file of pytest-benchmark has no reference texts.
    wrong = [clip for clip in row["clips"] if clip["word_edits"] and clip["id"] in references]
    wrong.sort(key=loss, reverse=True)
    for clip in wrong[:WORST_CLIPS]:
        pairs = score.align(normalize(references[clip["id"]]), normalize(clip["text"]), width - len("REF: "))
        yield clip["id"], [line for ref, hyp in pairs for line in (f"REF: {ref}", f"HYP: {hyp}")]


def number(value: float | None, form: str) -> str:
    """A figure as text, a dash where there is none."""
    return "-" if value is None else format(value, form)
