"""Fewer bits per number: casting the model, and autocast."""

from __future__ import annotations

from typing import Any

from lxbench.ladder import Step


def cast(dtype: str) -> Step:
    """Cast weights and activations, as in https://docs.pytorch.org/docs/stable/tensor_attributes.html.

    Args:
        dtype: a floating type of torch by name, such as ``bfloat16``.
    """

    def step(model: Any) -> Any:
        import torch

        return model.to(getattr(torch, dtype))

    step.__name__ = f"cast({dtype})"
    return step


def autocast(dtype: str) -> Step:
    """Keep float32 weights and let torch choose a lower precision per operation.

    See https://docs.pytorch.org/docs/stable/amp.html. Only the two forwards are wrapped: the log-mel features are
    computed outside, because the STFT has no bfloat16 kernel on CPU.

    Args:
        dtype: the lower precision by name, such as ``bfloat16``.
    """

    def step(model: Any) -> Any:
        import torch

        context = torch.autocast(model.device.type, dtype=getattr(torch, dtype))
        model.model.encoder.forward = context(model.model.encoder.forward)
        model.forward = context(model.forward)
        return model

    step.__name__ = f"autocast({dtype})"
    return step
