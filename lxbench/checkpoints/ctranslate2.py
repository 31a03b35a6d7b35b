"""Read a Whisper checkpoint in CTranslate2's binary form and name its tensors as transformers does.

The format is the one written by ``ctranslate2/specs/model_spec.py`` (``ModelSpec._serialize``), little
endian: u32 version, name, u32 revision, u32 count; per variable its name, u8 rank, u32 dimensions, u8 type,
u32 bytes, data; then the aliases as pairs of names. A name is a u16 length (counting the NUL), the bytes, a NUL.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

BINARY_VERSION = 6
_DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}

# Scalars that describe the architecture rather than hold weights.
_SETTINGS = {
    "encoder/num_heads",
    "decoder/num_heads",
    "decoder/activation",
    "decoder/alibi",
    "decoder/alignment_heads",
    "decoder/alignment_layer",
    "decoder/pre_norm",
    "decoder/scale_embeddings",
    "decoder/start_from_zero_embedding",
}


@dataclass(frozen=True)
class Checkpoint:
    """The content of one ``model.bin``: arrays by name, and which name stands for which other."""

    spec: str
    revision: int
    variables: dict[str, Array]
    aliases: dict[str, str]


@dataclass
class _Reader:
    data: memoryview
    offset: int = 0

    def number(self, code: str) -> int:
        (value,) = struct.unpack_from(f"<{code}", self.data, self.offset)
        self.offset += struct.calcsize(code)
        return int(value)

    def name(self) -> str:
        length = self.number("H")
        if self.offset + length > len(self.data):
            raise ValueError(f"the data ends early: inside a name at byte {self.offset}")
        text = bytes(self.data[self.offset : self.offset + length - 1]).decode()
        self.offset += length
        return text

    def array(self) -> Array:
        shape = [self.number("I") for _ in range(self.number("B"))]
        dtype = np.dtype(_DTYPES[self.number("B")])
        size = self.number("I")
        if self.offset + size > len(self.data):
            raise ValueError(f"the data ends inside a tensor at byte {self.offset}")
        flat = np.frombuffer(self.data, dtype, count=size // dtype.itemsize, offset=self.offset)
        self.offset += size
        return flat.reshape(shape)


def read(data: bytes) -> Checkpoint:
    """Parse a whole ``model.bin``.

    Raises:
        ValueError: another format version, data that ends early, or bytes left over.
    """
    reader = _Reader(memoryview(data))
    try:
        version = reader.number("I")
        if version != BINARY_VERSION:
            raise ValueError(f"format version {version}, expected {BINARY_VERSION}")
        spec, revision = reader.name(), reader.number("I")
        variables = {reader.name(): reader.array() for _ in range(reader.number("I"))}
        aliases = {reader.name(): reader.name() for _ in range(reader.number("I"))}
    except struct.error as error:
        raise ValueError(f"the data ends early: {error}") from None
    if reader.offset != len(data):
        raise ValueError(f"{len(data) - reader.offset} bytes left over after the last alias")
    return Checkpoint(spec, revision, variables, aliases)


def to_transformers(checkpoint: Checkpoint) -> dict[str, Array]:
    """Rename and split the tensors into the state dict of ``WhisperForConditionalGeneration``.

    Every variable of the file is used exactly once; ``proj_out.weight`` is tied to the embedding and left out.

    Raises:
        ValueError: a variable that has no place, or a key bias that is not zero.
    """
    if checkpoint.aliases != {"decoder/projection/weight": "decoder/embeddings/weight"}:
        raise ValueError(f"unexpected aliases {checkpoint.aliases}")
    state: dict[str, Array] = {}
    for name, value in checkpoint.variables.items():
        if name in _SETTINGS:
            continue
        for key, tensor in _translate(name, value):
            if key in state:
                raise ValueError(f"{key} is defined twice, last by {name}")
            state[key] = tensor
    return state


# How CTranslate2's names inside one layer map to transformers' names.
_PLAIN = {
    "conv1": "conv1",
    "conv2": "conv2",
    "layer_norm": "layer_norm",
    "embeddings": "embed_tokens",
    "position_encodings": "embed_positions",
    "self_attention/layer_norm": "self_attn_layer_norm",
    "attention/layer_norm": "encoder_attn_layer_norm",
    "ffn/layer_norm": "final_layer_norm",
    "ffn/linear_0": "fc1",
    "ffn/linear_1": "fc2",
    "self_attention/linear_1": "self_attn.out_proj",
    "attention/linear_0": "encoder_attn.q_proj",
    "attention/linear_2": "encoder_attn.out_proj",
}
_STACKED = {
    "self_attention/linear_0": ("self_attn", "qkv"),
    "attention/linear_1": ("encoder_attn", "kv"),
}
_LEAVES = {
    "gamma": "weight",
    "beta": "bias",
    "weight": "weight",
    "bias": "bias",
    "encodings": "weight",
}


def _translate(name: str, value: Array) -> Iterator[tuple[str, Array]]:
    side, *middle, last = name.split("/")
    prefix = f"model.{side}."
    if middle and middle[0].startswith("layer_") and middle[0] != "layer_norm":
        prefix += f"layers.{middle.pop(0).removeprefix('layer_')}."
    module, leaf = "/".join(middle), _LEAVES.get(last)
    if leaf is not None and module in _PLAIN:
        yield f"{prefix}{_PLAIN[module]}.{leaf}", value
    elif leaf is not None and module in _STACKED:
        attention, letters = _STACKED[module]
        for letter, part in zip(letters, np.split(value, len(letters)), strict=True):
            if letter == "k" and leaf == "bias":
                if part.any():
                    raise ValueError(f"{name}: the key bias is not zero, Whisper has none")
            else:
                yield f"{prefix}{attention}.{letter}_proj.{leaf}", part
    else:
        raise ValueError(f"no place for variable {name}")
