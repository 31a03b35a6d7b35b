"""Greedy decoding: a loop around whatever gives scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch


def text_length(model: Any, prompt: Sequence[int]) -> int:
    """Tokens that a text may have, as ``generate`` counts for Whisper: the prompt on top of its limit."""
    places, limit = model.config.max_target_positions, model.generation_config.max_length
    return int(places if limit is None else min(limit + len(prompt), places))


def greedy(
    say: Callable[[torch.Tensor, int], torch.Tensor],
    texts: torch.Tensor,
    model: Any,
    never: Sequence[int],
    not_first: Sequence[int],
    known: torch.Tensor | None = None,
) -> list[list[int]]:
    """The likeliest token after each other until every text of a batch has ended, as ``generate`` chooses them.

    Args:
        say: from tokens, shape (batch, length), and the place of the first of them, to the scores of the token after
            them, shape (batch, vocabulary).
        texts: the prompt of each, shape (batch, length).
        model: whose configurations say where a text ends.
        never: tokens that are suppressed.
        not_first: tokens that are suppressed at the first place.
        known: the tokens that scores are of, ascending; None for all.

    Returns:
        The tokens of each text, the prompt and the end left out.
    """
    end, length = model.generation_config.eos_token_id, text_length(model, texts[0].tolist())
    suppressed, first = (places(tokens, known, texts.device) for tokens in (never, [*never, *not_first]))
    chosen: list[torch.Tensor] = []
    ended = torch.zeros(len(texts), dtype=torch.bool, device=texts.device)
    ids, at = texts, 0
    while at + ids.shape[1] < length:
        scores = say(ids, at).index_fill_(1, suppressed if chosen else first, -torch.inf)
        at += ids.shape[1]
        best = scores.argmax(-1)
        best = best if known is None else known[best]
        ended |= best == end
        if bool(ended.all()):
            break
        chosen.append(best)
        ids = best[:, None]
    spelled = torch.stack(chosen, dim=1).tolist() if chosen else [[] for _ in texts]
    return [text[: text.index(end)] if end in text else text for text in spelled]


def places(tokens: Sequence[int], known: torch.Tensor | None, device: torch.device) -> torch.Tensor:
    """Where the scores of tokens are."""
    wanted = torch.tensor(sorted(set(tokens)), dtype=torch.long, device=device)
    return wanted if known is None else torch.isin(known, wanted).nonzero().flatten()
