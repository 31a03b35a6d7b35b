"""The recorded loop says what the plain one says, in every form; kernels are those of torch. Unrecorded here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import gelu, scaled_dot_product_attention
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

from lxbench.errors import StepError
from lxbench.inference import graphed
from lxbench.inference.graphed import Int8Linear
from lxbench.inference.plain import Decoder
from lxbench.steps.plain import graph_decoding, graph_encoder, merge_padding, plain_decoding
from lxbench.steps.precision import cast
from lxbench.steps.sparse import sparse_2_4
from tests.suite import ROOT, require

pytestmark = pytest.mark.cuda  # Elsewhere the kernels run in Triton's interpreter, and graphs are not recorded.
CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
PROMPT, NEVER, NOT_FIRST, END = [3, 4], [7, 11], [20], 20


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    """Without a GPU Triton's interpreter runs the kernels, on the CPU: see conftest.py."""
    require("triton")
    with torch.no_grad():
        yield


@pytest.fixture
def small() -> Any:
    """A Whisper of random weights that says different things to different input, and comes to an end."""
    torch.manual_seed(2)
    sizes: dict[str, Any] = {"d_model": 64, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "vocab_size": 40}
    sizes |= {f"{part}_{what}": 1 for part in ("encoder", "decoder") for what in ("layers", "attention_heads")}
    sizes |= {"num_mel_bins": 80, "max_source_positions": 30, "max_target_positions": 12}
    sizes |= {"pad_token_id": 0, "bos_token_id": END, "eos_token_id": END, "decoder_start_token_id": 3}
    kind: Any = WhisperForConditionalGeneration
    model = kind(WhisperConfig(**sizes))
    for parameter in model.parameters():
        parameter.data.normal_(0.0, 0.3)
    model.model.decoder.layers[0].encoder_attn.out_proj.weight.data.mul_(8)
    model.generation_config = GenerationConfig(eos_token_id=END, max_length=12)
    return model.to(DEVICE).eval()


def said(model: Any, features: torch.Tensor) -> list[list[int]]:
    heard = model.model.encoder(features, return_dict=True)
    texts: list[list[int]] = model.model.decoder.greedy(model, heard, PROMPT, NEVER, NOT_FIRST)
    return texts


def inputs(batch: int, seed: int) -> torch.Tensor:
    return torch.randn(batch, 80, 60, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("fused", [False, True])
def test_it_says_what_the_plain_loop_says(small: Any, fused: bool, batch: int) -> None:
    model = plain_decoding(small)
    clips = [inputs(batch, seed) for seed in range(4)]
    expected = [said(model, clip) for clip in clips]
    assert len({str(texts) for texts in expected}) == 4, "the same to every clip: nothing would be tested"
    model = graph_encoder(graph_decoding(fused)(model))
    assert [said(model, clip) for clip in clips] == expected
    assert [said(model, clip) for clip in clips] == expected, "what was said before is left in the cache"


def test_what_is_recorded_for_a_new_shape_is_counted(small: Any) -> None:
    """While clips are timed it is no time of theirs."""
    model = graph_encoder(graph_decoding()(plain_decoding(small)))
    counts = [graphed.recorded()]
    for batch in (1, 1, 2, 1):
        said(model, inputs(batch, 0))
        counts.append(graphed.recorded())
    first, *rest = [after - before for before, after in pairwise(counts)]
    assert first > 1
    assert rest == [0, first, 0]


def test_graphs_are_of_one_shape_and_refused_where_every_length_has_its_own(small: Any) -> None:
    merged = merge_padding(4)(plain_decoding(small))
    for step in (graph_encoder, graph_decoding()):
        with pytest.raises(StepError, match="behind merge_padding: a CUDA graph is of one shape"):
            step(merged)


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (graph_encoder, "a step that wraps the encoder, as graphs and autocast do: it would be lost"),
        (graph_decoding(), "graphs: a CUDA graph is of one shape"),
        (graph_decoding(fused=True), "graphs: a CUDA graph is of one shape"),
    ],
)
def test_nor_is_padding_merged_behind_them(small: Any, step: Any, why: str) -> None:
    with pytest.raises(StepError, match=rf"merge_padding\(4\) behind {why}"):
        merge_padding(4)(step(plain_decoding(small)))


def test_a_text_that_never_ends_is_cut_off_where_the_plain_loop_cuts_it(small: Any) -> None:
    model = plain_decoding(small)
    heard = model.model.encoder(inputs(1, 0), return_dict=True)
    never = [*NEVER, END]
    expected = model.model.decoder.greedy(model, heard, PROMPT, never, NOT_FIRST)
    assert len(expected[0]) == 12 - len(PROMPT)
    model = graph_decoding()(model)
    assert model.model.decoder.greedy(model, heard, PROMPT, never, NOT_FIRST) == expected


