"""Which modules of a model a step is about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from lxbench.errors import StepError


def matching(known: Iterable[str], patterns: Sequence[str], kind: str) -> list[str]:
    """Names that match one of some patterns.

    Args:
        known: the names there are.
        patterns: ``*`` stands for any letters.
        kind: what these names are of, for people.

    Raises:
        StepError: a pattern matches none.
    """
    known = list(known)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise StepError(
                f"no {kind} is called {pattern!r}",
                expected=f"names such as {known[0]}, * for any letters",
                command="nox -s bench-cpu -- --lx-describe",
            )
    return [name for name in known if any(fnmatchcase(name, pattern) for pattern in patterns)]


def linears(model: Any, patterns: Sequence[str]) -> dict[str, Any]:
    """The Linears of a model, none of another library, whose names match one of some patterns; see ``matching``."""
    import torch

    known = {name: module for name, module in model.named_modules() if type(module) is torch.nn.Linear}
    return {name: known[name] for name in matching(known, patterns, "Linear")}
