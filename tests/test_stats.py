from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t as student

from lxbench import stats


def test_a_clip_heard_several_times_counts_once() -> None:
    pairs = {"one": [(1.0, 0.5), (1.0, 2.0)], "two": [(3.0, 1.0)], "never": []}
    timed = stats.timing(pairs, processes=2)
    assert timed.ratios == {"one": pytest.approx(1.0), "two": pytest.approx(3.0)}
    assert timed.reference == {"one": pytest.approx(1.0), "two": pytest.approx(3.0)}
    assert timed.processes == 2


def test_the_noise_of_a_mean_follows_from_what_the_rounds_of_a_clip_differ_by() -> None:
    assert stats.timing({"one": [(1.0, 0.5)], "two": [(9.0, 0.5)]}).noise == math.inf
    generator = np.random.default_rng(2)

    def noise(rounds: int, again: int) -> float:
        """Of 96 clips that differ by far more than the 5 % of a timing, some of them heard again."""
        own = np.exp(generator.normal(0, 0.5, 96))
        heard = {
            str(n): [(ratio * np.exp(generator.normal(0, 0.05)), 1.0) for _ in range(rounds if n < again else 1)]
            for n, ratio in enumerate(own)
        }
        return stats.timing(heard).noise

    assert noise(2, 96) == pytest.approx(0.05 / math.sqrt(2 * 96), rel=0.3)
    assert noise(3, 96) == pytest.approx(0.05 / math.sqrt(3 * 96), rel=0.3)
    assert noise(2, 48) == pytest.approx(0.05 * math.sqrt(48 / 2 + 48) / 96, rel=0.35)


def test_the_ratio_is_the_geometric_mean_over_clips() -> None:
    ratio = stats.mean_ratio([2.0, 2.0, 4.0])
    assert ratio.value == pytest.approx((2 * 2 * 4) ** (1 / 3))
    assert ratio.low <= ratio.value <= ratio.high


def test_equal_ratios_have_an_interval_of_no_width() -> None:
    ratio = stats.mean_ratio([2.0, 2.0, 2.0])
    assert (ratio.low, ratio.value, ratio.high) == pytest.approx((2.0, 2.0, 2.0))


def test_the_same_ratios_give_the_same_interval() -> None:
    ratios = np.random.default_rng(1).uniform(1.5, 2.5, 30).tolist()
    first = stats.mean_ratio(ratios)
    stats._bootstrapped.cache_clear()
    assert stats.mean_ratio(ratios) == first
    moved = stats.shift([1] * 7 + [0] * 23, [0] * 25 + [1] * 5, [6] * 30)
    assert stats.shift([1] * 7 + [0] * 23, [0] * 25 + [1] * 5, [6] * 30) == moved


@pytest.mark.parametrize("clips", [8, 24])
def test_the_interval_covers_the_truth_as_often_as_it_says(clips: int) -> None:
    generator = np.random.default_rng(2)
    covered = 0
    for _ in range(300):
        ratio = stats.mean_ratio((2 * np.exp(generator.normal(0, 0.05, clips))).tolist())
        covered += ratio.low <= 2.0 <= ratio.high
    assert 0.92 <= covered / 300 <= 0.98


@pytest.mark.parametrize("ratios", [[], [1.0], [1.0, 1.0]])
def test_too_few_clips_are_refused(ratios: list[float]) -> None:
    with pytest.raises(ValueError, match="make an interval"):
        stats.mean_ratio(ratios)


def test_a_change_is_paired_by_clip() -> None:
    """Clips that differ among themselves by a factor of four have all changed by 5 %, give or take half of one."""
    generator = np.random.default_rng(3)
    then = {str(number): ratio for number, ratio in enumerate(generator.uniform(1.0, 4.0, 24))}
    now = {id: 0.95 * ratio * np.exp(generator.normal(0, 0.005)) for id, ratio in then.items()}
    changed = stats.change({**now, "only now": 9.0}, {**then, "only then": 9.0})
    assert changed is not None
    assert changed.plain.value == pytest.approx(0.95, abs=0.003)
    assert changed.plain.high - changed.plain.low < 0.01
    assert changed.strict.low < changed.plain.low < changed.plain.high < changed.strict.high
    assert changed.spread == pytest.approx(0.005, rel=0.5)


