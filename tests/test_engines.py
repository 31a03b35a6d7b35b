"""The same model in other engines says what it says in torch."""

from __future__ import annotations

import importlib.util
import random
from collections import Counter
from collections.abc import Callable
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import pytest
import torch

from lxbench import engines, kept, ladder, machine, models
from lxbench.checkpoints import embedded
from lxbench.corpus.audio import read_audio
from lxbench.errors import StepError
from lxbench.families import Loaded
from lxbench.inference.greedy import greedy
from lxbench.ladder import Step, Variant, find
from lxbench.steps.engines import ctranslate2, decode_in_onnxruntime, onnxruntime, openvino, whispercpp
from lxbench.steps.plain import plain_decoding
from lxbench.steps.precision import cast
from lxbench.steps.quantize import quantize_dynamic, quantize_linears
from lxbench.steps.tables import prune_vocabulary
from lxbench.transcribe import Transcript, transcribe, transcribe_batch
from lxbench.variants import VARIANTS
from lxbench.worker.build import BuildReport, build, warm_up
from tests.shapes import small_whisper
from tests.suite import CORPORA, require

CLIPS = [CORPORA / "ivr-ru" / f"{name}.flac" for name in ("agent-loginok", "demo-enterkeywords")]
# What is left of 277 MiB: all, half, a quarter; the embedding in float32 beside it is 101 MiB. Graphs have it twice.
ROWS = {
    "ct2": 277,
    "ct2-int8": 73,
    "ort": 379,
    "ort-int8": 177,
    "openvino": 379,
    "openvino-bf16": 379,
    "whispercpp-f16": 141,
    "whispercpp-q8": 78,
    "fast-ort": 100,
    "fast-ort-bf16": 84,
}
EXACT = {"ct2", "ort", "openvino", "whispercpp-f16"}


@pytest.fixture
def fresh() -> Loaded:
    return models.load(embedded.restore(), "cpu")


@pytest.fixture(scope="module", params=ROWS)
def built(request: pytest.FixtureRequest) -> tuple[Variant, Loaded, BuildReport]:
    found = find(VARIANTS, request.param)
    require(found.needs)
    for out in ladder.unfit([found], "whisper", "ru", 5.0, machine.instructions()):
        pytest.skip(out.elsewhere)
    loaded, report = build(found, embedded.restore(), "cpu", lambda _: None)
    warm_up(loaded, report, read_audio(CLIPS[0]), "ru")
    return found, loaded, report


@pytest.fixture(scope="module")
def wanted(loaded: Loaded) -> list[Transcript]:
    return [transcribe(loaded, read_audio(clip), "ru") for clip in CLIPS]


def test_another_engine_says_the_same(wanted: list[Transcript], built: tuple[Variant, Loaded, BuildReport]) -> None:
    """One at a time, and at once: letter for letter in floats, near it in integers."""
    row, converted, _ = built
    clips = list(map(read_audio, CLIPS))
    for said in ([transcribe(converted, clip, "ru") for clip in clips], transcribe_batch(converted, clips, "ru")):
        if row.name in EXACT:
            assert [(each.text, each.tokens) for each in said] == [(each.text, each.tokens) for each in wanted]
        for one, other in zip(said, wanted, strict=True):
            assert SequenceMatcher(None, one.text, other.text).ratio() > 0.9


def test_a_row_in_another_engine_names_what_it_computes_in(built: tuple[Variant, Loaded, BuildReport]) -> None:
    variant, _, report = built
    assert variant.runs in report.kernels
    assert (report.work is None) == (not variant.name.startswith("fast-ort"))
    if report.work is not None:  # Whatever keys and values are made in, the graph is given float32.
        assert report.work.heard_bytes == 4 * 6 * 2 * 512
    assert report.census["size_mib"] == pytest.approx(ROWS[variant.name], abs=3)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (ctranslate2("float11"), "CTranslate2 does not compute in float11 here"),
        (onnxruntime("float11"), "ONNX Runtime does not compute in float11 here"),
        (openvino("float11"), "OpenVINO does not compute in float11 here"),
        (whispercpp("float11"), "whisper.cpp does not compute in float11 here"),
    ],
)
def test_a_type_that_an_engine_has_not_is_refused(fresh: Loaded, step: Step, message: str) -> None:
    require(step.__name__.partition("(")[0].replace("whispercpp", "pywhispercpp"))
    with pytest.raises(StepError, match=message):
        step(fresh.model)


@pytest.mark.parametrize(
    ("before", "cut", "message"),
    [
        (quantize_dynamic, True, r"E does not take what the steps before it made: torch\S+dynamic\S+Linear"),
        (plain_decoding, True, r"E does not take what the steps before it made: transformers\S+WhisperModel"),
        (cast("bfloat16"), True, "E does not take what the steps before it made: weights in bfloat16"),
        (prune_vocabulary("CYRILLIC"), False, "E does not take what the steps before it made: cut layers"),
    ],
)
def test_what_an_engine_cannot_be_given_is_refused(fresh: Loaded, before: Step, cut: bool, message: str) -> None:
    model = before(fresh.model)
    with pytest.raises(StepError, match=message):
        engines.require_whole(model, "E", cut)


@pytest.mark.parametrize(
    "before",
    [
        [],
        [plain_decoding, quantize_linears("proj_out")],
        [plain_decoding, quantize_linears("model.decoder.*")],
        [cast("bfloat16"), plain_decoding],
    ],
)
def test_a_decoder_that_cannot_be_exported_is_refused(fresh: Loaded, before: tuple[Step, ...]) -> None:
    require("onnxruntime")
    for step in before:
        fresh.model = step(fresh.model)
    with pytest.raises(StepError, match="the decoder before plain_decoding, or after its layers were replaced"):
        decode_in_onnxruntime("int8")(fresh.model)


