"""Each step on the real model: what the census sees, which kernels run, and that the words survive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lxbench import census, corpus, embedded, models
from lxbench.build import build, warm_up
from lxbench.errors import StepError
from lxbench.ladder import CPU, Variant, find
from lxbench.transcribe import transcribe
from lxbench.variants import VARIANTS
from tests.suite import CORPORA

WANTED_CHANGES = {
    "bf16": {"dtypes", "size_mib"},
    "autocast": {"wrapped"},
    "ptq-dynamic": {"modules", "size_mib"},
    "compile": {"compiled"},
}


@pytest.fixture(scope="module")
def audio() -> NDArray[np.float32]:
    return corpus.read_audio(CORPORA / "ivr-ru" / "agent-loginok.flac")


@pytest.fixture(scope="module")
def folder() -> Path:
    return embedded.restore()


@pytest.mark.parametrize("name", [variant.name for variant in VARIANTS])
def test_a_row_does_what_it_says(name: str, folder: Path, audio: NDArray[np.float32]) -> None:
    variant = find(VARIANTS, name)
    stages: list[str] = []
    loaded, report = build(variant, folder, "cpu", stages.append)
    warm_up(loaded, report, audio, "ru")
    assert variant.runs in report.kernels
    assert transcribe(loaded, audio, "ru").text.lower() == "оператор зарегистрирован."
    for step in report.steps:
        assert set(step["changed"]) >= WANTED_CHANGES[name]
    assert stages == ["loading", *(step["name"] for step in report.steps)]
    assert set(report.seconds) == {"load", "steps", "warm-up"}


def test_int8_halves_the_size_and_bf16_too(folder: Path) -> None:
    model = models.load(folder, "cpu").model
    whole = census.take(model).size_mib
    assert whole == pytest.approx(72_593_920 * 4 / 2**20, rel=0.02)
    assert census.take(find(VARIANTS, "bf16").steps[0](model)).size_mib == pytest.approx(whole / 2, rel=0.01)


def test_a_step_that_changes_nothing_is_refused(folder: Path) -> None:
    def quantize_nothing(model: Any) -> Any:
        return model

    variant = Variant("nothing", CPU, steps=(quantize_nothing,))
    with pytest.raises(StepError, match="step quantize_nothing changed nothing"):
        build(variant, folder, "cpu", lambda _: None)


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (lambda model: model[0].weight.data.mul_(1.01), {"magnitude"}),
        (lambda model: model[0].weight.data[0].zero_(), {"magnitude", "zeros"}),
        (lambda model: model.half(), {"dtypes", "size_mib", "magnitude"}),
        (
            lambda model: model.append(torch.nn.Linear(2, 2)),
            {"modules", "dtypes", "parameters", "magnitude", "size_mib"},
        ),
        (lambda model: model[0].compile(), {"compiled"}),
        (lambda model: setattr(model[0], "forward", lambda x: x), {"wrapped"}),
        (lambda _: None, set()),
    ],
)
def test_the_census_sees(change: Any, seen: set[str]) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU())
    before = census.take(model)
    change(model)
    assert set(before.changes(census.take(model))) == seen


def test_kernels_are_named_with_their_type() -> None:
    layer = torch.nn.Linear(8, 8).to(torch.bfloat16)
    with torch.inference_mode():
        seen = census.kernels(lambda: layer(torch.ones(2, 8, dtype=torch.bfloat16)))
    assert seen == {"addmm bfloat16": 1}
