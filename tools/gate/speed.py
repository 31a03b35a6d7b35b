"""How often the gate is wrong about speed, on recorded timings: as tables.

    python -m tools.gate.speed tools/gate/recordings/epyc.json
    python -m tools.gate.speed tools/gate/recordings/epyc-disturbed.json --against tools/gate/recordings/epyc.json

Takes what ``record.py`` left. Each comparison is of two recordings, one as the stored baseline and one as today's run;
for what today's run times again three further ones are drawn. Nothing is simulated but the slowdown: the seconds of the
variant are multiplied.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import mannwhitneyu

from lxbench.baselines import Speed
from lxbench.run.looks import MAX_LOOKS, RECORD_ROUNDS, unsure
from lxbench.run.pairing import PAIRED_CLIPS
from lxbench.stats import Change, Interval, effective, mean_ratio, process_spread, timing
from lxbench.verdict import Tolerance, Word
from lxbench.verdict_speed import speed_change, word_of, worth_more
from tools.gate.shares import Share, said, wilson

SLOWDOWNS = (0.0, 0.02, 0.05, 0.10, 0.20)
ROWS = 30  # Rows that a whole run compares: the ladder of a CPU without fp32 and without other engines.
# What the budget of a run (run.budget) comes to on the machine of the recordings, where a block takes 40 to 50 s:
# the first look, and seven more; a faster machine takes more, see --pairs.
MOST_PAIRS = 8 * PAIRED_CLIPS
_RESAMPLES = 1000
_LIMIT = 1.10  # --benchmark-compare-fail=mean:10%, and asv's default factor
_ASV_P = 0.002

# Seconds of fp32 and of the variant by clip, in the order in which they were taken.
Pairs = Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True)
class Recording:
    """One run.

    Attributes:
        pairs: see ``Pairs``.
        processes: how many processes of either they were taken in, one after the other.
        occasions: see ``stats.Timing``.
    """

    pairs: Pairs
    processes: int
    occasions: float = 1.0


@dataclass(frozen=True)
class Trial:
    """A stored run, and today's: what it times first, and what it times when it is undecided.

    Attributes:
        drawn: indices of the two recordings.
    """

    drawn: tuple[int, int]
    then: Recording
    now: Recording
    more: Sequence[Recording]


def trials(stored: Sequence[Recording], recordings: Sequence[Recording], draws: int) -> Iterator[Trial]:
    """Yield every stored run with every other one as today's, each with so many draws of their repeats from the rest.

    Args:
        stored: what records are made of, see ``recorded``.
        recordings: what today's runs and their repeats are of.
        draws: how many for each two.
    """
    chance = random.Random(0)
    for (i, then), (j, now) in itertools.product(enumerate(stored), enumerate(recordings)):
        for _ in range(draws if then is not now else 0):
            again = _in_a_row(chance, stored, math.ceil(RECORD_ROUNDS[1]) - 1, (then, now))
            more = _in_a_row(
                chance, recordings, math.ceil(MAX_LOOKS * PAIRED_CLIPS / len(now.pairs)), (then, now, *again)
            )
            yield Trial((i, j), recorded(then, again), now, more)


def _in_a_row(
    chance: random.Random, found: Sequence[Recording], count: int, taken: Sequence[Recording]
) -> list[Recording]:
    """So many recordings, one taken after the other: what is timed again is timed at one time, and so is alike."""
    rest = [each for each in found if not any(each is one for one in taken)]
    start = chance.randrange(max(1, len(rest) - count + 1))
    return rest[start : start + count]


def recorded(first: Recording, again: Sequence[Recording]) -> Recording:
    """What lxbench stores: all clips once, and block by block again until that is sure, see ``looks.undecided``."""
    pairs, processes = {id: list(timed[:1]) for id, timed in first.pairs.items()}, float(first.processes)
    least = (RECORD_ROUNDS[0] - 1) * len(pairs)
    occasions = [len(pairs), 0]
    for each, start in itertools.product(again, range(0, len(pairs), PAIRED_CLIPS)):
        if occasions[1] >= least and not unsure(timing(pairs, round(processes))):
            break
        block = list(each.pairs)[start : start + PAIRED_CLIPS]
        for id in block:
            pairs[id].extend(each.pairs[id][:1])
        occasions[1] += len(block)
        processes += each.processes * len(block) / len(each.pairs)
    return Recording(pairs, max(1, round(processes)), effective(occasions))


def looks(trial: Trial) -> Iterator[tuple[Change, int]]:
    """Yield what is known of the change each time that lxbench decides whether to go on, and of how many pairs.

    The first block is of today's run, the next are timed again: the clips that follow, and then from the first one.
    """
    stored = timing(trial.then.pairs, trial.then.processes, trial.then.occasions)
    then = Speed(mean_ratio(list(stored.ratios.values())), 0.0, 0.0, {}, timed=stored)
    pairs: dict[str, list[tuple[float, float]]] = {}
    processes = 0.0
    occasions = [0, 0]
    blocks = math.ceil(len(trial.now.pairs) / PAIRED_CLIPS)
    for number in range(MAX_LOOKS):
        again = number // blocks if number else -1
        if again >= len(trial.more):
            break
        recording = trial.more[again] if number else trial.now
        start = number % blocks * PAIRED_CLIPS
        block = list(recording.pairs.items())[start : start + PAIRED_CLIPS]
        for id, timed in block:
            pairs.setdefault(id, []).extend(timed[:1])
        occasions[min(number, 1)] += len(block)
        processes += recording.processes * len(block) / len(recording.pairs)
        # As fp32 is once the other rows have been timed: what comes next here, and then what came last.
        last = block if number or not trial.more else list(trial.more[0].pairs.items())[:PAIRED_CLIPS]
        lately = {id: timed[0][0] for id, timed in last}
        yield _changed(Recording(pairs, max(1, round(processes)), effective(occasions)), then, lately)


def _changed(now: Recording, then: Speed, lately: Mapping[str, float]) -> tuple[Change, int]:
    changed = speed_change(timing(now.pairs, now.processes, now.occasions), then, ROWS, lately)
    assert changed is not None
    return changed, sum(map(len, now.pairs.values()))


def slower(changed: Change, by: float) -> Change:
    """What the same timings would show of a slower variant: every logarithm moves by the same, intervals with it."""

    def moved(interval: Interval) -> Interval:
        return Interval(*(value / (1 + by) for value in (interval.value, interval.low, interval.high)))

    return replace(changed, plain=moved(changed.plain), strict=moved(changed.strict))


def ours(seen: Iterable[tuple[Change, int]], by: float, tolerance: float, most: int) -> tuple[Word, int]:
    """What lxbench says, and how many pairs it took: as ``looks.decide_speed`` goes on, up to so many."""
    word, taken = Word.INCONCLUSIVE, 0
    for changed, pairs in seen:
        taken = pairs
        moved = slower(changed, by)
        word = word_of(moved, tolerance)
        if pairs >= most or not worth_more(moved, tolerance, pairs // PAIRED_CLIPS):
            break
    return word, taken


class Remembered:
    """What an iterator yields, as often as it is asked for: an interval takes a while."""

    def __init__(self, source: Iterator[tuple[Change, int]]) -> None:
        self._source, self._seen = source, list[tuple[Change, int]]()

    def __iter__(self) -> Iterator[tuple[Change, int]]:
        index = 0
        while index < len(self._seen) or self._more():
            yield self._seen[index]
            index += 1

    def _more(self) -> bool:
        self._seen.extend(found := list(itertools.islice(self._source, 1)))
        return bool(found)


def _seconds(recording: Recording) -> list[float]:
    return [variant for timed in recording.pairs.values() for _, variant in timed[:1]]


def mean_10_percent(now: Sequence[float], then: Sequence[float]) -> bool:
    """pytest-benchmark's ``--benchmark-compare-fail=mean:10%``: the mean of all rounds, in seconds."""
    return statistics.fmean(now) > _LIMIT * statistics.fmean(then)


