"""The kernels of a decoding step at batch 1, in Triton (Tillet et al. 2019, https://doi.org/10.1145/3315508.3329973).

Such a step reads every weight once and does next to nothing with it: what is left to win is to read at full width, and
never to stop reading. The prompt is read by the same kernels: its few tokens are multiplied by what a program has read
for the first. A layer is seven kernels: three products take the normalisation before them along, one the GELU
behind it, three the residual. Attention has none that only waits for others: the last program to end of those that
multiply for a head looks back at the text; attention to what was heard is cut into pieces of it, as in Flash-Decoding
(https://pytorch.org/blog/flash-decoding/), and the last of a head puts them together. On Hopper and newer each kernel
begins while the one before it still works, and has its weights on their way when it ends: "programmatic dependent
launch", see NVIDIA's CUDA programming guide. Sums are in float32.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import triton
import triton.language as tl
from torch import nn

_BLOCK = 64  # positions of the text that a program looks at in one go
_PIECE = 128  # positions of what was heard that a program looks at, at most
_NUMBERS = 8192  # of a matrix that a program multiplies: some rows of it
_WARPS = 4


@triton.jit
def _multiply(
    x_at,
    weight_at,
    scale_at,
    bias_at,
    norm_weight_at,
    norm_bias_at,
    residual_at,
    out_at,
    row,
    rows,
    epsilon,
    TOKENS: tl.constexpr,
    COLUMNS: tl.constexpr,
    PADDED: tl.constexpr,
    SCALED: tl.constexpr,
    BIASED: tl.constexpr,
    NORMED: tl.constexpr,
    GELU: tl.constexpr,
    ADDED: tl.constexpr,
    EARLY: tl.constexpr,
):
    """Some rows of a matrix by the vector of each token, with what is before and behind."""
    column = tl.arange(0, PADDED)
    there, inside = row < rows, column < COLUMNS
    cell = row[:, None].to(tl.int64) * COLUMNS + column[None, :]
    weight = tl.load(weight_at + cell, mask=there[:, None] & inside[None, :], other=0)
    if SCALED:
        scale = tl.load(scale_at + row, mask=there)
    if BIASED:
        bias = tl.load(bias_at + row, mask=there)
    if NORMED:
        norm_weight = tl.load(norm_weight_at + column, mask=inside, other=0.0)
        norm_bias = tl.load(norm_bias_at + column, mask=inside, other=0.0)
    if EARLY:  # What is above was there before; what is below is of the kernels before this one.
        tl.extra.cuda.gdc_launch_dependents()
        tl.extra.cuda.gdc_wait()
    for token in tl.static_range(TOKENS):
        x = tl.load(x_at + token * COLUMNS + column, mask=inside, other=0.0).to(tl.float32)
        if ADDED:  # On its way while the others are multiplied.
            residual = tl.load(residual_at + token * rows + row, mask=there)
        if NORMED:
            x = tl.where(inside, x - tl.sum(x) / COLUMNS, 0.0)
            x *= 1 / tl.sqrt(tl.sum(x * x) / COLUMNS + epsilon)
            x = x * norm_weight.to(tl.float32) + norm_bias.to(tl.float32)
        result = tl.sum(weight.to(tl.float32) * x[None, :], 1)
        if SCALED:
            result *= scale.to(tl.float32)
        if BIASED:
            result += bias.to(tl.float32)
        if GELU:
            result = 0.5 * result * (1 + tl.erf(result * 0.7071067811865476))
        if ADDED:
            result += residual.to(tl.float32)
        tl.store(out_at + token * rows + row, result.to(out_at.dtype.element_ty), mask=there)


@triton.jit
def _is_last(count_at, OF: tl.constexpr):
    """Whether all others that work on the same have ended: then what they have stored is there to read."""
    tl.debug_barrier()  # Every thread of this program has stored.
    last = tl.atomic_add(count_at, 1, sem="acq_rel") == OF - 1
    if last:
        tl.store(count_at, 0)  # as the next kernel needs it
    return last


@triton.jit
def _product(
    x_at,
    weight_at,
    scale_at,
    bias_at,
    norm_weight_at,
    norm_bias_at,
    residual_at,
    out_at,
    rows,
    epsilon,
    TOKENS: tl.constexpr,
    COLUMNS: tl.constexpr,
    PADDED: tl.constexpr,
    SCALED: tl.constexpr,
    BIASED: tl.constexpr,
    NORMED: tl.constexpr,
    ROWS: tl.constexpr,
    GELU: tl.constexpr,
    ADDED: tl.constexpr,
    EARLY: tl.constexpr,
):
    """Some rows of a matrix by the vector of each token."""
    _multiply(
        x_at,
        weight_at,
        scale_at,
        bias_at,
        norm_weight_at,
        norm_bias_at,
        residual_at,
        out_at,
        tl.program_id(0) * ROWS + tl.arange(0, ROWS),
        rows,
        epsilon,
        TOKENS,
        COLUMNS,
        PADDED,
        SCALED,
        BIASED,
        NORMED,
        GELU,
        ADDED,
        EARLY,
    )


@triton.jit
def _look_back(
    x_at,
    weight_at,
    scale_at,
    bias_at,
    norm_weight_at,
    norm_bias_at,
    qkv_at,
    done_at,
    keys_at,
    values_at,
    place_at,
    out_at,
    rows,
    epsilon,
    heads,
    length,
    scale,
    TOKENS: tl.constexpr,
    COLUMNS: tl.constexpr,
    PADDED: tl.constexpr,
    SCALED: tl.constexpr,
    BIASED: tl.constexpr,
    NORMED: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    EARLY: tl.constexpr,
):
    """Some rows of query, key or value of a head; the last program of a head looks back at the text."""
    _multiply(
        x_at,
        weight_at,
        scale_at,
        bias_at,
        norm_weight_at,
        norm_bias_at,
        None,
        qkv_at,
        tl.program_id(0) * ROWS + tl.arange(0, ROWS),
        rows,
        epsilon,
        TOKENS,
        COLUMNS,
        PADDED,
        SCALED,
        BIASED,
        NORMED,
        False,
        False,
        EARLY,
    )
    first = tl.load(place_at)
    head = tl.program_id(0) * ROWS // WIDTH % heads
    if _is_last(done_at + head, 3 * WIDTH // ROWS):
        unit, own = tl.arange(0, WIDTH), head * length * WIDTH
        for token in tl.static_range(TOKENS):
            place, part = first + token, qkv_at + (token * 3 * heads + head) * WIDTH + unit
            query = tl.load(part).to(tl.float32) * scale
            key = tl.load(part + heads * WIDTH)
            value = tl.load(part + 2 * heads * WIDTH)
            tl.store(keys_at + own + place * WIDTH + unit, key)
            tl.store(values_at + own + place * WIDTH + unit, value)
            most, weight, seen = -float("inf"), 0.0, tl.zeros([WIDTH], tl.float32)
            for start in range(0, place, BLOCK):
                position = start + tl.arange(0, BLOCK)
                there = position < place
                cell = own + position[:, None] * WIDTH + unit[None, :]
                keys = tl.load(keys_at + cell, mask=there[:, None], other=0.0).to(tl.float32)
                values = tl.load(values_at + cell, mask=there[:, None], other=0.0).to(tl.float32)
                score = tl.where(there, tl.sum(keys * query[None, :], 1), -float("inf"))
                now = tl.maximum(most, tl.max(score))
                share, kept = tl.exp(score - now), tl.exp(most - now)
                seen = seen * kept + tl.sum(share[:, None] * values, 0)
                weight, most = weight * kept + tl.sum(share), now
            to_itself = tl.sum(query * key.to(tl.float32))
            largest = tl.maximum(most, to_itself)
            before, itself = tl.exp(most - largest), tl.exp(to_itself - largest)
            seen = (seen * before + itself * value.to(tl.float32)) / (weight * before + itself)
            tl.store(out_at + (token * heads + head) * WIDTH + unit, seen.to(out_at.dtype.element_ty))
            if token + 1 < TOKENS:
                tl.debug_barrier()  # Every thread has stored its part of the key and the value, which the next reads.


@triton.jit
def _look(
    query_at,
    heard_at,
    bias_at,
    seen_at,
    weights_at,
    done_at,
    out_at,
    heads,
    positions,
    piece,
    scale,
    TOKENS: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    PIECES: tl.constexpr,
    BIASED: tl.constexpr,
    EARLY: tl.constexpr,
):
    """Attention of a head to a piece of what was heard: its sum, not divided yet, largest score and weight.

    The last program of a head puts its pieces together.
    """
    head, part, unit = tl.program_id(0), tl.program_id(1), tl.arange(0, WIDTH)
    place = tl.arange(0, BLOCK)
    position = part * piece + place
    there = (place < piece) & (position < positions)
    cell = (position[:, None] * 2 * heads + head) * WIDTH + unit[None, :]
    keys = tl.load(heard_at + cell, mask=there[:, None], other=0.0)
    values = tl.load(heard_at + heads * WIDTH + cell, mask=there[:, None], other=0.0)
    if EARLY:
        tl.extra.cuda.gdc_launch_dependents()
        tl.extra.cuda.gdc_wait()
    for token in tl.static_range(TOKENS):
        query = tl.load(query_at + (token * heads + head) * WIDTH + unit).to(tl.float32) * scale
        score = tl.sum(keys.to(tl.float32) * query[None, :], 1)
        if BIASED:
            score += tl.load(bias_at + position, mask=there, other=0.0).to(tl.float32)
        score = tl.where(there, score, -1e30)
        most = tl.max(score)
        share = tl.where(there, tl.exp(score - most), 0.0)
        own = (token * heads + head) * PIECES + part
        tl.store(seen_at + own * WIDTH + unit, tl.sum(share[:, None] * values.to(tl.float32), 0))
        tl.store(weights_at + 2 * own, most)
        tl.store(weights_at + 2 * own + 1, tl.sum(share))
    if _is_last(done_at + head, PIECES):
        for token in tl.static_range(TOKENS):
            pieces = (token * heads + head) * PIECES + tl.arange(0, PIECES)
            mosts, weights = tl.load(weights_at + 2 * pieces), tl.load(weights_at + 2 * pieces + 1)
            seen = tl.load(seen_at + pieces[:, None] * WIDTH + unit[None, :])
            shares = tl.exp(mosts - tl.max(mosts))
            whole = tl.sum(seen * shares[:, None], 0) / tl.sum(weights * shares)
            tl.store(out_at + (token * heads + head) * WIDTH + unit, whole.to(out_at.dtype.element_ty))


@functools.cache
def early(device: torch.device) -> dict[str, Any]:
    """What a kernel is started with that may begin before the one before it has ended; nothing where none can."""
    can = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0)
    can = can and hasattr(tl.extra.cuda, "gdc_wait")  # since Triton 3.4
    return {"EARLY": True, "launch_pdl": True} if can else {"EARLY": False}


def product(
    layer: Any,
    x: torch.Tensor,
    norm: nn.LayerNorm | None = None,
    gelu: bool = False,
    residual: torch.Tensor | None = None,
) -> torch.Tensor:
    """A Linear, or one with int8 weights, of one token or a few: all of them are multiplied by what a program has read.

    Args:
        layer: ``nn.Linear`` or ``graphed.Int8Linear``.
        x: shape (1, tokens, inputs).
        norm: what x goes through before.
        gelu: whether the result goes through it.
        residual: what is added to the result, shape (1, tokens, outputs).
    """
    tokens, rows = x.shape[1], len(layer.weight)
    out = x.new_empty(1, tokens, rows)
    operands, form = _prepared(layer, x, norm)
    in_one = _rows_in_one(form)
    _product[(triton.cdiv(rows, in_one),)](
        *operands,
        residual,
        out,
        rows,
        norm.eps if norm is not None else 0.0,
        **form,
        ROWS=in_one,
        GELU=gelu,
        ADDED=residual is not None,
        num_warps=_WARPS,
        **early(x.device),
    )
    return out


def look_back(
    layer: Any,
    x: torch.Tensor,
    norm: nn.LayerNorm,
    keys: torch.Tensor,
    values: torch.Tensor,
    at: torch.Tensor,
    done: torch.Tensor,
) -> torch.Tensor:
    """Attention of each token to the text before it and itself; its own key and value are written to them.

    Args:
        layer: as ``product``'s, from x to query, key and value of all heads, shape (1, tokens, 3 * heads * width).
        x: shape (1, tokens, inputs).
        norm: what x goes through before.
        keys: of the text, shape (1, heads, length, width).
        values: of the text, shape (1, heads, length, width).
        at: the first token's place, shape (1,).
        done: counts of programs, int32, shape (heads,): zeros, which it leaves as zeros.
    """
    tokens, (_, heads, length, width) = x.shape[1], keys.shape
    qkv, out = x.new_empty(1, tokens, 3 * heads * width), x.new_empty(1, tokens, heads * width)
    operands, form = _prepared(layer, x, norm)
    in_one = min(_rows_in_one(form), width)  # A program is of one head.
    _look_back[(3 * heads * width // in_one,)](
        *operands,
        qkv,
        done,
        keys,
        values,
        at,
        out,
        3 * heads * width,
        norm.eps,
        heads,
        length,
        width**-0.5,
        **form,
        ROWS=in_one,
        WIDTH=width,
        BLOCK=_BLOCK,
        num_warps=_WARPS,
        **early(x.device),
    )
    return out


def look(
    query: torch.Tensor, heard: torch.Tensor, bias: torch.Tensor | None, heads: int, done: torch.Tensor
) -> torch.Tensor:
    """Attention to what was heard.

    Args:
        query: of all heads, shape (1, tokens, heads * width).
        heard: keys, then values of all heads, shape (1, positions, 2 * heads * width).
        bias: added to the scores of the positions, shape (1, 1, 1, positions), or None.
        heads: how many.
        done: counts of programs, int32, shape (heads,): zeros, which it leaves as zeros.
    """
    tokens, positions, width = query.shape[1], heard.shape[1], query.shape[-1] // heads
    pieces = triton.next_power_of_2(triton.cdiv(positions, _PIECE))
    seen = torch.empty(tokens, heads, pieces, width, device=query.device)
    weights = torch.empty(tokens, heads, pieces, 2, device=query.device)
    out = torch.empty_like(query)
    _look[(heads, pieces)](
        query,
        heard,
        bias,
        seen,
        weights,
        done,
        out,
        heads,
        positions,
        triton.cdiv(positions, pieces),
        width**-0.5,
        TOKENS=tokens,
        WIDTH=width,
        BLOCK=_PIECE,
        PIECES=pieces,
        BIASED=bias is not None,
        num_warps=_WARPS,
        **early(query.device),
    )
    return out


def _prepared(layer: Any, x: torch.Tensor, norm: nn.LayerNorm | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What ``_multiply`` reads, and in which form."""
    columns = layer.weight.shape[1]
    scale, bias = getattr(layer, "scale", None), layer.bias
    norms = (None, None) if norm is None else (norm.weight, norm.bias)
    form = {"TOKENS": x.shape[1], "COLUMNS": columns, "PADDED": triton.next_power_of_2(columns)}
    form |= {"SCALED": scale is not None, "BIASED": bias is not None, "NORMED": norm is not None}
    return (x, layer.weight, scale, bias, *norms), form


def _rows_in_one(form: dict[str, Any]) -> int:
    """Rows of a matrix that a program multiplies."""
    return int(max(1, _NUMBERS // form["PADDED"]))
