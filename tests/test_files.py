from __future__ import annotations

from pathlib import Path

import pytest

from lxbench import files


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "page.html"
    files.write(path, "раз")
    assert path.read_text("utf-8") == "раз"
    files.write(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert path.stat().st_mode & 0o777 == 0o644

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        files.write(path, "два")
    assert [file.name for file in path.parent.iterdir()] == ["page.html"]
    assert path.read_bytes() == b"\x00\xff"


def test_a_folder_that_cannot_be_written_is_found_out(tmp_path: Path) -> None:
    files.check_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        files.check_writable(tmp_path / "file" / "folder")
