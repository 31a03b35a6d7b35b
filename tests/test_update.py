"""What is proposed and written, on rows made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lxbench import baselines, machine
from lxbench.baselines import Spread
from lxbench.corpus import Corpus
from lxbench.errors import UsageError
from lxbench.run import Run, ending, looks, update
from lxbench.run.row import Row
from lxbench.stats import Timing
from lxbench.verdict import Verdict, Word
from lxbench.worker.build import BuildReport
from tests.made import BF16, FP32, judge, make_row, make_run
from tests.samples import MODEL
from tests.suite import committed, needs_git


def test_a_new_row_is_proposed_and_written_only_where_allowed(tmp_path: Path, clips: Corpus) -> None:
    run = make_run(tmp_path, clips, "changed", "prune")
    assert judge(run, make_row(run)).word is Word.NEW
    assert list(update.write(run, "2026-11-23")) == []
    assert not run.baseline_path("bf16").exists()
    proposed = baselines.read(run.folder / "proposed" / "whisper-base" / "ivr-ru" / "cpu" / "bf16.json")
    assert proposed is not None
    assert proposed.counts.word_edits == 0


def written(run: Run) -> baselines.Baseline:
    """What stands in the file of bf16."""
    kept = baselines.read(run.baseline_path("bf16"))
    assert kept is not None
    return kept


def calibrated(run: Run, spread: Spread) -> None:
    """Store how far equal runs are apart, as ``nox -s calibrate`` does."""
    kept = written(run)
    speeds = tuple(replace(speed, spread=spread) for speed in kept.speeds)
    baselines.write(run.baseline_path("bf16"), replace(kept, speeds=speeds))


def test_what_is_written_is_what_was_measured(tmp_path: Path, clips: Corpus) -> None:
    run = make_run(tmp_path, clips, "new")
    row = judge(run, make_row(run, wrong=1))
    assert len(list(update.write(run, "2026-11-23"))) == 1
    kept, raw = written(run), row.raw_counts
    assert (kept.variant, kept.device, kept.language, kept.normalizer) == ("bf16", "cpu", "ru", "russian/1")
    assert (kept.recorded, kept.calibration, kept.size_mib, kept.versions) == (
        *("2026-11-23", "", 138.5),
        machine.versions(),
    )
    assert kept.model == {"spec": "embedded", "fingerprint": MODEL}
    assert kept.corpus == {"name": clips.name, "fingerprint": clips.fingerprint}
    assert kept.clips == tuple(sorted(row.records, key=lambda record: record.id))
    assert (kept.raw_wer, kept.raw_cer) == pytest.approx((raw.wer, raw.cer), abs=1e-6)
    assert abs(raw.wer - raw.cer) > 0.001
    (speed,) = kept.speeds
    assert speed.ratio is not None
    assert row.ratio is not None
    assert (speed.ratio.low, speed.ratio.value, speed.ratio.high) == pytest.approx(
        (row.ratio.low, row.ratio.value, row.ratio.high), abs=1e-4
    )
    assert speed.seconds == pytest.approx(row.seconds, abs=1e-4)
    assert (speed.peak_mib, speed.recorded) == (900, "2026-11-23")
    assert (speed.machine, speed.spread, speed.otherwise) == (machine.lasting(run.machine), None, ())
    assert speed.timed.ratios == pytest.approx(row.timing.ratios, abs=1e-4)
    assert speed.timed.reference == pytest.approx(row.timing.reference, abs=1e-4)


def test_how_far_equal_runs_are_apart_outlives_a_new_record(stored: Path, clips: Corpus) -> None:
    run, spread = make_run(stored, clips, "changed"), Spread(0.01, 0.02, 10, "2026-11-24")
    calibrated(run, spread)
    judge(run, make_row(run, seconds=0.7))
    assert len(list(update.write(run, "2026-11-24"))) == 1
    assert [speed.spread for speed in written(run).speeds] == [spread]


@pytest.mark.parametrize("elsewhere", [False, True])
def test_nothing_of_a_record_of_another_model_is_kept(stored: Path, clips: Corpus, elsewhere: bool) -> None:
    run = make_run(stored, clips, "changed")
    calibrated(run, Spread(0.01, 0.02, 10, "2026-11-24"))
    run.source = replace(run.source, fingerprint="b" * 64)
    if elsewhere:
        run.machine = {**run.machine, "isa": ["none"]}
    assert judge(run, make_row(run)).word is Word.STALE
    assert len(list(update.write(run, "2026-11-24"))) == 1
    kept = written(run)
    (speed,) = kept.speeds
    assert kept.model["fingerprint"] == "b" * 64
    assert (speed.spread, speed.machine["isa"]) == (None, run.machine["isa"])


def test_the_clips_that_a_step_looked_at_are_a_part_of_the_record(tmp_path: Path, clips: Corpus) -> None:
    def looked(*updates: str, at: int = 1) -> tuple[Run, Row]:
        run = make_run(tmp_path, clips, *updates)
        run.calibration, row = clips.first(at), make_row(run)
        assert row.report is not None
        row.report.calibrated = True
        return run, judge(run, row)

    run, _ = looked("new")
    assert len(list(update.write(run, "2026-11-24"))) == 1
    assert written(run).calibration == clips.first(1).fingerprint
    assert looked()[1].word is Word.PASS
    said = looked(at=2)[1].verdicts["accuracy"]
    assert said == Verdict(Word.STALE, "the baseline's steps were calibrated on other clips")


def test_a_corpus_that_lost_clips_makes_its_records_stale(stored: Path, clips: Corpus) -> None:
    run = make_run(stored, clips.first(2))
    assert judge(run, make_row(run)).verdicts["accuracy"].word is Word.PASS, "two were asked for"
    run.settings = replace(run.settings, clips=0)
    said = judge(run, make_row(run)).verdicts["accuracy"]
    assert said.word is Word.STALE
    assert said.text.startswith("clips of the baseline are gone from the corpus: ")


def test_a_record_that_cannot_be_written_loses_no_proposal(tmp_path: Path, clips: Corpus) -> None:
    run = make_run(tmp_path, clips, "new")
    assert {judge(run, make_row(run, variant)).word for variant in (BF16, FP32)} == {Word.NEW}
    folder = run.baseline_folder
    folder.parent.mkdir(parents=True)
    folder.write_text("a file in its place")
    with pytest.raises(FileExistsError):
        list(update.write(run, "2026-11-24"))
    left = run.folder / "proposed" / folder.relative_to(run.settings.baselines)
    assert sorted(file.name for file in left.iterdir()) == ["bf16.json", "fp32.json"]


def test_what_is_expected_to_be_red_is_not_recorded(stored: Path, clips: Corpus) -> None:
    run = make_run(stored, clips, "changed")
    row = judge(run, make_row(run, wrong=1))
    row.failed = {"accuracy": "waits for the next torch"}
    before = written(run)
    assert list(update.write(run, "2026-11-24")) == []
    assert written(run) == before
    assert run.notes == ["bf16-cpu is marked xfail and was not recorded: take the mark away if this is what you want"]


@pytest.mark.parametrize("restored", [False, True])
def test_a_damaged_record_that_was_restored_meanwhile_is_not_lost(stored: Path, clips: Corpus, restored: bool) -> None:
    run = make_run(stored, clips, "changed")
    path, whole = run.baseline_path("bf16"), run.baseline_path("bf16").read_text("utf-8")
    path.write_text("{")
    judge(run, make_row(run, stored="cannot be read"))
    if restored:
        path.write_text(whole, "utf-8")
        with pytest.raises(OSError, match="which somebody else has written"):
            list(update.write(run, "2026-11-24"))
        assert path.read_text("utf-8") == whole
    else:
        assert len(list(update.write(run, "2026-11-24"))) == 1


def test_what_another_machine_recorded_meanwhile_is_not_lost(
    stored: Path, clips: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "_write_files", lambda *_: None)  # There is no census to show.
    run = make_run(stored, clips, "changed")
    judge(run, make_row(run, seconds=0.4))
    other = make_run(stored, clips, "new")
    other.machine = {**other.machine, "isa": ["none"]}
    judge(other, make_row(other, seconds=0.9))
    assert len(list(update.write(other, "2026-11-24"))) == 1
    run.folder = run.folder.with_name("2026-11-24T10-00-00")
    ended = ending.write(run, [], [], 1.0, interrupted=False)
    assert ended.updated == []
    assert ended.unwritten[0].startswith(
        f"{run.baseline_path('bf16')}, which somebody else has written during this run"
    )
    assert ended.results is not None
    assert ended.results["next"].startswith("nox -s baselines -- --lx-update changed -k '[bf16-cpu]' --lx-baselines ")
    assert [speed.machine["isa"] == ["none"] for speed in written(run).speeds] == [False, True]
    again = make_run(stored, clips, "changed")
    judge(again, make_row(again, seconds=0.4))
    assert len(list(update.write(again, "2026-11-24"))) == 1
    assert len(written(run).speeds) == 2


def test_the_same_row_passes_and_is_not_rewritten(stored: Path, clips: Corpus) -> None:
    run = make_run(stored, clips, "new", "changed")
    assert judge(run, make_row(run)).word is Word.PASS
    assert list(update.write(run, "2026-11-24")) == []


@pytest.mark.parametrize(
    ("seconds", "wrong", "what", "word"),
    [
        (0.70, 0, "speed", Word.REGRESSED),
        (0.40, 0, "speed", Word.IMPROVED),
        (0.50, 1, "accuracy", Word.REGRESSED),
    ],
)
def test_what_moved_is_judged_and_rewritten_where_allowed(
    stored: Path, clips: Corpus, seconds: float, wrong: int, what: str, word: Word
) -> None:
    run = make_run(stored, clips, "new")
    row = judge(run, make_row(run, seconds=seconds, wrong=wrong))
    assert row.verdicts[what].word is word
    assert ("nox -s calibrate" in row.verdicts["speed"].text) == ((what, word) == ("speed", Word.REGRESSED))
    assert list(update.write(run, "2026-11-24")) == []
    run = make_run(stored, clips, "changed")
    judge(run, make_row(run, seconds=seconds, wrong=wrong))
    assert len(list(update.write(run, "2026-11-24"))) == 1
    again = make_run(stored, clips)
    assert judge(again, make_row(again, seconds=seconds, wrong=wrong)).word is Word.PASS


@needs_git
def test_a_slower_row_says_how_to_run_the_code_of_its_record_beside_this(stored: Path, clips: Corpus) -> None:
    commit = committed(stored)
    run = make_run(stored, clips)
    run.settings = replace(run.settings, corpus="my speech")
    told = judge(run, make_row(run, seconds=0.7)).verdicts["speed"].text
    assert f"; nox -s ab -- {commit} -k '[bf16-cpu]' --lx-corpus 'my speech' " in told
    assert " runs the code of its record and this in turn; nox -s calibrate -- " in told
    assert "nox -s ab" not in judge(run, make_row(run)).verdicts["speed"].text
    recorded = make_run(stored, clips, "changed")
    judge(recorded, make_row(recorded, seconds=0.4))
    assert len(list(update.write(recorded, "2026-11-24"))) == 1
    again = committed(stored)
    told = judge(run, make_row(run, seconds=0.5)).verdicts["speed"].text
    assert f"; nox -s ab -- {again} -k" in told
    assert again != commit


def test_another_kind_of_machine_gates_accuracy_and_has_its_own_speed(stored: Path, clips: Corpus) -> None:
    def run_elsewhere(*updates: str, seconds: float = 0.9, wrong: int = 0) -> tuple[Run, Row]:
        run = make_run(stored, clips, *updates)
        run.machine = {**run.machine, "isa": ["none"]}
        return run, judge(run, make_row(run, seconds=seconds, wrong=wrong))

    run, row = run_elsewhere("new")
    assert row.verdicts["speed"].word is Word.INCONCLUSIVE
    records = f"nox -s baselines -- --lx-baselines {stored / 'baselines'} records it"
    assert f"the baseline's differs in isa; {records}" in row.verdicts["speed"].text
    assert row.verdicts["accuracy"].word is Word.PASS
    assert not looks.undecided(make_run(stored, clips), row)  # there is nothing to decide
    assert len(list(update.write(run, "2026-11-24"))) == 1

    _, slower = run_elsewhere(seconds=1.2)
    assert slower.verdicts["speed"].word is Word.REGRESSED
    home = make_run(stored, clips)
    assert judge(home, make_row(home)).word is Word.PASS  # the speed of the first machine is still there

    run, changed = run_elsewhere("changed", wrong=2)
    assert changed.word is Word.REGRESSED
    assert len(list(update.write(run, "2026-11-25"))) == 1
    kept = baselines.read(run.baseline_path("bf16"))
    assert kept is not None
    assert [speed.machine["isa"] == ["none"] for speed in kept.speeds] == [False, True]
    assert [len(speed.otherwise) for speed in kept.speeds] == [0, 2]  # what it says there, and only there
    _, same = run_elsewhere(wrong=2)
    assert same.verdicts["accuracy"].word is Word.PASS
    assert judge(home, make_row(home)).word is Word.PASS

    home = make_run(stored, clips, "changed")
    judge(home, make_row(home, seconds=0.4))
    assert len(list(update.write(home, "2026-11-26"))) == 1
    assert [(speed.recorded, len(speed.otherwise)) for speed in written(home).speeds] == [
        ("2026-11-26", 0),
        ("2026-11-25", 2),
    ]
    _, still = run_elsewhere(wrong=2)
    assert still.word is Word.PASS, "what is recorded of the other machine stays"


def test_the_commands_that_a_verdict_names_are_of_the_same_run(stored: Path, clips: Corpus) -> None:
    """Of one's own model and rows the embedded model would be recorded instead."""

    def run_of(part: Corpus) -> Run:
        run = make_run(stored, part, "changed")
        run.settings = replace(run.settings, model="my model", variants="rows.py")
        return run

    run = run_of(clips)
    slower = judge(run, make_row(run, seconds=0.7))
    options = f"--lx-model 'my model' --lx-baselines {stored / 'baselines'} --lx-variants rows.py"
    assert f"--lx-clips 24 -k '[bf16-cpu]' {options} tells how far" in slower.verdicts["speed"].text
    run.machine = {**run.machine, "isa": ["none"]}
    elsewhere = judge(run, make_row(run))
    assert f"; nox -s baselines -- {options} records it" in elsewhere.verdicts["speed"].text
    with pytest.raises(UsageError) as raised:
        update.check(run_of(clips.first(2)), [BF16])
    assert raised.value.command == f"nox -s baselines -- -k '[bf16-cpu]' {options}"


