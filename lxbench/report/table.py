"""The final table and what stands under it, as plain values shared by the terminal and Markdown."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lxbench import roofline, score
from lxbench.stats import drift, timing_of
from lxbench.verdict import Word
from lxbench.verdict_speed import OTHER_STATE

COLUMNS = ("variant", "WER", "CER", "s/audio", "vs fp32 [95 % CI]", "peak MiB", "size MiB", "verdict")
DETAILS = (
    "variant",
    "steps",
    "modules",
    "stored",
    "zeros",
    "size MiB",
    "tokens/clip",
    "ms/token",
    "time goes to",
    "built in",
)
ROOFLINE = (
    "variant",
    "a pass of the encoder",
    "at",
    "of the fastest product",
    "a token reads",
    "at",
    "of memory's speed",
)
OPERATORS = ("variant", "part", "top operators")
WORST_CLIPS = 3
_TOP = 4
_ORIGINS = {"cached": "from the cache", "new": "compiled"}
_DISTURBED = 0.2  # cores
_NAME_WIDTH = 60
_ATTENTION = re.compile("attention|flash|fmha", re.IGNORECASE)

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
    part = "*" if row.get("shortened") else ""  # see ``remarks``
    return (
        row["variant"],
        _number(row["wer"], ".3f") + part,
        _number(row["cer"], ".3f") + part,
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
        yield Word.ORPHAN, path, "no variant of this run owns it: was one renamed or removed?"


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


def remarks(results: Results) -> Iterator[str]:
    """Yield what a reader of the table should know: rows on fewer clips, warnings of libraries, notes of the run."""
    total = len(results["corpus"]["clips"])
    warned: dict[str, list[str]] = {}
    for row in results["rows"]:
        if row["complete"] and len(row["clips"]) < total and not row.get("shortened"):
            yield f"{row['variant']} was run on the first {len(row['clips'])} of {total} clips alone"
        if row.get("measured_as"):
            yield f"{row['variant']} has the steps of {row['measured_as']} and shares its measurement"
    yield from _shortened(results, total)
    shown = [row for row in results["rows"] if row["usable"] and not row["reference"]]
    if doubtful := [row["variant"] for row in shown if row["shown_usable"] is False]:
        yield (
            f"within the margin of fp32 as measured, but {total} clips are too few to show it (the interval reaches "
            f"beyond): {', '.join(doubtful)}"
        )
    yield from _said_otherwise(results)
    yield from _disturbed(results)
    yield from _other_state(results)
    for row in results["rows"]:
        for warning in row["warnings"]:
            warned.setdefault(warning, []).append(row["variant"])
    for warning, names in warned.items():
        yield f"warning in {', '.join(names)}: {warning}"
    yield from results["notes"]


def _shortened(results: Results, total: int) -> Iterator[str]:
    """Say which rows heard a part of the clips alone, and what fp32 makes of that part."""
    rows = [row for row in results["rows"] if row.get("shortened")]
    if not rows:
        return
    heard = {clip["id"] for clip in rows[0]["clips"]}
    reference: Sequence[Record] = next((row["clips"] for row in results["rows"] if row["reference"]), [])
    edits, words = (sum(clip[name] for clip in reference if clip["id"] in heard) for name in ("word_edits", "words"))
    beside = f" (WER of fp32 there: {edits / words:.3f})" if words else ""
    yield (
        f"*: recorded as hardly faster than fp32, judged on the first {len(heard)} of {total} clips{beside}, where "
        f"they say what they said then: {', '.join(row['variant'] for row in rows)}; --benchmark-disable hears all"
    )


def _said_otherwise(results: Results) -> Iterator[str]:
    """Say which rows said something else in batches than one by one, and to how many clips."""
    done = {row["variant"]: row.get("throughput") for row in results["rows"]}
    if changed := {name: each for name, each in done.items() if each and each["changed"]}:
        counts = ", ".join(f"{name} ({len(each['changed'])} of {each['clips']})" for name, each in changed.items())
        yield f"said something else to some clips in batches than one by one: {counts}"


def _disturbed(results: Results) -> Iterator[str]:
    """Say when somebody else had a good part of the machine: ratios survive that, seconds do not."""
    for name, unit in (("others", "other processes used"), ("stolen", "the hypervisor gave away")):
        seen = {row["variant"]: (row["disturbance"] or {}).get(name) or 0.0 for row in results["rows"]}
        if busy := {variant: cores for variant, cores in seen.items() if cores >= _DISTURBED}:
            yield (
                f"{unit} {min(busy.values()):.1f} to {max(busy.values()):.1f} cores while these rows were timed: "
                f"{', '.join(busy)}; their seconds are too high"
            )


def _other_state(results: Results) -> Iterator[str]:
    """Say beside which rows fp32 itself was slower than beside the others: their ratios are of another machine."""
    taken = {row["variant"]: timing_of(row).reference for row in results["rows"] if row["ratio"]}
    by_clip: dict[str, list[float]] = {}
    for seconds in taken.values():
        for id, value in seconds.items():
            by_clip.setdefault(id, []).append(value)
    usual = {id: statistics.median(values) for id, values in by_clip.items()}
    slower = {name: drift(seconds, usual) - 1 for name, seconds in taken.items()}
    if slow := {name: more for name, more in slower.items() if more > OTHER_STATE}:
        yield (
            f"fp32 itself took longer beside {', '.join(f'{name} ({more:+.0%})' for name, more in slow.items())} than "
            "beside the other rows: the machine was in another state, and these ratios are of that state"
        )


def details(results: Results) -> Iterator[tuple[str, ...]]:
    """Yield, in the order of ``DETAILS``, what the steps of every row changed in the model."""
    for row in results["rows"]:
        if build := row["build"]:
            before, after = build["loaded"], build["census"]
            yield (
                row["variant"],
                ", ".join(step["name"] for step in build["steps"]) or "-",
                _modules(before["modules"], after["modules"]) or "-",
                ", ".join(f"{count / 1e6:.1f} M {dtype}" for dtype, count in after["dtypes"].items() if count >= 5e4),
                f"{after['zeros'] / sum(after['dtypes'].values()):.1%}",
                f"{before['size_mib']:.0f} -> {after['size_mib']:.0f}",
                *_tokens(row),
                _parts(row) or "-",
                stages(row),
            )


def _tokens(row: Record) -> tuple[str, str]:
    """Tokens of a clip, and the time per audio by them: a row that stops early or repeats itself shows here."""
    count = sum(clip["tokens"] for clip in row["clips"]) / len(row["clips"]) if row["clips"] else 0
    per_token = 1000 * row["seconds"] / count if count and row["seconds"] else None
    return (_number(count, ".1f") if row["clips"] else "-"), _number(per_token, ".1f")


def _parts(row: Record) -> str:
    """The shares of the time per audio; those under half a per cent are left out."""
    parts = row.get("parts") or {}
    shares = {name: seconds / sum(parts.values()) for name, seconds in parts.items()}
    return ", ".join(f"{name} {share:.0%}" for name, share in shares.items() if share >= 0.005)


def _modules(before: Mapping[str, int], after: Mapping[str, int]) -> str:
    """Which classes went and which came, such as ``-96 torch.nn Linear, +96 bitsandbytes.nn Linear8bitLt``."""
    changes = {name: after.get(name, 0) - before.get(name, 0) for name in {**before, **after}}
    return ", ".join(f"{count:+d} {_class(name)}" for name, count in changes.items() if count)


def _class(name: str) -> str:
    """The class and the library that it is from, without the modules between."""
    parts = name.split(".")
    return f"{'.'.join(parts[:-1][:2])} {parts[-1]}"


def limits(results: Results) -> Iterator[tuple[str, ...]]:
    """Yield, in the order of ``ROOFLINE``, how near every timed row comes to what the machine can do."""
    peaks = results.get("peaks") or {}
    for row in results["rows"]:
        work = row.get("work")
        if not work or not row.get("parts") or (near := roofline.reached(work, row["parts"], peaks)) is None:
            continue
        yield (
            row["variant"],
            f"{near.gflop:.1f} GFLOP",
            f"{near.gflops:.0f} GFLOP/s",
            f"{near.of_product:.0%} of {peaks[work['product']]:.0f} in {work['product']}",
            f"{near.mib:.0f} MiB",
            f"{near.read:.1f} GB/s",
            f"{near.of_read:.0%} of {peaks['read']:.1f}",
        )


def operators(results: Results) -> Iterator[tuple[str, ...]]:
    """Yield, in the order of ``OPERATORS``, where each profiled row spends its time; CUDA's kernels apart."""
    for row in results["rows"]:
        for part, taken in row["profile"].items():
            yield row["variant"], part, _shares(taken["operators"])
            if taken["kernels"]:
                yield row["variant"], f"{part} kernels", _shares(taken["kernels"])


def _shares(operators: Sequence[Mapping[str, Any]]) -> str:
    """The top operators, and the one that computes attention wherever it stands."""
    attention = [operator for operator in operators[_TOP:] if _ATTENTION.search(operator["name"])]
    shown = [*operators[:_TOP], *attention[:1]]
    return ", ".join(f"{_short(operator['name'])} {operator['share']:.0%}" for operator in shown)


def _short(name: str) -> str:
    """CUDA kernels have names of hundreds of characters, template arguments and all."""
    return name if len(name) <= _NAME_WIDTH else name[: _NAME_WIDTH - 1] + "…"


def stages(row: Record) -> str:
    """Seconds of loading, steps and warm-up, none of it in the time per audio; compilation is in the last two."""
    build = row["build"] or {}
    seconds, graphs = build.get("seconds", {}), build.get("graphs") or {}
    parts = [f"{name} {value:.1f} s" for name, value in seconds.items()]
    parts += [f"{count} graphs {_ORIGINS[origin]}" for origin, count in graphs.items() if count]
    return ", ".join(parts)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
