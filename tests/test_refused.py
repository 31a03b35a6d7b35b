"""The suite as a user runs it: wrong usage ends with exit code 4, before anything is built."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from lxbench import card, plugin
from lxbench.checkpoints import embedded
from lxbench.errors import ModelError
from tests.suite import ROOT, Bench, Flat, bench_environ, copy_clips, refused, results, said

NOWHERE = os.path.expanduser("~/no-such-model")  # noqa: PTH111 - pathlib's fails where there is no home


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-k", "nosuch"], "-k 'nosuch' matches no variant"),
        (["--lx-device", "tpu"], "--lx-device 'tpu' is not a device lxbench knows"),
        (["--lx-clips", "few"], "--lx-clips 'few' is not a number of clips"),
        (["--lx-update", "all"], "--lx-update does not know 'all'"),
        (["--lx-update", "new", "--benchmark-disable"], "would store baselines without their speed"),
        (["--lx-update", "new", "--benchmark-skip"], "would store baselines without their speed"),
        (["--benchmark-only", "--lx-batch", "8"], "--benchmark-only leaves out what --lx-batch would measure"),
        (["--lx-corpus", "/no/such/corpus"], "corpus /no/such/corpus is not there: no /no/such/corpus"),
        (["--lx-model", "/no/such/model"], "model /no/such/model: no /no/such/model/config.json"),
        (["--lx-language", "klingon"], "--lx-language 'klingon' is not a language of model embedded"),
        (
            ["--lx-update", "new", "--lx-baselines", "/dev/null/b"],
            "the baselines folder /dev/null/b cannot be written: Not a directory",
        ),
        (["--lx-results", "/dev/null/results"], "the results folder /dev/null/results cannot be written"),
        (["--lx-variants", "/no/such/rows.py"], "--lx-variants /no/such/rows.py: FileNotFoundError"),
        (["--lx-variants", "tests"], "--lx-variants tests: AttributeError: module 'tests' has no attribute 'VARIANTS'"),
        (["--lx-columns", "sound=x"], "--lx-columns 'sound=x' does not say which column is what"),
        (["--lx-normalizer", "german"], "--lx-normalizer 'german' is not a normaliser"),
        (["--benchmark-cprofile", "tottime"], "--benchmark-cprofile would show lxbench waiting"),
        (["--benchmark-storage", "/dev/null/saved"], "timings cannot be saved in /dev/null/saved: Not a directory"),
        (["--benchmark-json", "/dev/null/x/y.json"], "timings cannot be saved in /dev/null/x: Not a directory"),
        (["--benchmark-compare", "--lx-corpus", "/no/such/corpus"], "corpus /no/such/corpus is not there"),
        (["--deselect", "bench"], "no variant is left by what was asked for"),
        (["--lx-model", "x" * 300], "File name too long"),
        (["--lx-corpus", "x" * 300], "File name too long"),
        (["--lx-variants", "x" * 300], f"--lx-variants {'x' * 300}: "),
        (["--lx-model=~/no-such-model"], f"model {NOWHERE}: no {NOWHERE}/config.json"),
        (["--lx-revision", "v2"], "--lx-revision 'v2' with model embedded, which is not a hub id"),
    ],
)
def test_wrong_usage(bench: Bench, arguments: list[str], message: str) -> None:
    refused(bench(*arguments), message)


_PEEK = """
import json, os, pathlib
import pytest

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items):
    yield
    items.reverse()  # as --ff and --nf do it, behind everybody's back

def pytest_runtestloop(session):
    from lxbench import plugin
    run = session.config.stash[plugin.RUN]
    seen = [[item.name for item in session.items], sorted(run.judged_again), run.comparisons]
    pathlib.Path(os.environ["LXBENCH_TEST_MARK"]).write_text(json.dumps(seen))
    return True
