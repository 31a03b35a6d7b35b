"""Whole runs of the suite, each in a process of its own, for commands that need several."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lxbench import files
from lxbench.commands import SUITE, one_word
from lxbench.errors import UsageError
from lxbench.report import terminal

# Where a run has ended and says what it found.
_ENDING = re.compile("=+ lxbench =+")


_LAST_LINES_S = 5.0


class Terminated(KeyboardInterrupt):
    """SIGTERM, of ``timeout`` or of a cancelled job; unlike Ctrl-C, it reaches this process alone."""


def heed_sigterm() -> None:
    """Let SIGTERM end this process and the run that it waits for as Ctrl-C does."""

    def terminated(*_: object) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, terminated)


def run_once(
    folder: Path,
    arguments: Sequence[str],
    cwd: Path | None = None,
    environ: Mapping[str, str] | None = None,
    tables: bool = True,
    again: str = "",
) -> dict[str, Any]:
    """Run the suite in a process of its own and return its results.

    Args:
        folder: where it leaves them.
        arguments: further ones of pytest.
        cwd: where it runs, if not here.
        environ: variables that it has besides.
        tables: whether its tables and verdicts are shown; its progress is, and all of a run that fails.
        again: the command to paste where it fails, if not this run.

    Raises:
        UsageError: it ended before anything was judged, or could not write it.
    """
    asked = shlex.join([*arguments, f"--lx-results={folder}"])
    command = [sys.executable, "-m", "pytest", *SUITE, *shlex.split(one_word(asked))]
    left = folder / "latest" / "results.json"
    before = left.resolve()
    own, output = {**os.environ, **(environ or {})}, None if tables else subprocess.PIPE
    if output is not None:
        terminal.accept_any_text()
        own |= {"PYTHONIOENCODING": "utf-8"}  # Read as that, whatever the locale says.
    process = subprocess.Popen(command, cwd=cwd, env=own, stdout=output, encoding="utf-8", errors="replace")
    ending: list[str] = []
    reader = threading.Thread(target=_show_progress, args=(process.stdout or (), ending), daemon=True)
    reader.start()
    try:
        code = process.wait()
    except KeyboardInterrupt as ended:  # It ends its workers, and writes what was measured; Ctrl-C it has got too.
        if isinstance(ended, Terminated):
            process.terminate()
        process.wait()
        raise
    finally:
        reader.join(_LAST_LINES_S)  # Who still holds the pipe is a process that a row has left behind.
        if process.stdout is not None and not reader.is_alive():
            process.stdout.close()
    if code not in (0, 1):
        print(*ending, sep="", end="", flush=True)
        raise UsageError(
            f"a run ended with exit code {code}" + (f" in {cwd}" if cwd is not None else ""),
            expected="runs that end with 0, or with 1 for a red verdict",
            command=again or _alone(arguments),
        )
    if left.resolve() == before:
        raise UsageError(
            f"a run left no results in {folder}",
            expected="a folder that this user may write, with links, and room on the disk",
            command=f"df -h {shlex.quote(str(folder))}",
        )
    found: dict[str, Any] = json.loads(left.read_text("utf-8"))
    if found.get("interrupted"):
        raise UsageError(
            f"a run was cut off before its end, as -x and --maxfail do: not all rows are in {left.resolve().parent}",
            expected="whole runs, which are held against each other",
            command=again or _alone(arguments),
        )
    return found


def _alone(arguments: Sequence[str]) -> str:
    """The command that makes one of the runs by itself."""
    session = "bench-gpu" if any(word.endswith("cuda") for word in arguments) else "bench-cpu"
    return f"nox -s {session} -- {shlex.join(arguments)}"


def refuse(arguments: Sequence[str], option: str, command: str) -> None:
    """Refuse an option of the suite that runs which are held against each other must not have.

    Raises:
        UsageError: it is among the arguments.
    """
    if any(word.partition("=")[0] == option for word in arguments):
        raise UsageError(
            f"{option} in runs that are held against each other: the first would move what the next are held to",
            expected="the same baselines for all of them",
            command=command,
        )


def write_last(path: Path, content: Mapping[str, Any]) -> str:
    """Write what several runs have shown beside them; say where it is, or why it is not."""
    try:
        files.write(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    except OSError as error:
        return f"{path} could not be written: {error.strerror}"
    return f"everything is in {path.parent}"


def _show_progress(lines: Iterable[str], ending: list[str]) -> None:
    """Print what a run says until it has ended, and keep the rest."""
    for line in lines:
        if ending or _ENDING.match(line):
            ending.append(line)
        else:
            print(line, end="", flush=True)


def time_left(began: float, done: int, count: int) -> str:
    """How long the other runs will take, by those that are done; empty before the first.

    Args:
        began: ``time.monotonic()`` of the first.
        done: how many have ended.
        count: of how many.
    """
    if not done:
        return ""
    return f", about {(time.monotonic() - began) / done * (count - done) / 60:.0f} min left"
