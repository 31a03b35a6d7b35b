"""The clips that a step may look at while it builds a variant; never those of the benchmark.

A step is a function of the model alone. What some need beside it, recorded speech to observe activations on, is set by
the builder around all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from lxbench.corpus import CALIBRATION, SAMPLE_RATE, read_audio
from lxbench.errors import StepError

_clips: ContextVar[tuple[Path, ...]] = ContextVar("calibration clips", default=())


@contextmanager
def clips(paths: Sequence[Path]) -> Iterator[None]:
    """Give steps the audio files to calibrate on."""
    token = _clips.set(tuple(paths))
    try:
        yield
    finally:
        _clips.reset(token)


def features(model: Any) -> list[Any]:
    """Log-mel features of every calibration clip, on the model's device and in its type.

    Args:
        model: a Whisper; its configuration says how many mel bands it wants.

    Returns:
        Tensors of shape (1, mel bands, frames), 30 s each.

    Raises:
        StepError: no calibration clips were given.
    """
    from transformers import WhisperFeatureExtractor

    if not _clips.get():
        raise StepError(
            "this step needs calibration clips and was given none",
            expected="a corpus to observe activations on, disjoint from the benchmark's",
            command=f"nox -s bench-cpu -- --lx-calibration {CALIBRATION}",
        )
    extract = WhisperFeatureExtractor(feature_size=model.config.num_mel_bins)
    return [
        extract(read_audio(path), sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features.to(
            model.device, model.dtype
        )
        for path in _clips.get()
    ]
