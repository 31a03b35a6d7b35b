"""Normalise, align, count. Pure: text in, numbers out.

WER and CER are corpus rates: all edits over all reference words or characters, never a mean over clips.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import version
from itertools import zip_longest

import jiwer

AUTO = "auto"
# Marks that people may leave out, by how Unicode calls them. Those of other scripts spell vowels and tones.
_OPTIONAL_MARKS = ("COMBINING", "ARABIC", "HEBREW", "SYRIAC", "VARIATION SELECTOR")
# From Devanagari to Sinhala they shape letters; elsewhere they may part words, as in Persian.
_JOINERS = re.compile("(?<=[\u0900-\u0dff])[\u200c\u200d]")


@dataclass(frozen=True)
class Normalizer:
    """A named, versioned function text -> text; baselines of another version are stale."""

    name: str
    apply: Callable[[str], str]


@dataclass(frozen=True)
class Counts:
    """Edits and what they are counted over; adding counts of clips gives those of the corpus."""

    words: int = 0
    word_edits: int = 0
    characters: int = 0
    character_edits: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.words + other.words,
            self.word_edits + other.word_edits,
            self.characters + other.characters,
            self.character_edits + other.character_edits,
        )

    @property
    def wer(self) -> float:
        """Word edits over reference words."""
        return self.word_edits / self.words if self.words else float("nan")

    @property
    def cer(self) -> float:
        """Character edits over reference characters."""
        return self.character_edits / self.characters if self.characters else float("nan")


def total(counts: Iterable[Counts]) -> Counts:
    """Add up the counts of clips."""
    return sum(counts, Counts())


@lru_cache(maxsize=2**14)  # Of a row they are asked for again and again.
def count(reference: str, hypothesis: str) -> Counts:
    """Count the edits between two texts as they are; normalise first where that is wanted."""
    reference, hypothesis = " ".join(reference.split()), " ".join(hypothesis.split())
    if not reference:
        # jiwer refuses an empty reference; every word said is then an insertion.
        return Counts(0, len(hypothesis.split()), 0, len(hypothesis))
    words = jiwer.process_words(reference, hypothesis)
    characters = jiwer.process_characters(reference, hypothesis)
    return Counts(
        len(words.references[0]),
        words.substitutions + words.deletions + words.insertions,
        len(characters.references[0]),
        characters.substitutions + characters.deletions + characters.insertions,
    )


def differences(reference: str, hypothesis: str) -> list[tuple[str, str, str]]:
    """Cut two texts where they differ: ``=`` or ``~``, the words of the reference, those of the hypothesis."""
    if not reference.split():
        return [("~", "", hypothesis)] if hypothesis.split() else []
    output = jiwer.process_words(reference, hypothesis)
    return [
        (
            "=" if chunk.type == "equal" else "~",
            " ".join(output.references[0][chunk.ref_start_idx : chunk.ref_end_idx]),
            " ".join(output.hypotheses[0][chunk.hyp_start_idx : chunk.hyp_end_idx]),
        )
        for chunk in output.alignments[0]
    ]


def align(reference: str, hypothesis: str, width: int = 10_000) -> list[tuple[str, str]]:
    """Return pairs of REF and HYP lines, at most so many characters wide, with matching words above each other.

    Differing words are in capitals, a missing word is a run of asterisks.
    """
    columns: list[tuple[str, str]] = []
    for kind, said, heard in differences(reference, hypothesis):
        for ref, hyp in zip_longest(said.split(), heard.split(), fillvalue=""):
            same = kind == "="
            left, right = (ref, hyp) if same else (ref.upper(), hyp.upper())
            columns.append((left or "*" * len(right), right or "*" * len(left)))
    lines: list[tuple[str, str]] = []
    for left, right in columns:
        size = max(len(left), len(right))
        if not lines or len(lines[-1][0]) + 1 + size > width:
            lines.append((left.ljust(size), right.ljust(size)))
        else:
            top, bottom = lines[-1]
            lines[-1] = (f"{top} {left.ljust(size)}", f"{bottom} {right.ljust(size)}")
    return [(top.rstrip(), bottom.rstrip()) for top, bottom in lines]


def normalizer_for(language: str, wanted: str = AUTO) -> Normalizer:
    """The normaliser of a language, ``basic`` where it has none of its own, or the one that is wanted.

    Args:
        language: Whisper's code, such as ``ru``.
        wanted: ``auto`` or a key of ``NORMALIZERS``.
    """
    return NORMALIZERS[_OF_LANGUAGE.get(language, "basic") if wanted == AUTO else wanted]()


def normalizer_named(name: str) -> Normalizer:
    """The normaliser that results were made with, by the name that stands in them; of the version that is here."""
    return NORMALIZERS[name.partition("/")[0]]()


def as_it_is(text: str) -> str:
    """Single spaces and nothing else."""
    return " ".join(text.split())


def basic(text: str) -> str:
    """Lower-case, drop punctuation, symbols and stress marks, make single spaces.

    Composed letters such as й stay what they are: only marks that Unicode cannot compose are dropped, and the points
    of Arabic and Hebrew. The vowel signs of Hindi, Thai or Burmese are marks too, and stay.
    """
    text = _JOINERS.sub("", unicodedata.normalize("NFKC", text)).lower()
    return " ".join("".join(map(_plain, text)).split())


def russian(text: str) -> str:
    """``basic`` with ё written as е and whole numbers spelled out.

    Numbers come in the nominative, the only case num2words knows: "в 5 часов" gives "в пять часов", but "5-го"
    gives "пять го". A number with a leading zero is read digit by digit, as telephone prompts are.
    """
    text = unicodedata.normalize("NFKC", text)
    return basic(re.sub(r"\d+", _spell, text)).replace("ё", "е")


def _plain(character: str) -> str:
    kind = unicodedata.category(character)[0]
    if kind == "M":
        return "" if unicodedata.name(character, "").startswith(_OPTIONAL_MARKS) else character
    return " " if kind in "PSZC" else character


def _spell(match: re.Match[str]) -> str:
    digits = match.group()
    parts = digits if len(digits) > 1 and digits[0] == "0" else (digits,)
    return " " + " ".join(_words(part) for part in parts) + " "


@cache
def _words(digits: str) -> str:
    from num2words import num2words

    try:
        return str(num2words(int(digits), lang="ru"))
    except (KeyError, NotImplementedError, OverflowError):  # beyond what num2words can name
        return " ".join(str(num2words(int(digit), lang="ru")) for digit in digits)


@cache
def english() -> Normalizer:
    """Whisper's own for English: contractions, spellings, numbers (Radford et al. 2022, appendix C)."""
    with warnings.catch_warnings():
        # Not compiled yet it warns of its escape sequences, an error of syntax where warnings are errors.
        warnings.simplefilter("ignore")
        from whisper_normalizer.english import EnglishTextNormalizer

    return Normalizer(f"english/whisper-normalizer-{version('whisper-normalizer')}", EnglishTextNormalizer())


NORMALIZERS: Mapping[str, Callable[[], Normalizer]] = {
    "russian": lambda: Normalizer("russian/1", russian),
    "english": english,
    "basic": lambda: Normalizer("basic/2", basic),
    "none": lambda: Normalizer("none/1", as_it_is),
}
_OF_LANGUAGE = {"ru": "russian", "en": "english"}
