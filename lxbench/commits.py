"""Earlier commits of the repository that one works in, by git."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lxbench.errors import UsageError

# What git tells its hooks: where one is says enough, and a hook's index is not ours to write.
_OF_HOOKS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY")

_PATIENCE_S = 20.0  # with what only looks something up; a clone without its files fetches them for it


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


def since(path: Path, holds: Callable[[str], bool]) -> str:
    """The short hash of the commit since which something holds of a file.

    Args:
        path: the file.
        holds: whether it does, by what is in the file.

    Returns:
        Empty where it does not hold of the last commit, or where git cannot know: nothing is committed, or the clone is
        shallow.
    """
    if _git("rev-parse", "--is-shallow-repository", cwd=path.parent) != "false":
        return ""
    found = ""
    for commit in (_git("log", "--format=%h", "--", path.name, cwd=path.parent) or "").split():
        content = _git("show", f"{commit}:./{path.name}", cwd=path.parent)
        if content is None or not holds(content):
            break
        found = commit
    return found


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """The folder that one is in, as it is in a commit: in a worktree of its own that is removed at the end.

    Raises:
        UsageError: the commit does not have the folder, or git could not check it out.
    """
    here = _git("rev-parse", "--show-prefix")
    with tempfile.TemporaryDirectory(prefix=f"lxbench-{commit}-", ignore_cleanup_errors=True) as parent:
        tree = Path(parent, "tree")
        try:
            # Nobody's hook, which may well want what is not in there.
            done = _run("-c", f"core.hooksPath={os.devnull}", "worktree", "add", "--detach", str(tree), commit)
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

    A package that is installed from the repository to be edited is found by its folder on ``sys.path``, or by what
    setuptools calls a finder; without this, the code of now would run in both.

    Args:
        folder: see ``checked_out``.
    """
    finders = [module for name, module in sys.modules.items() if name.startswith("__editable__")]
    mapped = [Path(where).parent for finder in finders for where in getattr(finder, "MAPPING", {}).values()]
    roots = _roots(folder)
    moved = [_counterpart(path, roots) for path in (*map(Path, filter(None, sys.path)), *mapped)]
    return list(dict.fromkeys([str(folder), *(str(path) for path in moved if path is not None and path.is_dir())]))


def there(value: str, folder: Path) -> str:
    """A path as it is written here, for a process in the folder of another commit.

    Args:
        value: what may be a path of this folder.
        folder: see ``checked_out``.

    Returns:
        The commit's own where it has it, else the one that is here, both absolute; unchanged what is no path here.
    """
    base, _, split = value.rpartition(":")  # A data set in a folder may have the name of a split behind it.
    spelled = [(value, ""), *([(base, f":{split}")] if base and split else [])]
    found = next(((Path(name), behind) for name, behind in spelled if name and Path(name).exists()), None)
    if found is None:
        return value
    path, behind = found
    committed = _counterpart(path, _roots(folder))
    return str(committed if committed is not None and committed.exists() else path.resolve()) + behind


def _roots(folder: Path) -> tuple[Path, Path] | None:
    """The repository that one is in, and its other checkout, which a folder is of; None outside of any."""
    top, prefix = (_git("rev-parse", what) or "" for what in ("--show-toplevel", "--show-prefix"))
    tree = folder.resolve()
    for _ in Path(prefix).parts:
        tree = tree.parent
    return (Path(top), tree) if top else None


def _counterpart(path: Path, roots: tuple[Path, Path] | None) -> Path | None:
    """Where a path of the repository would be in its other checkout; None outside of it."""
    here = path.resolve()
    return roots[1] / here.relative_to(roots[0]) if roots and here.is_relative_to(roots[0]) else None


def environ() -> dict[str, str]:
    """This environment without what git tells its hooks."""
    return {name: value for name, value in os.environ.items() if name not in _OF_HOOKS}


def _git(*arguments: str, cwd: Path | None = None) -> str | None:
    """What git prints, without the line's end; None where it fails."""
    done = _run(*arguments, cwd=cwd, patience_s=_PATIENCE_S)
    return done.stdout.strip() if not done.returncode else None


def _run(*arguments: str, cwd: Path | None = None, patience_s: float | None = None) -> subprocess.CompletedProcess[str]:
    command: Sequence[str] = ("git", *arguments)
    try:
        return subprocess.run(
            command, cwd=cwd, env=environ(), capture_output=True, timeout=patience_s, check=False,
            encoding="utf-8", errors="replace",
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:  # There is no git, or no such folder.
        return subprocess.CompletedProcess(command, 127, "", str(error))
