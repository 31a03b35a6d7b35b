"""Whisper's decoder as CUDA graphs: a token is one launch.

On a GPU a decoding step at batch 1 takes longer to launch than to compute: hundreds of kernels of a few microseconds.
Here all of it - the layers, the choice of the token, the place in the cache - works on tensors that never move, so that
it can be recorded once and replayed (https://pytorch.org/blog/accelerating-pytorch-with-cuda-graphs/). What is left is
reading the weights, and with ``fused`` kernels of our own do little else, see ``kernels``. On the CPU all of it runs
unrecorded.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import nn
from torch.nn.functional import gelu, linear

from lxbench.inference import plain
from lxbench.inference.greedy import places, text_length
from lxbench.inference.plain import Attention, Cache, DecoderLayer

_PASSES = 3  # before a recording: libraries take their workspaces, Triton compiles
_recorded = Counter[str]()


class Int8Linear(nn.Module):
    """A Linear with int8 weights, a scale for every output; the product is in the type of its input.

    Args:
        old: a Linear.
    """

    weight: torch.Tensor
    scale: torch.Tensor

    def __init__(self, old: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features, self.bias = old.in_features, old.out_features, old.bias
        weight = old.weight.data.float()
        scale = (weight.abs().amax(1, keepdim=True) / 127).clamp(min=1e-8)
        self.register_buffer("weight", (weight / scale).round().to(torch.int8))
        self.register_buffer("scale", scale.to(old.weight.dtype).squeeze(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From (..., inputs) to (..., outputs)."""
        # Scaled before: sums of integers soon are more than float16 holds.
        return linear(x, self.weight.to(x.dtype) * self.scale[:, None], self.bias)


class Decoder(plain.Decoder):
    """``plain.Decoder`` with its loop recorded.

    Args:
        old: the decoder whose parts it takes.
        fused: whether the prompt and a step are made of ``kernels``, at batch 1.
    """

    def __init__(self, old: plain.Decoder, fused: bool) -> None:
        nn.Module.__init__(self)
        self.embed_tokens, self.positions = old.embed_tokens, old.positions
        self.norm, self.layers = old.norm, old.layers
        self.fused = fused
        self._loops: dict[tuple[Any, ...], Loop] = {}

    def greedy(
        self, model: Any, heard: Any, prompt: Sequence[int], never: Sequence[int], not_first: Sequence[int]
    ) -> list[list[int]]:
        """The texts of a batch, see ``plain.Decoder.greedy``; what is of a new shape is recorded first."""
        hidden, bias = heard.last_hidden_state, heard.get("bias")
        key = (tuple(hidden.shape), bias is not None, tuple(prompt), tuple(never), tuple(not_first))
        # Not in inference mode: what is recorded stays, and is written to.
        with torch.inference_mode(False), torch.no_grad():
            if (loop := self._loops.get(key)) is None:
                loop = self._loops[key] = Loop(self, model, hidden, bias, prompt, never, not_first)
            return loop.run(hidden, bias)


