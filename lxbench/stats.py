"""Paired bootstraps over clips: ratios of times, shifts of error rates. Pure.

What is drawn is the clip: it is what a corpus has many of, and what differs most within it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from statistics import NormalDist, variance
from typing import Any

CONFIDENCE = 0.95
# Of the interval of a change: it is held against a limit on one side, and 5 % there is what a test of non-inferiority
# allows (Schuirmann 1987, doi 10.1007/BF01068419).
CHANGE_CONFIDENCE = 0.90
# The share of runs in which a row is said to be slower that is not, all rows together; as for faster.
RUN_ALARMS = 0.01
MIN_CLIPS = 3  # Below, an interval means nothing.
_ROUNDING = 1e-12
_RESAMPLES = 9999
_SEED = 0  # An interval is a function of its data alone.

# By clip id, seconds of fp32 and seconds of the variant, one pair a round.
Pairs = Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Timing:
    """What was timed of a variant beside fp32.

    Attributes:
        ratios: seconds of fp32 by seconds of the variant, by clip id.
        reference: seconds of fp32, by clip id.
        processes, occasions: in how many processes of either side, and on how many occasions, minutes apart: as many as
            would, equally timed, be as sure, see ``effective``.
        noise: standard error of the mean logarithm of the ratios that is due to single timings; infinite where no clip
            was timed twice, and so for what was read from a file.
    """

    ratios: Mapping[str, float] = field(default_factory=dict)
    reference: Mapping[str, float] = field(default_factory=dict)
    processes: float = 1.0
    occasions: float = 1.0
    noise: float = field(default=math.inf, compare=False)


@dataclass(frozen=True)
class Change:
    """By what factor something has changed between two runs, clip by clip.

    Attributes:
        plain: the factor with its 90 % interval.
        strict: the same at the level at which all comparisons of a run together are wrong in 1 run of 100.
        spread: standard deviation over clips of the factor's logarithm: 0.15 means that one clip says little more than
            "within 15 %".
        apart: how far the two would be apart with nothing changed, see ``change``.
        lasting: the part of ``apart`` that no further timing makes smaller.
        drift: by what factor the reference itself takes longer than it did; what that may do to a ratio is in the
            intervals.
    """

    plain: Interval
    strict: Interval
    spread: float
    apart: float = 0.0
    lasting: float = 0.0
    drift: float = 1.0


@dataclass(frozen=True)
class Shift:
    """How far an error rate is from another one on the same clips, and how surely.

    Attributes:
        rate: the difference in absolute points with its 95 % interval; positive is worse.
        chance: share of resampled corpora that show the contrary, or nothing: a one-sided p-value.
        worse, better: clips with more edits, with fewer.
        needed: clips of this kind after which a difference of this size would no longer be chance (its 95 % interval
            would exclude 0); None where the two are equal.
    """

    rate: Interval
    chance: float
    worse: int
    better: int
    needed: int | None


def timing(pairs: Pairs, processes: float = 1.0, occasions: float = 1.0) -> Timing:
    """What pairs of timings show, clip by clip: geometric means over the rounds of each."""

    def mean(values: Iterable[float]) -> float:
        logs = [math.log(value) for value in values]
        return math.exp(sum(logs) / len(logs))

    heard = {id: rounds for id, rounds in pairs.items() if rounds}
    return Timing(
        {id: mean(reference / variant for reference, variant in rounds) for id, rounds in heard.items()},
        {id: mean(reference for reference, _ in rounds) for id, rounds in heard.items()},
        processes,
        occasions,
        _noise([[math.log(reference / variant) for reference, variant in rounds] for rounds in heard.values()]),
    )


def _noise(rounds: Sequence[Sequence[float]]) -> float:
    """From what the rounds of a clip differ by: clips differ by more than noise."""
    again = [logs for logs in rounds if len(logs) > 1]
    if not again:
        return math.inf
    squares = sum((len(logs) - 1) * variance(logs) for logs in again)
    single = squares / sum(len(logs) - 1 for logs in again)
    return math.sqrt(single * sum(1 / len(logs) for logs in rounds)) / len(rounds)


def timing_of(row: Mapping[str, Any]) -> Timing:
    """The same of a row as it stands in results.json."""
    pairs = {clip["id"]: clip["pairs"] for clip in row["clips"]}
    return timing(pairs, row["processes"], row.get("occasions", 1.0))


def effective(counts: Sequence[int]) -> float:
    """How many groups of one size say as much of what differs between groups as these do: Kish's effective size."""
    return sum(counts) ** 2 / sum(count * count for count in counts) if any(counts) else 1.0


