"""A Whisper whose layers have sizes of their own, and which can be saved and loaded like any other.

``WhisperConfig`` knows one width for all layers. What a cut model has instead stands in its configuration, as
``config.pruned``: the sizes of every Linear that differs, and the number of tokens whose rows were kept.
"""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import WhisperForConditionalGeneration


class CutEmbedding(nn.Embedding):
    """The rows of an embedding that were kept, addressed by the ids of the whole vocabulary.

    Attributes:
        rows: row of every id, 0 where there is none, shape (whole vocabulary,), int64.
        tokens: ids that were kept, ascending, shape (rows,), int64.
    """

    rows: torch.Tensor
    tokens: torch.Tensor

    def __init__(self, count: int, width: int, vocabulary: int, **options: Any) -> None:
        super().__init__(count, width, **options)
        device = options.get("device")
        self.register_buffer("rows", torch.zeros(vocabulary, dtype=torch.int64, device=device))
        self.register_buffer("tokens", torch.zeros(count, dtype=torch.int64, device=device))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Embed ids of any shape."""
        return super().forward(self.rows[input])


class PrunedWhisper(WhisperForConditionalGeneration):
    """A ``WhisperForConditionalGeneration`` whose layers were cut; for inference.

    Token ids are those of the whole vocabulary on both sides: an embedding that was cut finds their rows, and the
    scores of tokens that were cut are minus infinity.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        _settle(self, config.pruned)

    @wraps(WhisperForConditionalGeneration.forward)  # ``generate`` reads the names of the arguments.
    def forward(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]  # wraps, as mypy sees it
        """Scores of the next token, as the parent's ``forward`` gives them.

        Raises:
            NotImplementedError: labels were given to a model of a cut vocabulary.
        """
        embedding = self.model.decoder.embed_tokens
        if not isinstance(embedding, CutEmbedding):
            return super().forward(*args, **kwargs)
        if kwargs.get("labels") is not None:
            raise NotImplementedError("a Whisper with a cut vocabulary is for inference: it takes no labels")
        output = super().forward(*args, **kwargs)
        scores = output.logits.new_full((*output.logits.shape[:-1], self.config.vocab_size), -torch.inf)
        output.logits = scores.index_copy_(-1, embedding.tokens, output.logits)
        return output


def adopt(model: Any) -> Any:
    """Make a model that was cut in place a ``PrunedWhisper``, its configuration telling its sizes.

    Args:
        model: a ``WhisperForConditionalGeneration`` whose Linears were replaced.
    """
    model.__class__ = PrunedWhisper  # Its weights stay where they are; only ``forward`` and loading differ.
    model.config.pruned = _differences(model)
    # Heads by which words would be aligned with time may be gone or have moved.
    model.generation_config.alignment_heads = None
    return model


def read(folder: Path, like: Any) -> Any:
    """Read a model that was cut and written by ``save_pretrained``, to stand in for the one that it was cut from.

    Args:
        folder: where it was written.
        like: what it was cut from; its type, device and origin are taken over.
    """
    model: Any = PrunedWhisper.from_pretrained(folder, dtype=like.dtype, local_files_only=True)
    model.config._name_or_path = model.name_or_path = like.name_or_path
    return model.to(like.device).eval()


def keep_tokens(model: Any, tokens: Any) -> None:
    """Cut the embedding, and the output that is tied to it or has weights of its own, to some tokens.

    Args:
        model: a Whisper, changed in place.
        tokens: ascending ids of the tokens that stay, shape (count,), int64.
    """
    old = model.model.decoder.embed_tokens
    if isinstance(old, CutEmbedding):
        tokens = tokens[torch.isin(tokens, old.tokens)]
    weight, rows = old(tokens), old.rows[tokens] if isinstance(old, CutEmbedding) else tokens
    head = None if is_tied(model) else model.proj_out.weight[rows]
    new = _set_vocabulary(model, len(tokens), head is None)
    new.weight.data.copy_(weight)
    if head is not None:
        model.proj_out.weight.data.copy_(head)
    new.tokens.copy_(tokens)
    new.rows[tokens] = torch.arange(len(tokens), device=tokens.device)


def is_tied(model: Any) -> bool:
    """Whether the output has the embedding's weights; a checkpoint may bring others, whatever its config says."""
    return bool(model.proj_out.weight.data_ptr() == model.model.decoder.embed_tokens.weight.data_ptr())


def _set_vocabulary(model: Any, count: int, tied: bool) -> CutEmbedding:
    old = model.model.decoder.embed_tokens.weight
    options: Any = {"device": old.device, "dtype": old.dtype}
    embedding = CutEmbedding(count, old.shape[1], model.config.vocab_size, **options)
    model.model.decoder.embed_tokens = embedding
    model.proj_out = nn.Linear(old.shape[1], count, bias=False, **options)
    if tied:
        model.proj_out.weight = embedding.weight
    return embedding


def linears(model: Any) -> dict[str, list[int]]:
    """Sizes of every Linear outside the vocabulary: inputs and outputs, with the rank between them where it is two."""
    sizes: dict[str, list[int]] = {}
    for name, module in model.model.named_modules():
        if isinstance(module, nn.Sequential):
            thin, wide = cast(tuple[nn.Linear, nn.Linear], tuple(module))
            sizes[name] = [thin.in_features, thin.out_features, wide.out_features]
        elif isinstance(module, nn.Linear) and not name.rpartition(".")[2].isdigit():
            sizes[name] = [module.in_features, module.out_features]
    return sizes


def _differences(model: Any) -> dict[str, Any]:
    with torch.device("meta"):
        whole = linears(WhisperForConditionalGeneration(model.config))
    pruned: dict[str, Any] = {
        "linears": {name: sizes for name, sizes in linears(model).items() if sizes != whole.get(name)}
    }
    if isinstance(model.model.decoder.embed_tokens, CutEmbedding):
        pruned |= {"tokens": model.model.decoder.embed_tokens.num_embeddings, "tied": is_tied(model)}
    return pruned


def _settle(model: Any, pruned: dict[str, Any]) -> None:
    """Give a fresh model the sizes that its configuration tells, before its weights are loaded."""
    for name, sizes in pruned["linears"].items():
        parent, _, child = name.rpartition(".")
        owner = model.model.get_submodule(parent)
        bias = getattr(owner, child).bias is not None
        if len(sizes) == 3:
            thin = nn.Linear(sizes[0], sizes[1], bias=False)
            setattr(owner, child, nn.Sequential(thin, nn.Linear(sizes[1], sizes[2])))
        else:
            setattr(owner, child, nn.Linear(sizes[0], sizes[1], bias=bias))
        if child == "out_proj":
            owner.num_heads = sizes[0] // owner.head_dim
    if "tokens" in pruned:
        _set_vocabulary(model, pruned["tokens"], pruned.get("tied", True))
