"""CTranslate2, the engine of faster-whisper; see https://opennmt.net/CTranslate2/guides/transformers.html#whisper."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ctranslate2
import torch
from torch import nn
from torch.profiler import record_function
from transformers import GenerationConfig

from lxbench.engines import EngineModel, require_kind, require_whole
from lxbench.families import whisper
from lxbench.inference.greedy import text_length


def convert(model: Any, compute_type: str) -> EngineModel:
    """Convert a model by CTranslate2's own converter, and load it.

    Args:
        model: a ``WhisperForConditionalGeneration``.
        compute_type: what its matrix products are in, such as ``float32`` or ``int8_float32``.

    Raises:
        StepError: CTranslate2 does not compute in that on this CPU, or layers were cut or replaced.
    """
    require_whole(model, "CTranslate2")
    require_kind("CTranslate2", compute_type, ctranslate2.get_supported_compute_types("cpu"))
    with tempfile.TemporaryDirectory(prefix="lxbench-") as folder:
        saved, converted = Path(folder, "saved"), Path(folder, "converted")
        model.save_pretrained(saved)
        # The model's own configuration lists the tokens that are suppressed; the loaded one has given them away.
        GenerationConfig.from_pretrained(model.name_or_path).save_pretrained(saved)
        whisper.tokenizer(Path(model.name_or_path)).save_pretrained(saved)
        kind = compute_type.partition("_")[0]
        ctranslate2.converters.TransformersConverter(str(saved)).convert(str(converted), quantization=kind)
        shutil.rmtree(saved)
        size = (converted / "model.bin").stat().st_size
        engine = ctranslate2.models.Whisper(
            str(converted), device="cpu", compute_type=compute_type, intra_threads=torch.get_num_threads()
        )
    return EngineModel(model, _Encoder(engine), _Decoder(engine), size)


class _Encoder(nn.Module):
    def __init__(self, engine: ctranslate2.models.Whisper) -> None:
        super().__init__()
        self.engine = engine

    def forward(self, features: torch.Tensor, **_: Any) -> ctranslate2.StorageView:
        with record_function(f"ctranslate2::{self.engine.compute_type}"):
            return self.engine.encode(ctranslate2.StorageView.from_array(features.numpy()))


class _Decoder(nn.Module):
    def __init__(self, engine: ctranslate2.models.Whisper) -> None:
        super().__init__()
        self.engine = engine

    def greedy(
        self,
        model: Any,
        heard: ctranslate2.StorageView,
        prompt: Sequence[int],
        never: Sequence[int],
        not_first: Sequence[int],  # noqa: ARG002 - the converted configuration has them
    ) -> list[list[int]]:
        # Half of what it is given it keeps for a text before this one, as Whisper was trained.
        results = self.engine.generate(
            heard,
            [list(prompt)] * heard.shape[0],
            beam_size=1,
            max_length=2 * (text_length(model, prompt) - len(prompt)),
            suppress_blank=True,
            suppress_tokens=list(never),
        )
        return [result.sequences_ids[0] for result in results]
