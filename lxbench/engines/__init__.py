"""Other engines for the same model: what they are given, and what they must bring to stand in a row of the ladder."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


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
            decoder: with a method ``greedy``, as ``lxbench.plain.Decoder`` has it.
            stored_bytes: see above.
        """
        super().__init__()
        self.config, self.generation_config, self.stored_bytes = old.config, old.generation_config, stored_bytes
        self.device, self.dtype = torch.device("cpu"), torch.float32
        self.model = nn.ModuleDict({"encoder": encoder, "decoder": decoder})

    def get_encoder(self) -> nn.Module:
        """The encoder, as transformers calls it."""
        return self.model["encoder"]
