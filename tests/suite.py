"""The suite as a user runs it, and small corpora of real clips."""

from __future__ import annotations

import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from lxbench import commits, corpus
from lxbench.report.remarks import DISTURBED
from lxbench.verdict_speed import OTHER_STATE

ROOT = Path(__file__).parent.parent
CORPORA = ROOT / "bench" / "corpora"

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")

_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
_WARNINGS = "\n".join(["error", *_PROJECT["tool"]["pytest"]["ini_options"]["filterwarnings"]])

Bench = Callable[..., subprocess.CompletedProcess[str]]


def require(package: str) -> None:
    """Skip a test of what an extra brings where that is not installed; where CI=true it fails, and none is left out."""
    if find_spec(package) is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"needs {package}, of an extra")


def copy_clips(folder: Path, count: int) -> Path:
    """Make an audiofolder of the first so many clips of ivr-ru's fixed order."""
    folder.mkdir(parents=True)
    clips = corpus.load(corpus.EMBEDDED, CORPORA, count).clips
    lines = [{"file_name": clip.path.name, "transcription": clip.text} for clip in clips]
    for clip in clips:
        shutil.copy(clip.path, folder)
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (folder / "metadata.jsonl").write_text(text, "utf-8")
    return folder


def bench_command(folder: Path, *arguments: object) -> list[str]:
    """The command line of the suite with its outputs in a folder; later arguments win."""
    fixed = [
        "--lx-device=cpu",
        f"--lx-results={folder / 'results'}",
        f"--lx-baselines={folder / 'baselines'}",
        f"--benchmark-storage={folder / 'storage'}",
        *("-p", "no:cacheprovider"),
        *("-o", f"filterwarnings={_WARNINGS}"),  # As of lxbench's own tests.
    ]
    return [sys.executable, "-m", "pytest", "bench", *fixed, *map(str, arguments)]


def run_bench(folder: Path, *arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the suite in a process of its own, as a user would; results and storage go to the folder."""
    command, own = bench_command(folder, *arguments), bench_environ(**environ)
    return subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, timeout=400, check=False)


def bench_environ(**environ: str) -> dict[str, str]:
    """This environment without CI, as on a person's machine, plus what a test adds."""
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_ADDOPTS")}
    return {**kept, "COLUMNS": "100", **environ}


def results(folder: Path) -> dict[str, Any]:
    """What the last run has left."""
    found: dict[str, Any] = json.loads((folder / "results" / "latest" / "results.json").read_text("utf-8"))
    return found


class Flat(str):
    """Text that contains another whatever the lines were broken at."""

    __slots__ = ()

    def __contains__(self, text: object) -> bool:
        return "".join(str(text).split()) in "".join(self.split())


_EQUAL_APART = 0.05  # of the ratios of equal runs, as a logarithm: four runs then hardly show 30 %


def disturbed(runs: Sequence[dict[str, Any]], clips_apart: float) -> bool:
    """Whether runs of one row and one code say themselves that the machine was not theirs, or not always the same.

    Others had a part of it; fp32, or the ratio to it, was another in one than in the next, or in one clip from time to
    time; or the record is of another state. Then a slowdown of some 30 % may rightly be INCONCLUSIVE, and only a larger
    one has to be red.

    Args:
        runs: what results.json has of each.
        clips_apart: how far ratios of one clip are apart, see ``_noise``, where so many hardly show 30 %.
    """
    rows = [row for run in runs for row in run["rows"]]
    taken = [(row["disturbance"] or {}).get(by) or 0.0 for row in rows for by in ("stolen", "others")]
    seconds = [[fp32 for clip in row["clips"] for fp32, _ in clip["pairs"]] for row in rows]
    moved, apart = _apart(list(map(statistics.fmean, seconds))), _apart([row["ratio"]["value"] for row in rows])
    words = [verdict["text"] for row in rows for verdict in row["verdicts"].values()]
    told = any("the machine is in another state" in text for text in words)
    noisy = moved > OTHER_STATE or apart > _EQUAL_APART or _noise(rows) > clips_apart
    return told or noisy or max(taken) >= DISTURBED


def _noise(rows: Sequence[dict[str, Any]]) -> float:
    """How far ratios of one clip are apart: the standard deviation of the logarithm, 0 where each was timed once."""
    of_clip: dict[str, list[float]] = {}
    for clip in (clip for row in rows for clip in row["clips"]):
        of_clip.setdefault(clip["id"], []).extend(math.log(fp32 / own) for fp32, own in clip["pairs"])
    again = [statistics.variance(logs) for logs in of_clip.values() if len(logs) > 1]
    return math.sqrt(statistics.fmean(again)) if again else 0.0


def _apart(values: Sequence[float]) -> float:
    return math.log(max(values) / min(values))


def said(folder: Path) -> dict[str, str]:
    """The verdicts of the last run, by variant."""
    return {row["variant"]: row["verdict"] for row in results(folder)["rows"]}


def refused(done: subprocess.CompletedProcess[str], message: str) -> None:
    """Wrong usage: what happened, what was expected, the next command, exit code 4."""
    assert message in done.stderr
    assert "expected: " in done.stderr
    assert "next: " in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == 4


def git(folder: Path, *arguments: str) -> str:
    """What git prints in a repository that a test has made."""
    who = ("-c", "user.name=x", "-c", "user.email=x", "-c", "commit.gpgsign=false")
    command, own = ["git", *who, *arguments], commits.environ()
    return subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, check=True).stdout


def committed(folder: Path, message: str = "x") -> str:
    """Commit all that a folder holds, in a repository that is made there if there is none; the short hash."""
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", message)
    return git(folder, "rev-parse", "--short", "HEAD").strip()
