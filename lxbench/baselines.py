"""The only code that reads or writes ``baselines/``.

One readable JSON file per variant: ``<root>/<model>/<corpus>/<device>/<variant>.json``. How fast a variant is depends
on the kind of machine, and what it says does a little: CPUs round differently. The file has the transcripts of one
kind, and for every kind that it was recorded on the speed, and what was said otherwise. A checksum over the content
makes an edit by hand visible: baselines are recorded, never typed.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lxbench import files, machine
from lxbench.commands import to_record
from lxbench.errors import BaselineError
from lxbench.score import Counts, total
from lxbench.stats import Interval, Timing

FORMAT = 2


@dataclass(frozen=True)
class ClipRecord:
    """What a variant said to one clip, and how far it is from the reference text."""

    id: str
    fingerprint: str
    text: str
    tokens: int
    counts: Counts


@dataclass(frozen=True)
class Spread:
    """How far figures of equal runs are apart on one kind of machine, as ``nox -s calibrate`` measured it.

    Attributes:
        ratio: standard deviation, from process to process, of the logarithm of the ratio: what remains of it when
            the noise that the clips show is taken out.
        seconds: the same of the time per audio, with all of its noise.
        runs: how many runs that is of.
        recorded: the day, ISO 8601.
    """

    ratio: float
    seconds: float
    runs: int
    recorded: str


@dataclass(frozen=True)
class Speed:
    """How fast a variant was, and where.

    Attributes:
        ratio: times as fast as fp32 on the same clips in the same minutes; None for fp32 itself.
        seconds: mean seconds per audio.
        peak_mib: peak resident memory of the worker while it transcribed.
        machine: see ``machine.describe``.
        recorded: the day, ISO 8601.
        timed: the clips that were timed beside fp32; none in records of format 1.
        spread: how far equal runs are apart; None until that is calibrated.
        otherwise: the clips to which it says something else on this kind of machine than on the baseline's first.
    """

    ratio: Interval | None
    seconds: float
    peak_mib: float
    machine: dict[str, Any]
    recorded: str = ""
    timed: Timing = field(default_factory=Timing)
    spread: Spread | None = None
    otherwise: tuple[ClipRecord, ...] = ()


@dataclass(frozen=True)
class Baseline:
    """One accepted result.

    Attributes:
        calibration: fingerprint of the calibration clips, where a step looks at them; empty where none does, and in
            files from before it was stored.
        speeds: one record for every kind of machine, see ``machine.RATIO_KEYS``; the first is of the kind that said
            what ``clips`` holds.
    """

    variant: str
    device: str
    model: dict[str, str]
    corpus: dict[str, str]
    language: str
    normalizer: str
    clips: tuple[ClipRecord, ...]
    raw_wer: float
    raw_cer: float
    size_mib: float
    speeds: tuple[Speed, ...]
    versions: dict[str, str] = field(default_factory=dict)
    recorded: str = ""
    calibration: str = ""

    @property
    def counts(self) -> Counts:
        """Counts over all clips of the baseline."""
        return total(clip.counts for clip in self.clips)

    def speed_on(self, here: Mapping[str, Any]) -> Speed | None:
        """The record of a machine's kind; None where there is none."""
        return next((kept for kept in self.speeds if machine.same_kind(kept.machine, here)), None)

    def speeds_elsewhere(self, here: Mapping[str, Any]) -> tuple[Speed, ...]:
        """The records of other kinds of machines."""
        return tuple(kept for kept in self.speeds if not machine.same_kind(kept.machine, here))

    def clips_on(self, here: Mapping[str, Any]) -> tuple[ClipRecord, ...]:
        """What was said on a machine's kind; on one that is not recorded, on that with most instruction sets in common.

        It is these that decide how numbers are rounded: int8 has 7 bits on one side where there is no VNNI.
        """
        nearest = max(self.speeds, key=lambda kept: machine.likeness(kept.machine, here))
        other = {clip.id: clip for clip in (self.speed_on(here) or nearest).otherwise}
        return tuple(other.get(clip.id, clip) for clip in self.clips)

    def with_record(self, speed: Speed, said: Iterable[ClipRecord]) -> Baseline:
        """The same with the record of another kind of machine than the first added or replaced, last."""
        first = {clip.id: clip.text for clip in self.clips}
        otherwise = tuple(sorted((clip for clip in said if first.get(clip.id) != clip.text), key=lambda clip: clip.id))
        return replace(self, speeds=(*self.speeds_elsewhere(speed.machine), replace(speed, otherwise=otherwise)))


def folder(root: Path, model: str, corpus: str, device: str) -> Path:
    """The folder that holds the baselines of all variants of one model, corpus and device."""
    return root / model / corpus / device


def read(path: Path) -> Baseline | None:
    """Read a baseline; None where there is none.

    Raises:
        BaselineError: it is damaged, of another format, or was edited by hand.
    """
    if not path.exists():
        return None
    again = to_record(path.parent.name, f"{path.stem}-{path.parent.name}")
    try:
        content = json.loads(path.read_text("utf-8"))
        found, kept = content.pop("checksum"), content["format"]
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise BaselineError(
            f"baseline {path} cannot be read: {type(error).__name__}: {error}",
            expected="a file written by --lx-update",
            command=f"git checkout -- {shlex.quote(str(path))}  # or record it again, with the same options: {again}",
        ) from None
    if kept not in (1, FORMAT):
        raise BaselineError(
            f"baseline {path} has format {kept}",
            expected=f"format {FORMAT}",
            command=f"{again}  # with the same options",
        )
    if found != _checksum(content):
        raise BaselineError(
            f"baseline {path} was edited by hand: its checksum does not match its content",
            expected="a file written by --lx-update and not touched since",
            command=f"git checkout -- {shlex.quote(str(path))}  # or record it again, with the same options: {again}",
        )
    if kept == 1:  # One speed, of one machine.
        content["speed"] = [content["speed"]]
    return _from_json(content)


