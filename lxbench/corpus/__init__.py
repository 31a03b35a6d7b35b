"""Load clips and check every one before anything is built. Without torch.

What is accepted as a corpus is in ``listing``, how audio is read in ``audio``.
"""

from __future__ import annotations

import hashlib
import random
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from lxbench import files
from lxbench.corpus import audio, listing
from lxbench.corpus.audio import SAMPLE_RATE
from lxbench.errors import CorpusError

EMBEDDED = "ivr-ru"
CALIBRATION = "ivr-ru-calibration"
SELECTION = "ivr-ru-selection"
SHIPPED = (EMBEDDED, CALIBRATION, SELECTION)
MIN_SECONDS, MAX_SECONDS = 0.1, 30.0
MAX_READ_SECONDS = 600.0  # by a file's header, which of some forms is a guess
FULL_SCALE, MAX_CLIPPED = 0.9999, 0.01  # A share of samples: speech that is well recorded has none.
TOLD = 5  # bad clips by name, where a run goes on without them
ROUNDED = 0.5  # seconds that a file may be longer than is listed: it is a part that is more
MAX_LETTERS_A_SECOND = 60  # People speak 10 to 25.
_UNTOLD = ("manifest", "metadata")  # Names of files that say nothing of what is listed: the folder's does.
_ORDER_SEED = 20260101  # Fixed for good: it decides which clips "the first N" are.


@dataclass(frozen=True)
class Clip:
    """One recording with its reference text.

    Attributes:
        id: the name under which results and baselines speak of it, unique in its corpus.
        path: the audio file.
        text: the reference, as written by people.
        seconds: duration of the audio.
        fingerprint: 16 hexadecimal digits over the samples and the text.
        audio: 16 hexadecimal digits over the samples alone, as they were recorded.
    """

    id: str
    path: Path
    text: str
    seconds: float
    fingerprint: str
    audio: str


