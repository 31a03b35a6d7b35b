"""What the driver says of the GPU that is used: clocks, throttling, memory, whose processes are on it. Without torch.

By ``nvidia-smi``, which every driver brings; what it does not know is None or left out.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

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


def describe() -> dict[str, str | None]:
    """Name and driver of the first GPU."""
    name, driver = _ask("name", "driver_version") or (None, None)
    return {"gpu": name, "driver": driver}


def architectures() -> list[str]:
    """What the first GPU can run, such as ``sm_80``: its own compute capability and those before it."""
    said = _ask("compute_cap")
    try:
        own = float(said[0]) if said else 0.0
    except ValueError:
        return []
    known = (7.0, 7.5, 8.0, 8.6, 8.7, 8.9, 9.0, 10.0, 10.3, 11.0, 12.0, 12.1)
    return [f"sm_{round(10 * version)}" for version in known if version <= own]


def state(after_s: float = 0.0) -> State:
    """Ask for everything, some seconds later: it takes a tenth of a second or more."""
    time.sleep(after_s)
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


def _run(query: str) -> list[str]:
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    # It may not know a part of a card (MIG), or a name that is cut short, though CUDA does: then whatever there is.
    for which in (("-i", first or "0"), ()):
        command = ["nvidia-smi", query, "--format=csv,noheader,nounits", *which]
        with suppress(OSError, subprocess.SubprocessError):
            return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.splitlines()
    return []


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None  # such as [N/A]
