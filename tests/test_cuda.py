"""What only a GPU can show: memory that comes back, memory that runs out, clocks, exactness of float32."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import torch
from torch.nn.functional import conv1d

from lxbench import corpus, gpu, models
from lxbench.corpus import audio
from lxbench.inference import graphed
from lxbench.steps.precision import allow_tf32
from lxbench.transcribe import transcribe
from lxbench.worker import Worker, processes
from lxbench.worker.build import exact_float32
from lxbench.worker.serve import Job
from tests.suite import CORPORA, ROOT, Bench

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CLIP = sorted((ROOT / "bench" / "corpora" / "ivr-ru").glob("**/*.flac"))[0]
TOO_LARGE = """
import torch
from lxbench.ladder import CUDA, Variant
from lxbench.steps.precision import cast

def fill(model):
    model.ballast = torch.empty(2**40, dtype=torch.uint8, device="cuda")
    return model

VARIANTS = (Variant("too-large", CUDA, (fill,)), Variant("behind-it", CUDA, (cast("float16"),)))
"""


@pytest.fixture(autouse=True, scope="module")
def server_of_a_gpu() -> Iterator[None]:
    """Have workers forked from a server of their own: one of the CPU sees no GPU."""
    processes.stop_server()
    yield
    processes.stop_server()


def test_device_memory_is_back_after_a_variant(tmp_path: Path) -> None:
    folder = models.resolve("shape:small").folder
    job = Job("fp16", None, folder, "cuda", 2, "ru", CLIP, (), tmp_path / "log")
    before = gpu.state().used_mib
    assert before is not None
    worker = Worker(job, 600, 120)
    worker.ready(lambda _: None)
    during = gpu.state()
    worker.stop()
    assert during.used_mib is not None
    assert during.used_mib > before + 400
    deadline = time.monotonic() + 10
    while (after := gpu.state().used_mib) is not None and after > before + 8 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert after == pytest.approx(before, abs=8)


def test_a_variant_that_does_not_fit_is_crashed_with_figures_and_the_rest_go_on(bench: Bench, tmp_path: Path) -> None:
    rows = tmp_path / "rows.py"
    rows.write_text(TOO_LARGE, "utf-8")
    chosen = ("--lx-variants", rows, "-k", "[too-large or [behind-it")
    done = bench("--lx-device", "cuda", "--lx-model", "shape:tiny", "--lx-clips", 2, *chosen)
    assert done.returncode == 1, done.stdout
    assert "CRASHED" in done.stdout
    assert "CUDA out of memory. Tried to allocate 1024.00 GiB" in " ".join(done.stdout.split())
    assert "behind-it" in done.stdout
    assert [line for line in done.stdout.splitlines() if line.startswith("behind-it") and "PASS" in line]


def test_the_driver_tells_clocks_memory_and_architectures() -> None:
    torch.ones(2**28, device="cuda").sum().item()
    state = gpu.state()
    assert state.sm_mhz is not None
    assert state.sm_mhz > 100
    assert state.used_mib is not None
    assert state.used_mib > 2**10
    major, minor = torch.cuda.get_device_capability()
    assert gpu.architectures()[-1] == f"sm_{major}{minor}"
    assert gpu.describe()["gpu"] == torch.cuda.get_device_name()
    assert not state.others([os.getpid()])


def test_a_clip_takes_as_long_as_its_parts() -> None:
    loaded = models.load(models.resolve("shape:tiny").folder, "cuda")
    samples = audio.read_audio(CLIP)
    transcribe(loaded, samples, "ru")
    torch.cuda.synchronize()
    start = time.perf_counter()
    said = transcribe(loaded, samples, "ru")
    torch.cuda.synchronize()
    outside = time.perf_counter() - start
    assert said.seconds == pytest.approx(sum(said.parts.values()), rel=0.02)
    assert said.seconds == pytest.approx(outside, rel=0.05), "something is still running when the clock stops"


def test_tf32_is_less_exact_and_only_where_it_is_asked_for() -> None:
    left, right = (torch.randn(512, 512, device="cuda", dtype=torch.float64) for _ in range(2))
    heard, filters = (
        torch.randn(*shape, device="cuda", dtype=torch.float64) for shape in ((1, 80, 3000), (512, 80, 3))
    )

    def errors() -> list[float]:
        pairs = (
            (left.float() @ right.float(), left @ right),
            (conv1d(heard.float(), filters.float()), conv1d(heard, filters)),
        )
        return [float((rounded - exact).abs().max()) for rounded, exact in pairs]

    exact_float32()
    exact = errors()
    try:
        allow_tf32(None)
        assert all(rounded > 20 * each for rounded, each in zip(errors(), exact, strict=True))
    finally:
        exact_float32()
    product, convolution = errors()
    assert product == exact[0]
    assert convolution < 2 * exact[1]  # cuDNN may choose another of its kernels.


@pytest.mark.parametrize(("row", "promised"), [("fp16", "addmm float16"), ("graphs-fp16", "cudaGraphLaunch")])
def test_a_worker_is_profiled_when_all_is_timed(tmp_path: Path, row: str, promised: str) -> None:
    folder = models.resolve("shape:tiny").folder
    worker = Worker(Job(row, None, folder, "cuda", 2, "ru", CLIP, (), tmp_path / "log"), 600, 120)
    try:
        assert worker.ready(lambda _: None).kernels == {}
        seen = worker.kernels()
    finally:
        worker.stop()
    assert any(fnmatchcase(kernel, promised) for kernel in seen), seen
    # What the CPU does is seen without CUPTI; what the GPU does is not.
    assert any(part in kernel for kernel in seen for part in ("gemm", "gemv", "nvjet", "cutlass")), seen


def test_a_length_that_is_heard_first_takes_as_long_as_the_next_time(tmp_path: Path) -> None:
    """Transforms and convolutions were planned for it before, while the row was warmed up."""
    clips = corpus.load("ivr-ru", CORPORA, 8).clips
    lengths = tuple(clip.seconds for clip in clips)
    folder = models.resolve("shape:base").folder
    job = Job("merge-padding", None, folder, "cuda", 2, "ru", CLIP, (), tmp_path / "log", seconds=lengths)
    worker = Worker(job, 600, 120)
    passes: list[float] = []
    try:
        worker.ready(lambda _: None)
        for _ in range(2):
            heard = 0.0
            for clip in clips:
                worker.prepare(clip)
                parts = worker.transcribe().parts
                heard += parts["features"] + parts["encoder"]
            passes.append(heard)
    finally:
        worker.stop()
    assert passes[0] < 1.3 * passes[1]


def test_all_is_recorded_on_one_stream() -> None:
    weight, x = (torch.randn(512, 512, device="cuda") for _ in range(2))
    said, wanted = [x], x @ weight  # This stream has a workspace of its own.

    def body() -> None:
        said[0] = x @ weight

    graphed.record(body, x.device)()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    play = graphed.record(body, x.device)
    play()
    torch.testing.assert_close(said[0], wanted)
    assert torch.cuda.memory_allocated() - before < 8 * 2**20, "another workspace of cuBLAS"


def test_features_stay_on_the_device_and_are_those_of_transformers() -> None:
    loaded = models.load(models.resolve("shape:tiny").folder, "cuda")
    samples = audio.read_audio(CLIP)
    asked = {"sampling_rate": audio.SAMPLE_RATE, "return_tensors": "pt", "device": "cuda"}
    theirs = loaded.feature_extractor(samples, **asked).input_features
    ours = loaded.family.extract(loaded, [samples])
    assert ours.device.type == "cuda"
    torch.testing.assert_close(ours.cpu(), theirs)
