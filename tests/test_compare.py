from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from lxbench import compare
from lxbench.corpus import Corpus
from lxbench.errors import UsageError
from lxbench.run import results
from lxbench.verdict import Tolerance
from tests.made import make_row, make_run
from tests.suite import ROOT

MACHINE = {"cpu": "x", "isa": ["avx2"], "threads": 2}
CLIPS = 12


def clip(number: int, seconds: float, wrong: int) -> dict[str, Any]:
    return {
        "id": f"c{number}",
        "fingerprint": f"f{number}",
        "text": "раз два три" if number >= wrong else "раз",
        "tokens": 4,
        "seconds": seconds + number / 1000,
        "pairs": [[1.0 + number / 100, seconds + number / 1000]],
        "words": 3,
        "word_edits": 0 if number >= wrong else 2,
        "characters": 11,
        "character_edits": 0 if number >= wrong else 8,
    }


def row(variant: str, seconds: float, wrong: int = 0, clips: int = CLIPS) -> dict[str, Any]:
    reference = variant == "fp32"
    heard = [clip(number, seconds, wrong) for number in range(clips)]
    return {
        "id": f"{variant}-cpu",
        "variant": variant,
        "device": "cpu",
        "reference": reference,
        "crash": None,
        "complete": True,
        "usable": None,
        "declared_unusable": False,
        "tolerance": asdict(Tolerance()),
        "verdicts": {},
        "baseline": None,
        "wer": 2 * wrong / (3 * clips),
        "cer": 0.0,
        "raw": {"wer": 0.1, "cer": 0.1},
        "seconds": seconds,
        "ratio": None if reference else {"value": 1 / seconds, "low": 0.9 / seconds, "high": 1.1 / seconds},
        "peak_mib": 900.0,
        "size_mib": 138.0,
        "processes": 1,
        "clips": [{**each, "pairs": [] if reference else each["pairs"]} for each in heard],
    }


def run(*rows: dict[str, Any], **values: Any) -> dict[str, Any]:
    return {
        "format": results.FORMAT,
        "language": "ru",
        "normalizer": "russian/1",
        "model": {"name": "m", "fingerprint": "a" * 64},
        "corpus": {"name": "c", "clips": [{"id": f"c{n}", "text": "раз два три"} for n in range(CLIPS)]},
        "machine": MACHINE,
        "rows": list(rows),
        "order": [each["variant"] for each in rows],
        "absent": [],
        "orphans": [],
        "notes": [],
        **values,
    }


def save(path: Path, values: dict[str, Any]) -> Path:
    path.mkdir(parents=True)
    (path / "results.json").write_text(json.dumps(values), "utf-8")
    return path


UNPAIRED = {**row("bf16", 0.5), "clips": [{**each, "pairs": []} for each in row("bf16", 0.5)["clips"]]}
UNTIMED = {**UNPAIRED, "seconds": None, "ratio": None}
IDLE = {"effect": {"word": "CRASHED", "text": "never ran"}, "speed": {"word": "PASS", "text": ""}}
WRECK = {"usable": {"word": "REGRESSED", "text": "not caught"}, "accuracy": {"word": "REGRESSED", "text": "then"}}
OTHER = {"name": "tuned", "fingerprint": "b" * 64}
BEFORE = run(row("fp32", 1.0), row("bf16", 0.5))