def drift(now: Mapping[str, float], then: Mapping[str, float]) -> float:
    """By what factor the same clips take longer now: the geometric mean; 1 where the two have no clip in common."""
    shared = [math.log(now[id] / then[id]) for id in now if id in then]
    return math.exp(sum(shared) / len(shared)) if shared else 1.0


def mean_ratio(ratios: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The geometric mean of ratios, one a clip, with its interval.

    The interval is a bias-corrected and accelerated bootstrap (Efron 1987) of the mean log ratio, clips being what is
    drawn; the geometric mean, because one clip disturbed by another process must not decide. A bootstrap of few clips
    is too narrow: its level is expanded to that of Student's t (Hesterberg 2015, doi 10.1080/00031305.2015.1089789).

    Raises:
        ValueError: fewer than ``MIN_CLIPS`` clips.
    """
    if len(ratios) < MIN_CLIPS:
        raise ValueError(f"{len(ratios)} ratios, at least {MIN_CLIPS} make an interval")
    return _bootstrapped(tuple(ratios), confidence)


@lru_cache(maxsize=1024)  # Undecided rows are asked about again and again, and one takes 10 to 20 ms.
def _bootstrapped(ratios: tuple[float, ...], confidence: float) -> Interval:
    import numpy as np
    from scipy.stats import bootstrap, norm, t

    size = len(ratios)
    logs = np.log(np.asarray(ratios))
    value = float(np.exp(logs.mean()))
    if np.ptp(logs) < _ROUNDING:  # BCa's acceleration would divide by zero.
        return Interval(value, value, value)
    expanded = 1 - 2 * norm.cdf(-math.sqrt(size / (size - 1)) * t.ppf((1 + confidence) / 2, size - 1))
    result = bootstrap(
        (logs,),
        np.mean,
        n_resamples=_RESAMPLES,
        confidence_level=expanded,
        method="BCa",
        rng=np.random.default_rng(_SEED),
    )
    low, high = result.confidence_interval
    return Interval(value, float(np.exp(low)), float(np.exp(high)))


def _strict_mean(ratios: Sequence[float], confidence: float) -> Interval:
    """The same by Student's t: far out, where resamples of a few clips do not reach."""
    import numpy as np
    from scipy.stats import t

    logs = np.log(np.asarray(ratios))
    middle = float(logs.mean())
    half = float(t.ppf((1 + confidence) / 2, len(logs) - 1) * logs.std(ddof=1)) / math.sqrt(len(logs))
    return Interval(*(math.exp(middle + sign * half) for sign in (0, -1, 1)))


def change(
    now: Mapping[str, float], then: Mapping[str, float], comparisons: int = 1, apart: float = 0.0
) -> Change | None:
    """By what factor ratios (or seconds) have changed over the clips that both runs know; None for too few of them.

    Pairing the clips takes out what makes one clip's ratio differ from another's (a long one decodes more), which
    is most of the spread and is the same now as then. The noise of both sides is in the interval.

    Args:
        now: a positive value for each clip.
        then: the same of the earlier run.
        comparisons: how many rows are compared in the same run: ``strict`` is at 1 - 2 * 0.01 / n (Bonferroni).
        apart: how far the two would be apart with nothing changed, for reasons that clips cannot show, as the standard
            deviation of the logarithm; no number of clips makes it smaller.
    """
    import numpy as np

    shared = [id for id in now if id in then]
    if len(shared) < MIN_CLIPS:
        return None
    factors = [now[id] / then[id] for id in shared]
    strict = 1 - 2 * RUN_ALARMS / max(1, comparisons)
    return Change(
        _widened(mean_ratio(factors, CHANGE_CONFIDENCE), CHANGE_CONFIDENCE, apart),
        _widened(_strict_mean(factors, strict), strict, apart),
        float(np.std(np.log(factors), ddof=1)),
        apart,
    )


def extremes(changed: Change) -> tuple[Interval, Interval]:
    """The change as it would be at the lowest and at the highest, were all timed that can be.

    What then remains of the interval is ``Change.lasting``; its middle is within the rest of what it is now, taken at
    99 %: what is given up for good should not be given up by chance.
    """
    plain = changed.plain
    half = _two_sided(CHANGE_CONFIDENCE)

    def rest(side: float) -> float:
        return math.sqrt(max(0.0, (side / half) ** 2 - changed.lasting**2)) * _two_sided(0.99)

    def around(middle: float) -> Interval:
        return _widened(Interval(middle, middle, middle), CHANGE_CONFIDENCE, changed.lasting)

    down, up = rest(math.log(plain.value / plain.low)), rest(math.log(plain.high / plain.value))
    return around(plain.value * math.exp(-down)), around(plain.value * math.exp(up))


def inverse(changed: Change) -> Change:
    """The change of the reciprocal: of seconds where ``changed`` is of speeds."""

    def turned(interval: Interval) -> Interval:
        return Interval(1 / interval.value, 1 / interval.high, 1 / interval.low)

    return replace(changed, plain=turned(changed.plain), strict=turned(changed.strict))


def _widened(interval: Interval, confidence: float, apart: float) -> Interval:
    """Add what clips do not show to an interval, in quadrature on the log scale: the two are independent."""
    extra = apart * _two_sided(confidence)
    down = math.hypot(math.log(interval.value / interval.low), extra)
    up = math.hypot(math.log(interval.high / interval.value), extra)
    return Interval(interval.value, interval.value * math.exp(-down), interval.value * math.exp(up))


def _two_sided(confidence: float) -> float:
    """Half the width of a normal interval, in standard deviations."""
    return NormalDist().inv_cdf((1 + confidence) / 2)


def process_spread(runs: Sequence[Mapping[str, float]]) -> float:
    """Standard deviation between equal runs of what all clips of a run share, the noise of single clips taken out.

    A two-way analysis of variance, runs by clips, both random: the variance between the means of runs is that of the
    processes and, divided by the number of clips, that of single timings (Searle, Casella & McCulloch 1992, ch. 4).

    Args:
        runs: for each run a value (a logarithm) by clip; the clips that all runs know count.

    Raises:
        ValueError: fewer than two runs, or than two clips that all of them know.
    """
    import numpy as np

    shared = [id for id in runs[0] if all(id in run for run in runs)] if runs else []
    if len(runs) < 2 or len(shared) < 2:
        raise ValueError(f"{len(runs)} runs with {len(shared)} clips in common, at least 2 of each make a spread")
    values = np.array([[run[id] for id in shared] for run in runs])
    means = values.mean(axis=1)
    residual = values - means[:, None] - values.mean(axis=0) + values.mean()
    single = float((residual**2).sum()) / ((len(runs) - 1) * (len(shared) - 1))
    return math.sqrt(max(0.0, float(means.var(ddof=1)) - single / len(shared)))


def shift(now: Sequence[int], then: Sequence[int], units: Sequence[int]) -> Shift:
    """How far a corpus rate moved: a paired bootstrap over clips (Bisani & Ney 2004).

    Args:
        now: edits of each clip.
        then: the same of what it is compared with, in the same order.
        units: reference words or characters of each clip.
    """
    import numpy as np

    extra, size = np.asarray(now) - np.asarray(then), np.asarray(units)
    value = float(extra.sum() / size.sum())
    worse, better = int((extra > 0).sum()), int((extra < 0).sum())
    room = 3 / float(size.sum())  # That none of n differs leaves room for 3 / n (the rule of three), one edit each.
    if not worse and not better:
        return Shift(Interval(0.0, -room, room), 1.0, 0, 0, None)
    generator = np.random.default_rng(_SEED)
    drawn = generator.integers(len(extra), size=(_RESAMPLES, len(extra)))
    rates = extra[drawn].sum(axis=1) / size[drawn].sum(axis=1)
    low, high = map(float, np.quantile(rates, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]))
    low, high = low if better else min(low, value - room), high if worse else max(high, value + room)
    contrary = rates <= 0 if value >= 0 else rates >= 0
    # A few clips that all moved one way are no surer than so many coins that fell on one side.
    chance = max(float((contrary.sum() + 1) / (_RESAMPLES + 1)), 0.5 ** (worse + better))
    return Shift(Interval(value, low, high), chance, worse, better, _needed(rates, value, len(extra)))


def _needed(rates: Any, value: float, clips: int) -> int | None:
    """Clips at which the interval of the shift would exclude 0, were its size and spread to stay."""
    if value == 0 or rates.min() == rates.max():  # Of equal numbers, too, a standard deviation may be 1e-17.
        return None
    return math.ceil(clips * (1.96 * float(rates.std()) / value) ** 2)
