"""How often the gate notices a mistake, on transcripts of broken models: as tables.

nox -s bench-cpu -- --benchmark-disable --lx-variants tools/gate/harms.py -k "harm or [ptq-dynamic-cpu]"
python -m tools.gate.accuracy results/latest/results.json
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lxbench.run.pairing import PAIRED_CLIPS
from lxbench.score import Counts, total
from lxbench.stats import shift
from lxbench.verdict import Tolerance, Word, judge_rates
from tools.gate.shares import said, wilson

_RESAMPLES = 1000


def accuracy(path: Path) -> Iterator[str]:
    """Yield the tables of transcripts: which mistakes are red on the whole corpus, and on resampled ones."""
    rows = {row["variant"]: row["clips"] for row in json.loads(path.read_text("utf-8"))["rows"] if row["complete"]}
    kept = rows.pop("ptq-dynamic")
    heads = ("mistake", "WER", "texts changed", f"of the first {PAIRED_CLIPS}", "verdict", "chance", "red if resampled")
    yield f"| {' | '.join(heads)} |"
    yield "| --- | ---: | ---: | ---: | --- | ---: | ---: |"
    harms = {name: clips for name, clips in rows.items() if name.startswith("harm-")}
    for name, clips in harms.items():
        word = _word(clips, kept)
        moved = [now["text"] != then["text"] for now, then in zip(clips, kept, strict=True)]
        chance = shift(_column(clips, "word_edits"), _column(kept, "word_edits"), _column(clips, "words")).chance
        yield (
            f"| {name.removeprefix('harm-')} | {_total(clips).wer:.3f} | {sum(moved)} | {sum(moved[:PAIRED_CLIPS])} | "
            f"{word} | {chance:.2%} | {said(wilson(_resampled(clips, kept), _RESAMPLES))} |"
        )
    yield ""
    yield from _single_clips(harms, kept)


def _column(clips: Sequence[Mapping[str, Any]], name: str) -> list[int]:
    return [clip[name] for clip in clips]


def _total(clips: Sequence[Mapping[str, Any]]) -> Counts:
    return total(Counts(**{name: clip[name] for name in Counts.__dataclass_fields__}) for clip in clips)


def _word(now: Sequence[Any], then: Sequence[Any]) -> Word:
    return judge_rates(_total(now), _total(then), Tolerance()).word


def _resampled(now: Sequence[Any], then: Sequence[Any]) -> int:
    chance, both = random.Random(0), list(zip(now, then, strict=True))
    draws = (zip(*chance.choices(both, k=len(both)), strict=True) for _ in range(_RESAMPLES))
    return sum(_word(*map(list, draw)) is Word.REGRESSED for draw in draws)


def _single_clips(harms: Mapping[str, Sequence[Any]], kept: Sequence[Any]) -> Iterator[str]:
    """One clip alone says what a mistake makes of it, all others what they said."""
    yield "| one clip worse by | cases | red |"
    yield "| ---: | ---: | ---: |"
    cases: dict[int, list[bool]] = {}
    for clips in harms.values():
        for index, (now, then) in enumerate(zip(clips, kept, strict=True)):
            if (extra := now["word_edits"] - then["word_edits"]) > 0:
                corpus = [*kept[:index], now, *kept[index + 1 :]]
                cases.setdefault(min(extra, 8), []).append(_word(corpus, kept) is Word.REGRESSED)
    for extra, red in sorted(cases.items()):
        yield f"| {extra}{' or more' if extra == 8 else ''} words | {len(red)} | {said(wilson(sum(red), len(red)))} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    for line in accuracy(parser.parse_args(arguments).results):
        print(line, flush=True)


if __name__ == "__main__":
    main()
