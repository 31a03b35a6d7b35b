"""The comment that a pull request gets."""

from __future__ import annotations

import os
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest

from lxbench.report import markdown
from tests.suite import ROOT

# Stands in for GitHub's: lists one comment or none, and keeps what would be written, and where.
GH = """#!/bin/sh
case "$*" in
  *--paginate*) echo "$OWN" ;;
  *) echo "$2" > asked; cp comment.md written ;;
esac
"""


def comment(folder: Path, summary: str, own: str) -> tuple[str, str]:
    """Run the last step of the gate; return where it has written what."""
    step = (ROOT / ".github" / "workflows" / "gate.yml").read_text("utf-8").rpartition("- run: |\n")[2]
    assert f'startswith("{markdown._TITLE}")' in step
    gh = folder / "bin" / "gh"
    gh.parent.mkdir()
    gh.write_text(GH)
    gh.chmod(0o755)
    if summary:
        (folder / "results" / "latest").mkdir(parents=True)
        (folder / "results" / "latest" / "summary.md").write_text(summary)
    environ = {
        "PATH": f"{gh.parent}:{os.environ['PATH']}", "OWN": own, "COMMENTS": "all", "COMMIT": "c0ffee",
        "GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "a/b", "GITHUB_RUN_ID": "7",
    }  # fmt: skip
    subprocess.run(["bash", "-e", "-c", textwrap.dedent(step)], cwd=folder, env=environ, check=True)
    asked, written = folder / "asked", folder / "written"
    return (asked.read_text().strip(), written.read_text()) if asked.exists() else ("", "")


OURS = "repos/a/b/issues/comments/5"
NOTHING = (
    f"{markdown._TITLE} nothing was measured\n\nOf commit c0ffee; https://github.com/a/b/actions/runs/7 says why.\n"
)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("summary", "own", "told"),
    [
        ("the table\n", "", ("all", "the table\n\nOf commit c0ffee.\n")),
        ("the table\n", "5", (OURS, "the table\n\nOf commit c0ffee.\n")),
        ("", "5", (OURS, NOTHING)),
        ("", "", ("", "")),
    ],
)
def test_a_comment_is_of_the_last_commit(tmp_path: Path, summary: str, own: str, told: tuple[str, str]) -> None:
    assert comment(tmp_path, summary, own) == told
