"""What a machine does to ratios between occasions is found again in timings that were made with it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lxbench.verdict_speed import BETWEEN_PROCESSES
from tools.gate import occasions

CLIPS = [f"c{n}" for n in range(24)]


def ladders(rows: int, between: float, share: float, of_faster: float = 0.0) -> list[dict[str, Any]]:
    """Five runs of a ladder, of which ratios and fp32 move by so much; every third row is 8 times as fast as fp32."""
    chance = np.random.default_rng(0)
    drifts = chance.normal(0, 0.05, (5, rows))
    speeds = np.where(np.arange(rows) % 3 == 0, 8.0, 2.0)
    signs = chance.normal(0, 1, rows)
    runs = []
    for run in range(5):
        found = {}
        for row in range(rows):
            drift = drifts[run, row]
            taken = (share + of_faster * np.log(speeds[row]) * abs(drift)) * drift * signs[row]
            moved = chance.normal(0, math.hypot(between, BETWEEN_PROCESSES)) + taken
            fp32 = np.exp(drift + chance.normal(0, 0.001, len(CLIPS)))
            ratios = speeds[row] * np.exp(moved + chance.normal(0, 0.01, len(CLIPS)))
            pairs = {id: [[a, a / ratio]] for id, a, ratio in zip(CLIPS, fp32, ratios, strict=True)}
            found[f"row{row}"] = {"pairs": pairs, "processes": 1}
        runs.append({"started": f"2026-11-26T0{run}-00-00", "rows": found})
    return runs


@pytest.mark.parametrize(("between", "share"), [(0.012, 0.4), (0.004, 0.1)])
def test_the_fit_finds_what_the_timings_were_made_with(between: float, share: float) -> None:
    found = occasions.moves(ladders(60, between, share))
    fitted, likeliest = occasions.fit(found, 0.008, 0.2)
    assert fitted == pytest.approx((between, share), rel=0.3)
    assert likeliest > occasions.likelihood(found, 0.008, 0.2)


def test_the_fit_finds_that_faster_rows_move_by_more() -> None:
    found = occasions.moves(ladders(300, 0.008, 0.1, 4.0))
    fitted, likeliest = occasions.fit(found, *occasions.SETTINGS)
    assert fitted[1] == pytest.approx(0.1, abs=0.06)
    assert fitted[2] > 1
    assert likeliest > occasions.fit(found, 0.008, 0.2)[1] + 2
    assert {move.faster > 1.5 for move in found} == {True, False}


def test_every_row_is_compared_in_every_two_runs() -> None:
    runs = ladders(3, 0.01, 0.2)
    del runs[0]["rows"]["row2"]
    found = occasions.moves(runs)
    assert [sum(move.row == name for move in found) for name in ("row0", "row1", "row2")] == [10, 10, 6]
    assert {move.processes for move in found} == {2.0}
    assert sum(move.weight for move in found if move.row == "row2") == pytest.approx(3.0)


def test_how_long_an_occasion_lasts_is_seen_from_blocks() -> None:
    chance = np.random.default_rng(1)
    states = np.repeat(chance.normal(0, 0.02, 20), 2)  # Two runs of 40 s, then a quarter of an hour until the next.
    runs = []
    for number, state in enumerate(states):
        began = 15 * (number // 2) + number % 2
        speeds = 2 * np.exp(state + chance.normal(0, 0.005, len(CLIPS)))
        pairs = {id: [[1.0, 1 / speed]] for id, speed in zip(CLIPS, speeds, strict=True)}
        rows = {"bf16": {"pairs": pairs, "processes": 1}}
        runs.append({"started": f"2026-11-26T{began // 60:02d}-{began % 60:02d}-00", "rows": rows})
    *_, row = occasions.lasting(runs)
    near, *_, far = (float(cell.split("%")[0]) for cell in row.split(" | ")[1:] if "%" in cell)
    assert near < 0.3
    assert far == pytest.approx(100 * states.std(), rel=0.2)


def test_the_tables_of_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, single = tmp_path / "whole.json", tmp_path / "single.json"
    whole.write_text(json.dumps({"runs": ladders(3, 0.01, 0.2)}), "utf-8")
    single.write_text(json.dumps({"runs": ladders(1, 0.01, 0.2)}), "utf-8")
    occasions.main([str(whole), str(single)])
    said = capsys.readouterr().out
    assert "| all | 30 |" in said
    assert "| at least 4 times | 10 |" in said
    assert "Likeliest: " in said
    assert "as its record, at a first look:" in said
    assert "of 60." in said
    assert "single.json, 5 runs" in said
    assert "| 0 to 2 min |" in said
