"""What a reader should know beside the table."""

from __future__ import annotations

from lxbench.report import markdown, remarks, table
from tests.reported import ending, results, row


def test_equal_sentences_are_said_once() -> None:
    fresh = {"word": "NEW", "text": "no baseline"}
    rows = [row(name, "NEW", verdicts={"speed": fresh, "accuracy": fresh}) for name in ("fp32", "bf16")]
    assert list(table.verdicts(results(*rows))) == [
        ("NEW", "fp32-cpu speed and accuracy, bf16-cpu speed and accuracy", "no baseline")
    ]


def test_what_a_reader_should_know_is_told_once() -> None:
    short = row("x", "PASS", warnings=["odd scales"])
    short["clips"] = short["clips"][:2]
    found = results(row("fp32", "PASS", warnings=["odd scales"]), short, notes=["fp32 said two things"])
    assert list(remarks.remarks(found)) == [
        "x was run on the first 2 of 3 clips alone",
        "warning in fp32, x: odd scales",
        "fp32 said two things",
    ]
    assert "note: warning in fp32, x: odd scales" in ending(found, 120)


def test_rows_whose_usability_is_not_shown_are_named() -> None:
    found = results(row("bf16", "PASS", shown_usable=False), row("q", "PASS"), row("x", "PASS", usable=False))
    (said,) = remarks.remarks(found)
    assert said == (
        "within the margin of fp32 as measured, but 3 clips are too few to show it (the interval reaches beyond): bf16"
    )


def test_a_row_that_should_be_a_wreck_and_is_none_is_told_where_that_is_not_red() -> None:
    usable = {"declared_unusable": True, "usable": True, "shown_usable": True}
    harmless = row("prune-layers", "PASS", **usable, verdicts={"usable": {"word": "PASS", "text": ""}})
    red = row("mine", "REGRESSED", **usable, verdicts={"usable": {"word": "REGRESSED", "text": ""}})
    wreck = row("prune-l2", "PASS", **{**usable, "usable": False}, verdicts={"usable": {"word": "PASS", "text": ""}})
    (said,) = remarks.remarks(results(harmless, red, wreck, row("not-caught-yet", "PASS", **usable, verdicts={})))
    assert said == "declared unusable of the model and the corpus that come along, and usable here: prune-layers"


def test_a_run_that_was_cut_off_says_so_everywhere() -> None:
    part = row("bf16", "PASS", complete=False, wer=0.01)
    part["clips"] = part["clips"][:1]
    found = results(row("fp32", "PASS"), part, interrupted=True)
    told = "the run was cut off before the end, and rows that it had not come to are not here; bf16 heard 1 of 3 clips"
    assert list(remarks.remarks(found)) == [told]
    assert f"note: {told}" in " ".join(ending(found, 200).split())
    assert "; **cut off before the end**" in markdown.summary(found)
    assert table.cells(part)[1] == "-", "a rate over some of its clips looks like one over all"


def test_rows_that_heard_a_part_of_the_clips_are_named_with_what_fp32_makes_of_it() -> None:
    (a, b, c) = row("fp32", "PASS")["clips"]
    found = results(
        row("fp32", "PASS", clips=[{**a, "words": 2}, {**b, "words": 3}, {**c, "words": 1}]),
        row("bnb-int8", "PASS", clips=[a, b], shortened=True),
    )
    rates = ("0.139", "0.028", "0.623"), ("0.139*", "0.028*", "0.623*")
    assert tuple(line.cells[1:4] for line in table.lines(found)) == rates
    assert list(remarks.remarks(found)) == [
        "*: recorded as hardly faster than fp32, judged on the first 2 of 3 clips (fp32 there: WER 0.600, 0.600 "
        "s/audio), where they say what they said then: bnb-int8; --benchmark-disable hears all"
    ]


def test_a_row_that_was_cut_off_is_not_said_to_be_judged_on_a_part() -> None:
    cut = row("bnb-nf4", "CRASHED", clips=[], shortened=True, complete=False, wer=None, cer=None)
    assert table.cells(cut)[1:3] == ("-", "-")
    assert list(remarks.remarks(results(cut))) == []
    judged = row("bnb-int8", "PASS", shortened=True)
    judged["clips"] = judged["clips"][:2]
    (said,) = remarks.remarks(results(cut, judged))
    assert "judged on the first 2 of 3 clips, where they say what they said then: bnb-int8;" in said


def test_rows_that_may_be_slower_are_named_with_what_tells() -> None:
    suspected = {"rows": ["q-cpu", "p-cpu"], "command": "nox -s ab -- c0ffee -k '[q-cpu] or [p-cpu]'"}
    found = results(row("q", "INCONCLUSIVE"), row("p", "INCONCLUSIVE"), suspected=suspected)
    said = (
        "look slower than is tolerated, which is not sure: q-cpu, p-cpu; "
        "nox -s ab -- COMMIT tells slower code from the machine"
    )
    assert list(remarks.remarks(found)) == [said]
    (elsewhere,) = remarks.remarks({**found, "device": "cuda"})
    assert "; python -m lxbench.ab COMMIT --lx-device cuda tells " in elsewhere
    del found["suspected"]  # A run that was saved before.
    assert list(remarks.remarks(found)) == []


def test_a_disturbed_machine_is_noted() -> None:
    busy = {"load": 3.0, "stolen": 0.01, "others": 0.94, "mhz": None}
    found = results(row("fp32", "PASS", disturbance=None), row("bf16", "PASS", disturbance=busy), row("q", "PASS"))
    (note,) = [remark for remark in remarks.remarks(found) if "cores" in remark]
    assert note == "other processes used 0.9 to 0.9 cores while these rows were timed: bf16; their seconds are too high"


def test_rows_beside_which_fp32_itself_was_slower_are_named() -> None:
    rows = [row(name, "PASS") for name in ("bf16", "q", "p")]
    rows[1]["clips"] = [
        {**clip, "pairs": [(1.45 * ref, said) for ref, said in clip["pairs"]]} for clip in rows[1]["clips"]
    ]
    (said,) = remarks.remarks(results(*rows))
    assert said.startswith("fp32 itself took longer beside q (+45%) than beside the other rows")
    assert list(remarks.remarks(results(rows[0], rows[2]))) == []
