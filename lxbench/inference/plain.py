"""Whisper for inference alone: its layers without what only training, beams or other tasks need.

``generate`` and the modules of transformers serve every task of every model: masks are made, caches grow and scores
are sorted for every token. Here one product makes queries, keys and values, the cache is as long as it will ever be,
and a loop takes the likeliest token until the text ends. The steps of ``lxbench.steps.plain`` put these modules where
a model's own ones were; what a Linear is replaced by (int8, two thin ones) is kept, and may be replaced later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn
from torch.nn.functional import gelu, scaled_dot_product_attention
from transformers.modeling_outputs import BaseModelOutput

from lxbench.inference.greedy import greedy, text_length


class Beside(nn.Module):
    """Layers of one input, their outputs side by side: what cannot be one Linear."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs of shape (..., sum of the layers' outputs)."""
        return torch.cat([layer(x) for layer in self.layers], dim=-1)


def joined(*layers: nn.Module) -> nn.Module:
    """One layer for several of the same input: a Linear where all are, with zeros for the bias of one without."""
    if not all(type(layer) is nn.Linear for layer in layers):
        return Beside(layers)
    linears = cast("tuple[nn.Linear, ...]", layers)
    weights = torch.cat([linear.weight.data for linear in linears])
    options: Any = {"device": weights.device, "dtype": weights.dtype}
    biases = [
        torch.zeros(linear.out_features, **options) if linear.bias is None else linear.bias.data for linear in linears
    ]
    with torch.device("meta"):
        joint = nn.Linear(weights.shape[1], weights.shape[0])
    joint.weight = nn.Parameter(weights, requires_grad=False)
    joint.bias = nn.Parameter(torch.cat(biases), requires_grad=False)
    return joint


class Attention(nn.Module):
    """Attention with its projections joined: to itself by ``qkv``, to the encoder by ``q`` and ``kv``.

    Heads are as many as the projections have outputs for: pruned ones are gone.
    """

    def __init__(self, old: Any, cross: bool = False) -> None:
        super().__init__()
        self.count, self.width = old.num_heads, old.head_dim
        if cross:
            self.q, self.kv = old.q_proj, joined(old.k_proj, old.v_proj)
        else:
            self.qkv = joined(old.q_proj, old.k_proj, old.v_proj)
        self.out = old.out_proj

    def extra_repr(self) -> str:
        """Of projections of one size the number of heads may be any: graphs are told apart by it."""
        return f"{self.count} heads of {self.width}"

    def heads(self, x: torch.Tensor, parts: int) -> tuple[torch.Tensor, ...]:
        """Cut (batch, length, parts * heads * width) into parts of shape (batch, heads, length, width)."""
        return x.view(*x.shape[:2], parts * self.count, self.width).transpose(1, 2).chunk(parts, dim=1)

    def look(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **mask: Any) -> torch.Tensor:
        """Attend, and project to shape (batch, length, width of the model)."""
        seen = scaled_dot_product_attention(query, key, value, **mask)
        return cast(torch.Tensor, self.out(seen.transpose(1, 2).flatten(2)))