@pytest.mark.parametrize(
    ("now", "code", "text"),
    [
        (run(row("fp32", 1.0), row("bf16", 0.5)), 0, "s/audio: fp32 +0.0% [+0.0%, +0.0%], bf16 +0.0%"),
        (run(row("bf16", 0.5), row("fp32", 1.0)), 0, "PASS"),
        (run(row("fp32", 1.0), row("bf16", 0.6)), 1, "bf16-cpu speed: 1.74x fp32, baseline 2.09x on these clips: -16"),
        (run(row("fp32", 1.0), row("bf16", 0.4)), 0, "IMPROVED bf16-cpu speed"),
        (run(row("fp32", 1.0), row("bf16", 0.5, wrong=2)), 1, "REGRESSED bf16-cpu accuracy: WER 0.1111"),
        (run(row("fp32", 1.0), row("bf16", 0.5, wrong=2)), 1, "worst clips of bf16-cpu"),
        (run(row("fp32", 1.0)), 1, "ORPHAN bf16: no variant of this run owns it"),
        (run(row("fp32", 1.0), UNTIMED), 0, "INCONCLUSIVE bf16-cpu speed: the later run did not time this row"),
        (run(*BEFORE["rows"], row("new", 0.3)), 1, "NEW new-cpu accuracy: the earlier run does not have this row"),
        (run(row("fp32", 1.0, clips=8), row("bf16", 0.5, clips=8)), 0, "PASS"),
        (
            run(*BEFORE["rows"], machine={**MACHINE, "isa": []}),
            0,
            "INCONCLUSIVE bf16-cpu speed: the two machines differ in isa",
        ),
        (run(*BEFORE["rows"], machine={**MACHINE, "cpu": "y"}), 0, "not compared: the machines differ in cpu"),
        (run(*BEFORE["rows"], model=OTHER), 1, "STALE fp32-cpu accuracy, bf16-cpu accuracy"),
        (run({**row("bf16", 0.5), "crash": "killed"}, row("fp32", 1.0)), 1, "CRASHED bf16-cpu effect: killed"),
        (run({**row("bf16", 0.5), "complete": False}, row("fp32", 1.0)), 1, "was cut off after 12 of its clips"),
        (run({**row("bf16", 0.5), "verdicts": IDLE}, row("fp32", 1.0)), 1, "CRASHED bf16-cpu effect: never ran"),
        (run({**row("bf16", 0.5), "verdicts": WRECK}, row("fp32", 1.0)), 1, "REGRESSED bf16-cpu usable: not caught"),
        (run(UNPAIRED, row("fp32", 1.0)), 0, "INCONCLUSIVE bf16-cpu speed: too few clips"),
        (run(*BEFORE["rows"], corpus={"clips": []}), 0, "PASS"),
        (run(row("fp32", 1.0), row("bf16", 0.5, wrong=2), corpus={"clips": []}), 1, "REGRESSED bf16-cpu accuracy"),
    ],
)  # fmt: skip
def test_two_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, now: Any, code: int, text: str
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    before, after = save(tmp_path / "then", BEFORE), save(tmp_path / "now", now)
    assert compare.main([str(before), str(after / "results.json")]) == code
    assert text in capsys.readouterr().out


@pytest.mark.parametrize(("apart", "word"), [(0.01, "REGRESSED"), (0.2, "INCONCLUSIVE"), (None, None)])
def test_seconds_are_judged_where_it_is_known_how_far_equal_runs_are_apart(apart: float | None, word: str) -> None:
    spread = None if apart is None else {"ratio": 0.0, "seconds": apart, "runs": 10, "recorded": "2026-11-24"}
    slow, reference = ({**row(name, 0.5), "baseline": {"spread": spread}} for name in ("bf16", "fp32"))
    for each in (slow, reference):
        each["clips"] = [{**clip, "seconds": 1.2 * clip["seconds"]} for clip in each["clips"]]
    judged, fp32 = compare.judge(BEFORE, run(slow, reference))["rows"]
    assert judged["verdicts"]["speed"]["word"] == "PASS"
    assert judged["verdicts"].get("seconds", {}).get("word") == word
    assert "seconds" not in fp32["verdicts"]


def test_rows_are_made_as_results_has_them(tmp_path: Path, clips: Corpus) -> None:
    real = results.row_values(made := make_run(tmp_path, clips), make_row(made))
    assert set(row("bf16", 0.5)) <= set(real)
    assert set(clip(0, 0.5, 0)) <= set(real["clips"][0])


def test_nor_are_they_on_another_machine() -> None:
    spread = {"ratio": 0.0, "seconds": 0.01, "runs": 10, "recorded": "2026-11-24"}
    slow = {**row("bf16", 0.5), "baseline": {"spread": spread}}
    slow["clips"] = [{**clip, "seconds": 1.2 * clip["seconds"]} for clip in slow["clips"]]
    for cpu, word in (("x", "REGRESSED"), ("y", "PASS")):
        judged = compare.judge(BEFORE, run(slow, row("fp32", 1.0), machine={**MACHINE, "cpu": cpu}))["rows"][0]
        assert judged["verdict"] == word


@pytest.mark.parametrize(("apart", "word"), [(0.006, "REGRESSED"), (0.2, "INCONCLUSIVE")])
def test_how_far_equal_runs_of_the_earlier_one_are_apart_counts(apart: float, word: str) -> None:
    spread = {"ratio": apart, "seconds": 0.01, "runs": 10, "recorded": "2026-11-24"}
    then = run(row("fp32", 1.0), {**row("bf16", 0.5), "baseline": {"spread": spread}})
    assert compare.judge(then, run(row("fp32", 1.0), row("bf16", 0.6)))["rows"][1]["verdict"] == word


