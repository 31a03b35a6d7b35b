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
_PARENT = 1  # Its place behind the name in proc_stat(5).
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
    """Read the counters; ``pids`` are our own processes beside this one, forked from a server or spawned."""
    user, nice, system, _, _, irq, softirq, steal = _cpu_times() or (None,) * 8
    busy = None if user is None else sum(filter(None, (user, nice, system, irq, softirq)))
    running = [_stat(pid) for pid in pids]
    servers = {int(fields[_PARENT]) for fields in running if fields} - {os.getpid()}
    # What ended processes have used is counted with who has started them.
    own = sum(os.times()[:4]) + sum(map(_cpu_of, running)) + sum(_cpu_of(_stat(pid), ended=True) for pid in servers)
    return Snapshot(time.perf_counter(), busy, steal, own)


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


def _stat(pid: int) -> list[str]:
    """What proc_stat(5) has of a process behind its name; nothing where it is gone."""
    try:
        return (_PROC / str(pid) / "stat").read_text("utf-8").rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return []


def _cpu_of(stat: list[str], ended: bool = False) -> float:
    """Seconds that a process has used, and its ended children if they are wanted."""
    return sum(map(int, stat[11 : 15 if ended else 13])) / os.sysconf("SC_CLK_TCK") if stat else 0.0


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
