"""bencher.json: the figures of a run in Bencher's metric format, https://bencher.dev/docs/reference/bencher-metric-format/."""

from __future__ import annotations

from collections.abc import Mapping

from lxbench.report.table import Record, Results

Metric = Mapping[str, float]


def metrics(results: Results) -> dict[str, dict[str, Metric]]:
    """Return for every row, by model, corpus, device and variant, what was measured of it.

    ``latency`` is in nanoseconds, as Bencher has it; ``peak-memory`` and ``size`` are in bytes; ``wer`` and ``cer`` are
    rates over all clips of the row; ``speedup`` is how many times as fast as fp32, with its 95 % interval.
    """
    place = f"{results['model']['name']}/{results['corpus']['name']}/{results['device']}"
    return {f"{place}/{row['variant']}": measures(row) for row in results["rows"] if row["complete"]}


def measures(row: Record) -> dict[str, Metric]:
    """The figures of one row; what was not measured is left out, and what is a mean over a part of the clips."""
    means = {"wer": row["wer"], "cer": row["cer"], "latency": row["seconds"] and row["seconds"] * 1e9}
    plain = {
        **(means if row["complete"] and not row.get("shortened") else {}),
        "peak-memory": row["peak_mib"] and row["peak_mib"] * 2**20,
        "size": row["size_mib"] and row["size_mib"] * 2**20,
    }
    found: dict[str, Metric] = {name: {"value": value} for name, value in plain.items() if value is not None}
    if ratio := row["ratio"]:
        found["speedup"] = {"value": ratio["value"], "lower_value": ratio["low"], "upper_value": ratio["high"]}
    return found
