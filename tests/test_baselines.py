from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

from lxbench import baselines
from lxbench.baselines import ClipRecord, Spread
from lxbench.errors import BaselineError
from lxbench.score import Counts
from lxbench.stats import Timing
from tests.samples import CLIP, SPEED, baseline


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = baselines.folder(tmp_path, "whisper-base", "ivr-ru", "cpu") / "bf16.json"
    assert baselines.read(path) is None
    said = replace(CLIP, text="четыре", counts=Counts(3, 2, 11, 4))
    timed = Timing({"one": 1.9}, {"one": 0.5}, processes=4.25, occasions=1.8)
    known = replace(SPEED, timed=timed, spread=Spread(0.004, 0.02, 10, "2026-11-24"))
    other = replace(known, machine={"isa": [], "threads": 8}, recorded="2026-11-25", otherwise=(said,), spread=None)
    whole = replace(baseline(), speeds=(known, other), calibration="c" * 64)
    assert all(getattr(whole, each.name) != each.default for each in fields(whole))
    baselines.write(path, whole)
    assert baselines.read(path) == whole
    assert [file.name for file in path.parent.iterdir()] == ["bf16.json"]


def test_a_machine_of_no_recorded_kind_is_held_against_the_likest() -> None:
    first = baseline()
    narrow, wide = ["avx2"], ["avx2", "avx512f", "avx512_vnni"]
    speed = replace(first.speeds[0], machine={"isa": narrow})
    both = replace(first, speeds=(speed,)).with_record(
        replace(speed, machine={"isa": wide}), [replace(clip, text="другое") for clip in first.clips]
    )

    def said(*isa: str) -> set[str]:
        return {clip.text for clip in both.clips_on({"isa": list(isa)})}

    assert said(*wide, "amx_int8") == said(*wide) == {"другое"}
    assert said("avx2", "avx512f") == {"другое"}
    assert said(*narrow) == said("asimd") == said() == {clip.text for clip in first.clips}


def test_the_file_is_readable_and_has_one_line_per_clip(tmp_path: Path) -> None:
    path = tmp_path / "bf16.json"
    baselines.write(path, baseline(CLIP, ClipRecord("two", "g", "четыре", 2, Counts(1, 0, 6, 0))))
    content = json.loads(path.read_text("utf-8"))
    assert content["wer"] == 0.25
    lines = [line for line in path.read_text("utf-8").splitlines() if '"text"' in line]
    assert len(lines) == 2
    assert "раз, два «три»" in lines[0]


@pytest.mark.parametrize("old", ["раз, два", '"tokens": 7', '"word_edits": 1', '"wer": 0.333333'])
def test_an_edit_by_hand_is_seen(tmp_path: Path, old: str) -> None:
    path = tmp_path / "my baselines" / "cpu" / "bf16.json"
    baselines.write(path, baseline())
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, old.replace("1", "0").replace("7", "8").replace("3", "2").replace("раз", "два")))
    with pytest.raises(BaselineError, match=r"bf16\.json was edited by hand: its checksum does not match") as raised:
        baselines.read(path)
    assert "nox -s baselines -- -k '[bf16-cpu]'" in str(raised.value)
    assert f"git checkout -- '{path}'  #" in str(raised.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "\x00"])
def test_a_damaged_file_is_refused(tmp_path: Path, text: str) -> None:
    for folder, quote in (("baselines", ""), ("my baselines", "'")):
        path = tmp_path / folder / "bf16.json"
        path.parent.mkdir()
        path.write_text(text)
        with pytest.raises(BaselineError, match=r"bf16\.json cannot be read") as raised:
            baselines.read(path)
        assert f"git checkout -- {quote}{path}{quote}  #" in str(raised.value)


def test_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bf16.json"
    path.write_text('{"format": 99, "checksum": ""}')
    with pytest.raises(BaselineError, match="has format 99"):
        baselines.read(path)


def test_a_file_of_format_1_has_the_speed_of_one_machine(tmp_path: Path) -> None:
    path = tmp_path / "bf16.json"
    baselines.write(path, baseline())
    content = json.loads(path.read_text("utf-8"))
    del content["checksum"]
    (speed,) = content["speed"]
    content |= {"format": 1, "speed": {key: speed[key] for key in ("ratio", "seconds", "peak_mib", "machine")}}
    path.write_text(json.dumps({**content, "checksum": baselines._checksum(content)}), "utf-8")
    read = baselines.read(path)
    assert read is not None
    assert read.speeds[0].timed == Timing()
    assert read.speeds[0].recorded == read.recorded
    assert read.speeds[0].ratio == baseline().speeds[0].ratio


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bf16.json"
    baselines.write(path, baseline())

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        baselines.write(path, baseline(ClipRecord("two", "g", "x", 1, Counts())))
    assert baselines.read(path) == baseline()
    assert [file.name for file in tmp_path.iterdir()] == ["bf16.json"]


def test_orphans_are_files_without_a_variant(tmp_path: Path) -> None:
    for name in ("bf16", "renamed"):
        baselines.write(tmp_path / f"{name}.json", baseline(variant=name))
    assert baselines.orphans(tmp_path, {"bf16", "fp32"}) == [tmp_path / "renamed.json"]
    assert baselines.orphans(tmp_path / "nowhere", {"bf16"}) == []
