"""Rows that may have become slower, made by hand, in a repository with their record."""

from __future__ import annotations

from pathlib import Path

import pytest

from lxbench.corpus import Corpus
from lxbench.run import Run, ending, gate, suspects
from lxbench.verdict import Verdict, Word
from tests.made import judge, make_row, make_run
from tests.suite import committed, needs_git


@pytest.fixture
def undecided(stored: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run with rows that are slower by 6, 14 and, within what is tolerated, 2 %, and a faster one."""
    monkeypatch.setattr(suspects, "PAIRED_CLIPS", 4)
    run = make_run(stored, clips)
    for seconds in (0.53, 0.57, 0.51, 0.45):
        doubtful(run, seconds)
    return run


def doubtful(run: Run, seconds: float) -> None:
    row = judge(run, make_row(run, seconds=seconds))
    row.verdicts["speed"] = Verdict(Word.INCONCLUSIVE, "the interval straddles the limit")
    row.device = f"cpu{len(run.rows)}"  # A name of its own.


@needs_git
def test_what_looks_slowest_is_named_first_with_the_command_that_tells(undecided: Run, stored: Path) -> None:
    first, second, *_ = undecided.rows
    assert suspects.find(undecided) == {"rows": ["bf16-cpu2", "bf16-cpu1"], "command": ""}, "nothing is committed"
    hash = committed(stored, "recorded")
    asked = f"nox -s ab -- {hash} -k '[bf16-cpu2] or [bf16-cpu1]' --lx-baselines {stored / 'baselines'}"
    assert suspects.find(undecided)["command"] == asked
    first.verdicts["speed"] = Verdict(Word.REGRESSED, "surely slower")
    assert suspects.find(undecided)["rows"] == ["bf16-cpu2"], "what is red is not suspected"
    assert f"{hash} -k '[bf16-cpu1]' " in suspects.find(undecided)["command"], "and is looked into first"
    first.verdicts["speed"] = second.verdicts["speed"] = Verdict(Word.PASS, "fine")
    assert suspects.find(undecided) == {"rows": [], "command": ""}


@needs_git
def test_a_command_is_of_so_many_rows_of_one_commit(
    undecided: Run, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hash = committed(stored, "recorded")
    monkeypatch.setattr(suspects, "_MOST", 1)
    assert suspects.find(undecided)["command"].startswith(f"nox -s ab -- {hash} -k '[bf16-cpu2]' ")
    for seconds in (0.55, 0.56):
        doubtful(undecided, seconds)
    commits = iter(["c0ffee", "", "c0ffee", "facade"])
    monkeypatch.setattr(suspects, "_MOST", 6)
    monkeypatch.setattr(gate, "recorded_in", lambda *_: next(commits))
    found = suspects.find(undecided)
    assert found["rows"] == ["bf16-cpu2", "bf16-cpu6", "bf16-cpu5", "bf16-cpu1"]
    assert found["command"].startswith("nox -s ab -- c0ffee -k '[bf16-cpu2] or [bf16-cpu5]' ")


def test_a_quick_look_suspects_nothing(undecided: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspects, "PAIRED_CLIPS", 5)
    assert suspects.find(undecided)["rows"] == []


@pytest.mark.parametrize("interrupted", [False, True])
def test_it_stands_in_what_a_run_leaves_unless_it_was_cut_off(
    undecided: Run, interrupted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    undecided.folder = undecided.folder.with_name("2026-11-28T10-00-00")
    monkeypatch.setattr(ending, "_write_files", lambda *_: None)  # Of rows made by hand there is no page.
    written = ending.write(undecided, [], [], 1.0, interrupted)
    assert written.results is not None
    assert len(written.results["suspected"]["rows"]) == (0 if interrupted else 2)


def test_a_row_that_is_marked_as_slower_is_not_suspected(undecided: Run) -> None:
    first, second, *_ = undecided.rows
    first.failed, second.failed = {"accuracy": "says other words"}, {"speed": "waits for the next torch"}
    assert suspects.find(undecided)["rows"] == [first.id]
