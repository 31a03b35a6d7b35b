"""What runs in the process of one variant: build it, warm it up, answer what ``worker.Worker`` asks."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import traceback
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path

from lxbench import kept, ladder
from lxbench.corpus import calibration
from lxbench.corpus.audio import read_audio
from lxbench.transcribe import transcribe, transcribe_batch
from lxbench.worker import noise, profile, roofline
from lxbench.worker.build import BuildReport, brief, build, counted, exact_float32, kernels, recorded_inputs, warm_up

# What all rows import; where it is not in memory already, while the worker waits for leave to build.
NEEDED = (
    "soundfile",
    "transformers.models.whisper.feature_extraction_whisper",
    "transformers.models.whisper.modeling_whisper",
    "transformers.models.whisper.tokenization_whisper",
)


@dataclass(frozen=True)
class Job:
    """All a worker needs to know; only plain values, they cross a process border."""

    variant: str
    variants: str | None
    folder: Path
    device: str
    threads: int
    language: str
    warm_up: Path
    calibration: tuple[Path, ...]
    log: Path
    earlier: BuildReport | None = None  # of a process of the same variant
    calibration_language: str = "ru"  # spoken in the calibration clips
    seconds: tuple[float, ...] = ()  # of each clip that may come


@dataclass(frozen=True)
class Usage:
    """What a worker has used and said since it was warm.

    Attributes:
        peak_mib: peak memory: resident set on CPU, allocated on CUDA.
        compilations: graphs that were compiled or recorded meanwhile; any spoils the timing.
        warnings: what libraries warned of since the worker began, known noise left out.
    """

    peak_mib: float
    compilations: int
    warnings: tuple[str, ...]

    def with_other(self, other: Usage) -> Usage:
        """The same of two processes of one variant."""
        warnings = dict.fromkeys((*self.warnings, *other.warnings))
        peak = max(self.peak_mib, other.peak_mib)
        return Usage(peak, self.compilations + other.compilations, tuple(warnings))


def serve(connection: Connection, job: Job) -> None:
    """Build a variant and answer requests about it until the main process is gone: what its process runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the main process ends us.
    _redirect(job.log)
    try:
        _answer_requests(connection, job)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # The main process is gone or done.
    except Exception as error:
        traceback.print_exc()
        sys.stderr.flush()
        connection.send(("raised", f"{type(error).__name__}: {error}"))


def _answer_requests(connection: Connection, job: Job) -> None:
    listener = noise.listen()
    import torch

    torch.set_num_threads(job.threads)
    exact_float32()
    variant = ladder.find(ladder.load(job.variants), job.variant)

    def stage(text: str) -> None:
        connection.send(("stage", text))

    for name in NEEDED:
        import_module(name)
    connection.recv()  # Wait for leave: two that build and warm up on the same cores at once take many times as long.
    with calibration.clips(job.calibration, job.calibration_language) as asked:
        loaded, report = build(variant, job.folder, job.device, stage, job.earlier)
    report.calibrated = bool(asked)
    if job.device == "cuda":
        gc.collect()  # What was loaded in float32 and cast is the driver's again, or it would count as the row's.
        torch.cuda.empty_cache()
    stage("compiling, warming up" if report.census["compiled"] else "warming up")
    warm_up(loaded, report, read_audio(job.warm_up), job.language, job.seconds)
    report.origins = _origins()
    _reset_peak(job.device)
    compiled, recorded = _compiled_graphs(), recorded_inputs()
    connection.send(("ready", report))
    audio = None
    while True:
        request, value = connection.recv()
        if request == "prepare":
            audio = read_audio(value)
            connection.send(("prepared", None))
        elif request == "transcribe":
            assert audio is not None
            connection.send(("transcript", transcribe(loaded, audio, job.language)))
        elif request == "batch":
            together = [read_audio(path) for path in value]
            connection.send(("transcripts", transcribe_batch(loaded, together, job.language)))
        elif request == "kernels":
            connection.send(("kernels", kernels(loaded, report, read_audio(job.warm_up), job.language)))
        elif request == "peaks":
            connection.send(("peaks", roofline.peaks(job.device)))
        elif request == "profile":
            assert audio is not None
            with brief(loaded, report):
                profiles = profile.take(loaded, audio, job.language, value)
            connection.send(("profiles", profiles))
        else:
            warnings = (*listener.heard, *_graph_warnings(recorded))
            usage = Usage(_peak_mib(job.device), _compiled_graphs() - compiled, warnings)
            connection.send(("usage", usage))


def _redirect(log: Path) -> None:
    """Send everything that libraries print to a file: noise there, last words if it comes to that.

    A variant has one file; the next of its processes writes on.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)


def _compiled_graphs() -> int:
    """How many graphs were compiled or recorded in this process; a new shape or a broken guard adds one."""
    graphed = sys.modules.get("lxbench.inference.graphed")
    return counted("stats", "unique_graphs") + (graphed.recorded() if graphed else 0)


def _graph_warnings(recorded: int) -> list[str]:
    """What Inductor says to nobody: that it made no CUDA graph where it was asked for one, or made one again.

    Args:
        recorded: ``build.recorded_inputs`` when the worker was warm.
    """
    skipped, found = counted("inductor", "cudagraph_skips"), []
    if skipped:
        found.append(f"Inductor left {skipped} CUDA graphs out, see TORCH_LOGS=+cudagraphs")
    if recorded_inputs() > recorded:
        found.append("Inductor recorded CUDA graphs while clips were timed, see TORCH_LOGS=+cudagraphs")
    return found


def _origins() -> dict[str, int]:
    """How much of what takes long was in a cache, and how much was made: graphs, cut models."""
    found = Counter(kept.origins)
    if (dynamo := sys.modules.get("torch._dynamo.utils")) is not None:
        counts = dynamo.counters["inductor"]
        found["cached"] += counts["fxgraph_cache_hit"]
        found["new"] += counts["fxgraph_cache_miss"] + counts["fxgraph_cache_bypass"]
    return dict(found) if found.total() else {}


def _reset_peak(device: str) -> None:
    gc.collect()
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
        return
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # Give back what loading left over, or it would count as the variant's.
    with suppress(OSError):  # Elsewhere than on Linux the peak includes loading.
        Path("/proc/self/clear_refs").write_text("5")  # Forget the high-water mark, see proc(5).


def _peak_mib(device: str) -> float:
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 2**20
    try:
        status = Path("/proc/self/status").read_text("utf-8")
        return int(status.split("VmHWM:")[1].split()[0]) / 2**10
    except (OSError, IndexError):
        import resource

        scale = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
