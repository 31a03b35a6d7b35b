"""Pruning that removes weights: matrices get smaller, so that they take less time, memory and disk, without training.

Every step chooses on the calibration clips (``pruning.activations``), removes, and fits what is left to what the layer
said before (``pruning.removal``). The result is a ``PrunedWhisper``. Cut first, then cast, quantize or compile.

Torch-Pruning, the library for this, finds coupled layers by tracing a graph and removes along its channels. A Whisper's
couplings are known, three per layer; its heads and the fit would be ours in any case, and tracing ``generate`` is what
it cannot do. ``torch.nn.utils.prune`` masks and removes nothing, see ``lxbench.steps.prune``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from lxbench.errors import StepError
from lxbench.ladder import Step, whisper_only

if TYPE_CHECKING:
    from lxbench.pruning.activations import Moments

Share = float | Sequence[float]
Importance = Literal["magnitude", "energy"]
PARTS = ("encoder", "decoder")


def prune_ffn(encoder: Share = 1.0, decoder: Share = 1.0, importance: Importance = "energy", fit: bool = True) -> Step:
    """Remove neurons of the feed-forwards: rows of fc1 with the matching columns of fc2.

    Args:
        encoder: share of the neurons that stays in each of its layers; several are spread along the depth, with the
            layers between them interpolated.
        decoder: the same.
        importance: ``magnitude`` of the weights alone, or ``energy`` of what a neuron adds on the calibration clips.
        fit: whether fc2 is fitted anew to what it said before.

    Raises:
        ValueError: a share outside 0 to 1.
    """
    shares = {"encoder": _checked(encoder), "decoder": _checked(decoder)}

    def step(model: Any) -> Any:
        from lxbench.pruning import activations

        layers = {
            name: share
            for part in PARTS
            for name, share in zip(_layers(model, part), _along(shares[part], model, part), strict=True)
            if share < 1
        }
        seen = activations.inputs(model, [f"{name}.fc2" for name in layers])
        for name, share in layers.items():
            _cut_neurons(_module(model, name), share, seen[f"{name}.fc2"], importance, fit)
        return _adopt(model)

    step.__name__ = f"prune_ffn({_arguments(encoder=encoder, decoder=decoder)}{_manner(importance, fit)})"
    return whisper_only(step)


def prune_heads(
    encoder: Share = 1.0,
    decoder: Share = 1.0,
    cross: Share = 1.0,
    importance: Importance = "energy",
    fit: bool = True,
) -> Step:
    """Remove heads of attention: their slices of q, k, v and out.

    Args:
        encoder: share of the heads that stays in each layer of the encoder, see ``prune_ffn``.
        decoder: of the decoder's self-attention.
        cross: of the decoder's attention to the encoder.
        importance: ``magnitude`` of the weights alone, or ``energy`` of what a head adds on the calibration clips.
        fit: whether the output projection is fitted anew to what it said before.

    Raises:
        ValueError: a share outside 0 to 1.
    """
    kinds = {"encoder.self_attn": encoder, "decoder.self_attn": decoder, "decoder.encoder_attn": cross}
    shares = {kind: _checked(share) for kind, share in kinds.items()}

    def step(model: Any) -> Any:
        from lxbench.pruning import activations

        attentions = {}
        for kind, wanted in shares.items():
            part, child = kind.split(".")
            for name, share in zip(_layers(model, part), _along(wanted, model, part), strict=True):
                if share < 1:
                    attentions[f"{name}.{child}"] = share
        seen = activations.inputs(model, [f"{name}.out_proj" for name in attentions])
        for name, share in attentions.items():
            _cut_heads(_module(model, name), share, seen[f"{name}.out_proj"], importance, fit)
        return _adopt(model)

    shown = _arguments(encoder=encoder, decoder=decoder, cross=cross) + _manner(importance, fit)
    step.__name__ = f"prune_heads({shown})"
    return whisper_only(step)


def prune_layers(encoder: int = 0, decoder: int = 0, fit: bool = True) -> Step:
    """Remove the layers that turn the residual stream least, one after the other.

    What a layer added is fitted into the fc2 of the one before it, as in ReplaceMe (Shopkhoev et al. 2025,
    https://arxiv.org/abs/2505.02819); the first layer has none before it and stays.

    Args:
        encoder: how many of its layers go.
        decoder: how many of its layers go.
        fit: whether the layer before takes over.
    """
    counts = {"encoder": encoder, "decoder": decoder}

    def step(model: Any) -> Any:
        for part, count in counts.items():
            for index in _least_influential(model, part, count):
                _cut_layer(model, part, index, fit)
        return _adopt(model)

    shown = _arguments(encoder=encoder, decoder=decoder, whole=0) + _manner("energy", fit)
    step.__name__ = f"prune_layers({shown})"
    return whisper_only(step)


def low_rank(encoder: float = 1.0, decoder: float = 1.0) -> Step:
    """Put two thin Linears in the place of one where that is less work, see ``removal.factors``.

    Args:
        encoder: share of the variance of each output, beside its first direction, that stays, which decides the rank; 1
            leaves the part alone.
        decoder: the same.

    Raises:
        ValueError: a share outside 0 to 1.
    """
    shares = {"encoder": _checked(encoder)[0], "decoder": _checked(decoder)[0]}

    def step(model: Any) -> Any:
        import torch

        from lxbench.pruning import activations

        names = {
            name: shares[part]
            for part in PARTS
            if shares[part] < 1
            for name, module in model.named_modules()
            if name.startswith(f"model.{part}.layers.") and isinstance(module, torch.nn.Linear)
            # The out of two factors is not factored again.
            if not name.rpartition(".")[2].isdigit()
        }
        seen = activations.inputs(model, list(names))
        for name, share in names.items():
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, _thinner(model.get_submodule(name), seen[name], share))
        return _adopt(model)

    step.__name__ = f"low_rank({_arguments(encoder=encoder, decoder=decoder)})"
    return whisper_only(step)


def _cut_neurons(layer: Any, share: float, seen: Moments, importance: Importance, fit: bool) -> None:
    from lxbench.pruning import removal

    fc1, fc2 = layer.fc1, layer.fc2
    scores = removal.energy(fc2.weight, seen)
    if importance == "magnitude":
        scores = removal.magnitude(fc2.weight, fc1.weight)
    kept = scores.topk(_rounded(share, len(scores), 8)).indices.sort().values
    _shrink(fc1, rows=kept)
    _shrink_inputs(fc2, kept, seen if fit else None)


def _cut_heads(attention: Any, share: float, seen: Moments, importance: Importance, fit: bool) -> None:
    import torch

    from lxbench.pruning import removal

    out, width = attention.out_proj, attention.head_dim
    if importance == "magnitude":
        scores = removal.magnitude(out.weight, attention.v_proj.weight).square().view(-1, width).sum(1)
    else:
        scores = removal.head_energy(out.weight, seen, width)
    heads = scores.topk(_rounded(share, len(scores), 1)).indices.sort().values
    kept = (heads[:, None] * width + torch.arange(width, device=heads.device)).flatten()
    for linear in (attention.q_proj, attention.k_proj, attention.v_proj):
        _shrink(linear, rows=kept)
    _shrink_inputs(out, kept, seen if fit else None)
    attention.num_heads = len(heads)


def _least_influential(model: Any, part: str, count: int) -> list[int]:
    """Indices of the layers to remove, from the last on, so that those to come stay right."""
    from lxbench.pruning import activations

    names = _layers(model, part)
    if not 0 <= count < len(names):
        raise StepError(
            f"{count} layers to remove from the {part} of {len(names)}",
            expected=f"0 to {len(names) - 1}",
            command="less lxbench/variants.py  # change prune_layers in this row",
        )
    if not count:
        return []
    influences = activations.influences(model, names)
    return sorted(sorted(range(1, len(names)), key=influences.__getitem__)[:count], reverse=True)


def _cut_layer(model: Any, part: str, index: int, fit: bool) -> None:
    import torch

    from lxbench.pruning import activations, removal

    names = _layers(model, part)
    if fit:
        fc2 = _module(model, names[index - 1]).fc2
        seen = activations.contribution(model, f"{names[index - 1]}.fc2", names[index])
        wide = torch.cat([fc2.weight, torch.eye(fc2.out_features).to(fc2.weight)], dim=1)
        kept = torch.arange(fc2.in_features, device=fc2.weight.device)
        fc2.weight.data, fc2.bias.data = removal.refit(wide, fc2.bias, seen, kept)
    layers = getattr(model.model, part).layers
    del layers[index]
    setattr(model.config, f"{part}_layers", len(layers))
    for position, layer in enumerate(layers):
        for attention in (layer.self_attn, getattr(layer, "encoder_attn", None)):
            if attention is not None and attention.layer_idx is not None:
                attention.layer_idx = position  # its place in the cache


def _thinner(linear: Any, seen: Moments, share: float) -> Any:
    import torch

    from lxbench.pruning import removal

    first, second, bias = removal.factors(linear.weight, linear.bias, seen, share)
    rank, (outputs, inputs) = len(first), linear.weight.shape
    if rank * (inputs + outputs) >= inputs * outputs:
        return linear
    thin = torch.nn.Sequential(torch.nn.Linear(inputs, rank, bias=False), torch.nn.Linear(rank, outputs))
    for layer, weight in zip(thin, (first, second), strict=True):
        layer.weight = torch.nn.Parameter(weight.contiguous(), requires_grad=False)
    thin[1].bias = torch.nn.Parameter(bias, requires_grad=False)
    return thin


def _shrink(linear: Any, rows: Any) -> None:
    linear.weight.data = linear.weight.data[rows].clone()
    if linear.bias is not None:
        linear.bias.data = linear.bias.data[rows].clone()
    linear.out_features = len(rows)


def _shrink_inputs(linear: Any, kept: Any, seen: Moments | None) -> None:
    from lxbench.pruning import removal

    if seen is None:
        linear.weight.data = linear.weight.data[:, kept].clone()
    else:
        linear.weight.data, linear.bias.data = removal.refit(linear.weight.data, linear.bias.data, seen, kept)
    linear.in_features = len(kept)


def _adopt(model: Any) -> Any:
    from lxbench.pruning import pruned

    return pruned.adopt(model)


def _module(model: Any, name: str) -> Any:
    """A layer or an attention, refused where its Linears are no longer of floats."""
    import torch

    module = model.get_submodule(name)
    for child, linear in module.named_children():
        if child in {"fc1", "fc2", "q_proj", "k_proj", "v_proj", "out_proj"} and type(linear) is not torch.nn.Linear:
            raise StepError(
                f"{name}.{child} is a {type(linear).__name__}, which cannot be cut",
                expected="neurons and heads cut before low rank, quantization or anything that replaces a Linear",
                command="less lxbench/variants.py  # change the order of this row's steps",
            )
    return module


def _layers(model: Any, part: str) -> list[str]:
    return [f"model.{part}.layers.{index}" for index in range(len(getattr(model.model, part).layers))]


def _along(shares: Sequence[float], model: Any, part: str) -> Iterator[float]:
    """Spread shares along the depth of a part: the first for its first layer, the last for its last."""
    last = len(_layers(model, part)) - 1
    for index in range(last + 1):
        place = index / max(last, 1) * (len(shares) - 1)
        low, high = math.floor(place), math.ceil(place)
        yield shares[low] + (shares[high] - shares[low]) * (place - low)


def _rounded(share: float, count: int, multiple: int) -> int:
    return min(max(round(share * count / multiple), 1) * multiple, count)


def _checked(share: Share) -> tuple[float, ...]:
    shares = (share,) if isinstance(share, int | float) else tuple(share)
    for one in shares:
        if not 0 < one <= 1:
            raise ValueError(f"{one:g} is not a share of what stays, more than 0 and at most 1")
    return shares


def _manner(importance: Importance, fit: bool) -> str:
    return ("" if importance == "energy" else f", {importance}") + ("" if fit else ", not fitted")


def _arguments(whole: float = 1.0, **shares: Any) -> str:
    """The arguments that do something, as a step's name tells them."""

    def told(share: Share) -> str:
        return f"{share:g}" if isinstance(share, int | float) else "-".join(f"{one:g}" for one in share)

    return ", ".join(f"{name}={told(share)}" for name, share in shares.items() if share != whole)
