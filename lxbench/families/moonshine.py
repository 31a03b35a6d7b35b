"""Moonshine: the samples as they are, as long as they are; an encoder, and a decoder of one language.

Jeffries et al. 2024, https://arxiv.org/abs/2410.15608.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lxbench.corpus.audio import SAMPLE_RATE
from lxbench.families import Family, Loaded, read_whole

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TOGETHER = False  # Every clip is heard as long as it is: several have no common length.
# A decoder that loops would go on for ever: twice what the model's card advises for English.
TOKENS_A_SECOND = 13


def load(folder: Path, device: str) -> Loaded:
    """Load a resolved model in float32 on a device, ready for inference."""
    from transformers import AutoFeatureExtractor, MoonshineForConditionalGeneration

    kind: Any = MoonshineForConditionalGeneration
    model = read_whole(kind, folder)
    return Loaded(
        model.to(device).eval(),
        tokenizer(folder),
        AutoFeatureExtractor.from_pretrained(folder, local_files_only=True),
        cast(Family, sys.modules[__name__]),
    )


@lru_cache(maxsize=1)
def tokenizer(folder: Path) -> Any:
    """The tokenizer of a resolved model."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def check(folder: Path) -> None:
    """Nothing more: every row decodes by ``generate``."""


def languages(folder: Path) -> None:
    """None: a checkpoint hears the language that it was trained on."""


def hears_s(folder: Path) -> float:  # noqa: ARG001 - the same for all
    """As long as a clip may be."""
    return math.inf


def extract(loaded: Loaded, audio: Sequence[NDArray[np.float32]]) -> Any:
    """The samples of one clip, shape (1, samples), on the model's device and in its type."""
    (clip,) = audio
    samples = loaded.feature_extractor(clip, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_values
    return samples.to(loaded.model.device, loaded.model.dtype)


def encode(loaded: Loaded, features: Any) -> Any:
    """The encoder's pass over as many samples as there are, with their count for the decoder's limit."""
    output = loaded.model.model.encoder(features)
    output.samples = features.shape[-1]
    return output


def decode(loaded: Loaded, hidden: Any, language: str) -> list[list[int]]:  # noqa: ARG001 - it has one
    """Greedy decoding from the encoder's output."""
    limit = 1 + math.ceil(TOKENS_A_SECOND * hidden.samples / SAMPLE_RATE)
    ids: list[list[int]] = loaded.model.generate(
        encoder_outputs=hidden, num_beams=1, do_sample=False, max_new_tokens=limit
    ).tolist()
    return ids
