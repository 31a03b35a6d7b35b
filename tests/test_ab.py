"""Two codes in turn: what is found, and that each side runs its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lxbench import ab, commits
from lxbench.errors import UsageError
from lxbench.report import terminal
from tests.suite import ROOT, Flat, bench_environ, copy_clips, refused

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def made(factor: float, seed: int, apart: float = 0.0, **row: Any) -> dict[str, Any]:
    """A run of one row over 24 clips: half of fp32's seconds, times a factor that each process misses by so much."""
    generator = np.random.default_rng(seed)
    missed = factor * np.exp(generator.normal(0, apart))
    clips = []
    for number in range(24):
        reference = 0.5 * np.exp(generator.normal(0, 0.01))
        own = 0.25 * missed * np.exp(generator.normal(0, 0.03))
        clips.append({"id": str(number), "text": "да", "seconds": own, "pairs": [(reference, own)]})
    kept = {
        "variant": "x", "reference": False, "ratio": {"value": 2.0}, "seconds": 0.25 * missed, "processes": 1,
        "complete": True, "verdict": "NEW", "tolerance": {"speed": 0.025}, "clips": clips,
    }  # fmt: skip
    same = {"model": {"fingerprint": "m"}, "corpus": {"fingerprint": "c"}, "format": 2}
    return {**same, "rows": [{**kept, **row}, {"variant": "fp32", "reference": True, "ratio": None, "verdict": "NEW"}]}


def runs(factor: float, seed: int, apart: float = 0.0, **row: Any) -> list[dict[str, Any]]:
    return [made(factor, seed + number, apart, **row) for number in range(3)]


@pytest.mark.parametrize(
    ("factor", "word"), [(1.0, "PASS"), (1.02, "INCONCLUSIVE"), (1.10, "REGRESSED"), (0.90, "IMPROVED")]
)
def test_slower_code_is_told_from_equal_code(factor: float, word: str) -> None:
    (found,) = ab.judge(runs(1.0, 0), runs(factor, 10))
    assert found["verdict"] == word, found
    assert found["change"]["low"] < 1 / factor < found["change"]["high"]
    assert found["ratios"] == pytest.approx([2.0, 2.0 / factor], rel=0.02)
    page = terminal.render(ab.report("c0ffee", [found]), 100, color=False)
    assert word in page
    assert ("slower" in page) == (word == "REGRESSED")


def test_processes_that_are_apart_are_not_taken_for_slower_code() -> None:
    (sure,), (unsure,) = ab.judge(runs(1.0, 0), runs(1.08, 10)), ab.judge(runs(1.0, 0, 0.05), runs(1.08, 10, 0.05))
    assert sure["verdict"] == "REGRESSED"
    assert unsure["verdict"] == "INCONCLUSIVE"
    width = [found["change"]["high"] / found["change"]["low"] - 1 for found in (sure, unsure)]
    assert width[1] > 2 * width[0]


def test_a_tolerance_of_no_limit_and_one_of_nothing() -> None:
    for tolerated, word in ((None, "PASS"), (0.0, "INCONCLUSIVE")):
        (found,) = ab.judge(runs(1.0, 0), runs(1.01, 10, tolerance={"speed": tolerated}))
        assert found["verdict"] == word


@pytest.mark.parametrize("odd", [{"verdict": "CRASHED"}, {"complete": False}, {"ratio": None}])
def test_a_row_that_one_run_lacks_is_named_and_not_compared(odd: dict[str, Any]) -> None:
    then, now = runs(1.0, 0), [*runs(1.0, 10)[:2], made(1.0, 20, **odd)]
    assert ab.judge(then, now) == []
    assert list(ab._left_out(then, now, [])) == ["not compared: x, timed in 3 of 3 runs then, 2 of 3 now"]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"corpus": {"fingerprint": "d"}}, "the two have not the same corpus"),
        ({"model": {"fingerprint": "n"}}, "the two have not the same model"),
        ({"format": 1}, "runs of the two are of formats 1 and 2"),
        ({"rows": []}, "no row was timed beside fp32 in both: none and x NEW, fp32 NEW"),
    ],
)
def test_runs_that_did_not_do_the_same_are_not_gone_on_with(other: dict[str, object], message: str) -> None:
    ab._check_alike(made(1.0, 0), made(1.0, 1))
    with pytest.raises(UsageError) as raised:
        ab._check_alike({**made(1.0, 0), **other}, made(1.0, 1))
    assert raised.value.happened == message


# --- commits -----------------------------------------------------------------------------------------------


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=x", "-c", "user.email=x", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with two commits of a file, in a folder of it that one is in."""
    place = tmp_path / "of mine" / "inner"
    place.mkdir(parents=True)
    git(place.parent, "init", "-q")
    for text in ("first", "second"):
        (place / "a.txt").write_text(text)
        git(place.parent, "add", ".")
        git(place.parent, "commit", "-q", "-m", text)
    (place / "src").mkdir()
    monkeypatch.chdir(place)
    return place


