"""Time a variant with the reference beside it: the same clips, in the same minutes, in alternation."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from lxbench.corpus import Clip
from lxbench.transcribe import Transcript
from lxbench.worker import Worker

# The reference is timed beside the first so many clips of the corpus's fixed order, and the next so many each time
# that the row is timed again. Always in the same order, so that the ratios of two runs are about the same speech. Each
# such block has processes of its own: what differs between them, such as where their memory lies, no further clip of
# the same one would show (Kalibera & Jones 2013, "Rigorous benchmarking in reasonable time").
PAIRED_CLIPS = 24
# A machine is in one state for some minutes, and ratios with it: what is timed so many seconds later is of another
# occasion (docs/verdicts.md).
_OCCASION_S = 300.0
_clips_heard_s = 0.0


def clips_heard_s() -> float:
    """Seconds of all clips that pytest-benchmark has timed, as measured where they were heard: the timer it is given.

    Its own would add the way to the worker and back: a fraction of a millisecond, but six on a disturbed machine.
    """
    return _clips_heard_s


class Pairing:
    """Setup, target and teardown for ``benchmark.pedantic``: one of its rounds is one clip of the variant.

    The reference goes first on even clips and second on odd ones, the other way round when the clips are heard once
    more (ABBA), so that neither side always runs on a machine that the other has just warmed or disturbed.

    Args:
        variant: the worker that is timed.
        reference: the worker beside it; None where the variant is the reference itself.
        clips: what is transcribed, in this order.
        heard: told of every transcript of the variant.
        paired: how many clips the reference is timed beside.
        renew: ends the processes of both and starts them anew.
        clock: tells the time in seconds.

    Attributes:
        transcripts, reference_transcripts: by clip id, in order, as they were first said.
        pairs: by clip id, seconds of the reference and of the variant, one pair each time that both heard it.
        processes: how many pairs are of each process of either side, in the order in which they were started.
        occasions: how many pairs are of each occasion, see ``_OCCASION_S``.
        contradictions: ids of clips to which the variant said something else when it heard them again.
        reference_lately: seconds of the reference by clip id, of the processes that were timed last.
    """

    def __init__(
        self,
        variant: Worker,
        reference: Worker | None,
        clips: tuple[Clip, ...],
        heard: Callable[[Clip, Transcript], None],
        paired: int,
        renew: Callable[[], tuple[Worker, Worker]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.transcripts: dict[str, Transcript] = {}
        self.reference_transcripts: dict[str, Transcript] = {}
        self.pairs: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        self.contradictions: list[str] = []
        self.reference_lately: dict[str, float] = {}
        self.processes, self.occasions = [0], [0]
        self._variant, self._reference = variant, reference
        self._heard, self._renew, self._clock = heard, renew, clock
        self._clips = clips
        self._rounds: Iterator[tuple[int, Clip]] = enumerate(clips)
        self._paired = min(paired, len(clips)) if reference is not None else 0
        self._next = self._paired
        self._last = clock()

    def setup(self) -> tuple[tuple[int, Clip], dict[str, Any]]:
        """Choose the next clip and have it decoded; on even rounds the reference goes first."""
        index, clip = next(self._rounds)
        if 0 < index < self._paired and index % PAIRED_CLIPS == 0:
            self._begin_anew()
        if index % 2 == 0:
            self._hear_reference(index, clip)
        self._variant.prepare(clip)
        return (index, clip), {}

    def target(self, index: int, clip: Clip) -> None:  # noqa: ARG002 - pedantic passes the same arguments to both
        """Transcribe one clip: what pytest-benchmark times, by ``clips_heard_s``."""
        global _clips_heard_s
        self.transcripts[clip.id] = self._variant.transcribe()
        _clips_heard_s += self.transcripts[clip.id].seconds

    def teardown(self, index: int, clip: Clip) -> None:
        """On odd rounds the reference goes second."""
        if index % 2 == 1:
            self._hear_reference(index, clip)
        if clip.id in self.reference_transcripts:
            self._count(clip, self.reference_transcripts[clip.id], self.transcripts[clip.id])
        self._heard(clip, self.transcripts[clip.id])

    @property
    def block(self) -> float:
        """The share of its clips that are timed by ``again``."""
        return min(1.0, PAIRED_CLIPS / len(self._clips))

    def again(self) -> None:
        """Time the next block of clips beside the reference; outside ``pedantic``, for the ratio alone.

        It goes on where the reference was timed last, and from the last clip to the first.
        """
        repeat, start = divmod(self._next, len(self._clips))
        block = self._clips[start : start + PAIRED_CLIPS]
        self._next += len(block)
        self._begin_anew()
        if self._clock() - self._last > _OCCASION_S:
            self.occasions.append(0)
        for index, clip in enumerate(block, start):
            assert self._reference is not None
            workers = [self._reference, self._variant]
            if (index + repeat) % 2 == 1:
                workers.reverse()
            said = {}
            for worker in workers:
                worker.prepare(clip)
                said[worker] = worker.transcribe()
            self._count(clip, said[self._reference], said[self._variant])
            if said[self._variant].text != self.transcripts[clip.id].text:
                self.contradictions.append(clip.id)
            self._heard(clip, said[self._variant])

    def _begin_anew(self) -> None:
        self._variant, self._reference = self._renew()
        self.processes.append(0)
        self.reference_lately = {}

    def _hear_reference(self, index: int, clip: Clip) -> None:
        if self._reference is not None and index < self._paired:
            self._reference.prepare(clip)
            self.reference_transcripts[clip.id] = self._reference.transcribe()

    def _count(self, clip: Clip, reference: Transcript, variant: Transcript) -> None:
        self.pairs[clip.id].append((reference.seconds, variant.seconds))
        self.reference_lately[clip.id] = reference.seconds
        self.processes[-1] += 1
        self.occasions[-1] += 1
        self._last = self._clock()
