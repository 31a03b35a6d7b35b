"""The suite as a user runs it: every way to be red, by its words and its exit code, and what stands beside it."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lxbench import baselines, kept
from lxbench.checkpoints import embedded
from tests.suite import (
    ROOT,
    Bench,
    Flat,
    bench_command,
    bench_environ,
    copy_clips,
    disturbed,
    refused,
    results,
    run_bench,
    said,
)

ROWS = Path(__file__).parent / "rows.py"


# --- red: exit code 1 --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small corpus and the baselines of fp32 and of a faster row on it, recorded by --lx-update new."""
    folder = tmp_path_factory.mktemp("recorded")
    copy_clips(folder / "small", 6)
    rows = ("--lx-corpus", folder / "small", "--lx-variants", ROWS, "-k", "fp32 or harmed")
    done = run_bench(folder, *rows, "-p", "tests.blocks", "--lx-update", "new")
    assert "baselines changed: review them" in Flat(done.stdout)
    assert "Error" not in done.stdout
    assert done.returncode == 1
    kept = baselines.read(baseline_of(folder, "harmed"))
    assert kept is not None
    assert kept.speeds[0].timed.processes >= 2, "recorded by a single look"
    return folder


def copied(recorded: Path, folder: Path) -> Path:
    shutil.copytree(recorded, folder, dirs_exist_ok=True)
    shutil.rmtree(folder / "results")
    return folder


@pytest.fixture
def stored(recorded: Path, tmp_path: Path) -> Path:
    """A copy of the recorded baselines, corpus and storage that a test may harm; options point to it."""
    return copied(recorded, tmp_path)


def baseline_of(folder: Path, name: str) -> Path:
    return folder / "baselines" / "whisper-base" / "small" / "cpu" / f"{name}.json"


def test_what_was_recorded_passes_and_says_the_same_letter_for_letter(bench: Bench, stored: Path) -> None:
    """Also: the run before is compared with, by pytest-benchmark too, and a variant missing on one side is named."""
    before = json.loads(baseline_of(stored, "fp32").read_text("utf-8"))
    junit = f"--junitxml={stored / 'junit.xml'}"
    done = bench("--lx-corpus", stored / "small", "-k", "fp32", junit, "--benchmark-compare")
    assert done.returncode == 0, done.stdout
    assert re.search(r"test_latency\[fp32-cpu\] \(0001_\w+\)", done.stdout), "the table of pytest-benchmark"
    assert said(stored) == {"fp32": "PASS"}
    (row,) = results(stored)["rows"]
    assert {clip["id"]: clip["text"] for clip in row["clips"]} == {clip["id"]: clip["text"] for clip in before["clips"]}
    assert re.search(r"s/audio since run 0001_\S+: fp32-cpu [+-]\d", " ".join(done.stdout.split()))
    assert "in that run but not in this one: harmed-cpu" in Flat(done.stdout)
    saved = sorted((stored / "storage").rglob("0002_*.json"))
    (bench_data,) = json.loads(saved[0].read_text())["benchmarks"]
    assert len(bench_data["stats"]["data"]) == 6
    assert bench_data["extra_info"]["wer"] == pytest.approx(row["wer"])
    timed = [clip["seconds"] for clip in row["clips"]]
    assert bench_data["stats"]["data"] == pytest.approx(timed, abs=1e-6)
    spent, parts = results(stored)["harness"], ("transcribing", "warming_up", "building", "loading", "own")
    assert sum(spent[f"{part}_share"] for part in parts) == pytest.approx(1, abs=0.001)
    assert spent["own_share"] < 0.5
    assert round(sum(timed), 3) <= spent["transcribing_s"] < sum(timed) + 0.5
    seconds = row["build"]["seconds"]
    prepared = seconds["steps"] + seconds["warm-up"]
    assert spent["warming_up_s"] + spent["building_s"] == pytest.approx(prepared, abs=0.002)
    assert 0.1 < spent["warming_up_s"] < seconds["warm-up"]
    assert spent["loading_s"] > seconds["load"]
    exports_have_the_figures_of(row, stored)

    latest, before_it = stored / "results" / "latest", next((stored / "storage").rglob("0001_*.json"))
    same = compare(latest, latest / "results.json")
    assert same.returncode == 0, same.stdout
    assert re.search(r"^fp32 .* PASS *$", same.stdout, re.MULTILINE)
    gone = compare(before_it, latest)
    assert "ORPHAN harmed: no variant of this run owns it" in Flat(gone.stdout)
    assert re.search(r"s/audio: fp32 [+-]\d", gone.stdout)
    assert gone.returncode == 1
    assert compare(latest, saved[0]).returncode == 0


