"""The options of a run, for pytest: what can be said, and what was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lxbench import files, machine, score, settings

_USUAL = settings.Settings("auto")  # What is not asked for.


def declare(parser: pytest.Parser) -> None:
    """Make the options known."""
    add = parser.getgroup("lxbench").addoption
    add("--lx-device", default="auto", metavar="{auto,cpu,cuda}", help="where variants run (default: auto)")
    add(
        "--lx-model",
        default=_USUAL.model,
        metavar="SPEC",
        help="'embedded' (whisper-base), a folder with config.json, a hub id, or shape:large-v3 and other sizes with "
        "random weights (default: embedded)",
    )
    add(
        "--lx-corpus",
        default=_USUAL.corpus,
        metavar="SPEC",
        help="'ivr-ru', a folder with metadata.jsonl or metadata.csv, a manifest, parquet files, a saved data set, or "
        "a hub id with :split or :config:split (default: ivr-ru)",
    )
    add(
        "--lx-calibration",
        default=_USUAL.calibration,
        metavar="SPEC",
        help="recordings that steps may observe, none of the corpus's; texts unused (default: ivr-ru-calibration)",
    )
    add("--lx-language", default=_USUAL.language, metavar="CODE", help="language spoken in the corpus (default: ru)")
    add(
        "--lx-clips",
        default=str(_USUAL.clips),
        metavar="N",
        help="the first N clips of the corpus's fixed order (default: 0, all)",
    )
    add("--lx-batch", default="", metavar="N", help="measure throughput too, N clips at once (default: not)")
    add("--lx-baselines", default=str(_USUAL.baselines), metavar="DIR", help="stored baselines (default: baselines)")
    add(
        "--lx-update",
        default="",
        metavar="{new,changed,prune}",
        help="write missing baselines, rewrite those that moved, delete orphans; several with commas",
    )
    add(
        "--lx-results",
        default=str(_USUAL.results),
        metavar="DIR",
        help="where a run leaves its folder (default: results)",
    )
    add("--lx-variants", default="", metavar="FILE", help="a Python file or module with further rows: VARIANTS = (...)")
    add("--lx-revision", default="", metavar="REF", help="branch, tag or commit of a model on the hub (default: main)")
    add("--lx-columns", default="", metavar="audio=A,text=T,id=I", help="names that the corpus has for these columns")
    add(
        "--lx-normalizer",
        default=_USUAL.normalizer,
        metavar=f"{{{','.join((score.AUTO, *score.NORMALIZERS))}}}",
        help="what texts go through before they are compared (default: auto, that of the language)",
    )
    add("--lx-skip-bad", action="store_true", help="leave clips out that cannot be used, and say which")
    add("--lx-profile", action="store_true", help="profile every row: top operators, and traces in the run's folder")
    add("--lx-study", action="store_true", help="run the rows of the study and write its tables")
    add("--lx-describe", action="store_true", help="print the architecture of the model and end")


def read(config: pytest.Config) -> settings.Settings:
    """What was said.

    Raises:
        UsageError: something that cannot be.
    """
    option = config.getoption
    timed = config._benchmarksession  # type: ignore[attr-defined]
    timing = not (timed.disabled or timed.skip)
    extra = files.at_home(option("--lx-variants")) or None
    if extra is not None and os.path.isfile(extra):  # noqa: PTH113 - pathlib's fails for names that no file can have
        extra = str(Path(extra).resolve())
    return settings.Settings(
        device=settings.pick_device(option("--lx-device")),
        model=files.at_home(option("--lx-model")),
        corpus=files.at_home(option("--lx-corpus")),
        calibration=files.at_home(option("--lx-calibration")),
        language=option("--lx-language"),
        clips=settings.parse_clips(option("--lx-clips")),
        baselines=Path(files.at_home(option("--lx-baselines"))),
        update=settings.parse_update(option("--lx-update"), os.environ, timing),
        results=Path(files.at_home(option("--lx-results"))),
        variants=extra,
        profile=option("--lx-profile"),
        study=option("--lx-study"),
        timing=timing,
        threads=machine.usable_threads(),
        revision=option("--lx-revision"),
        columns=settings.parse_columns(option("--lx-columns")),
        normalizer=settings.parse_normalizer(option("--lx-normalizer")),
        batch=settings.parse_batch(option("--lx-batch")),
        skip_bad=option("--lx-skip-bad"),
    )
