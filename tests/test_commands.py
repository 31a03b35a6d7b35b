from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lxbench import commands
from tests.suite import require


@pytest.mark.parametrize(
    ("command", "in_a_checkout", "from_a_wheel"),
    [
        ("less x.log", "less x.log", "less x.log"),
        ("nox -s bench-cpu", "nox -s bench-cpu", "pytest --pyargs lxbench.bench --lx-device=cpu"),
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
        (
            "XDG_CACHE_HOME=/tmp/cache nox -s bench-cpu -- -k x",
            "XDG_CACHE_HOME=/tmp/cache nox -s bench-cpu -- -k x",
            "XDG_CACHE_HOME=/tmp/cache pytest --pyargs lxbench.bench --lx-device=cpu -k x",
        ),
        (
            "nox -s bench-cpu -- --lx-skip-bad --lx-study --lx-corpus '/a b'  # so",
            "nox -s bench-cpu -- --lx-skip-bad --lx-study --lx-corpus '/a b'  # so",
            "pytest --pyargs lxbench.bench --lx-device=cpu --lx-skip-bad --lx-study --lx-corpus='/a b'  # so",
        ),
        (
            "less lxbench/variants.py  # change its steps",
            "less lxbench/variants.py  # change its steps",
            f"less {Path(commands.__file__).with_name('variants.py')}  # change its steps",
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


def test_what_records_and_calibrates_takes_the_options_of_a_run_along() -> None:
    options = ["--lx-model", "my model", "--lx-variants", "rows.py"]
    repeated = "--lx-model 'my model' --lx-variants rows.py"
    assert commands.to_record("cpu", "q-cpu", options) == f"nox -s baselines -- -k '[q-cpu]' {repeated}"
    assert commands.to_record("cpu", options=options) == f"nox -s baselines -- {repeated}"
    assert commands.to_record("cuda", options=options) == f"nox -s bench-gpu -- --lx-update new,changed {repeated}"
    assert commands.to_calibrate("cpu", "q-cpu", options).endswith(f"-k '[q-cpu]' {repeated}")


def test_what_compares_codes_goes_by_the_device_and_names_the_commit_first() -> None:
    options = ["--lx-corpus", "my speech"]
    told = commands.to_compare_codes("cpu", ["q-cpu"], "c0ffee", options)
    assert told == "nox -s ab -- c0ffee -k '[q-cpu]' --lx-corpus 'my speech'"
    installed = "python -m lxbench.ab --lx-device=cpu c0ffee -k '[q-cpu]' --lx-corpus='my speech'"
    assert commands.typed(told, installed=True) == installed
    told = commands.to_compare_codes("cuda", ["q-cuda", "p-cuda"], "c0ffee")
    assert told == "python -m lxbench.ab c0ffee --lx-device cuda -k '[q-cuda] or [p-cuda]'"


@pytest.mark.parametrize("name", ["ab", "baselines", "calibrate"])
def test_rows_of_other_engines_can_be_recorded_and_calibrated(name: str) -> None:
    require("nox")
    import noxfile

    installed: list[str] = []
    session: Any = SimpleNamespace(install=lambda *what: installed.extend(what), run=lambda *_, **__: None, posargs=())
    getattr(noxfile, name)(session)
    assert installed[-1] == ".[embedded,engines]"