@pytest.mark.parametrize(("device", "session"), [("cpu", "nox -s bench-cpu"), ("cuda", "nox -s bench-gpu")])
def test_what_cannot_be_recorded_can_be_run_on_the_same_device(
    tmp_path: Path, clips: Corpus, device: str, session: str
) -> None:
    run = make_run(tmp_path, clips, "new")
    run.settings = replace(run.settings, device=device, baselines=Path("/dev/null/b"), clips=0)
    with pytest.raises(UsageError, match="the baselines folder /dev/null/b cannot be written") as raised:
        update.check(run, [BF16])
    assert raised.value.command == f"{session} -- --lx-baselines /dev/null/b  # judges, and writes nothing there"
    run.source = replace(run.source, random=True)
    run.settings = replace(run.settings, model="shape:tiny", baselines=Path("baselines"), clips=8)
    with pytest.raises(UsageError, match="whose weights are random") as raised:
        update.check(run, [BF16])
    assert raised.value.command == f"{session} -- --lx-model shape:tiny --lx-clips 8"


def test_a_record_is_not_shrunk_but_by_its_row(stored: Path, clips: Corpus) -> None:
    run = make_run(stored, clips.first(2), "changed")
    with pytest.raises(UsageError, match="would record bf16 over 2 clips, its baseline has 4"):
        update.check(run, [BF16])
    update.check(run, [replace(BF16, clips=2)])
    run.settings = replace(run.settings, clips=0)
    update.check(run, [BF16])  # The corpus itself has lost two: that is STALE, and what it proposes must do.
    run.settings = replace(run.settings, skip_bad=True)
    with pytest.raises(UsageError, match="would record bf16 over 2 clips, its baseline has 4") as raised:
        update.check(run, [BF16])
    assert "or a listing without those that are bad" in raised.value.expected
    assert "--lx-skip-bad" not in raised.value.command, "it would be refused with the same words"