@needs_git
def test_an_earlier_commit_is_checked_out_beside_and_leaves_nothing(repository: Path) -> None:
    commit = commits.resolve("HEAD~1")
    with commits.checked_out(commit) as folder:
        assert (folder / "a.txt").read_text() == "first"
        assert folder.name == repository.name
    assert not folder.exists()
    with pytest.raises(ZeroDivisionError), commits.checked_out(commit) as folder:
        raise ZeroDivisionError
    assert not folder.exists()
    assert git(repository, "worktree", "list").count("\n") == 1
    assert (repository / "a.txt").read_text() == "second"
    assert commits.last_change(repository / "a.txt") == commits.resolve("HEAD")
    assert commits.last_change(repository / "b.txt") == ""
    assert commits.last_change(repository / "none" / "b.txt") == ""


@needs_git
def test_a_commit_without_the_folder_is_refused(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / "src" / "new.txt").write_text("")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "third")
    monkeypatch.chdir(repository / "src")
    with pytest.raises(UsageError, match="it has no folder inner/src/"), commits.checked_out(commits.resolve("HEAD~1")):
        pass
    assert git(repository, "worktree", "list").count("\n") == 1


@needs_git
@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize("name", ["nosuch", "-h", "HEAD:inner/a.txt", ""])
def test_what_is_no_commit_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"git knows no commit .* in .*inner"):
        commits.resolve(name)


def test_without_git_no_commit_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commits.last_change(Path(__file__)) == ""
    with pytest.raises(UsageError, match="git knows no commit 'HEAD'"):
        commits.resolve("HEAD")


@needs_git
def test_folders_of_the_repository_are_looked_for_modules_in_the_commits_own(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "src" / "package.py").write_text("")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "third")
    elsewhere, untracked = tmp_path / "elsewhere", repository / ".venv"
    untracked.mkdir()
    monkeypatch.setattr(sys, "path", [str(repository / "src"), str(untracked), str(elsewhere), str(repository)])
    with commits.checked_out(commits.resolve("HEAD")) as folder:
        assert commits.search_path(folder) == [str(folder), str(folder / "src")]


# --- as a user runs it -------------------------------------------------------------------------------------


def compare(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lxbench.ab", *map(str, arguments), "--lx-device=cpu", "-p", "no:cacheprovider"]
    environ = bench_environ(PYTHONPATH=str(folder))
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=400, check=False)


@needs_git
def test_slower_code_of_the_working_tree_is_red(tmp_path: Path) -> None:
    """The row is slowed down by the package itself: each side has to import its own."""
    clone = tmp_path / "clone"
    for name in ("lxbench", "bench"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, clone)
    rows = (ROOT / "tests" / "rows.py").read_text("utf-8")
    asked = 'os.environ.get("LXBENCH_TEST_HARM", "")'
    assert asked in rows
    (clone / "rows.py").write_text(rows.replace(asked, 'getattr(__import__("lxbench"), "HARM", "")'), "utf-8")
    (clone / ".gitignore").write_text("__pycache__/\n")
    git(clone, "init", "-q")
    git(clone, "add", ".")
    git(clone, "commit", "-q", "-m", "as it is")
    with (clone / "lxbench" / "__init__.py").open("a") as package:
        package.write('\nHARM = "speed"\n')
    options = ["--lx-variants", "rows.py", "--lx-corpus", copy_clips(tmp_path / "small", 6)]
    left = tmp_path / "left"
    done = compare(clone, "HEAD", "--rounds", 2, "-k", "[harmed-cpu]", *options, "--lx-results", left)
    (kept,) = left.glob("*-ab/ab.json")
    (found,) = json.loads(kept.read_text("utf-8"))["variants"]
    assert found["verdict"] == "REGRESSED", done.stdout + done.stderr
    assert found["change"]["value"] == pytest.approx(1 / 1.3, rel=0.15)
    assert found["texts_moved"] == 0
    assert "REGRESSED harmed: the code is slower, whatever the machine does" in Flat(done.stdout)
    assert "ab: run 3 of 4, now, about " in done.stdout
    assert done.returncode == 1
    assert git(clone, "status", "--short") == " M lxbench/__init__.py\n", "it left something in the working tree"
    assert git(clone, "worktree", "list").count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["HEAD", "--rounds", "1"], "--rounds 1 does not show how far equal runs are apart"),
        pytest.param(["nosuch"], "git knows no commit 'nosuch'", marks=needs_git),
    ],
)
def test_a_comparison_that_cannot_be(tmp_path: Path, arguments: list[str], message: str) -> None:
    command = [sys.executable, "-m", "lxbench.ab", *arguments, "--lx-results", str(tmp_path / "results")]
    done = subprocess.run(command, cwd=ROOT, env=bench_environ(), capture_output=True, text=True, check=False)
    refused(done, message)
    assert not (tmp_path / "results").exists()


def test_a_commit_has_to_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert ab.main([]) == 4
    assert "COMMIT" in capsys.readouterr().err
    assert ab.main(["--help"]) == 0
