"""Time a variant with the reference beside it: the same clips, in the same minutes, in alternation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from lxbench.corpus import Clip
from lxbench.transcribe import Transcript
from lxbench.worker import Worker

# The reference is timed beside the first so many clips of the corpus's fixed order: always the same ones, so that the
# ratios of two runs are about the same speech. Its other clips are timed once, in its own row.
PAIRED_CLIPS = 24


class Pairing:
    """Setup, target and teardown for ``benchmark.pedantic``: one round is one clip of the variant.

    The reference goes first on even clips and second on odd ones (ABBA), so that neither side always runs on a
    machine that the other has just warmed or disturbed.

    Args:
        variant: the worker that is timed.
        reference: the worker beside it; None where the variant is the reference itself.
        clips: what is transcribed, in this order.
        heard: told of every transcript of the variant.

    Attributes:
        transcripts, reference_transcripts: by clip id, in order.
    """

    def __init__(
        self,
        variant: Worker,
        reference: Worker | None,
        clips: tuple[Clip, ...],
        heard: Callable[[Clip, Transcript], None],
    ) -> None:
        self.transcripts: dict[str, Transcript] = {}
        self.reference_transcripts: dict[str, Transcript] = {}
        self._variant, self._reference, self._heard = variant, reference, heard
        self._rounds: Iterator[tuple[int, Clip]] = enumerate(clips)

    def setup(self) -> tuple[tuple[int, Clip], dict[str, Any]]:
        """Choose the next clip and have it decoded; on even rounds the reference goes first."""
        index, clip = next(self._rounds)
        if index % 2 == 0:
            self._time_reference(index, clip)
        self._variant.prepare(clip)
        return (index, clip), {}

    def target(self, index: int, clip: Clip) -> None:  # noqa: ARG002 - pedantic passes the same arguments to both
        """Transcribe one clip: what pytest-benchmark times."""
        self.transcripts[clip.id] = self._variant.transcribe()

    def teardown(self, index: int, clip: Clip) -> None:
        """On odd rounds the reference goes second."""
        if index % 2 == 1:
            self._time_reference(index, clip)
        self._heard(clip, self.transcripts[clip.id])

    def _time_reference(self, index: int, clip: Clip) -> None:
        if self._reference is not None and index < PAIRED_CLIPS:
            self._reference.prepare(clip)
            self.reference_transcripts[clip.id] = self._reference.transcribe()