class Loop:
    """The loop of a decoder over a batch of one shape, its tensors where they will always be."""

    def __init__(
        self,
        decoder: Decoder,
        model: Any,
        hidden: torch.Tensor,
        bias: torch.Tensor | None,
        prompt: Sequence[int],
        never: Sequence[int],
        not_first: Sequence[int],
    ) -> None:
        self.decoder, self.model = decoder, model
        self.length, self.end = text_length(model, prompt), model.generation_config.eos_token_id
        batch, device = len(hidden), hidden.device
        self.known = getattr(decoder.embed_tokens, "tokens", None)  # of a cut vocabulary
        room = max(self.length, len(prompt) + _PASSES)  # What is recorded runs a few times before.
        self.suppressed = places(never, self.known, device)
        self.suppressed_first = places([*never, *not_first], self.known, device)
        self.hidden = torch.empty_like(hidden).copy_(hidden)
        self.bias = None if bias is None else torch.empty_like(bias).copy_(bias)
        self.prompt = torch.tensor([list(prompt)] * batch, device=device)
        self.texts = torch.zeros(batch, room + 1, dtype=torch.long, device=device)
        self.ended = torch.zeros(batch, dtype=torch.bool, device=device)
        self.done = torch.zeros(1, dtype=torch.bool, device=device)
        self.at = torch.zeros(1, dtype=torch.long, device=device)
        self.places = torch.arange(room, device=device)
        layers = cast("Sequence[DecoderLayer]", decoder.layers)
        self.caches = [Cache(layer, self.hidden, self.bias, room) for layer in layers]
        # Keys and values as the projection has them, side by side: the cache looks at the same memory.
        self.heard = [layer.cross.kv(self.hidden) for layer in layers]
        for layer, cache, heard in zip(layers, self.caches, self.heard, strict=True):
            cache.heard_keys, cache.heard_values = layer.cross.heads(heard, 2)
            cache.keys.zero_()  # What is not written yet counts nothing, but must be numbers.
            cache.values.zero_()
        self.fused = decoder.fused and batch == 1
        heads = max(part.count for layer in layers for part in (layer.attention, layer.cross))
        self.counts = torch.zeros(heads, dtype=torch.int32, device=device)  # for ``kernels``
        self.begin, self.go_on = record(self._begin, device), record(self._go_on, device)

    def run(self, hidden: torch.Tensor, bias: torch.Tensor | None) -> list[list[int]]:
        """The tokens of each text, the prompt and the end left out."""
        self.hidden.copy_(hidden)
        if bias is not None and self.bias is not None:
            self.bias.copy_(bias)
        first = self.prompt.shape[1]
        most = self.length - first
        flags = Flags(self.done, most)
        self.begin()
        count = 1
        flags.raised(0)
        while count < most:
            self.go_on()
            flags.raised(count)
            count += 1
            if flags.read(count - 2):  # The last but one: while it is on its way here, the next token is computed.
                break
        texts = self.texts[:, first : first + count].tolist()
        return [text[: text.index(self.end)] if self.end in text else text for text in texts]

    def _begin(self) -> None:
        """Read what was heard, and the prompt; choose the first token."""
        for layer, heard in zip(self.decoder.layers, self.heard, strict=True):
            heard.copy_(cast(DecoderLayer, layer).cross.kv(self.hidden))
        self.ended.zero_()
        if self.fused:
            self.at.zero_()
            scores = self._fused(self.prompt, self.decoder.positions.weight[: self.prompt.shape[1]])
        else:
            scores = self.model.proj_out(self.decoder(self.prompt, self.caches, 0))
        self.at.fill_(self.prompt.shape[1] - 1)
        self._say(scores.index_fill(1, self.suppressed_first, -torch.inf).argmax(-1))

    def _go_on(self) -> None:
        """The next token."""
        decoder = self.decoder
        place, said = decoder.positions.weight.index_select(0, self.at), self.texts.index_select(1, self.at)
        if self.fused:
            scores = self._fused(said, place)
        else:
            x = decoder.embed_tokens(said) + place
            # What is not written yet, shape (1, 1, 1, positions).
            unwritten = torch.zeros_like(self.places, dtype=x.dtype).masked_fill(self.places > self.at, -torch.inf)
            for layer, cache in zip(cast("Sequence[DecoderLayer]", decoder.layers), self.caches, strict=True):
                x = self._layer(layer, x, cache, unwritten.view(1, 1, 1, -1))
            scores = self.model.proj_out(decoder.norm(x))[:, -1]
        self._say(scores.index_fill(1, self.suppressed, -torch.inf).argmax(-1))

    def _layer(self, layer: DecoderLayer, x: torch.Tensor, cache: Cache, unwritten: torch.Tensor) -> torch.Tensor:
        """One token of each text through a layer, see ``plain.DecoderLayer.forward``; its place is a tensor."""
        own: Attention = layer.attention
        query, key, value = own.heads(own.qkv(layer.attention_norm(x)), 3)
        cache.keys.index_copy_(2, self.at, key)
        cache.values.index_copy_(2, self.at, value)
        x = x + own.look(query, cache.keys, cache.values, attn_mask=unwritten)
        (query,) = layer.cross.heads(layer.cross.q(layer.cross_norm(x)), 1)
        x = x + layer.cross.look(query, cache.heard_keys, cache.heard_values, attn_mask=cache.bias)
        return cast(torch.Tensor, x + layer.fc2(gelu(layer.fc1(layer.norm(x)))))

    def _fused(self, ids: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """The scores behind the last of some tokens, at batch 1, by kernels of our own.

        Args:
            ids: of the tokens, shape (1, tokens).
            places: the embeddings of their places, shape (tokens, width); the first is at ``self.at``.
        """
        from lxbench.inference import kernels

        decoder, counts = self.decoder, self.counts
        x = decoder.embed_tokens(ids) + places
        parts = zip(cast("Sequence[DecoderLayer]", decoder.layers), self.caches, self.heard, strict=True)
        for layer, cache, heard in parts:  # ``heard`` is keys and values of what was heard, in one.
            own, cross = layer.attention, layer.cross
            seen = kernels.look_back(own.qkv, x, layer.attention_norm, cache.keys, cache.values, self.at, counts)
            x = kernels.product(own.out, seen, residual=x)
            query = kernels.product(cross.q, x, norm=layer.cross_norm)
            x = kernels.product(cross.out, kernels.look(query, heard, cache.bias, cross.count, counts), residual=x)
            x = kernels.product(layer.fc2, kernels.product(layer.fc1, x, norm=layer.norm, gelu=True), residual=x)
        return kernels.product(self.model.proj_out, x[:, -1:], norm=decoder.norm)[:, -1]

    def _say(self, best: torch.Tensor) -> None:
        best = best if self.known is None else self.known[best]
        self.ended.logical_or_(best == self.end)
        self.done.copy_(self.ended.all())
        self.at.add_(1)
        self.texts.index_copy_(1, self.at, best[:, None])


class Flags:
    """Whether all texts have ended, read a step late: the GPU goes on while its answer is on its way."""

    def __init__(self, flag: torch.Tensor, most: int) -> None:
        self.flag, on_gpu = flag, flag.device.type == "cuda"
        self.seen = torch.zeros(most, dtype=torch.bool, pin_memory=on_gpu)
        self.events: list[Any] = [torch.cuda.Event() for _ in range(2)] if on_gpu else []

    def raised(self, step: int) -> None:
        """Have the answer of a step brought here."""
        self.seen[step : step + 1].copy_(self.flag, non_blocking=True)
        if self.events:
            self.events[step % 2].record()

    def read(self, step: int) -> bool:
        """The answer of one of the last two steps."""
        if self.events:
            self.events[step % 2].synchronize()
        return bool(self.seen[step])


def record(body: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """A function of no arguments as one launch; on the CPU the function itself.

    It has to work on tensors that stay where they are, in shapes that do not depend on their values.
    """
    _recorded["functions"] += 1
    if device.type != "cuda":
        return body
    stream = _stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(_PASSES):
            body()
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        body()
    return graph.replay


def recorded() -> int:
    """How many functions were recorded in this process: more with every new shape."""
    return _recorded["functions"]


@functools.cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """Where all is recorded: cuBLAS keeps a workspace, 32 MiB on Hopper, for every stream that it has worked on."""
    return torch.cuda.Stream(device)


def recorded_encoder(forward: Callable[..., Any]) -> Callable[..., Any]:
    """What stands in for an encoder's ``forward``: a recording for every shape of features."""
    from transformers.modeling_outputs import BaseModelOutput

    recordings: dict[Any, tuple[torch.Tensor, list[Any], Callable[[], None]]] = {}

    def replayed(input_features: torch.Tensor, **_: Any) -> Any:
        key = tuple(input_features.shape)
        with torch.inference_mode(False), torch.no_grad():
            if key not in recordings:
                features, output = torch.empty_like(input_features).copy_(input_features), [None]

                def body() -> None:
                    output[0] = forward(features).last_hidden_state

                recordings[key] = features, output, record(body, features.device)
            features, output, play = recordings[key]
            features.copy_(input_features)
            play()
            return BaseModelOutput(last_hidden_state=output[0])

    return replayed
