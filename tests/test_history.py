from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lxbench import history
from lxbench.history import Saved

KEY = {"model": "m", "corpus": "c", "language": "ru", "machine": {"cpu": "x"}}


def save(folder: Path, name: str, key: Any, **means: float) -> Path:
    benchmarks = [{"param": row, "stats": {"mean": mean}, "extra_info": {"key": key}} for row, mean in means.items()]
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"benchmarks": benchmarks}))
    return path


def test_the_newest_run_of_the_same_kind_is_taken(tmp_path: Path) -> None:
    files = [
        save(tmp_path, "0001_a", KEY, fp32=0.6),
        save(tmp_path, "0002_b", KEY, fp32=0.5),
        save(tmp_path, "0003_c", {**KEY, "machine": {"cpu": "y"}}, fp32=0.1),
    ]
    assert history.last(files, KEY) == Saved("0002_b", {"fp32": 0.5})
    assert history.last(files, {**KEY, "corpus": "d"}) is None
    assert history.last([], KEY) is None


@pytest.mark.parametrize("text", ["", "{}", '{"benchmarks": [{}]}', '{"benchmarks": [{"extra_info": {}, "stats": 1}]}'])
def test_files_of_others_are_passed_over(tmp_path: Path, text: str) -> None:
    old = save(tmp_path, "0001_a", KEY, fp32=0.6)
    other = tmp_path / "0002_b.json"
    other.write_text(text)
    assert history.last([old, other], KEY) == Saved("0001_a", {"fp32": 0.6})


def test_rows_on_one_side_only_are_named() -> None:
    compared = history.compare({"fp32": 0.66, "bf16": 0.3}, Saved("0001_a", {"fp32": 0.6, "compile": 0.5}))
    assert compared.change == {"fp32": pytest.approx(0.1)}
    assert compared.only_then == ["compile"]
    assert compared.only_now == ["bf16"]