def exports_have_the_figures_of(row: dict[str, Any], folder: Path) -> None:
    latest = folder / "results" / "latest"
    ((name, metrics),) = json.loads((latest / "bencher.json").read_text()).items()
    assert name == "whisper-base/small/cpu/fp32"
    assert metrics["latency"]["value"] == pytest.approx(row["seconds"] * 1e9)
    assert metrics["wer"]["value"] == row["wer"]
    assert set(metrics) == {"wer", "cer", "latency", "peak-memory", "size"}  # no speedup: it is the reference
    tests = ElementTree.parse(folder / "junit.xml").getroot().iter("testcase")
    properties = {
        case.attrib["name"]: {each.attrib["name"]: each.attrib["value"] for each in case.iter("property")}
        for case in tests
    }
    assert float(properties["test_accuracy[fp32-cpu]"]["wer"]) == row["wer"]
    assert properties["test_effect[fp32-cpu]"]["verdict"].startswith("PASS: ")
    page = (latest / "report.html").read_text("utf-8")
    assert all(clip["text"] in page for clip in row["clips"])
    assert page.count('"audio":"../../small/') == len(row["clips"])


def compare(then: Path, now: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lxbench.compare", str(then), str(now)]
    return subprocess.run(command, cwd=ROOT, env=bench_environ(), capture_output=True, text=True, check=False)


def test_calibration_stores_what_equal_runs_differ_by(stored: Path) -> None:
    path = baseline_of(stored, "harmed")
    before = baselines.read(path)
    options = [option for option in bench_command(stored) if option.startswith(("--lx-", "--benchmark-"))]
    command = [sys.executable, "-m", "lxbench.calibrate", "--runs", "3", *options]
    done = subprocess.run(
        [*command, "--lx-corpus", str(stored / "small"), "--lx-variants", str(ROWS), "-k", "harmed", "--lx-clips", "3"],
        cwd=ROOT, env=bench_environ(), capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert f"spread stored: {path}" in Flat(done.stdout), done.stdout + done.stderr
    assert "baselines changed: review them" in Flat(done.stdout)
    assert done.returncode == 1
    after = baselines.read(path)
    assert before is not None
    assert after is not None
    assert after.speeds[0].spread is not None
    assert (before.speeds[0].spread, after.speeds[0].spread.runs) == (None, 3)
    assert replace(after, speeds=before.speeds) == before
    (kept,) = (stored / "results").glob("*-calibration/calibration.json")
    (found,) = json.loads(kept.read_text("utf-8"))["variants"]
    assert (found["variant"], found["runs"], found["texts_moved"]) == ("harmed", 3, 0)
    assert found["seconds"] == after.speeds[0].spread.seconds > 0


@pytest.mark.parametrize(
    ("arguments", "environ", "message"),
    [
        (["--runs", "2"], {}, "--runs 2 shows no spread"),
        (["--runs", "3"], {"CI": "true"}, "is refused where CI=true"),
        (["--lx-update=new"], {}, "--lx-update in runs that are held against each other"),
        (["--runs", "3", "-k", "nosuch"], {}, "a run ended with exit code 4"),
        (["--runs", "3", "-k", "[fp32-cpu]", "--lx-clips", "1", "--benchmark-disable"], {}, "none of 0 timed rows has"),
    ],
)
def test_a_calibration_that_cannot_be(
    tmp_path: Path, arguments: list[str], environ: dict[str, str], message: str
) -> None:
    command = [sys.executable, "-m", "lxbench.calibrate", "--lx-results", str(tmp_path / "results"), *arguments]
    environ = bench_environ(**environ)
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    refused(done, message)


def test_an_interrupted_calibration_stores_nothing(stored: Path) -> None:
    before = baseline_of(stored, "harmed").read_bytes()
    process = subprocess.Popen(
        [sys.executable, "-m", "lxbench.calibrate", *bench_command(stored)[4:], "--runs", "3",
         "--lx-corpus", str(stored / "small"), "--lx-variants", str(ROWS), "-k", "harmed"],
        cwd=ROOT, env=bench_environ(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if "clip " in line:
            break
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2, output
    assert "interrupted, nothing is stored: 0 whole runs are in " in output
    assert "Traceback" not in output
    (folder,) = (stored / "results").glob("*-calibration")
    cut_off = json.loads((folder / "latest" / "results.json").read_text("utf-8"))
    assert cut_off["interrupted"] is True, "it was given the time to leave what it had measured"
    assert baseline_of(stored, "harmed").read_bytes() == before


def test_a_deleted_baseline(bench: Bench, stored: Path) -> None:
    baseline_of(stored, "fp32").unlink()
    done = bench("--lx-corpus", stored / "small", "-k", "fp32", "--lx-clips", "1", "--benchmark-disable")
    assert "NEW fp32-cpu accuracy: no baseline is stored for this variant" in Flat(done.stdout)
    assert "next: nox -s baselines -- --lx-update new -k '[fp32-cpu]'" in done.stdout
    assert done.returncode == 1


def test_a_row_that_is_marked_as_one_that_fails_does_not_fail_the_run(bench: Bench, stored: Path) -> None:
    """As docs/ci.md has it; another row that is red does."""
    (known,) = re.findall(r"<!-- expected -->\n```python\n(.*?)```", (ROOT / "docs" / "ci.md").read_text(), re.DOTALL)
    assert "bf16" in known
    (stored / "known.py").write_text(known.replace("bf16", "harmed"))
    environ = {"PYTHONPATH": f"{stored}{os.pathsep}{ROOT}", "LXBENCH_TEST_HARM": "accuracy"}
    rows = ("--lx-corpus", stored / "small", "--lx-variants", ROWS, "--benchmark-disable", "-k", "[harmed-cpu]")
    done = bench(*rows, "-p", "known", **environ)
    assert done.returncode == 0, done.stdout
    assert said(stored) == {"harmed": "REGRESSED"}
    assert "REGRESSED, expected" in done.stdout
    assert "harmed is red and does not fail the run, for it is marked xfail: waits for the next torch" in Flat(
        done.stdout
    )
    assert "next: " not in done.stdout
    baseline_of(stored, "fp32").unlink()
    done = bench(*rows[:-1], "[harmed-cpu] or [fp32-cpu]", "--lx-clips", "1", "-p", "known", **environ)
    rows_of = {row["variant"]: (row["verdict"], row["excused"]) for row in results(stored)["rows"]}
    assert rows_of == {"fp32": ("NEW", None), "harmed": ("REGRESSED", "waits for the next torch")}
    assert "-k '[fp32-cpu]'" in results(stored)["next"]
    assert done.returncode == 1
    baseline_of(stored, "harmed").unlink()
    done = bench(*rows, "--lx-clips", "1", "-p", "known", **environ)
    assert said(stored) == {"harmed": "NEW"}
    assert "NEW, expected" not in done.stdout
    assert done.returncode == 1, "a baseline that is not there is not what was expected"


def test_a_run_that_stops_at_the_first_red_row_records_nothing(bench: Bench, stored: Path) -> None:
    rows = ["--lx-corpus", stored / "small", "--lx-clips", "3", "-k", "[fp32-cpu] or [bf16-cpu]"]
    done = bench(*rows, "-x", "--lx-update", "new")
    assert done.returncode == 1
    assert "stopping after 1 failures" in done.stdout
    assert results(stored)["interrupted"] is True
    assert not baseline_of(stored, "bf16").exists()
    assert list((stored / "results" / "latest" / "proposed").rglob("bf16.json")), "what was measured by then"


def test_an_edited_transcript(bench: Bench, stored: Path) -> None:
    path = baseline_of(stored, "fp32")
    text = path.read_text("utf-8")
    word = json.loads(text)["clips"][0]["text"].split()[0]
    path.write_text(text.replace(word, "слово", 1), "utf-8")
    done = bench("--lx-corpus", stored / "small", "-k", "fp32", "--lx-clips", "1", "--benchmark-disable")
    assert "STALE fp32-cpu accuracy: baseline" in Flat(done.stdout)
    assert "was edited by hand" in Flat(done.stdout)
    assert said(stored) == {"fp32": "STALE"}
    assert done.returncode == 1


def test_changed_audio(bench: Bench, stored: Path) -> None:
    first, second = sorted((stored / "small").glob("*.flac"))[:2]
    shutil.copy(first, second)
    # In a terminal that knows no other letters than ours.
    asked = ("--lx-corpus", stored / "small", "-k", "fp32", "--lx-clips", "2", "--benchmark-disable")
    done = bench(*asked, PYTHONIOENCODING="ascii")
    assert re.search(r"^fp32 .* STALE *$", done.stdout, re.MULTILINE), "a table of lines"
    assert f"audio or reference text changed since the baseline: {second.stem}" in Flat(done.stdout)
    assert said(stored) == {"fp32": "STALE"}
    assert done.returncode == 1


def test_a_renamed_variant_is_an_orphan_and_is_pruned(bench: Bench, stored: Path) -> None:
    """The rows file is not given, so that the ladder no longer knows 'harmed'."""
    options = ["--lx-corpus", stored / "small", "-k", "test_no_orphans"]
    done = bench(*options)
    assert "no variant of this run owns it: was one renamed or removed, or is it of --lx-variants?" in Flat(done.stdout)
    assert f"ORPHAN {baseline_of(stored, 'harmed')}: no variant" in Flat(done.stdout)
    assert "next: nox -s baselines -- --lx-update prune -k test_no_orphans" in done.stdout
    assert done.returncode == 1
    done = bench(*options, "--lx-update", "prune")
    assert f"baseline deleted: {baseline_of(stored, 'harmed')}, kept in " in Flat(done.stdout)
    assert [file.name for file in (stored / "results" / "latest" / "pruned").rglob("*.json")] == ["harmed.json"]
    assert done.returncode == 1
    assert not baseline_of(stored, "harmed").exists()
    assert baseline_of(stored, "fp32").exists()
    assert bench(*options).returncode == 0


Ran = tuple[Path, subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def untimed(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A run of rows that crash, warn, or are not what they are declared to be, and of two that are sound."""
    folder = copied(recorded, tmp_path_factory.mktemp("untimed"))
    rows = "[fp32-cpu] or dies or leaves or fails or hangs or nothing or pretends or harm or ruined or warns"
    return folder, run_bench(
        folder, "--lx-corpus", folder / "small", "--lx-variants", ROWS, "--benchmark-disable",
        "-k", rows, f"--junitxml={folder / 'junit.xml'}",
    )  # fmt: skip


def test_variants_that_crash_do_not_stop_the_others(untimed: Ran) -> None:
    folder, done = untimed
    assert said(folder) == {
        "fp32": "PASS",
        "dies": "CRASHED",
        "leaves": "CRASHED",
        "fails": "CRASHED",
        "hangs": "CRASHED",
        "hangs-later": "CRASHED",
        "nothing": "CRASHED",
        "pretends": "CRASHED",
        "warns": "NEW",
        "ruined": "NEW",
        "harmless": "NEW",
        "harmed": "PASS",
    }
    why = {row["variant"]: row["crash"] or row["verdicts"]["effect"]["text"] for row in results(folder)["rows"]}
    assert "the worker killed by SIGKILL, as the kernel does when memory runs out while building" in why["dies"]
    assert "the worker exited with code 3 while building" in why["leaves"]
    assert "the last words of a worker" in why["leaves"]
    assert "raised while building: RuntimeError: this step always fails" in why["fails"]
    assert "no answer within 8 s while building" in why["hangs"]
    assert "no answer within 5 s while transcribing" in why["hangs-later"]
    assert "step change_nothing changed nothing" in why["nothing"]
    assert "it never ran 'addmm int8'; while transcribing it ran addmm float32" in why["pretends"]
    cases = ElementTree.parse(folder / "junit.xml").getroot().iter("testcase")
    failed = {case.attrib["name"].partition("[")[2] for case in cases if case.find("failure") is not None}
    assert failed >= {f"{name}-cpu]" for name, word in said(folder).items() if word == "CRASHED"}
    assert done.returncode == 1


@pytest.fixture(scope="module")
def timed(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A timed run of a row that compiles at every clip, of one that ends fp32 beside it, and of one after."""
    folder = copied(recorded, tmp_path_factory.mktemp("timed"))
    rows = ("--lx-corpus", folder / "small", "--lx-variants", ROWS, "--lx-clips", "3")
    done = run_bench(folder, *rows, "-k", "[fp32-cpu] or recompiles or kills or [harmed-cpu]")
    assert "lxbench ====" in done.stdout, done.stdout + done.stderr
    return folder, done


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers are spawned")
def test_fp32_that_dies_beside_a_row_is_there_again_beside_the_next(timed: Ran) -> None:
    folder, done = timed
    rows = {row["variant"]: row for row in results(folder)["rows"]}
    assert rows["kills"]["verdicts"]["speed"]["word"] == "CRASHED"
    assert "the reference crashed beside it: the worker killed by SIGKILL" in rows["kills"]["verdicts"]["speed"]["text"]
    assert rows["kills"]["verdicts"]["accuracy"]["word"] == "NEW"
    assert rows["harmed"]["verdicts"]["speed"]["word"] != "CRASHED"
    assert rows["fp32"]["verdict"] == "PASS", done.stdout


def test_a_graph_that_is_compiled_again_while_clips_are_timed(timed: Ran) -> None:
    folder, _ = timed
    (row,) = (row for row in results(folder)["rows"] if row["variant"] == "recompiles")
    assert row["compilations"] == 3
    assert row["verdicts"]["speed"]["word"] == "CRASHED"
    assert "3 more graphs were compiled or recorded while clips were timed" in row["verdicts"]["speed"]["text"]


def test_a_row_that_dies_when_it_is_timed_again_fails_once_and_is_not_recorded(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "short.py").write_text("from lxbench.run import pairing\npairing.PAIRED_CLIPS = 3  # of a block\n")
    done = bench(
        "--lx-variants", ROWS, "--lx-clips", "3", "--lx-update", "new", "-k", "expires", "-p", "short",
        f"--junitxml={tmp_path / 'junit.xml'}", LXBENCH_TEST_MARK=str(tmp_path / "mark"),
        PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}",
    )  # fmt: skip
    assert done.returncode == 1
    (row,) = results(tmp_path)["rows"]
    assert row["verdicts"]["speed"]["word"] == "CRASHED"
    cases = ElementTree.parse(tmp_path / "junit.xml").getroot().iter("testcase")
    (second,) = [case for case in cases if case.attrib["name"].startswith("test_speed")]
    failure = second.find("failure")
    assert failure is not None
    assert "killed by SIGKILL" in failure.attrib["message"]
    assert not (tmp_path / "baselines").exists() or not any((tmp_path / "baselines").rglob("*.json"))


def test_what_was_measured_is_shown_and_red_where_the_disk_is_full(bench: Bench, stored: Path) -> None:
    (stored / "full.py").write_text(
        "from lxbench import baselines, files\n"
        "def write(path, content):\n"
        "    raise OSError(28, 'No space left on device', str(path))\n"
        "files.write = write\n"
        "from pytest_benchmark.storage.file import FileStorage\n"
        "def save(self, saved, name):\n"
        "    raise OSError(28, 'No space left on device', str(self.path))\n"
        "FileStorage.save = save\n"
    )
    done = bench(
        "--lx-corpus", stored / "small", "-k", "fp32", "--lx-clips", "2", "-p", "full",
        f"--junitxml={stored / 'j.xml'}",
        PYTHONPATH=f"{stored}{os.pathsep}{ROOT}",
    )  # fmt: skip
    assert "not everything could be written: [Errno 28] No space left on device" in Flat(done.stdout)
    assert "not everything could be written: timings for later runs: [Errno 28]" in Flat(done.stdout)
    assert re.search(r"fp32 +0\.\d", done.stdout), "the table"
    assert (stored / "j.xml").is_file()
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == 1


def test_a_deliberate_accuracy_regression(bench: Bench, stored: Path) -> None:
    done = bench(
        "--lx-corpus", stored / "small", "--lx-variants", ROWS, "--benchmark-disable", "-k", "harmed",
        LXBENCH_TEST_HARM="accuracy",
    )  # fmt: skip
    assert "REGRESSED harmed-cpu accuracy: WER" in Flat(done.stdout)
    assert "worst clips of harmed-cpu:" in Flat(done.stdout)
    assert "REF: " in Flat(done.stdout)
    assert "HYP: " in Flat(done.stdout)
    assert "next: nox -s baselines -- --lx-update changed -k '[harmed-cpu]'" in done.stdout
    assert done.returncode == 1


def test_a_deliberate_slowdown_of_30_percent(bench: Bench, stored: Path, request: pytest.FixtureRequest) -> None:
    """On a machine that cannot tell it for sure, and says so, one that it has to tell."""
    before = baseline_of(stored, "harmed").read_bytes()
    arguments = ("--lx-corpus", stored / "small", "--lx-variants", ROWS, "-k", "[harmed-cpu]", "-p", "tests.blocks")
    done = bench(*arguments, LXBENCH_TEST_HARM="speed")
    (row,) = results(stored)["rows"]
    if row["verdicts"]["speed"]["word"] == "INCONCLUSIVE" and disturbed([results(stored)], clips_apart=0.2):
        request.node.user_properties.append(("disturbed", row["verdicts"]["speed"]["text"]))
        done = bench(*arguments, LXBENCH_TEST_HARM="stall")
        (row,) = results(stored)["rows"]
    assert row["verdicts"]["speed"]["word"] == "REGRESSED", done.stdout
    assert row["processes"] == min(len(clip["pairs"]) for clip in row["clips"]) >= 2, "red by a single look"
    assert row["verdicts"]["accuracy"]["word"] == "PASS"
    assert "REGRESSED harmed-cpu speed: " in Flat(done.stdout)
    assert done.returncode == 1
    assert baseline_of(stored, "harmed").read_bytes() == before


def test_what_is_declared_unusable_must_be_caught(untimed: Ran) -> None:
    folder, done = untimed
    rows = {row["variant"]: row for row in results(folder)["rows"]}
    ruined, harmless = rows["ruined"], rows["harmless"]
    assert ruined["usable"] is False
    assert ruined["verdicts"]["usable"]["word"] == "PASS"
    assert len(ruined["clips"]) == 2
    assert harmless["verdicts"]["usable"]["word"] == "REGRESSED"
    assert "REGRESSED harmless-cpu usable: declared unusable and not caught: WER" in Flat(done.stdout)
    assert "ruined was run on the first 2 of 6 clips alone" in Flat(done.stdout)
    assert done.returncode == 1


def test_real_warnings_are_told_and_noise_is_not(untimed: Ran) -> None:
    folder, done = untimed
    assert "note: warning in warns: UserWarning: the scales of this model look odd" in Flat(done.stdout)
    assert "note: warning in warns: these weights were not quantized" in Flat(done.stdout)
    assert "_C_cutlass" not in done.stdout + done.stderr
    assert "_C_cutlass_90a.abi3.so" in (folder / "results" / "latest" / "logs" / "warns-cpu.log").read_text()


# --- beside the verdicts -----------------------------------------------------------------------------------


def test_a_profile_names_the_operators_of_encoder_and_decoder(bench: Bench, stored: Path) -> None:
    done = bench(
        "--lx-corpus", stored / "small", "--benchmark-disable", "-k", "fp32", "--lx-clips", "1", "--lx-profile"
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    (row,) = results(stored)["rows"]
    assert row["profile"].keys() == {"encoder", "decoder"}
    assert row["profile"]["encoder"]["operators"][0]["name"] == "aten::addmm"
    spent: Counter[str] = Counter()
    for part in row["profile"].values():
        assert 0.8 < sum(operator["share"] for operator in part["operators"]) <= 1.0001
        spent.update({operator["name"]: operator["milliseconds"] for operator in part["operators"]})
        trace = json.loads(gzip.decompress((stored / "results" / "latest" / part["trace"]).read_bytes()))
        assert any(event.get("name") == "aten::addmm" for event in trace["traceEvents"])
    assert spent.most_common(1)[0][0] == "aten::addmm"
    assert "fp32 encoder aten::addmm" in " ".join(done.stdout.split())


def test_batches_are_measured_and_have_a_column(bench: Bench, small_corpus: Path, tmp_path: Path) -> None:
    done = bench("--lx-corpus", small_corpus, "--benchmark-disable", "-k", "[merge-padding-cpu]", "--lx-batch", "2")
    (row,) = results(tmp_path)["rows"]
    found = row["throughput"]
    assert (found["batch"], found["clips"]) == (2, 2)  # The third clip is no whole batch.
    assert found["clips_per_s"] == pytest.approx(2 / found["seconds"])
    assert row["verdicts"]["throughput"]["word"] == "PASS"
    assert f"{found['clips_per_s']:.2f} ({found['real_time_factor']:.1f})" in " ".join(done.stdout.split())


def test_the_study_writes_its_five_tables(bench: Bench, stored: Path) -> None:
    done = bench(
        "--lx-corpus", stored / "small", "--benchmark-disable", "--lx-study", "--lx-clips", "2",
        "-k", "[fp32-cpu] or [prune-magnitude-95-cpu]",
    )  # fmt: skip
    text = (stored / "results" / "latest" / "study.md").read_text("utf-8")
    assert text.count("| Configuration | WER | CER | Avg Time per Audio | Study: large-v3 on Golos |") == 5
    rows = {row["variant"]: row for row in results(stored)["rows"]}
    assert f"| magnitude, rate 0.95 | {rows['prune-magnitude-95']['wer']:.4f} |" in text
    assert "Dynamic configs" in done.stdout
    assert done.returncode == 1  # nothing is stored for the second row
    assert "nox -s baselines -- --lx-update new -k '[prune-magnitude-95-cpu]' --lx-study" in done.stdout


def test_rows_of_the_same_steps_are_measured_once_and_judged_each(bench: Bench, stored: Path) -> None:
    done = bench(
        "--lx-corpus", stored / "small", "--lx-clips", "1", "--benchmark-save", "twins", "--lx-profile",
        "-k", "[p-cpu] or [prune-magnitude-cpu]",
    )  # fmt: skip
    rows = {row["variant"]: row for row in results(stored)["rows"]}
    assert rows["p"]["measured_as"] == "prune-magnitude-cpu"
    assert rows["prune-magnitude"]["measured_as"] is None
    assert rows["p"]["clips"] == rows["prune-magnitude"]["clips"]
    assert rows["p"]["profile"]
    assert [row["verdict"] for row in rows.values()] == ["NEW", "NEW"]
    assert "p has the steps of prune-magnitude-cpu and shares its measurement" in Flat(done.stdout)
    assert not (stored / "results" / "latest" / "logs" / "p-cpu.log").exists()
    (saved,) = (stored / "storage").rglob("*twins.json")
    assert [bench["params"]["row"] for bench in json.loads(saved.read_text("utf-8"))["benchmarks"]] == [
        "prune-magnitude-cpu"
    ]


def test_rows_of_the_study_alone_are_not_in_the_ladder(bench: Bench) -> None:
    refused(bench("-k", "prune-magnitude-95"), "-k 'prune-magnitude-95' matches no variant")


def test_the_architecture_is_described_and_nothing_else_happens(bench: Bench, tmp_path: Path) -> None:
    done = bench("--lx-describe")
    assert done.returncode == 0
    assert "(0-5): 6 x WhisperDecoderLayer" in done.stdout
    assert done.stderr == ""
    assert not (tmp_path / "results").exists()
    refused(bench("--lx-describe", "--lx-model", "/no/such/model"), "model /no/such/model: no /no/such/model")


def test_an_update_over_fewer_clips_is_refused(bench: Bench, stored: Path) -> None:
    done = bench("--lx-corpus", stored / "small", "-k", "fp32", "--lx-clips", "2", "--lx-update", "changed")
    assert "--lx-update changed would record fp32 over 2 clips, its baseline has 6" in done.stderr
    assert done.returncode == 4


@pytest.mark.parametrize(
    ("kind", "in_a_clip"), [(signal.SIGINT, False), (signal.SIGTERM, False), (signal.SIGINT, True)]
)
def test_an_interrupted_run_leaves_everything_whole(stored: Path, kind: signal.Signals, in_a_clip: bool) -> None:
    """Ctrl-C reaches the whole group; what cancels a job, or ``timeout``, may end the main process alone."""
    before = {path: path.read_bytes() for path in (stored / "baselines").rglob("*.json")}
    process = subprocess.Popen(
        bench_command(
            stored, "--lx-corpus", stored / "small", "--lx-variants", ROWS, "--lx-update", "new,changed",
            "--lx-clips", "3", "-k", "[bf16-cpu] or [hangs-later-cpu]",
        ),
        cwd=ROOT, env=bench_environ(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        # Shells start what runs in the background with SIGINT ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if "hangs-later-cpu: warming up" in line:  # After that comes a clip, of which it is never done.
            break
    (log,) = (stored / "results").glob("*/logs/hangs-later-cpu.log")
    deadline = time.monotonic() + 60
    while in_a_clip and "hanging" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not in_a_clip or "hanging" in log.read_text()
    workers = children(process.pid)
    (os.killpg if kind is signal.SIGINT else os.kill)(process.pid, kind)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2, output
    assert results(stored)["interrupted"] is True
    assert {path: path.read_bytes() for path in (stored / "baselines").rglob("*") if path.is_file()} == before
    proposed = stored / "results" / "latest" / "proposed" / "whisper-base" / "small" / "cpu"
    assert [file.name for file in proposed.iterdir()] == ["bf16.json"], "what was measured by then"
    assert baselines.read(proposed / "bf16.json") is not None
    (saved,) = (stored / "storage").rglob("0002_*.json")
    assert [timed["param"] for timed in json.loads(saved.read_text())["benchmarks"]] == ["bf16-cpu"]
    assert "lxbench ====" in output, "the table of what was measured"
    assert workers
    deadline = time.monotonic() + 10
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(alive, workers))
    assert kept.intact(embedded.restore())


def children(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
