from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text

from lxbench.history import Comparison
from lxbench.report import advice, markdown, table, terminal
from lxbench.report.progress import LiveProgress
from lxbench.settings import Settings
from lxbench.verdict import Word

SETTINGS = Settings("cpu", "embedded", "ivr-ru", "ru", 0, Path("baselines"), frozenset(), Path("results"))


def row(variant: str, word: str, **values: Any) -> dict[str, Any]:
    return {
        "id": f"{variant}-cpu",
        "variant": variant,
        "reference": variant == "fp32",
        "verdict": word,
        "verdicts": {"speed": {"word": "PASS", "text": "fine"}, "accuracy": {"word": word, "text": "WER 0.3"}},
        "usable": True,
        "wer": 0.1393,
        "cer": 0.02793,
        "seconds": 0.6226,
        "ratio": {"value": 1.812, "low": 1.773, "high": 1.851},
        "peak_mib": 976.4,
        "size_mib": 138.7,
        "build": {"seconds": {"load": 3.0, "warm-up": 1.5}},
        "baseline": {"clips": {"a": {"text": "", "word_edits": 1}}},
        "clips": [
            {"id": "a", "text": "Раз дваа", "word_edits": 1},
            {"id": "b", "text": "<b>три</b> | `x`", "word_edits": 2},
            {"id": "c", "text": "пять", "word_edits": 0},
        ],
        **values,
    }


def results(*rows: dict[str, Any], **values: Any) -> dict[str, Any]:
    return {
        "language": "ru",
        "device": "cpu",
        "model": {"name": "whisper-base"},
        "corpus": {
            "name": "ivr-ru",
            "seconds": 9.0,
            "clips": [{"id": "a", "text": "Раз, два!"}, {"id": "b", "text": "три"}, {"id": "c", "text": "5"}],
        },
        "machine": {"cpu": "Xeon", "threads": 2},
        "versions": {"torch": "2.13.0"},
        "harness": {"wall_s": 60.0, "own_share": 0.004},
        "rows": list(rows),
        "orphans": [],
        "notes": [],
        "next": "",
        **values,
    }


def ending(found: dict[str, Any], width: int, comparison: Comparison | None = None) -> str:
    parts = terminal.ending(found, comparison, [], Path("results/now"), width)
    return terminal.render(parts, width, color=False)


WIDE_ROWS = [row("fp32", "PASS", ratio=None), row("ptq-dynamic", "INCONCLUSIVE"), row("x", "REGRESSED", usable=False)]


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_and_keeps_each_row_readable(width: int) -> None:
    text = ending(results(*WIDE_ROWS), width)
    assert max(map(len, text.splitlines())) <= width
    lines = text.splitlines()
    assert any(line.split()[:4] == ["fp32", "0.139", "0.028", "0.623"] and "1.00" in line for line in lines)
    assert any(line.startswith("ptq-dynamic ") and "1.81 [1.77, 1.85]" in line for line in lines)
    assert any("976" in line and "139" in line and "REGRESSED" in line for line in lines)
    assert "unusable" in text


def test_only_what_is_not_fine_is_explained() -> None:
    text = ending(results(*WIDE_ROWS), 120)
    assert "INCONCLUSIVE ptq-dynamic-cpu accuracy: WER 0.3" in text
    assert "fp32-cpu accuracy" not in text
    assert "speed: fine" not in text


def test_a_red_row_shows_the_clips_that_got_worst_since_the_baseline() -> None:
    found = results(row("bf16", "REGRESSED"))
    worst = list(table.worst_clips(found, found["rows"][0]))
    assert [id for id, _ in worst] == ["b", "a"]
    assert worst[1][1] == ["REF: раз ДВА", "HYP: раз ДВАА"]
    assert "worst clips of bf16-cpu:" in ending(found, 80)


def test_the_last_line_is_the_command_to_paste() -> None:
    text = ending(results(row("bf16", "NEW"), next="nox -s baselines -- -k bf16"), 80)
    assert text.rstrip().splitlines()[-1] == "next: nox -s baselines -- -k bf16"


def test_the_run_before_is_compared_and_missing_rows_are_named() -> None:
    compared = Comparison("0001_x", {"fp32-cpu": 0.021}, ["bf16-cpu"], ["compile-cpu"])
    text = ending(results(row("fp32", "PASS")), 120, compared)
    assert "s/audio since run 0001_x: fp32-cpu +2.1%" in text
    assert "in that run but not in this one: bf16-cpu" in text
    assert "in this run but not in that one: compile-cpu" in text
    assert "no earlier run" in ending(results(row("fp32", "PASS")), 120)


