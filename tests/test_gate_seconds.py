"""Unchanged rows on a machine that another day is slower: red without a look at fp32 beside them, and not with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tools.gate import seconds


def recorded(path: Path, day: float, seed: int) -> Path:
    """Five runs of a row on a day on which all takes so many times as long, each within 1 % of that."""
    chance = np.random.default_rng(seed)
    runs = [
        {
            "rows": {
                "bf16": {
                    "pairs": {f"c{n}": [(day * hour * (1 + n / 20), day * hour * (0.5 + n / 40))] for n in range(24)}
                }
            }
        }
        for hour in chance.normal(1, 0.01, 5)
    ]
    path.write_text(json.dumps({"runs": runs}))
    return path


def test_a_slower_day_is_not_slower_code(tmp_path: Path) -> None:
    calibrated, today = recorded(tmp_path / "then.json", 1.0, 0), recorded(tmp_path / "now.json", 1.2, 1)
    lines = list(seconds.table(calibrated, today))
    # 25 comparisons with the calibrated runs, and 20 of today's with one another.
    assert lines[2] == "| bf16 | 0% | 25 of 45 | 0 of 45 |"
    assert lines[4].startswith("| bf16 | 20% | 45 of 45 | ")
    assert 15 <= int(lines[4].split("|")[4].split()[0]) <= 30
