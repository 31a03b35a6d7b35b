"""pytest wiring: options, test ids, fixtures, header, summary. Logic lives in the other modules.

A repository of its own has the suite with ``pytest_plugins = ("lxbench.plugin",)`` in its conftest.py.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from lxbench import card, collected, files, gpu, history, ladder, machine, models, options, others, settings, study
from lxbench.errors import LxbenchError, UsageError
from lxbench.report import bencher, terminal
from lxbench.report.progress import LiveProgress
from lxbench.run import Run, ending, gate, looks, planning, results, update
from lxbench.run.ending import Ending
from lxbench.run.row import Row, row_id
from lxbench.verdict import Verdict, Word
from lxbench.worker import processes

_BEGAN = time.perf_counter()

SETTINGS = pytest.StashKey[settings.Settings]()
LADDER = pytest.StashKey[ladder.Ladder]()
FOLDER = pytest.StashKey[Path]()
RUN = pytest.StashKey[Run]()
WATCHER = pytest.StashKey[LiveProgress]()
OUT = pytest.StashKey[Any]()
KEY = pytest.StashKey[Mapping[str, Any]]()
HISTORY = pytest.StashKey[list[dict[str, Any]]]()
ENDING = pytest.StashKey[Ending]()
CRASHED = pytest.StashKey[set[str]]()
FAILED = pytest.StashKey[tuple[Row, str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    options.declare(parser)


def pytest_cmdline_main(config: pytest.Config) -> int | None:
    if not config.getoption("--lx-describe"):
        return None
    with _usage_errors():
        source = models.resolve(files.at_home(config.getoption("--lx-model")), config.getoption("--lx-revision"))
        print("\n".join(card.describe(source.folder)))
    return 0


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "lxbench_row: measures or judges variants of a model")
    with _usage_errors():
        others.check_alone(config)
        config.stash[SETTINGS] = options.read(config)
        config.stash[LADDER] = ladder.load(config.stash[SETTINGS].variants)
    if config.option.benchmark_compare:
        config._benchmarksession.quiet = False  # type: ignore[attr-defined]  # Who asks for its table wants to see it.
    # Progress is for the person at the terminal: keep the real one, which pytest replaces while tests run.
    config.stash[OUT] = os.fdopen(os.dup(sys.__stdout__.fileno()), "w", encoding="utf-8")  # type: ignore[union-attr]


def pytest_report_header(config: pytest.Config) -> str:
    chosen = config.stash[SETTINGS]
    clips = f"first {chosen.clips} clips" if chosen.clips else "all clips"
    here = machine.describe(chosen.threads, chosen.device)
    return (
        f"lxbench: model {chosen.model}, corpus {chosen.corpus} ({clips}), language {chosen.language}, "
        f"device {chosen.device}: {here['gpu'] if chosen.device == 'cuda' else here['cpu']}, {chosen.threads} threads"
    )


# --- collection --------------------------------------------------------------------------------------------


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if not collected.of_suite(metafunc.definition):
        return
    rows = _rows(metafunc.config)
    if "row" in metafunc.fixturenames:
        metafunc.parametrize("row", list(rows), indirect=True, scope="session")
    if "measured" in metafunc.fixturenames:
        metafunc.parametrize("measured", list(rows), indirect=True)
    if "unusable" in metafunc.fixturenames:
        metafunc.parametrize("unusable", [id for id, variant in rows.items() if variant.unusable])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    benches = [item for item in items if collected.of_suite(item)]
    for item in benches:
        item.add_marker("lxbench_row")
    _sort(config, items)
    yield
    if benches and not items:
        keyword = config.option.keyword
        with _usage_errors():
            raise UsageError(
                f"-k {keyword!r} matches no variant" if keyword else "no variant is left by what was asked for",
                expected=f"one of {', '.join(variant.name for variant in _rows(config).values())}",
                command="nox -s bench-cpu -- -k bf16",
            )


def pytest_enter_pdb(config: pytest.Config) -> None:
    if WATCHER in config.stash:  # It would be drawn over what is typed.
        config.stash[WATCHER].stop()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    config = session.config
    benches = [item for item in session.items if collected.of_suite(item)]
    if not benches or config.option.collectonly:
        return
    _sort(config, session.items)  # --ff and --nf have put what failed or is new before all else.
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # Cancelled by CI or by timeout: as by Ctrl-C.
    chosen = config.stash[SETTINGS]
    with _usage_errors():
        tests = [(collected.test_of(item), collected.judged_row(item)) for item in benches]
        others.check_whole(config, chosen, tests, row_id(config.stash[LADDER][0], chosen.device))
        others.check_saving(config)
        config.stash[FOLDER] = settings.new_run_folder(chosen.results, f"{datetime.now():{results.STARTED}}")
        config.stash[WATCHER] = LiveProgress(config.stash[OUT])
        config.stash[RUN] = _plan(session, benches)
    if config.option.verbose <= 0:
        _terminal(config).showfspath = False


def _plan(session: pytest.Session, benches: list[pytest.Item]) -> Run:
    """The run of what was collected; tests of rows that have no place in it are taken out."""
    config, rows = session.config, _rows(session.config)
    chosen, watcher = config.stash[SETTINGS], config.stash[WATCHER]
    if chosen.device == "cuda":
        gpu.check_named()
    # What is wrong with the model is known at once; a large corpus takes a while to read.
    source = planning.model(chosen)
    if processes.may_fork(chosen.device, chosen.variants):  # Meanwhile a server imports what workers need.
        imports = [name for id in collected.rows_of(benches) for name in rows[id].imports]
        processes.start_server(chosen.device, source.folder, imports)
    clips, observed = planning.clips(chosen, watcher.checked)
    models.check_length(source, max(clip.seconds for clip in clips.clips))
    unfit = planning.unfit(rows.values(), chosen, source, clips)
    ids, out = collected.leave_out(session.items, {row_id(row, chosen.device): row.elsewhere for row in unfit})
    timed = len(ids) - (row_id(config.stash[LADDER][0], chosen.device) in ids)
    here = machine.describe(chosen.threads, chosen.device)
    key = config.stash[KEY] = history.key(chosen, source, clips, here)
    saved = planning.saved(config._benchmarksession.storage)  # type: ignore[attr-defined]
    config.stash[HISTORY] = history.ratios(saved, key)
    last, folder = history.last(saved, key), config.stash[FOLDER]
    run = Run(chosen, source, clips, observed, config.stash[LADDER], folder, watcher, here, last, timed)
    if chosen.device == "cuda":
        run.notes += gpu.occupied()
    if not config.option.keyword:
        run.absent = [variant for variant in _chosen(config) if chosen.device not in variant.devices]
    run.absent += [variant for variant in unfit if row_id(variant, chosen.device) in out]
    run.judged_again = collected.judged_again(session.items)
    wanted = [rows[id] for id in ids]
    update.check(run, wanted)
    watcher.plan(looks.plan(run, wanted))
    return run


def _chosen(config: pytest.Config) -> list[ladder.Variant]:
    """The rows of the ladder, or of the study, whatever the device."""
    if config.stash[SETTINGS].study:
        return [variant for variant in config.stash[LADDER] if variant.name in study.ROWS]
    return [variant for variant in config.stash[LADDER] if not variant.study]


def _sort(config: pytest.Config, items: list[pytest.Item]) -> None:
    collected.sort(items, list(_rows(config)), config.stash[SETTINGS].device)


def _rows(config: pytest.Config) -> dict[str, ladder.Variant]:
    """The rows that this device has, by test id."""
    device = config.stash[SETTINGS].device
    return {row_id(variant, device): variant for variant in _chosen(config) if device in variant.devices}


def _terminal(config: pytest.Config) -> pytest.TerminalReporter:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    assert isinstance(reporter, pytest.TerminalReporter)
    return reporter


# --- fixtures ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """The run: workers, clips, verdicts; a test that asks for it is one of the suite."""
    run = request.config.stash[RUN]
    yield run
    run.measure_peaks()
    run.stop()


@pytest.fixture(scope="session")
def row(request: pytest.FixtureRequest, run: Run) -> Iterator[Row]:
    """One built variant; its worker ends with it."""
    row = run.start(_rows(request.config)[request.param])
    yield row
    run.finish(row)
    row.finished_s = time.perf_counter() - _BEGAN
    request.config.stash[WATCHER].line(terminal.one_line(results.row_values(run, row)))


@pytest.fixture
def measured(request: pytest.FixtureRequest, run: Run) -> Iterator[Row]:
    """A row that this run has measured, once all of them are; it may be timed again, and its worker ends with that."""
    row = next((row for row in run.rows if row.id == request.param), None)
    if row is None:
        pytest.skip("it was not measured")
    told = dict(row.verdicts)
    yield row
    run.finish(row)
    if row.verdicts != told and row.finished_s is not None:
        row.finished_s = time.perf_counter() - _BEGAN
        request.config.stash[WATCHER].line(terminal.one_line(results.row_values(run, row)))


@pytest.fixture
def expect(request: pytest.FixtureRequest, run: Run) -> Callable[[Row, str, Verdict], None]:
    """Record a verdict, for ``--junitxml`` with the figures that it is of; a red one fails the test.

    A row that crashed fails one test: what else is asked of it is skipped.
    """
    crashed = request.config.stash.setdefault(CRASHED, set())

    def expect(row: Row, what: str, said: Verdict) -> None:
        row.verdicts[what] = said
        figures = bencher.measures(results.row_values(run, row))
        properties = {"verdict": str(said), **{name: metric["value"] for name, metric in figures.items()}}
        request.node.user_properties += properties.items()
        if said.word is Word.CRASHED:
            if row.id in crashed:
                pytest.skip(f"{row.id} CRASHED before")
            crashed.add(row.id)
        if said.word.red:
            row.failed[what], request.node.stash[FAILED] = "", (row, what)
            pytest.fail(f"{said.word} {row.id} {what}: {said.text}", pytrace=False)

    return expect


# --- reporting ---------------------------------------------------------------------------------------------


def pytest_report_teststatus(report: pytest.CollectReport | pytest.TestReport) -> tuple[str, str, str] | None:
    # A row prints a line of its own when it is done; dots between would break it. A red verdict is told in our summary,
    # with its clips, and not once more under FAILURES: that is left to what went wrong unforeseen.
    if "lxbench_row" in report.keywords and (report.when == "call" or report.outcome == "skipped"):
        if hasattr(report, "wasxfail"):
            return "xfailed" if report.skipped else "xpassed", "", ""
        return "red" if getattr(report, "verdict", False) else report.outcome, "", ""
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    error = call.excinfo.value if call.excinfo else None
    report.verdict = isinstance(error, pytest.fail.Exception) and not error.pytrace  # type: ignore[attr-defined]
    if hasattr(report, "wasxfail") and report.skipped and FAILED in item.stash:
        row, what = item.stash[FAILED]
        if row.verdicts[what].word is Word.REGRESSED:
            row.failed[what] = report.wasxfail or "no reason is given"
        else:  # Nobody expects a row not to be recorded, or to crash: of what it says nothing is known then.
            report.outcome, report.longrepr = "failed", str(error)
            del report.wasxfail
    return report


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    with _usage_errors():  # --benchmark-compare asks for it before we are configured.
        chosen = config.stash[SETTINGS] if SETTINGS in config.stash else options.read(config)
    machine_info["lxbench"] = machine.describe(chosen.threads, chosen.device)


@pytest.hookimpl(tryfirst=True)
def pytest_benchmark_compare_machine_info(
    benchmarksession: Any, machine_info: dict[str, Any], compared_benchmark: dict[str, Any]
) -> None:
    """Say in what the machine of saved seconds differs, if in anything that moves them."""
    if (there := compared_benchmark["machine_info"].get("lxbench")) is None:
        return
    if differing := machine.differing(machine_info["lxbench"], there, machine.SECONDS_KEYS):
        benchmarksession.logger.warning(f"seconds of another machine, which differs in {', '.join(differing)}")
    # pytest-benchmark would warn of the load too, every time, and fail to where timings are stored elsewhere.
    compared_benchmark["machine_info"] = machine_info


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Generator[None]:
    config, run = session.config, session.config.stash.get(RUN, None)
    storage = config._benchmarksession  # type: ignore[attr-defined]
    # pytest-benchmark keeps a row that was interrupted before the end of its first clip, and fails to save it.
    storage.benchmarks[:] = [timed for timed in storage.benchmarks if timed]
    if not storage.benchmarks:
        storage.autosave = None  # It would warn that there is nothing to save.
    if run is not None:
        config.stash[WATCHER].stop()
        run.stop()
        gate.judge_usable(run)
        _describe(config, run)
        ended_early = exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        interrupted = ended_early or bool(session.shouldfail)  # -x and --maxfail: with the exit code of a red run.
        wall_s = time.perf_counter() - _BEGAN
        with _signals_ignored():  # Of half an ending nobody could tell what was recorded.
            ended = ending.write(run, config.invocation_params.args, config.stash[HISTORY], wall_s, interrupted)
        config.stash[ENDING] = ended
        storage.handle_saving = others.told(storage.handle_saving, session, ended.unwritten)
        red = ended.updated or ended.unwritten or any(row.word.red and not row.excused for row in run.rows)
        if exitstatus == pytest.ExitCode.OK and red:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        elif exitstatus == pytest.ExitCode.OK and not _anything_judged(config):
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
    if FOLDER in config.stash:
        with suppress(OSError):  # Of a run that was refused, or that nothing is left of.
            config.stash[FOLDER].rmdir()
    return (yield)


def pytest_unconfigure() -> None:
    processes.stop_server()


def _describe(config: pytest.Config, run: Run) -> None:
    """Tell pytest-benchmark what to store beside the timings of each row."""
    rows = {row.id: row for row in run.rows}
    for timed in config._benchmarksession.benchmarks:  # type: ignore[attr-defined]
        if (row := rows.get(timed.param)) is not None:
            saved = results.saved_values(run, row)
            kept = {name: saved["row"][name] for name in ("wer", "cer", "ratio", "peak_mib", "size_mib", "seconds")}
            timed.extra_info.update({**kept, "key": config.stash[KEY], "lxbench": saved})


def _anything_judged(config: pytest.Config) -> bool:
    told = _terminal(config).stats
    if any(told.get(outcome) for outcome in ("passed", "red", "failed", "xpassed")):
        return True
    return any(row.failed for row in config.stash[RUN].rows)  # Not of a test that xfail keeps from being run.


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    run = config.stash.get(RUN, None)
    if run is None:
        return
    terminal.accept_any_text(terminalreporter._tw._file)
    if not _anything_judged(config):
        terminalreporter.write_line("\nlxbench: nothing was measured or judged")
    ended = config.stash.get(ENDING, Ending())
    for error in ended.unwritten:
        terminalreporter.write_line(f"\nlxbench: not everything could be written: {error}", red=True)
    if ended.results is None:
        return
    terminalreporter.section("lxbench")
    width = terminalreporter._tw.fullwidth
    parts = terminal.ending(ended.results, ended.comparison, ended.updated, run.folder, width)
    if run.settings.study:
        parts = [*terminal.study_tables(ended.results), *parts]
    terminalreporter.write(terminal.render(parts, width, terminalreporter.hasmarkup))


@contextmanager
def _signals_ignored() -> Iterator[None]:
    """Put up with Ctrl-C and SIGTERM for some seconds."""
    before = {kind: signal.signal(kind, signal.SIG_IGN) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler or signal.SIG_DFL)


@contextmanager
def _usage_errors() -> Iterator[None]:
    """Turn our errors into pytest's: exit code 4, no traceback."""
    try:
        yield
    except LxbenchError as error:
        raise pytest.UsageError(str(error)) from None
