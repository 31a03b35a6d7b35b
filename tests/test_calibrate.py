from __future__ import annotations

import numpy as np
import pytest

from lxbench import calibrate


def test_equal_runs_are_measured() -> None:
    generator = np.random.default_rng(1)

    def clip(number: int, day: float) -> dict[str, object]:
        return {"id": str(number), "pairs": [(day * 1.0, day * 0.5 * np.exp(generator.normal(0, 0.1)))]}

    rows = [
        {"seconds": 0.5 * day, "reference": False, "processes": 1, "clips": [clip(number, day) for number in range(50)]}
        for day in np.exp(generator.normal(0, 0.05, 30))
    ]
    spread, apart = calibrate.measure(rows, "2026-11-24")
    assert apart == pytest.approx(0.1 / np.sqrt(50), rel=0.3)
    assert spread.ratio < 0.01  # slow days slow both down
    assert spread.seconds == pytest.approx(0.05, rel=0.3)
    assert (spread.runs, spread.recorded) == (30, "2026-11-24")


@pytest.mark.parametrize(("apart", "tolerance"), [(0.0, 0.01), (0.001, 0.01), (0.004, 0.02), (0.03, 0.11)])
def test_a_tolerance_is_proposed_that_an_unchanged_variant_passes(apart: float, tolerance: float) -> None:
    assert calibrate.proposed_tolerance(apart) == pytest.approx(tolerance)


def test_the_reference_has_a_spread_of_seconds_alone() -> None:
    rows = [{"seconds": seconds, "reference": True, "clips": []} for seconds in (1.0, 1.1, 0.9)]
    spread, apart = calibrate.measure(rows, "2026-11-24")
    assert (spread.ratio, apart) == (0.0, 0.0)
    assert spread.seconds == pytest.approx(0.1, rel=0.05)
