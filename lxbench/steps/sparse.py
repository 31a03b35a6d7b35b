"""2:4 sparsity: of four neighbouring weights two are zero, and tensor cores skip them."""

from __future__ import annotations

from typing import Any

from lxbench.ladder import Step
from lxbench.steps.named import linears


def sparse_2_4(*patterns: str) -> Step:
    """Keep the two largest of every four neighbouring weights; the others are neither stored nor multiplied.

    Mishra et al. 2021, https://arxiv.org/abs/2104.08378; kernels of cuSPARSELt or CUTLASS since Ampere, in float16 or
    bfloat16: cast the model first. Nothing is trained afterwards.

    Args:
        patterns: names of Linears, ``*`` for any letters, such as ``model.encoder.*``.

    Raises:
        StepError: one of them matches none.
    """

    def step(model: Any) -> Any:
        import torch
        from torch.sparse import to_sparse_semi_structured

        for linear in linears(model, patterns).values():
            weight = to_sparse_semi_structured(keep_two_of_four(linear.weight.data))
            linear.weight = torch.nn.Parameter(weight, requires_grad=False)
        return model

    step.__name__ = f"sparse_2_4({', '.join(patterns)})"
    return step


def keep_two_of_four(weight: Any) -> Any:
    """Zero the two smallest of every four neighbours in a row, by magnitude: shape (outputs, inputs), inputs 4 n."""
    groups = weight.unflatten(-1, (-1, 4))
    smallest = groups.abs().topk(2, dim=-1, largest=False).indices
    return groups.scatter(-1, smallest, 0.0).flatten(-2)
