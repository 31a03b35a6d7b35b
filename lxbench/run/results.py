"""What a run leaves: ``results/<time>/results.json`` and the link ``results/latest``."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from lxbench import files, machine, score, verdict
from lxbench.run import Run
from lxbench.run.row import Row
from lxbench.run.throughput import Throughput
from lxbench.score import Counts
from lxbench.worker.profile import Profile

FORMAT = 2
STARTED = "%Y-%m-%dT%H-%M-%S"  # How a run is called, and its folder: local time, without colons.


def collect(run: Run, *, started: str, wall_s: float, command: str, interrupted: bool) -> dict[str, Any]:
    """Gather everything that is known of a run as plain values: all rows, all transcripts, the environment.

    Args:
        run: the run.
        started: when it began, see ``STARTED``.
        wall_s: seconds since it began.
        command: the command line that reproduces it.
        interrupted: whether it was cut off.
    """
    clips = run.corpus.clips
    return {
        "format": FORMAT,
        "started": started,
        "command": command,
        "interrupted": interrupted,
        "device": run.settings.device,
        "language": run.settings.language,
        "normalizer": run.normalizer.name,
        "model": {
            "spec": run.source.spec,
            "name": run.source.name,
            "fingerprint": run.source.fingerprint,
            "random": run.source.random,
            "card": next((row.report.card for row in run.rows if row.report is not None), None),
        },
        "corpus": {
            "name": run.corpus.name,
            "fingerprint": run.corpus.fingerprint,
            "seconds": round(sum(clip.seconds for clip in clips), 2),
            "clips": [
                {
                    "id": clip.id,
                    "text": clip.text,
                    "seconds": round(clip.seconds, 3),
                    "fingerprint": clip.fingerprint,
                    "path": os.path.relpath(clip.path, run.folder),
                }
                for clip in clips
            ],
        },
        "calibration": {"name": run.calibration.name, "fingerprint": run.calibration.fingerprint},
        "machine": run.machine,
        "versions": machine.versions(),
        "harness": _harness(run, wall_s),
        "rows": [row_values(run, row) for row in sorted(run.rows, key=lambda row: run.ladder.index(row.variant))],
        "absent": [{"variant": variant.name, "why": variant.elsewhere} for variant in run.absent],
        "order": [variant.name for variant in run.ladder],
        "orphans": [str(path) for path in run.orphans],
        "notes": run.notes,
        "peaks": run.peaks,
    }


def ratios(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How fast the rows of this run are, as ``history.ratios`` has those of earlier ones."""
    began = datetime.strptime(results["started"][:19], STARTED).astimezone().isoformat()
    return [
        {"name": row["variant"], "ratio": row["ratio"]["value"], "at": began, "commit": "this run"}
        for row in results["rows"]
        if row["ratio"]
    ]


def write(folder: Path, results: Mapping[str, Any]) -> Path:
    """Write results.json whole and point ``latest`` beside the folder to it."""
    path = folder / "results.json"
    files.write(path, json.dumps(_finite(results), ensure_ascii=False, indent=1) + "\n")
    link = folder.parent / f".latest-{os.getpid()}"
    try:
        link.unlink(missing_ok=True)
        link.symlink_to(folder.name, target_is_directory=True)
        link.replace(folder.parent / "latest")
    except OSError:
        link.unlink(missing_ok=True)  # A file system without links: the folder itself is there.
    return path


def _harness(run: Run, wall_s: float) -> dict[str, float]:
    """Where the wall time went, in seconds and as shares of it.

    ``transcribing``: clips of the run. ``warming_up``: a clip before them. ``building``: steps and compilation.
    ``loading``: the rest of what workers did: to start, to load a model, to read clips. ``own``: the harness itself.
    """
    parts = {what: run.spent(what) for what in ("transcribing", "warming_up", "building")}
    waited = run.spent("waited")
    parts |= {"loading": waited - sum(parts.values()), "own": max(0.0, wall_s - waited)}
    spent = {"wall_s": round(wall_s, 3)}
    for name, seconds in parts.items():
        spent |= {f"{name}_s": round(seconds, 3), f"{name}_share": round(seconds / wall_s, 6) if wall_s else 0.0}
    return spent


