"""The table, what stands under it, and Markdown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from lxbench.corpus import Corpus
from lxbench.history import Comparison
from lxbench.report import bencher, details, markdown, remarks, table, terminal
from lxbench.run.results import row_values
from lxbench.stats import Change, Interval
from lxbench.verdict import Word
from tests.made import make_row, make_run
from tests.reported import ending, results, row

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


BATCHED = {"batch": 8, "clips": 96, "clips_per_s": 9.876, "real_time_factor": 30.61, "changed": ["a", "b"]}


@pytest.mark.parametrize("width", [80, 120])
def test_batches_have_a_column_of_their_own_and_say_what_changed(width: int) -> None:
    found = results(row("fp32", "PASS", ratio=None, throughput=None), row("fast", "PASS", throughput=BATCHED))
    assert table.columns(found)[-2:] == ("clips/s, 8 at once (RTFx)", "verdict")
    assert [line.cells[-2:] for line in table.lines(found)] == [("-", "PASS"), ("9.88 (30.6)", "PASS")]
    text = ending(found, width)
    assert max(map(len, text.splitlines())) <= width
    assert "9.88 (30.6)" in text
    assert "in batches than one by one: fast (2 of 96)" in " ".join(text.split())
    assert "| clips/s, 8 at once (RTFx) | verdict |" in markdown.summary(found)
    assert table.columns(results(row("fp32", "PASS"))) == table.COLUMNS


def test_where_the_wall_time_went_is_told_everywhere() -> None:
    found = results(row("fp32", "PASS", ratio=None))
    told = (
        "60 s in all: 91.0% transcribing, 2.0% a clip to warm up, 3.6% the variants' steps and compilation, "
        "3.0% loading, 0.4% the harness itself"
    )
    assert told in " ".join(ending(found, 80).split())
    assert told in markdown.summary(found)
    found["harness"] = {"wall_s": 60.0, "transcribing_share": 0.9, "preparing_share": 0.1}
    assert "90.0% transcribing, 10.0% the variants' steps, compilation and warm-up\n" in markdown.summary(found)
    found["harness"] = {"wall_s": 60.0, "workers_s": 59.8, "own_s": 0.2, "own_share": 0.004}  # An earlier version's.
    assert details.wall_time(found) == "60 s in all: 0.4% the harness itself"


def test_what_was_compiled_is_told_from_what_was_cached() -> None:
    one = row("compile", "PASS")
    one["build"]["origins"] = {"cached": 12, "new": 1}
    assert details.stages(one) == "load 3.0 s, steps 0.2 s, warm-up 1.5 s, 12 from the cache, 1 made"
    assert details.stages(row("bf16", "PASS")) == "load 3.0 s, steps 0.2 s, warm-up 1.5 s"


def test_a_row_of_another_engine_has_no_numbers_of_torch() -> None:
    one = row("ct2", "PASS")
    one["build"]["census"].update(dtypes={}, zeros=0)
    (line,) = details.details(results(one))
    assert line[3:5] == ("-", "-")


def test_a_row_is_held_against_the_limits_of_its_machine() -> None:
    work = {"encoder_gflop": 80.0, "token_mib": 100.0, "passes": 12.0, "products": ["float32"]}
    peaks = {"float32": 400.0, "read": 20.0}
    found = results(row("fp32", "PASS", work=work), row("ct2-int8", "PASS", work=None), peaks=peaks)
    wanted = ("fp32", "80.0 GFLOP", "320 GFLOP/s", "80% of 400 in float32", "100 MiB", "3.4 GB/s", "17% of 20.0")
    assert list(details.limits(found)) == [wanted]
    assert "how near the machine's limits" in markdown.summary(found)
    assert list(details.limits(results(row("fp32", "PASS", work=work)))) == []


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
    slower = Interval(1.021, 1.015, 1.027)
    compared = Comparison("0001_x", {"fp32-cpu": Change(slower, slower, 0.01)}, ["bf16-cpu"], ["compile-cpu"])
    text = ending(results(row("fp32", "PASS")), 120, compared)
    assert "s/audio since run 0001_x: fp32-cpu +2.1% [+1.5%, +2.7%]" in text
    assert "in that run but not in this one: bf16-cpu" in text
    assert "in this run but not in that one: compile-cpu" in text
    assert "no earlier run" in ending(results(row("fp32", "PASS")), 120)
    elsewhere = ending(results(row("fp32", "PASS")), 120, Comparison("0001_x", {}, [], [], ("cpu",)))
    assert "0001_x, was on another machine (cpu differ): seconds are not compared" in " ".join(elsewhere.split())


def test_a_row_that_the_device_lacks_stands_in_its_place_in_a_page_and_under_the_table_in_a_terminal() -> None:
    found = results(
        row("fp32", "PASS", ratio=None),
        row("bf16", "PASS"),
        absent=[{"variant": "ptq-dynamic", "why": "its kernels are for CPUs"}],
        order=["fp32", "ptq-dynamic", "bf16"],
    )
    assert [line.cells[0] for line in table.lines(found)] == ["fp32", "ptq-dynamic", "bf16"]
    assert table.lines(found)[1].cells[-1] == "n/a: its kernels are for CPUs"
    told = ending(found, 80)
    assert not re.search(r"^ptq-dynamic ", told, re.MULTILINE)
    assert "n/a ptq-dynamic: its kernels are for CPUs" in told
    assert "**n/a" not in markdown.summary(found)


def test_a_reason_that_several_rows_have_stands_once() -> None:
    why = "needs onnxruntime: pip install 'lxbench[engines]'"
    absent = [{"variant": name, "why": why} for name in ("ort", "ort-int8")]
    told = ending(results(row("fp32", "PASS", ratio=None), absent=absent, order=["fp32", "ort", "ort-int8"]), 80)
    assert f"n/a ort, ort-int8: {why}" in told
    assert told.count(why) == 1


def test_a_long_name_leaves_room_for_the_verdict_in_80_columns() -> None:
    long = row("prune-structured-bf16", "INCONCLUSIVE")
    told = ending(results(row("fp32", "PASS", ratio=None), long), 80)
    assert re.search(r"^prune-structured- .* INCONCLUSIVE$", told, re.MULTILINE)
    assert re.search(r"^bf16 *$", told, re.MULTILINE)
    assert re.search(r"^prune-structured-bf16 .* INCONCLUSIVE *$", ending(results(long), 120), re.MULTILINE)


def test_rows_are_made_as_results_has_them(tmp_path: Path, clips: Corpus) -> None:
    real = row_values(run := make_run(tmp_path, clips), make_row(run))
    assert set(row("bf16", "PASS")) <= set(real)
    assert all(set(each) <= set(real["clips"][0]) for each in row("bf16", "PASS")["clips"])


def test_a_row_that_is_declared_unusable_says_so() -> None:
    assert table.cells(row("x", "PASS", usable=False, declared_unusable=True))[-1] == "PASS, unusable as declared"


def test_a_row_that_is_expected_to_be_red_says_so() -> None:
    assert table.cells(row("x", "REGRESSED", usable=False, excused="a reason"))[-1] == "REGRESSED, unusable, expected"


def test_the_details_tell_what_a_step_changed() -> None:
    (cells,) = details.details(results(row("bf16", "PASS")))
    assert cells == (
        "bf16",
        "cast(bfloat16)",
        "-2 torch.nn Linear, +2 x Packed",
        "7.0 M float32, 3.0 M int8",
        "10.0%",
        "277 -> 139",
        "4.0",
        "155.7",
        "encoder 40%, decoder 60%",
        "load 3.0 s, steps 0.2 s, warm-up 1.5 s",
    )
    assert "| bf16 | cast(bfloat16) |" in markdown.summary(results(row("bf16", "PASS")))


def test_profiles_are_shown_with_kernels_apart() -> None:
    top = {"name": "aten::addmm", "share": 0.441, "milliseconds": 138.6, "calls": 36}
    gemm = {"name": "ampere_sgemm_128x64_tn" + "_x" * 40, "share": 0.2, "milliseconds": 1.0, "calls": 6}
    fmha = {"name": "fmha_cutlassF_f32", "share": 0.1, "milliseconds": 1.0, "calls": 6}
    profile = {"encoder": {"operators": [top, top], "kernels": [gemm] * 5 + [fmha], "trace": "profiles/x.json.gz"}}
    found = results(row("fp32", "PASS", profile=profile))
    operators, kernels = details.operators(found)
    assert operators == ("fp32", "encoder", "aten::addmm 44%, aten::addmm 44%")
    assert kernels[:2] == ("fp32", "encoder kernels")
    *gemms, last = kernels[2].split(", ")
    assert gemms == ["ampere_sgemm_128x64_tn" + "_x" * 18 + "_… 20%"] * 4
    assert last == "fmha_cutlassF_f32 10%"  # attention is named wherever it stands
    assert "aten::addmm 44%" in ending(found, 80)
    assert "fmha\\_cutlassF\\_f32 10%" in markdown.summary(found)


def test_the_tables_of_the_study_have_its_figures_beside_ours() -> None:
    found = results(
        row("fp32", "PASS", seconds=0.6, ratio=None),
        row("q", "PASS", usable=False),
        absent=[{"variant": "autocast-fp16", "why": "for GPUs"}],
    )
    text = markdown.study_tables(found)
    assert re.findall(r"#### (.+)", text) == ["Baseline", "Pruning", "Quantization", "Dynamic configs", "Final"]
    assert "| Configuration | WER | CER | Avg Time per Audio | Study: large-v3 on Golos |" in text
    assert "| baseline | 0.1393 | 0.0279 | 0.6000 s | 0.4403 / 0.1583 / 8.7137 s |" in text
    assert "| q | 0.1393 | 0.0279 | 0.6226 s, unusable | 0.4740 / 0.1664 / 5.8057 s |" in text
    assert "| L2, rate 0.81 | - | - | - | destroyed the model |" in text
    assert "| torch.autocast fp16 | - | - | n/a: for GPUs | tried, no figure of its own |" in text
    gpu = markdown.study_tables({**found, "device": "cuda"})
    assert "| bitsandbytes int8 | - | - | - | 0.4472 / 0.1586 / 3.0069 s |" in gpu
    shown = terminal.render(terminal.study_tables(found), 80, color=False)
    assert max(map(len, shown.splitlines())) <= 80


def test_a_summary_is_never_too_long_for_a_comment() -> None:
    said = {"text": "раз " * 400, "word_edits": 400, "tokens": 3, "pairs": []}
    red = [row(f"row-{n}", "CRASHED", clips=[{"id": f"clip {n} ```", **said} for n in range(3)]) for n in range(20)]
    found = results(*red, next="less results/latest/logs/x-cpu.log")
    found["corpus"]["clips"] = [{"id": f"clip {n} ```", "text": "три"} for n in range(3)]
    text = markdown.summary(found)
    assert 40_000 < len(text) <= 65_536
    assert re.search(r"\d+ longer parts do not fit here", text)
    assert "worst clips of row-0-cpu" in text
    assert text.count("\n```\n") % 2 == 0  # what a clip is called ends no fence
    assert text.endswith("```\nless results/latest/logs/x-cpu.log\n```\n")


def test_orphans_are_rows_of_the_table() -> None:
    (line,) = table.lines(results(orphans=["baselines/whisper-base/ivr-ru/cpu/old.json"]))
    assert (line.cells[0], line.word) == ("old", Word.ORPHAN)


def test_an_orphan_is_in_the_table_where_the_device_lacks_the_row_of_its_name() -> None:
    absent = [{"variant": "ort", "why": "needs onnxruntime"}]
    orphan = "baselines/whisper-base/ivr-ru/cpu/ort.json"
    found = results(row("fp32", "PASS", ratio=None), absent=absent, orphans=[orphan], order=["fp32", "ort"])
    assert re.search(r"^ort .* ORPHAN *$", ending(found, 80), re.MULTILINE)


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
    assert "| bf16 | 0.139 | 0.028 | 0.623 | 1.81 \\[1.77, 1.85\\] | 976 | 139 | 🔴 **REGRESSED** |" in text
    assert "- **REGRESSED** bf16-cpu accuracy: clip \\<script\\> \\| x" in text
    assert "```\nnox -s baselines\n```" in text
    assert "REF: раз ДВА" in text


def test_markdown_mentions_nobody_and_shows_every_sign() -> None:
    red = row("bf16", "REGRESSED")
    red["verdicts"]["accuracy"]["text"] = "use @torch.jit.script ~~not~~ &lt;this&gt;"
    text = markdown.summary(results(red))
    assert "accuracy: use @\u200btorch.jit.script \\~\\~not\\~\\~ \\&lt;this\\&gt;" in text


def test_means_over_a_part_of_the_clips_are_not_exported() -> None:
    """A row may hear a part in one run and all in the next: their means are not of the same thing."""
    found = results(row("bf16", "PASS"), row("bnb-int8", "PASS", shortened=True))
    whole, part = bencher.metrics(found).values()
    assert whole["wer"] == {"value": 0.1393}
    assert whole.keys() - part.keys() == {"wer", "cer", "latency"}
    crashed = row("bf16", "CRASHED", complete=False)
    assert not {"wer", "cer", "latency"} & bencher.measures(crashed).keys()


def test_the_machine_of_a_run_on_a_gpu_is_the_gpu() -> None:
    found = results(row("fp32", "PASS"), device="cuda", machine={"cpu": "Xeon", "threads": 16, "gpu": "NVIDIA H200"})
    assert "9 s of audio, NVIDIA H200, torch 2.13.0" in markdown.summary(found)
    assert "3 clips, NVIDIA H200." in markdown.study_tables(found)


def test_clocks_and_throttling_are_told_under_the_table() -> None:
    def on(variant: str, sm_mhz: float, throttled: tuple[str, ...] = ()) -> dict[str, Any]:
        return {**row(variant, "PASS"), "gpu": {"sm_mhz": sm_mhz, "throttled": throttled}}

    told = list(remarks.remarks(results(on("fp32", 1980), on("fp16", 1200, ("power cap", "temperature")))))
    assert "the GPU's clock was 1200 to 1980 MHz while rows were timed" in told
    assert "the GPU was throttled while these rows were timed: fp16 (power cap, temperature)" in told
    told = list(remarks.remarks(results(on("fp32", 1980), on("fp16", 1980))))
    assert "the GPU's clock was 1980 MHz while rows were timed" in told
    assert not [line for line in remarks.remarks(results(row("fp32", "PASS"))) if "GPU" in line]