@pytest.mark.parametrize(("others", "word"), [(0, "REGRESSED"), (200, "INCONCLUSIVE")])
def test_the_more_rows_two_runs_share_the_surer_a_slowdown_has_to_be(others: int, word: str) -> None:
    noisy = row("bf16", 0.6)
    for number, clip in enumerate(noisy["clips"]):
        clip["pairs"] = [(ref, own * (0.86, 1.14)[number % 2]) for ref, own in clip["pairs"]]
    steady = [row(f"x{number}", 0.5) for number in range(others)]
    assert compare.judge(run(row("bf16", 0.5), *steady), run(noisy, *steady))["rows"][0]["verdict"] == word


def test_clips_that_only_the_later_run_has_heard_are_left_out() -> None:
    judged = compare.judge(run(row("fp32", 1.0, clips=8), row("bf16", 0.5, clips=8)), BEFORE)["rows"]
    assert [each["verdict"] for each in judged] == ["PASS", "PASS"]


def test_what_excused_a_row_in_its_run_does_not_excuse_it_here() -> None:
    now = run(row("fp32", 1.0), {**row("bf16", 0.5, wrong=2), "excused": "waits for the next torch"})
    assert compare.judge(BEFORE, now)["rows"][1]["excused"] is None


def test_what_only_the_later_run_has_timed_is_undecided_and_what_the_earlier_lost_is_named() -> None:
    judged = compare.judge(run(row("fp32", 1.0), UNTIMED), BEFORE)["rows"]
    assert judged[1]["verdicts"]["speed"] == {"word": "INCONCLUSIVE", "text": "the earlier run did not time this row"}
    assert (judged[0]["verdict"], list(judged[0]["verdicts"])) == ("PASS", ["accuracy", "speed"])
    untimed = {**row("fp32", 1.0), "seconds": None}
    assert compare.judge(BEFORE, run(untimed, UNTIMED))["rows"][0]["verdict"] == "PASS"
    lost = {**row("bf16", 0.5), "crash": "killed by SIGKILL", "clips": []}
    judged = compare.judge(run(row("fp32", 1.0), lost), BEFORE)["rows"]
    text = "the earlier run says nothing of it: killed by SIGKILL"
    assert judged[1]["verdicts"]["accuracy"] == {"word": "NEW", "text": text}


def test_two_models_are_compared_where_that_is_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    tuned = {"model": OTHER}
    same = run(*BEFORE["rows"], **tuned)
    worse = run(row("fp32", 1.0), row("bf16", 0.5, wrong=2), **tuned)
    then, now, bad = (str(save(tmp_path / str(n), each)) for n, each in enumerate((BEFORE, same, worse)))
    assert compare.main([then, now]) == 1
    asked = f"--across-models {then} {now}"
    assert f"next: nox -s compare -- {asked}  # if the two models are meant" in capsys.readouterr().out
    assert compare.main(asked.split()) == 0
    said = capsys.readouterr().out
    assert "two models: tuned (bbbbbbbb), held against m (aaaaaaaa)" in said
    assert "next:" not in said
    assert compare.main(["--across-models", then, bad]) == 1
    assert "REGRESSED bf16-cpu accuracy: WER 0.1111, baseline 0.0000" in capsys.readouterr().out
    assert compare.main(["--across-models", then, then]) == 0
    assert "two models" not in capsys.readouterr().out


@pytest.mark.parametrize(("gain", "word"), [(2.0, "PASS"), (1.0, "REGRESSED")])
def test_a_model_that_is_faster_itself_does_not_hide_what_a_row_gains(gain: float, word: str) -> None:
    """fp32 takes less of it: of one and the same model that would be another state of the machine."""
    bf16 = row("bf16", 0.25 * 2.0 / gain)
    pruned = {
        **bf16,
        "clips": [{**each, "pairs": [[gain * each["seconds"], each["seconds"]]]} for each in bf16["clips"]],
    }
    then = row("bf16", 0.5)
    then["clips"] = [{**each, "pairs": [[2.0 * each["seconds"], each["seconds"]]]} for each in then["clips"]]
    before = run(row("fp32", 1.0), then)
    _, judged = compare.judge(before, run(row("fp32", 0.5), pruned, model=OTHER), across_models=True)["rows"]
    assert judged["verdicts"]["speed"]["word"] == word
    assert "another state" not in judged["verdicts"]["speed"]["text"]
    _, judged = compare.judge(before, run(row("fp32", 0.5), pruned), across_models=True)["rows"]
    assert judged["verdicts"]["speed"]["word"] == "INCONCLUSIVE", "the same model, on a machine in another state"


