"""The only code that reads or writes ``baselines/``.

One readable JSON file per variant: ``<root>/<model>/<corpus>/<device>/<variant>.json``. A checksum over its
content makes an edit by hand visible: what a variant said is recorded, never typed.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lxbench.errors import BaselineError
from lxbench.score import Counts, total
from lxbench.stats import Interval

FORMAT = 1


@dataclass(frozen=True)
class ClipRecord:
    """What a variant said to one clip, and how far it is from the reference text."""

    id: str
    fingerprint: str
    text: str
    tokens: int
    counts: Counts


@dataclass(frozen=True)
class Speed:
    """How fast a variant was, and where.

    Attributes:
        ratio: times as fast as fp32 on the same clips in the same minutes; None for fp32 itself.
        seconds: mean seconds per audio.
        peak_mib: peak resident memory of the worker while it transcribed.
        machine: see ``machine.describe``.
    """

    ratio: Interval | None
    seconds: float
    peak_mib: float
    machine: dict[str, Any]


@dataclass(frozen=True)
class Baseline:
    """One accepted result."""

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
    speed: Speed
    versions: dict[str, str] = field(default_factory=dict)
    recorded: str = ""

    @property
    def counts(self) -> Counts:
        """Counts over all clips of the baseline."""
        return total(clip.counts for clip in self.clips)


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
    again = f"nox -s baselines -- -k {path.stem}"
    try:
        content = json.loads(path.read_text("utf-8"))
        found, kept = content.pop("checksum"), content["format"]
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise BaselineError(
            f"baseline {path} cannot be read: {type(error).__name__}: {error}",
            expected="a file written by --lx-update",
            command=f"git checkout -- {path}  # or record it again: {again}",
        ) from None
    if kept != FORMAT:
        raise BaselineError(f"baseline {path} has format {kept}", expected=f"format {FORMAT}", command=again)
    if found != _checksum(content):
        raise BaselineError(
            f"baseline {path} was edited by hand: its checksum does not match its content",
            expected="a file written by --lx-update and not touched since",
            command=f"git checkout -- {path}  # or record it again: {again}",
        )
    return _from_json(content)


def write(path: Path, baseline: Baseline) -> None:
    """Write a baseline whole: an interruption leaves the old file or the new one."""
    content = _to_json(baseline)
    text = _render({**content, "checksum": _checksum(content)})
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(prefix=f".{path.stem}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(draft).chmod(0o644)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


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
        "speed": {
            "ratio": None if baseline.speed.ratio is None else _rounded(baseline.speed.ratio),
            "seconds": round(baseline.speed.seconds, 4),
            "peak_mib": round(baseline.speed.peak_mib),
            "machine": baseline.speed.machine,
        },
        "size_mib": round(baseline.size_mib, 1),
        "model": baseline.model,
        "corpus": baseline.corpus,
        "language": baseline.language,
        "normalizer": baseline.normalizer,
        "versions": baseline.versions,
        "recorded": baseline.recorded,
        "clips": [
            {
                "id": clip.id,
                "fingerprint": clip.fingerprint,
                "text": clip.text,
                "tokens": clip.tokens,
                **asdict(clip.counts),
            }
            for clip in sorted(baseline.clips, key=lambda clip: clip.id)
        ],
    }


def _from_json(content: dict[str, Any]) -> Baseline:
    speed, count_keys = content["speed"], tuple(asdict(Counts()))
    return Baseline(
        variant=content["variant"],
        device=content["device"],
        model=content["model"],
        corpus=content["corpus"],
        language=content["language"],
        normalizer=content["normalizer"],
        clips=tuple(
            ClipRecord(
                clip["id"],
                clip["fingerprint"],
                clip["text"],
                clip["tokens"],
                Counts(**{key: clip[key] for key in count_keys}),
            )
            for clip in content["clips"]
        ),
        raw_wer=content["raw"]["wer"],
        raw_cer=content["raw"]["cer"],
        size_mib=content["size_mib"],
        speed=Speed(
            Interval(**speed["ratio"]) if speed["ratio"] else None,
            speed["seconds"],
            speed["peak_mib"],
            speed["machine"],
        ),
        versions=content["versions"],
        recorded=content["recorded"],
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
