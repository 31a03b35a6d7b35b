"""Other engines in the place of torch, converted from the model at hand; ``pip install lxbench[engines]``."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from lxbench.ladder import Step, whisper_only


def ctranslate2(compute_type: str) -> Step:
    """Encode and decode in CTranslate2, the engine of faster-whisper.

    Args:
        compute_type: such as ``float32`` or ``int8_float32``.
    """
    return _converted("ctranslate2", compute_type)


def onnxruntime(kind: str) -> Step:
    """Encode and decode in ONNX Runtime, from graphs that torch exports.

    Args:
        kind: ``float32``, or ``int8``: activations in int8 too, quantized dynamically.
    """
    return _converted("onnxruntime", kind)


def decode_in_onnxruntime(kind: str) -> Step:
    """Decode in ONNX Runtime what torch has encoded; after ``plain_decoding``, with or without ``merge_padding``.

    Args:
        kind: ``float32``, or ``int8``: activations in int8 too, quantized dynamically.
    """

    def step(model: Any) -> Any:
        from lxbench.engines.onnxruntime import convert_decoder

        return convert_decoder(model, kind)

    step.__name__ = f"decode_in_onnxruntime({kind})"
    return whisper_only(step)


def openvino(kind: str = "float32") -> Step:
    """Encode and decode in OpenVINO, from the same graphs.

    Args:
        kind: ``float32``, or ``bfloat16`` where the CPU computes in it.
    """
    return _converted("openvino", kind)


def whispercpp(kind: str) -> Step:
    """Encode and decode in whisper.cpp.

    Args:
        kind: ``float16`` or ``q8_0``, of the matrices as they are stored.
    """
    return _converted("whispercpp", kind)


def _converted(engine: str, kind: str) -> Step:
    def step(model: Any) -> Any:
        return import_module(f"lxbench.engines.{engine}").convert(model, kind)

    step.__name__ = f"{engine}({kind})"
    return whisper_only(step)