"""


@pytest.mark.parametrize(
    ("options", "again"), [([], "bf16-cpu fp32-cpu plain-cpu"), (["--benchmark-only"], ""), (["-m", "benchmark"], "")]
)
def test_rows_are_measured_in_their_order_and_it_is_known_whether_a_second_look_will_come(
    bench: Bench, small_corpus: Path, tmp_path: Path, options: list[str], again: str
) -> None:
    (tmp_path / "peek.py").write_text(_PEEK)
    rows = ["--lx-corpus", small_corpus, "-k", "[fp32-cpu] or [bf16-cpu] or [plain-cpu]"]
    environ = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "LXBENCH_TEST_MARK": str(tmp_path / "seen")}
    done = bench(*rows, "-p", "peek", *options, **environ)
    assert done.returncode == 4, "nothing was measured"
    order, judged_again, comparisons = json.loads((tmp_path / "seen").read_text())
    assert comparisons == 2, "fp32 is held against nothing"
    assert judged_again == again.split()
    timed = [name for name in order if name.startswith("test_latency")]
    assert timed == ["test_latency[bf16-cpu]", "test_latency[plain-cpu]", "test_latency[fp32-cpu]"]
    if not options:
        assert order.index("test_effect[bf16-cpu]") < order.index(timed[0]) < order.index("test_accuracy[bf16-cpu]")
        assert order.index("test_speed[bf16-cpu]") > order.index(timed[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is imported beforehand")
def test_a_refused_run_leaves_nothing_that_goes_on(bench: Bench, tmp_path: Path) -> None:
    done = bench("--lx-corpus", "/no/such/corpus", LXBENCH_TEST_MARK=str(tmp_path))
    assert done.returncode == 4
    left = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # It has just ended, or is another's.
            if str(tmp_path).encode() in (process / "environ").read_bytes():
                left.append((process / "cmdline").read_text().replace("\0", " "))
    assert not [command for command in left if "forkserver" in command], "it would import torch for seconds"


@pytest.mark.skipif(Path("/proc/driver/nvidia").exists(), reason="this machine has a GPU")
def test_cuda_without_cuda(bench: Bench) -> None:
    refused(bench("--lx-device", "cuda"), "--lx-device cuda: no CUDA device is usable on this machine")


def test_rows_that_hear_less_than_the_longest_clip_stay_out(bench: Bench, tmp_path: Path) -> None:
    folder = copy_clips(tmp_path / "long", 3)
    clip = sorted(folder.glob("*.flac"))[0]
    audio, rate = soundfile.read(clip)
    soundfile.write(clip, np.resize(audio, 21 * rate), rate)
    done = bench("--lx-corpus", folder, "-k", "[prune-structured-cpu]")
    refused(done, "nothing is left to run: prune-structured-cpu hears 20 s, the longest clip has 21.0 s")
    done = bench("--lx-corpus", folder, "--benchmark-disable", "-k", "[fp32-cpu] or [prune-structured-cpu]")
    assert results(tmp_path)["absent"] == [
        {"variant": "prune-structured", "why": "hears 20 s, the longest clip has 21.0 s"}
    ]
    assert said(tmp_path) == {"fp32": "NEW"}


@pytest.mark.parametrize(
    ("named", "exit_code"),
    [
        ("bench", 4),
        ("bench/test_latency.py::test_latency", 4),
        (".", 4),
        ("../" + ROOT.name, 4),
        ("tests/test_kept.py", 0),
    ],
)
@pytest.mark.parametrize("asked", [["--numprocesses", "2"], ["--numprocesses", "0", "--dist", "loadfile"]])
def test_processes_beside_each_other(tmp_path: Path, named: str, exit_code: int, asked: list[str]) -> None:
    """As by pytest-xdist, of which nothing but its option is needed here."""
    (tmp_path / "beside.py").write_text(
        "def pytest_addoption(parser):\n    parser.addoption('--numprocesses', type=int)\n"
        "    parser.addoption('--dist', default='no')\n"
    )
    command = [sys.executable, "-m", "pytest", named, "-p", "beside", *asked, "--collect-only", "-q"]
    environ = bench_environ(PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == exit_code, done.stdout + done.stderr
    if exit_code:
        refused(done, "variants cannot be timed beside each other: pytest-xdist is on")


def test_an_update_is_refused_where_ci_is_true(bench: Bench, tmp_path: Path) -> None:
    done = bench("--lx-update", "new", CI="true")
    assert "--lx-update new is refused where CI=true" in done.stderr
    assert done.returncode == 4
    assert not (tmp_path / "baselines").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("corrupt", "unreadable audio"),
        ("", "empty reference text"),
        ("…", "nothing is left of its text after normalisation: '…'"),
    ],
)
def test_a_bad_clip(bench: Bench, small_corpus: Path, damage: str, message: str) -> None:
    if damage == "corrupt":
        next(small_corpus.glob("*.flac")).write_bytes(b"fLaC and then nothing")
    else:
        listing = small_corpus / "metadata.jsonl"
        listing.write_text(
            re.sub('"transcription": "[^"]*"', f'"transcription": "{damage}"', listing.read_text("utf-8"), count=1),
            "utf-8",
        )
    done = bench("--lx-corpus", small_corpus)
    assert "1 of 3 clips of corpus" in done.stderr
    assert message in done.stderr
    assert done.returncode == 4


def test_bad_clips_are_left_out_and_said(bench: Bench, small_corpus: Path, tmp_path: Path) -> None:
    first, *_ = sorted(small_corpus.glob("*.flac"))
    first.write_bytes(b"fLaC and then nothing")
    asked = ("--lx-corpus", small_corpus, "--lx-normalizer", "none", "-k", "[fp32-cpu]", "--benchmark-disable")
    done = bench(*asked, "--lx-skip-bad")
    assert done.returncode == 1, done.stdout + done.stderr  # There is no baseline.
    assert "1 of 3 clips are bad and left out: metadata.jsonl:" in Flat(done.stdout)
    found = results(tmp_path)
    assert (len(found["corpus"]["clips"]), found["normalizer"]) == (2, "none/1")
    assert "--lx-normalizer none" in Flat(done.stdout)
    assert found["next"].endswith("--lx-skip-bad")


def test_what_is_wrong_with_a_model_that_is_to_be_described_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def describe(folder: Path) -> None:
        raise ModelError(f"model {folder} lacks 3 of its tensors", expected="weights", command="ls")

    monkeypatch.setattr(card, "describe", describe)
    said = {"--lx-describe": True, "--lx-model": "embedded", "--lx-revision": ""}
    config: Any = SimpleNamespace(getoption=said.get)
    with pytest.raises(pytest.UsageError, match="lacks 3 of its tensors"):
        plugin.pytest_cmdline_main(config)


def test_where_pytest_cannot_keep_its_cache_errors_are_told_as_ever(tmp_path: Path) -> None:
    """As in a checkout that cannot be written, or on a full disk."""
    asked = ["--lx-device=cpu", "--lx-model", "/no/such/model", "--lx-results", str(tmp_path)]
    command = [sys.executable, "-m", "pytest", "bench", *asked, "-o", "cache_dir=/dev/null/cache"]
    done = subprocess.run(command, cwd=ROOT, env=bench_environ(), capture_output=True, text=True, check=False)
    refused(done, "model /no/such/model: no /no/such/model/config.json")


def test_a_hub_id_that_cannot_be_had(bench: Bench) -> None:
    done = bench("--lx-model", "nobody/no-such-whisper", HF_HUB_OFFLINE="1")
    refused(done, "model nobody/no-such-whisper could not be had from the hub")


def test_truncated_weights(bench: Bench, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(embedded.restore(), tmp_path / "model"))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1_000_000])
    done = bench("--lx-model", folder)
    assert f"weights file {weights} is damaged (1000000 bytes)" in done.stderr
    assert done.returncode == 4


def test_a_cache_that_cannot_be_written(bench: Bench) -> None:
    done = bench("-k", "fp32", XDG_CACHE_HOME="/dev/null")
    refused(done, "could not be made: [Errno 20] Not a directory")
    assert "next: XDG_CACHE_HOME=/tmp/cache nox -s bench-cpu" in done.stderr


def test_a_run_that_measures_nothing_is_not_green(bench: Bench) -> None:
    done = bench("--benchmark-disable", "-k", "test_latency and fp32")
    assert "nothing was measured or judged" in Flat(done.stdout)
    assert done.returncode == 4


def test_calibration_clips_are_not_benchmark_clips(bench: Bench, tmp_path: Path) -> None:
    done = bench("--lx-calibration", "ivr-ru", "--lx-clips", "2")
    refused(done, "2 clips of the calibration corpus ivr-ru are in the benchmark corpus ivr-ru too: ")
    assert list((tmp_path / "results").iterdir()) == []
