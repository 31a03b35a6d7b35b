"""Two codes in turn: what is found, and that each side runs its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lxbench import ab, commits
from lxbench.errors import UsageError
from lxbench.report import terminal
from tests.suite import ROOT, Flat, bench_environ, committed, copy_clips, disturbed, git, needs_git, refused


def made(factor: float, seed: int, apart: float = 0.0, **row: Any) -> dict[str, Any]:
    """A run of one row over 24 clips: half of fp32's seconds, times a factor that each process misses by so much."""
    generator = np.random.default_rng(seed)
    missed = factor * np.exp(generator.normal(0, apart))
    clips = []
    for number in range(24):
        reference = 0.5 * np.exp(generator.normal(0, 0.01))
        own = 0.25 * missed * np.exp(generator.normal(0, 0.03))
        clips.append({"id": str(number), "text": "да", "seconds": own, "pairs": [(reference, own)]})
    kept = {
        "variant": "x", "reference": False, "ratio": {"value": 2.0}, "seconds": 0.25 * missed, "processes": 1,
        "complete": True, "crash": None, "verdict": "NEW", "tolerance": {"speed": 0.025}, "clips": clips,
    }  # fmt: skip
    same = {"model": {"fingerprint": "m"}, "corpus": {"fingerprint": "c"}, "format": 2}
    return {**same, "rows": [{**kept, **row}, {"variant": "fp32", "reference": True, "ratio": None, "verdict": "NEW"}]}


def runs(factor: float, seed: int, apart: float = 0.0, **row: Any) -> list[dict[str, Any]]:
    return [made(factor, seed + number, apart, **row) for number in range(3)]


@pytest.mark.parametrize(
    ("factor", "word"), [(1.0, "PASS"), (1.02, "INCONCLUSIVE"), (1.10, "REGRESSED"), (0.90, "IMPROVED")]
)
def test_slower_code_is_told_from_equal_code(factor: float, word: str) -> None:
    (found,) = ab.judge(runs(1.0, 0), runs(factor, 10))
    assert found["verdict"] == word, found
    assert found["change"]["low"] < 1 / factor < found["change"]["high"]
    assert found["ratios"] == pytest.approx([2.0, 2.0 / factor], rel=0.02)
    page = terminal.render(ab.report("c0ffee", [found]), 100, color=False)
    assert word in page
    assert ("slower beside fp32, 0.25" in page) == (word == "REGRESSED")
    assert ("faster beside fp32, 0.25" in page) == (word == "IMPROVED")
    assert "fp32 that has" not in page


def test_fp32_that_has_become_faster_is_named() -> None:
    """The verdict is on the ratio, and the row's own seconds have not grown."""
    then, now = runs(1.0, 0), runs(1.0, 10)
    for run in now:
        for clip in run["rows"][0]["clips"]:
            clip["pairs"] = [(0.9 * reference, own) for reference, own in clip["pairs"]]
        run["rows"][0]["seconds"] = 0.249
    (found,) = ab.judge(then, now)
    assert found["verdict"] == "REGRESSED"
    page = " ".join(terminal.render(ab.report("c0ffee", [found]), 100, color=False).split())
    assert "0.250 s/audio with the earlier code, 0.249 now: it is fp32 that has become faster" in page
    assert "s/audio -1" in page


def test_more_rounds_are_not_advised_where_fp32_itself_takes_another_time() -> None:
    then, now = runs(1.0, 0), runs(1.0, 10)
    for run in now:
        for clip in run["rows"][0]["clips"]:
            clip["pairs"] = [(0.7 * reference, 0.7 * own) for reference, own in clip["pairs"]]
    (found,) = ab.judge(then, now)
    assert found["verdict"] == "INCONCLUSIVE"
    page = " ".join(terminal.render(ab.report("c0ffee", [found]), 100, color=False).split())
    assert "not sure enough, nor with more --rounds" in page