def mann_whitney(now: Sequence[float], then: Sequence[float]) -> bool:
    """The rule of asv: medians further apart than its default factor, and a Mann-Whitney U test at p < 0.002."""
    return statistics.median(now) > _LIMIT * statistics.median(then) and mann_whitney_alone(now, then)


def mann_whitney_alone(now: Sequence[float], then: Sequence[float]) -> bool:
    """The same test without the factor, towards slower."""
    return statistics.median(now) > statistics.median(then) and bool(mannwhitneyu(now, then).pvalue < _ASV_P)


RULES: dict[str, Callable[[Sequence[float], Sequence[float]], bool]] = {
    "`mean:10%`": mean_10_percent,
    "asv, factor 1.1": mann_whitney,
    "asv, p alone": mann_whitney_alone,
}


def rate(hits: Mapping[tuple[int, int], Sequence[bool]], same: bool) -> Share:
    """A share of comparisons with its 95 % interval.

    Comparisons share recordings: the interval is the wider of Wilson's, which takes every pair of recordings for an
    independent one, and of a bootstrap that draws recordings.

    Args:
        hits: by the indices of the two recordings, one answer for every draw of the repeats.
        same: whether both indices are of the same recordings.
    """
    shares = {drawn: statistics.fmean(answers) for drawn, answers in hits.items()}
    table = np.full([1 + max(side) for side in zip(*shares, strict=True)], np.nan)
    for indices, value in shares.items():
        table[indices] = value
    generator = np.random.default_rng(0)
    resampled = []
    for _ in range(_RESAMPLES):
        rows, columns = (generator.integers(size, size=size) for size in table.shape)
        drawn = table[np.ix_(rows, rows if same else columns)]
        if not np.isnan(drawn).all():  # No recording is compared with itself.
            resampled.append(np.nanmean(drawn))
    share = float(np.nanmean(table))
    _, low, high = wilson(round(share * len(shares)), len(shares))
    drawn_low, drawn_high = np.quantile(resampled, (0.025, 0.975))
    return share, min(low, float(drawn_low)), max(high, float(drawn_high))


