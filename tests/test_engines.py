"""The same model in other engines says what it says in torch."""

from __future__ import annotations

import pytest

from lxbench import embedded, ladder, models
from lxbench.audio import read_audio
from lxbench.build import build, warm_up
from lxbench.errors import StepError
from lxbench.families import Loaded
from lxbench.ladder import Variant
from lxbench.steps.engines import ctranslate2
from lxbench.transcribe import transcribe, transcribe_batch
from tests.suite import CORPORA

CLIPS = [CORPORA / "ivr-ru" / f"{name}.flac" for name in ("agent-loginok", "demo-enterkeywords")]


@pytest.fixture
def fresh() -> Loaded:
    return models.load(embedded.restore(), "cpu")


def test_another_engine_says_the_same(loaded: Loaded, fresh: Loaded) -> None:
    pytest.importorskip("ctranslate2")
    fresh.model = ctranslate2("float32")(fresh.model)
    for clip in map(read_audio, CLIPS):
        wanted, said = transcribe(loaded, clip, "ru"), transcribe(fresh, clip, "ru")
        assert (said.text, said.tokens) == (wanted.text, wanted.tokens)
        assert said.positions == 0


def test_a_row_in_another_engine_is_built_and_names_what_it_computes_in() -> None:
    pytest.importorskip("ctranslate2")
    row = Variant("ct2", ladder.CPU, (ctranslate2("int8_float32"),), runs="ctranslate2::int8_float32")
    loaded, report = build(row, embedded.restore(), "cpu", lambda _: None)
    warm_up(loaded, report, read_audio(CLIPS[0]), "ru")
    assert "ctranslate2::int8_float32" in report.kernels
    assert report.work is None
    assert report.census["size_mib"] == pytest.approx(73, abs=3)


def test_a_batch_in_ctranslate2(loaded: Loaded, fresh: Loaded) -> None:
    pytest.importorskip("ctranslate2")
    fresh.model = ctranslate2("float32")(fresh.model)
    clips = list(map(read_audio, CLIPS))
    assert [each.text for each in transcribe_batch(fresh, clips, "ru")] == [
        transcribe(loaded, clip, "ru").text for clip in clips
    ]


def test_a_type_that_the_cpu_has_not_is_refused(fresh: Loaded) -> None:
    pytest.importorskip("ctranslate2")
    with pytest.raises(StepError, match="CTranslate2 does not compute in float16 here"):
        ctranslate2("float16")(fresh.model)


def test_a_row_whose_package_is_not_there_says_so() -> None:
    row = Variant("x", ladder.CPU, needs="_no_such_engine")
    (unfit,) = ladder.unfit([row], "whisper", "ru", 10.0)
    assert unfit.elsewhere == "needs _no_such_engine: pip install 'lxbench[engines]'"
