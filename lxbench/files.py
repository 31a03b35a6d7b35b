"""Files that are written whole."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def at_home(text: str) -> str:
    """What was said of a place, with the home folder for its ``~``: behind ``=`` a shell leaves it as it is."""
    return os.path.expanduser(text)  # noqa: PTH111 - pathlib's fails for users that there are not


def spelled(path: Path) -> Path:
    """A whole path as people spell it: ``.`` and ``..`` are gone, links are not followed."""
    return Path(os.path.normpath(path.absolute()))


def check_writable(folder: Path) -> None:
    """Prove that files can be written in a folder, which is made where it is not there.

    Raises:
        OSError: they cannot.
    """
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f".probe-{os.getpid()}"
    try:
        probe.write_bytes(bytes(2**16))  # An empty file fits on a full disk.
    finally:
        probe.unlink(missing_ok=True)


def new_folder(path: Path) -> Path:
    """Create a folder that is nobody else's: where there is one, a number goes behind the name.

    Returns:
        The folder; two processes that ask for the same one get two.

    Raises:
        OSError: it cannot be made.
    """
    number, free = 1, path
    while True:
        try:
            free.mkdir()
        except FileExistsError:
            number += 1
            free = path.with_name(f"{path.name}-{number}")
        else:
            return free


def write(path: Path, content: str | bytes) -> None:
    """Write a file: an interruption or a full disk leaves the old one, or the new one, and nothing beside it.

    Args:
        path: where; folders on the way are made.
        content: text is written as UTF-8; of a name that is not, what JSON reads back as the same.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", dir=path.parent)
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace"))
        draft.chmod(0o644)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
