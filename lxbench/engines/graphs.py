"""A Whisper as two graphs in ONNX's format, which other engines read.

One graph hears: from log-mel features to the keys and values that the decoder's layers look at. The other says: from
tokens, and the keys and values of the text before them, to scores and the text's keys and values.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.nn.functional import gelu

from lxbench import kept
from lxbench.inference import plain
from lxbench.inference.plain import Decoder, DecoderLayer, Encoder
from lxbench.pruning import pruned

_FILE = "graph.onnx"


class Heard(nn.Module):
    """What the decoder's layers make of the encoder's output, once a clip."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        cross = [cast(DecoderLayer, layer).cross for layer in decoder.layers]
        self.layers = nn.ModuleList(nn.ModuleDict({"kv": each.kv}) for each in cross)
        self.sizes = [(each.count, each.width) for each in cross]

    def forward(self, hidden: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """From (batch, positions, width of the model) to keys and values, (batch, heads, positions, width) each."""
        parts: list[torch.Tensor] = []
        for layer, (count, width) in zip(self.layers, self.sizes, strict=True):
            joint = cast(nn.ModuleDict, layer)["kv"](hidden)
            parts += joint.view(*hidden.shape[:2], 2, count, width).permute(2, 0, 3, 1, 4).unbind(0)
        return tuple(parts)


class Hear(nn.Module):
    """The encoder with ``Heard`` behind it."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder = Encoder(model.model.encoder, most=1, margin=0, groups=1)
        self.heard = Heard(_plain(model))

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Keys and values by layer, each of shape (batch, heads, positions, width).

        Args:
            features: log-mel of the whole window, shape (batch, bands, frames).
        """
        return cast("tuple[torch.Tensor, ...]", self.heard(self.encoder(features).last_hidden_state))


class Say(nn.Module):
    """The decoder for the tokens that come next, with what it remembers going in and coming out."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        # Its own weights: a matrix that is tied to the embedding would be transposed for every token.
        self.decoder, self.proj_out = _plain(model), copy.deepcopy(model.proj_out)

    def forward(
        self,
        ids: torch.Tensor,
        past: Sequence[torch.Tensor],
        heard: Sequence[torch.Tensor],
        bias: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Scores of the token after these, shape (batch, 1, vocabulary), then ``past`` with these tokens.

        Args:
            ids: shape (batch, length).
            past: keys and values by layer of the tokens before, shape (batch, heads, length before, width).
            heard: what ``Hear`` made.
            bias: added to the scores of what was heard, shape (1, 1, 1, positions).
        """
        start, length = past[0].shape[2], ids.shape[1]
        places = torch.arange(start, start + length)
        x = self.decoder.embed_tokens(ids) + self.decoder.positions.weight[places]
        later = torch.arange(start + length)[None] > places[:, None]
        mask = torch.zeros_like(later, dtype=torch.float32).masked_fill(later, -torch.inf)
        grown: list[torch.Tensor] = []
        for index, layer in enumerate(cast("Sequence[DecoderLayer]", self.decoder.layers)):
            query, key, value = layer.attention.heads(layer.attention.qkv(layer.attention_norm(x)), 3)
            grown += [torch.cat([past[2 * index], key], dim=2), torch.cat([past[2 * index + 1], value], dim=2)]
            x = x + layer.attention.out(_attend(query, grown[-2], grown[-1], mask))
            (query,) = layer.cross.heads(layer.cross.q(layer.cross_norm(x)), 1)
            x = x + layer.cross.out(_attend(query, heard[2 * index], heard[2 * index + 1], bias))
            x = x + layer.fc2(gelu(layer.fc1(layer.norm(x))))
        return self.proj_out(self.decoder.norm(x[:, -1:])), *grown


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Attention of shape (batch, length, heads * width), spelled for engines.

    The exporter's own spelling scales the keys and turns them round: of all that was heard, for every token. This
    scales the query, and the engines turn keys round within the product.
    """
    scale: float = query.shape[-1] ** -0.5
    scores = (query * scale) @ key.transpose(2, 3) + bias
    return (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)


@dataclass(frozen=True)
class Graph:
    """A graph in the user's cache.

    Attributes:
        path: of its file; its weights are beside it.
        size: bytes of both.
    """

    path: Path
    size: int


@dataclass(frozen=True)
class Finish:
    """What is made of an exported graph.

    Attributes:
        name: of it and of all that it depends on.
        change: makes another file of a copy's, which it removes with the weights beside it.
    """

    name: str
    change: Callable[[Path], None]


def export_hear(model: Any, finish: Finish | None = None) -> Graph:
    """Export ``Hear`` for the whole window; one input, ``features``.

    Args:
        model: a Whisper in float32; its layers may be cut.
        finish: what is made of the graph, if anything.
    """
    hear = Hear(model).eval()
    # Two of everything whose number is free: the exporter takes a one for a one.
    features = torch.zeros(2, model.config.num_mel_bins, 2 * model.config.max_source_positions)

    def write(path: Path) -> None:
        torch.onnx.export(
            hear,
            (features,),
            path,
            dynamo=True,
            external_data=True,
            input_names=["features"],
            output_names=_names("heard", hear.heard.layers),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )

    return _kept(hear, f"{features.shape} {hear.heard.sizes}", write, finish)


def export_say(model: Any, finish: Finish | None = None) -> tuple[Graph, list[tuple[int, int]]]:
    """Export ``Say``; inputs are ``ids``, the past, what was heard, and its bias.

    Args:
        model: as above; its decoder may be that of ``lxbench.inference.plain``.
        finish: as above.

    Returns:
        The graph, and by what a text remembers, keys and values of each layer: heads and width.
    """
    say = Say(model).eval()
    layers = cast("Sequence[DecoderLayer]", say.decoder.layers)
    said = [(layer.attention.count, layer.attention.width) for layer in layers for _ in "kv"]
    seen = [(layer.cross.count, layer.cross.width) for layer in layers for _ in "kv"]
    texts = [torch.zeros(2, heads, 3, width) for heads, width in said]
    clips = [torch.zeros(2, heads, 5, width) for heads, width in seen]
    batch, length, before, positions = map(torch.export.Dim, ("batch", "length", "before", "positions"))

    def write(path: Path) -> None:
        torch.onnx.export(
            say,
            (torch.zeros(2, 2, dtype=torch.int64), texts, clips, torch.zeros(1, 1, 1, 5)),
            path,
            dynamo=True,
            external_data=True,
            input_names=["ids", *_names("past", layers), *_names("heard", layers), "bias"],
            output_names=["scores", *_names("grown", layers)],
            dynamic_shapes=(
                {0: batch, 1: length},
                [{0: batch, 2: before}] * len(texts),
                [{0: batch, 2: positions}] * len(clips),
                {3: positions},
            ),
        )

    return _kept(say, f"{said} {seen}", write, finish), said


def _kept(module: nn.Module, sizes: str, write: Callable[[Path], None], finish: Finish | None) -> Graph:
    """A graph of the same module, made by the same code and versions, is made once; so is what is made of it."""
    made_by = [f"{package} {version(package)}" for package in ("torch", "onnx", "onnx_ir", "onnxscript")]
    code = (Path(str(module)).read_bytes() for module in (__file__, plain.__file__, pruned.__file__))
    source = kept.digest(module.state_dict(), str(module), sizes, made_by, *code)

    def export(folder: Path) -> None:
        with _quiet():
            write(folder / _FILE)

    if finish is None:
        return _graph(source, export)

    def change(folder: Path) -> None:
        # Of a copy: ONNX Runtime writes another file beside the one that it is given.
        for file in _files(_graph(source, export).path.parent):
            shutil.copyfile(file, folder / file.name)
        with _quiet():
            finish.change(folder / _FILE)

    return _graph(kept.digest({}, source, finish.name), change)


def _graph(digest: str, make: Callable[[Path], None]) -> Graph:
    folder = kept.place("graphs", digest)
    kept.ensure(folder, make)
    (path,) = folder.glob("*.onnx")
    return Graph(path, sum(file.stat().st_size for file in _files(folder)))


def _files(folder: Path) -> list[Path]:
    return [file for file in folder.iterdir() if file.name != kept.SUMS]


def _names(what: str, layers: Sequence[Any] | nn.ModuleList) -> list[str]:
    return [f"{what}_{index}" for index in range(2 * len(layers))]


def _plain(model: Any) -> Decoder:
    old = model.model.decoder
    return old if isinstance(old, Decoder) else Decoder(old)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what converters tell of their own steps."""
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