def test_processes_that_are_apart_are_not_taken_for_slower_code() -> None:
    (sure,), (unsure,) = ab.judge(runs(1.0, 0), runs(1.08, 10)), ab.judge(runs(1.0, 0, 0.05), runs(1.08, 10, 0.05))
    assert sure["verdict"] == "REGRESSED"
    assert unsure["verdict"] == "INCONCLUSIVE"
    width = [found["change"]["high"] / found["change"]["low"] - 1 for found in (sure, unsure)]
    assert width[1] > 2 * width[0]


def test_equal_code_of_a_row_whose_processes_disagree_is_hardly_ever_red() -> None:
    words = [ab.judge(runs(1.0, 100 * n, 0.05), runs(1.0, 100 * n + 50, 0.05))[0]["verdict"] for n in range(60)]
    assert words.count("REGRESSED") + words.count("IMPROVED") <= 2


def test_a_tolerance_of_no_limit_and_one_of_nothing() -> None:
    for tolerated, word in ((None, "PASS"), (0.0, "INCONCLUSIVE")):
        (found,) = ab.judge(runs(1.0, 0), runs(1.01, 10, tolerance={"speed": tolerated}))
        assert found["verdict"] == word


@pytest.mark.parametrize("odd", [{"verdict": "CRASHED"}, {"complete": False}, {"ratio": None}])
def test_a_row_that_one_run_lacks_is_named_and_not_compared(odd: dict[str, Any]) -> None:
    then, now = runs(1.0, 0), [*runs(1.0, 10)[:2], made(1.0, 20, **odd)]
    assert ab.judge(then, now) == []
    assert list(ab._left_out(then, now, [])) == ["not compared: x, timed in 3 of 3 runs then, 2 of 3 now"]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"corpus": {"fingerprint": "d"}}, "the two have not the same corpus"),
        ({"model": {"fingerprint": "n"}}, "the two have not the same model"),
        ({"machine": {"threads": 8}}, "the two have not seen the same threads of this machine"),
        ({"format": 1}, "runs of the two are of formats 1 and 2"),
        ({"rows": []}, "no row was timed beside fp32 by the earlier code: none"),
    ],
)
def test_runs_that_did_not_do_the_same_are_not_gone_on_with(other: dict[str, object], message: str) -> None:
    ab._check_alike(made(1.0, 0), made(1.0, 1))
    with pytest.raises(UsageError) as raised:
        ab._check_alike({**made(1.0, 0), **other}, made(1.0, 1))
    assert raised.value.happened == message


def test_code_that_no_longer_runs_a_row_is_red_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_by: list[bool] = []

    def each(*_: object) -> Iterator[tuple[bool, dict[str, Any]]]:
        for number in range(8):
            made_by.append(number % 2 == 0)
            crashed: dict[str, Any] = (
                {} if made_by[-1] else {"verdict": "CRASHED", "ratio": None, "crash": "RuntimeError: no kernel"}
            )
            yield made_by[-1], {**made(1.0, number, **crashed), "machine": {}}

    monkeypatch.setattr(ab, "_runs", each)
    monkeypatch.setattr(commits, "checked_out", lambda _: nullcontext(tmp_path))
    assert ab._compare("HEAD", 4, tmp_path / "left", []) == 1
    assert made_by == [True, False], "there is nothing to compare"
    assert "not compared: x, timed in 1 of 1 runs then, 0 of 1 now: RuntimeError: no kernel" in Flat(
        capsys.readouterr().out
    )


# --- as a user runs it -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of lxbench as it is, with a row that is slowed down by what the package itself says."""
    clone = tmp_path_factory.mktemp("clone")
    for name in ("lxbench", "bench"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, clone)
    rows = (ROOT / "tests" / "rows.py").read_text("utf-8")
    asked = 'os.environ.get("LXBENCH_TEST_HARM", "")'
    assert asked in rows
    (clone / "rows.py").write_text(rows.replace(asked, 'getattr(__import__("lxbench"), "HARM", "")'), "utf-8")
    (clone / ".gitignore").write_text("__pycache__/\n")
    committed(clone)
    return clone


