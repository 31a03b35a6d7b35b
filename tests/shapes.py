"""Small Whispers with random weights, in the proportions of large ones: they say nothing that makes sense."""

from __future__ import annotations

import copy
from typing import Any

import torch

from lxbench.families import Loaded

# Layers of the encoder and the decoder, heads, width and mel bands, in the proportions of the large ones.
# The last is as an English-only checkpoint has it.
SHAPES = {"large-v3": (4, 4, 4, 64, 128), "large-v3-turbo": (4, 1, 4, 64, 128), "tiny.en": (2, 2, 2, 32, 80)}


def language_of(shape: str) -> str:
    """What a model of a shape hears."""
    return "en" if shape.endswith(".en") else "ru"


def small_whisper(loaded: Loaded, shape: str) -> Any:
    """A model of a shape, with the tokens of the embedded one and texts of 12 tokens at most."""
    layers, decoder_layers, heads, width, mels = SHAPES[shape]
    sizes = {
        "d_model": width,
        "num_mel_bins": mels,
        "encoder_layers": layers,
        "decoder_layers": decoder_layers,
        **{f"{part}_attention_heads": heads for part in ("encoder", "decoder")},
        **{f"{part}_ffn_dim": 4 * width for part in ("encoder", "decoder")},
    }
    torch.manual_seed(0)
    config = type(loaded.model.config).from_dict({**loaded.model.config.to_dict(), **sizes})
    model = type(loaded.model)(config)
    model.generation_config = copy.deepcopy(loaded.model.generation_config)
    model.generation_config.max_length = 12
    if language_of(shape) == "en":
        model.generation_config.is_multilingual = False
        del model.generation_config.lang_to_id, model.generation_config.task_to_id
    return model.eval()
