"""Combinations of steps that are known to fail, refused with their reason before they cost time or tell lies.

Each has a test that the failure is still there: when a library mends it, the test says that the refusal can go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lxbench.errors import StepError


def check(model: Any) -> None:
    """Refuse a model that is known to crash or to say nonsense.

    Args:
        model: the model as it is after a step.

    Raises:
        StepError: with the reason and the way round it.
    """
    for happened, instead in _found(model):
        raise StepError(
            happened,
            expected=instead,
            command="less lxbench/variants.py  # change the steps of this row",
        )


def _found(model: Any) -> Iterator[tuple[str, str]]:
    """Yield what is wrong and what to do instead."""
    import torch

    if not hasattr(model, "proj_out"):
        return  # It runs in another engine.
    device = model.device.type
    encoder, decoder = _dynamic_int8(model.model.encoder), _dynamic_int8(model.model.decoder, model.proj_out)
    compiles_encoder = model.model.encoder._compiled_call_impl is not None
    compiles_decoding = model.generation_config.compile_config is not None
    if device == "cpu" and encoder and compiles_encoder and model.dtype == torch.bfloat16:
        yield (
            "dynamic int8 (a8w8) on a bfloat16 model, compiled: Inductor writes C++ that does not compile",
            "a float32 model under a8w8, or a8w8 without compilation",
        )
    if device == "cpu" and decoder and compiles_decoding:
        # torch._int_mm leaves its output untouched for one row of stride 0, and Inductor gives it such a row:
        # https://github.com/pytorch/pytorch/issues/195066
        yield (
            "dynamic int8 (a8w8) in a compiled decoding step: torch._int_mm is silently wrong there on CPU",
            "compile_encoder alone: the decoder is right without compilation",
        )
    if device == "cuda" and decoder:
        yield (
            "dynamic int8 (a8w8) in the decoder: CUDA's int8 product refuses 16 rows or fewer, a decoding step has 1",
            "int8 weights alone in the decoder, as torchao_a8w8 does on CUDA",
        )


def _dynamic_int8(*parts: Any) -> bool:
    """Whether a Linear of these modules multiplies int8 by int8, both sides quantized by torchao."""
    weights = (parameter for part in parts for parameter in part.parameters())
    return any(
        getattr(weight, "act_quant_kwargs", None) is not None
        and not getattr(weight, "qdata", weight).is_floating_point()
        for weight in weights
    )
