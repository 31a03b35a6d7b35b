"""What else the machine did while a row was timed: load, stolen time, other processes, frequency (Linux).

A ratio of paired times survives a busy neighbour, it only takes more pairs: what is read here is to explain a spread,
never to correct a time.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_CPUFREQ = "/sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq"


@dataclass(frozen=True)
class Snapshot:
    """Counters since boot, in seconds; see proc_stat(5)."""

    at: float
    busy: float | None
    stolen: float | None
    own: float


@dataclass(frozen=True)
class Disturbance:
    """The state of a machine over a while.

    Attributes:
        load: average number of runnable processes over the last minute, ours among them.
        stolen: cores that the hypervisor gave to other guests, on average.
        others: cores that other processes than ours used, on average.
        mhz: mean frequency of the cores at the end.
    """

    load: float | None
    stolen: float | None
    others: float | None
    mhz: float | None

    def __str__(self) -> str:
        parts = (
            ("load", self.load, ""),
            ("other processes", self.others, " cores"),
            ("stolen", self.stolen, " cores"),
        )
        return ", ".join(f"{name} {value:.2f}{unit}" for name, value, unit in parts if value is not None)


def snapshot(pids: Iterable[int]) -> Snapshot:
    """Read the counters; ``pids`` are our own processes beside this one."""
    user, nice, system, _, _, irq, softirq, steal = _cpu_times() or (None,) * 8
    busy = None if user is None else sum(filter(None, (user, nice, system, irq, softirq)))
    mine = sum(os.times()[:4])  # With what ended children have used.
    return Snapshot(time.perf_counter(), busy, steal, mine + sum(map(_cpu_of, pids)))


def between(before: Snapshot, after: Snapshot) -> Disturbance:
    """What was going on between two snapshots of the same processes."""
    seconds = max(after.at - before.at, 1e-9)

    def cores(then: float | None, now: float | None, own: float = 0.0) -> float | None:
        return None if then is None or now is None else round(max(0.0, now - then - own) / seconds, 3)

    return Disturbance(
        load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        stolen=cores(before.stolen, after.stolen),
        others=cores(before.busy, after.busy, after.own - before.own),
        mhz=_mhz(),
    )


def _cpu_times() -> tuple[float, ...] | None:
    """User, nice, system, idle, iowait, irq, softirq and steal of all cores together, in seconds."""
    try:
        first = (_PROC / "stat").read_text("utf-8").splitlines()[0]
        ticks = os.sysconf("SC_CLK_TCK")
        times = tuple(int(value) / ticks for value in first.split()[1:9])
    except (OSError, ValueError, IndexError):
        return None
    return times if len(times) == 8 else None


def _cpu_of(pid: int) -> float:
    try:
        fields = (_PROC / str(pid) / "stat").read_text("utf-8").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0


def _mhz() -> float | None:
    try:
        kilohertz = [int(path.read_text("utf-8")) for path in Path("/").glob(_CPUFREQ.lstrip("/"))]
        if kilohertz:
            return round(sum(kilohertz) / len(kilohertz) / 1000)
        # A guest sees no governor, and often a constant.
        found = re.findall(r"^cpu MHz\s*: ([\d.]+)", (_PROC / "cpuinfo").read_text("utf-8"), re.MULTILINE)
    except (OSError, ValueError):
        return None
    return round(sum(map(float, found)) / len(found)) if found else None
