"""What the driver says of the GPU that is used: clocks, throttling, memory, whose processes are on it. Without torch.

By ``nvidia-smi``, which every driver brings; what it does not know is None or left out.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from threading import Event

from lxbench.errors import UsageError

# Bits of clocks_event_reasons.active that slow a GPU down, see nvmlClocksEventReasons; the others are idleness and
# settings of its owner.
_THROTTLING = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "temperature",
    0x40: "temperature (hardware)",
    0x80: "power brake",
}
_FIELDS = ("clocks.sm", "clocks.mem", "temperature.gpu", "power.draw", "memory.used")
# Its name changed with driver 535; older ones know the second alone.
_REASONS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")
# A GPU, or below it one of the parts that it is divided into (MIG): "GPU 0: NVIDIA H200 (UUID: GPU-8932f937-...)" and
# "  MIG 1g.10gb     Device  0: (UUID: MIG-3eb87630-...)".
_LISTED = re.compile(r"(?:GPU (?P<index>\d+): |\s+(?P<part>MIG \S+) ).*\(UUID: (?P<uuid>[^)]+)\)")
_ASKED_S = 1.0  # after work has begun: by then the clocks are what they will be
_ASKED_AGAIN_S = 10.0  # A card takes a while to get hot.
_IDLE_MIB = 300  # that a desktop and the driver may hold; what computes holds more


@dataclass(frozen=True)
class State:
    """The first GPU at one moment.

    Attributes:
        sm_mhz, memory_mhz: clocks.
        celsius: temperature.
        watts: power drawn.
        used_mib: memory in use, whoever has it.
        throttled: what keeps its clocks down.
        processes: MiB that the driver counts for each process on it, by process id.
    """

    sm_mhz: float | None = None
    memory_mhz: float | None = None
    celsius: float | None = None
    watts: float | None = None
    used_mib: float | None = None
    throttled: tuple[str, ...] = ()
    processes: Mapping[int, float] = field(default_factory=dict)

    def others(self, own: Collection[int]) -> dict[int, float]:
        """MiB of processes that are none of ours."""
        return {pid: mib for pid, mib in self.processes.items() if pid not in own}


def joined(states: Sequence[State], after: State) -> State:
    """Several moments as one: the lowest clocks, the most heat and power, all that throttled; the memory afterwards."""

    def known(name: str) -> list[float]:
        return [value for state in states if (value := getattr(state, name)) is not None]

    return State(
        sm_mhz=min(known("sm_mhz"), default=None),
        memory_mhz=min(known("memory_mhz"), default=None),
        celsius=max(known("celsius"), default=None),
        watts=max(known("watts"), default=None),
        used_mib=after.used_mib,
        throttled=tuple(dict.fromkeys(text for state in states for text in state.throttled)),
        processes=after.processes,
    )


@contextmanager
def watched(
    working: Callable[[], bool] = lambda: True, after_s: float = _ASKED_S, every_s: float = _ASKED_AGAIN_S
) -> Iterator[list[State]]:
    """Ask for the state again and again while something runs; what ends before the first time is not asked about.

    Args:
        working: whether it is at work: what is seen while it is not says nothing of it.
        after_s: seconds until it is asked for once it works.
        every_s: seconds until it is asked for again.
    """
    over, seen = Event(), list[State]()

    def ask() -> None:
        wait_s = after_s
        while not over.wait(wait_s):
            worked, found = working(), state()
            if worked and working():
                seen.append(found)
            wait_s = every_s if worked else after_s

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            yield seen
        finally:
            over.set()
        asking.result()


def describe() -> dict[str, str | None]:
    """Name and driver of the first GPU; of a part of one (MIG) the name says which."""
    name, driver = _ask("name", "driver_version") or (None, None)
    if name and (part := _first()[1]):
        name = f"{name} {part}"
    return {"gpu": name, "driver": driver}


def check_named() -> None:
    """Refuse a GPU that the driver's tool does not name: any would pass for any other, and rows would lack what it has.

    Raises:
        UsageError: it does not.
    """
    if describe()["gpu"] is None:
        raise UsageError(
            "--lx-device cuda: nvidia-smi does not say which GPU this is",
            expected="the driver's tool, in a container by NVIDIA_DRIVER_CAPABILITIES=compute,utility",
            command="nox -s bench-cpu",
        )


def occupied() -> list[str]:
    """A remark where memory is in use before a run has begun: that is known in a container too."""
    used = _number((_ask("memory.used") or ("",))[0])
    if used is None or used < _IDLE_MIB:
        return []
    return [f"{used:.0f} MiB of the GPU were in use before the run: others may compute on it"]


def architectures() -> list[str]:
    """What the first GPU can run, such as ``sm_80``: its own compute capability and those before it."""
    said = _ask("compute_cap")
    try:
        own = float(said[0]) if said else 0.0
    except ValueError:
        return []
    known = (7.0, 7.5, 8.0, 8.6, 8.7, 8.9, 9.0, 10.0, 10.3, 11.0, 12.0, 12.1)
    return [f"sm_{round(10 * version)}" for version in known if version <= own]


def state() -> State:
    """Ask for everything: it takes a tenth of a second or more."""
    values = _ask(*_FIELDS)
    reasons = next(filter(None, (_ask(name) for name in _REASONS)), None)
    sm, memory, celsius, watts, used = map(_number, values or [""] * len(_FIELDS))
    return State(sm, memory, celsius, watts, used, throttling(reasons[0]) if reasons else (), _processes())


def throttling(mask: str) -> tuple[str, ...]:
    """What a mask of reasons says, such as ``0x0000000000000004``."""
    try:
        bits = int(mask, 16)
    except ValueError:
        return ()
    return tuple(text for bit, text in _THROTTLING.items() if bits & bit)


def _processes() -> dict[int, float]:
    found = {}
    for line in _run("--query-compute-apps=pid,used_memory"):
        pid, _, mib = line.partition(",")
        if pid.strip().isdigit() and (used := _number(mib)) is not None:
            found[int(pid)] = used
    return found


def _ask(*fields: str) -> tuple[str, ...] | None:
    """Values of the first GPU; None where the driver does not know a field."""
    lines = _run(f"--query-gpu={','.join(fields)}")
    values = tuple(value.strip() for value in lines[0].split(",")) if lines else ()
    return values if len(values) == len(fields) else None


def _first() -> tuple[str, str]:
    """The driver's number of the GPU that CUDA counts first, and which part of it that is, if it is divided."""
    return _place(os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip())


@cache
def _place(visible: str) -> tuple[str, str]:
    """See ``_first``; for a number, a UUID of a GPU or of a part, either cut short as CUDA allows, or nothing."""
    listed, index = [], "0"
    for line in filter(None, map(_LISTED.match, _tool("-L"))):
        index = line["index"] or index
        listed.append((index, line["part"] or "", line["uuid"]))
    wanted = [
        (index, part)
        for index, part, uuid in listed
        if (index == (visible or "0") if visible.isdigit() or not visible else uuid.startswith(visible))
    ]
    if not wanted:
        return visible if visible.isdigit() else "0", ""
    index, part = wanted[0]
    # Of a divided GPU CUDA sees parts alone.
    return index, part or next((part for other, part, _ in listed if other == index and part), "")


def _run(query: str) -> list[str]:
    return _tool(query, "--format=csv,noheader,nounits", "-i", _first()[0])


def _tool(*arguments: str) -> list[str]:
    with suppress(OSError, subprocess.SubprocessError):
        command = ["nvidia-smi", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.splitlines()
    return []


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None  # such as [N/A]
