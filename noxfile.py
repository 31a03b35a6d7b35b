"""What people and CI run. What follows ``--`` goes to pytest."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2026.7.11"  # An older one does not tell a command's exit code.
# virtualenv with pip: constraints name the CPU build of torch by its plain version, which other resolvers miss.
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "tests"]

# What reads saved runs, and needs no model.
WITHOUT_TORCH = ("jinja2", "jiwer", "num2words", "numpy", "platformdirs", "rich", "scipy", "whisper-normalizer")

FOR_TESTS = "embedded,engines,kernels,lint"  # lint brings nox, whose sessions are tested.


def install(session: nox.Session, extras: str = "embedded") -> None:
    """Install lxbench and what it needs, at the versions that the baselines were recorded with."""
    session.install("-c", "constraints/cpu.txt", "-e", f".[{extras}]")


def bench(session: nox.Session, *arguments: str, extras: str = "embedded") -> None:
    """Run the benchmark suite; later options win over earlier ones."""
    install(session, extras)
    run(session, "pytest", "bench", *arguments)


def command(session: nox.Session, module: str, *arguments: str, extras: str = "embedded") -> None:
    """Install lxbench and run a module with what follows ``--``."""
    install(session, extras)
    run(session, module, *arguments)


def run(session: nox.Session, module: str, *arguments: str) -> None:
    """Run a module with what follows ``--``, and end with its exit code."""
    try:
        # Ctrl-C: give pytest the time to end its workers and to write what was measured.
        session.run("python", "-m", module, *arguments, *session.posargs, interrupt_timeout=30, terminate_timeout=10)
    except CommandFailed as failed:
        # nox would make every failure 1: pytest's exit codes say whether a verdict is red or the usage wrong.
        sys.exit(getattr(failed, "return_code", None) or 1)


@nox.session
def tests(session: nox.Session) -> None:
    """Run lxbench's own tests: real model, a few clips, no network."""
    install(session, FOR_TESTS)
    session.run("python", "-m", "pytest", "tests", *session.posargs)


@nox.session
def newest(session: nox.Session) -> None:
    """Run lxbench's own tests with the newest versions that its ranges allow, torch's CUDA build among them."""
    session.install("--upgrade", "--upgrade-strategy=eager", "-e", f".[{FOR_TESTS}]")
    session.run("python", "-m", "pytest", "tests", *session.posargs)


@nox.session
def oldest(session: nox.Session) -> None:
    """Run lxbench's own tests with the oldest versions that its ranges allow."""
    session.install("-c", "constraints/oldest.txt", "-e", f".[{FOR_TESTS}]")
    session.run("python", "-m", "pytest", "tests", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and types."""
    install(session, "embedded,lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")


@nox.session(name="bench-cpu")
def bench_cpu(session: nox.Session) -> None:
    """Benchmark the ladder on the CPU and judge it against the baselines."""
    bench(session, "--lx-device", "cpu")


# With the packages that are there: a machine with a GPU has the torch that fits its driver.
@nox.session(name="bench-gpu", venv_params=["--system-site-packages"])
def bench_gpu(session: nox.Session) -> None:
    """Benchmark the ladder on a CUDA GPU and judge it against the baselines; exit code 4 without one."""
    if shutil.which("nvidia-smi") is None:  # Before anything is installed: open ranges would bring torch for a GPU.
        session.warn("no nvidia-smi on this machine\n  expected: a GPU with its driver\n  next: nox -s bench-cpu")
        sys.exit(4)
    see_active_environment(session)
    session.install("-e", ".[embedded]")
    run(session, "pytest", "bench", "--lx-device", "cuda")


def see_active_environment(session: nox.Session) -> None:
    """Let a session see the packages of the virtual environment that is active.

    ``--system-site-packages`` is of the Python behind it: the torch that is there would be installed once more.
    """
    active = Path(os.environ.get("VIRTUAL_ENV", sys.prefix)) / "bin" / "python"
    where = (
        "import sys, sysconfig as s; print(*sys.version_info[:2], sys.prefix != sys.base_prefix, s.get_path('purelib'))"
    )
    if not active.is_file():
        return
    theirs = str(session.run(str(active), "-c", where, external=True, silent=True, log=False)).split(maxsplit=3)
    ours = str(session.run("python", "-c", where, silent=True, log=False)).split(maxsplit=3)
    if theirs[:3] == ours[:3]:  # An environment of the same Python.
        (Path(ours[3].strip()) / "active.pth").write_text(theirs[3])


@nox.session
def engines(session: nox.Session) -> None:
    """Benchmark our fastest rows and other engines beside fp32, and judge them against the baselines."""
    rows = "[fp32-cpu] or plain or merge or [fast or ct2 or [ort or openvino or whispercpp"
    bench(session, "--lx-device", "cpu", "-k", rows, extras="embedded,engines")


@nox.session
def study(session: nox.Session) -> None:
    """Run the rows of the study on the CPU and write its five tables, its figures beside ours."""
    bench(session, "--lx-device", "cpu", "--lx-study")


@nox.session
def baselines(session: nox.Session) -> None:
    """Record missing and moved baselines; red by design, the diff is yours to review and commit."""
    bench(session, "--lx-device", "cpu", "--lx-update", "new,changed", extras="embedded,engines")


@nox.session
def calibrate(session: nox.Session) -> None:
    """Run the benchmark N times, store how far equal runs are apart: -- --runs 10 -k "[bf16-cpu]"."""
    command(session, "lxbench.calibrate", "--lx-device", "cpu", extras="embedded,engines")


@nox.session
def ab(session: nox.Session) -> None:
    """Run rows with the code of a commit and with that of now, in turn: -- COMMIT -k "[bf16-cpu]"."""
    command(session, "lxbench.ab", "--lx-device=cpu", extras="embedded,engines")


@nox.session
def report(session: nox.Session) -> None:
    """Rebuild report.html from saved runs, several side by side; without torch: -- RUN [RUN ...]."""
    session.install("-c", "constraints/cpu.txt", *WITHOUT_TORCH)
    session.install("--no-deps", "-e", ".")
    run(session, "lxbench.report")


@nox.session
def compare(session: nox.Session) -> None:
    """Judge one saved run against another without running anything: -- THEN NOW."""
    command(session, "lxbench.compare")
