"""The options of one run, checked before anything is built."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lxbench import files
from lxbench.corpus import CALIBRATION, EMBEDDED
from lxbench.corpus.listing import KNOWN
from lxbench.errors import UsageError
from lxbench.models import EMBEDDED as EMBEDDED_MODEL
from lxbench.score import AUTO, NORMALIZERS

DEVICES = ("auto", "cpu", "cuda")
UPDATES = ("new", "changed", "prune")


@dataclass(frozen=True)
class Settings:
    """What the user asked for.

    Attributes:
        device: ``cpu`` or ``cuda``; ``auto`` is already decided.
        model: SPEC of the model.
        corpus: SPEC of the corpus.
        calibration: SPEC of the corpus that steps may look at.
        language: Whisper's code of the spoken language.
        clips: how many clips of the corpus's fixed order; 0 means all.
        baselines: the folder of stored baselines.
        update: which baselines this run may write or delete.
        results: where every run leaves its folder.
        variants: a Python file or module with further rows, or None.
        profile: whether every row is profiled.
        study: whether the rows of the study are run, and its tables written.
        timing: whether latency is measured (not ``--benchmark-disable``).
        threads: compute threads of every worker.
        revision: branch, tag or commit of a model on the hub; empty for its main branch.
        columns: what the corpus calls ``audio``, ``text`` and ``id``, where it has names of its own.
        normalizer: ``auto`` for that of the language, or a key of ``score.NORMALIZERS``.
        batch: how many clips are transcribed at once where throughput is measured; 0 where it is not.
        skip_bad: whether a run goes on without the clips that cannot be used.
    """

    device: str
    model: str = EMBEDDED_MODEL
    corpus: str = EMBEDDED
    language: str = "ru"
    clips: int = 0
    baselines: Path = Path("baselines")
    update: frozenset[str] = frozenset()
    results: Path = Path("results")
    calibration: str = CALIBRATION
    variants: str | None = None
    profile: bool = False
    study: bool = False
    timing: bool = True
    threads: int = 1
    revision: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    normalizer: str = AUTO
    batch: int = 0
    skip_bad: bool = False


_REPEATED = (
    *("model", "revision", "corpus", "columns", "calibration", "language", "normalizer"),
    *("clips", "baselines", "variants"),
)


def repeated(asked: Settings, part: bool = False) -> list[str]:
    """The options of a run that are not the default, for the command that goes on from it.

    Args:
        asked: the options; those of one run alone are left out, and the device, which is in the name of a session.
        part: whether ``--lx-clips`` is among them: a stored baseline is not replaced by a smaller one.
    """
    usual = Settings(asked.device)
    names = [name for name in _REPEATED if part or name != "clips"]
    values = {name: getattr(asked, name) for name in names if getattr(asked, name) != getattr(usual, name)}
    return [
        *(["--lx-study"] if asked.study else []),
        *(word for name, value in values.items() for word in (f"--lx-{name}", _spelled(value))),
        *(["--lx-skip-bad"] if asked.skip_bad else []),
    ]


def _spelled(value: object) -> str:
    return ",".join(f"{role}={name}" for role, name in value.items()) if isinstance(value, Mapping) else str(value)


def parse_clips(text: str) -> int:
    """Parse ``--lx-clips``.

    Raises:
        UsageError: not a whole number, or negative.
    """
    if not text.isascii() or not text.isdigit():
        raise UsageError(
            f"--lx-clips {text!r} is not a number of clips",
            expected="a whole number, 0 for all",
            command="nox -s bench-cpu -- --lx-clips 8",
        )
    return int(text)


def parse_batch(text: str) -> int:
    """Parse ``--lx-batch``.

    Raises:
        UsageError: not a whole number of at least 2.
    """
    if not text:
        return 0
    if not text.isascii() or not text.isdigit() or int(text) < 2:
        raise UsageError(
            f"--lx-batch {text!r} is not a number of clips to transcribe at once",
            expected="a whole number of at least 2; one by one is measured anyway",
            command="nox -s bench-cpu -- --lx-batch 8",
        )
    return int(text)


def parse_update(text: str, environ: Mapping[str, str], timing: bool) -> frozenset[str]:
    """Parse ``--lx-update``: one or more of ``new,changed,prune``.

    Raises:
        UsageError: an unknown word, a continuous integration run, or a run without timing.
    """
    if not text:
        return frozenset()
    words = frozenset(text.split(","))
    if unknown := sorted(words - set(UPDATES)):
        raise UsageError(
            f"--lx-update does not know {', '.join(map(repr, unknown))}",
            expected=f"one or more of {','.join(UPDATES)}",
            command="nox -s baselines",
        )
    if environ.get("CI", "").lower() not in ("", "0", "false"):
        raise UsageError(
            f"--lx-update {text} is refused where CI={environ['CI']}: a gate that rewrites its own "
            "baselines is always green",
            expected="baselines recorded by a person, reviewed and committed",
            command="nox -s baselines  # on your own machine",
        )
    if not timing:
        raise UsageError(
            "--lx-update with --benchmark-disable or --benchmark-skip would store baselines without their speed",
            expected="a timed run",
            command=f"nox -s baselines -- --lx-update {text}",
        )
    return words


def parse_columns(text: str) -> Mapping[str, str]:
    """Parse ``--lx-columns``: ``audio=wav,text=said``.

    Raises:
        UsageError: not pairs, a role that there is not, or one twice.
    """
    pairs = [item.partition("=") for item in text.split(",")] if text else []
    found = {role: name for role, _, name in pairs}
    if len(found) < len(pairs) or not found.keys() <= KNOWN.keys() or not all(found.values()):
        raise UsageError(
            f"--lx-columns {text!r} does not say which column is what",
            expected=f"one or more of {','.join(f'{role}=NAME' for role in KNOWN)}",
            command="nox -s bench-cpu -- --lx-columns audio=wav,text=sentence",
        )
    return found


def parse_normalizer(text: str) -> str:
    """Parse ``--lx-normalizer``.

    Raises:
        UsageError: there is no such normaliser.
    """
    if text not in (names := (AUTO, *NORMALIZERS)):
        raise UsageError(
            f"--lx-normalizer {text!r} is not a normaliser",
            expected=f"one of {', '.join(names)}",
            command="nox -s bench-cpu -- --lx-normalizer basic",
        )
    return text


def pick_device(wanted: str) -> str:
    """Turn ``--lx-device`` into ``cpu`` or ``cuda``.

    Raises:
        UsageError: an unknown word, or ``cuda`` where there is none.
    """
    if wanted not in DEVICES:
        raise UsageError(
            f"--lx-device {wanted!r} is not a device lxbench knows",
            expected=f"one of {', '.join(DEVICES)}",
            command="nox -s bench-cpu",
        )
    if wanted == "cpu" or (wanted == "auto" and not cuda_available()):
        return "cpu"
    if not cuda_available():
        raise UsageError(
            "--lx-device cuda: no CUDA device is usable on this machine",
            expected="an NVIDIA GPU with its driver, and a CUDA build of torch",
            command="nox -s bench-cpu",
        )
    return "cuda"


def cuda_available() -> bool:
    """Whether torch can use a CUDA device; imports torch only where a driver is in sight."""
    if shutil.which("nvidia-smi") is None and not Path("/proc/driver/nvidia").exists():
        return False
    import torch

    return torch.cuda.is_available()


def new_run_folder(folder: Path, name: str) -> Path:
    """Create the results folder, prove that it can be written, and create a folder for one run in it.

    Args:
        folder: the results folder.
        name: what the run's folder should be called; a second run of the same name gets a number behind it.

    Raises:
        UsageError: it cannot be written, or a folder of somebody else's is in the place of the link to the last run.
    """
    latest = folder / "latest"
    try:
        files.check_writable(folder)
        if not latest.is_dir() or latest.is_symlink():
            return files.new_folder(folder / name)
    except OSError as error:
        raise UsageError(
            f"the results folder {folder} cannot be written: {error.strerror}",
            expected="a folder this user may create and write",
            command="nox -s bench-cpu -- --lx-results /tmp/lxbench-results",
        ) from None
    raise UsageError(  # As in what a CI has kept of a run.
        f"{latest} is a folder, where a link to this run should be: it would go on showing another one",
        expected="a link, or nothing",
        command=shlex.join(["mv", str(latest), str(folder / f"{name}-kept")]),
    )
