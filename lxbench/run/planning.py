"""What a run is of: the model, the clips, and the rows that fit them; checked before anything is built."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from lxbench import corpus, ladder, machine, models, score
from lxbench.commands import CORPORA
from lxbench.corpus.listing import KNOWN
from lxbench.settings import Settings


def model(chosen: Settings) -> models.ModelSource:
    """The model of a run, which speaks its language and takes its batches.

    Raises:
        ModelError, UsageError: it is not there, or does not.
    """
    source = models.resolve(chosen.model, chosen.revision)
    models.check_language(source, chosen.language)
    models.check_batch(source, chosen.batch)
    return source


def clips(chosen: Settings, tell: Callable[[int, int], None]) -> tuple[corpus.Corpus, corpus.Corpus]:
    """The checked clips of a run, and those that steps may look at.

    Args:
        chosen: the options of the run.
        tell: told how many of the clips are checked, and of how many.

    Raises:
        CorpusError: a clip that is not as it should be, or that is among both.
    """
    load = partial(corpus.load, root=CORPORA, skip_bad=chosen.skip_bad)
    normalize = score.normalizer_for(chosen.language, chosen.normalizer).apply
    heard = load(chosen.corpus, limit=chosen.clips, columns=chosen.columns, normalize=normalize, tell=tell)
    # Its columns may go by the usual names too, as those of the corpora that are shipped.
    either = {role: (name, *KNOWN[role]) for role, name in chosen.columns.items()}
    observed = load(chosen.calibration, columns=either, texts=False)
    corpus.check_disjoint(observed, heard)
    return heard, observed


def unfit(
    rows: Iterable[ladder.Variant], chosen: Settings, source: models.ModelSource, heard: corpus.Corpus
) -> list[ladder.Variant]:
    """The rows that have no place in a run with this model, these clips and this machine; see ``ladder.unfit``."""
    longest = max(clip.seconds for clip in heard.clips)
    return ladder.unfit(rows, source.family, chosen.language, longest, machine.instructions(chosen.device))


def saved(storage: Any) -> list[Path]:
    """The files of earlier timings in pytest-benchmark's storage, where that is of files."""
    return list(storage.query("[0-9][0-9][0-9][0-9]_")) if hasattr(storage, "query") else []