class EncoderLayer(nn.Module):
    """Attention to all positions, and the feed-forward."""

    def __init__(self, old: Any) -> None:
        super().__init__()
        self.attention, self.attention_norm = Attention(old.self_attn), old.self_attn_layer_norm
        self.fc1, self.fc2, self.norm = old.fc1, old.fc2, old.final_layer_norm

    def forward(self, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """From (batch, length, width) to the same; ``bias`` is added to the scores of the keys."""
        query, key, value = self.attention.heads(self.attention.qkv(self.attention_norm(x)), 3)
        x = x + self.attention.look(query, key, value, attn_mask=bias)
        return cast(torch.Tensor, x + self.fc2(gelu(self.fc1(self.norm(x)))))


class Encoder(nn.Module):
    """Whisper's encoder over a clip with the padding behind it merged.

    Whisper pads every clip to 30 s, and the encoder works on the silence as hard as on the speech. But all of the
    padding is the same silence at different places. Here neighbouring positions of it become one, in the middle of
    those it stands for, which counts as so many in every softmax: the logarithm of their number is added to the score,
    as in token merging (Bolya et al. 2023, https://arxiv.org/abs/2210.09461). Were the merged ones equal, nothing would
    change. The further from the clip, the more are merged: every few groups their size doubles. The
    convolutions' outputs are exact: over constant input they are constant.

    Attributes:
        most: positions of the padding that become one at most; 1 merges none.
        groups: of one size, before the next are twice as large.
        margin: positions of the padding behind the clip that stay as they are; at least 3, which is where the
            convolutions see nothing of the clip any more.
        multiple: of which the clip and the margin are, together: the margin grows up to it. Kernels that are made
            for the very number of positions (oneDNN's in bfloat16: milliseconds each) are made for few numbers.
    """

    def __init__(self, old: Any, most: int, margin: int, groups: int, multiple: int = 1) -> None:
        super().__init__()
        self.most, self.margin, self.groups, self.multiple = most, margin, groups, multiple
        self.conv1, self.conv2, self.norm = old.conv1, old.conv2, old.layer_norm
        self.positions = old.embed_positions
        self.layers = nn.ModuleList(EncoderLayer(layer) for layer in old.layers)

    def heard(self, frames: int) -> int:
        """Frames of features that are needed of a clip of so many: even, the margin behind it, no more than 30 s."""
        needed = -(-frames // 2) + self.margin
        return 2 * min(-(-needed // self.multiple) * self.multiple, len(self.positions.weight))

    def forward(self, input_features: torch.Tensor, **_: Any) -> BaseModelOutput:
        """Encode.

        Args:
            input_features: log-mel, shape (batch, bands, ``heard(frames)``).

        Returns:
            Hidden states, shape (batch, positions, width), with ``bias``: what is to be added to the scores of each
            when it is looked at, shape (1, 1, 1, positions); None where none was merged.
        """
        x = gelu(self.conv2(gelu(self.conv1(input_features)))).transpose(1, 2)
        x, bias = self._merged(x)
        for layer in self.layers:
            x = layer(x, bias)
        output = BaseModelOutput(last_hidden_state=self.norm(x))
        output["bias"] = bias
        return output

    def _merged(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Add the positions, and the rest of the padding in groups; the last one sees the end of the window."""
        table, dense = self.positions.weight, x.shape[1] - 1
        sizes = torch.tensor(group_sizes(len(table) - 1 - dense, self.most, self.groups), device=x.device)
        if not len(sizes):
            return x + table, None
        places = table[dense + sizes.cumsum(0) - sizes + (sizes - 1) // 2]
        padding = x[:, dense - 1 : dense] + places
        bias = torch.cat([sizes.new_ones(dense), sizes, sizes.new_ones(1)]).log().to(x.dtype)
        x = torch.cat([x[:, :dense] + table[:dense], padding, x[:, dense:] + table[-1]], dim=1)
        return x, bias.view(1, 1, 1, -1)


def group_sizes(positions: int, most: int, groups: int) -> list[int]:
    """How many of so many positions become one, group by group: 1, doubled after so many groups, at most ``most``."""
    sizes: list[int] = []
    while positions > 0:
        sizes.append(min(2 ** (len(sizes) // groups), most, positions))
        positions -= sizes[-1]
    return sizes


class DecoderLayer(nn.Module):
    """Attention to the text so far, to the encoder's output, and the feed-forward."""

    def __init__(self, old: Any) -> None:
        super().__init__()
        self.attention, self.attention_norm = Attention(old.self_attn), old.self_attn_layer_norm
        self.cross, self.cross_norm = Attention(old.encoder_attn, cross=True), old.encoder_attn_layer_norm
        self.fc1, self.fc2, self.norm = old.fc1, old.fc2, old.final_layer_norm

    def forward(self, x: torch.Tensor, cache: Cache, at: int) -> torch.Tensor:
        """From (batch, length, width) to the same, for tokens at positions ``at`` and after."""
        end = at + x.shape[1]
        query, key, value = self.attention.heads(self.attention.qkv(self.attention_norm(x)), 3)
        cache.keys[:, :, at:end], cache.values[:, :, at:end] = key, value
        # Only the prompt is more than one token, and it is at the beginning.
        x = x + self.attention.look(query, cache.keys[:, :, :end], cache.values[:, :, :end], is_causal=x.shape[1] > 1)
        (query,) = self.cross.heads(self.cross.q(self.cross_norm(x)), 1)
        x = x + self.cross.look(query, cache.heard_keys, cache.heard_values, attn_mask=cache.bias)
        return cast(torch.Tensor, x + self.fc2(gelu(self.fc1(self.norm(x)))))


class Cache:
    """What a decoder layer remembers while a batch is decoded.

    Attributes:
        keys, values: of the text, shape (batch, heads, positions, width); written as it grows.
        heard_keys, heard_values: of the encoder's output.
        bias: added to the scores of what was heard, or None.
    """

    def __init__(self, layer: DecoderLayer, hidden: torch.Tensor, bias: torch.Tensor | None, length: int) -> None:
        heard = layer.cross.heads(layer.cross.kv(hidden), 2)
        self.heard_keys, self.heard_values = (part.contiguous() for part in heard)
        self.bias = bias
        shape = (hidden.shape[0], layer.attention.count, length, layer.attention.width)
        self.keys, self.values = (hidden.new_empty(shape) for _ in range(2))


class Decoder(nn.Module):
    """Whisper's decoder with a cache of fixed length."""

    def __init__(self, old: Any) -> None:
        super().__init__()
        self.embed_tokens, self.positions, self.norm = old.embed_tokens, old.embed_positions, old.layer_norm
        self.layers = nn.ModuleList(DecoderLayer(layer) for layer in old.layers)

    def forward(self, ids: torch.Tensor, caches: Sequence[Cache], at: int) -> torch.Tensor:
        """The state after the last of the tokens, shape (batch, width).

        Args:
            ids: shape (batch, length).
            caches: one per layer; written at the places of the tokens.
            at: place of the first of the tokens in the text.
        """
        x = self.embed_tokens(ids) + self.positions.weight[at : at + ids.shape[1]]
        for layer, cache in zip(self.layers, caches, strict=True):
            x = layer(x, cache, at)
        return cast(torch.Tensor, self.norm(x[:, -1]))

    def greedy(
        self, model: Any, heard: Any, prompt: Sequence[int], never: Sequence[int], not_first: Sequence[int]
    ) -> list[list[int]]:
        """The texts of a batch, see ``lxbench.inference.greedy``.

        Args:
            model: the Whisper whose decoder this is.
            heard: the encoder's output: ``last_hidden_state`` of shape (batch, positions, width), and ``bias`` if some
                of the positions stand for several.
            prompt: the first tokens, which are given.
            never: tokens that are suppressed.
            not_first: tokens that are suppressed at the first place.

        Returns:
            The tokens of each text, the prompt and the end left out.
        """
        hidden, length = heard.last_hidden_state, text_length(model, prompt)
        caches = [Cache(cast(DecoderLayer, layer), hidden, heard.get("bias"), length) for layer in self.layers]
        texts = torch.tensor([list(prompt)] * len(hidden), device=hidden.device)
        known = getattr(self.embed_tokens, "tokens", None)  # of a cut vocabulary

        def say(ids: torch.Tensor, at: int) -> torch.Tensor:
            return cast(torch.Tensor, model.proj_out(self(ids, caches, at)))

        return greedy(say, texts, model, never, not_first, known)
