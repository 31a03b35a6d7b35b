from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lxbench import history
from lxbench.history import Comparison, Saved

KEY = {"model": "m", "corpus": "c", "language": "ru", "machine": {"cpu": "x"}}


def heard(seconds: float) -> list[dict[str, Any]]:
    return [{"id": id, "seconds": seconds, "pairs": [[2 * seconds, seconds]]} for id in "abcd"]


def save(folder: Path, name: str, key: Any, **seconds: float) -> Path:
    """A file in which pytest-benchmark's clock shows a little more than the worker's."""
    benchmarks = [
        {
            "param": row,
            "stats": {"data": [value + 0.01] * 4},
            "extra_info": {"key": key, "lxbench": {"row": {"processes": 1, "clips": heard(value)}}},
        }
        for row, value in seconds.items()
    ]
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"benchmarks": benchmarks}))
    return path


def test_the_newest_run_of_the_same_kind_is_taken(tmp_path: Path) -> None:
    files = [
        save(tmp_path, "0001_a", KEY, fp32=0.6),
        save(tmp_path, "0002_b", KEY, fp32=0.5),
        save(tmp_path, "0003_c", {**KEY, "machine": {"cpu": "y"}}, fp32=0.1),
    ]
    saved = history.last(files, KEY)
    assert saved == Saved("0002_b", {"fp32": [0.5] * 4}, reference={"fp32": dict.fromkeys("abcd", 1.0)})
    assert history.last(files, {**KEY, "machine": {"cpu": "z"}}) == Saved("0003_c", {}, ("cpu",))
    assert history.last(files, {**KEY, "corpus": "d"}) is None
    assert history.last([], KEY) is None


@pytest.mark.parametrize("text", ["", "{}", '{"benchmarks": [{}]}', '{"benchmarks": [{"extra_info": {}, "stats": 1}]}'])
def test_files_of_others_are_passed_over(tmp_path: Path, text: str) -> None:
    old = save(tmp_path, "0001_a", KEY, fp32=0.6)
    other = tmp_path / "0002_b.json"
    other.write_text(text)
    saved = history.last([old, other], KEY)
    assert saved is not None
    assert (saved.name, saved.seconds) == ("0001_a", {"fp32": [0.6] * 4})


def test_seconds_are_compared_clip_by_clip_and_rows_on_one_side_are_named() -> None:
    saved = Saved("0001_a", {"fp32": [0.6, 1.2, 0.3], "compile": [0.5] * 3, "q": [0.1] * 4})
    compared = history.compare({"fp32": [0.66, 1.32, 0.33], "bf16": [0.3] * 3, "q": [0.2] * 3}, saved)
    assert list(compared.change) == ["fp32", "q"]
    assert compared.change["q"].plain.value == pytest.approx(2.0)  # over the clips that it heard both times
    assert compared.change["fp32"].plain.value == pytest.approx(1.1)
    assert compared.only_then == ["compile"]
    assert compared.only_now == ["bf16"]


def test_seconds_of_another_machine_are_not_compared() -> None:
    compared = history.compare({"fp32": [0.6, 1.2, 0.3]}, Saved("0001_a", {}, ("cpu", "versions")))
    assert compared == Comparison("0001_a", {}, [], [], ("cpu", "versions"))