@pytest.mark.parametrize("fused", [False, True])
def test_a_text_of_one_token_is_recorded_within_its_bounds(small: Any, fused: bool) -> None:
    """What is recorded runs a few times before: so many tokens there must be room for."""
    model = plain_decoding(small)
    model.generation_config.max_length = 1
    heard = model.model.encoder(inputs(1, 0), return_dict=True)
    expected = model.model.decoder.greedy(model, heard, PROMPT, NEVER, NOT_FIRST)
    model = graph_decoding(fused)(model)
    assert model.model.decoder.greedy(model, heard, PROMPT, NEVER, NOT_FIRST) == expected
    assert len(expected[0]) <= 1
    (loop,) = model.model.decoder._loops.values()
    for name, each in (("text", loop.texts), ("keys", loop.caches[0].keys[0, 0]), ("places", loop.places)):
        assert max(each.shape) >= len(PROMPT) + graphed._PASSES, name


def test_merged_positions_weigh_what_they_stand_for(small: Any) -> None:
    model = plain_decoding(small)
    heard = model.model.encoder(inputs(1, 0), return_dict=True)
    unweighted = model.model.decoder.greedy(model, heard, PROMPT, NEVER, NOT_FIRST)
    heard["bias"] = torch.arange(30, device=DEVICE).float().view(1, 1, 1, -1) / 3
    expected = model.model.decoder.greedy(model, heard, PROMPT, NEVER, NOT_FIRST)
    assert expected != unweighted, "nothing would be tested"
    for fused in (False, True):
        model.model.decoder = graphed.Decoder(model.model.decoder, fused)
        assert model.model.decoder.greedy(model, heard, PROMPT, NEVER, NOT_FIRST) == expected


