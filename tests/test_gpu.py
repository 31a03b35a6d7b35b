"""What the driver's tool says of a GPU is understood, whatever it leaves out."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lxbench import gpu, machine
from lxbench.run import Run

TOOL = """#!/bin/sh
case "$1" in
*compute_cap*) echo 9.0 ;;
*name,driver*) echo "NVIDIA H100 80GB HBM3, 580.159.04" ;;
*query-compute-apps*) echo "4711, 1024"; echo "4712, 30" ;;
*clocks.sm*) echo "1980, 2619, 40, 124.02, 1300" ;;
*REASONS*) echo 0x0000000000000024 ;;
*) exit 6 ;;
esac
"""


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A driver's tool that answers what one on an H100 did."""
    file = tmp_path / "nvidia-smi"
    file.write_text(TOOL.replace("REASONS", "clocks_event_reasons"))
    file.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return file


@pytest.mark.parametrize("reasons", ["clocks_event_reasons", "clocks_throttle_reasons"])
def test_a_state_has_clocks_what_throttles_and_processes(tool: Path, reasons: str) -> None:
    tool.write_text(TOOL.replace("REASONS", reasons))  # Older drivers have another name for it.
    state = gpu.state()
    assert state == gpu.State(
        1980, 2619, 40, 124.02, 1300, ("power cap", "temperature"), processes={4711: 1024, 4712: 30}
    )
    assert state.others([4711]) == {4712: 30}


def test_architectures_are_those_up_to_its_own(tool: Path) -> None:
    assert gpu.architectures() == ["sm_70", "sm_75", "sm_80", "sm_86", "sm_87", "sm_89", "sm_90"]
    assert machine.instructions("cuda")[-1] == "sm_90"
    tool.write_text(TOOL.replace("9.0", "7.5"))
    assert gpu.architectures() == ["sm_70", "sm_75"]


def test_what_the_tool_does_not_know_is_left_out(tool: Path) -> None:
    tool.write_text("#!/bin/sh\necho '[N/A]'\n")
    assert gpu.state() == gpu.State()
    assert gpu.architectures() == []
    assert gpu.describe() == {"gpu": None, "driver": None}
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert gpu.state() == gpu.State()


def test_the_gpu_that_is_visible_is_asked(tool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool.write_text('#!/bin/sh\nshift 2; test "$1" = -i && echo "$2, 1"\n')
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu.describe() == {"gpu": "0", "driver": "1"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert gpu.describe() == {"gpu": "2", "driver": "1"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8932f937")
    assert gpu.describe() == {"gpu": "GPU-8932f937", "driver": "1"}
    tool.write_text('#!/bin/sh\ntest "$3" = -i && exit 6; echo "a card, 1"\n')  # It does not know a part of a card.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-8932f937")
    assert gpu.describe() == {"gpu": "a card", "driver": "1"}


def test_idleness_does_not_throttle() -> None:
    assert gpu.throttling("0x0000000000000001") == ()
    assert gpu.throttling("0x00000000000000C8") == ("hardware slowdown", "temperature (hardware)", "power brake")
    assert gpu.throttling("[Not Supported]") == ()


@pytest.mark.usefixtures("tool")
def test_a_row_on_a_gpu_is_watched_and_strangers_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lxbench.run._GPU_ASKED_S", 0.0)
    ours, theirs = (SimpleNamespace(pid=pid) for pid in (4711, 1))
    timed: Any = SimpleNamespace(id="bf16-cuda", device="cuda", gpu=None, driver_mib=None)
    run: Any = SimpleNamespace(_workers={"bf16-cuda": ours}, _every_worker=[ours, theirs], notes=[])
    with Run._watched_gpu(run, timed):
        pass
    assert timed.driver_mib == 1024
    assert timed.gpu.sm_mhz == 1980
    assert run.notes == ["while bf16-cuda was timed, others were on the GPU: process 4712 (30 MiB)"]
    run.notes.clear()
    ours.pid = 17  # In a container, where the driver knows it by another number.
    with Run._watched_gpu(run, timed):
        pass
    assert (timed.driver_mib, run.notes) == (None, [])
    timed.device = "cpu"
    timed.gpu = None
    with Run._watched_gpu(run, timed):
        pass
    assert timed.gpu is None
