"""Workers of a GPU: forked where a forked process reaches it, and spawned where it does not."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from dataclasses import replace
from multiprocessing import forkserver
from operator import methodcaller
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lxbench.checkpoints import embedded
from lxbench.worker import processes
from lxbench.worker.serve import serve
from tests.suite import ROOT
from tests.workers import job

linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers are spawned")
_LOOKED = 3
_FORBIDDEN = f"""
import os, sys, torch
def looked(*_, **__):
    os._exit({_LOOKED})
for name in ("is_available", "device_count", "current_device", "get_device_capability", "_lazy_init"):
    setattr(torch.cuda, name, looked)
for name in ("is_available", "device_count"):
    setattr(torch.accelerator, name, looked)
if torch.backends.cuda.is_built():
    torch._C._cuda_getDeviceCount = looked
"""


def code(script: str, **environ: str) -> int:
    """The exit code of a script; what it prints is hushed where the server is imported."""
    environ = {**os.environ, "LXBENCH_MODEL_FOLDER": str(embedded.restore()), **environ}
    environ.pop("CUDA_VISIBLE_DEVICES", None)
    command = [sys.executable, "-c", _FORBIDDEN + script]
    return subprocess.run(command, env=environ, cwd=ROOT, timeout=240, check=False).returncode


def test_what_workers_of_a_gpu_are_forked_from_never_looks_for_it(tmp_path: Path) -> None:
    """To look begins CUDA, which does not survive a fork; transformers does where flash-attn is installed."""
    (tmp_path / "flash_attn").mkdir()
    (tmp_path / "flash_attn" / "__init__.py").touch()
    metadata = tmp_path / "flash_attn-2.8.3.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: flash-attn\nVersion: 2.8.3\n")
    (metadata / "top_level.txt").write_text("flash_attn\n")
    whisper = "'transformers.models.whisper.modeling_whisper' in sys.modules"
    imported = f"from lxbench.worker import preload; sys.exit(not ({whisper} and 'torchao' not in sys.modules))"
    path = os.pathsep.join(map(str, filter(None, [ROOT, tmp_path, os.environ.get("PYTHONPATH")])))
    assert code(imported, LXBENCH_DEVICE="cuda", PYTHONPATH=path) == 0
    assert code("import torchao.quantization") == _LOOKED, "then it need not be kept out any more"


@linux
@pytest.mark.cuda
def test_a_forked_process_finds_the_gpu_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(
        "import multiprocessing, sys\nfrom operator import methodcaller\nfrom pathlib import Path\n"
        "from lxbench.worker import processes\n"
        "if __name__ == '__main__':\n"
        "    processes.start_server('cuda', Path(sys.argv[1]))\n"
        "    forkserver = multiprocessing.get_context('forkserver')\n"
        "    process, answer = processes._begin(forkserver, methodcaller('send', 'there'), 'answers')\n"
        "    print(answer.recv(), processes.reaches_gpu(processes._server()._forkserver_pid))\n"
        "    processes.stop_server()\n"
    )
    command = [sys.executable, str(tmp_path / "main.py"), str(embedded.restore())]
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep),
    }
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=240, check=False)
    assert done.stdout == f"there {torch.cuda.is_available()}\n", done.stderr


@linux
@pytest.mark.parametrize(
    ("reached", "variants", "how"), [(True, None, "forkserver"), (False, None, "spawn"), (True, "rows.py", "spawn")]
)
def test_workers_of_a_gpu_are_forked_where_that_reaches_it(
    reached: bool, variants: str | None, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[str, Any]] = []
    done: list[str] = []

    def start_server(*_: Any) -> bool:
        done.append("server started")
        return True

    monkeypatch.setattr(processes, "_not_reached", set())
    monkeypatch.setattr(processes, "reaches_gpu", lambda _: reached)
    monkeypatch.setattr(processes, "start_server", start_server)
    monkeypatch.setattr(processes, "stop_server", lambda: done.append("server stopped"))
    monkeypatch.setattr(
        processes, "_begin", lambda context, target, *_: begun.append((context.get_start_method(), target))
    )
    asked = replace(job(tmp_path, "fp16"), device="cuda", variants=variants)
    for _ in range(2):
        processes.start(asked)
    assert begun == [(how, serve)] * 2
    assert processes.spawned_instead("cuda") is not reached
    if variants is not None:
        assert done == [], "a server for nobody"
    elif not reached:
        assert done == ["server started", "server stopped"], "once it is known, no server is needed any more"


@linux
@pytest.mark.parametrize(
    ("does", "patience_s", "reached"),
    [
        (methodcaller("send", True), 60, True),
        (methodcaller("send", False), 60, False),
        (methodcaller("poll", 60), 1, False),
    ],
)
def test_a_process_that_says_nothing_has_not_reached_the_gpu(
    does: Any, patience_s: float, reached: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, begun = processes._begin, []

    def instead(*_: Any) -> Any:
        begun.append(begin(multiprocessing.get_context("spawn"), does, "answers, or does not"))
        return begun[-1]

    monkeypatch.setattr(processes, "_begin", instead)
    monkeypatch.setattr(processes, "_REACHED_S", patience_s)
    processes.reaches_gpu.cache_clear()
    try:
        assert [processes.reaches_gpu(1), processes.reaches_gpu(1)] == [reached, reached]
        ((process, _),) = begun  # Asked once.
        assert not process.is_alive()
        assert processes.reaches_gpu(2) is reached
        assert len(begun) == 2, "of another server it is not known"
    finally:
        processes.reaches_gpu.cache_clear()


@linux
def test_where_no_server_can_be_started_workers_are_spawned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the name of the folder of temporary files is too long for a socket in it."""

    def fail() -> None:
        raise OSError("AF_UNIX path too long")

    begun: list[tuple[str, Any]] = []
    monkeypatch.setattr(forkserver, "ensure_running", fail)
    monkeypatch.setattr(processes, "_process", lambda context, job: begun.append((context.get_start_method(), job)))
    assert not processes.start_server("cpu", tmp_path)
    job: Any = SimpleNamespace(device="cpu", variants=None, folder=tmp_path)
    processes.start(job)
    assert begun == [("spawn", job)]
    long = tmp_path / ("x" * 100)
    long.mkdir()
    script = "from pathlib import Path; from lxbench.worker import processes as p; print(p.start_server('cpu', Path()))"
    environ = {**os.environ, "TMPDIR": str(long), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=False)
    assert done.stdout == "False\n", done.stderr
