"""The plain loop says what ``generate`` says; merged padding weighs what it stands for."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from lxbench import models
from lxbench.checkpoints import embedded
from lxbench.corpus import calibration
from lxbench.corpus.audio import read_audio
from lxbench.errors import StepError
from lxbench.families import Loaded
from lxbench.families.whisper import decode, encode, extract
from lxbench.inference.plain import group_sizes
from lxbench.ladder import Step
from lxbench.steps.cut import prune_heads
from lxbench.steps.plain import merge_padding, plain_decoding
from lxbench.steps.quantize import quantize_linears
from lxbench.steps.tables import prune_vocabulary
from lxbench.transcribe import transcribe, transcribe_batch
from lxbench.worker.build import hear_lengths
from tests.shapes import SHAPES, language_of, small_whisper
from tests.suite import CORPORA

CLIPS = [CORPORA / "ivr-ru" / f"{name}.flac" for name in ("agent-loginok", "demo-enterkeywords")]


@pytest.fixture
def fresh() -> Loaded:
    return models.load(embedded.restore(), "cpu")


def text_of(loaded: Loaded, ids: list[int]) -> list[int]:
    """Tokens without those that are no text: ``generate`` keeps the one that ends it."""
    return [id for id in ids if id not in loaded.tokenizer.all_special_ids]


def said_by(loaded: Loaded, states: Any, language: str = "ru") -> list[int]:
    with torch.inference_mode():
        return text_of(loaded, decode(loaded, states, language)[0])


def states_of(loaded: Loaded, batch: int = 1) -> Any:
    """Output of an encoder that was not made by one; the same at every call."""
    from transformers.modeling_outputs import BaseModelOutput

    shape = (batch, loaded.model.config.max_source_positions, loaded.model.config.d_model)
    return BaseModelOutput(last_hidden_state=torch.randn(shape, generator=torch.Generator().manual_seed(3)))


@pytest.mark.parametrize("clip", CLIPS, ids=lambda path: path.stem)
def test_the_plain_loop_says_what_generate_says(loaded: Loaded, fresh: Loaded, clip: Any) -> None:
    with torch.inference_mode():
        states = encode(loaded, extract(loaded, [read_audio(clip)]))
    wanted = said_by(loaded, states)
    assert len(wanted) > 3
    plain_decoding(fresh.model)
    assert said_by(fresh, states) == wanted


@pytest.mark.parametrize("shape", SHAPES)
def test_the_plain_loop_says_it_for_other_shapes_and_stops_at_the_limit(loaded: Loaded, shape: str) -> None:
    model, language = small_whisper(loaded, shape), language_of(shape)
    small = Loaded(model, loaded.tokenizer, loaded.feature_extractor, loaded.family, loaded.suppressed, (220, 50257))
    states = states_of(small)
    wanted = said_by(small, states, language)
    assert len(wanted) == 12
    plain_decoding(model)
    assert said_by(small, states, language) == wanted


@pytest.mark.parametrize("last", [16_000, 34_000])
def test_tokens_that_were_added_behind_the_timestamps_are_none(loaded: Loaded, last: int) -> None:
    """``generate`` takes all behind this one for timestamps; between two of them it cut the text off."""
    model = small_whisper(loaded, "large-v3")
    model.generation_config.no_timestamps_token_id = last
    small = Loaded(model, loaded.tokenizer, loaded.feature_extractor, loaded.family, loaded.suppressed, (220, 50257))
    states = states_of(small)
    wanted = said_by(small, states)
    assert len(wanted) == 12
    plain_decoding(model)
    assert said_by(small, states) == wanted


def test_the_plain_loop_follows_what_was_cut(fresh: Loaded) -> None:
    with calibration.clips(sorted((CORPORA / "ivr-ru-calibration").glob("*.flac"))[:2], "ru"):
        fresh.model = prune_vocabulary("CYRILLIC")(prune_heads(1, decoder=0.5, cross=0.75)(fresh.model))
    states = states_of(fresh)
    fresh.model.generation_config.max_length = 20
    wanted = said_by(fresh, states)
    plain_decoding(fresh.model)
    assert said_by(fresh, states) == wanted


@pytest.mark.parametrize("steps", [(), (plain_decoding,), (plain_decoding, merge_padding(64))], ids=len)
def test_a_batch_says_what_its_clips_say_alone(fresh: Loaded, steps: tuple[Step, ...]) -> None:
    for step in steps:
        fresh.model = step(fresh.model)
    clips = [read_audio(clip) for clip in CLIPS]
    alone = [transcribe(fresh, clip, "ru") for clip in clips]
    both = transcribe_batch(fresh, clips, "ru")
    assert [each.text for each in both] == [each.text for each in alone]
    assert [each.tokens for each in both] == [each.tokens for each in alone]
    assert alone[0].tokens != alone[1].tokens
    assert both[0].seconds == both[1].seconds == pytest.approx(sum(both[0].parts.values()))


def test_silence_of_each_length_is_heard_where_what_is_heard_depends_on_it(fresh: Loaded) -> None:
    heard: list[int] = []
    family = SimpleNamespace(
        TOGETHER=True, extract=lambda _, audio: audio[0], encode=lambda _, audio: heard.append(len(audio))
    )
    loaded = replace(fresh, family=cast(Any, family))
    hear_lengths(loaded, [1.0, 2.0])
    assert heard == []  # 30 s, whatever the clip
    family.TOGETHER = False
    hear_lengths(loaded, [1.0, 2.0, 1.0])
    assert heard == [16000, 32000]  # as long as it is, as a Moonshine hears it
    family.TOGETHER, heard[:] = True, []
    merge_padding(64, multiple=100)(plain_decoding(fresh.model))
    hear_lengths(loaded, [1.5, 1.6, 3.5, 1.61])
    assert len(heard) == 2
    assert [fresh.model.model.encoder.heard(math.ceil(samples / 160)) for samples in heard] == [400, 600]


def test_an_encoder_that_merges_nothing_is_the_encoder(loaded: Loaded, fresh: Loaded) -> None:
    """Convolutions over a part of the padding and the rest by repetition: the same as over all of it."""
    audio = read_audio(CLIPS[0])
    merge_padding(1)(plain_decoding(fresh.model))
    with torch.inference_mode():
        wanted = encode(loaded, extract(loaded, [audio])).last_hidden_state
        features = extract(fresh, [audio])
        said = encode(fresh, features)
    assert features.shape[-1] == 2 * (math.ceil(len(audio) / 320) + 50) < 3000
    assert said.last_hidden_state.shape == wanted.shape
    assert (said.last_hidden_state - wanted).abs().max() < 1e-3 * wanted.abs().max()
    assert not said["bias"].any()


def test_groups_grow_with_the_distance_and_cover_all() -> None:
    assert group_sizes(0, 64, 8) == []
    assert group_sizes(5, 1, 8) == [1] * 5
    assert group_sizes(40, 4, 8) == [1] * 8 + [2] * 8 + [4] * 4
    assert group_sizes(20, 4, 1) == [1, 2, 4, 4, 4, 4, 1]
    sizes = group_sizes(1300, 64, 8)
    assert sum(sizes) == 1300
    assert sizes[:-1] == sorted(sizes[:-1])
    assert max(sizes) == 64
    assert len(sizes) == 61


def test_merged_positions_that_are_equal_change_nothing(fresh: Loaded) -> None:
    """Where the padding's positions do not differ, one that weighs as many as it stands for is exact."""
    audio = read_audio(CLIPS[0])
    table = fresh.model.model.encoder.embed_positions.weight
    table.data[math.ceil(len(audio) / 320) :] = table.data[-1]
    merge_padding(1)(plain_decoding(fresh.model))
    outputs = []
    for most in (1, 7, 64):
        fresh.model.model.encoder.most = most
        with torch.inference_mode():
            outputs.append(encode(fresh, extract(fresh, [audio])))
    whole, *merged = outputs
    heard = math.ceil(len(audio) / 320) + 49
    for said in merged:
        assert said.last_hidden_state.shape[1] < whole.last_hidden_state.shape[1]
        difference = said.last_hidden_state[:, :heard] - whole.last_hidden_state[:, :heard]
        assert difference.abs().max() < 1e-3 * whole.last_hidden_state.abs().max()
        assert said["bias"].exp().sum().item() == pytest.approx(1500, abs=0.1)
        assert said_by(fresh, said) == said_by(fresh, whole)


