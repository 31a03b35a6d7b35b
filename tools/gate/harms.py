"""What may go wrong with a model, each as a row: for ``--lx-variants``, to see whether the gate notices.

Each is dynamic int8 (``ptq-dynamic``) with one mistake, so that it is held against the baseline of that row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lxbench.ladder import CPU, Variant
from lxbench.steps.quantize import quantize_dynamic


def scale_layer(part: str, index: int, factor: float) -> Callable[[Any], Any]:
    """Scale what one layer's feed-forward block adds: a wrong scale, a lost bias correction."""

    def step(model: Any) -> Any:
        layer = getattr(model.model, part).layers[index]
        layer.fc2.weight.data.mul_(factor)
        layer.fc2.bias.data.mul_(factor)
        return model

    step.__name__ = f"scale_{part}_{index}_{factor:g}".replace(".", "_")
    return step


def drop_suppression(model: Any) -> Any:
    """Let every token be said, also those that Whisper never says."""
    plain = model.generate

    def generate(*args: Any, **kwargs: Any) -> Any:
        return plain(*args, **{**kwargs, "logits_processor": []})

    model.generate = generate
    return model


def speak(code: str) -> Callable[[Any], Any]:
    """Begin with the token of another language."""

    def step(model: Any) -> Any:
        plain = model.generate

        def generate(*args: Any, **kwargs: Any) -> Any:
            return plain(*args, **{**kwargs, "language": code})

        model.generate = generate
        return model

    step.__name__ = f"speak_{code}"
    return step


def round_to_int8(model: Any) -> Any:
    """Quantize every Linear and turn it back, one scale a matrix: what is quantized afterwards was so before."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            weight = module.weight.data
            scale = weight.abs().max() / 127
            module.weight.data = (weight / scale).round() * scale
    return model


_LAYERS = (("encoder", 0), ("encoder", 3), ("encoder", 5), ("decoder", 0), ("decoder", 2), ("decoder", 5))

VARIANTS = (
    *(
        Variant(f"harm-{part}-{index}-{factor}", CPU, (scale_layer(part, index, factor), quantize_dynamic))
        for part, index in _LAYERS
        for factor in (1.1, 1.3)
    ),
    Variant("harm-no-suppression", CPU, (quantize_dynamic, drop_suppression)),
    Variant("harm-language-uk", CPU, (quantize_dynamic, speak("uk"))),
    Variant("harm-language-en", CPU, (quantize_dynamic, speak("en"))),
    Variant("harm-int8-twice", CPU, (round_to_int8, quantize_dynamic)),
)
