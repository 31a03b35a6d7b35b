"""Work counted by hand, and held against limits that are given."""

from __future__ import annotations

import pytest
import torch

from lxbench.families import Loaded
from lxbench.steps.plain import merge_padding, plain_decoding
from lxbench.steps.precision import autocast, cast
from lxbench.steps.quantize import quantize_dynamic, quantize_linears
from lxbench.worker import roofline
from lxbench.worker.roofline import Work
from tests.shapes import small_whisper

# The small large-v3: 64 wide, 4 heads, 4 + 4 layers, feed-forward 256, 128 mel bands.
LAYER = 4 * 64 * 64 + 2 * 64 * 256
ENCODER = 2 * (4 * LAYER + 2 * 128 * 64 * 3 + 64 * 64 * 3)
VOCABULARY = 51865


@pytest.fixture
def small(loaded: Loaded) -> torch.nn.Module:
    model: torch.nn.Module = small_whisper(loaded, "large-v3")
    return model


def token_weights(element: int) -> int:
    """Bytes of a token: all of the decoder's matrices but cross k and v, biases and norms, and the output."""
    layer = (4 + 2) * 64 * 64 + 2 * 64 * 256
    biases = 3 * 64 + 2 * 64 + 256 + 64 + 3 * 2 * 64  # q, v, out; cross q, out; fc1; fc2; three norms
    return element * (4 * (layer + biases) + 2 * 64 + VOCABULARY * 64)


def test_a_pass_and_a_token_are_counted(small: torch.nn.Module) -> None:
    work = roofline.count(small)
    assert work == Work(ENCODER, 4 * 4 * 64, token_weights(4), 4 * 4 * 2 * 64)
    assert work.encoder_gflop(1500) == pytest.approx(1500 * (ENCODER + 1500 * 1024) / 1e9)
    assert work.token_mib(1500) == pytest.approx((token_weights(4) + 1500 * 2048) / 2**20)


def test_shorter_numbers_are_read_and_as_many_are_multiplied(small: torch.nn.Module) -> None:
    assert roofline.count(cast("bfloat16")(small)) == Work(ENCODER, 4 * 4 * 64, token_weights(2), 2 * 4 * 2 * 64)


def test_what_was_heard_is_read_as_it_is_kept(small: torch.nn.Module) -> None:
    """Not as the weights are: autocast keeps keys and values in its type, and a graph is given them in float32."""
    assert roofline.count(autocast("bfloat16")(small)) == Work(ENCODER, 4 * 4 * 64, token_weights(4), 2 * 4 * 2 * 64)


def test_plain_modules_do_the_same_work(small: torch.nn.Module) -> None:
    before = roofline.count(small)
    after = roofline.count(merge_padding(8)(plain_decoding(small)))
    assert before is not None
    assert after is not None
    assert (after.per_position, after.per_pair, after.heard_bytes) == (
        before.per_position,
        before.per_pair,
        before.heard_bytes,
    )
    assert after.token_bytes == before.token_bytes + 4 * 4 * 64  # the joined k has a bias of zeros


def test_int8_is_read_as_int8(small: torch.nn.Module) -> None:
    before, after = roofline.count(small), roofline.count(quantize_dynamic(small))
    assert before is not None
    assert after is not None
    assert after.per_position == before.per_position
    assert before.token_bytes / 4 < after.token_bytes < before.token_bytes / 3.5


def test_what_was_exported_is_remembered_and_what_is_elsewhere_unknown(small: torch.nn.Module) -> None:
    before = roofline.count(small)
    small.model.encoder.layers = torch.nn.ModuleList()  # type: ignore[union-attr]
    assert roofline.count(small, before) == before
    assert roofline.count(torch.nn.Module(), before) is None


@pytest.mark.parametrize(
    ("kernels", "wanted"),
    [
        ({"addmm float32": 90, "mm float32": 3}, ["float32"]),
        ({"addmm bfloat16": 90, "bmm float32": 3}, ["float32", "bfloat16"]),
        ({"addmm float32": 3, "quantized::linear_dynamic float32": 90}, ["int8", "float32"]),
        ({"_int_mm int8": 4, "addmm bfloat16": 90}, ["int8", "bfloat16"]),
        ({"quantized::linear_dynamic float32": 90}, ["int8"]),
        ({"torchao::dequantize_affine float32 int8": 90, "addmm float32": 90}, ["float32"]),
        ({"Torch-Compiled Region": 9}, ["float32"]),
        ({"mm float32": 1, "cudaGraphLaunch": 34}, ["float16"]),
        ({"_scaled_mm float32": 90, "addmm bfloat16": 1}, ["float8"]),
    ],
)
def test_the_types_of_the_products_are_what_was_seen(kernels: dict[str, int], wanted: list[str]) -> None:
    assert roofline.product_types(kernels, {"float16": 60, "int8": 70, "float32": 2, "int64": 99}) == wanted


@pytest.mark.parametrize("kernels", [{"addmm float32": 90, "nvjet_sm90_tst_128x64": 90}, {"addmm float32": 90}])
def test_products_of_float32_are_of_tf32_where_torch_may_round_them(kernels: dict[str, int]) -> None:
    assert roofline.product_types(kernels, {"float32": 2}, "high") == ["tf32"]
    assert roofline.product_types({"addmm float16": 9, **kernels}, {"float32": 2}, "high") == ["tf32", "float16"]


def test_a_row_is_held_against_the_limits() -> None:
    work = {"encoder_gflop": 80.0, "token_mib": 100.0, "passes": 10.0, "products": ["int8", "float32"]}
    near = roofline.reached(work, {"encoder": 0.8, "decoder": 0.1}, {"float32": 200.0, "read": 20.0})
    assert near is not None
    assert (near.gflops, near.of_product) == (100.0, 0.5)
    assert near.read == pytest.approx(100 * 2**20 * 10 / 0.1 / 1e9)
    assert near.of_read == pytest.approx(near.read / 20)
    assert near.product == "float32"
    shorter = roofline.reached(work, {"encoder": 0.8, "decoder": 0.1}, {"float32": 200.0, "int8": 400.0, "read": 20.0})
    assert shorter is not None
    assert (shorter.product, shorter.of_product) == ("int8", 0.25)
    assert roofline.reached(work, {"encoder": 0.8, "decoder": 0.1}, {}) is None


def test_the_machine_is_measured() -> None:
    found = roofline.peaks("cpu")
    assert set(found) == {"float32", "bfloat16", "int8", "read"}
    assert all(1 < value < 100_000 for value in found.values()), found


def test_a_pattern_of_linears_is_counted_too(small: torch.nn.Module) -> None:
    whole = roofline.count(small)
    part = roofline.count(quantize_linears("model.decoder.*")(small))
    assert whole is not None
    assert part is not None
    assert part.token_bytes < whole.token_bytes
