"""Compilation with Inductor, see https://docs.pytorch.org/docs/stable/torch.compiler.html."""

from __future__ import annotations

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

    ``generate`` does both once its configuration says so, see https://huggingface.co/docs/transformers/kv_cache: a
    cache that grows from token to token would be another shape, and another compilation, for every token. The prompt
    is read uncompiled. On CUDA the step is captured as a CUDA graph.
    """
    from transformers import CompileConfig

    mode = "reduce-overhead" if model.device.type == "cuda" else "default"
    config: Any = CompileConfig(fullgraph=False, dynamic=False, mode=mode)
    config._compile_all_devices = True  # Otherwise transformers compiles on accelerators alone.
    model.generation_config.cache_implementation = "static"
    model.generation_config.compile_config = config
    return model
