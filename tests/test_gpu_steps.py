"""Steps that are for GPUs, as far as a CPU runs them: what they change, what they compute, what they refuse."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration

from lxbench import ladder
from lxbench.errors import StepError
from lxbench.ladder import CUDA, Variant
from lxbench.steps.attention import attention
from lxbench.steps.compile import compile_decoding
from lxbench.steps.precision import allow_tf32
from lxbench.steps.quantize import int8_weights
from lxbench.steps.sparse import keep_two_of_four, sparse_2_4
from lxbench.steps.torchao import torchao_a8w8, torchao_w8
from lxbench.worker import build, census, known_failures


@pytest.fixture
def small() -> Any:
    sizes: dict[str, Any] = {"d_model": 64, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "vocab_size": 64}
    sizes |= {f"{part}_{what}": 1 for part in ("encoder", "decoder") for what in ("layers", "attention_heads")}
    sizes |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1, "decoder_start_token_id": 3}
    sizes |= {"max_source_positions": 30, "max_target_positions": 12}
    kind: Any = WhisperForConditionalGeneration
    return kind(WhisperConfig(**sizes)).eval()


@pytest.fixture
def exactness() -> Iterator[None]:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


@pytest.mark.usefixtures("exactness")
def test_tf32_is_seen_by_the_census_though_the_model_is_the_same(small: Any) -> None:
    before = census.take(small)
    assert before.changes(census.take(allow_tf32(small))) == ["float32"]


@pytest.mark.parametrize(("backend", "kernel"), [("math", "_attention_math"), ("flash", "_flash_attention")])
def test_attention_is_computed_by_the_kernel_that_was_asked_for(small: Any, backend: str, kernel: str) -> None:
    features = torch.randn(1, 80, 60)
    with torch.inference_mode():
        expected = small.model.encoder(features).last_hidden_state
        model = attention(backend)(small)
        torch.testing.assert_close(model.model.encoder(features).last_hidden_state, expected, atol=1e-5, rtol=1e-5)
        with torch.profiler.profile() as profiler:
            model.model.encoder(features)
    named = [event.key for event in profiler.key_averages() if "attention" in event.key]
    assert any(kernel in name for name in named), named


def test_generate_still_knows_the_arguments_of_a_wrapped_model(small: Any) -> None:
    model = attention("math")(small)
    with torch.inference_mode():
        heard = model.model.encoder(torch.randn(1, 80, 60))
        said = model.generate(encoder_outputs=heard, max_new_tokens=3, do_sample=False)
    assert said.shape[0] == 1


def test_of_four_neighbours_the_two_largest_are_kept() -> None:
    weight = torch.tensor([[1.0, -3.0, 2.0, 0.5, 5.0, 5.0, -6.0, 5.5], [0.0, 0.0, 0.0, 1.0, -1.0, 1.5, -2.0, 0.1]])
    kept = keep_two_of_four(weight)
    assert kept.tolist() == [[0.0, -3.0, 2.0, 0.0, 0.0, 0.0, -6.0, 5.5], [0.0, 0.0, 0.0, 1.0, 0.0, 1.5, -2.0, 0.0]]
    assert bool((kept.unflatten(-1, (-1, 4)).count_nonzero(-1) <= 2).all())


@pytest.mark.parametrize("step", [int8_weights("model.nothing.*"), sparse_2_4("model.nothing.*")])
def test_names_that_match_nothing_are_refused(small: Any, step: Any) -> None:
    with pytest.raises(StepError, match=r"no Linear is called 'model.nothing.\*'"):
        step(small)


def test_int8_weights_are_a_quarter_of_those_of_float32(small: Any) -> None:
    before = census.take(small)
    after = census.take(int8_weights("model.decoder.layers.*.fc?")(small))
    weights = 2 * 64 * 128
    assert after.dtypes["int8"] == weights
    assert before.dtypes["float32"] - after.dtypes["float32"] == weights - (64 + 128)  # A scale for every output.


def test_int8_weights_alone_are_not_taken_for_int8_products(small: Any) -> None:
    products = compile_decoding(torchao_a8w8(copy.deepcopy(small)))
    with pytest.raises(StepError, match="in a compiled decoding step"):
        known_failures.check(products)
    model = compile_decoding(torchao_w8(small))
    assert "int8" in census.take(model).dtypes
    known_failures.check(model)


def test_a_row_for_a_newer_gpu_says_so() -> None:
    row = Variant("fp8", CUDA, instructions="sm_89")
    (out,) = ladder.unfit([row], "whisper", "ru", 5.0, ["sm_70", "sm_80"])
    assert out.elsewhere == "needs a GPU with sm_89"
    assert ladder.unfit([row], "whisper", "ru", 5.0, ["sm_80", "sm_89"]) == []


@pytest.mark.parametrize(
    ("takes", "heard"),
    [
        ([9.0, 3.0, 1.0, 0.99, 0.5], [9.0, 3.0, 1.0, 0.99]),  # 1 % less is no gain
        ([1.0, 1.2], [1.0, 1.2]),
        ([2.0**-power for power in range(12)], [2.0**-power for power in range(10)]),  # a limit
    ],
)
def test_a_gpu_is_warm_when_the_next_pass_gains_nothing(takes: list[float], heard: list[float]) -> None:
    passes = iter(takes)
    assert build.settle(lambda: next(passes), lambda: 0) == heard


def test_a_gpu_is_warm_when_the_next_pass_records_nothing() -> None:
    recorded = iter([3, 6, 6, 9, 9, 9])  # Asked before and after each pass but the first.
    assert build.settle(lambda: 1.0, lambda: next(recorded)) == [1.0] * 4
