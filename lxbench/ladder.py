"""What a row of the ladder is. Without torch."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lxbench.commands import typed
from lxbench.errors import UsageError
from lxbench.verdict import Tolerance

CPU = frozenset({"cpu"})
CUDA = frozenset({"cuda"})
ALL = CPU | CUDA

_ASKED = ("family", "languages", "hears_s", "package")  # of a run, by steps: see ``fits``
_ENGINES = typed("pip install 'lxbench[engines]'")

Step = Callable[[Any], Any]
Ladder = tuple["Variant", ...]


def whisper_only(step: Step) -> Step:
    """Mark a step that takes a Whisper apart: rows with it stay out of runs of other architectures."""
    return fits(step, family="whisper")


def fits(step: Step, **only: Any) -> Step:
    """Mark a step by what a run must be for it: rows with it stay out of others, and say why.

    Args:
        step: any.
        only: ``family``, the architecture of the model; ``languages``, Whisper's codes of those that can be spoken;
            ``hears_s``, seconds of the longest clip; ``package``, one that is installed.
    """
    for name, value in only.items():
        setattr(step, name, value)
    return step


def imports(*modules: str) -> Callable[[Step], Step]:
    """Mark a step by what it alone needs and what takes long to import: workers are born with it, where they can be.

    Args:
        modules: their full names.
    """

    def marked(step: Step) -> Step:
        step.imports = modules  # type: ignore[attr-defined]
        return step

    return marked


@dataclass(frozen=True)
class Variant:
    """A row of the ladder.

    Attributes:
        name: test id, baseline name and table row; ``[a-z0-9.+-]`` only.
        devices: where it runs.
        steps: plain functions model -> model, applied in order.
        summary: one line for people.
        runs: a kernel that must be seen while it transcribes, such as ``addmm bfloat16``, ``*`` for any letters; see
            ``census.kernels``.
        elsewhere: why it does not run on the other devices, in a few words for the table.
        clips: only the first so many clips of the corpus's fixed order; 0 for all.
        needs: a package that it does not run without, of the extra ``engines``; empty for none.
        instructions: that its CPU must have, or architecture that its GPU must run; see ``machine.instructions``.
        unusable: the row is here to be caught: should it ever count as usable, that is red.
        study: it runs in ``nox -s study`` alone.
        tolerance: how far its results may move; a row that sets its own says why.
        build_limit_s: seconds without a sign of life until loading, a step or the warm-up counts as hung.
        clip_limit_s: seconds until one clip counts as hung; a batch has as many as its clips together.
    """

    name: str
    devices: frozenset[str]
    steps: tuple[Step, ...] = ()
    summary: str = ""
    runs: str = ""
    elsewhere: str = "not for this device"
    clips: int = 0
    needs: str = ""
    instructions: str = ""
    unusable: bool = False
    study: bool = False
    tolerance: Tolerance = field(default_factory=Tolerance)
    build_limit_s: float = 600.0
    clip_limit_s: float = 120.0

    @property
    def imports(self) -> tuple[str, ...]:
        """Modules that its steps say they need, see ``imports``."""
        return tuple(name for step in self.steps for name in getattr(step, "imports", ()))

    def same_work(self, other: Variant) -> bool:
        """Whether another row builds the same from the same step functions and hears the same clips."""
        return self.steps == other.steps and self.clips == other.clips


def unfit(
    rows: Iterable[Variant], family: str, language: str, longest: float, instructions: Collection[str]
) -> list[Variant]:
    """The rows that have no place in a run, each with that for its reason.

    Args:
        rows: of the ladder.
        family: architecture of the model.
        language: that is spoken.
        longest: seconds of the longest clip.
        instructions: that this CPU has, or architectures that this GPU runs.
    """

    def reason(row: Variant) -> str:
        asked = {name: [getattr(step, name) for step in row.steps if hasattr(step, name)] for name in _ASKED}
        if any(wanted != family for wanted in asked["family"]):
            return f"its steps take a Whisper apart, this is a {family}"
        if lacking := next((known for known in asked["languages"] if language not in known), None):
            return f"for {', '.join(sorted(lacking))} alone"
        if row.needs and importlib.util.find_spec(row.needs) is None:
            return f"needs {row.needs}: {_ENGINES}"
        if missing := next((name for name in asked["package"] if importlib.util.find_spec(name) is None), None):
            return f"needs {missing}: pip install {missing}"
        if row.instructions and row.instructions not in instructions:
            return f"needs a {'GPU' if row.instructions.startswith('sm_') else 'CPU'} with {row.instructions}"
        if (hears := min(asked["hears_s"], default=longest)) < longest:
            return f"hears {hears:g} s, the longest clip has {longest:.1f} s"
        return ""

    return [replace(row, elsewhere=why) for row in rows if (why := reason(row))]


def ladder(*variants: Variant) -> Ladder:
    """Check and return the rows in their order; the first one is the reference.

    Raises:
        ValueError: a name twice, a name outside ``[a-z0-9.+-]``, steps that are none, or a reference with steps.
    """
    names = [variant.name for variant in variants]
    for name in names:
        if not re.fullmatch(r"[a-z0-9.+-]+", name):
            raise ValueError(f"variant name {name!r} has characters outside [a-z0-9.+-]")
        if names.count(name) > 1:
            raise ValueError(f"variant name {name!r} is used twice")
    for variant in variants:
        if not isinstance(variant.steps, tuple) or not all(map(callable, variant.steps)):
            raise ValueError(f"the steps of {variant.name!r} are no tuple of functions, (step,): {variant.steps!r}")
    if not variants or variants[0].steps:
        raise ValueError("the first row is the reference: the model as loaded, without steps")
    return variants


def find(rows: Ladder, name: str) -> Variant:
    """Return the row of a name.

    Raises:
        UsageError: no such row; the message lists those there are.
    """
    for variant in rows:
        if variant.name == name:
            return variant
    raise UsageError(
        f"no variant is called {name!r}",
        expected=f"one of {', '.join(variant.name for variant in rows)}",
        command="nox -s bench-cpu -- --collect-only -q",
    )


def load(extra: str | None = None) -> Ladder:
    """Return the project's ladder, with the rows of a user's own file or module after it.

    Args:
        extra: a Python file, or the name of a module, that defines ``VARIANTS``, a sequence of ``Variant``.

    Raises:
        UsageError: it is not there, fails, or has no usable ``VARIANTS``.
    """
    from lxbench.variants import VARIANTS

    if extra is None:
        return VARIANTS
    try:
        return ladder(*VARIANTS, *_rows_of(extra))
    except (Exception, SystemExit) as error:  # A script ends the process where it finds no arguments of its own.
        raise UsageError(
            f"--lx-variants {extra}: {type(error).__name__}: {error}",
            expected="a Python file, or a module, with VARIANTS = (Variant(...), ...), names not used before",
            command=_to_look_at(extra),
        ) from error


def _is_module_name(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def _to_look_at(extra: str) -> str:
    if extra.endswith(".py"):
        return shlex.join(["python", extra])
    return shlex.join(["python", "-c", f"import {extra}"] if _is_module_name(extra) else ["ls", "-l", extra])


def _rows_of(extra: str) -> tuple[Variant, ...]:
    path = Path(extra)
    if path.suffix != ".py" and not path.is_file():  # A package may lie here as a folder.
        if not _is_module_name(extra):
            raise ValueError("neither a Python file nor the name of a module")
        return tuple(importlib.import_module(extra).VARIANTS)
    spec = importlib.util.spec_from_file_location(f"lxbench_variants_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError("not a Python file")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # Dataclasses look for it there.
    spec.loader.exec_module(module)
    return tuple(module.VARIANTS)
