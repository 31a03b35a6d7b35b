from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lxbench import machine
from lxbench.corpus import Corpus
from lxbench.run import disturbance
from lxbench.run.disturbance import Snapshot
from tests.made import make_run

BUSY = "import time; end = time.monotonic() + 3\nwhile time.monotonic() < end: pass"


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="no /proc")
def test_a_busy_process_is_seen_where_it_is_not_ours() -> None:
    with subprocess.Popen([sys.executable, "-c", BUSY]) as process:
        pids: tuple[list[int], list[int]] = ([], [process.pid])
        before = [disturbance.snapshot(each) for each in pids]
        time.sleep(1.5)
        after = [disturbance.snapshot(each) for each in pids]
        process.kill()
    strangers, ours = (disturbance.between(*both).others for both in zip(before, after, strict=True))
    assert strangers is not None
    assert ours is not None
    assert strangers > 0.5
    assert strangers - ours > 0.4  # Whatever else this machine does is in both.


def test_what_fp32_itself_has_used_is_taken_off_once(tmp_path: Path, clips: Corpus) -> None:
    run = make_run(tmp_path, clips)
    row: Any = SimpleNamespace(id="fp32-cpu")
    run._reference = run._workers[row.id] = SimpleNamespace(pid=4711)  # type: ignore[assignment]
    assert run._pids(row) == [4711]


def test_what_cannot_be_read_is_not_known() -> None:
    found = disturbance.between(Snapshot(0.0, None, None, 0.0), Snapshot(1.0, None, None, 0.5))
    assert (found.stolen, found.others) == (None, None)
    assert "stolen" not in str(found)


def test_counters_become_cores() -> None:
    found = disturbance.between(Snapshot(10.0, 100.0, 1.0, 50.0), Snapshot(20.0, 118.0, 3.0, 65.0))
    assert (found.others, found.stolen) == (0.3, 0.2)


def test_a_gpu_counts_where_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H200, 570.1'\necho 'NVIDIA H200, 570.1'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    here, there = machine.describe(2), machine.describe(2, "cuda")
    assert (here["gpu"], there["gpu"], there["driver"]) == (None, "NVIDIA H200", "570.1")
    assert machine.differing(here, there, machine.RATIO_KEYS) == ["gpu"]
    assert not machine.same_kind(here, there)
