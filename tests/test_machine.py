from __future__ import annotations

import os
from pathlib import Path

import pytest

from lxbench import machine

HERE = {
    "cpu": "x", "isa": ["avx2"], "cores": 2, "threads": 2, "memory_gib": 24, "gpu": None, "driver": None,
    "system": "Linux x86_64", "python": "3.11.2", "versions": {"torch": "2.13.0"}, "load": [0.5, 0.5, 0.5],
}  # fmt: skip


@pytest.mark.parametrize("key", ["isa", "threads", "gpu"])
def test_ratios_of_machines_that_differ_in_this_mean_another_thing(key: str) -> None:
    assert machine.same_kind(HERE, dict(HERE))
    assert not machine.same_kind(HERE, {**HERE, key: "another"})


@pytest.mark.parametrize("key", sorted(set(HERE) - {"load"}))
def test_seconds_are_of_a_machine_that_is_equal_in_all_that_lasts(key: str) -> None:
    there = {**HERE, "load": [2.0, 2.0, 2.0], key: "another"}
    assert machine.differing(HERE, there, machine.SECONDS_KEYS) == [key]


def test_this_machine_is_described_by_what_is_compared() -> None:
    assert set(machine.describe(2)) == set(HERE)
    assert set(machine.lasting(machine.describe(2))) == set(HERE) - {"load", "versions"}


@pytest.mark.parametrize(
    ("told", "cores"),
    [
        ({}, 64),
        ({"cpu.max": "max 100000\n"}, 64),
        ({"cpu.max": "250000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "9900000 100000\n"}, 64),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu.max": "some day\n"}, 64),
    ],
)
def test_a_container_has_as_many_threads_as_it_has_the_time_of(
    told: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64), raising=False)
    for name, text in told.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert machine.usable_threads(tmp_path) == cores
