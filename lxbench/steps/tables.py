"""Pruning that removes rows of tables: tokens that a language does not need, positions that no clip reaches.

Nothing is chosen on clips and nothing is fitted; what is left says what it said.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

from lxbench.ladder import Step, fits, whisper_only

# Whisper's codes of the languages that are written in a script; of others it is not known here.
LANGUAGES = {"CYRILLIC": frozenset({"ba", "be", "bg", "kk", "mk", "mn", "ru", "sr", "tg", "tt", "uk"})}


def prune_vocabulary(script: str) -> Step:
    """Keep the tokens that a language's script needs, in the embedding and in ``proj_out``; ids stay as they are.

    Whisper's tokens are pieces of UTF-8. Those stay that spell letters of the script, digits, punctuation and spaces,
    with every single byte, by which any other text can still be spelled, and all special tokens.

    Args:
        script: how Unicode's names of its letters begin, such as ``CYRILLIC``.
    """

    def step(model: Any) -> Any:
        import torch

        from lxbench.families import whisper
        from lxbench.pruning import pruned

        tokenizer = whisper.tokenizer(Path(model.name_or_path))
        known, special = model.config.vocab_size, min(tokenizer.all_special_ids)
        # What is added after the text's tokens is special: languages, tasks, timestamps.
        pieces = tokenizer.convert_ids_to_tokens(list(range(special)))
        # The backend's own, which has all that 50,000 calls of ``decode`` come to.
        texts = tokenizer.backend_tokenizer.decode_batch([[id] for id in range(special)], skip_special_tokens=False)
        letters = {letter for letter in set().union(*texts) if _belongs(letter, script)}
        kept = [id for id in range(special) if len(pieces[id]) == 1 or _spells(texts[id], letters)]
        kept += range(special, known)
        pruned.keep_tokens(model, torch.tensor(kept, device=model.device))
        return pruned.adopt(model)

    step.__name__ = f"prune_vocabulary({script})"
    return fits(whisper_only(step), **({"languages": LANGUAGES[script]} if script in LANGUAGES else {}))


def prune_positions(seconds: int) -> Step:
    """Keep the first positions of the encoder: the model hears recordings of so many seconds, and no longer ones.

    Whisper pads every clip to 30 s and encodes the padding. Its table of positions is a matrix like any other: with
    fewer rows, every pass of the encoder and every look of the decoder at it has less to do. Longer clips are refused.

    Args:
        seconds: what is left of the 30; every Whisper has 50 positions a second.

    Raises:
        ValueError: less than one second.
    """
    if seconds < 1:
        raise ValueError(f"{seconds} s are nothing to hear: whole seconds, at least 1")

    def step(model: Any) -> Any:
        positions = model.model.encoder.embed_positions
        kept = min(seconds * 50, positions.num_embeddings)
        positions.weight.data = positions.weight.data[:kept].clone()
        positions.num_embeddings = model.config.max_source_positions = kept
        return model

    step.__name__ = f"prune_positions({seconds})"
    return fits(whisper_only(step), hears_s=seconds)


def _spells(text: str, letters: set[str]) -> bool:
    """Whether a token is text of these letters, or a single letter of ASCII."""
    return letters.issuperset(text) or (len(text.strip()) == 1 and text.isascii())


def _belongs(letter: str, script: str) -> bool:
    """Whether it is a letter of a script, a digit, punctuation or a space."""
    if letter.isalpha():
        return unicodedata.name(letter, "").startswith(script)
    # Marks and the punctuation of the East stand above the symbols; U+FFFD is a piece of another letter.
    return ord(letter) < 0x3000 and not unicodedata.category(letter).startswith("M")