def comparison(clone: Path, tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    """``lxbench.ab`` of the slowed row, in the clone: its process."""
    fixed = ["--lx-device=cpu", "--lx-corpus", str(copy_clips(tmp_path / "small", 6)), "-p", "no:cacheprovider"]
    rows = ["-k", "[harmed-cpu]", "--lx-variants", str(clone / "rows.py"), "--lx-results", str(tmp_path / "left")]
    return subprocess.Popen(
        [sys.executable, "-m", "lxbench.ab", "HEAD", *rows, *fixed, *arguments],
        cwd=clone, env=bench_environ(PYTHONPATH=str(clone)), text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip


@needs_git
def test_a_comparison_that_is_ended_leaves_nothing_behind(clone: Path, tmp_path: Path) -> None:
    """SIGTERM reaches the comparison alone, and it ends the run that it waits for."""
    process = comparison(clone, tmp_path)
    assert process.stdout is not None
    for line in process.stdout:
        if "clip " in line:
            break
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2, output
    assert "interrupted, nothing is judged: 0 whole runs are in " in output
    assert "Traceback" not in output
    (folder,) = (tmp_path / "left").glob("*-ab")
    assert json.loads((folder / "latest" / "results.json").read_text("utf-8"))["interrupted"] is True
    assert git(clone, "worktree", "list").count("\n") == 1
    assert git(clone, "status", "--short") == ""


@needs_git
def test_slower_code_of_the_working_tree_is_red(clone: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Each side has to import its own package."""
    package = clone / "lxbench" / "__init__.py"
    as_it_is = package.read_text("utf-8")

    def compare(harm: str) -> tuple[dict[str, Any], list[dict[str, Any]], str, int]:
        package.write_text(f'{as_it_is}\nHARM = "{harm}"\n', "utf-8")
        folder = tmp_path / harm
        process = comparison(clone, folder, "--rounds", "2")
        output, _ = process.communicate(timeout=400)
        (kept,) = (folder / "left").glob("*-ab/ab.json")
        (found,) = json.loads(kept.read_text("utf-8"))["variants"]
        whole = [json.loads(run.read_text("utf-8")) for run in sorted(kept.parent.glob("2*/results.json"))]
        assert len(whole) == 4, output
        return found, whole, output, process.returncode

    found, whole, output, code = compare("speed")
    expected = pytest.approx(1 / 1.3, rel=0.15)
    unsteady = any(disturbed(side, clips_apart=0.1) for side in (whole[::3], whole[1:3]))
    if found["verdict"] == "INCONCLUSIVE" and unsteady:  # One that any machine has to tell.
        request.node.user_properties.append(("disturbed", output))
        found, whole, output, code = compare("stall")
        expected = pytest.approx(1 / 5, rel=0.5)
    assert found["verdict"] == "REGRESSED", output
    assert found["change"]["value"] == expected
    assert found["texts_moved"] == 0
    assert "REGRESSED harmed: slower beside fp32, " in Flat(output)
    order = [line.split(", ")[1] for line in output.splitlines() if line.startswith("ab: run ")]
    commit = git(clone, "rev-parse", "--short", "HEAD").strip()
    assert order == [commit, "now", "now", commit]
    assert "NEW" not in output.partition("lxbench ==")[2]
    assert code == 1
    assert git(clone, "status", "--short") == " M lxbench/__init__.py\n", "it left something in the working tree"
    assert git(clone, "worktree", "list").count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["HEAD", "--rounds", "1"], "--rounds 1 does not show how far equal runs are apart"),
        (["--rounds", "3", "-k", "x", "HEAD"], "'x' stands behind -k, and is no commit then"),
        (["HEAD", "--lx-update", "new"], "--lx-update in runs that are held against each other"),
        pytest.param(["nosuch"], "git knows no commit 'nosuch'", marks=needs_git),
    ],
)
def test_a_comparison_that_cannot_be(tmp_path: Path, arguments: list[str], message: str) -> None:
    command = [sys.executable, "-m", "lxbench.ab", *arguments, "--lx-results", str(tmp_path / "results")]
    done = subprocess.run(command, cwd=ROOT, env=bench_environ(), capture_output=True, text=True, check=False)
    refused(done, message)
    assert not (tmp_path / "results").exists()


def test_a_commit_has_to_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert ab.main([]) == 4
    assert "COMMIT" in capsys.readouterr().err
    assert ab.main(["--help"]) == 0