@dataclass(frozen=True)
class Corpus:
    """A list of clips in the corpus's fixed shuffled order.

    Attributes:
        name: as used in paths under ``baselines/``.
        clips: those that can be used.
        remarks: what people should know of it: clips that are resampled, clips that are left out.
    """

    name: str
    clips: tuple[Clip, ...]
    remarks: tuple[str, ...] = ()

    def first(self, count: int) -> Corpus:
        """The first so many clips; all for 0."""
        return Corpus(self.name, self.clips[:count], self.remarks) if count else self

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits over audio, texts and order."""
        return _digest("\n".join(f"{clip.id} {clip.fingerprint}" for clip in self.clips).encode())


def load(
    spec: str,
    root: Path,
    limit: int = 0,
    texts: bool = True,
    columns: listing.Columns = MappingProxyType({}),
    skip_bad: bool = False,
    normalize: Callable[[str], str] = str,
    tell: Callable[[int, int], None] | None = None,
) -> Corpus:
    """Read a corpus and check every clip that will be used.

    Args:
        spec: see ``listing.EXPECTED``.
        root: the folder that holds the embedded corpora.
        limit: keep the first so many clips of the fixed order; 0 keeps all.
        texts: whether every clip must have a reference text.
        columns: what the corpus calls ``audio``, ``text`` and ``id``.
        skip_bad: go on without clips that cannot be used.
        normalize: what is made of a text before words are counted; where it leaves nothing, none could be wrong.
        tell: told how many clips are checked, of how many.

    Raises:
        CorpusError: it is not there, none of its clips can be used, or one cannot and is not to be skipped; the
            message names every bad one.
    """
    path = root / spec if spec in SHIPPED else Path(spec)
    try:
        listed = list(listing.entries(path, spec, columns, ("audio", "text") if texts else ("audio",)))
    except OSError as error:  # Of somebody else, or a name that no file can have.
        raise CorpusError(
            f"corpus {spec} cannot be read: {error}",
            expected=listing.EXPECTED,
            command=f"ls -ld {shlex.quote(str(error.filename or path))}",
        ) from None
    faults = [_told(entry, entry.fault) for entry in listed if entry.fault]
    order = sorted((entry for entry in listed if not entry.fault), key=lambda entry: entry.id)
    random.Random(_ORDER_SEED).shuffle(order)
    chosen = order[:limit] if limit else order
    clips: list[Clip] = []
    foreign: Counter[str] = Counter()
    for number, entry in enumerate(chosen, 1):
        try:
            clip, form = _check(entry, normalize if texts else None)
        except (ValueError, OSError, MemoryError) as error:  # A name that no file can have, a header that promises all.
            faults.append(_told(entry, error))
        else:
            clips.append(clip)
            foreign.update([form] if form else [])
        if tell is not None:
            tell(number, len(chosen))
    count = len(chosen) + sum(bool(entry.fault) for entry in listed)
    _refuse(spec, path, faults, count, texts, skip_bad, bool(clips))
    return Corpus(_name(spec, path), tuple(clips), tuple(_remarks(clips, foreign, faults, count)))


def _told(entry: listing.Entry, fault: object) -> str:
    told = ": ".join(filter(None, (entry.where, entry.id, str(fault))))
    return told.encode("utf-8", "backslashreplace").decode()  # JSON can say what is no text.


def _refuse(spec: str, path: Path, faults: Sequence[str], count: int, texts: bool, skip: bool, some: bool) -> None:
    if not count:
        command = f"ls -l {shlex.quote(str(path))}"
        raise CorpusError(f"corpus {spec} has no clips", expected=listing.EXPECTED, command=command)
    if faults and not (skip and some):
        raise CorpusError(
            f"{len(faults)} of {count} clips of corpus {spec} cannot be used:\n    " + "\n    ".join(faults),
            expected=f"readable audio of {MIN_SECONDS:g} to {MAX_SECONDS:.0f} s"
            + (" with a reference text for every clip" if texts else ""),
            command="nox -s bench-cpu  # with the embedded corpus"
            if skip
            else "nox -s bench-cpu -- --lx-skip-bad  # with the same options: goes on without them",
        )


def _remarks(clips: Sequence[Clip], foreign: Counter[str], faults: Sequence[str], count: int) -> Iterator[str]:
    if whole := [clip.id for clip in clips if Path(clip.id).is_absolute()]:
        yield (
            f"{len(whole)} clips are called by paths of this machine, such as {whole[0]}: without "
            "ids of their own their baselines hold on no other"
        )
    if foreign:
        forms = ", ".join(f"{number} of {form}" for form, number in sorted(foreign.items()))
        yield f"{foreign.total()} clips are resampled to 16 kHz mono: {forms}"
    if faults:
        more = f"; and {len(faults) - TOLD} more" if len(faults) > TOLD else ""
        yield f"{len(faults)} of {count} clips are bad and left out: {'; '.join(faults[:TOLD])}{more}"


def check_disjoint(calibration: Corpus, benchmark: Corpus) -> None:
    """Refuse to calibrate on what is measured: the result would flatter the variant.

    Raises:
        CorpusError: naming every recording that both have.
    """
    measured = {clip.audio for clip in benchmark.clips}
    if shared := [clip.id for clip in calibration.clips if clip.audio in measured]:
        raise CorpusError(
            f"{len(shared)} clips of the calibration corpus {calibration.name} are in the benchmark corpus "
            f"{benchmark.name} too: {', '.join(shared)}",
            expected="recordings to calibrate on that are not measured",
            command="nox -s bench-cpu  # calibrates on ivr-ru-calibration",
        )


def _check(entry: listing.Entry, normalize: Callable[[str], str] | None) -> tuple[Clip, str]:
    """Read and check one clip; return it, and how its audio differs from 16 kHz mono.

    Args:
        entry: as it is listed.
        normalize: of its text; None where none is needed.

    Raises:
        ValueError: it cannot be used, and why.
    """
    entry.id.encode()  # A lone surrogate, which JSON can say, is an error that says so.
    if normalize and not entry.text.strip():
        raise ValueError("empty reference text")
    if normalize and not normalize(entry.text).strip():
        raise ValueError(f"nothing is left of its text after normalisation: {entry.text!r}")
    path = entry.fetch()
    if not path.is_file():
        raise ValueError(f"no file {path}")
    if (promised := audio.seconds(path)) > MAX_READ_SECONDS:  # A day's recording would fill the memory.
        raise ValueError(listing.part(path.name, 0) if entry.seconds else _too_long(promised))
    recorded, rate = audio.decode(path)
    if entry.seconds and len(recorded) / rate > entry.seconds + ROUNDED:
        raise ValueError(listing.part(path.name, 0))
    if complaint := _complaint(recorded, len(recorded) / rate):
        raise ValueError(complaint)
    seconds, channels = len(recorded) / rate, 1 if recorded.ndim == 1 else recorded.shape[1]
    if normalize and len(entry.text) > MAX_LETTERS_A_SECOND * seconds:
        raise ValueError(f"{len(entry.text)} letters of text in {seconds:.1f} s of audio: nobody speaks so fast")
    form = "" if rate == SAMPLE_RATE and channels == 1 else f"{rate} Hz, {channels} channel{'s' * (channels > 1)}"
    samples = form.encode() + recorded.tobytes()
    return Clip(entry.id, path, entry.text, seconds, _digest(samples + entry.text.encode()), _digest(samples)), form


def _complaint(recorded: NDArray[np.float32], seconds: float) -> str:
    """Why a recording cannot be used, empty if it can."""
    if not len(recorded):
        return "empty audio"
    if not np.isfinite(recorded).all():
        return "audio with NaN or infinite samples"
    if not audio.mono(recorded).any():  # What is heard: two channels may cancel each other.
        return "silent audio"
    if (share := float((np.abs(recorded) >= FULL_SCALE).mean())) > MAX_CLIPPED:
        return f"clipped audio: {share:.0%} of the samples are at full scale"
    if seconds < MIN_SECONDS:
        return f"{seconds:.2f} s of audio, too short for a word"
    if seconds > MAX_SECONDS:
        return _too_long(seconds)
    return ""


def _too_long(seconds: float) -> str:
    return f"{seconds:.1f} s of audio, more than the {MAX_SECONDS:.0f} s of one window"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _name(spec: str, path: Path) -> str:
    """What a corpus is called in paths: its file or folder, with its split, or all of a hub id.

    Golos has ``crowd/manifest.jsonl`` and ``farfield/manifest.jsonl``: both "manifest" would share their baselines.
    """
    if path.exists():
        found = files.spelled(path)  # A link is called as people call it, whatever it leads to.
        if found.is_file() and found.stem.lower() in _UNTOLD and found.parent.name:
            found = found.parent
        whole = found.stem if found.is_file() else found.name
    else:
        base = spec.rpartition(":")[0]  # Of a file or a folder, or of nothing but a hub id.
        whole = Path(spec).name if base and Path(base).exists() else spec
    return re.sub(r"[^\w.+-]+", "-", whole)
