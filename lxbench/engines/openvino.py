"""OpenVINO; see https://docs.openvino.ai/2026/openvino-workflow/running-inference.html."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino
import torch
from numpy.typing import NDArray
from torch import nn
from torch.profiler import record_function

from lxbench.engines import EngineModel, require_kind, require_whole
from lxbench.engines.graphs import export_hear, export_say
from lxbench.inference.greedy import greedy

KINDS = {"float32": ("FP32", "f32"), "bfloat16": ("BF16", "bf16")}


def convert(model: Any, kind: str) -> EngineModel:
    """Export a model, and compile it for the CPU.

    Args:
        model: a ``WhisperForConditionalGeneration`` in float32; its layers may be cut.
        kind: what its matrix products are in, a key of ``KINDS``.

    Raises:
        StepError: OpenVINO does not compute in that on this CPU, or layers were replaced.
    """
    require_whole(model, "OpenVINO", cut=True)
    core = openvino.Core()
    able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    require_kind("OpenVINO", kind, (name for name, (needed, _) in KINDS.items() if needed in able))
    settings = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": KINDS[kind][1],  # Left alone it takes what is fastest at hand.
        "PERFORMANCE_HINT": "LATENCY",
    }
    hear, (say, remembered) = export_hear(model), export_say(model)
    first, second = (
        core.compile_model(core.read_model(graph.path), "CPU", settings).create_infer_request() for graph in (hear, say)
    )
    known = getattr(model.model.decoder.embed_tokens, "tokens", None)
    return EngineModel(model, _Encoder(first, kind), _Decoder(second, remembered, known), hear.size + say.size)


def _infer(request: openvino.InferRequest, given: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Run once; what comes out is copied, for the next run writes in its place."""
    found = request.infer(dict(enumerate(given)), share_inputs=True)
    return [found[index] for index in range(len(found))]


class _Encoder(nn.Module):
    def __init__(self, request: openvino.InferRequest, kind: str) -> None:
        super().__init__()
        self.request, self.kind = request, kind

    def forward(self, features: torch.Tensor, **_: Any) -> list[NDArray[Any]]:
        with record_function(f"openvino::{self.kind}"):
            return _infer(self.request, [features.numpy()])


class _Decoder(nn.Module):
    def __init__(
        self, request: openvino.InferRequest, remembered: Sequence[tuple[int, int]], known: torch.Tensor | None
    ) -> None:
        super().__init__()
        self.request, self.remembered, self.known = request, remembered, known

    def greedy(
        self,
        model: Any,
        heard: Sequence[NDArray[Any]],
        prompt: Sequence[int],
        never: Sequence[int],
        not_first: Sequence[int],
    ) -> list[list[int]]:
        batch = heard[0].shape[0]
        even = np.zeros((1, 1, 1, heard[0].shape[2]), np.float32)
        past = [np.zeros((batch, heads, 0, width), np.float32) for heads, width in self.remembered]

        def say(ids: torch.Tensor, _: int) -> torch.Tensor:
            nonlocal past
            scores, *past = _infer(self.request, [ids.numpy(), *past, *heard, even])
            return torch.from_numpy(scores)[:, -1]

        return greedy(say, torch.tensor([list(prompt)] * batch), model, never, not_first, self.known)
