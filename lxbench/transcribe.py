"""From decoded audio to text: features, greedy generation, decoding of tokens."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lxbench.families import Loaded

PARTS = ("features", "encoder", "decoder", "rest")


@dataclass(frozen=True)
class Transcript:
    """What a variant said to one clip.

    Attributes:
        text: the transcript as the tokenizer spells it.
        tokens: text tokens generated, special ones not counted.
        seconds: wall time from audio in memory to text.
        parts: what ``seconds`` is made of, by the names in ``PARTS``: log-mel features, the encoder's pass, the
            decoder's passes with the choice of tokens, and the spelling of the text.
        positions: of the encoder's output that the decoder looked at; 0 where another engine keeps it.
    """

    text: str
    tokens: int
    seconds: float
    parts: Mapping[str, float] = field(default_factory=dict)
    positions: int = 0


def transcribe(loaded: Loaded, audio: NDArray[np.float32], language: str) -> Transcript:
    """Transcribe one clip: batch 1, greedy, no temperature fallback, no timestamps.

    Args:
        loaded: the model with its tokenizer and feature extractor.
        audio: mono samples in [-1, 1] at 16 kHz, shape (samples,), at most 30 s.
        language: Whisper's code of the spoken language, such as ``ru``.
    """
    return transcribe_batch(loaded, [audio], language)[0]


def transcribe_batch(loaded: Loaded, audio: Sequence[NDArray[np.float32]], language: str) -> list[Transcript]:
    """Transcribe clips at once, each as ``transcribe`` does; the seconds of each are its share of the whole.

    Args:
        loaded: the model with its tokenizer and feature extractor.
        audio: samples of each clip.
        language: that is spoken in all of them.
    """
    import torch

    family, device = loaded.family, loaded.model.device
    synchronize(device)
    start = time.perf_counter()
    marks = _Marks(device)
    with torch.inference_mode():
        marks.set()
        features = family.extract(loaded, audio)
        marks.set()
        hidden = family.encode(loaded, features)
        marks.set()
        texts = family.decode(loaded, hidden, language)
        marks.set()
    spelled = [loaded.tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in texts]
    synchronize(device)
    seconds = time.perf_counter() - start
    special = set(loaded.tokenizer.all_special_ids)
    share = 1 / len(audio)
    between = marks.seconds()
    between.append(max(0.0, seconds - sum(between)))
    parts = {name: share * part for name, part in zip(PARTS, between, strict=True)}
    states = getattr(hidden, "last_hidden_state", None)
    positions = 0 if states is None else states.shape[1]
    return [
        Transcript(text, sum(id not in special for id in ids), share * seconds, parts, positions)
        for text, ids in zip(spelled, texts, strict=True)
    ]


class _Marks:
    """Moments between the parts: of the host's clock, or events of a CUDA device, which then need not be waited for."""

    def __init__(self, device: Any) -> None:
        self._device, self._marks = device, list[Any]()

    def set(self) -> None:
        """The next part begins."""
        if self._device.type != "cuda":
            self._marks.append(time.perf_counter())
            return
        import torch

        event = torch.cuda.Event(enable_timing=True)
        event.record()
        self._marks.append(event)

    def seconds(self) -> list[float]:
        """How long the parts took; of a CUDA device that is done."""
        if self._device.type != "cuda":
            return [end - start for start, end in pairwise(self._marks)]
        return [start.elapsed_time(end) / 1000 for start, end in pairwise(self._marks)]


def synchronize(device: Any) -> None:
    """Wait for a CUDA device, which otherwise answers before it is done."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)
