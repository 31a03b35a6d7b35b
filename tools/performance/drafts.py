"""How often a cheap draft of the next token would be right: what speculative decoding could win here.

python -m tools.performance.drafts

A draft is either what the first of the decoder's layers say, through its norm and output matrix (layers skipped as in
Zhang et al. 2023, https://arxiv.org/abs/2309.08168), or what followed the same two tokens earlier in the text (prompt
lookup). The texts are what fp32 says to the clips of ``ivr-ru-selection``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from lxbench import corpus, models
from lxbench.checkpoints import embedded
from lxbench.commands import CORPORA
from lxbench.corpus.audio import read_audio
from lxbench.families.whisper import decode, encode, extract, prompt_ids


def by_layers(model: Any, heard: Any, ids: Sequence[int], start: int) -> list[list[bool]]:
    """Whether the first layers alone say what all of them say, by number of layers, for tokens from ``start`` on."""
    decoder = model.model.decoder
    states = decoder(
        input_ids=torch.tensor([ids]), encoder_hidden_states=heard.last_hidden_state, output_hidden_states=True
    ).hidden_states
    # The last of the states is behind the norm, those before it are not.
    said = [model.proj_out(decoder.layer_norm(state)).argmax(-1)[0] for state in states[1:-1]]
    wanted = model.proj_out(states[-1]).argmax(-1)[0]
    return [(each == wanted)[start - 1 :].tolist() for each in said]


def by_lookup(text: Sequence[int]) -> list[bool]:
    """Whether a token is what followed the two before it the last time, where they came before."""

    def guess(place: int) -> int | None:
        pairs = (at for at in range(place - 1, 1, -1) if text[at - 2 : at] == text[place - 2 : place])
        return next((text[at] for at in pairs), None)

    return [guess(place) == text[place] for place in range(2, len(text))]


def lines() -> Iterator[str]:
    """Yield the lines of a table."""
    loaded = models.load(embedded.restore(), "cpu")
    prompt = prompt_ids(loaded.model, "ru")
    layers: list[list[bool]] = [[] for _ in loaded.model.model.decoder.layers[:-1]]
    lookups: list[bool] = []
    tokens, special = 0, set(loaded.tokenizer.all_special_ids)
    with torch.inference_mode():
        for clip in corpus.load("ivr-ru-selection", CORPORA).clips:
            heard = encode(loaded, extract(loaded, [read_audio(clip.path)]))
            text = [id for id in decode(loaded, heard, "ru")[0] if id not in special]
            tokens += len(text)
            lookups += by_lookup(text)
            for known, right in zip(layers, by_layers(loaded.model, heard, [*prompt, *text], len(prompt)), strict=True):
                known += right
    yield f"| draft by | right, of {tokens} tokens |"
    yield "| --- | ---: |"
    for number, right in enumerate(layers, 1):
        yield f"| the first {number} of {len(layers) + 1} layers | {sum(right) / len(right):.0%} |"
    yield f"| what followed the same two tokens before | {sum(lookups) / tokens:.0%} |"


if __name__ == "__main__":
    print("\n".join(lines()))
