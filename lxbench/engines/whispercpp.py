"""whisper.cpp, through the library that pywhispercpp ships; see https://github.com/ggml-org/whisper.cpp.

Its own pipeline has features, sampling and fallbacks of its own. Here only its encoder and decoder run, step by step
through its C interface: log-mel features, prompt and suppressed tokens are those of the other rows.
"""

from __future__ import annotations

import ctypes
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.profiler import record_function

from lxbench.engines import EngineModel, require_kind, require_whole
from lxbench.engines.ggml import KINDS, write
from lxbench.errors import StepError
from lxbench.families import whisper
from lxbench.inference.greedy import greedy
from lxbench.pruning.pruned import is_tied


def convert(model: Any, kind: str) -> EngineModel:
    """Write a model in ggml's format, and load it.

    Args:
        model: a ``WhisperForConditionalGeneration`` of the usual sizes.
        kind: a key of ``ggml.KINDS``.

    Raises:
        StepError: whisper.cpp does not take it, or would take its embedding for an output of its own.
    """
    require_whole(model, "whisper.cpp")
    require_kind("whisper.cpp", kind, KINDS)
    if not is_tied(model):
        raise StepError(
            "whisper.cpp takes the embedding for the output, and this model has another one",
            expected="a model whose output is tied to its embedding",
            command="see the engines' rows in lxbench/variants.py",
        )
    library = _library()
    with tempfile.NamedTemporaryFile(prefix="lxbench-", suffix=".bin") as file:
        write(model, whisper.tokenizer(Path(model.name_or_path)), kind, file)
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
