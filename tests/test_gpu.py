"""What the driver's tool says of a GPU is understood, whatever it leaves out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lxbench import gpu, machine
from lxbench.errors import UsageError
from lxbench.run import Run

TOOL = """#!/bin/sh
case "$1" in
*compute_cap*) echo 9.0 ;;
*name,driver*) echo "NVIDIA H100 80GB HBM3, 580.159.04" ;;
*query-compute-apps*) echo "4711, 1024"; echo "4712, 30" ;;
*clocks.sm*) echo "1980, 2619, 40, 124.02, 1300" ;;
*REASONS*) echo 0x0000000000000024 ;;
*=memory.used*) echo 1300 ;;
*) exit 6 ;;
esac
"""


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A driver's tool that answers what one on an H100 did."""
    gpu._place.cache_clear()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    file = tmp_path / "nvidia-smi"
    file.write_text(TOOL.replace("REASONS", "clocks_event_reasons"))
    file.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    yield file
    gpu._place.cache_clear()


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


LISTED = """#!/bin/sh
if [ "$1" != -L ]; then echo "card $4, 570.1"; exit; fi
echo "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-8932f937-d72c-4106-c12f-20bd9faed9f6)"
echo "GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)"
echo "  MIG 3g.40gb     Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)"
echo "  MIG 1g.10gb     Device  1: (UUID: MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb)"
"""


@pytest.mark.parametrize(
    ("visible", "which"),
    [
        (None, "card 0"),
        ("0", "card 0"),
        ("7,8", "card 7"),
        ("GPU-8932f937", "card 0"),
        ("1", "card 1 MIG 3g.40gb"),  # Of a divided GPU CUDA sees parts alone.
        ("GPU-5d5ba0d6", "card 1 MIG 3g.40gb"),
        ("MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb,MIG-c6d4f1ef", "card 1 MIG 1g.10gb"),
        ("MIG-nosuch", "card 0"),
    ],
)
def test_the_gpu_that_is_visible_is_asked(
    tool: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, which: str
) -> None:
    tool.write_text(LISTED)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpu.describe() == {"gpu": which, "driver": "570.1"}


@pytest.mark.usefixtures("tool")
def test_the_state_is_asked_for_again_and_again() -> None:
    with gpu.watched(after_s=0.0, every_s=0.01) as seen:
        while len(seen) < 2:
            time.sleep(0.01)
    assert seen[1] == gpu.state()
    with gpu.watched(after_s=60.0) as seen:
        pass
    assert seen == [], "what is over is not waited for"


@pytest.mark.usefixtures("tool")
def test_what_is_seen_while_it_does_not_work_says_nothing() -> None:
    asked: list[bool] = []

    def working() -> bool:
        asked.append(len(asked) >= 3)
        return asked[-1]

    with gpu.watched(working, after_s=0.0, every_s=60.0) as seen:
        while not seen:
            time.sleep(0.01)
    assert asked == [False, False, False, True, True]


def test_a_gpu_that_the_tool_does_not_name_is_refused(tool: Path) -> None:
    gpu.check_named()
    tool.write_text("#!/bin/sh\nexit 9\n")
    with pytest.raises(UsageError, match="nvidia-smi does not say which GPU this is") as raised:
        gpu.check_named()
    assert "NVIDIA_DRIVER_CAPABILITIES" in raised.value.expected


def test_moments_become_one() -> None:
    states = [
        gpu.State(1980, 2619, 40, 300.0, 900, ("power cap",), {1: 500}),
        gpu.State(1200, None, 85, 700.0, 950, ("temperature", "power cap"), {1: 550}),
    ]
    after = gpu.State(345, 2619, 60, 90.0, 1000, (), {1: 600})
    expected = gpu.State(1200, 2619, 85, 700.0, 1000, ("power cap", "temperature"), {1: 600})
    assert gpu.joined(states, after) == expected
    assert gpu.joined([gpu.State()], after) == gpu.State(used_mib=1000, processes={1: 600})


def test_memory_that_is_in_use_before_a_run_is_told(tool: Path) -> None:
    assert gpu.occupied() == ["1300 MiB of the GPU were in use before the run: others may compute on it"]
    tool.write_text("#!/bin/sh\necho 4\n")
    assert gpu.occupied() == []
    tool.write_text("#!/bin/sh\necho '[N/A]'\n")
    assert gpu.occupied() == []


def test_idleness_does_not_throttle() -> None:
    assert gpu.throttling("0x0000000000000001") == ()
    assert gpu.throttling("0x00000000000000C8") == ("hardware slowdown", "temperature (hardware)", "power brake")
    assert gpu.throttling("[Not Supported]") == ()


def test_a_row_on_a_gpu_is_watched_and_strangers_are_told(tool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = (SimpleNamespace(pid=pid) for pid in (4711, 1))
    timed: Any = SimpleNamespace(id="bf16-cuda", device="cuda", gpu=None, driver_mib=None)
    run: Any = SimpleNamespace(_workers={"bf16-cuda": ours}, _every_worker=[ours, theirs], notes=[], _renewing=False)
    run._note_once = partial(Run._note_once, run)
    with Run._watched_gpu(run, timed):
        pass
    assert timed.driver_mib == 1024
    assert timed.gpu.sm_mhz == 1980
    assert run.notes == ["while bf16-cuda was timed, others were on the GPU: process 4712 (30 MiB)"]
    tool.write_text(TOOL.replace("1980", "1200").replace("4712, 30", "4712, 31"))  # Hotter in a second look.
    monkeypatch.setattr(gpu, "watched", partial(gpu.watched, after_s=0.0))
    with Run._watched_gpu(run, timed):
        time.sleep(0.5)
    assert timed.gpu.sm_mhz == 1200
    assert len(run.notes) == 1, "nothing is told twice"
    run.notes.clear()
    timed.gpu = None
    ours.pid = 17  # In a container, where the driver knows it by another number.
    with Run._watched_gpu(run, timed):
        pass
    assert timed.driver_mib is None
    assert run.notes == [
        "whether other processes were on the GPU is not known: the driver does not name ours, as in a container"
    ]
    timed.device = "cpu"
    timed.gpu = None
    with Run._watched_gpu(run, timed):
        pass
    assert timed.gpu is None