def test_nor_is_one_of_format_1_by_what_it_is_recorded_anew_with(stored: Path, clips: Corpus) -> None:
    run = make_run(stored, clips.first(2), "new")
    update.check(run, [BF16])  # What there is stays.
    path = run.baseline_path("bf16")
    kept = baselines.read(path)
    assert kept is not None
    baselines.write(path, replace(kept, speeds=tuple(replace(speed, timed=Timing()) for speed in kept.speeds)))
    with pytest.raises(UsageError, match="--lx-update new would record bf16 over 2 clips, its baseline has 4"):
        update.check(run, [BF16])


@pytest.mark.parametrize("kind", ["new", "changed"])
def test_a_row_whose_kernel_never_ran_is_not_recorded(tmp_path: Path, clips: Corpus, kind: str) -> None:
    run = make_run(tmp_path, clips, kind)
    row = make_row(run)
    row.report = BuildReport(census={"size_mib": 138.5}, kernels={"addmm float32": 1})
    judge(run, row)
    assert row.verdicts["effect"] == Verdict(
        Word.CRASHED, "it never ran 'addmm bfloat16'; while transcribing it ran addmm float32"
    )
    assert list(update.write(run, "2026-11-24")) == []
    assert not run.baseline_path("bf16").exists()


def test_a_record_of_half_the_processes_gives_way_to_a_surer_one(stored: Path, clips: Corpus) -> None:
    def lines(processes: int, *allowed: str, occasions: tuple[int, ...] = (4,)) -> int:
        run = make_run(stored, clips, *allowed)
        row = make_row(run)
        row.processes, row.occasions = [4] * processes, list(occasions)
        judge(run, row)
        return len(list(update.write(run, "2026-11-25")))

    assert lines(1, "changed") == 0
    assert lines(2, "new") == 0
    assert lines(2, "changed") == 1
    assert lines(3, "changed") == 0
    assert lines(2, "changed", occasions=(4, 1)) == 0
    assert lines(2, "changed", occasions=(4, 4)) == 1
    assert lines(2, "changed", occasions=(4, 4, 2)) == 0


