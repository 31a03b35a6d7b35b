from __future__ import annotations

from pathlib import Path

import pytest

from lxbench import ladder, study
from lxbench.errors import UsageError
from lxbench.ladder import ALL, CPU, Variant
from lxbench.variants import VARIANTS


def step(model: object) -> object:
    return model


def test_the_ladder_begins_with_the_reference() -> None:
    assert VARIANTS[0].name == "fp32"
    assert VARIANTS[0].steps == ()
    assert VARIANTS[0].devices == ALL


def test_every_row_says_what_it_is_and_what_must_be_seen_running() -> None:
    assert all(variant.summary and variant.runs for variant in VARIANTS if not variant.study)


def test_a_row_that_a_device_lacks_says_why() -> None:
    reasons = {variant.name: variant.elsewhere for variant in VARIANTS if variant.devices != ALL}
    assert reasons
    assert Variant("x", CPU).elsewhere not in reasons.values()


def test_the_study_knows_its_rows() -> None:
    assert {variant.name for variant in VARIANTS} >= study.ROWS >= {row.name for row in VARIANTS if row.study}


@pytest.mark.parametrize("name", ["FP16", "a b", "", "a_b", "a/b", "ф"])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="outside"):
        ladder.ladder(Variant("fp32", CPU), Variant(name, CPU))


def test_a_name_is_used_once() -> None:
    with pytest.raises(ValueError, match="'fp32' is used twice"):
        ladder.ladder(Variant("fp32", CPU), Variant("fp32", CPU))


@pytest.mark.parametrize("rows", [(), (Variant("bf16", CPU, steps=(step,)),)])
def test_the_first_row_has_no_steps(rows: tuple[Variant, ...]) -> None:
    with pytest.raises(ValueError, match="the first row is the reference"):
        ladder.ladder(*rows)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"no variant is called 'x'") as raised:
        ladder.find(VARIANTS, "x")
    assert "fp32, tf32, fp16, bf16, autocast, autocast-fp16, " in str(raised.value)


def test_rows_from_a_file_come_after_ours(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from lxbench.ladder import CPU, Variant\nVARIANTS = [Variant('mine', CPU)]\n")
    rows = ladder.load(str(file))
    assert rows[: len(VARIANTS)] == VARIANTS
    assert rows[-1].name == "mine"


def test_rows_of_a_module_come_after_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_rows.py").write_text("from lxbench.ladder import CPU, Variant\nVARIANTS = [Variant('mine', CPU)]\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert ladder.load("my_rows")[-1].name == "mine"
    with pytest.raises(UsageError, match="--lx-variants no_such_module: ModuleNotFoundError") as raised:
        ladder.load("no_such_module")
    assert "next: python -c 'import no_such_module'" in str(raised.value)


def test_rows_of_a_package_that_lies_here_come_after_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rows_here").mkdir()
    (tmp_path / "rows_here" / "__init__.py").write_text(
        "from lxbench.ladder import CPU, Variant\nVARIANTS = [Variant('mine', CPU)]\n"
    )
    (tmp_path / "no_rows").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert ladder.load("rows_here")[-1].name == "mine"
    with pytest.raises(UsageError, match=r"--lx-variants no_rows: AttributeError: .* has no attribute 'VARIANTS'"):
        ladder.load("no_rows")
    for folder in ("./rows_here", "rows_here/"):
        with pytest.raises(UsageError, match="neither a Python file nor the name of a module") as raised:
            ladder.load(folder)
        assert str(raised.value).endswith(f"next: ls -l {folder}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "has no attribute 'VARIANTS'"),
        ("VARIANTS = (", "SyntaxError"),
        ("import argparse; argparse.ArgumentParser().parse_args(['--odd'])", "SystemExit"),
        ("from lxbench.ladder import CPU, Variant\nVARIANTS = [Variant('bf16', CPU)]", "'bf16' is used twice"),
        ("from lxbench.ladder import CPU, Variant\nVARIANTS = [Variant('x', CPU, (print))]", "'x' are no tuple of"),
        ("from lxbench.ladder import CPU, Variant\nVARIANTS = [Variant('x', CPU, ('int8',))]", "'x' are no tuple of"),
        (None, "FileNotFoundError"),
    ],
)
def test_a_bad_file_of_rows_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "my rows.py"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UsageError, match=message) as raised:
        ladder.load(str(file))
    assert f"--lx-variants {file}" in str(raised.value)
    assert raised.value.command == f"python '{file}'"


def test_a_file_of_rows_may_have_dataclasses(tmp_path: Path) -> None:
    file = tmp_path / "rows.py"
    file.write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from lxbench.ladder import CPU, Variant\n"
        "@dataclass\n"
        "class Step:\n"
        "    keep: float\n"
        "    def __call__(self, model):\n"
        "        return model\n"
        "VARIANTS = (Variant('mine', CPU, (Step(0.5),)),)\n"
    )
    assert ladder.load(str(file))[-1].name == "mine"
