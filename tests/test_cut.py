"""Steps that remove weights, on the real model: sliced is masked, made smaller as announced, saved and loaded again."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import WhisperConfig, WhisperForConditionalGeneration

from lxbench import models
from lxbench.checkpoints import embedded
from lxbench.corpus import calibration
from lxbench.corpus.audio import read_audio
from lxbench.errors import CorpusError, StepError
from lxbench.families import Loaded
from lxbench.families.whisper import extract
from lxbench.pruning import activations, pruned
from lxbench.steps.cut import low_rank, prune_ffn, prune_heads, prune_layers
from lxbench.steps.precision import cast
from lxbench.steps.quantize import quantize_dynamic
from lxbench.steps.tables import prune_positions, prune_vocabulary
from lxbench.transcribe import transcribe
from lxbench.worker import census
from tests.suite import CORPORA

CLIP = CORPORA / "ivr-ru" / "agent-loginok.flac"
SAID = "оператор зарегистрирован."
WINDOW = 10  # seconds


@pytest.fixture(autouse=True)
def observed() -> Iterator[None]:
    """Two calibration clips: enough for what is tested here."""
    with calibration.clips(sorted((CORPORA / "ivr-ru-calibration").glob("*.flac"))[:2], "ru"):
        yield


@pytest.fixture
def fresh() -> Loaded:
    """The embedded model, to be cut; it hears 10 s, which takes a third of the time."""
    loaded = models.load(embedded.restore(), "cpu")
    prune_positions(WINDOW)(loaded.model)
    return loaded


@pytest.fixture(scope="module")
def audio() -> NDArray[np.float32]:
    return read_audio(CLIP)


def states(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5))


def places(kept: torch.Tensor, all_rows: torch.Tensor) -> list[int]:
    """Where the rows of a sliced matrix stood in the whole one."""
    where = {tuple(row[:4].tolist()): index for index, row in enumerate(all_rows)}
    return [where[tuple(row[:4].tolist())] for row in kept]


def others(kept: list[int], count: int) -> list[int]:
    return sorted(set(range(count)) - set(kept))


@pytest.mark.parametrize("importance", ["magnitude", "energy"])
def test_a_sliced_feed_forward_says_what_a_masked_one_says(fresh: Loaded, loaded: Loaded, importance: Any) -> None:
    prune_ffn(0.75, 0.5, importance=importance, fit=False)(fresh.model)
    for part, size in (("encoder", 1536), ("decoder", 1024)):
        sliced = getattr(fresh.model.model, part).layers[2]
        whole = getattr(loaded.model.model, part).layers[2]
        assert (sliced.fc1.weight.shape, sliced.fc2.weight.shape) == ((size, 512), (512, size))
        hidden = torch.nn.functional.gelu(whole.fc1(states(7, 512)))
        hidden[:, others(places(sliced.fc1.weight, whole.fc1.weight), 2048)] = 0
        said = sliced.fc2(torch.nn.functional.gelu(sliced.fc1(states(7, 512))))
        torch.testing.assert_close(said, whole.fc2(hidden), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("importance", ["magnitude", "energy"])
def test_sliced_attention_says_what_masked_heads_say(fresh: Loaded, loaded: Loaded, importance: Any) -> None:
    prune_heads(0.75, 0.5, 0.625, importance=importance, fit=False)(fresh.model)
    kinds = (("encoder", "self_attn", 6), ("decoder", "self_attn", 4), ("decoder", "encoder_attn", 5))
    for part, child, heads in kinds:
        sliced = getattr(getattr(fresh.model.model, part).layers[1], child)
        whole = getattr(getattr(loaded.model.model, part).layers[1], child)
        assert sliced.num_heads == heads
        assert [tuple(sliced.get_submodule(name).weight.shape) for name in ("q_proj", "k_proj", "v_proj")] == [
            (heads * 64, 512)
        ] * 3
        queries, keys = states(1, 7, 512), states(1, 9, 512) if child == "encoder_attn" else None
        gone = others(places(sliced.q_proj.weight, whole.q_proj.weight), 512)
        before = whole.out_proj.weight.data.clone()
        whole.out_proj.weight.data[:, gone] = 0
        try:
            masked = whole(queries, key_value_states=keys)[0]
        finally:
            whole.out_proj.weight.data.copy_(before)
        torch.testing.assert_close(sliced(queries, key_value_states=keys)[0], masked, rtol=1e-4, atol=1e-5)


def encoded(loaded: Loaded, audio: NDArray[np.float32], model: Any = None) -> torch.Tensor:
    """What the encoder of a model, or of another one, makes of the frames with speech: shape (1, frames, 512)."""
    frames = 50 * len(audio) // 16_000
    with torch.inference_mode():
        said: torch.Tensor = (model or loaded.model).model.encoder(extract(loaded, [audio]))[0][:, :frames]
    return said


def test_the_fit_brings_the_encoder_back_to_what_it_said(fresh: Loaded, audio: NDArray[np.float32]) -> None:
    """On a clip that the fit has not seen."""
    fitted, bare = (prune_ffn(0.75, fit=fit)(deepcopy(fresh.model)) for fit in (True, False))
    before = encoded(fresh, audio)
    assert (encoded(fresh, audio, fitted) - before).norm() < 0.8 * (encoded(fresh, audio, bare) - before).norm()


def test_a_layer_that_went_is_made_up_for_by_the_one_before_it(loaded: Loaded, fresh: Loaded) -> None:
    prune_layers(encoder=1, decoder=2)(fresh.model)
    assert (fresh.model.config.encoder_layers, fresh.model.config.decoder_layers) == (5, 4)
    layers = fresh.model.model.decoder.layers
    assert [layer.self_attn.layer_idx for layer in layers] == [layer.encoder_attn.layer_idx for layer in layers]
    assert [layer.self_attn.layer_idx for layer in layers] == [0, 1, 2, 3]
    whole, left = loaded.model.model.encoder.layers, fresh.model.model.encoder.layers
    old = [
        next(place for place, was in enumerate(whole) if torch.equal(was.fc1.weight, layer.fc1.weight))
        for layer in left
    ]
    (gone,) = others(old, 6)
    changed = [
        place
        for place, layer in zip(old, left, strict=True)
        if not torch.equal(layer.fc2.weight, whole[place].fc2.weight)
    ]
    assert changed == [gone - 1]


def test_what_a_layer_that_went_added_is_nearly_said_without_it(fresh: Loaded, audio: NDArray[np.float32]) -> None:
    """On a clip that the fit has not seen."""
    fitted, bare = (prune_layers(encoder=1, fit=fit)(deepcopy(fresh.model)) for fit in (True, False))
    before = encoded(fresh, audio)
    assert (encoded(fresh, audio, fitted) - before).norm() < 0.8 * (encoded(fresh, audio, bare) - before).norm()


def test_without_a_fit_a_layer_that_went_is_a_layer_that_says_nothing(fresh: Loaded) -> None:
    names = [f"model.decoder.layers.{index}" for index in range(6)]
    influences = activations.influences(fresh.model, names)
    least = min(range(1, 6), key=influences.__getitem__)
    masked = deepcopy(fresh.model)
    masked.model.decoder.layers[least].forward = lambda hidden, *_, **__: hidden
    prune_layers(decoder=1, fit=False)(fresh.model)
    asked = {"encoder_outputs": (states(1, 100, 512),), "decoder_input_ids": torch.tensor([[50258, 50263, 7000]])}
    with torch.inference_mode():
        torch.testing.assert_close(fresh.model(**asked).logits, masked(**asked, use_cache=False).logits)


def test_two_thin_layers_take_the_place_of_one_where_they_are_less_work(fresh: Loaded, loaded: Loaded) -> None:
    before = census.take(fresh.model)
    low_rank(encoder=0.9)(fresh.model)
    thin = {name: sizes for name, sizes in pruned.linears(fresh.model).items() if len(sizes) == 3}
    assert thin
    for name, (inputs, rank, outputs) in thin.items():
        assert rank * (inputs + outputs) < inputs * outputs
        first, second = fresh.model.model.get_submodule(name)
        masked = second.weight @ second.weight.T @ loaded.model.model.get_submodule(name).weight
        said = second(first(states(7, inputs)))
        torch.testing.assert_close(said, states(7, inputs) @ masked.T + second.bias, rtol=1e-3, atol=1e-3)
    after = census.take(fresh.model)
    assert after.size_mib < before.size_mib
    assert not any(isinstance(module, torch.nn.Sequential) for module in fresh.model.model.decoder.modules())


def test_a_cut_vocabulary_scores_its_tokens_as_before_and_no_others(
    fresh: Loaded, loaded: Loaded, audio: NDArray[np.float32]
) -> None:
    prune_vocabulary("CYRILLIC")(fresh.model)
    embedding = fresh.model.model.decoder.embed_tokens
    tokens = embedding.tokens
    assert len(tokens) == len(fresh.model.proj_out.weight) < 6000
    assert fresh.model.proj_out.weight is embedding.weight
    texts = loaded.tokenizer.batch_decode([[int(id)] for id in tokens])
    assert " друг" in texts
    assert " друг" not in loaded.tokenizer.batch_decode([[id] for id in others(tokens.tolist(), 51865)])
    assert " the" not in texts
    hidden, ids = states(1, 100, 512), torch.tensor([[50258, 50263, 50359, 50363, 0]])
    with torch.inference_mode():
        new = fresh.model(encoder_outputs=(hidden,), decoder_input_ids=ids).logits
        old = loaded.model(encoder_outputs=(hidden,), decoder_input_ids=ids).logits
    torch.testing.assert_close(new[..., tokens], old[..., tokens])
    assert (new[..., others(tokens.tolist(), 51865)] == -torch.inf).all()
    assert transcribe(fresh, audio, "ru").text == transcribe(loaded, audio, "ru").text
    with pytest.raises(NotImplementedError, match="is for inference"):
        fresh.model(encoder_outputs=(hidden,), decoder_input_ids=ids, labels=ids)


def test_a_vocabulary_cut_twice_has_what_both_keep(fresh: Loaded, loaded: Loaded) -> None:
    pruned.keep_tokens(fresh.model, torch.tensor([1, 5, 9, 40, 7000]))
    pruned.keep_tokens(fresh.model, torch.tensor([5, 6, 40, 7000]))
    embedding = fresh.model.model.decoder.embed_tokens
    assert embedding.tokens.tolist() == [5, 40, 7000]
    asked = torch.tensor([[7000, 5]])
    assert torch.equal(embedding(asked), loaded.model.model.decoder.embed_tokens(asked))


def test_an_output_of_its_own_is_cut_and_kept(fresh: Loaded, tmp_path: Path) -> None:
    """Not replaced by the embedding, to which most are tied."""
    head = fresh.model.proj_out.weight.detach().clone() + 1
    fresh.model.proj_out.weight = torch.nn.Parameter(head.clone())
    pruned.keep_tokens(fresh.model, torch.tensor([1, 5, 9, 40, 7000]))
    pruned.keep_tokens(fresh.model, torch.tensor([5, 6, 40, 7000]))
    assert torch.equal(fresh.model.proj_out.weight, head[[5, 40, 7000]])
    pruned.adopt(fresh.model).save_pretrained(tmp_path)
    again = pruned.read(tmp_path, fresh.model)
    assert torch.equal(again.proj_out.weight, head[[5, 40, 7000]])
    assert torch.equal(again.model.decoder.embed_tokens.weight, fresh.model.model.decoder.embed_tokens.weight)


def test_fewer_positions_hear_shorter_clips(fresh: Loaded, audio: NDArray[np.float32]) -> None:
    assert tuple(fresh.model.model.encoder.embed_positions.weight.shape) == (50 * WINDOW, 512)
    assert transcribe(fresh, audio, "ru").text.lower() == SAID
    with pytest.raises(CorpusError, match=r"a clip of 10\.5 s for a model that hears 10 s"):
        transcribe(fresh, np.zeros(int(10.5 * 16_000), dtype=np.float32), "ru")


SOME_STEPS = (prune_ffn((0.875, 0.875, 1)), low_rank(encoder=0.9999), prune_vocabulary("CYRILLIC"))
ALL_STEPS = (
    prune_layers(decoder=1),
    prune_heads(0.875, 0.875, 0.875),
    prune_ffn((0.75, 1), 0.875),
    low_rank(encoder=0.97),
    prune_positions(8),
    prune_vocabulary("CYRILLIC"),
)


def test_a_cut_model_is_saved_and_loaded_again(fresh: Loaded, audio: NDArray[np.float32], tmp_path: Path) -> None:
    for step in SOME_STEPS:
        fresh.model = step(fresh.model)
    folder = tmp_path / "my cut"
    models.save(fresh, folder)
    with pytest.raises(FileExistsError, match=r"cut exists; next: rm -r '.*/my cut'$"):
        models.save(fresh, folder)
    assert [path.name for path in tmp_path.iterdir()] == ["my cut"]
    models.resolve(str(folder))
    again = models.load(folder, "cpu")
    assert isinstance(again.model, pruned.PrunedWhisper)
    assert isinstance(again.model, WhisperForConditionalGeneration)
    assert pruned.linears(again.model) == pruned.linears(fresh.model)
    assert again.model.proj_out.weight is again.model.model.decoder.embed_tokens.weight
    first, second = census.take(fresh.model), census.take(again.model)
    assert (first.dtypes, first.shapes, first.magnitude) == (second.dtypes, second.shapes, second.magnitude)
    assert first.size_mib == pytest.approx((folder / "model.safetensors").stat().st_size / 2**20, abs=0.1)
    assert (again.suppressed, again.suppressed_first) == (fresh.suppressed, fresh.suppressed_first)
    assert again.suppressed
    assert transcribe(again, audio, "ru").text == transcribe(fresh, audio, "ru").text
    alone: Any = pruned.PrunedWhisper.from_pretrained(folder)  # As any other Whisper, without lxbench.
    with torch.inference_mode():
        features = again.feature_extractor(audio, sampling_rate=16_000, return_tensors="pt").input_features
        ids = alone.generate(features, language="ru", task="transcribe")[0]
    assert again.tokenizer.decode(ids, skip_special_tokens=True).strip() == transcribe(fresh, audio, "ru").text
    for step in (cast("bfloat16"), quantize_dynamic):
        other = models.load(folder, "cpu")
        other.model = step(other.model)
        assert transcribe(other, audio, "ru").tokens > 0


def test_a_model_of_another_shape_is_cut_by_the_same_steps(tmp_path: Path, loaded: Loaded) -> None:
    """128 mel bands, other widths, more layers below than above: the shape of large-v3-turbo, made small."""
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=51866,
        num_mel_bins=128,
        d_model=64,
        encoder_layers=5,
        decoder_layers=3,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
    )
    WhisperForConditionalGeneration(config).save_pretrained(tmp_path)
    loaded.tokenizer.save_pretrained(tmp_path)
    model: Any = WhisperForConditionalGeneration.from_pretrained(tmp_path)
    model.generation_config.max_length = 8
    model.generation_config.is_multilingual = False
    for step in ALL_STEPS:
        model = step(model)
    sizes = pruned.linears(model)
    # From 0.75 to 1 along five layers, in steps of eight neurons.
    assert [sizes[f"encoder.layers.{index}.fc1"][-1] for index in range(5)] == [96, 104, 112, 120, 128]
    assert len(model.model.decoder.layers) == 2
    model.save_pretrained(tmp_path / "cut")
    assert pruned.linears(pruned.PrunedWhisper.from_pretrained(tmp_path / "cut")) == sizes


def test_the_census_knows_the_shapes_of_matrices(fresh: Loaded) -> None:
    before = census.take(fresh.model)
    prune_ffn(0.75)(fresh.model)
    after = census.take(fresh.model)
    assert before.shapes["2048x512"] - after.shapes["2048x512"] == 6
    assert after.shapes["1536x512"] == after.shapes["512x1536"] == 6
    assert before.dtypes["float32"] - after.dtypes["float32"] == 6 * (512 * 512 * 2 + 512)


@pytest.mark.parametrize("share", [0, 1.5, -0.1, (0.5, 0)])
@pytest.mark.parametrize("step", [prune_ffn, prune_heads, low_rank])
def test_a_share_is_more_than_0_and_at_most_1(step: Any, share: Any) -> None:
    with pytest.raises(ValueError, match="is not a share of what stays"):
        step(share)


def test_hearing_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="0 s are nothing to hear"):
        prune_positions(0)


def test_cutting_after_something_replaced_the_linears_is_refused(fresh: Loaded) -> None:
    low_rank(encoder=0.5)(fresh.model)
    with pytest.raises(StepError, match=r"fc1 is a Sequential, which cannot be cut") as raised:
        prune_ffn(0.5)(fresh.model)
    assert "cut before low rank, quantization" in str(raised.value)


def test_more_layers_than_there_are_is_refused(fresh: Loaded) -> None:
    with pytest.raises(StepError, match="6 layers to remove from the encoder of 6"):
        prune_layers(encoder=6)(fresh.model)


def test_without_calibration_clips_a_cut_is_refused(fresh: Loaded) -> None:
    with calibration.clips([]), pytest.raises(StepError, match="needs calibration clips and was given none"):
        prune_ffn(0.5)(fresh.model)


def test_a_step_is_named_by_what_it_does() -> None:
    assert prune_ffn((0.5, 1)).__name__ == "prune_ffn(encoder=0.5-1)"
    assert prune_heads(cross=0.75).__name__ == "prune_heads(cross=0.75)"
    assert prune_layers(decoder=1, fit=False).__name__ == "prune_layers(decoder=1, not fitted)"
    assert prune_ffn(0.5, importance="magnitude").__name__ == "prune_ffn(encoder=0.5, magnitude)"
