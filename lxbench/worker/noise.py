"""What libraries say in a worker: known noise stays in the log, everything else is told to the user."""

from __future__ import annotations

import logging
import re
import threading
import warnings
from functools import cache
from typing import Any

# Each is about the library itself and not about what the user does, and nothing follows from it for a result.
_KNOWN = re.compile(
    "|".join(
        (
            r"Failed to load .*torchao.*\.so",  # CUDA kernels of torchao on a machine without CUDA
            r"invalid escape sequence",  # whoever imports a library first compiles it
            r"Detected no triton",  # torchao's kernels for GPUs
            r"is an Enum subclass and is now natively supported by torch\.compile",  # torchao's own registrations
            r"does not implement _stable_hash_for_caching",  # torchao's tensors: compiled graphs are cached less well
            r"Failed to load CPU gemm_4bit_forward from kernels-community",  # an optional kernel from the hub
            r"MatMul8bitLt: inputs will be cast from",  # bitsandbytes, of what its row is
            r"Passing `generation_config` together with generation-related arguments",  # Whisper's generate, of itself
            r"To copy construct from a tensor, it is recommended to use sourceTensor",  # Inductor's own lowering
            r"TensorFloat32 tensor cores .* available but not enabled",  # fp32 is float32 here, see serve
            r"The PyTorch API of SparseSemiStructuredTensor is in prototype stage",
            r"`torch\.jit\.script(_method)?` is deprecated",  # torch, of its own modules
            r"Profiler clears events at the end of each cycle",  # torch 2.11 of every profile, be it of one cycle
            r"No CUDA runtime is found, using CUDA_HOME",  # a toolkit beside torch for GPUs, on the CPU
        )
    )
)


class Listener(logging.Handler):
    """Collects the warnings of a process, from ``warnings`` and from ``logging``.

    Attributes:
        heard: every other warning than known noise, once, in one line.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record of a logger."""
        self._keep(record.getMessage())

    def show(self, message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        """Stand in for ``warnings.showwarning``."""
        self._keep(f"{category.__name__}: {message}")
        print(f"{category.__name__}: {message}", flush=True)  # The worker's log.

    def _keep(self, message: str) -> None:
        line = " ".join(message.split())
        if not _KNOWN.search(line) and line not in self.heard:
            self.heard.append(line)


def hush() -> None:
    """Keep known noise from being printed by this process; for the main process, which has no log to put it in."""
    import torch  # noqa: F401 - makes its handlers

    for handler in (logging.lastResort, *logging.getLogger("torch").handlers):
        if handler is not None:
            handler.addFilter(lambda record: not _KNOWN.search(record.getMessage()))


@cache
def listen() -> Listener:
    """Listen to this process, from the first call on and before libraries are imported; a fork goes on listening."""
    from tqdm import tqdm

    logging.basicConfig()  # Our handler on the root logger would otherwise be the only one: the log keeps everything.
    listener = Listener()
    # torch and transformers keep their records from the root logger.
    for name in ("", "torch", "transformers"):
        logging.getLogger(name).addHandler(listener)
    warnings.showwarning = listener.show
    # Its own lock is for bars that processes share, of which there are none: a semaphore that a worker leaves behind
    # when it is ended, and of which Python warns when the run is over.
    tqdm.set_lock(threading.RLock())
    return listener
