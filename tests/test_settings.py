from __future__ import annotations

from pathlib import Path

import pytest

from lxbench import files, settings
from lxbench.errors import UsageError


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("8", 8), ("96", 96)])
def test_clips(text: str, value: int) -> None:
    assert settings.parse_clips(text) == value


@pytest.mark.parametrize("text", ["-1", "all", "", "1.5", "²"])
def test_bad_clips(text: str) -> None:
    with pytest.raises(UsageError, match=r"--lx-clips .* is not a number of clips"):
        settings.parse_clips(text)


def test_batch() -> None:
    assert settings.parse_batch("") == 0
    assert settings.parse_batch("8") == 8


@pytest.mark.parametrize("text", ["0", "1", "-8", "all", "2.5"])
def test_bad_batch(text: str) -> None:
    with pytest.raises(UsageError, match=r"--lx-batch .* is not a number of clips to transcribe at once") as raised:
        settings.parse_batch(text)
    assert "--lx-batch 8" in str(raised.value)


def test_columns() -> None:
    assert settings.parse_columns("") == {}
    assert settings.parse_columns("audio=wav,text=said") == {"audio": "wav", "text": "said"}


@pytest.mark.parametrize("text", ["audio", "audio=", "sound=wav", "text=a,text=b", "audio=wav,"])
def test_bad_columns(text: str) -> None:
    with pytest.raises(UsageError, match=r"--lx-columns .* does not say which column is what") as raised:
        settings.parse_columns(text)
    assert "one or more of audio=NAME,text=NAME,id=NAME" in str(raised.value)


def test_normalizer() -> None:
    assert settings.parse_normalizer("none") == "none"
    with pytest.raises(UsageError, match="--lx-normalizer 'german' is not a normaliser") as raised:
        settings.parse_normalizer("german")
    assert "one of auto, russian, english, basic, none" in str(raised.value)


def test_update() -> None:
    assert settings.parse_update("", {"CI": "true"}, timing=False) == frozenset()
    assert settings.parse_update("new,prune", {}, timing=True) == {"new", "prune"}
    assert settings.parse_update("new", {"CI": "false"}, timing=True) == {"new"}


@pytest.mark.parametrize(
    ("text", "environ", "timing", "message"),
    [
        ("all", {}, True, "--lx-update does not know 'all'"),
        ("new,", {}, True, "does not know ''"),
        ("new", {"CI": "true"}, True, "--lx-update new is refused where CI=true"),
        ("changed", {"CI": "1"}, True, "is refused where CI=1"),
        ("new", {}, False, "--benchmark-disable or --benchmark-skip would store baselines without their speed"),
    ],
)
def test_bad_update(text: str, environ: dict[str, str], timing: bool, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        settings.parse_update(text, environ, timing)


def test_device_auto_takes_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "cuda_available", lambda: True)
    assert [settings.pick_device(word) for word in ("auto", "cpu", "cuda")] == ["cuda", "cpu", "cuda"]
    monkeypatch.setattr(settings, "cuda_available", lambda: False)
    assert [settings.pick_device(word) for word in ("auto", "cpu")] == ["cpu", "cpu"]


def test_bad_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "cuda_available", lambda: False)
    with pytest.raises(UsageError, match="--lx-device cuda: no CUDA device is usable on this machine"):
        settings.pick_device("cuda")
    with pytest.raises(UsageError, match="--lx-device 'gpu' is not a device"):
        settings.pick_device("gpu")


def test_results_folder(tmp_path: Path) -> None:
    folder = settings.new_run_folder(tmp_path / "a" / "b", "now")
    assert folder == tmp_path / "a" / "b" / "now"
    assert list((tmp_path / "a" / "b").iterdir()) == [folder]
    assert [settings.new_run_folder(tmp_path / "a" / "b", "now").name for _ in range(2)] == ["now-2", "now-3"]
    (tmp_path / "file").write_text("")
    for place, why in ((tmp_path / "file" / "results", "Not a directory"), (tmp_path / ("x" * 300), "File name too l")):
        with pytest.raises(UsageError, match=f"the results folder .* cannot be written: {why}"):
            settings.new_run_folder(place, "now")


def test_a_folder_in_the_place_of_the_link_to_the_last_run_is_refused(tmp_path: Path) -> None:
    """It would go on showing another run."""
    (tmp_path / "my results" / "latest").mkdir(parents=True)
    with pytest.raises(UsageError, match="latest is a folder, where a link to this run should be") as raised:
        settings.new_run_folder(tmp_path / "my results", "now")
    assert raised.value.command == f"mv '{tmp_path}/my results/latest' '{tmp_path}/my results/now-kept'"
    (tmp_path / "my results" / "latest").rename(tmp_path / "kept")
    (tmp_path / "my results" / "latest").symlink_to(tmp_path / "kept")
    assert settings.new_run_folder(tmp_path / "my results", "now").is_dir()


def test_a_home_folder_is_found_behind_an_equals_sign_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert files.at_home("~/runs") == "/home/me/runs"
    for other in ("openai/whisper-base", "~nobody-of-that-name/runs"):
        assert files.at_home(other) == other
