"""Other engines for the same model: what they are given, and what they must bring to stand in a row of the ladder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from lxbench.errors import StepError


class EngineModel(nn.Module):
    """A Whisper whose encoder and decoder run outside torch.

    Features, the prompt, suppressed tokens and the spelling of text stay those of the other rows, so that only the
    engine differs. Nothing is left of the model's own weights.

    Attributes:
        stored_bytes: what the engine's weights take on disk.
    """

    def __init__(self, old: Any, encoder: nn.Module, decoder: nn.Module, stored_bytes: int) -> None:
        """Take the place of a model.

        Args:
            old: the Whisper that was converted.
            encoder: from log-mel features, shape (1, bands, frames), to whatever the decoder takes.
            decoder: with a method ``greedy``, as ``lxbench.inference.plain.Decoder`` has it.
            stored_bytes: see above.
        """
        super().__init__()
        self.config, self.generation_config, self.stored_bytes = old.config, old.generation_config, stored_bytes
        self.device, self.dtype = torch.device("cpu"), torch.float32
        self.model = nn.ModuleDict({"encoder": encoder, "decoder": decoder})

    def get_encoder(self) -> nn.Module:
        """The encoder, as transformers calls it."""
        return self.model["encoder"]


def replaced(part: nn.Module) -> set[str]:
    """What stands in the place of torch's Linears."""
    return {
        f"{type(module).__module__}.{type(module).__qualname__}"
        for module in part.modules()
        if hasattr(module, "in_features") and type(module) is not nn.Linear
    }


def require_whole(model: Any, engine: str, cut: bool = False) -> None:
    """Refuse a model that an engine cannot be given.

    Args:
        model: a Whisper that other steps may have changed.
        engine: its name.
        cut: whether it takes layers of other sizes.

    Raises:
        StepError: a layer is no longer torch's, of another type, or of another size than the configuration says.
    """
    found = replaced(model)
    if model.dtype != torch.float32:
        found.add(f"weights in {str(model.dtype).removeprefix('torch.')}")
    if not hasattr(model, "proj_out") or hasattr(model.model.decoder, "greedy"):
        found.add(f"{type(model.model).__module__}.{type(model.model).__qualname__}")
    if found or (hasattr(model.config, "pruned") and not cut):
        raise StepError(
            f"{engine} does not take what the steps before it made: {', '.join(sorted(found)) or 'cut layers'}",
            expected="the model as loaded" + (", or with layers cut" if cut else ", or with other weights"),
            command="see the engines' rows in lxbench/variants.py",
        )


def require_kind(engine: str, kind: str, known: Iterable[str]) -> None:
    """Refuse numbers that an engine does not compute with on this machine.

    Raises:
        StepError: the kind is not among those that are known.
    """
    if kind not in (known := sorted(known)):
        raise StepError(
            f"{engine} does not compute in {kind} here",
            expected=f"one of {', '.join(known)}",
            command="name one of them in the row's step, see lxbench/steps/engines.py",
        )
