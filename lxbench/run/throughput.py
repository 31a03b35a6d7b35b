"""Several clips at once: how many a second, and whether they say what they say alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lxbench.corpus import Clip
from lxbench.transcribe import Transcript


@dataclass(frozen=True)
class Throughput:
    """What a row did in batches.

    Attributes:
        batch: clips at once.
        clips: how many were transcribed, whole batches alone.
        audio_s: seconds that they last.
        seconds: wall time from audio in memory to text, all batches.
        changed: ids of clips that said something else than alone.
    """

    batch: int
    clips: int
    audio_s: float
    seconds: float
    changed: tuple[str, ...]

    @property
    def clips_per_s(self) -> float:
        """Clips by second of wall time."""
        return self.clips / self.seconds

    @property
    def real_time_factor(self) -> float:
        """Seconds of audio by second of wall time (RTFx)."""
        return self.audio_s / self.seconds


def batches(clips: Sequence[Clip], size: int) -> list[Sequence[Clip]]:
    """Cut clips into whole batches in their order; what is left over is left out, fewer than one batch are one."""
    return [clips[start : start + size] for start in range(0, len(clips) - size + 1, size)] or [clips]


def measured(
    batch: int, clips: Sequence[Clip], said: Mapping[str, Transcript], alone: Mapping[str, Transcript]
) -> Throughput:
    """Sum up what was said in batches.

    Args:
        batch: clips at once.
        clips: of the corpus.
        said: in batches, by clip id; the seconds of each are its share of its batch.
        alone: the same clips one by one; those that were not heard alone are not compared.
    """
    heard = [clip for clip in clips if clip.id in said]
    return Throughput(
        batch=batch,
        clips=len(heard),
        audio_s=sum(clip.seconds for clip in heard),
        seconds=sum(each.seconds for each in said.values()),
        changed=tuple(clip.id for clip in heard if clip.id in alone and alone[clip.id].text != said[clip.id].text),
    )