def row_values(run: Run, row: Row) -> dict[str, Any]:
    """One row as it stands in results.json."""
    counts, raw = row.counts, row.raw_counts
    ratio = row.ratio
    seconds = row.seconds
    return {
        "id": row.id,
        "variant": row.variant.name,
        "device": row.device,
        "summary": row.variant.summary,
        "reference": row.is_reference,
        "measured_as": row.measured_as or None,
        "shortened": row.shortened,
        "verdict": str(row.word) if row.verdicts else None,
        "verdicts": {what: {"word": str(said.word), "text": said.text} for what, said in row.verdicts.items()},
        "excused": row.excused or None,
        "usable": row.usable,
        "shown_usable": None if row.against_reference is None else verdict.shown_usable(row.against_reference),
        "against_reference": None if row.against_reference is None else asdict(row.against_reference),
        "tolerance": asdict(row.variant.tolerance),
        "declared_unusable": row.variant.unusable,
        "complete": row.complete,
        "scored": row.scored,
        **(_rates(counts) if row.scored else {"wer": None, "cer": None}),
        "raw": _rates(raw),
        "counts": asdict(counts),
        "seconds": seconds,
        "parts": row.parts,
        "work": row.work,
        "throughput": None if row.throughput is None else _throughput(row.throughput),
        "ratio": None if ratio is None else asdict(ratio),
        "processes": row.timing.processes,
        "occasions": row.timing.occasions,
        "disturbance": None if row.disturbance is None else asdict(row.disturbance),
        "gpu": None if row.gpu is None else asdict(row.gpu),
        "driver_mib": row.driver_mib,
        "peak_mib": None if row.usage is None else row.usage.peak_mib,
        "size_mib": None if row.report is None else row.report.census["size_mib"],
        "finished_s": row.finished_s,
        "crash": row.crash or row.speed_crash or None,
        "build": None if row.report is None else _without(asdict(row.report), "card"),
        "warnings": [] if row.usage is None else list(row.usage.warnings),
        "compilations": None if row.usage is None else row.usage.compilations,
        "profile": {part: _profile(run, taken) for part, taken in row.profiles.items()},
        "baseline": None if row.baseline is None else _baseline(run, row),
        "clips": [
            {
                "id": record.id,
                "fingerprint": record.fingerprint,
                "text": record.text,
                "tokens": record.tokens,
                "seconds": row.transcripts[record.id].seconds,
                "pairs": row.pairs.get(record.id, []),
                **asdict(record.counts),
            }
            for record in row.records
        ],
    }


def saved_values(run: Run, row: Row) -> dict[str, Any]:
    """What pytest-benchmark keeps of a row beside its timings: enough to compare two saved runs.

    Shape: the row as in results.json without its build and profile, and what the run was about.
    """
    values = row_values(run, row)
    return {
        "row": _finite(
            {**values, "build": None, "profile": {}, "calibrated": bool((values["build"] or {}).get("calibrated"))}
        ),
        "format": FORMAT,
        "device": run.settings.device,
        "language": run.settings.language,
        "normalizer": row.normalizer.name,
        "model": {"name": run.source.name, "fingerprint": run.source.fingerprint},
        "corpus": {"name": run.corpus.name, "fingerprint": run.corpus.fingerprint, "clips": []},
        "calibration": {"fingerprint": run.calibration.fingerprint},
        "machine": run.machine,
    }


def _throughput(done: Throughput) -> dict[str, Any]:
    return {**asdict(done), "clips_per_s": done.clips_per_s, "real_time_factor": done.real_time_factor}


def _without(values: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}


def _profile(run: Run, taken: Profile) -> dict[str, Any]:
    return {**asdict(taken), "trace": str(taken.trace.relative_to(run.folder))}


def _baseline(run: Run, row: Row) -> dict[str, Any]:
    assert row.baseline is not None
    then, kept = row.baseline.speed_on(run.machine), row.baseline.clips_on(run.machine)
    return {
        "path": str(run.baseline_path(row.variant.name)),
        "recorded": row.baseline.recorded,
        **_rates(score.total(clip.counts for clip in kept)),
        "ratio": None if then is None or then.ratio is None else asdict(then.ratio),
        "recorded_here": then is not None,
        "spread": None if then is None or then.spread is None else asdict(then.spread),
        "clips": {clip.id: {"text": clip.text, "word_edits": clip.counts.word_edits} for clip in kept},
    }


def _rates(counts: Counts) -> dict[str, float | None]:
    return {"wer": counts.wer if counts.words else None, "cer": counts.cer if counts.characters else None}


def _finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