@pytest.mark.parametrize("kept", [{"build": {"calibrated": True}}, {"build": None, "calibrated": True}])
def test_rows_that_looked_at_other_calibration_clips_are_not_compared(kept: dict[str, Any]) -> None:
    def calibrated(fingerprint: str) -> dict[str, Any]:
        return run(row("fp32", 1.0), {**row("bf16", 0.5), **kept}, calibration={"fingerprint": fingerprint * 64})

    fp32, bf16 = compare.judge(calibrated("a"), calibrated("b"))["rows"]
    assert (fp32["verdict"], bf16["verdict"]) == ("PASS", "STALE")
    assert bf16["verdicts"]["accuracy"]["text"] == "the baseline's steps were calibrated on other clips"
    assert compare.judge(calibrated("a"), calibrated("a"))["rows"][1]["verdict"] == "PASS"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "JSONDecodeError"),
        ("[]", "TypeError"),
        ('{"rows": []}', "KeyError: 'format'"),
        ('{"format": 1, "rows": [1]}', "format 1, 1 rows"),
        ('{"format": 99, "lines": [1]}', "format 99, 0 rows"),
        ('{"benchmarks": []}', "IndexError"),
        ('{"benchmarks": [{"extra_info": {}}]}', "IndexError"),
    ],
)
def test_what_is_no_saved_run_is_refused(tmp_path: Path, content: str, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=text):
        compare.load(path)


def test_a_terminal_without_our_letters_gets_escapes() -> None:
    command = [sys.executable, "-m", "lxbench.compare", "docs/run.json", "docs/run.json"]
    environ = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, encoding="latin-1", check=False)
    assert done.returncode == 0, done.stderr
    assert "\\u2500\\u2500" in done.stdout


def test_wrong_usage_ends_with_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main([]) == 4
    assert compare.main([str(tmp_path), str(tmp_path)]) == 4
    assert "next: nox -s compare -- results/THEN results/NOW" in capsys.readouterr().err
    one, other = save(tmp_path / "a", run(row("fp32", 1.0))), save(tmp_path / "b", run(row("bf16", 1.0)))
    assert compare.main([str(one), str(other)]) == 4
    assert "the two runs have no row in common: fp32-cpu and bf16-cpu" in capsys.readouterr().err


def test_what_random_weights_say_is_not_judged() -> None:
    then, now = (run({**row("bf16", 0.5, wrong), "scored": False}, row("fp32", 1.0)) for wrong in (0, 6))
    said = compare.judge(then, now)["rows"][0]
    assert set(said["verdicts"]) == {"speed"}
    assert said["verdict"] == "PASS"


def test_a_file_of_pytest_benchmark_lacks_the_rows_that_were_not_timed_themselves(tmp_path: Path) -> None:
    whole = run(row("fp32", 1.0), row("prune", 0.5), {**row("p", 0.5), "measured_as": "prune-cpu"})
    of_all = {name: value for name, value in whole.items() if name not in ("rows", "order", "absent", "orphans")}
    benchmarks = [{"extra_info": {"lxbench": {**of_all, "row": each}}} for each in whole["rows"][:2]]
    path = tmp_path / "0001_x.json"
    path.write_text(json.dumps({"benchmarks": benchmarks}), "utf-8")
    saved = compare.load(path)
    for then, now in ((whole, saved), (saved, whole)):
        judged = compare.judge(then, now)
        assert {each["variant"]: each["verdict"] for each in judged["rows"]} == {"fp32": "PASS", "prune": "PASS"}
        assert judged["orphans"] == []
    assert {each["variant"] for each in compare.judge(whole, whole)["rows"]} == {"fp32", "prune", "p"}
    alone = {**saved, "rows": [saved["rows"][0], row("p", 0.5)]}
    assert [each["verdict"] for each in compare.judge(whole, alone)["rows"]] == ["PASS", "PASS"]  # It was timed there.
