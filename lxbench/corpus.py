"""Load clips: the embedded corpus, an audiofolder, or a NeMo manifest. Without torch.

Audio is read with soundfile: the ``Audio`` column of ``datasets`` would want torchcodec and FFmpeg.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lxbench.errors import CorpusError

EMBEDDED = "ivr-ru"
CALIBRATION = "ivr-ru-calibration"
SELECTION = "ivr-ru-selection"
_SHIPPED = (EMBEDDED, CALIBRATION, SELECTION)
SAMPLE_RATE = 16_000
MAX_SECONDS = 30.0
_ORDER_SEED = 20260101  # Fixed for good: it decides which clips "the first N" are.
_EXPECTED = (
    "the corpus 'ivr-ru', a folder with metadata.jsonl or metadata.csv (file_name, transcription), "
    "or a .jsonl manifest (audio_filepath, text)"
)


@dataclass(frozen=True)
class Clip:
    """One recording with its reference text.

    Attributes:
        id: the name under which results and baselines speak of it, unique in its corpus.
        path: the audio file.
        text: the reference, as written by people.
        seconds: duration of the audio.
        fingerprint: 16 hexadecimal digits over the samples and the text.
        audio: 16 hexadecimal digits over the samples alone.
    """

    id: str
    path: Path
    text: str
    seconds: float
    fingerprint: str
    audio: str


@dataclass(frozen=True)
class Corpus:
    """A list of clips in the corpus's fixed shuffled order."""

    name: str
    clips: tuple[Clip, ...]

    def first(self, count: int) -> Corpus:
        """The first so many clips; all for 0."""
        return Corpus(self.name, self.clips[:count]) if count else self

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits over audio, texts and order."""
        return _digest("\n".join(f"{clip.id} {clip.fingerprint}" for clip in self.clips).encode())


def load(spec: str, root: Path, limit: int = 0, texts: bool = True) -> Corpus:
    """Read a corpus and check every clip that will be used.

    Args:
        spec: ``ivr-ru``, a folder or a manifest.
        root: the folder that holds the embedded corpora.
        limit: keep the first so many clips of the fixed order; 0 keeps all.
        texts: whether every clip must have a reference text.

    Raises:
        CorpusError: it is not there, or clips are damaged, empty, silent, too long or without a text; the
            message names every bad clip.
    """
    path = root / spec if spec in _SHIPPED else Path(spec)
    entries = list(_entries(path, spec))
    if not entries:
        raise CorpusError(f"corpus {spec} has no clips", expected=_EXPECTED, command=f"ls -l {path}")
    order = sorted(entries, key=lambda entry: entry[0])
    random.Random(_ORDER_SEED).shuffle(order)
    chosen = order[:limit] if limit else order
    clips: list[Clip] = []
    faults: list[str] = []
    for id, file, text, where in chosen:
        try:
            if texts and not text.strip():
                raise ValueError("empty reference text")
            clips.append(_check(id, file, text))
        except ValueError as error:
            faults.append(f"{where}: {id}: {error}")
    if faults:
        raise CorpusError(
            f"{len(faults)} of {len(chosen)} clips of corpus {spec} cannot be used:\n    " + "\n    ".join(faults),
            expected="readable audio of at most 30 s" + (" with a reference text for every clip" if texts else ""),
            command=f"ls -l {path}  # mend or remove the clips above",
        )
    return Corpus(spec if spec in _SHIPPED else _name(path), tuple(clips))


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


def check_texts(corpus: Corpus, normalize: Callable[[str], str]) -> None:
    """Refuse references of which normalisation leaves nothing: there would be no word to be wrong about.

    Raises:
        CorpusError: naming every such clip.
    """
    if bare := [clip.id for clip in corpus.clips if not normalize(clip.text)]:
        raise CorpusError(
            f"the reference text of {len(bare)} clips of corpus {corpus.name} has no words: {', '.join(bare)}",
            expected="words, not punctuation alone",
            command="nox -s bench-cpu  # with the embedded corpus",
        )


def read_audio(path: Path) -> NDArray[np.float32]:
    """Decode a file to mono samples in [-1, 1] at 16 kHz, shape (samples,).

    Raises:
        ValueError: unreadable, or of another rate or channel count.
    """
    import soundfile

    try:
        audio, rate = soundfile.read(path, dtype="float32")
    except (OSError, soundfile.SoundFileError) as error:
        raise ValueError(f"unreadable audio: {error}") from None
    if rate != SAMPLE_RATE or audio.ndim != 1:
        channels = 1 if audio.ndim == 1 else audio.shape[1]
        raise ValueError(f"{rate} Hz with {channels} channels, lxbench reads 16 kHz mono")
    return np.asarray(audio, dtype=np.float32)


_Entry = tuple[str, Path, str, str]


def _entries(path: Path, spec: str) -> Iterator[_Entry]:
    """Yield id, audio file, text and 'file:line' of every clip listed."""
    if path.is_file() and path.suffix == ".jsonl":
        yield from _rows(path, _json_lines, "audio_filepath", "text")
    elif (path / "metadata.jsonl").is_file():
        yield from _rows(path / "metadata.jsonl", _json_lines, "file_name", "transcription")
    elif (path / "metadata.csv").is_file():
        yield from _rows(path / "metadata.csv", _csv_lines, "file_name", "transcription")
    else:
        reason = f"no metadata.jsonl or metadata.csv in {path}" if path.is_dir() else f"no {path}"
        raise CorpusError(
            f"corpus {spec} is not there: {reason}",
            expected=_EXPECTED,
            command="nox -s bench-cpu  # with the embedded corpus",
        )


def _rows(
    listing: Path,
    read: Callable[[Path], Iterator[tuple[int, dict[str, str]]]],
    file_key: str,
    text_key: str,
) -> Iterator[_Entry]:
    seen: dict[str, int] = {}
    for line, row in read(listing):
        where = f"{listing.name}:{line}"
        if not isinstance(row, dict) or not row.get(file_key):
            raise CorpusError(
                f"{listing}:{line}: no {file_key!r}",
                expected=f"{file_key!r} and {text_key!r} on every line",
                command=f"sed -n {line}p {listing}",
            )
        file = listing.parent / row[file_key]
        id = str(Path(row[file_key]).with_suffix("").as_posix())
        if id in seen:
            raise CorpusError(
                f"{listing}:{line}: clip {id} is listed twice, first on line {seen[id]}",
                expected="every clip once",
                command=f"sed -n '{seen[id]}p;{line}p' {listing}",
            )
        seen[id] = line
        yield id, file, str(row.get(text_key) or ""), where


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    for number, line in enumerate(_text(path).split("\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError as error:
                raise CorpusError(
                    f"{path}:{number}: not JSON: {error}",
                    expected="one JSON object on every line",
                    command=f"sed -n {number}p {path}",
                ) from None


def _csv_lines(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(io.StringIO(_text(path), newline=""))
    for row in reader:
        yield reader.line_num, row


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")  # Spreadsheets put a mark in front.
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{path} is not UTF-8: {error}",
            expected="a listing in UTF-8",
            command=f"iconv -f cp1251 -t utf-8 {path} > utf8 && mv utf8 {path}",
        ) from None


def _check(id: str, path: Path, text: str) -> Clip:
    if not path.is_file():
        raise ValueError(f"no file {path}")
    audio = read_audio(path)
    seconds = len(audio) / SAMPLE_RATE
    if not len(audio):
        raise ValueError("empty audio")
    if not np.isfinite(audio).all():
        raise ValueError("audio with NaN or infinite samples")
    if not audio.any():
        raise ValueError("silent audio")
    if seconds > MAX_SECONDS:
        raise ValueError(f"{seconds:.1f} s of audio, more than the {MAX_SECONDS:.0f} s of one window")
    samples = audio.tobytes()
    return Clip(id, path, text, seconds, _digest(samples + text.encode()), _digest(samples))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _name(path: Path) -> str:
    path = path.resolve()
    return path.name if path.is_dir() else path.stem
