"""Compilation."""

from __future__ import annotations

from typing import Any


def compile_encoder(model: Any) -> Any:
    """Compile the encoder with Inductor; see https://docs.pytorch.org/docs/stable/torch.compiler.html.

    The encoder always sees 30 s of features, one shape, one graph. The decoder is left alone: with a cache that
    grows token by token it would gain nothing.
    """
    model.model.encoder.compile(dynamic=False)
    return model
