"""The command to paste next."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lxbench.report import advice
from lxbench.settings import Settings
from tests.reported import results, row
from tests.suite import committed, needs_git

SETTINGS = Settings("cpu", "embedded", "ivr-ru", "ru", 0, Path("baselines"), frozenset(), Path("results"))


@pytest.mark.parametrize(
    ("rows", "updated", "command"),
    [
        ([("fp32", "PASS")], [], ""),
        ([("fp32", "INCONCLUSIVE")], [], ""),
        ([("fp32", "NEW"), ("bf16", "NEW")], [], "nox -s baselines -- --lx-update new -k '[fp32-cpu] or [bf16-cpu]'"),
        ([("fp32", "NEW"), ("bf16", "STALE")], [], "nox -s baselines -- --lx-update changed -k '[bf16-cpu]'"),
        ([("bf16", "IMPROVED")], [], "nox -s baselines -- --lx-update changed -k '[bf16-cpu]'"),
        (
            [("bf16", "REGRESSED")],
            [],
            "nox -s baselines -- --lx-update changed -k '[bf16-cpu]'  # if this is what you want",
        ),
        ([("bf16", "REGRESSED"), ("x", "CRASHED")], [], "less results/latest/logs/x-cpu.log"),
        ([("bf16", "NEW")], ["baseline written: x"], "git add -N --no-all baselines && git diff baselines"),
    ],
)
def test_the_next_command(rows: list[tuple[str, str]], updated: list[str], command: str) -> None:
    found = results(*(row(variant, word) for variant, word in rows))
    assert advice.next_command(found, SETTINGS, updated) == command


def test_what_may_be_slower_is_what_is_looked_into_where_nothing_is_urgent() -> None:
    suspected = {"rows": ["q-cpu"], "command": "nox -s ab -- c0ffee -k '[q-cpu]'"}
    unsure, red = row("q", "INCONCLUSIVE"), row("x", "CRASHED")
    assert advice.next_command(results(unsure, suspected=suspected), SETTINGS, []) == suspected["command"]
    assert advice.next_command(results(unsure, red, suspected=suspected), SETTINGS, []).startswith("less ")


def test_so_is_what_is_slower_and_says_the_same_before_it_is_accepted() -> None:
    suspected = {"rows": [], "command": "nox -s ab -- c0ffee -k '[q-cpu]'"}
    slow, worse = row("q", "REGRESSED"), row("x", "REGRESSED")
    slow["verdicts"] = {"speed": {"word": "REGRESSED", "text": ""}, "accuracy": {"word": "PASS", "text": ""}}
    worse["verdicts"] = {"speed": {"word": "PASS", "text": ""}, "accuracy": {"word": "REGRESSED", "text": ""}}
    said = advice.next_command(results(slow, suspected=suspected), SETTINGS, [])
    assert said == "nox -s ab -- c0ffee -k '[q-cpu]'  # slower code, or a slower machine?"
    accepted = advice.next_command(results(slow, worse, suspected=suspected), SETTINGS, [])
    assert accepted == "nox -s baselines -- --lx-update changed -k '[x-cpu]'  # if this is what you want"
    nobody_knows = {"rows": [], "command": ""}
    assert advice.next_command(results(slow, suspected=nobody_knows), SETTINGS, []).endswith(
        "# if this is what you want"
    )


def test_a_row_that_is_expected_to_be_red_asks_for_nothing() -> None:
    expected = row("x", "REGRESSED", excused="waits for the next torch")
    assert advice.next_command(results(expected, row("bf16", "PASS")), SETTINGS, []) == ""
    assert "[q-cpu]'" in advice.next_command(results(expected, row("q", "NEW")), SETTINGS, [])


def test_the_log_of_a_row_is_shown_wherever_it_is() -> None:
    settings = replace(SETTINGS, results=Path("my results"))
    command = advice.next_command(results(row("x", "CRASHED")), settings, [])
    assert command == "less 'my results/latest/logs/x-cpu.log'"


def test_the_next_command_repeats_the_options_of_the_run() -> None:
    settings = Settings("cuda", "my model", "golos", "ru", 8, Path("baselines"), frozenset(), Path("results"))
    red = {**row("bf16", "NEW"), "id": "bf16-cuda"}
    command = advice.next_command(results(red), settings, [])
    assert command == (
        "nox -s bench-gpu -- --lx-update new -k '[bf16-cuda]' --lx-model 'my model' --lx-corpus golos --lx-clips 8"
    )
    named = {"audio": "wav", "text": "said"}
    settings = replace(settings, device="cpu", revision="v2", columns=named, normalizer="none", skip_bad=True)
    assert advice.next_command(results(row("bf16", "NEW")), settings, []) == (
        "nox -s baselines -- --lx-update new -k '[bf16-cpu]' --lx-model 'my model' --lx-revision v2 "
        "--lx-corpus golos --lx-columns audio=wav,text=said --lx-normalizer none --lx-clips 8 --lx-skip-bad"
    )


def test_part_of_the_embedded_corpus_is_recorded_whole() -> None:
    settings = Settings("cpu", "embedded", "ivr-ru", "ru", 8, Path("baselines"), frozenset(), Path("results"))
    assert "--lx-clips" not in advice.next_command(results(row("bf16", "NEW")), settings, [])


@pytest.mark.parametrize("place", ["/data/baselines", "../baselines"])
def test_baselines_may_be_of_another_repository(place: str) -> None:
    command = advice.next_command(results(), replace(SETTINGS, baselines=Path(place)), ["baseline written: x"])
    assert command == f"git -C {place} add -N --no-all . && git -C {place} diff ."


def test_orphans_are_pruned_by_the_next_command() -> None:
    command = advice.next_command(results(row("bf16", "PASS"), orphans=["a.json"]), SETTINGS, [])
    assert command == (
        "nox -s baselines -- --lx-update prune -k test_no_orphans  # deletes them; not if they are of --lx-variants"
    )


@needs_git
def test_the_diff_of_baselines_has_new_and_deleted_ones_too(tmp_path: Path) -> None:
    place = tmp_path / "of mine"
    place.mkdir()
    for name in ("kept", "deleted"):
        (place / name).write_text(f"{name} before")

    def shell(command: str) -> str:
        return subprocess.run(command, cwd=tmp_path, shell=True, capture_output=True, text=True, check=True).stdout

    committed(tmp_path)
    (place / "kept").write_text("kept now")
    (place / "new").write_text("new now")
    (place / "deleted").unlink()
    shown = shell(advice.next_command(results(), replace(SETTINGS, baselines=Path("of mine")), ["baseline written: x"]))
    assert {"+kept now", "+new now", "-deleted before"} <= set(shown.splitlines())


def test_a_row_that_should_be_unusable_is_not_to_be_recorded(tmp_path: Path) -> None:
    def harmless(variant: str, word: str) -> dict[str, Any]:
        missed = row(variant, word)
        missed["verdict"], missed["verdicts"]["usable"] = "REGRESSED", {"word": "REGRESSED", "text": "not caught"}
        return missed

    declared = "less lxbench/variants.py  # prune-l2: declared unusable here, and usable"
    missed = results(harmless("prune-l2", "PASS"), row("bf16", "IMPROVED"))
    assert advice.next_command(missed, SETTINGS, []) == declared
    ours = tmp_path / "rows.py"
    settings = replace(SETTINGS, variants=str(ours))
    assert advice.next_command(missed, settings, []) == declared
    missed = results(harmless("mine", "PASS"))
    assert advice.next_command(missed, settings, []) == f"less {ours}  # mine: declared unusable here, and usable"
    settings = replace(SETTINGS, variants="tests.rows")
    assert f"{Path(__file__).with_name('rows.py')}  #" in advice.next_command(missed, settings, [])
    new = results(harmless("prune-l2", "NEW"))
    assert advice.next_command(new, SETTINGS, []).startswith("nox -s baselines -- --lx-update new")
