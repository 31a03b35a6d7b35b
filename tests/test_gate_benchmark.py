"""The scripts that measure how often the gate is wrong, on recordings made by chance."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lxbench import corpus
from lxbench.corpus.audio import read_audio
from lxbench.families import Loaded
from lxbench.transcribe import transcribe
from lxbench.verdict import Word
from tests.suite import CORPORA
from tools.gate import accuracy, harms, record, speed
from tools.gate.shares import said, wilson
from tools.gate.speed import Recording

CLIPS = 48


def recording(seed: int, noise: float = 0.03) -> Recording:
    generator = np.random.default_rng(seed)
    return Recording(
        {
            f"c{n}": [(1.2 * np.exp(generator.normal(0, noise)), 0.6 * np.exp(generator.normal(0, noise)))]
            for n in range(CLIPS)
        },
        processes=2,
    )


RECORDINGS = [recording(seed) for seed in range(7)]


def test_every_two_recordings_are_compared_and_no_recording_with_itself() -> None:
    tried = list(speed.trials(RECORDINGS, RECORDINGS, draws=2))
    assert len(tried) == 7 * 6 * 2
    assert all(i != j for trial in tried for i, j in [trial.drawn])
    for trial in tried:
        kept = {pair for rounds in trial.then.pairs.values() for pair in rounds}
        assert not any(rounds[0] in kept for each in (trial.now, *trial.more) for rounds in each.pairs.values())
        found = [next(n for n, one in enumerate(RECORDINGS) if one is each) for each in trial.more]
        rest = [n for n in range(7) if n in found or (RECORDINGS[n].pairs["c0"][0] not in kept and n != trial.drawn[1])]
        assert [rest.index(n) for n in found] == list(range(rest.index(found[0]), rest.index(found[0]) + len(found)))
    assert len(list(speed.trials(RECORDINGS[:2], [recording(9)], draws=1))) == 2


def test_a_record_is_timed_again_until_it_is_sure() -> None:
    def rounds(noise: float) -> tuple[list[int], int, float]:
        first, *again = (replace(recording(seed, noise), processes=4) for seed in range(3))
        record = speed.recorded(first, again)
        return [len(pairs) for pairs in record.pairs.values()], record.processes, round(record.occasions, 3)

    assert rounds(0.003) == ([2] * 24 + [1] * 24, 6, 1.8)
    assert rounds(0.028) == ([3] * 24 + [2] * 24, 10, round(120**2 / (48**2 + 72**2), 3))
    assert rounds(0.2) == ([3] * 48, 12, 1.8)


def test_a_slowdown_is_what_slower_timings_would_have_shown() -> None:
    trial = next(speed.trials(RECORDINGS, RECORDINGS, draws=1))

    def slowed(each: Recording) -> Recording:
        return Recording({id: [(ref, 1.1 * own) for ref, own in rounds] for id, rounds in each.pairs.items()}, 2)

    slow = replace(trial, now=slowed(trial.now), more=[slowed(each) for each in trial.more])
    for (plain, pairs), (really, as_many) in zip(speed.looks(trial), speed.looks(slow), strict=True):
        moved = speed.slower(plain, 0.1)
        assert (moved.plain.value, moved.plain.low, moved.strict.high) == pytest.approx(
            (really.plain.value, really.plain.low, really.strict.high), rel=1e-6
        )
        assert pairs == as_many


def test_looks_go_from_block_to_block_as_far_as_the_budget_goes() -> None:
    trial = next(speed.trials(RECORDINGS, RECORDINGS, draws=1))
    seen = speed.Remembered(speed.looks(trial))
    assert [pairs for _, pairs in seen] == [24, 48, 72, 96, 120, 144]  # today's first block, and all of two others
    assert speed.ours(seen, 0.0, 0.03, 144)[0] is Word.PASS
    assert speed.ours(seen, 0.2, 0.03, 144) == (Word.REGRESSED, 48)  # what is red is looked at once more
    assert [speed.ours(seen, 0.05, 0.03, most)[1] for most in (48, 144)] == [48, 144]
    assert len(list(seen)) == 6  # remembered


def test_the_rules_of_others() -> None:
    now, then = [1.0 + n / 1000 for n in range(48)], [0.9 + n / 1000 for n in range(48)]
    assert speed.mean_10_percent(now, then)
    assert not speed.mean_10_percent(now, [0.95 + n / 1000 for n in range(48)])
    assert speed.mann_whitney(now, then)
    assert not speed.mann_whitney(now, [0.95 + n / 1000 for n in range(48)])
    assert speed.mann_whitney_alone(now, [0.95 + n / 1000 for n in range(48)])
    assert not speed.mann_whitney_alone(then, now)


def test_shares_have_the_wider_of_two_intervals() -> None:
    assert said(wilson(1, 2)) == "50.0% [9.5%, 90.5%]"
    share, low, high = speed.rate({(0, 1): [True], (1, 0): [False]}, same=True)
    assert share == 0.5
    assert low < 0.1
    assert high > 0.9
    share, low, high = speed.rate({(i, j): [False] for i in range(5) for j in range(5) if i != j}, same=True)
    assert (share, low) == (0.0, 0.0)
    assert high == pytest.approx(0.161, abs=0.001)


def test_the_tables_of_a_file(tmp_path: Path) -> None:
    runs = [{"rows": {"bf16": {"pairs": dict(each.pairs), "processes": each.processes}}} for each in RECORDINGS]
    path = tmp_path / "recorded.json"
    path.write_text(json.dumps({"runs": runs}), "utf-8")
    lines = list(speed.speed(path, None, 0.03, draws=1))
    assert lines[0].startswith("\nbf16: ratio 1.998")
    (slow,) = [line for line in lines if line.startswith("| 20% |")]
    assert slow.split(" | ")[1].startswith("100.0%")
    assert slow.endswith("| REGRESSED 100.0% | 48 |")
    (equal,) = [line for line in lines if line.startswith("| 0% |")]
    assert equal.split(" | ")[1].startswith("0.0%")


def test_a_saved_run_counts_once_whatever_links_lead_to_it(tmp_path: Path) -> None:
    for name in ("2026-11-24T08-00-00", "2026-11-25T08-00-00"):
        (tmp_path / name).mkdir()
        saved: dict[str, Any] = {"started": name, "machine": {"cpu": "x"}, "rows": []}
        (tmp_path / name / "results.json").write_text(json.dumps(saved), "utf-8")
    (tmp_path / "latest").symlink_to("2026-11-25T08-00-00")
    recorded = tmp_path / "recorded.json"
    record.main([str(recorded), "--saved", *map(str, sorted(tmp_path.glob("*/results.json")))])
    runs = json.loads(recorded.read_text("utf-8"))["runs"]
    assert [run["started"] for run in runs] == ["2026-11-24T08-00-00", "2026-11-25T08-00-00"]


def clip(edits: int) -> dict[str, Any]:
    return {"text": "раз " * edits, "words": 6, "word_edits": edits, "characters": 30, "character_edits": 4 * edits}


def test_mistakes_are_judged_whole_resampled_and_one_clip_at_a_time(tmp_path: Path) -> None:
    def row(variant: str, edits: list[int]) -> dict[str, Any]:
        return {"variant": variant, "complete": True, "clips": [clip(each) for each in edits]}

    path = tmp_path / "results.json"
    rows = [row("ptq-dynamic", [1] * 40), row("harm-bad", [5] * 40), row("harm-none", [1] * 40), row("fp32", [0] * 40)]
    path.write_text(json.dumps({"rows": rows}), "utf-8")
    lines = list(accuracy.accuracy(path))
    assert lines[2].startswith("| bad | 0.833 | 40 | 24 | REGRESSED | 0.01% | 100.0%")
    assert lines[3].startswith("| none | 0.167 | 0 | 0 | PASS | 100.00% | 0.0%")
    assert lines[-1].startswith("| 4 words | 40 | 100.0%")


def test_a_dropped_suppression_list_lets_every_token_be_said(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """It changes nothing on the embedded corpus: here is that the mistake is a real one."""
    clip = corpus.load("ivr-ru", CORPORA, 1).clips[0]
    audio = read_audio(clip.path)
    plain = transcribe(loaded, audio, "ru")
    spoken = loaded.tokenizer(" " + plain.text, add_special_tokens=False).input_ids
    muted = replace(loaded, suppressed=(*loaded.suppressed, *spoken))
    assert transcribe(muted, audio, "ru").text != plain.text
    monkeypatch.setattr(loaded.model, "generate", loaded.model.generate)  # the step replaces it
    harms.drop_suppression(loaded.model)
    assert transcribe(muted, audio, "ru").text == plain.text