def test_a_clip_that_fills_the_window_has_nothing_to_merge(loaded: Loaded, fresh: Loaded) -> None:
    audio = torch.randn(480_000, generator=torch.Generator().manual_seed(1)).mul(0.1).numpy()
    merge_padding(64)(plain_decoding(fresh.model))
    with torch.inference_mode():
        wanted = encode(loaded, extract(loaded, [audio])).last_hidden_state
        said = encode(fresh, extract(fresh, [audio]))
    assert said["bias"] is None
    assert (said.last_hidden_state - wanted).abs().max() < 1e-3 * wanted.abs().max()


def test_speech_survives_what_is_merged_and_shortened(loaded: Loaded, fresh: Loaded) -> None:
    audio = read_audio(CLIPS[0])
    fresh.model = merge_padding(64)(plain_decoding(fresh.model))
    fresh.model = quantize_linears("model.decoder.*", "proj_out", "*.fc1")(fresh.model)
    said = transcribe(fresh, audio, "ru")
    assert said.text.lower() == transcribe(loaded, audio, "ru").text.lower() == "оператор зарегистрирован."


def test_merging_needs_a_decoder_that_knows_the_weights(fresh: Loaded) -> None:
    with pytest.raises(StepError, match=r"merge_padding\(64\) before plain_decoding"):
        merge_padding(64)(fresh.model)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "0 positions in one, 8 groups of a size, a multiple of 1: at least 1"),
        ((64, 1.0, 0), "64 positions in one, 0 groups of a size"),
        ((64, 1.0, 8, 0), "8 groups of a size, a multiple of 0"),
        ((8, 0.0), r"0\.0 s behind the clip"),
    ],
)
def test_what_cannot_be_merged_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        merge_padding(*arguments)


