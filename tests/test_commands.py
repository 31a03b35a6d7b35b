from __future__ import annotations

import pytest

from lxbench import commands


@pytest.mark.parametrize(
    ("command", "in_a_checkout", "from_a_wheel"),
    [
        ("less x.log", "less x.log", "less x.log"),
        ("nox -s bench-cpu", "nox -s bench-cpu", "pytest --pyargs lxbench.bench --lx-device cpu"),
        (
            "nox -s report -- results/latest",
            "nox -s report -- results/latest",
            "python -m lxbench.report results/latest",
        ),
        (
            "pip install 'lxbench[engines]'",
            'pip install -c constraints/cpu.txt -e ".[engines]"',
            "pip install 'lxbench[engines]'",
        ),
    ],
)
def test_a_command_is_typed_as_lxbench_is_installed(command: str, in_a_checkout: str, from_a_wheel: str) -> None:
    assert commands.typed(command, installed=False) == in_a_checkout
    assert commands.typed(command, installed=True) == from_a_wheel


def test_what_records_and_calibrates_goes_by_the_device() -> None:
    assert commands.to_record("cpu") == "nox -s baselines"
    assert commands.to_record("cpu", "q-cpu") == "nox -s baselines -- -k '[q-cpu]'"
    assert commands.to_record("cuda") == "nox -s bench-gpu -- --lx-update new,changed"
    assert commands.to_record("cuda", "q-cuda") == "nox -s bench-gpu -- --lx-update new,changed -k '[q-cuda]'"
    asked = "--runs 8 --lx-clips 24 -k "
    assert commands.to_calibrate("cpu", "q-cpu") == f"nox -s calibrate -- {asked}'[q-cpu]'"
    assert commands.to_calibrate("cuda", "q-cuda") == f"python -m lxbench.calibrate --lx-device cuda {asked}'[q-cuda]'"
