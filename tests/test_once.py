"""What is chosen on the calibration clips and kept: the same when it is read, made anew for anything else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
    X86InductorQuantizer,
    get_default_x86_inductor_quantization_config,
)

from lxbench import kept, models
from lxbench.corpus import calibration
from lxbench.corpus.audio import read_audio
from lxbench.families import Loaded
from lxbench.pruning import pruned
from lxbench.steps.cut import prune_ffn
from lxbench.steps.once import observe, once
from lxbench.steps.prune import prune_magnitude
from lxbench.steps.quantize import export_encoder
from lxbench.steps.tables import prune_positions, prune_vocabulary
from lxbench.transcribe import transcribe
from lxbench.worker import census
from tests.suite import CORPORA

CLIP = CORPORA / "ivr-ru" / "agent-loginok.flac"


@pytest.fixture(autouse=True)
def observed() -> Iterator[None]:
    with calibration.clips(sorted((CORPORA / "ivr-ru-calibration").glob("*.flac"))[:2], "ru"):
        yield


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(kept, "origins", Counter[str]())
    return tmp_path / "lxbench"


@pytest.fixture
def fresh(loaded: Loaded) -> Loaded:
    """The embedded model, hearing 10 s: a third of the time."""
    own = models.load(Path(loaded.model.name_or_path), "cpu")
    prune_positions(10)(own.model)
    return own


@pytest.fixture(scope="module")
def audio() -> NDArray[np.float32]:
    return read_audio(CLIP)


def test_a_cut_is_made_once(fresh: Loaded, audio: NDArray[np.float32], cache: Path) -> None:
    """What is read says what was made, by the same weights; another model, other clips and damage: made anew."""
    step = once(prune_ffn((0.75, 1)))
    assert step.__name__ == "prune_ffn(encoder=0.75-1)"
    assert step.family == "whisper"  # type: ignore[attr-defined]
    whole, other = deepcopy(fresh.model), deepcopy(fresh.model)
    made, read = step(fresh.model), step(deepcopy(whole))
    assert made is fresh.model
    assert kept.origins == {"new": 1, "cached": 1}
    assert isinstance(read, pruned.PrunedWhisper)
    assert not read.training
    assert made.name_or_path == read.name_or_path == whole.name_or_path
    assert made.generation_config.to_dict() == read.generation_config.to_dict()
    assert census.take(made) == census.take(read)
    weights = read.state_dict()
    assert all(torch.equal(weights[name], weight) for name, weight in made.state_dict().items())
    said = transcribe(fresh, audio, "ru")
    fresh.model = prune_vocabulary("CYRILLIC")(read)  # It looks for the tokenizer of what was cut.
    assert transcribe(fresh, audio, "ru").text == said.text

    (weights_file,) = cache.glob("pruned/*/model.safetensors")
    weights_file.write_bytes(weights_file.read_bytes()[:100])
    assert census.take(step(deepcopy(whole))) == census.take(made)
    other.model.encoder.layers[0].fc1.bias.data[0] += 1
    step(other)
    with calibration.clips([CLIP], "ru") as asked:
        prune_magnitude(0.8)(deepcopy(whole))
        assert not asked
        step(deepcopy(whole))
        assert asked == {CLIP}
    assert kept.origins == {"new": 4, "cached": 1}


def test_ranges_are_observed_once(fresh: Loaded, cache: Path) -> None:
    encoder = fresh.model.model.encoder
    features = [clip.features for clip in calibration.recordings(fresh.model)]

    def quantized(clips: list[Any]) -> tuple[str, dict[str, torch.Tensor]]:
        with torch.no_grad():
            exported = export_encoder(encoder, features[0])
            config = get_default_x86_inductor_quantization_config()
            graph: Any = prepare_pt2e(exported, X86InductorQuantizer().set_global(config))
            observe(graph, clips)
            graph = convert_pt2e(graph)
        return str(graph.graph), dict(graph.named_buffers())

    (made, constants), (read, again) = quantized(features), quantized([])
    assert kept.origins == {"new": 1, "cached": 1}
    assert "quantize_per_tensor" in made
    assert made == read  # The scales of activations are written out in it.
    assert constants.keys() == again.keys()
    assert all(torch.equal(again[name], value) for name, value in constants.items())
    encoder.layers[0].fc1.weight.data *= 2
    other, _ = quantized(features)
    assert kept.origins == {"new": 2, "cached": 1}
    assert other != made
    (size, _) = (sum(file.stat().st_size for file in folder.iterdir()) for folder in cache.glob("observed/*"))
    assert size < 2**20
