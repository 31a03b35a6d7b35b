"""Earlier commits of the repository that one works in, by git."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lxbench.errors import UsageError


def resolve(name: str) -> str:
    """The hash of a commit, as short as it is unique.

    Args:
        name: whatever git takes for a commit: a branch, a tag, ``HEAD~3``.

    Raises:
        UsageError: git knows no such commit here, or there is no git.
    """
    found = _git("rev-parse", "--verify", "--quiet", "--short", "--end-of-options", f"{name}^{{commit}}")
    if found is None:
        raise UsageError(
            f"git knows no commit {name!r} in {Path.cwd()}",
            expected="a commit of this repository, as in HEAD~1, main or 5e673be; a shallow clone has few",
            command="git log --oneline -10",
        )
    return found


def last_change(path: Path) -> str:
    """The short hash of the commit that last changed a file; empty where git does not know."""
    return _git("log", "-1", "--format=%h", "--", path.name, cwd=path.parent) or ""


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """The folder that one is in, as it is in a commit: in a worktree of its own that is removed at the end.

    Raises:
        UsageError: the commit does not have the folder, or git could not check it out.
    """
    here = _git("rev-parse", "--show-prefix")
    with tempfile.TemporaryDirectory(prefix=f"lxbench-{commit}-", ignore_cleanup_errors=True) as parent:
        tree = Path(parent, "tree")
        done = _run("worktree", "add", "--detach", str(tree), commit)
        try:
            folder = tree / (here or "")
            if done.returncode or not folder.is_dir():
                why = done.stderr.strip() if done.returncode else f"it has no folder {here}"
                raise UsageError(
                    f"{commit} could not be checked out: {why}",
                    expected="a commit that has this folder, and room on the disk",
                    command=f"git show --stat {commit}",
                )
            yield folder
        finally:
            _run("worktree", "remove", "--force", str(tree))


def search_path(folder: Path) -> list[str]:
    """Where Python looks for modules, were this the repository that one is in: its folders of ``sys.path``, moved.

    A package that is installed from the repository to be edited is on ``sys.path`` with its folder; without this, the
    code of now would run in both.

    Args:
        folder: see ``checked_out``.
    """
    top, prefix = (_git("rev-parse", what) or "" for what in ("--show-toplevel", "--show-prefix"))
    tree = folder.resolve()
    for _ in Path(prefix).parts:
        tree = tree.parent
    ours = [Path(entry).resolve() for entry in sys.path if entry]
    moved = [tree / entry.relative_to(top) for entry in ours if top and entry.is_relative_to(top)]
    return list(dict.fromkeys([str(folder), *(str(path) for path in moved if path.is_dir())]))


def _git(*arguments: str, cwd: Path | None = None) -> str | None:
    """What git prints, without the line's end; None where it fails."""
    done = _run(*arguments, cwd=cwd)
    return done.stdout.strip() if not done.returncode else None


def _run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command: Sequence[str] = ("git", *arguments)
    try:
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    except OSError as error:  # There is no git.
        return subprocess.CompletedProcess(command, 127, "", str(error))
