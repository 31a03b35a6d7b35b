"""From decoded audio to text: features, greedy generation, decoding of tokens."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from lxbench.errors import CorpusError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lxbench.models import Loaded

SAMPLE_RATE = 16_000
HOP = 160  # samples between two frames of features
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
    """

    text: str
    tokens: int
    seconds: float
    parts: Mapping[str, float] = field(default_factory=dict)


def transcribe(loaded: Loaded, audio: NDArray[np.float32], language: str) -> Transcript:
    """Transcribe one clip: batch 1, greedy, no temperature fallback, no timestamps.

    Args:
        loaded: the model with its tokenizer and feature extractor.
        audio: mono samples in [-1, 1] at 16 kHz, shape (samples,), at most 30 s.
        language: Whisper's code of the spoken language, such as ``ru``.
    """
    import torch

    synchronize(loaded.model.device)
    marks = [time.perf_counter()]
    with torch.inference_mode():
        features = extract(loaded, audio)
        marks.append(time.perf_counter())
        hidden = encode(loaded, features)
        marks.append(time.perf_counter())
        ids = decode(loaded, hidden, language)
        marks.append(time.perf_counter())
    text = loaded.tokenizer.decode(ids, skip_special_tokens=True).strip()
    marks.append(time.perf_counter())
    special = set(loaded.tokenizer.all_special_ids)
    parts = {name: end - start for name, (start, end) in zip(PARTS, pairwise(marks), strict=True)}
    return Transcript(text, sum(id not in special for id in ids), marks[-1] - marks[0], parts)


def window(model: Any) -> int:
    """Samples that a model hears at once: 30 s unless its positions were cut."""
    return int(model.config.max_source_positions * 2 * HOP)  # The encoder halves the frames.


def features_for(model: Any, extractor: Any, audio: NDArray[np.float32]) -> Any:
    """Log-mel features of one clip, padded or cut to what a model hears, on its device and in its type."""
    features = extractor(audio, sampling_rate=SAMPLE_RATE, max_length=window(model), return_tensors="pt").input_features
    return features.to(model.device, model.dtype)


def extract(loaded: Loaded, audio: NDArray[np.float32]) -> Any:
    """Log-mel features of one clip, shape (1, mel bands, frames), on the model's device and in its type.

    Raises:
        CorpusError: the clip is longer than what the model hears.
    """
    samples = window(loaded.model)
    if len(audio) > samples:
        raise CorpusError(
            f"a clip of {len(audio) / SAMPLE_RATE:.1f} s for a model that hears {samples / SAMPLE_RATE:g} s",
            expected="clips no longer than what the row keeps, see prune_positions in lxbench/variants.py",
            command="nox -s bench-cpu -- -k 'not structured'",
        )
    features = features_for(loaded.model, loaded.feature_extractor, audio)
    synchronize(loaded.model.device)
    return features


def encode(loaded: Loaded, features: Any) -> Any:
    """The encoder's pass, as ``generate`` makes it."""
    output = loaded.model.get_encoder()(features, return_dict=True)
    synchronize(loaded.model.device)
    return output


def decode(loaded: Loaded, hidden: Any, language: str) -> list[int]:
    """Greedy decoding from the encoder's output; the tokens are on the CPU, so a CUDA device is done."""
    ids: list[int] = loaded.model.generate(
        encoder_outputs=hidden,
        logits_processor=[_Suppression(loaded)],
        num_beams=1,
        do_sample=False,
        return_timestamps=False,
        **prompt_for(loaded.model, language),
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


def prompt_for(model: Any, language: str) -> dict[str, str]:
    """What ``generate`` is told of the task."""
    # English-only checkpoints have no language tokens and refuse both arguments.
    if not getattr(model.generation_config, "is_multilingual", True):
        return {}
    return {"language": language, "task": "transcribe"}
