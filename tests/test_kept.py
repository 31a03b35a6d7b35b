"""Folders in the user's cache."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from lxbench import kept
from lxbench.errors import CacheError
from tests.suite import ROOT


def write(folder: Path) -> None:
    (folder / "file").write_text("made")


def age(folder: Path, days: float) -> None:
    then = time.time() - days * 86400
    os.utime(folder, (then, then))


def test_what_is_damaged_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "kind" / "digest"
    assert [kept.ensure(folder, write), kept.ensure(folder, write)] == [False, True]
    (folder / "file").write_text("made by somebody else")
    assert kept.ensure(folder, write) is False
    assert (folder / "file").read_text() == "made"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["digest"]


def test_what_another_process_has_made_meanwhile_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "kind" / "digest"

    def write_late(draft: Path) -> None:
        assert kept.ensure(folder, write) is False
        write(draft)

    assert kept.ensure(folder, write_late) is False
    assert kept.intact(folder)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["digest"]


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "kind").write_text("a file")
    with pytest.raises(CacheError, match=r"digest could not be made: .*kind.*\n.*\n  next: XDG_CACHE_HOME="):
        kept.ensure(tmp_path / "kind" / "digest", write)

    def fill(_: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(CacheError, match="No space left on device"):
        kept.ensure(tmp_path / "other" / "digest", fill)
    assert list((tmp_path / "other").iterdir()) == []

    def save(draft: Path) -> None:
        save_file({"zeros": np.zeros(4)}, draft / "no folder" / "model.safetensors")  # No OSError, whatever happens.

    with pytest.raises(CacheError, match="could not be made: Error while serializing"):
        kept.ensure(tmp_path / "other" / "digest", save)


def test_a_cache_can_be_shared(tmp_path: Path) -> None:
    folder = tmp_path / "kind" / "digest"
    old = os.umask(0o027)
    try:
        kept.ensure(folder, write)
    finally:
        os.umask(old)
    made = (folder, folder / "file", folder / kept.SUMS)
    assert [path.stat().st_mode & 0o777 for path in made] == [0o750, 0o640, 0o640]


def test_what_nobody_reads_goes_when_something_new_comes(tmp_path: Path) -> None:
    read, unread, recent, strange = (tmp_path / "kind" / name for name in ("read", "unread", "recent", "strange"))
    other_kind = tmp_path / "other" / "unread"
    for folder in (read, unread, recent, other_kind):
        kept.ensure(folder, write)
    strange.mkdir()
    (strange / "file").write_text("somebody's own")
    for folder in (read, unread, strange, other_kind):
        age(folder, 61)
    age(recent, 59)
    assert kept.ensure(read, write) is True
    assert unread.is_dir(), "nothing is deleted while nothing is made"
    kept.ensure(tmp_path / "kind" / "new", write)
    assert sorted(path.name for path in read.parent.iterdir()) == ["new", "read", "recent", "strange"]
    assert other_kind.is_dir()


def test_a_draft_whose_maker_was_killed_goes_when_it_is_made_again(tmp_path: Path) -> None:
    """By SIGKILL, as an out-of-memory killer does: nothing of its own cleans up."""
    script = (
        "import os, signal, sys; from pathlib import Path; from lxbench import kept\n"
        "def write(draft):\n    (draft / 'weights').write_bytes(bytes(9))\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "kept.ensure(Path(sys.argv[1]), write)"
    )
    folder = tmp_path / "made"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", script, str(folder)], check=False, cwd=ROOT)
    young, old = tmp_path.glob(".made-*")
    for path in (old / "weights", old):
        os.utime(path, (0, 0))
    assert not kept.ensure(folder, lambda draft: (draft / "weights").touch())
    assert list(tmp_path.glob(".made-*")) == [young], "its maker may still be at it"


def test_a_digest_tells_names_types_shapes_order_and_contents() -> None:
    made = torch.arange(6, dtype=torch.int32)
    same = {"a": made, "b": made.float()}
    others = [
        {"b": made.float(), "a": made},
        {"a": made, "c": made.float()},
        {"a": made.view(2, 3), "b": made.float()},
        {"a": made.view(torch.float32), "b": made.float()},
        {"a": made + 1, "b": made.float()},
        {"a": made},
    ]
    digests = [kept.digest(tensors, "code") for tensors in (same, *others)]
    assert len({*digests, kept.digest(same, "other code")}) == 8
    assert kept.digest({name: each.clone() for name, each in same.items()}, "code") == digests[0]
    assert kept.digest({"t": made.view(2, 3).T}) == kept.digest({"t": made.view(2, 3).T.contiguous()})
