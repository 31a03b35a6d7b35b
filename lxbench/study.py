"""The study that the ladder grew out of: its five tables, with its figures beside ours. Without torch.

It tried to make whisper-large-v3 faster on Russian speech (Golos), see docs/study.md. Another model, corpus and machine
than ours: what compares is the order of the rows and their ratios, not the seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

COLUMNS = ("Configuration", "WER", "CER", "Avg Time per Audio", "Study: large-v3 on Golos")


@dataclass(frozen=True)
class Figure:
    """What the study measured: WER, CER, seconds per audio; None where it does not say."""

    wer: float | None = None
    cer: float | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        rates = [f"{value:.4f}" if value is not None else "-" for value in (self.wer, self.cer)]
        return " / ".join([*rates, f"{self.seconds:.4f} s" if self.seconds is not None else "-"])


Found = Mapping[str, Figure | str]


@dataclass(frozen=True)
class Line:
    """One configuration: how it is called, which row of the ladder it is, what the study found on each device.

    Attributes:
        name: as the study calls it.
        variant: our row.
        found: a figure, or what the study says in words, by device.
    """

    name: str
    variant: str
    found: Found


@dataclass(frozen=True)
class Table:
    """One of the study's tables."""

    title: str
    lines: tuple[Line, ...]


_TRIED: Found = {"cpu": "tried, no figure of its own", "cuda": "tried, no figure of its own"}
_NOT_IN_STUDY: Found = {"cpu": "not in the study", "cuda": "not in the study"}
_DESTROYED = "destroyed the model"
_BASE: Found = {"cpu": Figure(0.4403, 0.1583, 8.7137), "cuda": Figure(0.4403, 0.1583, 0.8386)}
_PRUNED: Found = {"cpu": Figure(0.4410, 0.1619, 7.4373), "cuda": Figure(0.4410, 0.1619, 0.8386)}
# The study gives one figure per device for its first round of quantization. On the CPU it is the dynamic one, which its
# final table calls q. On the GPU it does not say which; of what it tried, bitsandbytes is the one slower than fp32.
_DYNAMIC: Found = {"cpu": Figure(0.4740, 0.1664, 5.8057), "cuda": "CPU only"}
_BITSANDBYTES: Found = {"cpu": "tried, no figure of its own", "cuda": Figure(0.4472, 0.1586, 3.0069)}


def _magnitude(rate: float) -> Line:
    """A step of the sweep around the study's rate."""
    return Line(f"magnitude, rate {rate}", f"prune-magnitude-{100 * rate:.0f}", _NOT_IN_STUDY)


TABLES = (
    Table("Baseline", (Line("fp32", "fp32", _BASE),)),
    Table(
        "Pruning",
        (
            Line("fp32", "fp32", _BASE),
            *map(_magnitude, (0.95, 0.9)),
            Line("magnitude, rate 0.81", "prune-magnitude", _PRUNED),
            *map(_magnitude, (0.7, 0.6, 0.5)),
            Line("L2, rate 0.81", "prune-l2", {"cpu": _DESTROYED, "cuda": _DESTROYED}),
        ),
    ),
    Table(
        "Quantization",
        (
            Line("fp32", "fp32", _BASE),
            Line("torch.compile", "compile", _TRIED),
            Line("static PTQ", "ptq-static", _TRIED),
            Line("dynamic PTQ", "ptq-dynamic", _DYNAMIC),
            Line("bitsandbytes int8", "bnb-int8", _BITSANDBYTES),
            Line("bitsandbytes NF4", "bnb-nf4", _TRIED),
            Line("torch.autocast bf16", "autocast", _TRIED),
            Line("torch.autocast fp16", "autocast-fp16", _TRIED),
            Line("cast to bf16", "bf16", _NOT_IN_STUDY),
        ),
    ),
    Table(
        "Dynamic configs",
        (
            # The study measured the base of this table anew.
            Line("base", "fp32", {"cpu": Figure(seconds=5.4567), "cuda": "CPU only"}),
            Line("Int8A-Int8W", "ao-a8w8", {"cpu": Figure(0.4480, 0.1582, 4.8465), "cuda": "CPU only"}),
            Line("Int8A-Int8W, compiled", "ao-a8w8-compile", _NOT_IN_STUDY),
            Line("Int8A-Int4W", "ao-a8w4", {"cpu": Figure(0.4498, 0.1610, 10.5658), "cuda": "CPU only"}),
            Line("Int8A-Int4W, compiled", "ao-a8w4-compile", _NOT_IN_STUDY),
        ),
    ),
    Table(
        "Final",
        (
            Line("baseline", "fp32", _BASE),
            Line("q", "q", _DYNAMIC),
            Line("p 0.81", "p", {"cpu": _PRUNED["cpu"], "cuda": "CPU only"}),
            Line("q+p", "q+p", _NOT_IN_STUDY),
            Line("q+p+c", "q+p+c", {"cpu": Figure(0.4815, 0.1664, 5.0836), "cuda": "CPU only"}),
        ),
    ),
)

ROWS = frozenset(line.variant for table in TABLES for line in table.lines)


def cells(table: Table, results: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The rows of a table as texts in the order of ``COLUMNS``.

    Args:
        table: one of ``TABLES``.
        results: the values of results.json; a configuration without a row there says why or has dashes.
    """
    rows = {row["variant"]: row for row in results["rows"]}
    why = {row["variant"]: f"n/a: {row['why']}" for row in results["absent"]}
    return [
        (
            line.name,
            *_measured(rows.get(line.variant), why.get(line.variant, "-")),
            str(line.found[results["device"]]),
        )
        for line in table.lines
    ]


def _measured(row: Mapping[str, Any] | None, absent: str) -> tuple[str, str, str]:
    if row is None:
        return "-", "-", absent
    seconds = "-" if row["seconds"] is None else f"{row['seconds']:.4f} s"
    remark = ", unusable" if row["usable"] is False else ""
    wer, cer = (_rate(row[name] if row["complete"] else None) for name in ("wer", "cer"))
    return wer, cer, seconds + remark


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
