"""What the sessions do before they run anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.suite import ROOT, require


def environment(folder: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder


def site_packages(folder: Path) -> Path:
    (found,) = folder.glob("lib/python*/site-packages")
    return found


def test_bench_gpu_without_a_driver_ends_at_once(tmp_path: Path) -> None:
    require("nox")
    command = [sys.executable, "-m", "nox", "-s", "bench-gpu", "--envdir", str(tmp_path)]
    environ = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 4, done.stderr
    assert "no nvidia-smi on this machine\n  expected: a GPU with its driver\n  next: nox -s bench-cpu" in done.stderr
    assert "pip install" not in done.stderr, "nothing is installed for nothing"


@pytest.mark.skipif(os.name == "nt", reason="environments are laid out otherwise there")
@pytest.mark.parametrize("active", [True, False])
def test_bench_gpu_sees_the_environment_that_is_active(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, active: bool
) -> None:
    """The torch that is there fits the driver."""
    require("nox")
    import noxfile

    own = environment(tmp_path / "own")
    theirs = environment(tmp_path / "theirs") if active else tmp_path / "nothing"
    monkeypatch.setenv("VIRTUAL_ENV", str(theirs))

    def run(program: str, *arguments: str, **_: Any) -> str:
        program = str(own / "bin" / "python") if program == "python" else program
        return subprocess.run([program, *arguments], capture_output=True, text=True, check=True).stdout

    session: Any = SimpleNamespace(run=run)
    noxfile.see_active_environment(session)
    said = [file.read_text() for file in site_packages(own).glob("active.pth")]
    assert said == ([str(site_packages(theirs)) + "\n"] if active else [])
    seen = run("python", "-c", "import sys; print(*sys.path, sep='\\n')").splitlines()
    assert (str(site_packages(own)) in seen, str(theirs) in "\n".join(seen)) == (True, active)
