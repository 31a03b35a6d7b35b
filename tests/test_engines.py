"""The same model in other engines says what it says in torch."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest

from lxbench import embedded, ladder, models
from lxbench.audio import read_audio
from lxbench.errors import StepError
from lxbench.families import Loaded
from lxbench.ladder import Variant
from lxbench.steps.cut import prune_ffn
from lxbench.steps.engines import ctranslate2, whispercpp
from lxbench.transcribe import transcribe, transcribe_batch
from tests.suite import CORPORA

CLIPS = [CORPORA / "ivr-ru" / f"{name}.flac" for name in ("agent-loginok", "demo-enterkeywords")]


@pytest.fixture
def fresh() -> Loaded:
    return models.load(embedded.restore(), "cpu")


@pytest.mark.parametrize(
    ("package", "step"),
    [
        ("ctranslate2", ctranslate2("float32")),
        ("_pywhispercpp", whispercpp("float32")),
        ("_pywhispercpp", whispercpp("float16")),
    ],
    ids=["ctranslate2", "whispercpp-float32", "whispercpp-float16"],
)
def test_another_engine_says_the_same(loaded: Loaded, fresh: Loaded, package: str, step: Any) -> None:
    pytest.importorskip(package)
    fresh.model = step(fresh.model)
    for clip in map(read_audio, CLIPS):
        wanted, said = transcribe(loaded, clip, "ru"), transcribe(fresh, clip, "ru")
        assert (said.text, said.tokens) == (wanted.text, wanted.tokens)
        assert said.positions == 0


def test_a_batch_in_ctranslate2(loaded: Loaded, fresh: Loaded) -> None:
    pytest.importorskip("ctranslate2")
    fresh.model = ctranslate2("float32")(fresh.model)
    clips = list(map(read_audio, CLIPS))
    assert [each.text for each in transcribe_batch(fresh, clips, "ru")] == [
        transcribe(loaded, clip, "ru").text for clip in clips
    ]


def test_a_type_that_the_cpu_has_not_is_refused(fresh: Loaded) -> None:
    pytest.importorskip("ctranslate2")
    with pytest.raises(StepError, match="CTranslate2 computes in float32 here, not in float16"):
        ctranslate2("float16")(fresh.model)


def test_a_cut_model_is_refused_by_whispercpp(fresh: Loaded) -> None:
    pytest.importorskip("_pywhispercpp")
    model = prune_ffn(0.5, importance="magnitude", fit=False)(fresh.model)
    with pytest.raises(StepError, match=r"whisper\.cpp does not take this model"):
        whispercpp("float16")(model)


def test_blocks_of_8_bits_are_within_half_a_step() -> None:
    pytest.importorskip("_pywhispercpp")
    from lxbench.engines.whispercpp import _q8_0

    values = np.random.default_rng(0).normal(size=(3, 64)).astype(np.float32)
    values[1, :32] = 0
    packed = _q8_0(values)
    assert len(packed) == 6 * 34
    for number, block in enumerate(values.reshape(-1, 32)):
        scale, *numbers = struct.unpack_from("<e32b", packed, 34 * number)
        assert np.abs(scale * np.array(numbers) - block).max() <= 0.51 * np.abs(block).max() / 127 + 1e-3


def test_what_is_written_for_whispercpp_has_the_sizes_of_the_model(loaded: Loaded) -> None:
    pytest.importorskip("_pywhispercpp")
    from lxbench.engines.whispercpp import write

    file = io.BytesIO()
    write(loaded.model, loaded.tokenizer, "q8_0", file)
    assert struct.unpack_from("<12i", file.getvalue()) == (
        0x67676D6C, 51865, 1500, 512, 8, 6, 448, 512, 8, 6, 80, 2007,
    )  # fmt: skip
    assert b"decoder.blocks.5.cross_attn.query.weight" in file.getvalue()


def test_a_row_whose_package_is_not_there_says_so() -> None:
    row = Variant("x", ladder.CPU, needs="_no_such_engine")
    (unfit,) = ladder.unfit([row], "whisper", "ru", 10.0)
    assert unfit.elsewhere == "needs no_such_engine: pip install 'lxbench[engines]'"
