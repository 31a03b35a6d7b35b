"""Rebuild report.html from saved runs, several side by side: ``nox -s report -- RUN [RUN ...]``. Without torch."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lxbench import files
from lxbench.commands import typed
from lxbench.compare import load
from lxbench.errors import LxbenchError, UsageError
from lxbench.report import page

_COMMAND = "nox -s report -- results/latest"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page and say where it is; return the exit code: 4 for wrong usage."""
    parser = argparse.ArgumentParser(typed("nox -s report --"), description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="a results.json, or the folder it is in")
    parser.add_argument(
        "--out", type=files.at_home, help="a page, or a folder for it (default: report.html by the first run)"
    )
    try:
        chosen = parser.parse_args(arguments)
    except SystemExit as ended:
        return 4 if ended.code else 0
    folders = [path if path.is_dir() else path.parent for path in chosen.runs]
    out = Path(chosen.out or folders[0])
    out = out / "report.html" if out.is_dir() else out
    try:
        runs = [_load(path) for path in chosen.runs]
        _check_alike(runs, chosen.runs)
        _write(out, page.render(runs, folders, out.parent), chosen.runs)
    except LxbenchError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 4
    print(f"written: {out}")
    return 0


def _write(out: Path, text: str, runs: Sequence[Path]) -> None:
    try:
        files.write(out, text)
    except OSError as error:
        raise UsageError(
            f"{out} cannot be written: {type(error).__name__}: {error}",
            expected="a file, or a folder for report.html, that you may write",
            command=f"nox -s report -- {shlex.join(map(str, runs))} --out /tmp/report.html",
        ) from None


def _load(path: Path) -> dict[str, Any]:
    run = load(path, _COMMAND)
    if "command" not in run:
        raise UsageError(
            f"{path} has the timings of a run alone",
            expected="a results.json, or the folder it is in; pytest-benchmark's file is for nox -s compare",
            command=_COMMAND,
        )
    return run


def _check_alike(runs: Sequence[dict[str, Any]], paths: Sequence[Path]) -> None:
    """Refuse to show runs side by side that mean different things by a clip or by an edit.

    Raises:
        UsageError: they do.
    """

    def refused(why: str, path: Path) -> UsageError:
        return UsageError(
            f"{paths[0]} and {path} cannot stand side by side: {why}",
            expected="runs of the same recordings, scored by the same normaliser",
            command=f"nox -s report -- {shlex.quote(str(paths[0]))}",
        )

    known: dict[str, str] = {}
    for run, path in zip(runs, paths, strict=True):
        if run["normalizer"] != runs[0]["normalizer"]:
            raise refused(f"their normalisers are {runs[0]['normalizer']} and {run['normalizer']}", path)
        for clip in run["corpus"]["clips"]:
            if known.setdefault(clip["id"], clip["fingerprint"]) != clip["fingerprint"]:
                raise refused(f"clip {clip['id']} is another recording, or has another text", path)


if __name__ == "__main__":
    sys.exit(main())