def test_orphans_are_rows_of_the_table() -> None:
    (line,) = table.lines(results(orphans=["baselines/whisper-base/ivr-ru/cpu/old.json"]))
    assert (line.cells[0], line.word) == ("old", Word.ORPHAN)


def test_a_row_that_crashed_early_has_no_numbers() -> None:
    crashed = row(
        "x", "CRASHED", wer=None, cer=None, seconds=None, ratio=None, peak_mib=None, size_mib=None, usable=None
    )
    assert table.cells(crashed) == ("x", "-", "-", "-", "-", "-", "-", "CRASHED")


def test_markdown_has_the_table_and_escapes_what_people_said() -> None:
    red = row("bf16", "REGRESSED")
    red["verdicts"]["accuracy"]["text"] = "clip <script> | x"
    text = markdown.summary(results(row("fp32", "PASS", ratio=None), red, next="nox -s baselines"))
    assert "| fp32 | 0.139 | 0.028 | 0.623 | 1.00 | 976 | 139 | PASS |" in text
    assert "| bf16 | 0.139 | 0.028 | 0.623 | 1.81 \\[1.77, 1.85\\] | 976 | 139 | **REGRESSED** |" in text
    assert "- **REGRESSED** `bf16-cpu` accuracy: clip \\<script\\> \\| x" in text
    assert "```\nnox -s baselines\n```" in text
    assert "REF: раз ДВА" in text


@pytest.mark.parametrize(
    ("rows", "updated", "command"),
    [
        ([("fp32", "PASS")], [], ""),
        ([("fp32", "INCONCLUSIVE")], [], ""),
        ([("fp32", "NEW"), ("bf16", "NEW")], [], "nox -s baselines -- --lx-update new -k 'fp32 or bf16'"),
        ([("fp32", "NEW"), ("bf16", "STALE")], [], "nox -s baselines -- --lx-update changed -k bf16"),
        ([("bf16", "IMPROVED")], [], "nox -s baselines -- --lx-update changed -k bf16"),
        (
            [("bf16", "REGRESSED")],
            [],
            "nox -s baselines -- --lx-update changed -k bf16  # if this is what you want",
        ),
        ([("bf16", "REGRESSED"), ("x", "CRASHED")], [], "less results/latest/logs/x-cpu.log"),
        ([("bf16", "NEW")], ["baseline written: x"], "git diff baselines"),
    ],
)
def test_the_next_command(rows: list[tuple[str, str]], updated: list[str], command: str) -> None:
    found = results(*(row(variant, word) for variant, word in rows))
    assert advice.next_command(found, SETTINGS, updated) == command


def test_the_next_command_repeats_the_options_of_the_run() -> None:
    settings = Settings("cuda", "my model", "golos", "ru", 8, Path("baselines"), frozenset(), Path("results"))
    red = {**row("bf16", "NEW"), "id": "bf16-cuda"}
    command = advice.next_command(results(red), settings, [])
    assert command == (
        "nox -s baselines -- --lx-update new -k bf16 --lx-device cuda --lx-model 'my model' "
        "--lx-corpus golos --lx-clips 8"
    )


def test_part_of_the_embedded_corpus_is_recorded_whole() -> None:
    settings = Settings("cpu", "embedded", "ivr-ru", "ru", 8, Path("baselines"), frozenset(), Path("results"))
    assert "--lx-clips" not in advice.next_command(results(row("bf16", "NEW")), settings, [])


def test_orphans_are_pruned_by_the_next_command() -> None:
    command = advice.next_command(results(row("bf16", "PASS"), orphans=["a.json"]), SETTINGS, [])
    assert command == "nox -s baselines -- --lx-update prune -k test_no_orphans"


def test_progress_without_a_terminal_is_plain_lines() -> None:
    out = io.StringIO()
    progress = LiveProgress(out, [("fp32-cpu", 2)])
    progress.stage("fp32-cpu", "loading")
    progress.clip("fp32-cpu", 1, 2, "раз [b]два[/b]")
    progress.clip("fp32-cpu", 2, 2, "три")
    progress.line(Text("done"))
    progress.stop()
    lines = out.getvalue().splitlines()
    assert lines[0] == "fp32-cpu: loading"
    assert lines[-2:] == ["fp32-cpu: clip 2 of 2, 0:00 left: три", "done"]
