"""Compilation with Inductor, see https://docs.pytorch.org/docs/stable/torch.compiler.html."""

from __future__ import annotations

import inspect
from typing import Any

from lxbench.ladder import imports, whisper_only

COMPILER = "torch._inductor.compile_fx"


@imports(COMPILER)
@whisper_only  # Others hear a clip as long as it is: every length would be another graph.
def compile_encoder(model: Any) -> Any:
    """Compile the encoder: it always sees 30 s of features, one shape, one graph."""
    model.model.encoder.compile(dynamic=False)
    return model


@imports(COMPILER)
@whisper_only
def compile_decoding(model: Any) -> Any:
    """Compile the decoding step, over a cache of fixed size.

    ``generate`` compiles it once its configuration says so, see https://huggingface.co/docs/transformers/kv_cache: a
    cache that grows from token to token would be another shape, and another compilation, for every token. The prompt
    is read uncompiled. On CUDA the step is captured as a CUDA graph.
    """
    from transformers import CompileConfig

    mode = "reduce-overhead" if model.device.type == "cuda" else "default"
    config: Any = CompileConfig(fullgraph=False, dynamic=False, mode=mode)
    config._compile_all_devices = True  # Otherwise transformers compiles on accelerators alone.
    model.generation_config.compile_config = config
    _keep_cache(model)
    return model


def _keep_cache(model: Any) -> None:
    """Have every clip decoded over the same static cache: a CUDA graph reads and writes where it was captured.

    Newer versions of transformers make a new one for every call of ``generate`` (``cache_implementation="static"``),
    and the graph is captured once more wherever the allocator gives it another address. How long a text may be
    ``generate`` alone knows: where it asks for a cache, it is given this one.
    """
    from transformers import EncoderDecoderCache, StaticCache

    caches: dict[tuple[int, ...], Any] = {}
    config = model.config.get_text_config(decoder=True)
    # Up to 5.23 past_key_values; by that name 5.24 takes it too, with a warning, and does not compile.
    name = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"

    def prepare(_: Any, options: dict[str, Any], __: Any, clips: int, longest: int) -> None:
        lengths = (longest, options["encoder_outputs"][0].shape[1])
        if (cache := caches.get((clips, *lengths))) is None:
            each = (StaticCache(config=config, max_cache_len=length) for length in lengths)
            cache = caches[clips, *lengths] = EncoderDecoderCache(*each)
        cache.reset()
        options[name] = cache

    model._prepare_cache_for_generation = prepare
