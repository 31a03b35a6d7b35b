"""Load the reference model: ``embedded``, a folder written by ``save_pretrained``, a hub id, or ``shape:`` and a size.

``resolve`` runs in the main process and imports neither torch nor transformers: it finds the files, checks
them and takes their fingerprint. ``load`` runs in a worker and returns the model itself.
"""

from __future__ import annotations

import json
import re
import shlex
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lxbench import families, files, kept
from lxbench.checkpoints import embedded, shapes
from lxbench.corpus.audio import SAMPLE_RATE
from lxbench.errors import ModelError, UsageError
from lxbench.families import Loaded
from lxbench.families.whisper import window

EMBEDDED = "embedded"
_EXPECTED = "a folder written by save_pretrained: config.json and *.safetensors of a Whisper or a Moonshine"
_HUB = re.compile(r"[\w.-]+/[\w.-]+")
_INDEX = "model.safetensors.index.json"  # of weights in several files
# A repository may have its weights twice, in another type and as pickles: of these nothing is downloaded.
_WANTED = ["model.safetensors", "model-*.safetensors", "*.json", "*.txt"]
# What must be there beside the weights, any of each.
_BESIDE = (("preprocessor_config.json", "processor_config.json"), ("tokenizer.json", "vocab.json"))


@dataclass(frozen=True)
class ModelSource:
    """Where a model's files are and which model they are.

    Attributes:
        spec: what the user asked for.
        name: the short name, as used in paths under ``baselines/``.
        folder: a folder that ``from_pretrained`` reads.
        fingerprint: sha256 over the weights and configuration, hexadecimal.
        family: one of ``families.NAMES``.
        random: whether its weights are: what it says means nothing, and is neither scored nor gated; see ``shapes``.
    """

    spec: str
    name: str
    folder: Path
    fingerprint: str
    family: str = "whisper"
    random: bool = False


def resolve(spec: str, revision: str = "") -> ModelSource:
    """Find, check and fingerprint the model behind a SPEC.

    Args:
        spec: ``embedded``, a folder, a hub id, or ``shape:`` and a size.
        revision: branch, tag or commit of a hub id; empty for its main branch.

    Raises:
        ModelError: nothing there, no speech recogniser that is known, damaged weights, weights in a pickle, or see
            ``Family.check``.
        UsageError: a revision of something that has none, or a size that is not known.
    """
    try:
        return _resolved(spec, revision)
    except OSError as error:  # Of somebody else, or a name that no file can have.
        place = shlex.quote(str(error.filename or spec))
        raise ModelError(
            f"model {spec} cannot be read: {error}", expected=_EXPECTED, command=f"ls -ld {place}"
        ) from None


def _resolved(spec: str, revision: str) -> ModelSource:
    path = Path(spec)
    on_hub = spec != EMBEDDED and not path.exists() and _HUB.fullmatch(spec) is not None
    if revision and not on_hub:
        raise UsageError(
            f"--lx-revision {revision!r} with model {spec}, which is not a hub id",
            expected="a hub id such as openai/whisper-large-v3, or no revision",
            command=f"nox -s bench-cpu -- --lx-model {shlex.quote(spec)}",
        )
    if spec == EMBEDDED:
        return ModelSource(spec, embedded.NAME, embedded.restore(), embedded.SHA256)
    if spec.startswith(shapes.PREFIX):
        folder = shapes.restore(spec)
        name = spec.replace(":", "-")
        return ModelSource(spec, name, folder, kept.sha256(folder / "config.json"), random=True)
    folder = _download(spec, revision) if on_hub else path
    name = re.sub(r"[^\w.+-]+", "-", (spec if on_hub else files.spelled(path).name).lower())
    fingerprint, family = _check_folder(folder, spec), _kind(folder)
    families.find(family).check(folder)
    return ModelSource(spec, name, folder, fingerprint, family)


def check_language(source: ModelSource, language: str) -> None:
    """Refuse a language that a model does not know, and a multilingual model that does not know its own.

    Raises:
        UsageError: it is not among the model's languages.
        ModelError: see ``Family.languages``.
    """
    known = families.find(source.family).languages(source.folder)
    if known is not None and language not in known:
        other = "ru" if "ru" in known else known[0]
        raise UsageError(
            f"--lx-language {language!r} is not a language of model {source.spec}",
            expected=f"one of {', '.join(known)}",
            command=f"nox -s bench-cpu -- --lx-model {shlex.quote(source.spec)} --lx-language {other}",
        )


def check_length(source: ModelSource, longest: float) -> None:
    """Refuse clips that a model does not hear to their end.

    Args:
        source: the model.
        longest: seconds of the longest clip.

    Raises:
        UsageError: it hears less.
    """
    if longest > (hears := families.find(source.family).hears_s(source.folder)):
        raise UsageError(
            f"model {source.spec} hears {hears:g} s, the longest clip has {longest:.1f} s",
            expected="clips no longer than that, or a model whose positions were not cut",
            command="nox -s bench-cpu  # with the embedded model",
        )


def check_batch(source: ModelSource, batch: int) -> None:
    """Refuse to measure throughput of a model that hears one clip at a time.

    Raises:
        UsageError: it does.
    """
    if batch and not families.find(source.family).TOGETHER:
        raise UsageError(
            f"--lx-batch {batch} with model {source.spec}: a {source.family} hears every clip as long as it is",
            expected="a model that hears several clips at once, or no batches",
            command=f"nox -s bench-cpu -- --lx-model {shlex.quote(source.spec)}",
        )


