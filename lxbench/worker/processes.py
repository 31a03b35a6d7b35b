"""Processes of workers: how they are started, in which environment, and the server that they are forked from.

The server is ``multiprocessing``'s own and imports ``preload``, so that a worker begins with torch in memory.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import platformdirs

from lxbench.worker.serve import Job, serve

# Set before the worker starts, unless the user has set them. glibc gives every large activation back to the kernel
# when it is freed and takes tens of thousands of page faults for the next ones: kept, an fp32 clip of whisper-base
# takes about 8 % less time and every variant is steadier.
_ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    # Inductor keys what it keeps by graph, versions and CPU. Its own default is a folder in /tmp under a name that
    # anybody on the machine could have taken first, and it runs what it finds there.
    "TORCHINDUCTOR_CACHE_DIR": str(platformdirs.user_cache_path("lxbench") / "inductor"),
    "TOKENIZERS_PARALLELISM": "false",
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # As nvidia-smi counts them, which is asked how the first one is.
    "HF_HUB_OFFLINE": "1",  # The main process has resolved the model; a worker reads local files only.
}

# What the server imports that workers are forked from.
_PRELOADED = "lxbench.worker.preload"
# By what it is told the folder of the run's model.
MODEL_FOLDER = "LXBENCH_MODEL_FOLDER"
# And what the run's rows import; unset, what those of the whole ladder do.
IMPORTS = "LXBENCH_IMPORTS"
# And where they run.
DEVICE = "LXBENCH_DEVICE"
_REACHED_S = 60.0  # in which a process that was forked should have found the GPU
_not_reached: set[str] = set()  # devices of which forked processes did not find one


def start_server(device: str, model: Path, imports: Iterable[str] | None = None) -> bool:
    """Have the server that workers are forked from import and read what they need; not waited for.

    Args:
        device: ``cpu`` or ``cuda``.
        model: the folder of the run's model.
        imports: modules that the run's rows need, see ``Variant.imports``: without them the server is there sooner.
            ``None`` for those of the whole ladder. On a GPU they are left to the rows.

    Returns:
        Whether it could be started, or was there.
    """
    asked = {} if imports is None else {IMPORTS: " ".join(dict.fromkeys(imports))}
    with _environment({**_ENVIRONMENT, MODEL_FOLDER: str(model), DEVICE: device, **asked}):
        if _server()._forkserver_pid is None:  # One that is there already may be somebody else's.
            multiprocessing.get_context("forkserver").set_forkserver_preload([_PRELOADED])
        try:
            forkserver.ensure_running()
        except OSError:  # Its socket is a file in TMPDIR, whose name may be too long for one.
            return False
    return True


def stop_server() -> None:
    """End the server, once no worker is needed any more.

    It would end by itself, but not before all is imported: of a run that was refused it went on for seconds.
    """
    server = _server()
    if server._preload_modules == [_PRELOADED] and server._forkserver_pid is not None:  # Ours.
        with suppress(ProcessLookupError):
            os.kill(server._forkserver_pid, signal.SIGKILL)
        server._stop()


def start(job: Job) -> tuple[BaseProcess, Connection]:
    """Start the process of a worker, where that can be by a fork from a server that has torch in memory.

    Returns:
        The process, which waits for the first request, and this side of the connection to it.
    """
    with _environment(_ENVIRONMENT):
        if may_fork(job.device, job.variants) and start_server(job.device, job.folder):
            if job.device == "cpu" or reaches_gpu(_server()._forkserver_pid):
                # The server may have died of an import: a spawned worker can say of which.
                with suppress(EOFError, ConnectionError):
                    return _process(multiprocessing.get_context("forkserver"), job)
            else:
                _not_reached.add(job.device)
                stop_server()
        return _process(multiprocessing.get_context("spawn"), job)


def spawned_instead(device: str) -> bool:
    """Whether workers are spawned since one that was forked did not reach the device."""
    return device in _not_reached


def may_fork(device: str, variants: str | None) -> bool:
    """Whether workers are forked from a server; if not, they are spawned, and import all anew.

    macOS's own libraries do not survive a fork. Of a GPU transformers is imported without torchao, see ``preload``:
    nothing to the ladder's rows, which ask torchao themselves, but others may ask transformers for it.

    Args:
        device: ``cpu`` or ``cuda``.
        variants: where rows of one's own are, see ``--lx-variants``.
    """
    return sys.platform == "linux" and device not in _not_reached and (device == "cpu" or variants is None)


@functools.cache
def reaches_gpu(server: int | None) -> bool:  # noqa: ARG001 - another may
    """Whether a process that is forked from the server can compute on the GPU, found out by one that tries.

    CUDA does not survive a fork once a library has so much as looked for a card, and what is imported may do so.

    Args:
        server: its process id.
    """
    with suppress(EOFError, ConnectionError):
        process, answer = _begin(multiprocessing.get_context("forkserver"), _try_gpu, "looking for the GPU")
        try:
            return answer.poll(_REACHED_S) and answer.recv() is True
        finally:
            answer.close()
            process.kill()
            process.join()
    return False


def _try_gpu(answer: Connection) -> None:
    import torch

    try:
        twos = torch.full((8, 8), 2.0, device="cuda")
        answer.send(float((twos @ twos)[0, 0]) == 32.0)
    except Exception:  # Whatever it is, a worker would meet it.
        answer.send(False)


def _server() -> Any:
    """``multiprocessing``'s hold on its server, which it keeps to itself."""
    return forkserver._forkserver


def _process(context: Any, job: Job) -> tuple[BaseProcess, Connection]:
    return _begin(context, serve, f"lxbench {job.variant}", job)


def _begin(context: Any, target: Callable[..., None], name: str, *arguments: Any) -> tuple[BaseProcess, Connection]:
    """Start a process that does something, given its side of a connection first; and this side of it."""
    near, far = context.Pipe()
    process = context.Process(target=target, args=(far, *arguments), name=name, daemon=True)
    process.start()
    far.close()
    return process, near


@contextmanager
def _environment(defaults: dict[str, str]) -> Iterator[None]:
    added = {key: value for key, value in defaults.items() if key not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for key in added:
            del os.environ[key]
