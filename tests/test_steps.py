"""Each step on the real model: what the census sees, which kernels run, and that the words survive."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch._dynamo.utils import counters

import lxbench.worker.build
from lxbench import baselines, machine, models
from lxbench.checkpoints import embedded
from lxbench.corpus import calibration
from lxbench.corpus.audio import read_audio
from lxbench.errors import StepError
from lxbench.families import Loaded
from lxbench.families.whisper import encode, extract
from lxbench.ladder import CPU, Variant, find, unfit
from lxbench.steps.bitsandbytes import bitsandbytes_nf4
from lxbench.steps.compile import COMPILER, compile_decoding
from lxbench.steps.precision import cast
from lxbench.steps.prune import prune_l2, prune_magnitude
from lxbench.steps.quantize import quantize_dynamic, quantize_static
from lxbench.steps.torchao import torchao_a8w4, torchao_a8w8, torchao_w8
from lxbench.transcribe import transcribe
from lxbench.variants import VARIANTS
from lxbench.worker import census
from lxbench.worker.build import build, warm_up
from tests.shapes import small_whisper
from tests.suite import CORPORA, ROOT

WANTED_CHANGES = {
    "cast(bfloat16)": {"dtypes", "size_mib"},
    "autocast(bfloat16)": {"wrapped"},
    "compile_encoder": {"compiled"},
    "compile_decoding": {"compiled"},
    "quantize_dynamic": {"modules", "dtypes", "size_mib"},
    "quantize_static": {"modules", "dtypes", "size_mib", "wrapped"},
    "bitsandbytes_int8": {"modules", "dtypes", "size_mib"},
    "bitsandbytes_nf4": {"modules", "dtypes", "size_mib"},
    "torchao_a8w8": {"dtypes", "size_mib"},
    "torchao_a8w4": {"dtypes", "size_mib"},
    "prune_magnitude(0.81)": {"zeros", "magnitude"},
    "prune_ffn(encoder=0.5-0.5-0.5-0.75-1)": {"shapes", "size_mib"},
    "prune_ffn(encoder=0.75-0.75-0.75-0.9-1)": {"shapes", "size_mib"},
    "prune_heads(encoder=0.75-1)": {"shapes", "size_mib"},
    "prune_layers(decoder=1)": {"modules", "shapes", "size_mib"},
    "low_rank(encoder=0.999)": {"modules", "shapes", "size_mib"},
    "prune_vocabulary(CYRILLIC)": {"modules", "shapes", "size_mib"},
    "prune_positions(20)": {"shapes", "size_mib"},
    "plain_decoding": {"modules", "shapes"},
    "merge_padding(64)": {"modules", "shapes"},
    "merge_padding(64, multiple=32)": {"modules", "shapes"},
    "quantize_linears(model.decoder.*, proj_out, model.encoder.*.fc1)": {"modules", "dtypes", "size_mib"},
    "quantize_linears(model.decoder.*, proj_out)": {"modules", "dtypes", "size_mib"},
    "cast(bfloat16, model.encoder)": {"dtypes", "size_mib"},
}
# Rows that are built alike are looked at once; those of other engines are in test_engines.py.
UNFIT = {row.name for row in unfit(VARIANTS, "whisper", "ru", 10, machine.instructions())}
ROWS = list(
    {
        row.steps: row.name
        for row in reversed(VARIANTS)
        if "cpu" in row.devices and not (row.unusable or row.study or row.needs or row.name in UNFIT)
    }.values()
)
# Four clips are too few to fit these on: that words survive is what their baselines gate.
FITTED = {name for name in ROWS if name.startswith("prune-")} - {"prune-magnitude", "prune-vocab"}
# What int8 and 4 bits leave of 277 MiB; a row that has the embedding in float32 keeps 101 MiB for it.
SIZES = {
    "bf16": 138,
    "ptq-dynamic": 176,
    "ptq-static": 223,
    "bnb-int8": 151,
    "bnb-nf4": 131,
    "ao-a8w8": 177,
    "prune-lowrank": 262,  # by the ranks of four clips
}


@pytest.fixture(scope="module")
def audio() -> NDArray[np.float32]:
    return read_audio(CORPORA / "ivr-ru" / "agent-loginok.flac")


@pytest.fixture(scope="module")
def folder() -> Path:
    return embedded.restore()


@pytest.fixture(scope="module")
def observed() -> list[Path]:
    return sorted((CORPORA / "ivr-ru-calibration").glob("*.flac"))[:4]


@pytest.mark.filterwarnings("ignore:To copy construct from a tensor")  # Inductor's own lowering, see worker.noise
@pytest.mark.filterwarnings("ignore:.* does not implement _stable_hash_for_caching")  # torchao's own tensors
@pytest.mark.parametrize("name", ROWS)
def test_a_row_does_what_it_says(name: str, folder: Path, audio: NDArray[np.float32], observed: list[Path]) -> None:
    variant = find(VARIANTS, name)
    stages: list[str] = []
    with calibration.clips(observed):
        loaded, report = build(variant, folder, "cpu", stages.append)
    warm_up(loaded, report, audio, "ru")
    assert any(fnmatchcase(kernel, variant.runs) for kernel in report.kernels), report.kernels
    theirs = [layer for layer in loaded.model.modules() if type(layer).__module__.startswith("bitsandbytes.")]
    assert bool(theirs) is name.startswith("bnb-")
    assert not any(layer.training for layer in theirs), "layers that train take other kernels"
    if name not in FITTED:
        assert transcribe(loaded, audio, "ru").text.lower() == "оператор зарегистрирован."
    # A mark that is missing is seen by nobody: the row would only be slower to build.
    assert (COMPILER in variant.imports) == any("Compiled" in kernel for kernel in report.kernels)
    for step in report.steps:
        assert set(step["changed"]) >= WANTED_CHANGES[step["name"]]
    assert stages == ["loading", *(step["name"] for step in report.steps)]
    assert set(report.seconds) == {"load", "steps", "warm-up"}
    kept = baselines.read(ROOT / "baselines" / "whisper-base" / "ivr-ru" / "cpu" / f"{name}.json")
    assert kept is not None
    assert report.census["size_mib"] == pytest.approx(SIZES.get(name, kept.size_mib), abs=1)
    assert name == "prune-lowrank" or report.census["size_mib"] == pytest.approx(kept.size_mib, abs=1)


def test_nf4_of_widths_that_the_kernel_for_bfloat16_does_not_take() -> None:
    """Moonshine has 288 and 416; the kernel unpacks 64 inputs of 32 outputs at once."""
    for inputs, outputs in ((288, 288), (64, 48), (64, 64)):
        linear = torch.nn.Linear(inputs, outputs).eval()
        whole = linear(torch.ones(2, inputs))
        with torch.inference_mode():
            near = bitsandbytes_nf4(torch.nn.Sequential(linear))(torch.ones(2, inputs))
        torch.testing.assert_close(near, whole, atol=0.5, rtol=0)


@pytest.mark.parametrize("rules", [{}, {"max_length": 8}])
def test_every_clip_is_decoded_over_the_same_static_caches(
    rules: dict[str, int], folder: Path, audio: NDArray[np.float32]
) -> None:
    """Over another one a CUDA graph would be captured again."""
    loaded, empty, places = models.load(folder, "cpu"), [], []
    loaded.model.generation_config.update(**rules)
    clips = [audio, audio[:20_000], audio[20_000:]]
    wanted = [transcribe(loaded, clip, "ru").text for clip in clips]
    compile_decoding(loaded.model).generation_config.disable_compile = True  # Of the cache alone.

    def look(_: Any, __: Any, named: dict[str, Any]) -> None:
        cache: Any = named.get("cache", named.get("past_key_values"))  # Until transformers 5.23.
        if cache.get_seq_length() == 0:
            empty.append(not any(cache.is_updated.values()))
        else:
            layers = [*cache.self_attention_cache.layers, *cache.cross_attention_cache.layers]
            places.append(tuple(each.data_ptr() for layer in layers for each in (layer.keys, layer.values)))

    loaded.model.model.decoder.register_forward_pre_hook(look, with_kwargs=True)
    for _ in range(2):
        assert [transcribe(loaded, clip, "ru").text for clip in clips] == wanted
    assert len(set(wanted)) == 3
    assert all(empty)
    assert len(empty) == 2 * len(clips)
    assert len(set(places)) == 1


@pytest.mark.parametrize(("name", "limits"), [("fp32", [32]), ("plain", [448]), ("compile", [448, 448])])
def test_what_generates_warms_up_briefly(
    name: str, limits: list[int], folder: Path, audio: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def transcribe(loaded: Loaded, *_: object) -> SimpleNamespace:
        seen.append(loaded.model.generation_config.max_length)
        return SimpleNamespace(seconds=20.0 if len(seen) < len(limits) else 0.5)

    monkeypatch.setattr(lxbench.worker.build, "transcribe", transcribe)
    loaded, report = build(find(VARIANTS, name), folder, "cpu", lambda _: None)
    warm_up(loaded, report, audio, "ru")
    assert seen == limits
    assert report.heard_s == 0.5 * len(limits), "what the first pass took longer was compilation"
    assert loaded.model.generation_config.max_length == 448


@pytest.mark.skipif(not torch.cpu._is_vnni_supported(), reason="8 bits may overflow on a CPU without AVX512-VNNI")
def test_dynamic_quantization_keeps_all_8_bits_of_activations() -> None:
    torch.manual_seed(0)
    layer, inputs = torch.nn.Linear(256, 512), torch.randn(40, 256)
    model = quantize_dynamic(torch.nn.Sequential(layer))
    weight: torch.Tensor = model[0].weight().dequantize()

    def by_hand(levels: int) -> torch.Tensor:
        low, high = inputs.min(), inputs.max()
        scale = (high - low) / levels
        zero = torch.round(-low / scale)
        rounded = (torch.round(inputs / scale) + zero).clamp(0, levels)
        return (rounded - zero) * scale @ weight.T + layer.bias

    with torch.inference_mode():
        said = model(inputs)
        assert (said - by_hand(255)).norm() < 1e-3 * said.norm() < (said - by_hand(127)).norm()


def test_order_is_kept_in_a_combination() -> None:
    names = [step.__name__ for step in find(VARIANTS, "q+p+c").steps]
    assert names == ["prune_magnitude(0.81)", "quantize_dynamic", "compile_encoder"]


def test_magnitude_pruning_keeps_the_largest_share_of_every_matrix(folder: Path) -> None:
    before, model = (models.load(folder, "cpu").model for _ in range(2))
    prune_magnitude(0.81)(model)
    for (name, old), (_, new) in zip(before.named_modules(), model.named_modules(), strict=True):
        if isinstance(old, torch.nn.Linear):
            kept = new.weight != 0
            assert kept.float().mean().item() == pytest.approx(1.0 if name == "proj_out" else 0.81, abs=1e-3), name
            assert torch.equal(new.weight[kept], old.weight[kept])
            if not kept.all():
                assert old.weight[~kept].abs().max() <= old.weight[kept].abs().min()


def test_l2_pruning_takes_whole_outputs_and_ruins_the_model(folder: Path, audio: NDArray[np.float32]) -> None:
    loaded = models.load(folder, "cpu")
    prune_l2(0.81)(loaded.model)
    gone = (loaded.model.model.encoder.layers[0].fc1.weight == 0).all(dim=1)
    assert gone.float().mean().item() == pytest.approx(0.19, abs=1e-3)
    loaded.model.generation_config.max_length = 20
    assert "оператор" not in transcribe(loaded, audio, "ru").text.lower()


def test_a_part_is_cast_and_nothing_behind_it_sees_that(folder: Path, audio: NDArray[np.float32]) -> None:
    loaded = models.load(folder, "cpu")
    wanted = encode(loaded, extract(loaded, [audio])).last_hidden_state
    cast("bfloat16", "model.encoder", "model.decoder.layers.*.fc1")(loaded.model)
    said = encode(loaded, extract(loaded, [audio]))
    assert said.last_hidden_state.dtype == torch.float32
    assert 1e-4 < (said.last_hidden_state - wanted).norm() / wanted.norm() < 0.05
    types = {name: parameter.dtype for name, parameter in loaded.model.named_parameters()}
    shorter = {name for name, dtype in types.items() if dtype == torch.bfloat16}
    assert shorter == {name for name in types if "encoder." in name or ("decoder" in name and ".fc1." in name)}
    assert transcribe(loaded, audio, "ru").text.lower() == "оператор зарегистрирован."


@pytest.mark.parametrize("part", ["model.encoders", "model.encoder.layers.0.activation_fn"])
def test_a_part_that_is_not_there_or_has_nothing_to_cast_is_refused(folder: Path, part: str) -> None:
    with pytest.raises(StepError, match=f"no module with weights is called '{re.escape(part)}'") as raised:
        cast("bfloat16", part)(models.load(folder, "cpu").model)
    assert "expected: names such as model, * for any letters" in str(raised.value)


@pytest.mark.parametrize("keep", [0, 1, 1.5, -0.1])
@pytest.mark.parametrize("step", [prune_magnitude, prune_l2])
def test_a_share_to_keep_is_between_0_and_1(step: Any, keep: float) -> None:
    with pytest.raises(ValueError, match="is not a share between 0 and 1"):
        step(keep)


def test_static_quantization_without_calibration_clips_is_refused(folder: Path) -> None:
    with pytest.raises(StepError, match="this step needs calibration clips and was given none") as raised:
        quantize_static(models.load(folder, "cpu").model)
    assert "--lx-calibration ivr-ru-calibration" in str(raised.value)


@pytest.mark.filterwarnings("ignore:To copy construct from a tensor")  # Inductor's own lowering, see worker.noise
def test_a_statically_quantized_encoder_hears_each_clip_of_a_batch(loaded: Loaded, observed: list[Path]) -> None:
    """Its graph is of one clip; it is not compiled again."""
    model = small_whisper(loaded, "tiny.en")
    with calibration.clips(observed, "en"):
        clips = [clip.features for clip in calibration.recordings(model)][:2]
        encoder = quantize_static(model).model.encoder
    compiled = counters["stats"]["unique_graphs"]
    with torch.inference_mode():
        alone = [encoder(clip.clone()).last_hidden_state for clip in clips]
        assert torch.equal(encoder(torch.cat(clips)).last_hidden_state, torch.cat(alone))
    assert counters["stats"]["unique_graphs"] == compiled


def test_calibration_features_are_what_the_encoder_takes(folder: Path, observed: list[Path]) -> None:
    model = models.load(folder, "cpu").model.to(torch.bfloat16)
    with calibration.clips(observed):
        clips = list(calibration.recordings(model))
    assert [(tuple(clip.features.shape), clip.features.dtype) for clip in clips] == [
        ((1, 80, 3000), torch.bfloat16)
    ] * 4
    assert not torch.equal(clips[0].features, clips[1].features)
    assert [clip.seconds for clip in clips] == [len(read_audio(path)) / 16_000 for path in observed]


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
        (lambda model: model.append(torch.nn.Linear(2, 2)), {"modules", "dtypes", "magnitude", "size_mib", "shapes"}),
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


def test_float32_is_exact_whatever_the_environment_says() -> None:
    script = (
        "import torch; from lxbench.worker import build; print(torch.get_float32_matmul_precision()); "
        "build.exact_float32(); "
        "print(torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32)"
    )
    environ = {**os.environ, "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["high", "highest", "False"]


@pytest.mark.parametrize("step", [torchao_a8w8, torchao_w8, torchao_a8w4])
def test_a_quantized_model_is_compiled_as_any_other(step: Any) -> None:
    import torch._inductor.config as inductor

    model: Any = torch.nn.ModuleDict({"model": torch.nn.Linear(64, 64)})
    model.device = torch.device("cpu")
    before, again = inductor.save_config_portable(), inductor.save_config_portable()
    step(model)
    assert type(model.model.weight) is not torch.nn.Parameter
    after = inductor.save_config_portable()
    assert after.keys() == before.keys()
    # Of torch 2.11 some are other copies each time.
    copied = {name for name in before if again[name] != before[name]}
    assert {name for name in before if after[name] != before[name]} == copied


def test_kernels_are_named_with_their_type() -> None:
    layer = torch.nn.Linear(8, 8).to(torch.bfloat16)
    with torch.inference_mode():
        seen = census.kernels(lambda: layer(torch.ones(2, 8, dtype=torch.bfloat16)))
    assert seen == {"addmm bfloat16": 1}
