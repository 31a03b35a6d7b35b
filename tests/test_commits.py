"""Earlier commits, in repositories made by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lxbench import commits
from lxbench.ab import _as_there
from lxbench.errors import UsageError
from tests.suite import ROOT, git, needs_git


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


@needs_git
def test_a_commit_is_found_since_which_a_file_says_something(repository: Path, tmp_path: Path) -> None:
    file, hashes = repository / "a.txt", [commits.resolve("HEAD~1"), commits.resolve("HEAD")]
    for text in ("first\nthird", "first\nfourth"):
        file.write_text(text)
        git(repository, "commit", "-aqm", text)
        hashes.append(commits.resolve("HEAD"))
    assert commits.since(file, lambda text: "first" in text) == hashes[2], "of the last time, not of the first"
    assert commits.since(file, lambda text: "fourth" in text) == hashes[3]
    assert commits.since(file, bool) == hashes[0]
    assert commits.since(file, lambda text: "second" in text) == "", "it no longer holds"
    assert commits.since(repository / "b.txt", bool) == ""
    assert commits.since(repository / "none" / "b.txt", bool) == ""
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{repository.parent}", str(shallow))
    assert commits.since(shallow / "inner" / "a.txt", bool) == "", "a shallow clone has not the commit"


@needs_git
def test_in_a_hook_the_commit_that_is_made_is_left_alone(repository: Path) -> None:
    hook = repository.parent / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    (hook.parent / "look.py").write_text(
        "from lxbench import commits\n"
        "with commits.checked_out('HEAD~1') as there:\n"
        "    assert (there / 'a.txt').read_text() == 'first'\n"
    )
    hook.write_text(f"#!/bin/sh\ncd inner && PYTHONPATH={ROOT} {sys.executable} ../.git/hooks/look.py\n")
    hook.chmod(0o755)
    (repository / "a.txt").write_text("third")
    (repository / "b.txt").write_text("new")
    git(repository, "add", "b.txt")
    git(repository, "commit", "-aqm", "third")
    assert git(repository, "show", "HEAD:./a.txt", "HEAD:./b.txt") == "thirdnew"
    assert git(repository, "status", "--short") == ""


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
    assert commits.since(Path(__file__), bool) == ""
    with pytest.raises(UsageError, match="git knows no commit 'HEAD'"):
        commits.resolve("HEAD")


@needs_git
def test_folders_of_the_repository_are_looked_for_modules_in_the_commits_own(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "src" / "package.py").write_text("")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "third")
    (repository / "flat" / "mine").mkdir(parents=True)
    (repository / "flat" / "mine" / "__init__.py").write_text("")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "fourth")
    elsewhere, untracked = tmp_path / "elsewhere", repository / ".venv"
    untracked.mkdir()
    finder: Any = ModuleType("__editable___mine_finder")
    finder.MAPPING = {"mine": str(repository / "flat" / "mine")}
    monkeypatch.setitem(sys.modules, finder.__name__, finder)
    monkeypatch.setattr(sys, "path", [str(repository / "src"), str(untracked), str(elsewhere), str(repository)])
    with commits.checked_out(commits.resolve("HEAD")) as folder:
        assert commits.search_path(folder) == [str(folder), str(folder / "src"), str(folder / "flat")]
        options = ["--lx-variants", str(repository / "a.txt"), "-k", "a.txt", "--lx-corpus=.venv", "--lx-model=small"]
        own = [str(folder / "a.txt"), "-k", "a.txt", f"--lx-corpus={untracked}", "--lx-model=small"]
        assert _as_there(options, folder) == ["--lx-variants", *own]
        assert commits.there(".venv:test", folder) == f"{untracked}:test"  # else the hub would be asked for it
        for value in ("owner/name:test", "shape:tiny", ":test", ""):
            assert commits.there(value, folder) == value
