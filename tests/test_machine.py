from __future__ import annotations

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
