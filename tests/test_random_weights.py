"""Models of a shape: the published architectures, the same number of tokens for every clip, nothing scored or gated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration, WhisperTokenizer

from lxbench import models
from lxbench.checkpoints import embedded, shapes
from lxbench.corpus.audio import read_audio
from lxbench.errors import UsageError
from lxbench.families.whisper import prompt_ids
from lxbench.steps.engines import ctranslate2
from lxbench.steps.plain import plain_decoding
from lxbench.transcribe import transcribe
from tests.suite import CORPORA, Bench, require
from tools import gpu as look

# Parameters as the hub counts them in the published checkpoints.
PUBLISHED = {
    "tiny": 37_760_640,
    "base": 72_593_920,
    "small": 241_734_912,
    "medium": 763_857_920,
    "large-v2": 1_543_304_960,
    "large-v3": 1_543_490_560,
    "turbo": 808_878_080,
    "distil-large-v3": 756_405_760,
}


@pytest.mark.parametrize(("size", "parameters"), PUBLISHED.items())
def test_a_shape_has_as_many_parameters_as_the_published_model(size: str, parameters: int) -> None:
    config = WhisperConfig.from_pretrained(shapes.restore(f"shape:{size}"))
    with torch.device("meta"):
        model = WhisperForConditionalGeneration(config)
    assert sum(each.numel() for each in model.parameters()) == parameters


def test_base_is_the_embedded_model_without_its_weights() -> None:
    ours, theirs = (
        {
            name: (tuple(tensor.shape), tensor.dtype)
            for name, tensor in models.load(folder, "cpu").model.state_dict().items()
        }
        for folder in (shapes.restore("shape:base"), embedded.restore())
    )
    assert ours == theirs


def test_the_newest_have_one_language_more_and_all_behind_it_moves() -> None:
    folder = shapes.restore("shape:large-v3")
    tokenizer = WhisperTokenizer.from_pretrained(folder)
    # Of openai/whisper-large-v3, as published.
    expected = {
        "<|su|>": 50357,
        "<|yue|>": 50358,
        "<|transcribe|>": 50360,
        "<|notimestamps|>": 50364,
    }
    assert {name: tokenizer.convert_tokens_to_ids(name) for name in expected} == expected
    generation = json.loads((folder / "generation_config.json").read_text("utf-8"))
    assert generation["lang_to_id"]["<|yue|>"] == 50358
    assert generation["task_to_id"] == {"transcribe": 50360, "translate": 50359}
    assert generation["no_timestamps_token_id"] == 50364


def test_every_clip_gets_as_many_tokens_by_either_loop() -> None:
    loaded = models.load(models.resolve("shape:tiny").folder, "cpu")
    clips = [read_audio(path) for path in sorted((CORPORA / "ivr-ru").glob("**/*.flac"))[:2]]
    said = [transcribe(loaded, clip, "ru") for clip in clips]
    assert [each.tokens for each in said] == [shapes.TOKENS] * 2
    loaded.model = plain_decoding(loaded.model)
    assert [transcribe(loaded, clip, "ru").text for clip in clips] == [each.text for each in said]
    assert prompt_ids(loaded.model, "ru") == [50258, 50263, 50359, 50363]


def test_every_clip_gets_as_many_tokens_in_ctranslate2() -> None:
    """It says half of its limit; the model's own is of the text alone."""
    require("ctranslate2")
    loaded = models.load(models.resolve("shape:tiny").folder, "cpu")
    clips = [read_audio(path) for path in sorted((CORPORA / "ivr-ru").glob("**/*.flac"))[:2]]
    loaded.model = ctranslate2("float32")(loaded.model)
    assert [transcribe(loaded, clip, "ru").tokens for clip in clips] == [shapes.TOKENS] * 2
    loaded.model.generation_config.max_length = None  # As many as there are positions, the prompt's among them.
    assert transcribe(loaded, clips[0], "ru").tokens == 448 - len(prompt_ids(loaded.model, "ru"))


def test_weights_are_the_same_each_time() -> None:
    folder = models.resolve("shape:tiny").folder
    first, second = (models.load(folder, "cpu").model.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.isnan(torch.cat([tensor.flatten() for tensor in first.values()])).any()


def test_an_unknown_size_is_refused() -> None:
    with pytest.raises(UsageError, match="--lx-model 'shape:huge' is not a shape lxbench knows") as raised:
        models.resolve("shape:huge")
    assert "expected: shape: and one of tiny, base, small, medium, large-v2, large-v3, turbo" in str(raised.value)
    assert "next: nox -s bench-cpu -- --lx-model shape:base  # or bench-gpu" in str(raised.value)


def test_nothing_is_scored_or_gated(bench: Bench, tmp_path: Path) -> None:
    done = bench("--lx-model", "shape:tiny", "--lx-clips", 3, "-k", "[bf16-cpu] or [fp32-cpu] or [prune-l2-cpu]")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line.rstrip().endswith(" PASS")}
    assert [lines[name][1:3] for name in ("fp32", "bf16", "prune-l2")] == [["n/a", "n/a"]] * 3
    found = json.loads((tmp_path / "results" / "latest" / "results.json").read_text("utf-8"))
    assert found["model"]["random"] is True
    assert {row["wer"] for row in found["rows"]} == {row["usable"] for row in found["rows"]} == {None}
    assert {clip["tokens"] for row in found["rows"] for clip in row["clips"]} == {shapes.TOKENS}
    speed = {row["variant"]: row["verdicts"]["speed"]["text"] for row in found["rows"]}
    assert speed["bf16"].endswith("times fp32; random weights, nothing is gated")
    assert not (tmp_path / "baselines").exists()


def test_nothing_is_recorded(bench: Bench) -> None:
    done = bench("--lx-model", "shape:tiny", "--lx-clips", 3, "-k", "bf16", "--lx-update", "new")
    assert done.returncode == 4
    assert "--lx-update with model shape:tiny, whose weights are random" in done.stderr
    assert "next: nox -s bench-cpu -- --lx-model shape:tiny --lx-clips 3 --lx-baselines " in done.stderr


def test_a_look_at_some_rows_in_one_process(capsys: pytest.CaptureFixture[str]) -> None:
    look.main(["shape:tiny", "fp32", "plain"])
    machine, *rows = capsys.readouterr().out.splitlines()
    assert "float32" in machine
    assert "read" in machine
    assert [line.split(":")[0] for line in rows] == ["fp32", "plain"]
    assert rows[0].startswith("fp32: 1.00 times the first, ")
    assert all(f"{shapes.TOKENS} tokens" in line and "of memory's speed" in line for line in rows)
    assert not any("NEVER RAN" in line for line in rows)
    with pytest.raises(UsageError, match="no variant is called 'nothing'"):
        look.main(["shape:tiny", "nothing"])
