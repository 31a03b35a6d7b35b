"""Where the suite is, and how its commands are typed: nox in a checkout, Python where lxbench is installed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

_HERE = Path(__file__).parent
INSTALLED = (_HERE / "bench").is_dir()  # A wheel has the suite inside the package.
CORPORA = (_HERE if INSTALLED else _HERE.parent) / "bench" / "corpora"
SUITE = ("--pyargs", "lxbench.bench") if INSTALLED else ("bench",)
_PYTEST = "pytest --pyargs lxbench.bench"
_TYPED = {
    "bench-cpu": f"{_PYTEST} --lx-device cpu",
    "bench-gpu": f"{_PYTEST} --lx-device cuda",
    "study": f"{_PYTEST} --lx-device cpu --lx-study",
    "baselines": f"{_PYTEST} --lx-device cpu --lx-update new,changed",
    "ab": "python -m lxbench.ab --lx-device=cpu",
    "calibrate": "python -m lxbench.calibrate --lx-device cpu",
    "report": "python -m lxbench.report",
    "compare": "python -m lxbench.compare",
}


def to_record(device: str, row: str = "", options: Sequence[str] = ()) -> str:
    """The command that records baselines.

    Args:
        device: ``cpu`` or ``cuda``.
        row: id of the only one; empty for all.
        options: further ones, as of ``settings.repeated``.
    """
    session = "nox -s baselines --" if device == "cpu" else "nox -s bench-gpu -- --lx-update new,changed"
    return f"{session} {shlex.join([*_alone(row), *options])}".removesuffix(" ").removesuffix(" --")


def to_calibrate(device: str, row: str, options: Sequence[str] = ()) -> str:
    """The command that tells how far equal runs of a row are apart; see ``to_record``."""
    asked = f"--runs 8 --lx-clips 24 {shlex.join([*_alone(row), *options])}"
    # The session's environment has torch for a CPU.
    return (
        f"nox -s calibrate -- {asked}" if device == "cpu" else f"python -m lxbench.calibrate --lx-device cuda {asked}"
    )


def to_compare_codes(device: str, rows: Sequence[str], commit: str, options: Sequence[str] = ()) -> str:
    """The command that runs rows with the code of a commit and with that of now, in turn; see ``to_record``."""
    session = "nox -s ab --" if device == "cpu" else "python -m lxbench.ab"
    kind = [] if device == "cpu" else ["--lx-device", device]
    return f"{session} {shlex.join([commit, *kind, *_alone(*rows), *options])}"


def _alone(*rows: str) -> list[str]:
    return ["-k", " or ".join(f"[{row}]" for row in rows)] if any(rows) else []


def typed(command: str, installed: bool = INSTALLED) -> str:
    """A command as it is typed here.

    Args:
        command: any; ``nox -s``, variables before it or not, has a session of lxbench's own noxfile, ``pip install``
            of ``lxbench[...]`` an extra, ``less lxbench/...`` a file of the package.
        installed: whether lxbench is installed, and this is not its checkout.
    """
    if (extra := re.fullmatch(r"pip install 'lxbench(\[\w+\])'", command)) and not installed:
        return f'pip install -c constraints/cpu.txt -e ".{extra[1]}"'
    if not installed:
        return command
    if command.startswith("less lxbench/"):
        return command.replace("lxbench", shlex.quote(str(_HERE)), 1)
    session = re.fullmatch(r"((?:\w+=\S* )*)nox -s (\S+)(?: --)?( .*)?", command, re.DOTALL)
    if session is None or session[2] not in _TYPED:
        return command
    return one_word(session[1] + _TYPED[session[2]] + (session[3] or ""))


def one_word(command: str) -> str:
    """A command whose options of lxbench are one word with their values, ``--lx-corpus=/data/speech``.

    Before it has read a repository's conftest.py pytest does not know these options. It takes a path behind one for a
    place of tests, and looks for conftest.py and configuration there.
    """
    return re.sub(r"(--lx-[a-z]+(?:-[a-z]+)*) (?=[^-#\s])", r"\1=", command)
