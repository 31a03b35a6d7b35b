"""Other engines in the place of torch, converted from the model at hand; ``pip install lxbench[engines]``."""

from __future__ import annotations

from typing import Any

from lxbench.ladder import Step, whisper_only


def ctranslate2(compute_type: str) -> Step:
    """Encode and decode in CTranslate2, the engine of faster-whisper.

    Args:
        compute_type: such as ``float32`` or ``int8_float32``.
    """

    def step(model: Any) -> Any:
        from lxbench.engines.ctranslate2 import convert

        return convert(model, compute_type)

    step.__name__ = f"ctranslate2({compute_type})"
    return whisper_only(step)
