"""Build one variant in the worker: load, apply the steps, take the census, warm up."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lxbench import card, models
from lxbench.corpus.audio import SAMPLE_RATE
from lxbench.errors import StepError
from lxbench.families import Loaded
from lxbench.families.whisper import HOP
from lxbench.ladder import Step, Variant
from lxbench.transcribe import transcribe
from lxbench.worker import census, known_failures, roofline
from lxbench.worker.roofline import Work

_WARM_UP_TOKENS = 32
# On a GPU: passes at most, and the share of its time that the next one may still gain.
_MOST_PASSES, _STABLE = 10, 0.05


@dataclass
class BuildReport:
    """How a variant was built; travels to the main process and into results.json.

    Attributes:
        seconds: wall time by stage: ``load``, ``steps``, ``warm-up`` (compilation happens in the last two).
        heard_s: seconds of the warm-up in which clips were transcribed; the rest is compilation and the profiler.
        card: the architecture of the model before the steps, see ``card.lines``.
        steps: per step its name and the counts of the census that it changed.
        loaded: the counts of the model before the steps.
        census: the counts of the finished variant.
        calibrated: whether a step has looked at the calibration clips, or taken what was made of them.
        work: what its parts have to do, None for one that runs in another engine.
        origins: how many graphs of Inductor or of another engine, and models that were cut, an earlier process has left
            (``cached``), and how many are ``new``.
        kernels: matrix kernels seen while it transcribed, see ``census.kernels``.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    heard_s: float = 0.0
    card: list[str] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)
    loaded: dict[str, Any] = field(default_factory=dict)
    census: dict[str, Any] = field(default_factory=dict)
    calibrated: bool = False
    work: Work | None = None
    origins: dict[str, int] = field(default_factory=dict)
    kernels: dict[str, int] = field(default_factory=dict)


def build(
    variant: Variant, folder: Path, device: str, stage: Callable[[str], None], earlier: BuildReport | None = None
) -> tuple[Loaded, BuildReport]:
    """Load the model and apply the steps of a variant.

    Args:
        variant: the row.
        folder: the resolved model.
        device: ``cpu`` or ``cuda``.
        stage: told what begins: ``loading``, a step's name.
        earlier: of another process of this variant: what it has found is not looked for again.

    Raises:
        StepError: a step changed nothing, or made what is known to fail.
    """
    report = BuildReport() if earlier is None else replace(earlier, seconds={}, heard_s=0.0)
    with _timed(report, "load"):
        stage("loading")
        loaded = models.load(folder, device)
    if earlier is None:
        before, report.work = _look(loaded.model, None)
        report.card, report.loaded = card.lines(loaded.model), asdict(before)
    with _timed(report, "steps"):
        for step in variant.steps:
            stage(step_name(step))
            loaded.model = step(loaded.model)
            known_failures.check(loaded.model)
            if earlier is None:
                after, report.work = _look(loaded.model, report.work)
                report.steps.append({"name": step_name(step), "changed": _require_change(step, before, after)})
                before = after
    if earlier is None:
        report.census = asdict(before)
    return loaded, report


def _look(model: Any, before: Work | None) -> tuple[census.Census, Work | None]:
    """What a model is made of, and what it has to do, from one state dict."""
    state = model.state_dict()
    return census.take(model, state), roofline.count(model, before, state)


def warm_up(loaded: Loaded, report: BuildReport, audio: Any, language: str, seconds: Iterable[float] = ()) -> None:
    """Transcribe one clip and throw away what is said; compilation happens here.

    On a CPU it runs under the profiler and fills ``report.kernels``, unless they are known. What is compiled and
    another engine need a pass before it: they prepare themselves in their first. Eager torch does not, its second pass
    takes as long, and one that never ends need not be heard to its end. A GPU raises its clocks, its libraries choose
    kernels and Inductor records graphs: there it is heard until that takes no less time and records nothing any more.
    Its kernels are left until all is timed, see ``kernels``: what the profiler has hooked into the driver may stay
    there and slow down every later launch.

    Args:
        loaded: the built variant.
        report: its report, filled further.
        audio: samples of one clip, float32 at 16 kHz.
        language: Whisper's code of the spoken language.
        seconds: of each clip that may come, see ``hear_lengths``.
    """
    passes: list[float] = []

    def hear() -> float:
        passes.append(transcribe(loaded, audio, language).seconds)
        return passes[-1]

    with _timed(report, "warm-up"):
        if loaded.model.device.type == "cuda":
            settle(hear, recorded_inputs)
            hear_lengths(loaded, seconds)
        else:
            if not _is_eager(report):
                hear()
            with brief(loaded, report):
                if report.kernels:
                    hear()
                else:
                    report.kernels = census.kernels(hear)
    report.heard_s = min(passes) * len(passes)


