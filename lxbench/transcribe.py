"""From decoded audio to text: features, greedy generation, decoding of tokens."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lxbench.models import Loaded

SAMPLE_RATE = 16_000


@dataclass(frozen=True)
class Transcript:
    """What a variant said to one clip.

    Attributes:
        text: the transcript as the tokenizer spells it.
        tokens: text tokens generated, special ones not counted.
        seconds: wall time from audio in memory to text.
    """

    text: str
    tokens: int
    seconds: float


def transcribe(loaded: Loaded, audio: NDArray[np.float32], language: str) -> Transcript:
    """Transcribe one clip: batch 1, greedy, no temperature fallback, no timestamps.

    Args:
        loaded: the model with its tokenizer and feature extractor.
        audio: mono samples in [-1, 1] at 16 kHz, shape (samples,), at most 30 s.
        language: Whisper's code of the spoken language, such as ``ru``.
    """
    import torch

    device = loaded.model.device
    synchronize(device)
    start = time.perf_counter()
    with torch.inference_mode():
        ids = _generate(loaded, language, input_features=extract(loaded, audio))
    text = loaded.tokenizer.decode(ids, skip_special_tokens=True).strip()
    synchronize(device)
    seconds = time.perf_counter() - start
    special = set(loaded.tokenizer.all_special_ids)
    return Transcript(text, sum(id not in special for id in ids), seconds)


def extract(loaded: Loaded, audio: NDArray[np.float32]) -> Any:
    """Log-mel features of one clip, shape (1, mel bands, frames), on the model's device and in its type."""
    features = loaded.feature_extractor(audio, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
    return features.to(loaded.model.device, loaded.model.dtype)


def encode(loaded: Loaded, features: Any) -> Any:
    """The encoder alone, as ``generate`` calls it; for profiles."""
    output = loaded.model.get_encoder()(features, return_dict=True)
    synchronize(loaded.model.device)
    return output


def decode(loaded: Loaded, hidden: Any, language: str) -> list[int]:
    """Greedy decoding alone, from the encoder's output; for profiles."""
    ids = _generate(loaded, language, encoder_outputs=hidden)
    synchronize(loaded.model.device)
    return ids


def _generate(loaded: Loaded, language: str, **inputs: Any) -> list[int]:
    ids: list[int] = loaded.model.generate(
        **inputs,
        logits_processor=[_Suppression(loaded)],
        num_beams=1,
        do_sample=False,
        return_timestamps=False,
        **_prompt(loaded.model, language),
    )[0].tolist()
    return ids


class _Suppression:
    """Sets the scores of suppressed tokens to minus infinity: the two processors of ``generate`` in one mask.

    Made anew for every clip, because the first token of a clip has more of them.
    """

    def __init__(self, loaded: Loaded) -> None:
        self._always, self._first = list(loaded.suppressed), list(loaded.suppressed_first)
        self._mask: Any = None

    def __call__(self, _: Any, scores: Any) -> Any:
        import torch

        if self._mask is None:
            self._mask = torch.zeros_like(scores[:1])
            self._mask[:, self._always] = -torch.inf
            first = self._mask.clone()
            first[:, self._first] = -torch.inf
            return scores + first
        return scores + self._mask


def synchronize(device: Any) -> None:
    """Wait for a CUDA device, which otherwise answers before it is done."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


def _prompt(model: Any, language: str) -> dict[str, str]:
    # English-only checkpoints have no language tokens and refuse both arguments.
    if not getattr(model.generation_config, "is_multilingual", True):
        return {}
    return {"language": language, "task": "transcribe"}
