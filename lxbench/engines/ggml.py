"""A Whisper in the format of ggml, as whisper.cpp reads it; see its ``models/convert-h5-to-ggml.py``."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

_MAGIC = 0x67676D6C
_FLOAT32, _FLOAT16, _Q8_0 = 0, 1, 8
# By kind: how matrices are stored, and what the header says of the file.
KINDS = {"float16": (_FLOAT16, 1), "q8_0": (_Q8_0, 2007)}  # the thousands: version 2 of quantized formats
_BLOCK = 32
# From the names of transformers to OpenAI's.
_NAMES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"^model\.", ""),
    (r"\.layers\.", ".blocks."),
    (r"\.self_attn\.", ".attn."),
    (r"\.self_attn_layer_norm\.", ".attn_ln."),
    (r"\.encoder_attn\.", ".cross_attn."),
    (r"\.encoder_attn_layer_norm\.", ".cross_attn_ln."),
    (r"\.([qkv])_proj\.", lambda found: f".{ {'q': 'query', 'k': 'key', 'v': 'value'}[found[1]] }."),
    (r"\.out_proj\.", ".out."),
    (r"\.fc1\.", ".mlp.0."),
    (r"\.fc2\.", ".mlp.2."),
    (r"\.final_layer_norm\.", ".mlp_ln."),
    (r"encoder\.layer_norm\.", "encoder.ln_post."),
    (r"decoder\.layer_norm\.", "decoder.ln."),
    (r"embed_positions\.weight", "positional_embedding"),
    (r"embed_tokens\.", "token_embedding."),
)


def write(model: Any, tokenizer: Any, kind: str, file: IO[bytes]) -> None:
    """Write a model as whisper.cpp's own converter does (``models/convert-h5-to-ggml.py``).

    The header, the mel filters (unused here), the bytes of the text's tokens, then each tensor: dimensions, innermost
    first, its type, its name, its numbers. Vectors, positions and the convolutions' biases are float32.

    Args:
        model: a ``WhisperForConditionalGeneration``.
        tokenizer: its tokenizer.
        kind: a key of ``KINDS``.
        file: where to.
    """
    config, (matrix, header) = model.config, KINDS[kind]
    sizes = (
        config.vocab_size,
        config.max_source_positions,
        config.d_model,
        config.encoder_attention_heads,
        config.encoder_layers,
        config.max_target_positions,
        config.d_model,
        config.decoder_attention_heads,
        config.decoder_layers,
        config.num_mel_bins,
        header,
    )
    file.write(struct.pack("<12i", _MAGIC, *sizes))
    file.write(struct.pack("<2i", config.num_mel_bins, 201) + bytes(4 * config.num_mel_bins * 201))
    pieces = _token_bytes(tokenizer)
    file.write(struct.pack("<i", len(pieces)))
    for piece in pieces:
        file.write(struct.pack("<i", len(piece)) + piece)
    for name, tensor in _tensors(model):
        _write_tensor(file, name, tensor, matrix)


def _token_bytes(tokenizer: Any) -> list[bytes]:
    """What the text's tokens spell, in the order of their ids; GPT-2's alphabet stands for bytes."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    alphabet = {letter: byte for byte, letter in bytes_to_unicode().items()}
    count = min(tokenizer.all_special_ids)
    return [bytes(alphabet[letter] for letter in piece) for piece in tokenizer.convert_ids_to_tokens(range(count))]


def _tensors(model: Any) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for name, tensor in model.state_dict().items():
        if name == "proj_out.weight":
            continue  # whisper.cpp takes the embedding for it
        for pattern, wanted in _NAMES:
            name = re.sub(pattern, wanted, name)
        yield name, tensor.detach().float().numpy()


def _write_tensor(file: IO[bytes], name: str, values: NDArray[np.float32], matrix: int) -> None:
    if re.fullmatch(r"encoder\.conv\d\.bias", name):
        values = values[:, None]
    kind = _FLOAT32
    if values.ndim >= 2 and not name.endswith(("bias", "positional_embedding")):
        # Blocks of 32 along a row: convolutions have rows of 3.
        kind = _FLOAT16 if matrix == _Q8_0 and values.ndim > 2 else matrix
    encoded = name.encode()
    file.write(struct.pack("<3i", values.ndim, len(encoded), kind))
    file.write(struct.pack(f"<{values.ndim}i", *reversed(values.shape)) + encoded)
    file.write(_ENCODERS[kind](values))


def q8_0(values: NDArray[np.float32]) -> bytes:
    """Blocks of 32 numbers: a scale in float16, then as many int8."""
    blocks = values.reshape(-1, _BLOCK)
    scales = np.abs(blocks).max(axis=1, keepdims=True) / 127
    numbers = np.round(np.divide(blocks, scales, out=np.zeros_like(blocks), where=scales > 0)).astype(np.int8)
    return np.hstack([scales.astype(np.float16).view(np.int8), numbers]).tobytes()


_ENCODERS: dict[int, Callable[[NDArray[np.float32]], bytes]] = {
    _FLOAT32: lambda values: values.tobytes(),
    _FLOAT16: lambda values: values.astype(np.float16).tobytes(),
    _Q8_0: q8_0,
}
