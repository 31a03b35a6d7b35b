"""Where the suite is, and how its commands are typed: nox in a checkout, Python where lxbench is installed."""

from __future__ import annotations

import re
from pathlib import Path

_HERE = Path(__file__).parent
INSTALLED = (_HERE / "bench").is_dir()  # A wheel has the suite inside the package.
CORPORA = (_HERE if INSTALLED else _HERE.parent) / "bench" / "corpora"
SUITE = ("--pyargs", "lxbench.bench") if INSTALLED else ("bench",)
_PYTEST = "pytest --pyargs lxbench.bench"
_TYPED = {
    "bench-cpu": f"{_PYTEST} --lx-device cpu",
    "bench-gpu": f"{_PYTEST} --lx-device cuda",
    "study": f"{_PYTEST} --lx-study",
    "baselines": f"{_PYTEST} --lx-device cpu --lx-update new,changed",
    "calibrate": "python -m lxbench.calibrate --lx-device cpu",
    "report": "python -m lxbench.report",
    "compare": "python -m lxbench.compare",
}


def typed(command: str, installed: bool = INSTALLED) -> str:
    """A command as it is typed here.

    Args:
        command: any; one that begins with ``nox -s`` names a session of lxbench's own noxfile.
        installed: whether lxbench is installed, and this is not its checkout.
    """
    session = re.fullmatch(r"nox -s (\S+)(?: --)?( .*)?", command, re.DOTALL) if installed else None
    if session is None or session[1] not in _TYPED:
        return command
    return _TYPED[session[1]] + (session[2] or "")
