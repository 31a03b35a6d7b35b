"""One clip by some rows, one after the other in this process: how long each takes, by part and by token.

    python -m tools.gpu [--kernels] [MODEL [ROW ...]]

A look at a GPU in a minute, where ``nox -s bench-gpu`` takes a quarter of an hour: every row is built, and the fastest
of a few passes over the first clip is held against fp32's. Nothing is judged, and rows are not timed beside fp32:
ratios of a few per cent mean nothing. Without names, all rows that this device has. With ``--kernels`` those that each
row promises are looked for too; on a GPU the seconds of rows behind the first are then no longer to be trusted.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from lxbench import corpus, ladder, machine, models, settings
from lxbench.commands import CORPORA
from lxbench.corpus import calibration
from lxbench.corpus.audio import read_audio
from lxbench.errors import LxbenchError
from lxbench.ladder import Variant
from lxbench.transcribe import Transcript, transcribe
from lxbench.worker import build, roofline

_PASSES = 4


def main(arguments: list[str]) -> None:
    """Print a line a row."""
    look = "--kernels" in arguments
    spec, *names = [each for each in arguments if each != "--kernels"] or [models.EMBEDDED]
    device = settings.pick_device("auto")
    source, clip = models.resolve(spec), corpus.load(corpus.EMBEDDED, CORPORA, 1).clips[0]
    observed = tuple(each.path for each in corpus.load(corpus.CALIBRATION, CORPORA, texts=False).clips)
    limits = roofline.peaks(device)
    print(f"{machine.describe(1, device)['gpu'] or 'CPU'}: {', '.join(f'{k} {v:.0f}' for k, v in limits.items())}")
    reference: float | None = None
    for row in chosen(names, device, source.family):
        try:
            with calibration.clips(observed, "ru"):
                said, report = heard(row, source.folder, device, clip.path, look)
        except Exception as error:  # The next row has nothing to do with it.
            print(f"{row.name}: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
            continue
        finally:
            gc.collect()  # Of a row that failed too.
        reference = reference or said.seconds
        print(
            f"{row.name}: {reference / said.seconds:.2f} times the first, {line(said, report, limits, row)}", flush=True
        )


def chosen(names: Iterable[str], device: str, family: str) -> Iterator[Variant]:
    """The rows of these names, or all that fit."""
    rows = [row for row in ladder.load() if device in row.devices and not row.study]
    out = {row.name for row in ladder.unfit(rows, family, "ru", 5.0, machine.instructions(device))}
    yield from [ladder.find(tuple(rows), name) for name in names] or (row for row in rows if row.name not in out)


def heard(row: Variant, folder: Path, device: str, clip: Path, look: bool) -> tuple[Transcript, build.BuildReport]:
    """The fastest pass of a row over a clip; its kernels are in the report where they are looked at."""
    build.exact_float32()
    samples = read_audio(clip)
    loaded, report = build.build(row, folder, device, lambda _: None)
    build.warm_up(loaded, report, samples, "ru")
    passes = [transcribe(loaded, samples, "ru") for _ in range(_PASSES)]
    if look and not report.kernels:
        report.kernels = build.kernels(loaded, report, samples, "ru")
    return min(passes, key=lambda said: said.seconds), report


def line(said: Transcript, report: build.BuildReport, limits: dict[str, float], row: Variant) -> str:
    """What is known of a row, in words."""
    parts = ", ".join(f"{name} {1000 * seconds:.1f}" for name, seconds in said.parts.items())
    text = f"{1000 * said.seconds:.1f} ms ({parts}), {said.tokens} tokens"
    passes = max(said.tokens, 1)
    work: dict[str, Any] = {
        "passes": passes,
        "products": roofline.product_types(report.kernels, report.census["dtypes"], report.census["float32"]),
    }
    if report.work is not None and said.positions:
        work |= {"token_mib": report.work.token_mib(said.positions)}
        work |= {"encoder_gflop": report.work.encoder_gflop(said.positions)}
        if (near := roofline.reached(work, said.parts, limits)) is not None:
            text += f", {1000 * said.parts['decoder'] / passes:.3f} ms a token: {near.of_read:.0%} of memory's speed"
    seen = not (row.runs and report.kernels) or any(fnmatchcase(kernel, row.runs) for kernel in report.kernels)
    return text + ("" if seen else f"; NEVER RAN {row.runs}: {', '.join(list(report.kernels)[:8])}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except LxbenchError as error:
        sys.exit(str(error))
