"""Fewer bits per number: casting the model, autocast, and TF32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lxbench.ladder import Step
from lxbench.steps.named import matching


def cast(dtype: str, *parts: str) -> Step:
    """Cast weights and activations, as in https://docs.pytorch.org/docs/stable/tensor_attributes.html.

    Args:
        dtype: a floating type of torch by name, such as ``bfloat16``.
        parts: names of modules, ``*`` for any letters, such as ``model.encoder``; what goes into them is cast, what
            comes out has the type of before, so that what is behind them does not see it. None for the whole model.

    Raises:
        StepError: one of them matches none.
    """

    def step(model: Any) -> Any:
        import torch

        wanted = getattr(torch, dtype)
        if not parts:
            return model.to(wanted)
        known = (name for name, module in model.named_modules() if name and any(True for _ in module.parameters()))
        for name in matching(known, parts, "module with weights"):
            _cast_alone(model.get_submodule(name), wanted)
        return model

    step.__name__ = f"cast({', '.join([dtype, *parts])})"
    return step


def _cast_alone(module: Any, dtype: Any) -> None:
    before = next(module.parameters()).dtype

    def converted(value: Any, to: Any) -> Any:
        if isinstance(value, Mapping):  # outputs of transformers, whose subclasses say more than their fields
            for key, part in value.items():
                value[key] = converted(part, to)  # type: ignore[index]
            return value
        if isinstance(value, tuple):
            return tuple(converted(part, to) for part in value)
        return value.to(to) if hasattr(value, "is_floating_point") and value.is_floating_point() else value

    module.to(dtype)
    module.register_forward_pre_hook(
        lambda _, given, named: (converted(given, dtype), converted(named, dtype)), with_kwargs=True
    )
    module.register_forward_hook(lambda *called: converted(called[-1], before))


def allow_tf32(model: Any) -> Any:
    """Let matrix products and convolutions of float32 round their inputs to 10 bits of mantissa (Ampere and newer).

    See https://docs.pytorch.org/docs/stable/notes/cuda.html#tf32-on-ampere. It is a setting of the process, not of the
    model; ``serve`` turns it off for all others, for by default torch lets convolutions have it.
    """
    import torch

    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    return model


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
        model.get_decoder().heard_width = getattr(torch, dtype).itemsize  # keys and values, for lxbench.worker.roofline
        return model

    step.__name__ = f"autocast({dtype})"
    return step
