"""Small values that several test modules build on."""

from __future__ import annotations

from lxbench.baselines import Baseline, ClipRecord, Speed
from lxbench.score import Counts
from lxbench.stats import Interval, Timing

MODEL = "a" * 64
SPEED = Speed(
    Interval(1.9, 1.8, 2.0),
    0.25,
    900.0,
    {"isa": ["avx2"], "threads": 2},
    "2026-11-23",
    Timing({"one": 1.9}, {"one": 0.5}, 4),
)
CLIP = ClipRecord("one", "f1", "раз, два «три»", 7, Counts(3, 1, 11, 2))


def baseline(*clips: ClipRecord, variant: str = "bf16") -> Baseline:
    """A baseline over the clips given, by default over one."""
    return Baseline(
        variant=variant,
        device="cpu",
        model={"spec": "embedded", "fingerprint": MODEL},
        corpus={"name": "ivr-ru", "fingerprint": "c"},
        language="ru",
        normalizer="russian/1",
        clips=clips or (CLIP,),
        raw_wer=0.5,
        raw_cer=0.25,
        size_mib=138.5,
        speeds=(SPEED,),
        versions={"torch": "2.13.0"},
        recorded="2026-11-23",
    )