@pytest.mark.parametrize("comparisons", [1, 5, 30])
def test_the_level_of_a_run_is_shared_by_its_comparisons(comparisons: int) -> None:
    logs = np.random.default_rng(7).normal(0, 0.05, 8)
    then = {str(number): 1.0 for number in range(8)}
    changed = stats.change(dict(zip(then, np.exp(logs), strict=True)), then, comparisons)
    assert changed is not None
    half = student.ppf(1 - 0.01 / comparisons, 7) * logs.std(ddof=1) / math.sqrt(8)
    assert math.log(changed.strict.value / changed.strict.low) == pytest.approx(half)
    assert math.log(changed.strict.high / changed.strict.value) == pytest.approx(half)


def test_all_comparisons_of_a_run_together_are_hardly_ever_wrong() -> None:
    """In 300 runs of 5 rows over 8 clips, nothing changed, about 3 have a row whose strict interval leaves out 1."""
    generator = np.random.default_rng(6)
    then = {str(number): 1.0 for number in range(8)}
    wrong = 0
    for _ in range(300):
        runs = np.exp(generator.normal(0, 0.05, (5, 8)))
        changes = [stats.change(dict(zip(then, row, strict=True)), then, comparisons=5) for row in runs]
        wrong += any(changed is not None and changed.strict.high < 1 for changed in changes)
    assert wrong <= 9


def test_what_equal_runs_differ_by_widens_the_interval() -> None:
    then, still = {"a": 1.0, "b": 2.0, "c": 3.0}, stats.Interval(1.0, 1.0, 1.0)
    apart = stats.change(then, then, apart=0.01)
    assert apart is not None
    assert apart.plain.high == pytest.approx(np.exp(1.645 * 0.01), rel=1e-4)
    assert stats.change(then, then) == stats.Change(still, still, 0.0)


def test_further_timings_leave_what_lasts_around_a_middle_that_they_move() -> None:
    then = {"a": 1.0, "b": 2.0, "c": 3.0}
    known = stats.change(then, then, apart=0.05)
    assert known is not None
    z, rest = 1.645, 2.576 * 0.04
    low, high = stats.extremes(replace(known, lasting=0.03))
    assert np.log([low.low, low.value, low.high]) == pytest.approx(
        [-rest - 0.03 * z, -rest, -rest + 0.03 * z], rel=1e-3
    )
    assert np.log([high.low, high.value, high.high]) == pytest.approx(
        [rest - 0.03 * z, rest, rest + 0.03 * z], rel=1e-3
    )
    # Nothing else is unsure: they move nothing.
    for end in stats.extremes(replace(known, lasting=0.05)):
        assert (end.low, end.value, end.high) == pytest.approx((known.plain.low, 1.0, known.plain.high))
    # Nor where it is the whole, and rounded up.
    assert stats.extremes(replace(known, lasting=0.0500001))[0].value == 1.0


def test_the_spread_of_processes_is_told_from_the_noise_of_clips() -> None:
    generator = np.random.default_rng(5)
    own = generator.normal(0, 0.5, 96)  # clips differ, in all runs alike

    def runs(process: float) -> list[dict[str, float]]:
        shared = generator.normal(0, process, 40)
        return [{str(n): v for n, v in enumerate(own + each + generator.normal(0, 0.1, 96))} for each in shared]

    assert stats.process_spread(runs(0.03)) == pytest.approx(0.03, rel=0.35)
    assert stats.process_spread(runs(0.0)) < 0.006


@pytest.mark.parametrize("runs", [[], [{"a": 1.0, "b": 2.0}], [{"a": 1.0}, {"a": 2.0}], [{"a": 1.0}, {"b": 1.0}]])
def test_a_spread_needs_runs_and_clips(runs: list[dict[str, float]]) -> None:
    with pytest.raises(ValueError, match="make a spread"):
        stats.process_spread(runs)


