"""Where a variant spends its time: the top operators of encoder and decoder, and a trace of each for chrome://tracing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lxbench.transcribe import synchronize

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lxbench.families import Loaded

TOP = 20
_COMPILED = re.compile(r"## Call CompiledFxGraph \w+ ##")


@dataclass(frozen=True)
class Operator:
    """One operator of a profile.

    Attributes:
        name: as torch.profiler calls it, such as ``aten::addmm``, or a CUDA kernel's name.
        share: of the time spent in operators themselves, without those they call.
        milliseconds: the same time.
        calls: how often it ran.
    """

    name: str
    share: float
    milliseconds: float
    calls: int


@dataclass(frozen=True)
class Profile:
    """The profile of one part, ``encoder`` or ``decoder``, over one clip.

    Attributes:
        operators: the top ones on the device, most expensive first.
        kernels: the top CUDA kernels; empty on the CPU, whose operators are its kernels.
        trace: the file with all of it, gzipped JSON for chrome://tracing or https://ui.perfetto.dev.
    """

    operators: tuple[Operator, ...]
    kernels: tuple[Operator, ...]
    trace: Path


def take(loaded: Loaded, audio: NDArray[np.float32], language: str, stem: Path) -> dict[str, Profile]:
    """Profile one clip with torch.profiler, the encoder and the decoder apart; the model is warm already.

    Args:
        loaded: the built variant.
        audio: samples of one clip, float32 at 16 kHz.
        language: Whisper's code of the spoken language.
        stem: where the traces go: ``stem.encoder.json.gz`` and ``stem.decoder.json.gz``.
    """
    import torch

    stem.parent.mkdir(parents=True, exist_ok=True)
    with torch.inference_mode():
        family, device = loaded.family, loaded.model.device
        features = family.extract(loaded, [audio])
        hidden = family.encode(loaded, features)
        parts = {
            "encoder": lambda: family.encode(loaded, features),
            "decoder": lambda: family.decode(loaded, hidden, language),
        }
        return {name: _profile(call, device, Path(f"{stem}.{name}.json.gz")) for name, call in parts.items()}


def _profile(call: Callable[[], object], device: Any, trace: Path) -> Profile:
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
    with profile(activities=activities) as profiler:
        call()
        synchronize(device)
    profiler.export_chrome_trace(str(trace))
    averages = profiler.key_averages()
    on_cuda = device.type == "cuda"
    ours = [event for event in averages if event.device_type.name == "CPU"]
    # What somebody has named a range of on the GPU is no kernel, and would count those in it once more.
    theirs = [each for each in averages if each.device_type.name == "CUDA" and not _is_range(each)]
    return Profile(_top(ours, on_cuda), _top(theirs, on_cuda), trace)


def _is_range(event: Any) -> bool:
    return bool(getattr(event, "is_user_annotation", False))


def _top(events: list[Any], on_cuda: bool) -> tuple[Operator, ...]:
    """The most expensive events by the time they spent themselves: on the GPU where there is one."""
    times: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for event in events:
        name = _COMPILED.sub("compiled graph", event.key)
        times[name] += event.self_device_time_total if on_cuda else event.self_cpu_time_total
        calls[name] += event.count
    total = times.total()
    return tuple(
        Operator(name, time / total, time / 1000, calls[name]) for name, time in times.most_common(TOP) if time
    )
