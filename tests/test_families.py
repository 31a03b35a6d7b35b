"""Another architecture through the same ladder: a small Moonshine with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lxbench import families, models
from lxbench.corpus.audio import read_audio
from lxbench.families import Loaded
from lxbench.ladder import unfit
from lxbench.transcribe import transcribe
from lxbench.variants import VARIANTS
from tests.suite import CORPORA, Bench, refused, results


@pytest.fixture(scope="module")
def moonshine(loaded: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a Moonshine of the base's proportions, Whisper's tokenizer beside it."""
    from transformers import MoonshineConfig, MoonshineForConditionalGeneration, Wav2Vec2FeatureExtractor

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("moonshine")
    config: Any = MoonshineConfig(
        vocab_size=len(loaded.tokenizer),
        hidden_size=64,
        intermediate_size=128,
        encoder_num_hidden_layers=2,
        decoder_num_hidden_layers=2,
        encoder_num_attention_heads=2,
        decoder_num_attention_heads=2,
        bos_token_id=50257,
        eos_token_id=50257,
        decoder_start_token_id=50257,
    )
    MoonshineForConditionalGeneration(config).save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    extractor: Any = Wav2Vec2FeatureExtractor(sampling_rate=16_000, do_normalize=False)
    extractor.save_pretrained(folder)
    return folder


def test_it_is_told_from_a_whisper_and_transcribes_as_generate_does(moonshine: Path) -> None:
    source = models.resolve(str(moonshine))
    assert source.family == "moonshine"
    models.check_language(source, "ru")
    loaded = models.load(moonshine, "cpu")
    audio = read_audio(CORPORA / "ivr-ru" / "agent-loginok.flac")
    values = loaded.feature_extractor(audio, sampling_rate=16_000, return_tensors="pt").input_values
    said = transcribe(loaded, audio, "ru")
    wanted = loaded.model.generate(input_values=values, num_beams=1, do_sample=False, max_new_tokens=said.tokens)[0]
    assert said.text == loaded.tokenizer.decode(wanted, skip_special_tokens=True).strip()
    assert 0 < said.tokens <= 1 + 13 * len(audio) / 16_000 + 1


ABLE = ["avx2", "avx512_bf16"]
ON_CPU = [row for row in VARIANTS if "cpu" in row.devices]


def test_rows_that_take_a_whisper_apart_stay_out() -> None:
    out = {row.name for row in unfit(ON_CPU, "moonshine", "ru", 5.0, ABLE)}
    assert out >= {"compile", "ptq-static", "prune-ffn", "prune-vocab", "prune-structured", "q+p+c"}
    assert not out & {"fp32", "bf16", "autocast", "ptq-dynamic", "bnb-int8", "ao-a8w8", "prune-magnitude", "q+p"}
    assert {row.name for row in unfit(ON_CPU, "whisper", "ru", 5.0, ABLE)} == set()
    assert {row.name for row in unfit(ON_CPU, "whisper", "de", 5.0, ABLE)} == {
        "prune-vocab",
        "prune-structured",
        "prune-structured-bf16",
        "prune-structured-int8",
        "merge-vocab",
        "fast",
        "fast-bf16",
        "fast-ort",
        "fast-ort-bf16",
    }


def test_rows_for_other_cpus_stay_out() -> None:
    out = {row.name: row.elsewhere for row in unfit(ON_CPU, "whisper", "ru", 5.0, ["avx2"])}
    assert out == dict.fromkeys(("fast-bf16", "openvino-bf16", "fast-ort-bf16"), "needs a CPU with avx512_bf16")


def test_clips_of_its_own_lengths_are_no_batch(bench: Bench, moonshine: Path) -> None:
    done = bench("--lx-model", moonshine, "--lx-batch", "2", "-k", "fp32")
    refused(done, f"--lx-batch 2 with model {moonshine}: a moonshine hears every clip as long as it is")


def test_every_family_can_do_what_is_asked_of_it() -> None:
    wanted = {name for name in vars(families.Family) if not name.startswith("_")}
    for name in families.NAMES:
        assert all(callable(getattr(families.find(name), function)) for function in wanted)
        assert isinstance(families.find(name).TOGETHER, bool)


def test_the_ladder_measures_and_gates_it(bench: Bench, moonshine: Path, small_corpus: Path, tmp_path: Path) -> None:
    asked = (
        "--lx-model",
        moonshine,
        "--lx-corpus",
        small_corpus,
        "-k",
        "fp32 or ptq-dynamic or prune-magnitude or prune-vocab",
    )
    done = bench(*asked, "--lx-update", "new")
    assert done.returncode == 1, done.stdout + done.stderr
    said = {row["variant"]: row for row in results(tmp_path)["rows"]}
    assert set(said) == {"fp32", "ptq-dynamic", "prune-magnitude"}
    assert all(row["complete"] and row["seconds"] for row in said.values())
    assert results(tmp_path)["absent"] == [
        {"variant": "prune-vocab", "why": "its steps take a Whisper apart, this is a moonshine"}
    ]
    assert {row["verdicts"]["accuracy"]["word"] for row in said.values()} == {"NEW"}
    done = bench(*asked, "--benchmark-disable")
    assert done.returncode == 0, done.stdout + done.stderr
    judged = [row["verdicts"]["accuracy"] for row in results(tmp_path)["rows"]]
    assert len(judged) == 3
    assert all(each["word"] == "PASS" and each["text"].startswith("WER ") for each in judged)
