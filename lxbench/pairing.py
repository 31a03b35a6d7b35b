"""Time a variant with the reference beside it: the same clips, in the same minutes, in alternation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from lxbench.corpus import Clip
from lxbench.stats import Timing, timing
from lxbench.transcribe import Transcript
from lxbench.worker import Worker

# The reference is timed beside the first so many clips of the corpus's fixed order, and beside so many more as long as
# the speed is not decided. Always in the same order, so that the ratios of two runs are about the same speech. Each
# such block has processes of its own: what differs between them, such as where their memory lies, no further clip of
# the same one would show (Kalibera & Jones 2013, "Rigorous benchmarking in reasonable time").
PAIRED_CLIPS = 24


class Pairing:
    """Setup, target and teardown for ``benchmark.pedantic``: one of its rounds is one clip of the variant.

    The reference goes first on even clips and second on odd ones, the other way round when the clips are heard once
    more (ABBA), so that neither side always runs on a machine that the other has just warmed or disturbed.

    Args:
        variant: the worker that is timed.
        reference: the worker beside it; None where the variant is the reference itself.
        clips: what is transcribed, in this order.
        heard: told of every transcript of the variant.
        wants_more: asked after every ``PAIRED_CLIPS`` pairs whether the reference shall go on.
        renew: ends the processes of both and starts them anew.

    Attributes:
        transcripts, reference_transcripts: by clip id, in order, as they were first said.
        pairs: by clip id, seconds of the reference and of the variant, one pair each time that both heard it.
        processes: how many processes of each the pairs are of.
        contradictions: ids of clips to which the variant said something else when it heard them again.
    """

    def __init__(
        self,
        variant: Worker,
        reference: Worker | None,
        clips: tuple[Clip, ...],
        heard: Callable[[Clip, Transcript], None],
        wants_more: Callable[[Timing], bool],
        renew: Callable[[], tuple[Worker, Worker]],
    ) -> None:
        self.transcripts: dict[str, Transcript] = {}
        self.reference_transcripts: dict[str, Transcript] = {}
        self.pairs: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        self.contradictions: list[str] = []
        self.processes = 1
        self._variant, self._reference = variant, reference
        self._heard, self._wants_more, self._renew = heard, wants_more, renew
        self._clips = clips
        self._rounds: Iterator[tuple[int, Clip]] = enumerate(clips)
        self._pairing = reference is not None
        self._again = 0

    def setup(self) -> tuple[tuple[int, Clip], dict[str, Any]]:
        """Choose the next clip and have it decoded; on even rounds the reference goes first."""
        index, clip = next(self._rounds)
        if index and index % PAIRED_CLIPS == 0 and self._pairing:
            self._pairing = self._wants_more(timing(self.pairs, self.processes))
            if self._pairing:
                self._begin_anew()
        if index % 2 == 0:
            self._hear_reference(clip)
        self._variant.prepare(clip)
        return (index, clip), {}

    def target(self, index: int, clip: Clip) -> None:  # noqa: ARG002 - pedantic passes the same arguments to both
        """Transcribe one clip: what pytest-benchmark times."""
        self.transcripts[clip.id] = self._variant.transcribe()

    def teardown(self, index: int, clip: Clip) -> None:
        """On odd rounds the reference goes second."""
        if index % 2 == 1:
            self._hear_reference(clip)
        if clip.id in self.reference_transcripts:
            both = self.reference_transcripts[clip.id], self.transcripts[clip.id]
            self.pairs[clip.id].append((both[0].seconds, both[1].seconds))
        self._heard(clip, self.transcripts[clip.id])

    def again(self) -> None:
        """Time the next block of paired clips once more; outside ``pedantic``, for the ratio alone."""
        paired = [clip for clip in self._clips if clip.id in self.pairs]
        repeat, start = divmod(self._again, len(paired))
        block = paired[start : start + PAIRED_CLIPS]
        self._again += len(block)
        self._begin_anew()
        for index, clip in enumerate(block, start):
            assert self._reference is not None
            workers = [self._reference, self._variant]
            if (index + repeat) % 2 == 0:
                workers.reverse()
            said = {}
            for worker in workers:
                worker.prepare(clip)
                said[worker] = worker.transcribe()
            self.pairs[clip.id].append((said[self._reference].seconds, said[self._variant].seconds))
            if said[self._variant].text != self.transcripts[clip.id].text:
                self.contradictions.append(clip.id)
            self._heard(clip, said[self._variant])

    def _begin_anew(self) -> None:
        self._variant, self._reference = self._renew()
        self.processes += 1

    def _hear_reference(self, clip: Clip) -> None:
        if self._reference is not None and self._pairing:
            self._reference.prepare(clip)
            self.reference_transcripts[clip.id] = self._reference.transcribe()
