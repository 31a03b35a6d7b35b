"""Folders that took long to make, kept in the user's cache: whole, or made again."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

SUMS = "sha256.json"


def ensure(folder: Path, write: Callable[[Path], None]) -> bool:
    """Make a folder unless it is there with every file as it was written.

    It is written beside its place and moved there: an interruption leaves no half of it.

    Args:
        folder: where it is kept; its name says what it was made of.
        write: makes its files in an empty folder.

    Returns:
        Whether it was there.
    """
    if intact(folder):
        return True
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        write(draft)
        sums = {path.name: sha256(path) for path in sorted(draft.iterdir()) if path.is_file()}
        (draft / SUMS).write_text(json.dumps(sums, indent=2) + "\n", "utf-8")
        if folder.exists():
            folder.replace(draft.with_suffix(".old"))
        draft.replace(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(draft.with_suffix(".old"), ignore_errors=True)
    return False


def intact(folder: Path) -> bool:
    """Whether a folder has every file that was written, as it was written."""
    try:
        sums: dict[str, str] = json.loads((folder / SUMS).read_text("utf-8"))
        return all(sha256(folder / name) == digest for name, digest in sums.items())
    except (OSError, ValueError):
        return False


def sha256(*paths: Path) -> str:
    """Digest of files, one after the other, hexadecimal."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()