def write(path: Path, baseline: Baseline) -> None:
    """Write a baseline whole: an interruption leaves the old file or the new one."""
    content = _to_json(baseline)
    files.write(path, _render({**content, "checksum": _checksum(content)}))


def has_speed(speed: Speed, content: str) -> bool:
    """Whether what a file holds, or held in an earlier commit, is a baseline with this very record of a speed."""
    wanted = _speed_to_json(speed)
    try:
        kept = json.loads(content)["speed"]
        return any(all(each[key] == wanted[key] for key in ("ratio", "seconds")) for each in kept)
    except (KeyError, TypeError, ValueError):
        return False


def orphans(folder: Path, known: Collection[str]) -> list[Path]:
    """Baselines of a folder whose variant is not on the ladder."""
    return sorted(path for path in folder.glob("*.json") if path.stem not in known)


def _to_json(baseline: Baseline) -> dict[str, Any]:
    counts = baseline.counts
    return {
        "format": FORMAT,
        "variant": baseline.variant,
        "device": baseline.device,
        "wer": round(counts.wer, 6),
        "cer": round(counts.cer, 6),
        "counts": asdict(counts),
        "raw": {"wer": round(baseline.raw_wer, 6), "cer": round(baseline.raw_cer, 6)},
        "speed": [_speed_to_json(speed) for speed in baseline.speeds],
        "size_mib": round(baseline.size_mib, 1),
        "model": baseline.model,
        "corpus": baseline.corpus,
        "language": baseline.language,
        "normalizer": baseline.normalizer,
        **({"calibration": baseline.calibration} if baseline.calibration else {}),
        "versions": baseline.versions,
        "recorded": baseline.recorded,
        "clips": [_clip_to_json(clip) for clip in sorted(baseline.clips, key=lambda clip: clip.id)],
    }


def _clip_to_json(clip: ClipRecord) -> dict[str, Any]:
    return {
        "id": clip.id,
        "fingerprint": clip.fingerprint,
        "text": clip.text,
        "tokens": clip.tokens,
        **asdict(clip.counts),
    }


def clip_from_json(clip: Mapping[str, Any]) -> ClipRecord:
    """A clip as it stands in a baseline or in results.json, which has more keys."""
    counts = Counts(**{key: clip[key] for key in asdict(Counts())})
    return ClipRecord(clip["id"], clip["fingerprint"], clip["text"], clip["tokens"], counts)


def _from_json(content: dict[str, Any]) -> Baseline:
    return Baseline(
        variant=content["variant"],
        device=content["device"],
        model=content["model"],
        corpus=content["corpus"],
        language=content["language"],
        normalizer=content["normalizer"],
        clips=tuple(map(clip_from_json, content["clips"])),
        raw_wer=content["raw"]["wer"],
        raw_cer=content["raw"]["cer"],
        size_mib=content["size_mib"],
        speeds=tuple(_speed_from_json(speed, content["recorded"]) for speed in content["speed"]),
        versions=content["versions"],
        recorded=content["recorded"],
        calibration=content.get("calibration", ""),
    )


def _speed_to_json(speed: Speed) -> dict[str, Any]:
    return {
        "ratio": None if speed.ratio is None else _rounded(speed.ratio),
        "seconds": round(speed.seconds, 4),
        "peak_mib": round(speed.peak_mib),
        "machine": speed.machine,
        "recorded": speed.recorded,
        "spread": None if speed.spread is None else asdict(speed.spread),
        "processes": round(speed.timed.processes, 2),
        "occasions": round(speed.timed.occasions, 2),
        "clips": {id: round(ratio, 4) for id, ratio in sorted(speed.timed.ratios.items())},
        "reference": {id: round(seconds, 4) for id, seconds in sorted(speed.timed.reference.items())},
        "otherwise": [_clip_to_json(clip) for clip in speed.otherwise],
    }


def _speed_from_json(speed: dict[str, Any], recorded: str) -> Speed:
    return Speed(
        Interval(**speed["ratio"]) if speed["ratio"] else None,
        speed["seconds"],
        speed["peak_mib"],
        speed["machine"],
        speed.get("recorded", recorded),
        Timing(
            speed.get("clips", {}), speed.get("reference", {}), speed.get("processes", 1.0), speed.get("occasions", 1.0)
        ),
        Spread(**speed["spread"]) if speed.get("spread") else None,
        tuple(map(clip_from_json, speed.get("otherwise", []))),
    )


def _rounded(interval: Interval) -> dict[str, float]:
    return {key: round(value, 4) for key, value in asdict(interval).items()}


def _checksum(content: dict[str, Any]) -> str:
    canonical = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _render(content: dict[str, Any]) -> str:
    """JSON with one line per clip, so that a diff shows one changed transcript as one changed line."""
    clips = content.pop("clips")
    head = json.dumps(content, ensure_ascii=False, indent=2).removesuffix("\n}")
    lines = ",\n    ".join(json.dumps(clip, ensure_ascii=False) for clip in clips)
    return f'{head},\n  "clips": [\n    {lines}\n  ]\n}}\n'
