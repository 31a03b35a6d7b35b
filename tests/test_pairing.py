"""The order in which a variant and the reference are timed; workers that answer at once stand in for real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from lxbench.corpus import Clip
from lxbench.pairing import PAIRED_CLIPS, Pairing
from lxbench.stats import Timing
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


def run(more: list[bool]) -> tuple[Pairing, list[tuple[str, str]], list[int], Instant]:
    """Time all clips as ``benchmark.pedantic`` does; ``more`` answers whether the reference goes on."""
    asked: list[tuple[str, str]] = []
    seen: list[int] = []
    variant = Instant("bf16", asked)

    def wants_more(timed: Timing) -> bool:
        seen.append(len(timed.ratios))
        return more.pop(0)

    def renew() -> Any:
        asked.append(("both", "anew"))
        return variant, reference

    reference = Instant("fp32", asked)
    pairing = Pairing(cast(Any, variant), cast(Any, reference), CLIPS, lambda *_: None, wants_more, renew)
    for _ in CLIPS:
        arguments, _nothing = pairing.setup()
        pairing.target(*arguments)
        pairing.teardown(*arguments)
    return pairing, asked, seen, variant


def test_the_reference_goes_first_and_second_in_turn() -> None:
    _, asked, _, _ = run([False])
    assert asked[:6] == [
        ("fp32", "c0"), ("bf16", "c0"), ("bf16", "c1"), ("fp32", "c1"), ("fp32", "c2"), ("bf16", "c2"),
    ]  # fmt: skip


def test_the_reference_stops_where_the_speed_is_decided_and_the_variant_goes_on() -> None:
    pairing, asked, seen, _ = run([False])
    assert seen == [PAIRED_CLIPS]
    assert list(pairing.pairs) == [clip.id for clip in CLIPS[:PAIRED_CLIPS]]
    assert pairing.pairs["c0"] == [(1.0, 0.5)]
    assert [clip for who, clip in asked if who == "bf16"] == [clip.id for clip in CLIPS]


def test_the_reference_goes_on_while_the_speed_is_undecided() -> None:
    pairing, _, seen, _ = run([True, False])
    assert seen == [PAIRED_CLIPS, 2 * PAIRED_CLIPS]
    assert len(pairing.pairs) == 2 * PAIRED_CLIPS
    assert len(run([True, True])[0].pairs) == len(CLIPS)


def test_each_block_of_pairs_has_processes_of_its_own() -> None:
    pairing, asked, _, _ = run([True, False])
    assert pairing.processes == 2
    assert asked.index(("both", "anew")) == 2 * PAIRED_CLIPS
    pairing.again()
    assert pairing.processes == 3
    assert asked.count(("both", "anew")) == 2
    assert [len(rounds) for rounds in pairing.pairs.values()] == [2] * PAIRED_CLIPS + [1] * PAIRED_CLIPS
    pairing.again()
    assert {len(rounds) for rounds in pairing.pairs.values()} == {2}
    pairing.again()
    assert pairing.processes == 5


def test_once_more_is_the_other_way_round_and_contradictions_are_kept() -> None:
    pairing, asked, _, variant = run([False])
    del asked[:]
    variant.says = "два"
    pairing.again()
    assert asked[:5] == [("both", "anew"), ("bf16", "c0"), ("fp32", "c0"), ("fp32", "c1"), ("bf16", "c1")]
    assert len(asked) == 1 + 2 * PAIRED_CLIPS
    assert pairing.pairs["c0"] == [(1.0, 0.5), (1.0, 0.5)]
    assert pairing.contradictions == [clip.id for clip in CLIPS[:PAIRED_CLIPS]]
    assert pairing.transcripts["c0"].text == "раз"  # what was said first is what is scored
    del asked[:]
    pairing.again()
    assert asked[1:3] == [("fp32", "c0"), ("bf16", "c0")]


def test_a_variant_alone_has_no_pairs() -> None:
    alone = cast(Any, Instant("fp32", []))
    pairing = Pairing(alone, None, CLIPS[:2], lambda *_: None, lambda _: True, lambda: (alone, alone))
    for _ in range(2):
        arguments, _nothing = pairing.setup()
        pairing.target(*arguments)
        pairing.teardown(*arguments)
    assert (dict(pairing.pairs), len(pairing.transcripts)) == ({}, 2)
