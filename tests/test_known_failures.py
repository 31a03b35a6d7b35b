"""What is refused, and that the failure behind it is still there: a test that fails here says a refusal can go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from lxbench import models
from lxbench.checkpoints import embedded
from lxbench.errors import StepError
from lxbench.families import Loaded
from lxbench.families.whisper import extract
from lxbench.ladder import CPU, Step, Variant
from lxbench.steps.compile import compile_decoding, compile_encoder
from lxbench.steps.precision import cast
from lxbench.steps.torchao import torchao_a8w8
from lxbench.worker.build import build


@pytest.fixture(scope="module")
def folder() -> Path:
    return embedded.restore()


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ((cast("bfloat16"), torchao_a8w8, compile_encoder), "Inductor writes C\\+\\+ that does not compile"),
        ((compile_encoder, cast("bfloat16"), torchao_a8w8), "Inductor writes C\\+\\+ that does not compile"),
        ((torchao_a8w8, compile_encoder, compile_decoding), "torch._int_mm is silently wrong there on CPU"),
    ],
)
def test_a_combination_that_fails_is_refused_with_its_reason(
    steps: tuple[Step, ...], reason: str, folder: Path
) -> None:
    with pytest.raises(StepError, match=reason) as raised:
        build(Variant("x", CPU, steps=steps), folder, "cpu", lambda _: None)
    assert "expected: " in str(raised.value)


@pytest.mark.parametrize("steps", [(torchao_a8w8, compile_encoder), (cast("bfloat16"), torchao_a8w8)])
def test_its_neighbours_are_not(steps: tuple[Step, ...], folder: Path) -> None:
    build(Variant("x", CPU, steps=steps), folder, "cpu", lambda _: None)


@pytest.mark.skipif(not torch.cpu._is_vnni_supported(), reason="without AVX512-VNNI torch takes another path")
def test_int_mm_still_leaves_its_output_untouched_for_one_row_of_stride_0() -> None:
    """https://github.com/pytorch/pytorch/issues/195066, through which a compiled a8w8 decoder talks nonsense."""
    row = torch.randint(-5, 5, (1, 512), dtype=torch.int8)
    weights = torch.randint(-5, 5, (512, 512), dtype=torch.int8)
    out = torch.full((1, 512), 12345, dtype=torch.int32)
    torch._int_mm(row.as_strided((1, 512), (0, 1)), weights, out=out)
    assert (out == 12345).all()


@pytest.mark.filterwarnings("ignore:.* does not implement _stable_hash_for_caching")
def test_inductor_still_cannot_compile_a8w8_on_bfloat16() -> None:
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    shape: dict[str, Any] = {"d_model": 64, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 128}
    encoder: Any = WhisperEncoder(WhisperConfig(**shape, max_source_positions=50))
    encoder = encoder.to(torch.bfloat16).eval()
    quantize_(encoder, Int8DynamicActivationInt8WeightConfig())
    compiled: Any = torch.compile(encoder, dynamic=False)
    with torch.inference_mode(), pytest.raises(Exception, match="C\\+\\+ compile error"):
        compiled(torch.randn(1, 80, 100, dtype=torch.bfloat16))


def test_features_still_cannot_be_extracted_under_autocast(loaded: Loaded) -> None:
    """Why ``autocast`` wraps the two forwards and not all of ``generate`` with its features."""
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(TypeError, match="unsupported ScalarType BFloat16"):
        extract(loaded, [torch.zeros(16_000).numpy()])


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_still_refuses_int8_products_of_16_rows_or_fewer() -> None:
    rows, weights = (torch.ones(shape, dtype=torch.int8, device="cuda") for shape in ((16, 64), (64, 64)))
    with pytest.raises(RuntimeError, match="greater than 16"):
        torch._int_mm(rows, weights)


def test_the_model_as_loaded_is_not_refused(folder: Path) -> None:
    from lxbench.worker import known_failures

    model = models.load(folder, "cpu").model
    known_failures.check(model)
    known_failures.check(compile_decoding(compile_encoder(model)))
