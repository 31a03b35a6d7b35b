"""whisper.cpp, through the library that pywhispercpp ships; see https://github.com/ggml-org/whisper.cpp.

Its own pipeline has features, sampling and fallbacks of its own. Here only its encoder and decoder run, step by step
through its C interface: log-mel features, prompt and suppressed tokens are those of the other rows.
"""

from __future__ import annotations

import ctypes
import re
import struct
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.profiler import record_function
from transformers import WhisperTokenizer

from lxbench.engines import EngineModel, require_kind, require_whole
from lxbench.errors import StepError
from lxbench.greedy import greedy

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


def convert(model: Any, kind: str) -> EngineModel:
    """Write a model in ggml's format, and load it.

    Args:
        model: a ``WhisperForConditionalGeneration`` of the usual sizes.
        kind: a key of ``KINDS``.

    Raises:
        StepError: whisper.cpp does not take it.
    """
    require_whole(model, "whisper.cpp")
    require_kind("whisper.cpp", kind, KINDS)
    library = _library()
    with tempfile.NamedTemporaryFile(prefix="lxbench-", suffix=".bin") as file:
        write(model, WhisperTokenizer.from_pretrained(model.name_or_path), kind, file)
        file.flush()
        size = Path(file.name).stat().st_size
        context = library.whisper_init_from_file(file.name.encode())
    if not context:
        raise StepError(
            "whisper.cpp does not take this model",
            expected="a Whisper of the usual sizes, no layer cut",
            command="read the row's log",
        )
    engine = _Engine(library, context, kind)
    return EngineModel(model, _Encoder(engine), _Decoder(engine), size)


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
            continue  # tied to the embedding
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


def _library() -> Any:
    """The shared library that pywhispercpp has loaded: its Python functions leave out whole texts and scores.

    Raises:
        StepError: it is not to be found.
    """
    import _pywhispercpp  # noqa: F401

    loaded = (line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines())
    path = next((path for path in loaded if "libwhisper" in Path(path).name), None)
    if path is None:
        raise StepError(
            "the library of whisper.cpp is not among what pywhispercpp has loaded",
            expected="libwhisper in the wheel",
            command="pip install --force-reinstall pywhispercpp",
        )
    library = ctypes.CDLL(path)
    pointer, number = ctypes.c_void_p, ctypes.c_int
    for name, result, arguments in (
        ("whisper_init_from_file", pointer, [ctypes.c_char_p]),
        ("whisper_free", None, [pointer]),
        ("whisper_set_mel", number, [pointer, pointer, number, number]),
        ("whisper_encode", number, [pointer, number, number]),
        ("whisper_decode", number, [pointer, pointer, number, number, number]),
        ("whisper_get_logits", ctypes.POINTER(ctypes.c_float), [pointer]),
        ("whisper_n_vocab", number, [pointer]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class _Engine:
    """A model in whisper.cpp, which hears one clip at a time."""

    def __init__(self, library: Any, context: int, kind: str) -> None:
        self.library, self.context, self.kind = library, context, kind
        self.vocabulary, self.threads = library.whisper_n_vocab(context), torch.get_num_threads()
        weakref.finalize(self, library.whisper_free, context)

    def hear(self, features: torch.Tensor) -> None:
        """Encode the features of one clip, shape (bands, frames)."""
        bands, frames = features.shape
        values = features.contiguous()
        self._done(self.library.whisper_set_mel(self.context, values.data_ptr(), frames, bands))
        self._done(self.library.whisper_encode(self.context, 0, self.threads))

    def say(self, ids: torch.Tensor, at: int) -> torch.Tensor:
        """Scores of the token after those of a text, shape (1, vocabulary); the next call writes in their place."""
        tokens = (ctypes.c_int32 * ids.numel())(*ids.flatten().tolist())
        self._done(self.library.whisper_decode(self.context, tokens, len(tokens), at, self.threads))
        shape = (len(tokens), self.vocabulary)
        scores = np.ctypeslib.as_array(self.library.whisper_get_logits(self.context), shape)
        return torch.from_numpy(scores)[-1:]

    def _done(self, code: int) -> None:
        if code:
            raise RuntimeError(f"whisper.cpp ended with code {code}")


class _Encoder(nn.Module):
    def __init__(self, engine: _Engine) -> None:
        super().__init__()
        self.engine = engine

    def forward(self, features: torch.Tensor, **_: Any) -> torch.Tensor:
        """The features: what is heard stays in the engine. Those of a batch are heard when their turn has come."""
        if len(features) == 1:
            with record_function(f"whispercpp::{self.engine.kind}"):
                self.engine.hear(features[0])
        return features


class _Decoder(nn.Module):
    def __init__(self, engine: _Engine) -> None:
        super().__init__()
        self.engine = engine

    def greedy(
        self, model: Any, features: torch.Tensor, prompt: Sequence[int], never: Sequence[int], not_first: Sequence[int]
    ) -> list[list[int]]:
        texts: list[list[int]] = []
        for clip in features:
            if len(features) > 1:
                self.engine.hear(clip)
            texts += greedy(self.engine.say, torch.tensor([list(prompt)]), model, never, not_first)
        return texts
