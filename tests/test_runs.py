from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from lxbench import runs
from lxbench.errors import UsageError


def test_a_run_that_left_nothing_is_not_the_one_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "results.json").write_text('{"rows": []}')
    (tmp_path / "latest").symlink_to("1")
    popen, ran = subprocess.Popen, list[str]()

    def spy(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        ran.extend(command)
        return popen(command, **options)

    monkeypatch.setattr(subprocess, "Popen", spy)
    monkeypatch.setattr(runs, "SUITE", ("--version",))
    asked = ["-p", "lxbench.plugin", "-c", os.devnull, "--lx-study", "--lx-corpus", "/data/my speech"]
    with pytest.raises(UsageError, match="a run left no results in "):
        runs.run_once(tmp_path, asked)
    assert ran[-3:] == ["--lx-study", "--lx-corpus=/data/my speech", f"--lx-results={tmp_path}"]


@pytest.mark.parametrize(("code", "interrupted"), [(1, False), (4, False), (1, True)])
def test_a_run_without_its_tables_shows_them_where_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: int, interrupted: bool
) -> None:
    made = tmp_path / "suite.py"
    made.write_text(
        "import json, os, pathlib, pytest, sys\n"
        "@pytest.hookimpl(tryfirst=True)\n"
        "def pytest_cmdline_main(config):\n"
        "    print('bf16-cpu: clip 3 of 4')\n"
        "    print('===== lxbench =====')\n"
        "    print('bf16 NEW', os.environ['ASKED'], pathlib.Path.cwd().name)\n"
        "    left = pathlib.Path(os.environ['LEFT']); (left / '1').mkdir(parents=True)\n"
        f"    (left / '1' / 'results.json').write_text('{json.dumps({'interrupted': interrupted})}')\n"
        "    (left / 'latest').symlink_to('1')\n"
        f"    return {code}\n"
        "def pytest_addoption(parser): parser.addoption('--lx-results')\n"
    )
    left, place = tmp_path / "left", tmp_path / "place"
    place.mkdir()
    monkeypatch.setattr(runs, "SUITE", ("-p", "suite", "-c", os.devnull))
    environ = {"PYTHONPATH": str(tmp_path), "ASKED": "so", "LEFT": str(left)}
    if interrupted:
        with pytest.raises(UsageError, match=r"a run was cut off before its end, as -x .*: not all rows are in .*left"):
            runs.run_once(left, [], place, environ, tables=False)
    elif code == 1:
        assert runs.run_once(left, [], place, environ, tables=False) == {"interrupted": False}
    else:
        with pytest.raises(UsageError, match=r"a run ended with exit code 4 in .*place"):
            runs.run_once(left, [], place, environ, tables=False)
    said = capsys.readouterr().out
    assert "bf16-cpu: clip 3 of 4" in said
    assert ("bf16 NEW so place" in said) == (code == 4)


def test_what_runs_have_shown_is_left_beside_them_or_it_is_said_why_not(tmp_path: Path) -> None:
    assert runs.write_last(tmp_path / "ab.json", {"verdict": "PASS"}) == f"everything is in {tmp_path}"
    assert json.loads((tmp_path / "ab.json").read_text("utf-8")) == {"verdict": "PASS"}
    lost = tmp_path / "ab.json" / "ab.json"
    assert runs.write_last(lost, {}).startswith(f"{lost} could not be written: ")


def test_the_time_left_is_said_after_the_first_run() -> None:
    assert runs.time_left(time.monotonic(), 0, 6) == ""
    assert runs.time_left(time.monotonic() - 120, 2, 6) == ", about 4 min left"
