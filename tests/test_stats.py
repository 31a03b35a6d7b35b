from __future__ import annotations

import numpy as np
import pytest

from lxbench import stats


def test_the_ratio_is_the_geometric_mean_over_clips() -> None:
    ratio = stats.speed_ratio([1.0, 2.0, 4.0], [0.5, 1.0, 1.0])
    assert ratio.value == pytest.approx((2 * 2 * 4) ** (1 / 3))
    assert ratio.low <= ratio.value <= ratio.high


def test_equal_ratios_have_an_interval_of_no_width() -> None:
    ratio = stats.speed_ratio([1.0, 2.0, 3.0], [0.5, 1.0, 1.5])
    assert (ratio.low, ratio.value, ratio.high) == pytest.approx((2.0, 2.0, 2.0))


def test_the_same_timings_give_the_same_interval() -> None:
    generator = np.random.default_rng(1)
    reference, variant = generator.uniform(0.5, 0.7, 30).tolist(), generator.uniform(0.2, 0.3, 30).tolist()
    assert stats.speed_ratio(reference, variant) == stats.speed_ratio(reference, variant)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(2)
    covered = 0
    for _ in range(200):
        base = generator.uniform(0.4, 0.8, 40)
        noise = np.exp(generator.normal(0, 0.05, 40))
        ratio = stats.speed_ratio((2 * base * noise).tolist(), base.tolist())
        covered += ratio.low <= 2.0 <= ratio.high
    assert 0.88 <= covered / 200 <= 0.99


@pytest.mark.parametrize(("reference", "variant"), [([1.0, 1.0], [1.0, 1.0]), ([1.0] * 4, [1.0] * 3), ([], [])])
def test_too_few_or_unequal_timings_are_refused(reference: list[float], variant: list[float]) -> None:
    with pytest.raises(ValueError, match="timings"):
        stats.speed_ratio(reference, variant)
