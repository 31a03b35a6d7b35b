"""The tests of the suite among what pytest has collected: which they are, of which row, in which order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pytest
from _pytest.skipping import evaluate_skip_marks, evaluate_xfail_marks

from lxbench.errors import UsageError

_PLUGIN = "lxbench.plugin"
# What is timed is scored: time first. On a GPU the profiler leaves traces in a process: all that is timed comes before.
_STAGES = {
    "cpu": ("test_effect", "test_latency", "test_seconds", "test_accuracy", "test_profile", "test_throughput"),
    "cuda": ("test_latency", "test_seconds", "test_accuracy", "test_throughput", "test_effect", "test_profile"),
}


def of_suite(item: pytest.Item) -> bool:
    """Whether a test asks for our ``run``; a repository may have a fixture of that name for its own tests."""
    known = item._fixtureinfo.name2fixturedefs if isinstance(item, pytest.Function) else {}
    return any(definition.func.__module__ == _PLUGIN for definition in known.get("run", ())[-1:])


def test_of(item: pytest.Item) -> str:
    """The name of a test without its parameters; empty for what is no function."""
    return str(getattr(item, "originalname", ""))


def row_of(item: pytest.Item) -> str:
    """The id of the row that a test of the suite is of; empty for one of none."""
    params = item.callspec.params if hasattr(item, "callspec") else {}
    return str(params.get("row") or params.get("measured", ""))


def judged_row(item: pytest.Item) -> str:
    """The id of the row that a test of the suite judges, though another test may measure it; empty for none."""
    params = item.callspec.params if hasattr(item, "callspec") else {}
    return str(row_of(item) or params.get("unusable", ""))


def rows_of(items: Iterable[pytest.Item]) -> list[str]:
    """The ids of the rows that tests of the suite are of, each once, in the order of the tests."""
    return list(dict.fromkeys(filter(None, map(row_of, items))))


def sort(items: list[pytest.Item], ids: Sequence[str], device: str) -> None:
    """Put the tests of the suite in the order in which rows are measured, behind all others.

    Args:
        items: all that was collected; changed in place.
        ids: of the device's rows in the ladder's order, the reference first.
        device: ``cpu`` or ``cuda``.
    """
    first, *rest = ids
    # fp32 is timed beside every variant anyway: what is left of it can wait, and the first verdict is there sooner.
    order = {id: number for number, id in enumerate([*rest, first])}
    items.sort(key=lambda item: _place(item, order, _STAGES[device]) if of_suite(item) else (-2, 0))


def judged_again(items: Iterable[pytest.Item]) -> frozenset[str]:
    """The ids of the rows whose speed is judged once more at the end, unless ``--benchmark-only`` skips that."""
    last = (item for item in items if test_of(item) == "test_speed" and of_suite(item))
    return frozenset(row_of(item) for item in last if _will_run(item))


def _will_run(item: pytest.Item) -> bool:
    """Whether no mark keeps a test from running: ``skip``, ``skipif``, ``xfail(run=False)``."""
    try:
        excused = evaluate_xfail_marks(item)
        xfail_counts = not item.config.option.runxfail
        return evaluate_skip_marks(item) is None and not (excused and xfail_counts and not excused.run)
    except pytest.fail.Exception:  # A condition that cannot be evaluated, which fails the test.
        return False


def leave_out(items: list[pytest.Item], unfit: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Take the tests of rows that have no place in a run out of it.

    Args:
        items: all that was collected; changed in place.
        unfit: why, by the id of the row.

    Returns:
        The ids of the rows that stay, and of those that were taken out.

    Raises:
        UsageError: none would stay.
    """
    ids = rows_of(filter(of_suite, items))
    kept, out = [id for id in ids if id not in unfit], [id for id in ids if id in unfit]
    if out and not kept:
        raise UsageError(
            f"nothing is left to run: {'; '.join(f'{id} {unfit[id]}' for id in out)}",
            expected="other rows, or a model and a corpus that they fit",
            command="nox -s bench-cpu",
        )
    items[:] = [item for item in items if row_of(item) not in unfit]
    return kept, out


def _place(item: pytest.Item, order: Mapping[str, int], stages: Sequence[str]) -> tuple[int, int]:
    """Row by row, and within a row stage by stage; then all speeds, what compares rows last.

    What is undecided about a row's speed is timed again minutes later, when the machine may be in another state.
    """
    if not hasattr(item, "callspec"):
        return (-1, 0)
    params, stage = item.callspec.params, test_of(item)
    if "row" in params:
        return (order[params["row"]], stages.index(stage) if stage in stages else len(stages))
    return (len(order), order[params["measured"]] if "measured" in params else len(order))
