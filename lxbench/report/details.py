"""Tables beside the final one: what the steps changed, how near the limits, the top operators."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lxbench.report.table import Record, Results, number
from lxbench.worker import roofline

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
_TOP = 4
_ORIGINS = {"cached": "from the cache", "new": "made"}
_NAME_WIDTH = 60
_ATTENTION = re.compile("attention|flash|fmha", re.IGNORECASE)


def details(results: Results) -> Iterator[tuple[str, ...]]:
    """Yield, in the order of ``DETAILS``, what the steps of every row changed in the model."""
    for row in results["rows"]:
        if build := row["build"]:
            before, after = build["loaded"], build["census"]
            yield (
                row["variant"],
                ", ".join(step["name"] for step in build["steps"]) or "-",
                _modules(before["modules"], after["modules"]) or "-",
                ", ".join(f"{count / 1e6:.1f} M {dtype}" for dtype, count in after["dtypes"].items() if count >= 5e4)
                or "-",
                _zeros(after),
                f"{before['size_mib']:.0f} -> {after['size_mib']:.0f}{_on_gpu(row)}",
                *_tokens(row),
                _parts(row) or "-",
                stages(row),
            )


def _zeros(census: Mapping[str, Any]) -> str:
    """The share of exact zeros, where numbers are torch's at all: those of another engine are not."""
    count = sum(census["dtypes"].values())
    return f"{census['zeros'] / count:.1%}" if count else "-"


def _on_gpu(row: Record) -> str:
    """What the driver counts for a row's process: the allocator's memory, the libraries' and CUDA's own."""
    return f", {row['driver_mib']:.0f} on the GPU" if row.get("driver_mib") else ""


def _tokens(row: Record) -> tuple[str, str]:
    """Tokens of a clip, and the time per audio by them: a row that stops early or repeats itself shows here."""
    count = sum(clip["tokens"] for clip in row["clips"]) / len(row["clips"]) if row["clips"] else 0
    per_token = 1000 * row["seconds"] / count if count and row["seconds"] else None
    return (number(count, ".1f") if row["clips"] else "-"), number(per_token, ".1f")


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
            f"{near.of_product:.0%} of {peaks[near.product]:.0f} in {near.product}",
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
    seconds, origins = build.get("seconds", {}), build.get("origins") or {}
    parts = [f"{name} {value:.1f} s" for name, value in seconds.items()]
    parts += [f"{count} {_ORIGINS[origin]}" for origin, count in origins.items() if count]
    return ", ".join(parts)


def wall_time(results: Results) -> str:
    """How long a run took, and what for."""
    spent = results["harness"]
    # Runs that were saved before know some of them.
    parts = {
        "transcribing": "transcribing",
        "warming_up": "a clip to warm up",
        "building": "the variants' steps and compilation",
        "preparing": "the variants' steps, compilation and warm-up",
        "loading": "loading",
        "own": "the harness itself",
    }
    shares = [f"{spent[key]:.1%} {what}" for part, what in parts.items() if (key := f"{part}_share") in spent]
    return f"{spent['wall_s']:.0f} s in all: {', '.join(shares)}"
