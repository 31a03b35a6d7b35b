"""What a corpus lists: files of lines, data sets of rows. Nothing of the audio is read here. Without torch.

An entry that cannot be used is no reason to stop: it is listed with its fault, and all faults are told at once.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import platformdirs

from lxbench import files
from lxbench.corpus import lines
from lxbench.errors import CacheError, CorpusError

Columns = Mapping[str, str | tuple[str, ...]]
EXPECTED = (
    "the corpus 'ivr-ru', a folder with metadata.jsonl or metadata.csv (file_name, transcription), a manifest "
    "(.jsonl, .json, .csv, .tsv: audio_filepath, text), parquet files, a folder written by save_to_disk, or a "
    "data set of the hub (owner/name, owner/name:split, owner/name:config:split)"
)
# Names that columns go by: the audiofolder convention, NeMo's manifests, Common Voice, the hub's usual ones.
KNOWN: Mapping[str, tuple[str, ...]] = {
    "audio": ("file_name", "audio_filepath", "audio", "path", "file", "wav", "audio_path"),
    "text": ("transcription", "text", "sentence", "transcript", "normalized_text", "reference"),
    "id": ("id", "utterance_id", "utt_id"),
}
_LISTINGS = ("metadata.jsonl", "metadata.csv")
_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv")
_HUB = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+){0,2}")


@dataclass(frozen=True)
class Entry:
    """One recording as it is listed.

    Attributes:
        id: its name in the corpus.
        text: the reference, empty where there is none.
        where: file and line, or data set and row.
        fetch: the audio file; what lies in a data set is written to one.
        fault: why the entry cannot be used, empty if nothing is known yet.
        seconds: how much of the audio is meant, where that is listed; 0 for all.
    """

    id: str
    text: str
    where: str
    fetch: Callable[[], Path]
    fault: str = ""
    seconds: float = 0.0


def entries(path: Path, spec: str, columns: Columns, required: Sequence[str] = ("audio",)) -> Iterator[Entry]:
    """Yield every entry behind a SPEC, those listed twice with that for a fault.

    Args:
        path: where a folder or a file would be.
        spec: what the user asked for.
        columns: names that ``audio``, ``text`` and ``id`` go by, one or several, where not the known ones.
        required: of these, what it must have a column for.

    Raises:
        CorpusError: nothing is there, or it is not what it seems to be.
    """
    seen: dict[str, str] = {}
    for entry in _find(path, spec)(columns, required):
        if not entry.fault and entry.id in seen:
            yield Entry(entry.id, entry.text, entry.where, entry.fetch, f"listed twice, first in {seen[entry.id]}")
            continue
        seen.setdefault(entry.id, entry.where)
        yield entry


def _find(path: Path, spec: str) -> Callable[[Columns, Sequence[str]], Iterator[Entry]]:
    if path.is_file() and path.suffix.lower() in _SUFFIXES:
        return partial(_of_lines, path)
    if listing := next((path / name for name in _LISTINGS if (path / name).is_file()), None):
        return partial(_of_lines, listing)
    base, _, split = (str(path), "", "") if path.exists() else spec.rpartition(":") if ":" in spec else (spec, "", "")
    if (rows := _data_set(Path(base), spec, split)) is not None:
        return partial(_of_rows, rows, spec, Path(base) if Path(base).is_dir() else Path(base).parent)
    reason = f"no {' or '.join(_LISTINGS)}, parquet files or data set in {path}" if path.is_dir() else f"no {path}"
    if path.is_file():
        reason = f"{path} is no {', '.join(_SUFFIXES)} or .parquet"
    raise CorpusError(
        f"corpus {spec} is not there: {reason}",
        expected=EXPECTED,
        command="nox -s bench-cpu  # with the embedded corpus",
    )


def named(columns: Sequence[str], chosen: Columns, place: str, required: Sequence[str]) -> dict[str, str]:
    """Which column is the audio, which the text, which the id.

    Args:
        columns: those there are.
        chosen: by the user; nothing is looked for in place of a name that is given.
        place: the listing, for the message.
        required: of ``audio``, ``text`` and ``id``, what must be there.

    Raises:
        CorpusError: one that is required or chosen is not there.
    """
    found: dict[str, str] = {}
    for role in KNOWN:
        wanted, taken = _names(role, chosen), found.values()
        if name := next((name for name in wanted if name in columns), None):
            found[role] = name
        elif isinstance(chosen.get(role), str) or role in required:
            other = next((column for column in columns if column not in taken), "NAME")
            raise CorpusError(
                f"{place} has no column for the {role}: it has {', '.join(columns) or 'none'}",
                expected=f"a column called {' or '.join(wanted)}",
                command=f"nox -s bench-cpu -- --lx-columns {shlex.quote(f'{role}={other}')}  # with the same options",
            )
    return found


def _names(role: str, chosen: Columns) -> tuple[str, ...]:
    names = chosen.get(role, KNOWN[role])
    return (names,) if isinstance(names, str) else names


# --- files of lines ----------------------------------------------------------------------------------------


def _of_lines(listing: Path, columns: Columns, required: Sequence[str]) -> Iterator[Entry]:
    read = list(lines.read(listing))
    there = dict.fromkeys(name for _, row in read if isinstance(row, dict) for name in row if name)
    found = named(list(there), columns, str(listing), required) if there else {}
    audio, text = found.get("audio", ""), found.get("text", "")
    texts = text if "text" in required else ""
    told = [(line, row if isinstance(row, str) else _fault(row, audio, texts) or row) for line, row in read]
    ids = iter(_ids([row for _, row in told if not isinstance(row, str)], audio, columns, listing.parent))
    for line, row in told:
        where = f"{listing.name}:{line}"
        if isinstance(row, str):
            yield Entry("", "", where, Path, row)
        else:
            said = str(row.get(text) or "") if text else ""  # Of one column: what stands in another is another text.
            fetch = partial(Path, listing.parent / row[audio])
            yield Entry(next(ids), said, where, fetch, seconds=_seconds(row.get("duration")))


def _fault(row: Mapping[str, Any], audio: str, text: str) -> str:
    name = row.get(audio)
    if not isinstance(name, str) or not Path(name).name:
        return f"no {audio!r}"
    if text and row.get(text) is None:
        return f"{name} has no {text!r}"
    if str(row.get("offset") or "").strip("0."):
        return part(name, row["offset"])
    return ""


def part(name: str, offset: object) -> str:
    """The fault of an entry that is not all of a file, which begins at a second of it."""
    return f"{name} from second {offset} on: cut what is a part of a recording"


def _seconds(duration: object) -> float:
    try:
        return max(0.0, float(str(duration)))
    except ValueError:  # none, or in another form than NeMo's
        return 0.0


def _ids(rows: Sequence[Mapping[str, Any]], audio: str, columns: Columns, folder: Path) -> list[str]:
    """Names of recordings: what is called an id unless several files have one and nobody has chosen it; else files.

    Those in the listing's folder are called the same wherever that is, as NeMo's tools write whole paths.
    """
    folders = files.spelled(folder), folder.resolve()
    paths = [_within(Path(row[audio]), folders) for row in rows]
    names, stems = ([path.as_posix() for path in each] for each in (paths, [path.with_suffix("") for path in paths]))
    given = [next((str(row[key]) for key in _names("id", columns) if row.get(key)), "") for row in rows]
    ids = [id or stem for id, stem in zip(given, stems, strict=True)]
    if "id" in columns and any(given):
        return ids
    ids = stems if _shared(ids, names) else ids
    shared = _shared(ids, names)
    return [file if id in shared else id for id, file in zip(ids, names, strict=True)]


def _within(path: Path, folders: Sequence[Path]) -> Path:
    if not path.is_absolute():
        return path
    spelled = files.spelled(path), path.parent.resolve() / path.name
    pairs = ((each, folder) for each in spelled for folder in folders)
    return next((each.relative_to(folder) for each, folder in pairs if each.is_relative_to(folder)), path)


def _shared(ids: Sequence[str], files: Sequence[str]) -> set[str]:
    """Those ids that several files have."""
    of = Counter(id for id, _ in set(zip(ids, files, strict=True)))
    return {id for id, count in of.items() if count > 1}


# --- data sets of rows -------------------------------------------------------------------------------------


def _data_set(place: Path, spec: str, split: str) -> Any:
    """The ``datasets.Dataset`` behind a SPEC, None where it cannot be one.

    Args:
        place: where a folder or a file would be.
        spec: what the user asked for: a ``:split`` may stand behind a folder, a ``:config`` before it behind a hub id.
        split: what stands behind the last colon.
    """
    if place.is_file() and place.suffix == ".parquet":
        return _opened(spec, lambda library: library.Dataset.from_parquet(str(place)))
    if any((place / name).is_file() for name in ("dataset_dict.json", "dataset_info.json")):
        return _of_split(_opened(spec, lambda library: library.load_from_disk(str(place))), spec, split)
    if place.is_dir() and next(place.rglob("*.parquet"), None):
        return _of_split(_opened(spec, lambda library: library.load_dataset(str(place))), spec, split)
    if not place.exists() and _HUB.fullmatch(spec):
        repo, *config, split = spec.split(":") if split else (spec, "")
        here = f"{spec} (no file or folder here)"
        loaded = _opened(here, lambda library: library.load_dataset(repo, *config, split=split or None))
        return loaded if split else _of_split(loaded, spec, "")
    return None


def _opened(spec: str, load: Callable[[Any], Any]) -> Any:
    import datasets

    datasets.disable_progress_bars()
    try:
        return load(datasets)
    except Exception as error:  # Whatever a library says of a file or of the hub.
        raise CorpusError(
            f"corpus {spec} could not be read: {type(error).__name__}: {error}",
            expected=EXPECTED,
            command="nox -s bench-cpu  # with the embedded corpus",
        ) from error


def _of_split(loaded: Any, spec: str, split: str) -> Any:
    """One split of what was loaded; the only one where none is named."""
    splits = loaded if isinstance(loaded, dict) else {"": loaded}
    if split in splits:
        return splits[split]
    if not split and len(splits) == 1:
        return next(iter(splits.values()))
    names = [name for name in splits if name]
    base = spec.removesuffix(f":{split}") if split else spec
    raise CorpusError(
        f"corpus {base} has no split {split!r}" if split else f"corpus {base} has {len(names)} splits",
        expected=f"one of {', '.join(f'{base}:{name}' for name in names)}" if names else f"{base} without a split",
        command=f"nox -s bench-cpu -- --lx-corpus {shlex.quote(f'{base}:{names[-1]}' if names else base)}",
    )


def _of_rows(rows: Any, spec: str, base: Path, columns: Columns, required: Sequence[str]) -> Iterator[Entry]:
    import datasets

    found = named(rows.column_names, columns, f"corpus {spec}", required)
    if isinstance(rows.features[found["audio"]], datasets.Audio):
        rows = rows.cast_column(found["audio"], datasets.Audio(decode=False))
    if "id" in found and "id" not in columns and _of_something_else(rows, found["id"], found["audio"]):
        del found["id"]
    told = rows.select_columns([found[role] for role in ("id", "text") if role in found])
    for number in range(len(rows)):
        row = told[number] if told.column_names else {}
        id = str(row[found["id"]]) if "id" in found else f"{number:06d}"
        text = str(row.get(found.get("text", "")) or "")
        yield Entry(id, text, f"{spec} row {number}", partial(_file_of, rows, found["audio"], number, base))


def _of_something_else(rows: Any, id: str, audio: str) -> bool:
    """Whether several files have one id, as in FLEURS, where it is the sentence's. No audio is read."""
    ids = list(map(str, rows[id]))
    if len(set(ids)) == len(ids):
        return False
    flat = rows.select_columns([audio]).flatten()
    name = next((name for name in (audio, f"{audio}.path") if name in flat.column_names), "")
    return bool(name) and bool(_shared(ids, list(map(str, flat[name]))))


def _file_of(rows: Any, column: str, number: int, base: Path) -> Path:
    """The audio of a row as a file: its own where it has one, else its bytes, written to the user's cache.

    Raises:
        ValueError: neither a path nor encoded bytes.
        CacheError: it cannot be written there.
    """
    value = rows[number][column]
    held = value if isinstance(value, dict) else {"path": value}
    if data := held.get("bytes"):
        name = Path(held.get("path") or "audio")
        folder = platformdirs.user_cache_path("lxbench") / "audio"
        file = folder / f"{hashlib.sha256(data).hexdigest()[:32]}{name.suffix}"
        if not file.is_file():
            _keep(file, data)
        return file
    if isinstance(path := held.get("path"), str) and path:
        return base / path
    raise ValueError(f"column {column!r} has neither a path nor encoded audio")


def _keep(file: Path, data: bytes) -> None:
    try:
        files.write(file, data)
    except OSError as error:
        raise CacheError(
            f"audio of the corpus cannot be written to {file.parent}: {error.strerror}",
            expected="a cache that this user may write, with room in it",
            command="XDG_CACHE_HOME=/tmp/cache nox -s bench-cpu",
        ) from None
