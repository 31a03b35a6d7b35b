"""The order in which a variant and the reference are timed; workers that answer at once stand in for real ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from lxbench.corpus import Clip
from lxbench.run.pairing import PAIRED_CLIPS, Pairing
from lxbench.transcribe import Transcript

CLIPS = tuple(Clip(f"c{n}", Path(f"c{n}.flac"), "раз", 1.0, "f", "a") for n in range(60))


class Instant:
    """Answers at once and writes down who was asked what."""

    def __init__(self, name: str, asked: list[tuple[str, str]]) -> None:
        self.name, self.asked, self.says = name, asked, "раз"
        self._clip = ""

    def prepare(self, clip: Clip) -> None:
        self._clip = clip.id

    def transcribe(self) -> Transcript:
        self.asked.append((self.name, self._clip))
        return Transcript(self.says, 1, 1.0 if self.name == "fp32" else 0.5)


def run(
    paired: int = PAIRED_CLIPS, clock: Callable[[], float] = lambda: 0.0
) -> tuple[Pairing, list[tuple[str, str]], Instant]:
    """Time all clips as ``benchmark.pedantic`` does, the reference beside the first so many."""
    asked: list[tuple[str, str]] = []
    variant, reference = Instant("bf16", asked), Instant("fp32", asked)

    def renew() -> Any:
        asked.append(("both", "anew"))
        return variant, reference

    pairing = Pairing(cast(Any, variant), cast(Any, reference), CLIPS, lambda *_: None, paired, renew, clock)
    for _ in CLIPS:
        arguments, _nothing = pairing.setup()
        pairing.target(*arguments)
        pairing.teardown(*arguments)
    return pairing, asked, variant


def test_the_reference_goes_first_and_second_in_turn() -> None:
    _, asked, _ = run()
    assert asked[:6] == [
        ("fp32", "c0"), ("bf16", "c0"), ("bf16", "c1"), ("fp32", "c1"), ("fp32", "c2"), ("bf16", "c2"),
    ]  # fmt: skip


def test_the_reference_is_timed_beside_so_many_and_the_variant_goes_on() -> None:
    pairing, asked, _ = run()
    assert list(pairing.pairs) == [clip.id for clip in CLIPS[:PAIRED_CLIPS]]
    assert pairing.pairs["c0"] == [(1.0, 0.5)]
    assert [clip for who, clip in asked if who == "bf16"] == [clip.id for clip in CLIPS]
    assert len(run(len(CLIPS))[0].pairs) == len(CLIPS)


def test_each_block_of_pairs_has_processes_of_its_own() -> None:
    pairing, asked, _ = run(2 * PAIRED_CLIPS)
    assert pairing.processes == [PAIRED_CLIPS] * 2
    assert pairing.reference_lately == dict.fromkeys((clip.id for clip in CLIPS[PAIRED_CLIPS : 2 * PAIRED_CLIPS]), 1.0)
    assert asked.index(("both", "anew")) == 2 * PAIRED_CLIPS
    pairing.again()  # the 12 clips that are left
    assert pairing.processes == [PAIRED_CLIPS, PAIRED_CLIPS, 12]
    assert pairing.reference_lately == dict.fromkeys((clip.id for clip in CLIPS[2 * PAIRED_CLIPS :]), 1.0)
    assert [len(rounds) for rounds in pairing.pairs.values()] == [1] * len(CLIPS)
    pairing.again()
    pairing.again()
    assert [len(rounds) for rounds in pairing.pairs.values()] == [2] * 2 * PAIRED_CLIPS + [1] * 12
    assert pairing.processes == [PAIRED_CLIPS, PAIRED_CLIPS, 12, PAIRED_CLIPS, PAIRED_CLIPS]


def test_what_is_timed_minutes_later_is_of_another_occasion() -> None:
    now = [0.0]
    pairing, _, _ = run(clock=lambda: now[0])
    assert pairing.occasions == [PAIRED_CLIPS]
    now[0] = 290.0
    pairing.again()
    assert pairing.occasions == [2 * PAIRED_CLIPS]
    now[0] = 700.0
    pairing.again()
    pairing.again()
    assert pairing.occasions == [2 * PAIRED_CLIPS, 12 + PAIRED_CLIPS]


def test_once_more_is_the_other_way_round_and_contradictions_are_kept() -> None:
    pairing, asked, variant = run(len(CLIPS))
    del asked[:]
    variant.says = "два"
    pairing.again()
    assert asked[:5] == [("both", "anew"), ("bf16", "c0"), ("fp32", "c0"), ("fp32", "c1"), ("bf16", "c1")]
    assert len(asked) == 1 + 2 * PAIRED_CLIPS
    assert pairing.pairs["c0"] == [(1.0, 0.5), (1.0, 0.5)]
    assert pairing.contradictions == [clip.id for clip in CLIPS[:PAIRED_CLIPS]]
    assert pairing.transcripts["c0"].text == "раз"  # what was said first is what is scored
    pairing.again()
    pairing.again()
    del asked[:]
    pairing.again()
    assert asked[1:3] == [("fp32", "c0"), ("bf16", "c0")]


def test_a_variant_alone_has_no_pairs() -> None:
    alone = cast(Any, Instant("fp32", []))
    pairing = Pairing(alone, None, CLIPS[:2], lambda *_: None, 2, lambda: (alone, alone))
    for _ in range(2):
        arguments, _nothing = pairing.setup()
        pairing.target(*arguments)
        pairing.teardown(*arguments)
    assert (dict(pairing.pairs), len(pairing.transcripts)) == ({}, 2)