def load(path: Path) -> dict[str, list[Recording]]:
    """The recordings of a file by variant."""
    found: dict[str, list[Recording]] = {}
    for run in json.loads(path.read_text("utf-8"))["runs"]:
        for name, row in run["rows"].items():
            found.setdefault(name, []).append(Recording(row["pairs"], row.get("processes", 1)))
    return found


def speed(
    path: Path,
    against: Path | None,
    tolerance: float,
    draws: int,
    most: int = MOST_PAIRS,
    slowdowns: Sequence[float] = SLOWDOWNS,
) -> Iterator[str]:
    """Yield the tables of timings: noise, false alarms, detections, and what lxbench's verdicts and pairs were."""
    recordings = load(path)
    before = load(against) if against else recordings
    for name, found in recordings.items():
        stored = before[name]
        yield from _noise(name, found)
        tried = [(trial, Remembered(looks(trial))) for trial in trials(stored, found, draws)]
        yield f"\n{name}: {len(tried)} comparisons of {len(found)} recordings with {len(stored)} stored ones\n"
        yield f"| slower by | lxbench, {tolerance:.1%} | {' | '.join(RULES)} | lxbench's words | pairs, mean |"
        yield f"| ---: | ---: |{' ---: |' * len(RULES)} --- | ---: |"
        for by in slowdowns:
            shares, told = _judged(by, tried, tolerance, most, stored is found)
            yield f"| {100 * by:.3g}% | {' | '.join(map(said, shares))} | {told} |"
            if not by:
                runs = [tuple(1 - (1 - share) ** ROWS for share in each) for each in shares]
                yield f"| 0%, a run of {ROWS} rows | {' | '.join(map(said, runs))} | | |"
        yield from _scores(tried)


def _judged(
    by: float, tried: Sequence[tuple[Trial, Remembered]], tolerance: float, most: int, same: bool
) -> tuple[list[Share], str]:
    """How often each rule says REGRESSED of a slowdown; and lxbench's words with its pairs."""
    hits: dict[str, dict[tuple[int, int], list[bool]]] = {}
    words: Counter[Word] = Counter()
    pairs = []
    for trial, seen in tried:
        word, taken = ours(seen, by, tolerance, most)
        words[word] += 1
        pairs.append(taken)
        now, then = [seconds * (1 + by) for seconds in _seconds(trial.now)], _seconds(trial.then)
        answers = {"lxbench": word is Word.REGRESSED, **{name: rule(now, then) for name, rule in RULES.items()}}
        for name, answer in answers.items():
            hits.setdefault(name, {}).setdefault(trial.drawn, []).append(answer)
    told = ", ".join(f"{word} {count / len(tried):.1%}" for word, count in words.most_common())
    return [rate(each, same) for each in hits.values()], f"{told} | {statistics.fmean(pairs):.0f}"


def _scores(tried: Sequence[tuple[Trial, Remembered]]) -> Iterator[str]:
    """How far equal runs are from no change, in the standard errors that lxbench believes in."""
    for name, look in (("first look", 0), ("all clips", len(tried[0][0].then.pairs) // PAIRED_CLIPS - 1)):
        found = [next(itertools.islice(seen, look, None))[0] for _, seen in tried]
        errors = [math.log(each.plain.high / each.plain.low) / (2 * 1.645) for each in found]
        scores = [math.log(each.plain.value) / error for each, error in zip(found, errors, strict=True)]
        square = statistics.fmean(score * score for score in scores)
        yield (
            f"\nEqual runs, {name}: standard error {statistics.fmean(errors):.1%}; change by standard error: "
            f"mean square {square:.2f}, largest {max(map(abs, scores)):.1f}"
        )
    drifts = [abs(next(iter(seen))[0].drift - 1) for _, seen in tried]
    yield f"\nfp32's own seconds moved by {statistics.fmean(drifts):.1%} on average, by {max(drifts):.1%} at most."


def _noise(name: str, found: Sequence[Recording]) -> Iterator[str]:
    logs = [{id: math.log(ratio) for id, ratio in timing(each.pairs).ratios.items()} for each in found]
    means = [statistics.fmean(each.values()) for each in logs]
    seconds = [statistics.fmean(_seconds(each)) for each in found]
    yield (
        f"\n{name}: ratio {math.exp(statistics.fmean(means)):.3f}, from recording to recording +- "
        f"{statistics.stdev(means):.2%}, of it more than single clips show {process_spread(logs):.2%}; "
        f"seconds {statistics.fmean(seconds):.3f} +- {statistics.stdev(map(math.log, seconds)):.2%}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--against", type=Path, help="recordings that stand for the stored runs (default: the same)")
    parser.add_argument("--tolerance", type=float, default=Tolerance().speed)
    parser.add_argument("--draws", type=int, default=3, help="draws of the repeats for each two recordings")
    parser.add_argument("--pairs", type=int, default=MOST_PAIRS, help="as many as the budget allows (default: 192)")
    parser.add_argument("--slower", type=float, nargs="+", default=SLOWDOWNS, help="by which shares, such as 0.025")
    chosen = parser.parse_args(arguments)
    for line in speed(chosen.file, chosen.against, chosen.tolerance, chosen.draws, chosen.pairs, chosen.slower):
        print(line, flush=True)


if __name__ == "__main__":
    main()
