"""Load the reference model: ``embedded``, a folder written by ``save_pretrained``, or a hub id.

``resolve`` runs in the main process and imports neither torch nor transformers: it finds the files, checks
them and takes their fingerprint. ``load`` runs in a worker and returns the model itself.
"""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lxbench import embedded
from lxbench.errors import ModelError, UsageError
from lxbench.transcribe import SAMPLE_RATE, window

EMBEDDED = "embedded"


@dataclass(frozen=True)
class ModelSource:
    """Where a model's files are and which model they are.

    Attributes:
        spec: what the user asked for.
        name: the short name, as used in paths under ``baselines/``.
        folder: a folder that ``from_pretrained`` reads.
        fingerprint: sha256 over the weights and configuration, hexadecimal.
    """

    spec: str
    name: str
    folder: Path
    fingerprint: str


@dataclass
class Loaded:
    """A ``WhisperForConditionalGeneration`` with what turns audio into its input and its output into text.

    The types are open: a step may return another module than it was given.

    Attributes:
        suppressed: tokens that are never generated.
        suppressed_first: tokens that are not generated first.
    """

    model: Any
    tokenizer: Any
    feature_extractor: Any
    suppressed: tuple[int, ...] = ()
    suppressed_first: tuple[int, ...] = ()


def resolve(spec: str) -> ModelSource:
    """Find, check and fingerprint the model behind a SPEC.

    Raises:
        ModelError: nothing there, not a Whisper, damaged weights, or weights in a pickle.
    """
    if spec == EMBEDDED:
        return ModelSource(spec, embedded.NAME, embedded.restore(), embedded.SHA256)
    path = Path(spec)
    folder = path if path.exists() or not re.fullmatch(r"[\w.-]+/[\w.-]+", spec) else _download(spec)
    name = re.sub(r"[^a-z0-9.+-]+", "-", (path.resolve().name if folder is path else spec).lower())
    return ModelSource(spec, name, folder, _check_folder(folder, spec))


def check_language(source: ModelSource, language: str) -> None:
    """Refuse a language that a multilingual model has no token for.

    Raises:
        UsageError: the model's generation config lists its languages, and this one is not among them.
    """
    config = source.folder / "generation_config.json"
    known = json.loads(config.read_text("utf-8")).get("lang_to_id") if config.is_file() else None
    if known and f"<|{language}|>" not in known:
        codes = ", ".join(sorted(name.strip("<|>") for name in known))
        raise UsageError(
            f"--lx-language {language!r} is not a language of model {source.spec}",
            expected=f"one of {codes}",
            command="nox -s bench-cpu -- --lx-language ru",
        )


def load(folder: Path, device: str) -> Loaded:
    """Load a resolved model in float32 on a device, ready for inference.

    The suppressed tokens move from the generation config to ``Loaded``: ``transcribe`` applies them as a mask, where
    ``generate`` would sort them into the whole vocabulary for every token.
    """
    import torch
    from transformers import (
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperTokenizer,
    )
    from transformers.utils import logging

    logging.disable_progress_bar()  # Files that are there load in a second.
    kind: Any = WhisperForConditionalGeneration
    if "pruned" in json.loads((folder / "config.json").read_text("utf-8")):
        from lxbench import pruned

        kind = pruned.PrunedWhisper
    model: Any = kind.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    generation = model.generation_config
    loaded = Loaded(
        model.to(device).eval(),
        WhisperTokenizer.from_pretrained(folder, local_files_only=True),
        WhisperFeatureExtractor.from_pretrained(folder, local_files_only=True),
        tuple(generation.suppress_tokens or ()),
        tuple(generation.begin_suppress_tokens or ()),
    )
    generation.suppress_tokens = generation.begin_suppress_tokens = None
    return loaded


def save(loaded: Loaded, folder: Path) -> None:
    """Write a model that steps have changed, with its tokenizer and feature extractor: a folder that ``resolve`` takes.

    The suppressed tokens go back to the generation config, and the feature extractor pads to what the model hears.

    Args:
        loaded: a model of floats; quantized and compiled ones have forms of their own.
        folder: where to; must not exist yet, and is there whole or not at all.

    Raises:
        FileExistsError: it exists.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} exists; next: rm -r {folder}")
    extractor = {**loaded.feature_extractor.to_dict(), "chunk_length": window(loaded.model) // SAMPLE_RATE}
    generation = loaded.model.generation_config
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        written = Path(name) / folder.name
        generation.suppress_tokens = list(loaded.suppressed) or None
        generation.begin_suppress_tokens = list(loaded.suppressed_first) or None
        try:
            loaded.model.save_pretrained(written)
        finally:
            generation.suppress_tokens = generation.begin_suppress_tokens = None
        loaded.tokenizer.save_pretrained(written)
        type(loaded.feature_extractor).from_dict(extractor).save_pretrained(written)
        written.rename(folder)


def _download(repo: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repo, allow_patterns=["*.safetensors", "*.json", "*.txt"]))
    except Exception as error:
        raise ModelError(
            f"model {repo} could not be had from the hub: {type(error).__name__}: {error}",
            expected="a folder with config.json, or a hub id that this machine can reach or has cached",
            command=f"hf download {repo}",
        ) from error


def _check_folder(folder: Path, spec: str) -> str:
    """Refuse what cannot be loaded, before any long work; return the fingerprint."""
    expected = "a folder written by save_pretrained: config.json and *.safetensors of a Whisper"
    command = f"ls -l {folder}"
    config = folder / "config.json"
    if not config.is_file():
        raise ModelError(f"model {spec}: no {config}", expected=expected, command=command)
    try:
        kind = json.loads(config.read_text("utf-8")).get("model_type")
    except ValueError as error:
        raise ModelError(f"model {spec}: {config} is not JSON: {error}", expected=expected, command=command) from None
    if kind != "whisper":
        raise ModelError(f"model {spec} is a {kind!r} model, not a Whisper", expected=expected, command=command)
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise ModelError(f"model {spec}: no weights in {folder}", expected=expected, command=command)
    for file in weights:
        _check_safetensors(file)
    extra = [config, folder / "generation_config.json"]
    return embedded.sha256(*weights, *(file for file in extra if file.exists()))


def _check_safetensors(file: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np"):  # reads the header and compares it with the file's size
            pass
    except SafetensorError as error:
        raise ModelError(
            f"weights file {file} is damaged ({file.stat().st_size} bytes): {error}",
            expected="a complete safetensors file",
            command=f"ls -l {file}  # then copy or download it again",
        ) from None
