"""The final table and what stands under it, as plain values shared by the terminal and Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lxbench import score
from lxbench.verdict import Word

COLUMNS = ("variant", "WER", "CER", "s/audio", "vs fp32 [95 % CI]", "peak MiB", "size MiB", "verdict")
WORST_CLIPS = 3

Results = Mapping[str, Any]
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Line:
    """One row of the final table.

    Attributes:
        cells: texts in the order of ``COLUMNS``.
        word: the verdict, for colour; None where nothing was judged.
    """

    cells: tuple[str, ...]
    word: Word | None


def lines(results: Results) -> list[Line]:
    """The rows of the final table, orphaned baselines last."""
    table = [_line(row) for row in results["rows"]]
    for path in results["orphans"]:
        name = path.rsplit("/", 1)[-1].removesuffix(".json")
        table.append(Line((name, *["-"] * 6, str(Word.ORPHAN)), Word.ORPHAN))
    return table


def _line(row: Record) -> Line:
    return Line(cells(row), Word(row["verdict"]) if row["verdict"] else None)


def cells(row: Record) -> tuple[str, ...]:
    """One row of results.json as texts in the order of ``COLUMNS``."""
    shown = row["verdict"] or "-"
    if row["usable"] is False:
        shown += ", unusable"
    return (
        row["variant"],
        _number(row["wer"], ".3f"),
        _number(row["cer"], ".3f"),
        _number(row["seconds"], ".3f"),
        ratio(row),
        _number(row["peak_mib"], ".0f"),
        _number(row["size_mib"], ".0f"),
        shown,
    )


def ratio(row: Record) -> str:
    """Times as fast as fp32 with its interval; the reference itself is 1 by definition."""
    if row["reference"] and row["seconds"]:
        return "1.00"
    value = row["ratio"]
    return f"{value['value']:.2f} [{value['low']:.2f}, {value['high']:.2f}]" if value else "-"


def verdicts(results: Results) -> Iterator[tuple[str, str, str, str]]:
    """Yield name, what was judged, word and sentence of every verdict that is not PASS, orphaned baselines last."""
    for row in results["rows"]:
        for what, said in row["verdicts"].items():
            if said["word"] != Word.PASS:
                yield row["id"], what, said["word"], said["text"]
    for path in results["orphans"]:
        yield path, "baseline", Word.ORPHAN, "no variant of the ladder owns it: was one renamed or removed?"


def red(results: Results) -> list[Record]:
    """The rows whose verdict fails the run."""
    return [row for row in results["rows"] if row["verdict"] and Word(row["verdict"]).red]


def worst_clips(results: Results, row: Record, width: int = 10_000) -> Iterator[tuple[str, list[str]]]:
    """Yield the clips that got worst since the baseline, or are worst where there is none, as REF and HYP lines.

    Args:
        results: the values of results.json.
        row: one of its rows.
        width: of a line, in characters.
    """
    normalize = score.normalizer_for(results["language"]).apply
    references = {clip["id"]: clip["text"] for clip in results["corpus"]["clips"]}
    kept = (row["baseline"] or {}).get("clips", {})

    def loss(clip: Record) -> tuple[int, int]:
        return clip["word_edits"] - kept.get(clip["id"], {}).get("word_edits", 0), clip["word_edits"]

    wrong = sorted((clip for clip in row["clips"] if clip["word_edits"]), key=loss, reverse=True)
    for clip in wrong[:WORST_CLIPS]:
        pairs = score.align(normalize(references[clip["id"]]), normalize(clip["text"]), width - len("REF: "))
        yield clip["id"], [line for ref, hyp in pairs for line in (f"REF: {ref}", f"HYP: {hyp}")]


def stages(row: Record) -> str:
    """Seconds of loading, steps and warm-up, which are not part of the time per audio."""
    seconds = (row["build"] or {}).get("seconds", {})
    return ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
