"""Which kernel computes attention: torch has several, and takes what it thinks fastest."""

from __future__ import annotations

from functools import wraps
from typing import Any

from lxbench.ladder import Step

_NAMES = {"flash": "FLASH_ATTENTION", "efficient": "EFFICIENT_ATTENTION", "math": "MATH", "cudnn": "CUDNN_ATTENTION"}


def attention(backend: str) -> Step:
    """Have attention computed by one backend, and by ``math`` where that cannot.

    See https://docs.pytorch.org/docs/stable/generated/torch.nn.attention.sdpa_kernel.html.

    Args:
        backend: ``flash`` (Dao et al. 2022, https://arxiv.org/abs/2205.14135; half precision alone), ``efficient``
            (Rabe & Staats 2021, https://arxiv.org/abs/2112.05682), ``cudnn`` or ``math``.
    """

    def step(model: Any) -> Any:
        from torch.nn.attention import SDPBackend, sdpa_kernel

        allowed = [getattr(SDPBackend, _NAMES[backend]), SDPBackend.MATH]

        def within(forward: Any) -> Any:
            @wraps(forward)  # generate asks for the names of its arguments
            def called(*arguments: Any, **named: Any) -> Any:
                with sdpa_kernel(allowed, set_priority=True):
                    return forward(*arguments, **named)

            return called

        model.model.encoder.forward = within(model.model.encoder.forward)
        model.forward = within(model.forward)
        return model

    step.__name__ = f"attention({backend})"
    return step
