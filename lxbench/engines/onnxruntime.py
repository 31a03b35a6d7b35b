"""ONNX Runtime; see https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn
from torch.profiler import record_function

from lxbench.engines import EngineModel, replaced, require_kind, require_whole
from lxbench.engines.graphs import Finish, Graph, Heard, export_hear, export_say
from lxbench.errors import StepError
from lxbench.inference import plain
from lxbench.inference.greedy import greedy

KINDS = ("float32", "int8")
_value = onnxruntime.OrtValue.ortvalue_from_numpy


def convert(model: Any, kind: str) -> EngineModel:
    """Export a model, quantize it dynamically if that is asked for, and load it.

    Args:
        model: a ``WhisperForConditionalGeneration`` in float32; its layers may be cut.
        kind: what its matrix products are in, one of ``KINDS``.

    Raises:
        StepError: the kind is none of them, or layers were replaced.
    """
    require_whole(model, "ONNX Runtime", cut=True)
    require_kind("ONNX Runtime", kind, KINDS)
    graph = export_hear(model, _finish(kind))
    return EngineModel(model, _Encoder(graph, kind), _Say(model, kind), graph.size)


def convert_decoder(model: Any, kind: str) -> Any:
    """Export the decoder alone; what it hears is still made by torch.

    Args:
        model: a Whisper with the decoder of ``lxbench.inference.plain`` in float32; its layers may be cut.
        kind: as above.

    Raises:
        StepError: the kind is not known, or the decoder is another.
    """
    require_kind("ONNX Runtime", kind, KINDS)
    decoder = model.model.decoder
    whole = isinstance(decoder, plain.Decoder) and not (replaced(decoder) or replaced(model.proj_out))
    if not whole or decoder.embed_tokens.weight.dtype != torch.float32:
        raise StepError(
            "ONNX Runtime is given the decoder before plain_decoding, or after its layers were replaced or cast",
            expected="plain_decoding, then this, then quantize_linears or cast",
            command="see fast-ort in lxbench/variants.py",
        )
    model.model.decoder = Decoder(decoder, _Say(model, kind))
    model.proj_out = nn.Identity()
    return model


def _session(graph: Graph) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    # Its threads wait busily for more work, on the cores that torch computes features, and may encode, with.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(graph.path, options, providers=["CPUExecutionProvider"])


def _finish(kind: str) -> Finish | None:
    """Nothing, or int8 weights with a scale for each output in the place of those in float32."""
    if kind != "int8":
        return None
    # Without VNNI two products of 8 bits are added in 16 and may overflow: 7 bits for the weights.
    narrow = not torch.cpu._is_vnni_supported()

    def quantize(path: Path) -> None:
        quantize_dynamic(
            path,
            path.with_name("int8.onnx"),
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            reduce_range=narrow,
            weight_type=QuantType.QInt8,
            use_external_data_format=True,
        )
        for old in path.parent.glob(f"{path.name}*"):
            old.unlink()

    return Finish(f"{Path(__file__).read_text('utf-8')} {onnxruntime.__version__} {narrow}", quantize)


class _Encoder(nn.Module):
    def __init__(self, graph: Graph, kind: str) -> None:
        super().__init__()
        self.session, self.kind = _session(graph), kind

    def forward(self, features: torch.Tensor, **_: Any) -> list[Any]:
        with record_function(f"onnxruntime::{self.kind}"):
            given = {"features": _value(features.numpy())}
            return cast("list[Any]", self.session.run_with_ort_values(None, given))


class _Say(nn.Module):
    """The decoder from keys and values on.

    Attributes:
        stored_bytes: what its weights take on disk.
        token_bytes: what of them is read for every token.
    """

    def __init__(self, model: Any, kind: str) -> None:
        super().__init__()
        decoder, self.kind = model.model.decoder, kind
        graph, self.remembered = export_say(model, _finish(kind))
        self.session, self.stored_bytes = _session(graph), graph.size
        # Of the embedding, which stays in float32, a row is read.
        self.token_bytes = self.stored_bytes - decoder.embed_tokens.weight.nbytes
        self.known = getattr(decoder.embed_tokens, "tokens", None)
        self.names = [given.name for given in self.session.get_inputs()]
        self.results = [found.name for found in self.session.get_outputs()]

    def greedy(
        self,
        model: Any,
        heard: Sequence[Any],
        prompt: Sequence[int],
        never: Sequence[int],
        not_first: Sequence[int],
        bias: torch.Tensor | None = None,
    ) -> list[list[int]]:
        batch, _, positions, _ = heard[0].shape()
        past = [_value(np.zeros((batch, heads, 0, width), np.float32)) for heads, width in self.remembered]
        weights = _value((torch.zeros(1, 1, 1, positions) if bias is None else bias).numpy())

        def say(ids: torch.Tensor, _: int) -> torch.Tensor:
            nonlocal past
            given = dict(zip(self.names, [_value(ids.numpy()), *past, *heard, weights], strict=True))
            scores, *past = self.session.run_with_ort_values(self.results, given)
            return torch.from_numpy(scores.numpy())[:, -1]

        with record_function(f"onnxruntime::{self.kind}"):
            return greedy(say, torch.tensor([list(prompt)] * batch), model, never, not_first, self.known)


class Decoder(nn.Module):
    """A decoder whose keys and values of what was heard are made by torch, and all else by ONNX Runtime."""

    heard_width = 4  # Whatever type they are made in, the graph is given float32.

    def __init__(self, old: plain.Decoder, say: _Say) -> None:
        super().__init__()
        self.heard, self.say = Heard(old), say

    def greedy(
        self, model: Any, hidden: Any, prompt: Sequence[int], never: Sequence[int], not_first: Sequence[int]
    ) -> list[list[int]]:
        """The texts of a batch, see ``lxbench.inference.plain.Decoder.greedy``."""
        values = [_value(part.contiguous().numpy()) for part in self.heard(hidden.last_hidden_state)]
        return self.say.greedy(model, values, prompt, never, not_first, hidden.get("bias"))
