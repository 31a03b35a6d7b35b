"""Architectures of speech recognisers: how each is loaded, what it hears, how it says it.

A family is a module with the functions of ``Family``. Beside these modules only steps that are marked with
``ladder.whisper_only`` know more of a model than that it is a ``torch.nn.Module`` with ``model.encoder``,
``model.decoder``, ``proj_out`` and ``generate``.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from lxbench.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NAMES = ("whisper", "moonshine")  # As ``model_type`` of config.json has them.


@dataclass
class Loaded:
    """A model with what turns audio into its input and its output into text.

    The types are open: a step may return another module than it was given.

    Attributes:
        family: the module that knows how it is fed.
        suppressed: tokens that are never generated.
        suppressed_first: tokens that are not generated first.
    """

    model: Any
    tokenizer: Any
    feature_extractor: Any
    family: Family
    suppressed: tuple[int, ...] = ()
    suppressed_first: tuple[int, ...] = ()


class Family(Protocol):
    """What is asked of the module of a family.

    Attributes:
        TOGETHER: whether it hears several clips at once.
    """

    TOGETHER: bool

    def load(self, folder: Path, device: str) -> Loaded:
        """Load a resolved model in float32 on a device, ready for inference; local files only."""

    def tokenizer(self, folder: Path) -> Any:
        """The tokenizer of a resolved model, local files only; a process reads it once."""

    def check(self, folder: Path) -> None:
        """Refuse a resolved model that rows would decode by different rules.

        Raises:
            ModelError: it asks for some.
        """

    def languages(self, folder: Path) -> list[str] | None:
        """Codes of the languages that it can be told to hear, None if it cannot be told.

        Raises:
            ModelError: it should be told and cannot.
        """

    def hears_s(self, folder: Path) -> float:
        """Seconds that a resolved model hears at once."""

    def extract(self, loaded: Loaded, audio: Sequence[NDArray[np.float32]]) -> Any:
        """What the encoder is given of clips at once, on the model's device and in its type."""

    def encode(self, loaded: Loaded, features: Any) -> Any:
        """The encoder's pass, as ``generate`` makes it."""

    def decode(self, loaded: Loaded, hidden: Any, language: str) -> list[list[int]]:
        """Greedy decoding from the encoder's output: tokens of each clip."""


def read_whole(kind: Any, folder: Path) -> Any:
    """Read a checkpoint in float32.

    Args:
        kind: the class of transformers that it is of.
        folder: of a resolved model.

    Raises:
        ModelError: tensors are missing, which transformers would make up, in every process others.
    """
    import torch

    options = {"dtype": torch.float32, "local_files_only": True, "output_loading_info": True}
    model, told = kind.from_pretrained(folder, **options)
    if lacking := sorted(told["missing_keys"]):
        some = ", ".join(lacking[:3]) + (", ..." if len(lacking) > 3 else "")
        raise ModelError(
            f"model {folder} lacks {len(lacking)} of its tensors: {some}",
            expected="weights under the names that transformers gives them, saved without a wrapper around the model",
            command='python -c "import sys; from safetensors import safe_open as o; '
            f"print(*o(sys.argv[1], 'np').keys())\" {shlex.quote(str(folder / 'model.safetensors'))}",
        )
    return model


def find(name: str) -> Family:
    """The module of a family, by one of ``NAMES``."""
    return cast("Family", import_module(f"lxbench.families.{name}"))