def test_a_change_needs_clips_in_common() -> None:
    assert stats.change({"a": 1.0, "b": 1.0, "c": 1.0}, {"a": 1.0, "b": 1.0, "d": 1.0}) is None


def test_a_shift_counts_clips_and_says_how_likely_chance_is() -> None:
    units = [6] * 96
    sure = stats.shift([1] * 12 + [0] * 84, [0] * 96, units)
    assert (sure.worse, sure.better) == (12, 0)
    assert sure.rate.value == pytest.approx(12 / 576)
    assert 0 < sure.rate.low < sure.rate.value < sure.rate.high
    assert sure.chance < 0.001
    assert sure.needed is not None
    assert sure.needed < 96

    doubtful = stats.shift([1] * 7 + [0] * 89, [0] * 91 + [1] * 5, units)
    assert (doubtful.worse, doubtful.better) == (7, 5)
    assert doubtful.rate.low < 0 < doubtful.rate.high
    assert 0.1 < doubtful.chance < 0.6
    assert doubtful.needed is not None
    assert doubtful.needed > 96


def test_nothing_changed_is_no_shift() -> None:
    assert stats.shift([1, 0], [1, 0], [5, 5]) == stats.Shift(stats.Interval(0.0, -0.3, 0.3), 1.0, 0, 0, None)


def test_a_few_clips_that_moved_one_way_are_no_proof() -> None:
    """A bootstrap draws none that moved the other way, be there one clip or ten."""
    one = stats.shift([1], [0], [6])
    assert (one.chance, one.needed) == (0.5, None)
    assert one.rate.low < 0 < one.rate.value < one.rate.high + 1e-9
    three = stats.shift([1, 1, 1], [0, 0, 0], [6] * 3)
    assert three.chance == 0.125
    assert three.rate.low == pytest.approx(1 / 6 - 3 / 18)


def test_that_no_clip_is_worse_leaves_the_room_that_the_rule_of_three_leaves() -> None:
    units = [6] * 24
    same, better = stats.shift([0] * 24, [0] * 24, units), stats.shift([0] * 24, [1] + [0] * 23, units)
    assert same.rate.high == pytest.approx(3 / 144)
    assert better.rate.high == pytest.approx(3 / 144 - 1 / 144)
    assert better.rate.low < better.rate.value == pytest.approx(-1 / 144)
    worse = stats.shift([1] + [0] * 23, [0] * 24, units)
    assert (worse.rate.low, worse.rate.high) == pytest.approx((-better.rate.high, -better.rate.low), abs=0.003)


def test_an_improvement_has_its_chance_too() -> None:
    better = stats.shift([0] * 96, [1] * 12 + [0] * 84, [6] * 96)
    assert (better.worse, better.better) == (0, 12)
    assert better.chance < 0.001


def test_the_inverse_of_a_change_is_that_of_seconds() -> None:
    changed = stats.change({"a": 1.0, "b": 2.1, "c": 3.3}, {"a": 1.0, "b": 2.0, "c": 3.0})
    turned = stats.change({"a": 1.0, "b": 1 / 2.1, "c": 1 / 3.3}, {"a": 1.0, "b": 1 / 2.0, "c": 1 / 3.0})
    assert changed is not None
    assert turned is not None
    assert stats.inverse(changed).strict.low == pytest.approx(turned.strict.low)
    assert stats.inverse(stats.inverse(changed)).plain.high == pytest.approx(changed.plain.high)


def test_the_chance_of_a_shift_is_what_it_says() -> None:
    """One of two systems that are equally good is worse at 5 % in about one of twenty corpora."""
    generator = np.random.default_rng(4)
    said = 0
    for _ in range(200):
        now, then = generator.poisson(0.8, (2, 96))
        moved = stats.shift(now.tolist(), then.tolist(), [6] * 96)
        said += moved.rate.value > 0 and moved.chance < 0.05
    assert 2 <= said <= 20
