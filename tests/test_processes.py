"""Workers of a GPU: forked where a forked process reaches it, and spawned where it does not."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from dataclasses import replace
from operator import methodcaller
from pathlib import Path
from typing import Any

import pytest
import torch

from lxbench import embedded, processes
from lxbench.serve import serve
from tests.suite import ROOT
from tests.test_worker import job, what_it_says

_LOOKED = 3
_FORBIDDEN = f"""
import os, sys, torch
def looked(*_, **__):
    os._exit({_LOOKED})
for name in ("is_available", "device_count", "current_device", "get_device_capability", "_lazy_init"):
    setattr(torch.cuda, name, looked)
"""


def code(script: str, **environ: str) -> int:
    """The exit code of a script; what it prints is hushed where the server is imported."""
    environ = {**os.environ, "LXBENCH_MODEL_FOLDER": str(embedded.restore()), **environ}
    environ.pop("CUDA_VISIBLE_DEVICES", None)
    return subprocess.run([sys.executable, "-c", _FORBIDDEN + script], env=environ, cwd=ROOT).returncode


def test_what_workers_of_a_gpu_are_forked_from_never_looks_for_it() -> None:
    """To look begins CUDA, which does not survive a fork."""
    whisper = "'transformers.models.whisper.modeling_whisper' in sys.modules"
    imported = f"from lxbench import preload; sys.exit(not ({whisper} and 'torchao' not in sys.modules))"
    assert code(imported, LXBENCH_DEVICE="cuda") == 0
    assert code("import torchao.quantization") == _LOOKED, "then it need not be kept out any more"


def test_a_row_that_uses_torchao_imports_it_behind_the_others(tmp_path: Path) -> None:
    rows = """
from lxbench.ladder import Variant
from lxbench.steps.precision import cast
from lxbench.steps.quantize import torchao_w8


def told(model):
    import sys

    print("torchao in memory:", "torchao" in sys.modules)
    model = torchao_w8(model)
    print("and now:", "torchao" in sys.modules, flush=True)
    return model


VARIANTS = [Variant("told", ("cpu",), (told,), "int8 weights")]
"""
    log = what_it_says(tmp_path, rows, {"LXBENCH_IMPORTS": ""})
    assert "torchao in memory: False" in log
    assert "and now: True" in log


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers are spawned")
def test_a_forked_process_finds_the_gpu_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(
        "import sys\nfrom pathlib import Path\nfrom lxbench import processes\n"
        "if __name__ == '__main__':\n"
        "    processes.start_server('cuda', Path(sys.argv[1]))\n"
        "    print('reached:', processes.reaches_gpu())\n"
        "    processes.stop_server()\n"
    )
    command = [sys.executable, str(tmp_path / "main.py"), str(embedded.restore())]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.stdout == f"reached: {torch.cuda.is_available()}\n", done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers are spawned")
@pytest.mark.parametrize(("reached", "how"), [(True, "forkserver"), (False, "spawn")])
def test_workers_of_a_gpu_are_forked_where_that_reaches_it(
    reached: bool, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[str, Any]] = []
    monkeypatch.setattr(processes, "reaches_gpu", lambda: reached)
    monkeypatch.setattr(processes, "start_server", lambda *_: None)
    monkeypatch.setattr(
        processes, "_begin", lambda context, target, *_: begun.append((context.get_start_method(), target))
    )
    processes.start(replace(job(tmp_path, "fp16"), device="cuda"))
    assert begun == [(how, serve)]


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
        assert [processes.reaches_gpu(), processes.reaches_gpu()] == [reached, reached]
    finally:
        processes.reaches_gpu.cache_clear()
    ((process, _),) = begun  # Asked once.
    assert not process.is_alive()
