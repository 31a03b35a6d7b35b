"""What other plugins of pytest are asked to do in the same run; refused where it cannot be."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lxbench import files
from lxbench.commands import CORPORA, SUITE
from lxbench.errors import UsageError
from lxbench.settings import Settings, repeated


def check_alone(config: pytest.Config) -> None:
    """Refuse the suite under pytest-xdist, by what was asked for: its main process collects nothing.

    Raises:
        UsageError: it is on.
    """
    asked, suite = [argument.split("::")[0] for argument in config.args], CORPORA.parent.resolve()
    folders = [Path(each).resolve() for each in asked]
    named = SUITE[-1] in asked or any(folder.is_relative_to(suite) for folder in folders)
    # A folder above it has it in lxbench's own repository; elsewhere in an environment, which pytest leaves out.
    if suite.parent == config.rootpath:
        named = named or any(suite.is_relative_to(folder) for folder in folders)
    # Where tests are distributed in any way pytest-benchmark times nothing, be it over no processes.
    beside = getattr(config.option, "dist", "no") != "no"
    if named and (beside or any(getattr(config.option, name, None) for name in ("numprocesses", "tx"))):
        raise UsageError(
            "variants cannot be timed beside each other: pytest-xdist is on",
            expected="one process, -n 0 --dist no",
            command="nox -s bench-cpu",
        )


def check_whole(config: pytest.Config, chosen: Settings, tests: Sequence[tuple[str, str]], reference: str) -> None:
    """Refuse to judge again what this run has not timed: it would be skipped, forgotten, and the run green.

    Args:
        config: pytest's.
        chosen: the options of the run.
        tests: of the suite that will run, by name and id of the row that they judge; empty ids are of none.
        reference: id of the row that others are held against.

    Raises:
        UsageError: ``--lf`` or ``--sw`` has chosen a row's ``test_speed`` or ``test_seconds`` without its
            ``test_latency``, or its ``test_caught`` without what is heard of it and of the reference.
    """
    if not any(getattr(config.option, name, False) for name in ("lf", "stepwise")):
        return
    timed = {id for name, id in tests if name == "test_latency"}
    heard = timed | {id for name, id in tests if name == "test_accuracy"}
    lacking = [
        id
        for name, id in tests
        if (name in ("test_speed", "test_seconds") and chosen.timing and id not in timed)
        or (name == "test_caught" and not {id, reference} <= heard)
    ]
    if lacking:
        session = "bench-gpu" if chosen.device == "cuda" else "bench-cpu"
        caught = [reference] if any(name == "test_caught" for name, _ in tests) else []
        rows = dict.fromkeys(f"[{id}]" for id in (*(id for _, id in tests), *caught) if id)
        again = shlex.join(["-k", " or ".join(rows), *repeated(chosen, part=True)])
        raise UsageError(
            f"only what was red would run, and not what measures it: {', '.join(dict.fromkeys(lacking))}",
            expected="whole rows, without --lf and --sw",
            command=f"nox -s {session} -- {again}",
        )


def check_saving(config: pytest.Config) -> None:
    """Refuse what pytest-benchmark could not do in the end, when all is timed.

    Raises:
        UsageError: a folder that timings are to be saved in cannot be written, ``--benchmark-only`` would leave out
            what is asked for, or so is a profile of this process, which only waits; it would take one clip more than
            there are.
    """
    if config.option.benchmark_cprofile:
        raise UsageError(
            "--benchmark-cprofile would show lxbench waiting: every variant works in a process of its own",
            expected="--lx-profile, which profiles each of them there",
            command="nox -s bench-cpu -- --lx-profile",
        )
    session = config._benchmarksession  # type: ignore[attr-defined]
    asked = [option for option in ("--lx-batch", "--lx-profile") if config.getoption(option)]
    if session.only and asked:
        raise UsageError(
            f"--benchmark-only leaves out what {' and '.join(asked)} would measure",
            expected="all that is measured of a row, its time among it",
            command=f"nox -s bench-cpu -- --lx-clips 8 {'--lx-profile' if '--lx-profile' in asked else '--lx-batch 8'}",
        )
    saves = not session.disabled and (session.save or session.autosave)
    folders = [session.storage.path] if saves and hasattr(session.storage, "path") else []
    for folder in [*folders, *(path.parent for path in [config.option.benchmark_json] if path)]:
        try:
            files.check_writable(folder)
        except OSError as error:
            raise UsageError(
                f"timings cannot be saved in {folder}: {error.strerror}",
                expected="a folder this user may create and write, --benchmark-storage and --benchmark-json",
                command="nox -s bench-cpu -- --benchmark-storage file:///tmp/lxbench-benchmarks",
            ) from None


def told(save: Callable[[], None], session: pytest.Session, unwritten: list[str]) -> Callable[[], None]:
    """Saving timings as pytest-benchmark does, but that a full disk keeps nobody from seeing what was measured.

    Args:
        save: what pytest-benchmark does.
        session: which then ends as a red one.
        unwritten: gets why they could not be written.
    """

    def saving() -> None:
        try:
            save()
        except OSError as error:
            unwritten.append(f"timings for later runs: {error}")
            session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED

    return saving
