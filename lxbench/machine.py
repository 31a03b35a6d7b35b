"""What the numbers were measured on. Without torch."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lxbench import gpu

# Instruction sets that decide which kernels run, by their names in /proc/cpuinfo.
_ISA = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8", "asimd", "bf16")
# What must be equal for a speed ratio to mean the same thing on another machine.
RATIO_KEYS = ("isa", "threads", "gpu")
# What must be equal for seconds to mean the same thing: the fingerprint.
SECONDS_KEYS = ("cpu", "isa", "cores", "threads", "memory_gib", "gpu", "driver", "system", "python", "versions")
_MOMENTARY = ("load", "versions")  # Of a baseline; the versions stand beside it.
_PACKAGES = (
    "torch",
    "transformers",
    "torchao",
    "bitsandbytes",
    "numpy",
    "jiwer",
    "num2words",
    "scipy",
    "pytest-benchmark",
    "whisper-normalizer",
    "ctranslate2",
    "onnx",
    "onnxruntime",
    "openvino",
    "pywhispercpp",
)


def describe(threads: int, device: str = "cpu") -> dict[str, Any]:
    """Describe this machine: CPU, instruction sets, cores, threads used, memory, GPU if it is used, system, load.

    Args:
        threads: compute threads of a worker.
        device: ``cpu`` or ``cuda``; a GPU that is not used does not count.
    """
    info = _cpuinfo()
    return {
        "cpu": info.get("model name") or platform.processor() or platform.machine(),
        "isa": _isa(info),
        "cores": os.cpu_count(),
        "threads": threads,
        "memory_gib": _memory_gib(),
        **(gpu.describe() if device == "cuda" else {"gpu": None, "driver": None}),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions(),
        "load": [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None,
    }


def instructions(device: str = "cpu") -> list[str]:
    """What decides which kernels run: instruction sets by their names in /proc/cpuinfo, or architectures of a GPU."""
    return gpu.architectures() if device == "cuda" else _isa(_cpuinfo())


def usable_threads(control: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores this process may run on, and has the time of: a container may be given less than it sees.

    Args:
        control: where Linux tells the limits of this process's control group, of version 2 or 1.
    """
    seen = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min(seen, _quota(control))))


def lasting(description: Mapping[str, Any]) -> dict[str, Any]:
    """A description without what is another at every moment."""
    return {key: value for key, value in description.items() if key not in _MOMENTARY}


def versions() -> dict[str, str]:
    """Versions of the libraries that can move a number."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def differing(here: Mapping[str, Any], there: Mapping[str, Any], keys: tuple[str, ...]) -> list[str]:
    """Return the keys whose values differ between two descriptions."""
    return [key for key in keys if here.get(key) != there.get(key)]


def same_kind(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether speed ratios of two machines mean the same thing."""
    return not differing(one, other, RATIO_KEYS)


def likeness(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """How much of the instruction sets of two machines both have: 0 nothing, 1 all."""
    first, second = (set(machine.get("isa", ())) for machine in (one, other))
    return len(first & second) / max(1, len(first | second))


def _isa(info: Mapping[str, str]) -> list[str]:
    flags = set(info.get("flags", info.get("Features", "")).split())
    return [flag for flag in _ISA if flag in flags]


def _cpuinfo() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").split("\n\n")[0].splitlines()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _quota(control: Path) -> float:
    """Cores whose time the control group has; infinite where that is not limited, or not known."""
    with suppress(OSError, ValueError):  # Of version 2; without a limit it says "max".
        quota, period = map(int, (control / "cpu.max").read_text().split())
        return quota / period
    with suppress(OSError, ValueError):
        quota, period = (int((control / "cpu" / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        return quota / period if quota > 0 else math.inf
    return math.inf


def _memory_gib() -> int | None:
    """Whole GiB: machines of one kind differ in what firmware and kernel keep for themselves."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (AttributeError, ValueError, OSError):
        return None