@pytest.mark.parametrize(("what", "why"), [("seconds", "slow hours"), ("usable", "not caught")])
def test_what_no_baseline_holds_moves_none(stored: Path, clips: Corpus, what: str, why: str) -> None:
    run = make_run(stored, clips, "new", "changed")
    row = judge(run, make_row(run))
    row.verdicts[what] = Verdict(Word.REGRESSED, why)
    assert (row.word, row.against_baseline) == (Word.REGRESSED, Word.PASS)
    assert list(update.write(run, "2026-11-24")) == []


def test_a_record_of_format_1_is_recorded_anew(stored: Path, clips: Corpus) -> None:
    run = make_run(stored, clips, "new")
    kept = written(run)
    speeds = tuple(replace(speed, timed=Timing()) for speed in kept.speeds)
    baselines.write(run.baseline_path("bf16"), replace(kept, speeds=speeds))
    judge(run, make_row(run))
    assert len(list(update.write(run, "2026-11-24"))) == 1


def test_a_record_of_a_bad_hour_is_replaced_by_a_better_one_and_never_the_other_way(
    stored: Path, clips: Corpus
) -> None:
    def slower(by: float, word: Word = Word.INCONCLUSIVE, processes: int = 0) -> list[str]:
        run = make_run(stored, clips, "changed")
        row = make_row(run)
        row.processes = [len(row.pairs)] * processes or row.processes
        row.pairs = {id: [(ref * by, said * by) for ref, said in rounds] for id, rounds in row.pairs.items()}
        assert judge(run, row).word is word
        return list(update.write(run, "2026-11-24"))

    assert slower(1.4) == []
    assert slower(1.4, processes=12) == [], "a surer record of a worse hour is none"
    assert slower(0.906) == []
    assert slower(0.99, Word.PASS) == []
    assert len(slower(0.904)) == 1  # What verdicts call another state of the machine begins there.
    assert len(slower(0.7)) == 1
    assert slower(1.0) == []


def test_an_unreadable_baseline_is_not_new(stored: Path, clips: Corpus) -> None:
    path = make_run(stored, clips).baseline_path("bf16")
    path.write_text(path.read_text("utf-8").replace('"tokens": 5', '"tokens": 6', 1), "utf-8")
    for kind, lines in (("new", 0), ("changed", 1)):
        run = make_run(stored, clips, kind)
        row = make_row(run, stored="edited by hand")
        assert judge(run, row).word is Word.STALE
        assert len(list(update.write(run, "2026-11-24"))) == lines
