"""Paired bootstrap over clips. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
MIN_CLIPS = 3  # Below, an interval means nothing.
_RESAMPLES = 2000
_SEED = 0  # The interval is a function of the timings alone.


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval."""

    value: float
    low: float
    high: float


def speed_ratio(reference: Sequence[float], variant: Sequence[float]) -> Interval:
    """How many times as fast as the reference: geometric mean over clips of seconds / seconds.

    Both sequences hold seconds of the same clips in the same order. The 95 % interval is a bias-corrected and
    accelerated bootstrap (Efron 1987) of the mean log ratio, clips being what is drawn; the geometric mean, because
    one clip disturbed by another process must not decide.

    Raises:
        ValueError: sequences of different length, or fewer than ``MIN_CLIPS`` clips.
    """
    import numpy as np
    from scipy.stats import bootstrap

    if len(reference) != len(variant) or len(reference) < MIN_CLIPS:
        raise ValueError(f"{len(reference)} reference and {len(variant)} variant timings")
    logs = np.log(np.asarray(reference)) - np.log(np.asarray(variant))
    value = float(np.exp(logs.mean()))
    if np.ptp(logs) == 0:  # BCa's acceleration would divide by zero
        return Interval(value, value, value)
    result = bootstrap(
        (logs,),
        np.mean,
        n_resamples=_RESAMPLES,
        confidence_level=CONFIDENCE,
        method="BCa",
        rng=np.random.default_rng(_SEED),
    )
    low, high = result.confidence_interval
    return Interval(value, float(np.exp(low)), float(np.exp(high)))