def test_a_step_is_named_by_what_is_not_usual() -> None:
    assert merge_padding(64).__name__ == "merge_padding(64)"
    assert merge_padding(16, 0.5, 4).__name__ == "merge_padding(16, margin_s=0.5, groups=4)"
    assert merge_padding(64, multiple=32).__name__ == "merge_padding(64, multiple=32)"


def test_lengths_are_few_where_a_multiple_is_asked_for(fresh: Loaded) -> None:
    """The margin grows, and nothing but the padding behind it is another."""
    merge_padding(64, multiple=64)(plain_decoding(fresh.model))
    encoder = fresh.model.model.encoder
    assert [encoder.heard(frames) for frames in (1, 27, 28, 29, 156, 157, 2900, 3000)] == [
        2 * length for length in (64, 64, 64, 128, 128, 192, 1500, 1500)
    ]
    audio = read_audio(CLIPS[0])
    with torch.inference_mode():
        features = extract(fresh, [audio])
        assert features.shape[-1] % 128 == 0
        rounded = encode(fresh, features).last_hidden_state
        encoder.multiple, encoder.margin = 1, features.shape[-1] // 2 - math.ceil(len(audio) / 320)
        assert torch.equal(rounded, encode(fresh, extract(fresh, [audio])).last_hidden_state)


def test_linears_are_quantized_by_name_each_output_with_its_scale(fresh: Loaded) -> None:
    import torch.ao.nn.quantized.dynamic as dynamic

    old = fresh.model.model.encoder.layers[0].fc1
    model = quantize_linears("*.encoder.*.fc1", "proj_out")(fresh.model)
    named = {name for name, module in model.named_modules() if isinstance(module, dynamic.Linear)}
    assert named == {"proj_out", *(f"model.encoder.layers.{layer}.fc1" for layer in range(6))}
    new = model.model.encoder.layers[0].fc1
    bound = 127 if torch.cpu._is_vnni_supported() else 63
    wanted = old.weight.abs().amax(dim=1) / (bound + 0.5)
    assert torch.allclose(new.weight().q_per_channel_scales().float(), wanted.float(), rtol=1e-4)
    inputs = torch.randn(9, 512, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        assert (new(inputs) - old(inputs)).norm() < 0.02 * old(inputs).norm()


def test_a_pattern_without_a_linear_is_refused(fresh: Loaded) -> None:
    with pytest.raises(StepError, match=r"no Linear is called '\*\.fc3'") as raised:
        quantize_linears("proj_out", "*.fc3")(fresh.model)
    assert "names such as model.encoder.layers.0." in str(raised.value)