def load(folder: Path, device: str) -> Loaded:
    """Load a resolved model in float32 on a device, ready for inference."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # Files that are there load in a second.
    return families.find(_kind(folder)).load(folder, device)


def tokenizer(folder: Path) -> Any:
    """The tokenizer of a resolved model; a process reads it once."""
    return families.find(_kind(folder)).tokenizer(folder)


def save(loaded: Loaded, folder: Path) -> None:
    """Write a Whisper that steps have changed, with what belongs to it: a folder that ``resolve`` takes.

    The suppressed tokens go back to the generation config, and the feature extractor pads to what the model hears.

    Args:
        loaded: a model of floats; quantized and compiled ones have forms of their own.
        folder: where to; must not exist yet, and is there whole or not at all.

    Raises:
        FileExistsError: it exists.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} exists; next: rm -r {shlex.quote(str(folder))}")
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


def _download(repo: str, revision: str) -> Path:
    """The folder of a repository in the hub's cache; what is there already is not asked for again."""
    from huggingface_hub import snapshot_download

    find = partial(snapshot_download, repo, revision=revision or None, allow_patterns=_WANTED)
    try:
        return Path(find())
    except Exception as error:
        with suppress(Exception):  # Without a network huggingface_hub 1 asks for the list of a commit that it has.
            return Path(find(local_files_only=True))
        named = f"{repo} at {revision}" if revision else repo
        raise ModelError(
            f"model {named} could not be had from the hub: {type(error).__name__}: {error}",
            expected="a folder with config.json, or a hub id that this machine can reach or has cached",
            command=f"hf download {repo}" + (f" --revision {shlex.quote(revision)}" if revision else ""),
        ) from error


def _check_folder(folder: Path, spec: str) -> str:
    """Refuse what cannot be loaded, before any long work; return the fingerprint."""

    def refused(why: str, expected: str = _EXPECTED, command: str = f"ls -l {shlex.quote(str(folder))}") -> ModelError:
        return ModelError(f"model {spec}{why}", expected=expected, command=command)

    config = folder / "config.json"
    if not config.is_file():
        raise refused(f": no {config}")
    try:
        architecture = dict(json.loads(config.read_text("utf-8")))
    except (ValueError, TypeError) as error:
        raise refused(f": {config} is not a JSON object: {error}") from None
    if (kind := architecture.get("model_type")) not in families.NAMES:
        raise refused(f" is a {kind!r} model, not a Whisper or a Moonshine")
    _check_float(folder, architecture, refused)
    try:
        weights = _weights(folder)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise refused(f": {folder / _INDEX} lists no weights: {type(error).__name__}: {error}") from None
    if lacking := [file.name for file in weights if not file.is_file()]:
        raise refused(f": {len(lacking)} of the {len(weights)} files of its weights are missing: {', '.join(lacking)}")
    if not weights:
        pickled = sorted(file.name for file in folder.glob("*.bin"))
        told = f", only pickles, which can run code: {', '.join(pickled)}" if pickled else ""
        raise refused(f": no weights in {folder}" + told)
    for file in weights:
        _check_safetensors(file)
    if lacking := [" or ".join(names) for names in _BESIDE if not any((folder / name).is_file() for name in names)]:
        raise refused(
            f": no {' and no '.join(lacking)} in {folder}",
            expected="the tokenizer and the feature extractor beside the weights",
            command='python -c "import sys; from transformers import WhisperProcessor as P; '
            "P.from_pretrained('openai/whisper-base').save_pretrained(sys.argv[1])\" "
            f"{shlex.quote(str(folder))}  # of the model it was made from",
        )
    extra = [config, folder / "generation_config.json"]
    return kept.sha256(*weights, *(file for file in extra if file.exists()))


def _check_float(folder: Path, config: Mapping[str, Any], refused: Callable[..., ModelError]) -> None:
    """Refuse what would not be loaded as the floats that its files hold: fp32 is what all rows are held against."""
    if config.get("quantization_config"):
        raise refused(
            f" is quantized, as its {folder / 'config.json'} says",
            expected="the weights as floats, which the rows quantize themselves",
            command='python -c "import sys; from transformers import AutoModelForSpeechSeq2Seq as M; '
            f"M.from_pretrained(sys.argv[1]).dequantize().save_pretrained('floats')\" {shlex.quote(str(folder))}"
            "  # with its tokenizer and feature extractor beside it",
        )
    if (adapter := folder / "adapter_config.json").is_file():
        raise refused(
            f" has an adapter beside its weights, {adapter}: whether it counts would depend on what is installed",
            expected="one set of weights, the adapter merged into it",
            command=f"cp -rL {shlex.quote(str(folder))} merged && rm merged/{adapter.name}"
            "  # if the weights are merged, else peft's merge_and_unload first; then --lx-model merged",
        )


def _kind(folder: Path) -> str:
    """The architecture's name, as transformers has it."""
    return str(json.loads((folder / "config.json").read_text("utf-8"))["model_type"])


def _weights(folder: Path) -> list[Path]:
    """The files that ``from_pretrained`` reads: one, or those that an index lists."""
    whole, index = folder / "model.safetensors", folder / _INDEX
    if whole.is_file() or not index.is_file():
        return [whole] * whole.is_file()
    return [folder / name for name in sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))]


def _check_safetensors(file: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np"):  # reads the header and compares it with the file's size
            pass
    except SafetensorError as error:
        raise ModelError(
            f"weights file {file} is damaged ({file.stat().st_size} bytes): {error}",
            expected="a complete safetensors file",
            command=f"ls -l {shlex.quote(str(file))}  # then copy or download it again",
        ) from None