def hear_lengths(loaded: Loaded, seconds: Iterable[float]) -> None:
    """Encode silence of every length that a clip may have, where what the encoder hears depends on it.

    A GPU's libraries plan transforms and convolutions for each shape that they have not met, which takes milliseconds.
    """
    import numpy as np
    import torch

    family, heard = loaded.family, getattr(loaded.model.get_encoder(), "heard", None)
    if heard is None and family.TOGETHER:
        return
    samples = [round(SAMPLE_RATE * each) for each in seconds]
    shapes = {length if heard is None else heard(-(-length // HOP)): length for length in samples}
    with torch.inference_mode():
        for length in shapes.values():
            family.encode(loaded, family.extract(loaded, [np.zeros(length, np.float32)]))


def kernels(loaded: Loaded, report: BuildReport, audio: Any, language: str) -> dict[str, int]:
    """Transcribe a clip under the profiler, and say which matrix kernels ran, see ``census.kernels``.

    Args:
        loaded: a variant that is warm.
        report: of how it was built.
        audio: samples of the clip, float32 at 16 kHz.
        language: Whisper's code of the spoken language.
    """
    with brief(loaded, report):
        return census.kernels(lambda: transcribe(loaded, audio, language), loaded.model.device.type == "cuda")


def exact_float32() -> None:
    """Have float32 products and convolutions in float32 throughout, see ``steps.precision.allow_tf32``.

    torch lets convolutions on a GPU round their inputs, and products where ``TORCH_ALLOW_TF32_CUBLAS_OVERRIDE`` is set,
    as it is in some container images.
    """
    import torch

    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False


def settle(once: Callable[[], float], made: Callable[[], int]) -> list[float]:
    """Do something until it gets no faster and makes nothing any more; return the seconds of each time.

    Args:
        once: does it, and tells the seconds it took.
        made: how much it has made so far that takes time, such as CUDA graphs.
    """
    seconds = [once()]
    while len(seconds) < _MOST_PASSES:
        fastest, before = min(seconds), made()
        seconds.append(once())
        if seconds[-1] > (1 - _STABLE) * fastest and made() == before:
            break
    return seconds


def counted(group: str, what: str) -> int:
    """How often torch.compile has done something in this process."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    return int(dynamo.counters[group][what]) if dynamo else 0


def recorded_inputs() -> int:
    """How many inputs the CUDA graphs have that Inductor has recorded in this process: more with each of them."""
    return counted("inductor", "cudagraph_recorded_non_static_inputs")


def step_name(step: Step) -> str:
    """The name of a step, as errors and reports use it."""
    return getattr(step, "__name__", repr(step))


def _require_change(step: Step, before: census.Census, after: census.Census) -> list[str]:
    changed = before.changes(after)
    if not changed:
        raise StepError(
            f"step {step_name(step)} changed nothing",
            expected="a change of modules, types, bytes, zeros, weights, or of what is compiled or wrapped",
            command="read the step's code and the model's layers: python -c "
            '"from lxbench import models; from lxbench.checkpoints.embedded import restore; '
            "print(models.load(restore(), 'cpu').model)\"",
        )
    return changed


def _is_eager(report: BuildReport) -> bool:
    """Whether torch runs it as it is written: nothing is compiled, no other engine has a part of it."""
    return not report.census["compiled"] and report.work is not None


@contextmanager
def brief(loaded: Loaded, report: BuildReport) -> Iterator[None]:
    """Have an eager ``generate`` end after a few tokens: a row that never ends fills a profile with the same again.

    What is compiled would be compiled anew for another length, and a loop of one's own has a cache that is as long as
    its texts may be.
    """
    generation = loaded.model.generation_config
    kept = generation.max_length
    if _is_eager(report) and kept is not None and not hasattr(loaded.model.get_decoder(), "greedy"):
        generation.max_length = min(kept, _WARM_UP_TOKENS)
    try:
        yield
    finally:
        generation.max_length = kept


@contextmanager
def _timed(report: BuildReport, name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    report.seconds[name] = time.perf_counter() - start
