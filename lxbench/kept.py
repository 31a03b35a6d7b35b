"""Folders that took long to make, kept in the user's cache: whole, or made again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import platformdirs

from lxbench.errors import CacheError

SUMS = "sha256.json"
_DAYS = 60  # that something is kept which nobody reads
_ABANDONED_S = 3600.0  # Nobody takes that long from one file of a draft to the next.

# What this process asked for: how much of it was ``cached``, and how much is ``new``.
origins: Counter[str] = Counter()


def place(kind: str, digest: str) -> Path:
    """Where something of a kind is kept that was made of what has this digest."""
    return platformdirs.user_cache_path("lxbench") / kind / digest


def digest(tensors: Mapping[str, Any], *facts: object) -> str:
    """Digest of all that something is made of, hexadecimal.

    Args:
        tensors: by name.
        facts: whatever else decides it; each with a ``repr`` that tells all of it.
    """
    import torch

    def of(tensor: Any) -> str:
        # As bytes: numpy does not know every type.
        return hashlib.sha256(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()).hexdigest()

    taken = hashlib.sha256(repr(facts).encode())
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for (name, tensor), content in zip(tensors.items(), pool.map(of, tensors.values()), strict=True):
            taken.update(f"{name} {tensor.dtype} {tensor.shape} {content}".encode())
    return taken.hexdigest()[:32]


def ensure(folder: Path, write: Callable[[Path], None]) -> bool:
    """Make a folder unless it is there with every file as it was written.

    It is written beside its place and moved there: an interruption leaves no half of it. With what is new there, what
    was of no use for a long time goes.

    Args:
        folder: where it is kept; its name says what it was made of.
        write: makes its files in an empty folder.

    Returns:
        Whether it was there.

    Raises:
        CacheError: it could not be written.
    """
    there = intact(folder)
    origins["cached" if there else "new"] += 1
    if there:
        with suppress(OSError):  # A cache may be read-only.
            os.utime(folder)
        return True
    from safetensors import SafetensorError

    try:
        _make(folder, write)
    except (OSError, SafetensorError) as error:  # The latter of a disk that is full, too.
        if intact(folder):  # Another process made it meanwhile.
            return True
        raise CacheError(
            f"{folder} could not be made: {error}",
            expected="a cache that this user may write, with room in it",
            command="XDG_CACHE_HOME=/tmp/cache nox -s bench-cpu",
        ) from error
    _forget_unused(folder.parent)
    return False


def _make(folder: Path, write: Callable[[Path], None]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    _forget_abandoned(folder)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        write(draft)
        sums = {path.name: sha256(path) for path in sorted(draft.iterdir()) if path.is_file()}
        (draft / SUMS).write_text(json.dumps(sums, indent=2) + "\n", "utf-8")
        _share(draft)
        if folder.exists():
            folder.replace(draft.with_suffix(".old"))
        draft.replace(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(draft.with_suffix(".old"), ignore_errors=True)


def _share(folder: Path) -> None:
    """Give what is in a folder the rights of any new file: a draft is its maker's alone, a cache may be shared."""
    os.umask(mask := os.umask(0))
    for path in (folder, *folder.rglob("*")):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)


def _forget_unused(kind: Path) -> None:
    """Delete what was made here, beside something new, and neither made nor read for a long time."""
    for sums in kind.glob(f"*/{SUMS}"):  # The place may be one that somebody chose: nothing else is touched.
        with suppress(OSError):  # Another process may be at it too.
            if time.time() - sums.parent.stat().st_mtime > _DAYS * 86400:
                shutil.rmtree(sums.parent)


def _forget_abandoned(folder: Path) -> None:
    """Delete drafts of a folder whose makers were killed, which may be as large as a model and come again each time."""
    for draft in folder.parent.glob(f".{folder.name}-*"):
        with suppress(OSError):
            if time.time() - max(path.stat().st_mtime for path in (draft, *draft.rglob("*"))) > _ABANDONED_S:
                shutil.rmtree(draft)


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
