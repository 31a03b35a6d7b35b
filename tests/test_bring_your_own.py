"""docs/bring-your-own.md, executed: lxbench from its wheel in a repository of its own, with a row of its own."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.suite import ROOT, copy_clips

PAGE = (ROOT / "docs" / "bring-your-own.md").read_text("utf-8")


def block(name: str) -> str:
    """The code that follows a comment on the page."""
    found = re.search(rf"<!-- {re.escape(name)} -->\n```\w*\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None, name
    return found[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with lxbench as its wheel installs it."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", folder, ROOT], check=True)
    (wheel,) = folder.glob("lxbench-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "site", wheel], check=True)
    return folder / "site"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository of its own, as the page says, and recordings elsewhere."""
    repository = tmp_path / "repository"
    repository.mkdir()
    for name in ("conftest.py", "pyproject.toml", "my_rows.py"):
        (repository / name).write_text(block(name), "utf-8")
    copy_clips(tmp_path / "speech", 2)
    return repository


def run(project: Path, site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return paste(project, site, shlex.join(["pytest", "--pyargs", "lxbench.bench", "--lx-device", "cpu", *arguments]))


def paste(project: Path, site: Path, command: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_ADDOPTS")}
    environ = {**kept, "PYTHONPATH": str(site), "COLUMNS": "200"}
    command = f"{shlex.quote(sys.executable)} -m {command}"
    return subprocess.run(
        command, cwd=project, env=environ, shell=True, capture_output=True, text=True, timeout=400, check=False
    )


def test_a_row_of_ones_own_in_a_repository_of_ones_own(project: Path, site: Path) -> None:
    """The worked example: recorded, green, and red once its step does more than it should."""
    asked = ("--lx-variants", "my_rows.py", f"--lx-corpus={project.parent / 'speech'}", "-k", "int8-decoder or fp32")
    first = run(project, site, *asked, "--benchmark-disable")
    assert first.returncode == 1, first.stdout + first.stderr
    assert first.stdout.count("x  NEW  after") == 2
    (to_record,) = re.findall(r"next: (pytest --pyargs lxbench.bench --lx-device=cpu .*)", first.stdout)
    assert f"--lx-update=new -k '[fp32-cpu] or [int8-decoder-cpu]' --lx-corpus={project.parent / 'speech'}" in to_record
    recorded = paste(project, site, to_record)
    assert recorded.returncode == 1, recorded.stdout + recorded.stderr
    files = {path.name for path in (project / "baselines" / "whisper-base" / "speech" / "cpu").iterdir()}
    assert files == {"fp32.json", "int8-decoder.json"}
    green = run(project, site, *asked, "--benchmark-disable")
    assert green.returncode == 0, green.stdout + green.stderr
    rows = project / "my_rows.py"
    rows.write_text(rows.read_text("utf-8").replace("return model", "del model.model.decoder.layers[1:]; return model"))
    red = run(project, site, *asked, "--benchmark-disable")
    assert red.returncode == 1, red.stdout + red.stderr
    assert "REGRESSED int8-decoder-cpu" in red.stdout


def test_errors_are_spelled_for_it(project: Path, site: Path) -> None:
    done = run(project, site, "--lx-clips", "x")
    assert done.returncode == 4
    assert "next: pytest --pyargs lxbench.bench --lx-device=cpu --lx-clips=8" in done.stderr


def test_tests_of_ones_own_may_call_their_fixtures_as_they_like(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ("lxbench.plugin",)\n')
    (tmp_path / "test_mine.py").write_text(
        "import pytest\n"
        "@pytest.fixture\n"
        "def run():\n"
        "    return 1\n"
        "@pytest.fixture(params=[1, 2])\n"
        "def unusable(request):\n"
        "    return request.param\n"
        "@pytest.mark.parametrize('row', [3, 2, 1])\n"
        "def test_row(run, row): ...\n"
        "@pytest.mark.parametrize('measured', ['x'])\n"
        "def test_measured(measured): ...\n"
        "def test_unusable(run, unusable): ...\n"
    )
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "test_mine.py"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    ran = re.findall(r"::(test_\S+) PASSED", done.stdout)
    assert ran == [
        *("test_row[3]", "test_row[2]", "test_row[1]", "test_measured[x]", "test_unusable[1]", "test_unusable[2]")
    ]