@pytest.mark.filterwarnings("ignore:The PyTorch API of SparseSemiStructuredTensor is in prototype")
def test_what_a_sparse_encoder_hears_is_decoded_as_by_the_plain_loop(
    small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = plain_decoding(small)
    if CUDA:  # The decoder stays in float32, where two loops do not say two things for want of digits.
        model = cast("float16", "model.encoder")(model)
    else:  # What packs the weights is for GPUs alone.
        monkeypatch.setattr(torch.sparse, "to_sparse_semi_structured", lambda weight: weight)
    clips = [inputs(1, seed) for seed in range(4)]
    dense = [said(model, clip) for clip in clips]
    model = sparse_2_4("model.encoder.*")(model)
    expected = [said(model, clip) for clip in clips]
    assert expected != dense
    model = graph_decoding(fused=True)(model)
    assert [said(model, clip) for clip in clips] == expected


def test_graphs_are_of_a_plain_decoder(small: Any) -> None:
    with pytest.raises(Exception, match="graph_decoding\\(\\) before plain_decoding"):
        graph_decoding()(small)
    assert type(plain_decoding(small).model.decoder) is Decoder


@pytest.mark.parametrize(("rows", "columns"), [(51, 64), (384, 384), (90, 1280)])
@pytest.mark.parametrize("tokens", [1, 4])
@pytest.mark.parametrize("int8", [False, True])
def test_a_product_is_that_of_torch(rows: int, columns: int, tokens: int, int8: bool) -> None:
    from lxbench.inference import kernels

    torch.manual_seed(0)
    x, residual = (torch.randn(1, tokens, each, device=DEVICE) for each in (columns, rows))
    norm = nn.LayerNorm(columns, device=DEVICE)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    layer: nn.Module = nn.Linear(columns, rows, device=DEVICE)
    layer = Int8Linear(layer) if int8 else layer  # type: ignore[arg-type]
    torch.testing.assert_close(kernels.product(layer, x), layer(x), atol=2e-5, rtol=2e-5)
    whole = gelu(layer(norm(x))) + residual
    torch.testing.assert_close(
        kernels.product(layer, x, norm=norm, gelu=True, residual=residual), whole, atol=2e-5, rtol=2e-5
    )


@pytest.mark.parametrize("columns", [96, 384])
@pytest.mark.parametrize("int8", [False, True])
def test_attention_to_the_text_is_that_of_torch(columns: int, int8: bool) -> None:
    from lxbench.inference import kernels

    assert kernels._BLOCK == 64, "the text below is read token by token where a block ends"
    heads, length, width = 3, 80, 64
    layer: nn.Module = nn.Linear(columns, 3 * heads * width, device=DEVICE)
    layer, norm = Int8Linear(layer) if int8 else layer, nn.LayerNorm(columns, device=DEVICE)  # type: ignore[arg-type]
    keys, values = (torch.zeros(1, heads, length, width, device=DEVICE) for _ in range(2))
    counts = torch.zeros(heads, dtype=torch.int32, device=DEVICE)
    known: list[tuple[torch.Tensor, torch.Tensor]] = []
    place, prompt = 0, 4  # A prompt is read at once, what follows token by token.
    while place < 70:
        if place == 8:  # What is known of the middle of the text is put there: a block ends behind 64 tokens.
            key, value = (torch.randn(1, heads, 52, width, device=DEVICE) for _ in range(2))
            keys[:, :, 8:60], values[:, :, 8:60] = key, value
            known.append((key, value))
            place = 60
        tokens = 1 if place else prompt
        x = torch.randn(1, tokens, columns, device=DEVICE)
        query, key, value = layer(norm(x)).view(1, tokens, 3 * heads, width).transpose(1, 2).chunk(3, dim=1)
        known.append((key, value))
        so_far = [torch.cat(parts, dim=2) for parts in zip(*known, strict=True)]
        seen = scaled_dot_product_attention(query, so_far[0], so_far[1], is_causal=tokens > 1)
        found = kernels.look_back(layer, x, norm, keys, values, torch.tensor([place], device=DEVICE), counts)
        torch.testing.assert_close(found, seen.transpose(1, 2).flatten(2), atol=2e-5, rtol=2e-5)
        assert not counts.any(), "the next kernel counts from here"
        place += tokens


@pytest.mark.parametrize("positions", [3, 300, 1500])
@pytest.mark.parametrize("tokens", [1, 4])
@pytest.mark.parametrize("biased", [False, True])
def test_attention_to_what_was_heard_is_that_of_torch(positions: int, tokens: int, biased: bool) -> None:
    from lxbench.inference import kernels

    heads, width = 3, 64
    bias = torch.randn(1, 1, 1, positions, device=DEVICE) if biased else None
    query = torch.randn(1, tokens, heads * width, device=DEVICE)
    heard = torch.randn(1, positions, 2 * heads * width, device=DEVICE)
    keys, values = heard.view(1, positions, 2 * heads, width).transpose(1, 2).chunk(2, dim=1)
    split = query.view(1, tokens, heads, width).transpose(1, 2)
    seen = scaled_dot_product_attention(split, keys, values, attn_mask=bias).transpose(1, 2).flatten(2)
    counts = torch.zeros(heads, dtype=torch.int32, device=DEVICE)
    for _ in range(2):
        torch.testing.assert_close(kernels.look(query, heard, bias, heads, counts), seen, atol=2e-5, rtol=2e-5)
        assert not counts.any(), "the next kernel counts from here"


def test_the_kernels_compile_for_hopper() -> None:
    """Compiled as they are launched, for a GPU that need not be there: all of a step, with and without int8 weights."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.compiled"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    kernels = json.loads(done.stdout)
    assert {kernel["name"] for kernel in kernels} == {"_product", "_look_back", "_look"}
    for kernel in kernels:
        assert kernel["cubin"] > 0
        # It lets the next one begin, and waits for the one before.
        assert kernel["launches"] == kernel["waits"] == 1, kernel
        # All threads have stored what they found before the program is counted, and read what others did after it.
        assert kernel["counted_behind_a_barrier"] is (kernel["name"] != "_product"), kernel
        assert kernel["read_behind_a_barrier"] is (kernel["name"] != "_product"), kernel


def test_int8_weights_stay_within_float16() -> None:
    """A sum of products with integers is soon more than 65504, though what it stands for is not."""
    layer = nn.Linear(512, 8, dtype=torch.float16)
    layer.weight.data.fill_(0.01)
    said = Int8Linear(layer)(torch.full((1, 512), 5.0, dtype=torch.float16))
    torch.testing.assert_close(said, layer(torch.full((1, 512), 5.0, dtype=torch.float16)), atol=0.05, rtol=0.0)


def test_int8_weights_are_within_half_a_step_of_what_they_were() -> None:
    layer = nn.Linear(96, 40)
    new = Int8Linear(layer)
    restored = new.weight.float() * new.scale[:, None]
    assert new.weight.dtype == torch.int8
    assert bool(((restored - layer.weight).abs() <= new.scale[:, None] / 2 + 1e-7).all())
    assert SimpleNamespace(**vars(new)).in_features == 96
