"""The clips that a step may look at while it builds a variant; never those of the benchmark.

A step is a function of the model alone. What some need beside it, recorded speech to observe activations on, is set by
the builder around all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lxbench import kept
from lxbench.corpus import CALIBRATION
from lxbench.corpus.audio import SAMPLE_RATE, read_audio
from lxbench.errors import StepError
from lxbench.families.whisper import features_for, prompt_for

_clips: ContextVar[tuple[Path, ...]] = ContextVar("calibration clips", default=())
_asked: ContextVar[set[Path]] = ContextVar("those that a step has asked for")
_language: ContextVar[str] = ContextVar("their language", default="ru")


@dataclass(frozen=True)
class Recording:
    """One calibration clip as a model hears it.

    Attributes:
        features: log-mel features, shape (1, mel bands, frames), padded to the model's window.
        seconds: duration of the clip itself.
    """

    features: Any
    seconds: float


@contextmanager
def clips(paths: Sequence[Path], language: str = "ru") -> Iterator[set[Path]]:
    """Give steps the audio files to calibrate on, and the language spoken there; yield those that they ask for."""
    asked: set[Path] = set()
    tokens = _clips.set(tuple(paths)), _asked.set(asked), _language.set(language)
    try:
        yield asked
    finally:
        _clips.reset(tokens[0])
        _asked.reset(tokens[1])
        _language.reset(tokens[2])


def fingerprint() -> str:
    """Digest of the calibration clips and of the language spoken there."""
    _asked.get(set()).update(_clips.get())
    return f"{kept.sha256(*_clips.get())} {_language.get()}"


def prompt(model: Any) -> dict[str, str]:
    """What ``generate`` is told of the language of the calibration clips."""
    return prompt_for(model, _language.get())


def recordings(model: Any) -> Iterator[Recording]:
    """Yield every calibration clip, on the model's device and in its type.

    Args:
        model: a Whisper; its configuration says how many mel bands and positions it wants.

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
    _asked.get(set()).update(_clips.get())
    for path in _clips.get():
        audio = read_audio(path)
        yield Recording(features_for(model, extract, audio), len(audio) / SAMPLE_RATE)
