"""Whisper: log-mel features of 30 s, an encoder, a decoder that is told language and task.

Radford et al. 2022, https://arxiv.org/abs/2212.04356.
"""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lxbench.checkpoints import shapes
from lxbench.corpus.audio import SAMPLE_RATE
from lxbench.errors import CorpusError, ModelError
from lxbench.families import Family, Loaded, read_whole

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_GENERATION = "generation_config.json"
HOP = 160  # samples between two frames of features
TOGETHER = True
# What ``generate`` would obey and loops that choose the likeliest token would not, with what changes nothing.
_OBEYED: Mapping[str, int | None] = {
    **dict.fromkeys(("max_new_tokens", "max_time", "stop_strings", "bad_words_ids", "sequence_bias")),
    **dict.fromkeys(("forced_bos_token_id", "forced_eos_token_id", "exponential_decay_length_penalty")),
    **dict.fromkeys(("no_speech_threshold", "logprob_threshold", "compression_ratio_threshold")),
    **dict.fromkeys(("min_length", "min_new_tokens", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size"), 0),
    **dict.fromkeys(("repetition_penalty", "encoder_repetition_penalty", "guidance_scale"), 1),
}


# What sampling and beams would be told, and greedy decoding is not.
_IDLE = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "epsilon_cutoff",
    "eta_cutoff",
    "length_penalty",
    "early_stopping",
)


def load(folder: Path, device: str) -> Loaded:
    """Load a resolved model in float32 on a device, ready for inference.

    The suppressed tokens move from the generation config to ``Loaded``: ``decode`` applies them as a mask, where
    ``generate`` would sort them into the whole vocabulary for every token.
    """
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

    kind: Any = WhisperForConditionalGeneration
    config = json.loads((folder / "config.json").read_text("utf-8"))
    if "pruned" in config:
        from lxbench.pruning import pruned

        kind = pruned.PrunedWhisper
    made_up = shapes.SEED_KEY in config
    model: Any = shapes.random_model(kind, folder, device) if made_up else read_whole(kind, folder)
    generation = model.generation_config
    _settle(generation, model.config)
    loaded = Loaded(
        model.to(device).eval(),
        tokenizer(folder),
        WhisperFeatureExtractor.from_pretrained(folder, local_files_only=True),
        cast(Family, sys.modules[__name__]),
        tuple(generation.suppress_tokens or ()),
        tuple(generation.begin_suppress_tokens or ()),
    )
    generation.suppress_tokens = generation.begin_suppress_tokens = None
    return loaded


def _settle(generation: Any, config: Any) -> None:
    """Leave of a generation config what decoding goes by; transformers refuses to write what is idle in it."""
    from transformers import GenerationConfig

    usual = GenerationConfig()
    for name in _IDLE:
        setattr(generation, name, getattr(usual, name, None))
    generation.use_cache, generation.return_dict_in_generate = True, False
    if generation.max_length is None:  # ``generate`` would end after some 20 tokens.
        generation.max_length = config.max_target_positions
    if isinstance(ends := generation.eos_token_id, list) and len(ends) == 1:
        (generation.eos_token_id,) = ends
    if not getattr(generation, "is_multilingual", True):
        # Of the model that it was made from: ``generate`` would begin with its language and its task.
        if hasattr(generation, "lang_to_id"):
            del generation.lang_to_id
        for settings in (generation, config):
            if getattr(settings, "forced_decoder_ids", None):
                settings.forced_decoder_ids = None
        generation.language = generation.task = None


@lru_cache(maxsize=1)
def tokenizer(folder: Path) -> Any:
    """The tokenizer of a resolved model."""
    from transformers import WhisperTokenizer

    return WhisperTokenizer.from_pretrained(folder, local_files_only=True)


def check(folder: Path) -> None:
    """Refuse features of another size than the model's, and a generation config for more than greedy decoding.

    Raises:
        ModelError: naming all that it asks for.
    """
    _check_features(folder)
    generation = _generation(folder)
    values = {name: generation.get(name) for name in _OBEYED}
    asked = {name: value for name, value in values.items() if value not in (None, _OBEYED[name])}
    ends = generation.get("eos_token_id")
    neutral: dict[str, Any] = dict.fromkeys(asked)
    if isinstance(ends, list) and len(ends) > 1:
        asked["eos_token_id"], neutral["eos_token_id"] = ends, ends[0]
    if asked:
        # What is idle in greedy decoding transformers refuses to write.
        idle = {name: None for name in _IDLE if generation.get(name) is not None}
        changes = ", ".join(f"{name}={value}" for name, value in (neutral | idle).items())
        named = ", ".join(f"{name} = {value!r}" for name, value in asked.items())
        raise ModelError(
            f"{folder / _GENERATION} sets {named}: generate obeys that, and the rows that decode without it do not",
            expected="a generation config for greedy decoding, which all rows are compared by",
            # Of a copy: in the hub's cache a file is a link to what other revisions have too.
            command=f"cp -rL {shlex.quote(str(folder))} greedy && "
            "python -c \"from transformers import GenerationConfig as C; c = C.from_pretrained('greedy'); "
            f"c.update({changes}); c.save_pretrained('greedy')\"  "
            "# then --lx-model greedy",
        )


def _check_features(folder: Path) -> None:
    bands = _read(folder / "config.json").get("num_mel_bins", 80)
    # As transformers reads them: the former counts where it has one.
    file, told = folder / "processor_config.json", _read(folder / "processor_config.json").get("feature_extractor")
    if not isinstance(told, dict):
        file, told = folder / "preprocessor_config.json", _read(folder / "preprocessor_config.json")
    if (made := told.get("feature_size", 80)) != bands:
        origin = "openai/whisper-large-v3" if bands == 128 else "openai/whisper-base"
        raise ModelError(
            f"{file} makes features of {made} bands, the model hears {bands}",
            expected="the feature extractor of the model that it was made from",
            # Of a copy: in the hub's cache a file is a link to what other revisions have too.
            command=f"cp -rL {shlex.quote(str(folder))} mended && rm -f mended/processor_config.json && "
            'python -c "from transformers import WhisperFeatureExtractor as F; '
            f"F.from_pretrained('{origin}').save_pretrained('mended')\"  # then --lx-model mended",
        )


def _read(file: Path) -> dict[str, Any]:
    """A JSON object, empty where there is no such file.

    Raises:
        ModelError: there is another thing in it.
    """
    try:
        return dict(json.loads(file.read_text("utf-8"))) if file.is_file() else {}
    except (ValueError, TypeError) as error:
        raise ModelError(
            f"{file} is not a JSON object: {error}",
            expected="the file that transformers has written",
            command=f"less {shlex.quote(str(file))}",
        ) from None


def _generation(folder: Path) -> dict[str, Any]:
    """The generation config as it is written, empty where none can be read."""
    with suppress(ModelError):
        return _read(folder / _GENERATION)
    return {}


def languages(folder: Path) -> list[str]:
    """Codes of the languages that a checkpoint knows; ``en`` alone for an English-only one.

    Raises:
        ModelError: a multilingual one does not list them.
    """
    generation = _generation(folder)
    if generation.get("is_multilingual") is False:
        return ["en"]
    if not (known := generation.get("lang_to_id")):
        raise ModelError(
            f"{folder / _GENERATION} does not list the model's languages and their tokens (lang_to_id)",
            expected="the generation config of the model it was made from",
            command='python -c "import sys; from transformers import GenerationConfig as C; '
            "C.from_pretrained('openai/whisper-base').save_pretrained(sys.argv[1])\" "
            f"{shlex.quote(str(folder))}  # of the model it was made from",
        )
    return sorted(name.strip("<|>") for name in known)


def hears_s(folder: Path) -> float:
    """Seconds that a resolved model hears at once: 30 unless its positions were cut."""
    positions = json.loads((folder / "config.json").read_text("utf-8")).get("max_source_positions", 1500)
    return float(positions * 2 * HOP / SAMPLE_RATE)


def window(model: Any) -> int:
    """Samples that a model hears at once: 30 s unless its positions were cut."""
    return int(model.config.max_source_positions * 2 * HOP)  # The encoder halves the frames.


def features_for(model: Any, extractor: Any, audio: NDArray[np.float32], longest: int = 0) -> Any:
    """Log-mel features of one clip, padded or cut to what the encoder asks for, on its device and in its type.

    Args:
        model: that hears it.
        extractor: the feature extractor.
        audio: samples of the clip.
        longest: samples of the longest clip beside it in a batch.
    """
    samples = window(model)
    if hasattr(model.model.encoder, "heard"):
        samples = HOP * model.model.encoder.heard(math.ceil(max(len(audio), longest) / HOP))
    if model.device.type == "cuda" and not extractor.dither:
        from lxbench.inference.features import log_mel

        return log_mel(extractor, audio, samples, model.device).to(model.dtype)
    features = extractor(audio, sampling_rate=SAMPLE_RATE, max_length=samples, return_tensors="pt").input_features
    return features.to(model.device, model.dtype)


def extract(loaded: Loaded, audio: Sequence[NDArray[np.float32]]) -> Any:
    """Log-mel features of clips, shape (clips, mel bands, frames), on the model's device and in its type.

    Raises:
        CorpusError: a clip is longer than what the model hears.
    """
    import torch

    samples, longest = window(loaded.model), max(map(len, audio))
    if longest > samples:
        raise CorpusError(
            f"a clip of {longest / SAMPLE_RATE:.1f} s for a model that hears {samples / SAMPLE_RATE:g} s",
            expected="clips no longer than what the row keeps, see prune_positions in lxbench/variants.py",
            command="nox -s bench-cpu -- -k 'not structured'",
        )
    each = [features_for(loaded.model, loaded.feature_extractor, clip, longest) for clip in audio]
    return each[0] if len(each) == 1 else torch.cat(each)


def encode(loaded: Loaded, features: Any) -> Any:
    """The encoder's pass, as ``generate`` makes it."""
    return loaded.model.get_encoder()(features, return_dict=True)


def decode(loaded: Loaded, hidden: Any, language: str) -> list[list[int]]:
    """Greedy decoding from the encoder's output, tokens of each clip; they are on the CPU: a CUDA device is done.

    By ``generate``, or by a loop that the decoder brings, see ``lxbench.inference.plain.Decoder.greedy``.
    """
    ids: list[list[int]]
    prompt = prompt_ids(loaded.model, language)
    if own := getattr(loaded.model.model.decoder, "greedy", None):
        ids = own(loaded.model, hidden, prompt, loaded.suppressed, loaded.suppressed_first)
        return ids
    ids = loaded.model.generate(
        encoder_outputs=hidden,
        logits_processor=[_Suppression(loaded)],
        num_beams=1,
        do_sample=False,
        return_timestamps=False,
        # All that follows the prompt: else tokens that were added behind the timestamps are taken for such, and between
        # two of them a text is cut off or heard once more.
        force_unique_generate_call=True,
        **prompt_for(loaded.model, language),
    ).tolist()
    return [each[len(prompt) :] if each[: len(prompt)] == prompt else each for each in ids]


class _Suppression:
    """Sets the scores of suppressed tokens to minus infinity: the two processors of ``generate`` in one mask.

    Made anew for every clip, because the first token of a clip has more of them.
    """

    def __init__(self, loaded: Loaded) -> None:
        self._always, self._first = list(loaded.suppressed), list(loaded.suppressed_first)
        self._mask: Any = None

    def __call__(self, _: Any, scores: Any) -> Any:
        import torch

        if self._mask is None:
            self._mask = torch.zeros_like(scores[:1])
            self._mask[:, self._always] = -torch.inf
            first = self._mask.clone()
            first[:, self._first] = -torch.inf
            return scores + first
        return scores + self._mask


def prompt_for(model: Any, language: str) -> dict[str, str]:
    """What ``generate`` is told of the task."""
    # English-only checkpoints have no language tokens and refuse both arguments.
    if not getattr(model.generation_config, "is_multilingual", True):
        return {}
    return {"language": language, "task": "transcribe"}


def prompt_ids(model: Any, language: str) -> list[int]:
    """The tokens that ``generate`` makes of ``prompt_for``: start, language, task, no timestamps."""
    generation = model.generation_config
    ids = [generation.decoder_start_token_id]
    if prompt_for(model, language):
        ids += [generation.lang_to_id[f"<|{language}|>"], generation.task_to_id["transcribe"]]
    without_times = getattr(generation, "no_timestamps_token_id", None)  # ``generate`` takes a config that lacks it.
    return ids if without_times is None else [*ids, without_times]
