from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lxbench import baselines, calibrate
from lxbench.errors import UsageError
from lxbench.report import terminal
from tests.suite import ROOT


def test_equal_runs_are_measured() -> None:
    generator = np.random.default_rng(1)

    def clip(number: int, day: float) -> dict[str, object]:
        own = day * 0.5 * np.exp(generator.normal(0, 0.1))
        return {"id": str(number), "seconds": day * 0.5, "pairs": [(day * 1.0, own)]}

    rows = [
        {"seconds": 0.5 * day, "reference": False, "processes": 1, "clips": [clip(number, day) for number in range(50)]}
        for day in np.exp(generator.normal(0, 0.05, 30))
    ]
    spread, apart = calibrate.measure(rows, "2026-11-24")
    assert apart == pytest.approx(0.1 / np.sqrt(50), rel=0.3)
    assert spread.ratio < 0.01  # slow days slow both down
    assert spread.seconds == pytest.approx(0.05, rel=0.3)
    assert (spread.runs, spread.recorded) == (30, "2026-11-24")


def test_runs_that_took_more_processes_to_decide_say_the_same_of_one() -> None:
    generator = np.random.default_rng(2)

    def row(processes: int) -> dict[str, Any]:
        shifts = np.exp(generator.normal(0, 0.02, processes))
        pairs = [[(shift, 0.5 * np.exp(generator.normal(0, 0.01))) for shift in shifts] for _ in range(24)]
        clips = [{"id": str(n), "seconds": 0.5, "pairs": each} for n, each in enumerate(pairs)]
        return {"reference": False, "processes": processes, "clips": clips}

    spread, _ = calibrate.measure([row(processes) for processes in (1, 8) * 40], "2026-11-29")
    assert spread.ratio == pytest.approx(0.02, rel=0.2)


@pytest.mark.parametrize(("apart", "tolerance"), [(0.0, 0.01), (0.001, 0.01), (0.004, 0.02), (0.03, 0.11)])
def test_a_tolerance_is_proposed_that_an_unchanged_variant_passes(apart: float, tolerance: float) -> None:
    assert calibrate.proposed_tolerance(apart) == pytest.approx(tolerance)


def test_the_reference_has_a_spread_of_seconds_alone() -> None:
    rows = [{"reference": True, "clips": [{"id": "a", "seconds": seconds}]} for seconds in (1.0, 1.1, 0.9)]
    spread, apart = calibrate.measure(rows, "2026-11-24")
    assert (spread.ratio, apart) == (0.0, 0.0)
    assert spread.seconds == pytest.approx(0.1, rel=0.05)


def test_runs_that_heard_more_clips_than_others_are_compared_on_those_that_all_heard() -> None:
    clips = [{"id": str(n), "seconds": 0.1 * (n + 1), "text": f"{n}", "pairs": [(1.0, 0.5)]} for n in range(8)]
    rows = [
        {"reference": False, "processes": 1, "verdict": "PASS", "tolerance": {"speed": 0.025}, "clips": clips[:heard]}
        for heard in (4, 4, 8)
    ]
    spread, apart = calibrate.measure(rows, "2026-11-27")
    assert (spread.seconds, apart) == (0.0, 0.0)
    assert calibrate._found("x", rows, spread, apart)["texts_moved"] == 0


def test_a_row_that_may_be_as_slow_as_it_likes_has_no_tolerance_to_be_too_small() -> None:
    found = {"variant": "x", "runs": 3, "ratio": 0.05, "process": 0.05, "seconds": 0.1, "red": 0, "texts_moved": 0}
    told = terminal.render(calibrate.report([{**found, "proposed": 0.2, "tolerance": None}], []), 120, color=False)
    assert " any" in told
    assert "INCONCLUSIVE" not in told


@pytest.mark.parametrize(
    ("device", "session"),
    [("cpu", "nox -s baselines --"), ("cuda", "nox -s bench-gpu -- --lx-update new,changed")],
)
def test_what_is_not_recorded_is_recorded_over_all_clips_by_the_next_command(device: str, session: str) -> None:
    run = {"device": device, "rows": [{"seconds": 0.5, "baseline": None, "verdicts": {}}]}
    asked = ["--lx-device", device, "--lx-clips", "24", "-k", "[x]", "--lx-clips=8", "--lx-corpus", "my"]
    with pytest.raises(UsageError, match="none of 1 timed rows has a baseline") as raised:
        calibrate._check_recorded(run, asked)
    assert raised.value.command == f"{session} -k '[x]' --lx-corpus my"


def test_a_spread_that_cannot_be_stored_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(shutil.copy(ROOT / "baselines" / "whisper-base" / "ivr-ru" / "cpu" / "fp32.json", tmp_path))
    kept = baselines.read(path)
    assert kept is not None
    rows = [
        {"variant": "fp32", "seconds": 1.0, "reference": True, "baseline": {"path": str(path), "recorded_here": True},
         "verdicts": {"accuracy": {"word": "PASS", "text": ""}}, "clips": [{"id": "a", "seconds": seconds}]}
        for seconds in (1.0, 1.1, 0.9)
    ]  # fmt: skip
    runs = [{"machine": kept.speeds[0].machine, "rows": [row]} for row in rows]
    assert calibrate.store(runs, "2026-11-28") == ([f"spread stored: {path}"], [])
    stored = baselines.read(path)
    assert stored is not None
    assert stored.speeds[0].spread == calibrate.measure(rows, "2026-11-28")[0]

    for row in rows:  # Its model has other weights now.
        row["verdicts"] = {"accuracy": {"word": "STALE", "text": ""}}
    assert calibrate.store(runs, "2026-11-29") == ([], [])
    with pytest.raises(UsageError, match="none of 3 timed rows has a baseline of this model and kind of machine"):
        calibrate._check_recorded({"device": "cpu", "rows": rows}, [])
    for row in rows:
        row["verdicts"] = {}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(baselines, "write", full)
    assert calibrate.store(runs, "2026-11-28") == ([], [f"spread not stored: {path}: No space left on device"])


def test_baselines_that_cannot_be_written_are_refused_after_the_first_run() -> None:
    row = {"seconds": 1.0, "baseline": {"path": "/dev/null/fp32.json", "recorded_here": True}, "verdicts": {}}
    with pytest.raises(UsageError, match="the baselines folder /dev/null cannot be written"):
        calibrate._check_recorded({"device": "cpu", "rows": [row]}, [])
