"""Audio files as a recogniser hears them: mono, 16 kHz. Without torch.

Files are read with soundfile (libsndfile: wav, flac, ogg, opus, mp3, ...): the ``Audio`` column of ``datasets`` would
want torchcodec and FFmpeg.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000


def seconds(path: Path) -> float:
    """How long a recording is, by the header of its file.

    Raises:
        ValueError: unreadable.
    """
    import soundfile

    try:
        told = soundfile.info(path)
    except (OSError, TypeError, soundfile.SoundFileError) as error:  # TypeError: raw samples without a header.
        raise ValueError(f"unreadable audio: {error}") from None
    return told.frames / told.samplerate if told.samplerate else 0.0


def decode(path: Path) -> tuple[NDArray[np.float32], int]:
    """The samples of a file as they were recorded, and their rate.

    Returns:
        Samples in [-1, 1], shape (samples,) or (samples, channels), and how many of them are a second.

    Raises:
        ValueError: unreadable.
    """
    import soundfile

    try:
        audio, rate = soundfile.read(path, dtype="float32")
    except (OSError, TypeError, soundfile.SoundFileError) as error:  # TypeError: raw samples without a header.
        raise ValueError(f"unreadable audio: {error}") from None
    return np.asarray(audio, dtype=np.float32), int(rate)


def mono(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of the channels, shape (samples,), of shape (samples,) or (samples, channels)."""
    return audio if audio.ndim == 1 else audio.mean(axis=1, dtype=np.float32)


def resample(audio: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """Mono samples at 16 kHz: the mean of the channels, through soxr's filter of high quality.

    Args:
        audio: shape (samples,) or (samples, channels).
        rate: samples a second.
    """
    heard = mono(audio)
    if rate == SAMPLE_RATE:
        return heard
    import soxr

    return np.asarray(soxr.resample(heard, rate, SAMPLE_RATE), dtype=np.float32)


def read_audio(path: Path) -> NDArray[np.float32]:
    """Decode a file to mono samples at 16 kHz, shape (samples,).

    Raises:
        ValueError: unreadable.
    """
    return resample(*decode(path))
