"""The arithmetic of removing weights: which inputs of a layer matter, and how the others make up for those that go.

Pure functions on matrices; no model, no clips.
"""

from __future__ import annotations

from typing import Any

from lxbench.pruning.activations import Moments

RIDGE = 1e-3


def magnitude(weight: Any, before: Any) -> Any:
    """Importance of hidden units by their weights alone: norm of what leads in times norm of what leads out.

    Args:
        weight: of the layer after them, shape (outputs, units).
        before: of the layer before them, shape (units, inputs).

    Returns:
        Shape (units,).
    """
    return before.double().norm(dim=1) * weight.double().norm(dim=0)


def energy(weight: Any, moments: Moments) -> Any:
    """Importance of inputs by what they add to the output: their variance times their weights, squared.

    The score of Wanda, |w| * ||x|| (Sun et al. 2023, https://arxiv.org/abs/2306.11695), summed over the outputs, with
    the variance for the norm: a constant input is made up for by the bias.

    Args:
        weight: shape (outputs, inputs).
        moments: of the inputs.

    Returns:
        Shape (inputs,).
    """
    return moments.covariance.diagonal() * weight.double().square().sum(0)


def head_energy(weight: Any, moments: Moments, width: int) -> Any:
    """Importance of heads: the variance of what each adds to the output.

    Args:
        weight: of the output projection, shape (outputs, heads * width).
        moments: of its inputs.
        width: features of a head.

    Returns:
        Shape (heads,).
    """
    import torch

    old, covariance = weight.double(), moments.covariance
    slices = [slice(start, start + width) for start in range(0, old.shape[1], width)]
    return torch.stack([((old[:, one] @ covariance[one, one]) * old[:, one]).sum() for one in slices])


def refit(weight: Any, bias: Any, moments: Moments, kept: Any) -> tuple[Any, Any]:
    """Least squares for the weights of the inputs that stay, so that the output changes as little as it can.

    Minimises E|W x - W' x[kept]|^2 + ridge |W' - W[:, kept]|^2 over centred inputs, in closed form; the bias takes the
    means. The ridge, a thousandth of the mean variance, holds on to the old weights where the clips say little.

    Args:
        weight: shape (outputs, inputs).
        bias: shape (outputs,).
        moments: of the inputs.
        kept: indices of the inputs that stay.

    Returns:
        The new weight, shape (outputs, kept), and bias, in the types given.
    """
    import torch

    old, covariance = weight.double(), moments.covariance
    ridge = RIDGE * covariance.diagonal().mean()
    left = covariance[kept][:, kept] + ridge * torch.eye(len(kept), dtype=torch.double, device=old.device)
    right = covariance[kept] @ old.T + ridge * old[:, kept].T
    new = torch.linalg.solve(left, right).T
    shifted = bias.double() + old @ moments.mean - new @ moments.mean[kept]
    return new.to(weight.dtype), shifted.to(bias.dtype)


def factors(weight: Any, bias: Any, moments: Moments, energy_kept: float) -> tuple[Any, Any, Any]:
    """Two thin matrices for one, along the principal directions of its output.

    LiteASR (Kamahori et al. 2025, https://arxiv.org/abs/2502.20583): the output varies in few directions, those with
    the largest eigenvalues of its covariance; what is dropped is replaced by its mean. The first direction stays and is
    not counted: in the feed-forwards of some layers it is a massive activation (Sun et al. 2024,
    https://arxiv.org/abs/2402.17762) that has most of the variance and little of the meaning.

    Args:
        weight: shape (outputs, inputs).
        bias: shape (outputs,), or None.
        moments: of the inputs.
        energy_kept: share of the variance beside the first direction that stays, which decides the rank.

    Returns:
        First factor (rank, inputs), second factor (outputs, rank), bias (outputs,).
    """
    import torch

    old = weight.double()
    values, vectors = torch.linalg.eigh(old @ moments.covariance @ old.T)
    rest = values.flip(0)[1:].clamp(min=0)
    rank = min(int((rest.cumsum(0) / rest.sum() < energy_kept).sum()) + 2, len(values))
    directions = vectors.flip(1)[:, :rank]
    mean = old @ moments.mean
    shifted = mean - directions @ (directions.T @ mean)
    if bias is not None:
        shifted = shifted + bias.double()
    return (directions.T @ old).to(weight.dtype), directions.to(weight.dtype), shifted.to(weight.dtype)
