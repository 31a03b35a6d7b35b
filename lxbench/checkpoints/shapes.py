"""Models of a known size without their weights: ``shape:large-v3``, for latency alone.

The time that a Whisper takes is decided by its architecture and by how many tokens it says, not by what its weights
are. Here the architecture is exact, the weights are random, and every clip is answered with the same number of tokens:
the end of the text is suppressed. Nothing needs to be downloaded.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import platformdirs

from lxbench import kept
from lxbench.checkpoints import embedded
from lxbench.errors import UsageError

PREFIX = "shape:"
TOKENS = 32  # generated for every clip: what people say in some ten seconds
# In config.json: the seed of the weights, of a model that has none in its folder.
SEED_KEY = "random_weights"
_SEED = 20260101

# Width, layers of encoder and decoder, heads, mel bands. Sizes as in Radford et al. 2022, table 1
# (https://arxiv.org/abs/2212.04356); large-v3, its turbo and distil-large-v3 by their published configurations.
_SIZES = {
    "tiny": (384, 4, 4, 6, 80),
    "base": (512, 6, 6, 8, 80),
    "small": (768, 12, 12, 12, 80),
    "medium": (1024, 24, 24, 16, 80),
    "large-v2": (1280, 32, 32, 20, 80),
    "large-v3": (1280, 32, 32, 20, 128),
    "turbo": (1280, 32, 4, 20, 128),
    "distil-large-v3": (1280, 32, 2, 20, 128),
}
_NEW_LANGUAGE = "<|yue|>"  # Models with 128 mel bands know Cantonese; what is behind it moves by one.
_BEFORE_IT = "<|su|>"


def restore(spec: str) -> Path:
    """Return the folder of a shape: configuration, tokenizer and feature extractor, no weights.

    Args:
        spec: ``shape:`` and a size.

    Raises:
        UsageError: no such size.
        ModelError: the tokenizer's package is missing.
    """
    size = spec.removeprefix(PREFIX)
    if size not in _SIZES:
        raise UsageError(
            f"--lx-model {spec!r} is not a shape lxbench knows",
            expected=f"shape: and one of {', '.join(_SIZES)}",
            command=f"nox -s bench-cpu -- --lx-model {PREFIX}base  # or bench-gpu",
        )
    files = _files(*_SIZES[size])
    texts = {name: json.dumps(content, indent=1, ensure_ascii=False) + "\n" for name, content in files.items()}
    digest = hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()[:12]
    folder = platformdirs.user_cache_path("lxbench") / "models" / f"shape-{size}-{digest}"

    def write(draft: Path) -> None:
        for name, text in texts.items():
            (draft / name).write_text(text, "utf-8")

    kept.ensure(folder, write)
    return folder


def random_model(kind: Any, folder: Path, device: str) -> Any:
    """Make the model of a shape on a device, its weights from a normal distribution of the usual width.

    The layers' outputs stay in the range of a trained model's, so that float16 neither overflows nor vanishes.

    Args:
        kind: the class of the model.
        folder: with the configuration.
        device: ``cpu`` or ``cuda``; the same seed makes other numbers on each.
    """
    import torch
    from transformers import GenerationConfig

    config = kind.config_class.from_pretrained(folder, local_files_only=True)
    generator = torch.Generator(device).manual_seed(getattr(config, SEED_KEY))
    with torch.device("meta"):  # Its own way to begin would take longer than all that follows.
        model = kind(config)
    model.to_empty(device=device)
    model.tie_weights()
    with torch.no_grad():
        for name, parameter in model.named_parameters():  # tied ones once
            if name.endswith("norm.weight"):
                parameter.fill_(1.0)
            elif name.endswith("bias"):
                parameter.zero_()
            else:
                parameter.normal_(0.0, config.init_std, generator=generator)
    model.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    model.name_or_path = str(folder)
    return model


def _files(width: int, encoder: int, decoder: int, heads: int, bands: int) -> dict[str, dict[str, Any]]:
    """What ``save_pretrained`` would write beside the weights."""
    files = embedded.beside_the_weights()
    config, generation = files["config.json"], files["generation_config.json"]
    config |= {
        "d_model": width,
        "encoder_layers": encoder,
        "decoder_layers": decoder,
        "encoder_attention_heads": heads,
        "decoder_attention_heads": heads,
        "encoder_ffn_dim": 4 * width,
        "decoder_ffn_dim": 4 * width,
        "num_mel_bins": bands,
        "dtype": "float32",
        SEED_KEY: _SEED,
    }
    files["preprocessor_config.json"]["feature_size"] = bands
    if bands == 128:
        _add_language(files)
    # The end is never said, and the text is cut off instead.
    generation["suppress_tokens"] = sorted({*generation["suppress_tokens"], generation["eos_token_id"]})
    generation["max_length"] = TOKENS
    del generation["alignment_heads"]  # of the embedded model's layers
    return files


def _add_language(files: dict[str, dict[str, Any]]) -> None:
    """Put the language that was added last in its place; ids behind it move by one."""
    tokenizer, generation = files["tokenizer.json"], files["generation_config.json"]
    ids = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    at: int = ids[_BEFORE_IT] + 1

    def moved(id: int) -> int:
        return id + (id >= at)

    template = next(token for token in tokenizer["added_tokens"] if token["content"] == _BEFORE_IT)
    for token in tokenizer["added_tokens"]:
        token["id"] = moved(token["id"])
    tokenizer["added_tokens"] = sorted(
        [*tokenizer["added_tokens"], {**template, "id": at, "content": _NEW_LANGUAGE}], key=lambda token: token["id"]
    )
    generation["lang_to_id"][_NEW_LANGUAGE] = at
    generation["task_to_id"] = {name: moved(id) for name, id in generation["task_to_id"].items()}
    for key in ("no_timestamps_token_id", "prev_sot_token_id"):
        generation[key] = moved(generation[key])
    for key in ("suppress_tokens", "begin_suppress_tokens"):
        generation[key] = [moved(id) for id in generation[key]]
    files["config.json"]["vocab_size"] += 1
