"""What of the libraries' talk reaches a user."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from lxbench.worker.noise import Listener


def record(message: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord("torchao", logging.WARNING, "file.py", 1, message, args, None)


@pytest.mark.parametrize(
    "noise",
    [
        "Failed to load /venv/torchao/_C_mxfp8.cpython-310-x86_64-linux-gnu.so: Could not load this library: x",
        "Warning: Detected no triton, on systems without Triton certain kernels will not work",
        "<enum 'Kernel'> is an Enum subclass and is now natively supported by torch.compile as an opaque value type.",
        "Passing `generation_config` together with generation-related arguments=({'x'}) is deprecated",
        "UserWarning: Warning: Profiler clears events at the end of each cycle.Only events from the",
        "No CUDA runtime is found, using CUDA_HOME='/usr/local/cuda'",
        "SyntaxWarning: invalid escape sequence '\\.'",
    ],
)
def test_noise_is_not_heard(noise: str) -> None:
    listener = Listener()
    listener.emit(record(noise))
    assert listener.heard == []


def test_a_library_that_nobody_has_compiled_yet_can_be_imported() -> None:
    compile(r"'\X'", "library.py", "exec")  # A warning: where warnings are errors, an error of its syntax.


def test_everything_else_is_heard_once_in_one_line() -> None:
    listener = Listener()
    for _ in range(2):
        listener.emit(record("%d layers were\n not quantized", 3))
    listener.show("odd scales", UserWarning, "file.py", 1)
    assert listener.heard == ["3 layers were not quantized", "UserWarning: odd scales"]


@pytest.mark.parametrize(("listen", "left"), [("noise.listen()", False), ("pass", True)])
def test_a_bar_leaves_no_semaphore_behind_that_python_would_warn_of(listen: str, left: bool) -> None:
    script = (
        "import multiprocessing; multiprocessing.set_start_method('spawn'); "  # as workers are told
        f"from lxbench.worker import noise; {listen}; from tqdm import tqdm; tqdm(total=1).close(); "
        "from multiprocessing.resource_tracker import _resource_tracker as tracker; print(tracker._fd is not None)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(left)