def test_an_output_of_its_own_is_not_left_out_for_whispercpp(fresh: Loaded) -> None:
    require("pywhispercpp")
    fresh.model.proj_out.weight = torch.nn.Parameter(fresh.model.proj_out.weight.detach().clone())
    with pytest.raises(StepError, match="takes the embedding for the output, and this model has another one"):
        whispercpp("float16")(fresh.model)


def test_graphs_are_made_once(loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another graph for other weights, and a damaged one is made again."""
    require("onnxscript")
    from lxbench.engines import graphs

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(kept, "origins", Counter[str]())
    model = small_whisper(loaded, "large-v3-turbo")
    (first, sizes), (again, _) = graphs.export_say(model), graphs.export_say(model)
    assert (first, sizes) == (again, [(4, 16)] * 2)
    assert kept.origins == {"new": 1, "cached": 1}
    first.path.write_bytes(first.path.read_bytes()[:100])
    mended, _ = graphs.export_say(model)
    assert mended == first
    model.model.decoder.layers[0].fc1.weight.data[0, 0] += 1
    other, _ = graphs.export_say(model)
    assert other.path != first.path
    assert kept.origins == {"new": 3, "cached": 1}
    assert tmp_path in other.path.parents

    def rename(path: Path) -> None:
        path.rename(path.with_name("changed.onnx"))

    (changed, _), (same, _) = (graphs.export_say(model, graphs.Finish("changed", rename)) for _ in range(2))
    assert kept.origins == {"new": 4, "cached": 3}, "it is made of what was exported, and once"
    assert changed == same
    assert changed.path.name == "changed.onnx"
    assert other.path.is_file()


def test_a_row_whose_package_is_not_there_says_so() -> None:
    row = Variant("x", ladder.CPU, needs="_no_such_engine")
    (unfit,) = ladder.unfit([row], "whisper", "ru", 10.0, [])
    assert unfit.elsewhere == 'needs _no_such_engine: pip install -c constraints/cpu.txt -e ".[engines]"'


def test_steps_say_which_package_they_do_not_run_without(monkeypatch: pytest.MonkeyPatch) -> None:
    packages = ("bitsandbytes", "torchao", "triton")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in packages else find(name))
    out = ladder.unfit(VARIANTS, "whisper", "ru", 10.0, machine.instructions("cpu"))
    missing = {row.name: row.elsewhere for row in out if "pip install" in row.elsewhere}
    for row in VARIANTS:
        code = {step.__module__ for step in row.steps}
        if {"lxbench.steps.torchao", "lxbench.steps.bitsandbytes"} & code:
            assert missing[row.name].startswith(("needs torchao: pip", "needs bitsandbytes: pip"))
    assert missing["ptq-static"] == "needs torchao: pip install torchao"
    assert missing["graphs"] == "needs triton: pip install triton"
    assert "graphs-fp16" not in missing, "in the libraries' kernels"


def test_blocks_of_eight_bits_are_read_as_they_were_written() -> None:
    """As ggml reads them: a scale in float16, then 32 numbers."""
    from lxbench.engines.ggml import q8_0

    values = np.random.default_rng(0).normal(size=(3, 64)).astype(np.float32)
    values[0, :32] = 0
    blocks = np.frombuffer(q8_0(values), np.dtype([("scale", "<f2"), ("numbers", "i1", 32)]))
    read = blocks["scale"][:, None].astype(np.float32) * blocks["numbers"]
    assert np.abs(read.reshape(3, 64) - values).max() < np.abs(values).max() / 127
    assert not read[0].any()


def scores_of(texts: list[list[int]], known: list[int]) -> Callable[[torch.Tensor, int], torch.Tensor]:
    """What a model would give that says these texts after a prompt of two tokens."""

    def say(ids: torch.Tensor, at: int) -> torch.Tensor:
        place = at + ids.shape[1] - 2
        scores = torch.zeros(len(texts), len(known))
        for index, text in enumerate(texts):
            scores[index, known.index(text[min(place, len(text) - 1)])] = 1
        return scores

    return say


def test_the_loop_ends_each_text_where_it_ends(loaded: Loaded) -> None:
    end = loaded.model.generation_config.eos_token_id
    known = sorted({end, *random.Random(0).sample(range(end), 20)})
    one, two, three, *_ = known
    say = scores_of([[one, end], [one, two, three, end]], known)
    prompt = torch.tensor([[5, 6], [5, 6]])
    every = torch.tensor(known)
    assert greedy(say, prompt, loaded.model, [], [], every) == [[one], [one, two, three]]
    assert greedy(scores_of([[end]], known), prompt[:1], loaded.model, [], [], every) == [[]]


def test_the_loop_leaves_out_what_is_suppressed(loaded: Loaded) -> None:
    """Tokens of a cut vocabulary are at other places; one that it has not is no error."""
    end = loaded.model.generation_config.eos_token_id
    known = [3, 10, 20, end]
    say = scores_of([[10, 10, end]], known)
    prompt = torch.tensor([[5, 6]])
    assert greedy(say, prompt, loaded.model, [4], [10], torch.tensor(known)) == [[3, 10]]
    assert 10 not in greedy(say, prompt, loaded.model, [10], [], torch.tensor(known))[0]
