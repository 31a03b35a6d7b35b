"""The architecture card: what a model is made of, equal layers folded, with parameters and bytes of every part."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any


def describe(folder: Path) -> list[str]:
    """Load a resolved model and describe it, see ``lines``."""
    from lxbench import models
    from lxbench.worker import noise

    noise.hush()
    return lines(models.load(folder, "cpu").model)


def lines(model: Any) -> list[str]:
    """Describe a model line by line: parameters, bytes, and the module, children indented under their parents.

    Equal layers are folded as torch prints them, ``(0-31): 32 x WhisperEncoderLayer``. What stands under a folded line
    is one of the layers; the line itself and its parents count all of them. A weight that two modules share is
    counted where it comes first, and is called tied where it comes again.

    Args:
        model: any ``torch.nn.Module``.
    """
    return [f"{'parameters':>15} {'size':>12}  module", *_walk("", [model], set(), 0)]


def _walk(labels: str, twins: list[Any], seen: set[int], depth: int) -> Iterator[str]:
    first, *others = twins
    tied = all(id(parameter) in seen for parameter in first.parameters()) and any(True for _ in first.parameters())
    fresh = {id(p): p for twin in twins for p in twin.parameters() if id(p) not in seen}.values()
    parameters, size = sum(p.numel() for p in fresh), sum(p.numel() * p.element_size() for p in fresh)
    counts = f"{'tied':>15} {'':>12}" if tied else f"{parameters:>15,} {size / 2**20:>8,.1f} MiB"
    times = f"{len(twins)} x " if others else ""
    yield f"{counts}  {'  ' * depth}{labels}{times}{_head(first)}"
    for names, children in _groups(first):
        yield from _walk(f"({names}): ", children, seen, depth + 1)
    seen.update(id(parameter) for twin in twins for parameter in twin.parameters())


def _groups(module: Any) -> Iterator[tuple[str, list[Any]]]:
    """Yield labels such as ``0-5`` and modules: the children, equal numbered neighbours together."""

    def twins(child: tuple[str, Any]) -> str:
        name, module = child
        return repr(module) if name.isdigit() else name

    for _, group in groupby(module.named_children(), key=twins):
        names, children = zip(*group, strict=True)
        yield (names[0] if len(names) == 1 else f"{names[0]}-{names[-1]}"), list(children)


def _head(module: Any) -> str:
    """The class of a module, with its own settings where it has no children."""
    settings = "" if any(True for _ in module.children()) else module.extra_repr()
    return f"{type(module).__name__}({settings})" if settings else type(module).__name__
