"""The architecture card."""

from __future__ import annotations

import torch

from lxbench import card
from lxbench.families import Loaded


def test_equal_layers_are_folded_and_every_part_is_counted(loaded: Loaded) -> None:
    lines = [" ".join(line.split()) for line in card.lines(loaded.model)]
    assert lines[:2] == ["parameters size module", "72,593,920 276.9 MiB WhisperForConditionalGeneration"]
    assert "20,590,592 78.5 MiB (encoder): WhisperEncoder" in lines
    assert "18,911,232 72.1 MiB (0-5): 6 x WhisperEncoderLayer" in lines
    assert "1,050,624 4.0 MiB (fc1): Linear(in_features=512, out_features=2048, bias=True)" in lines
    assert lines[-1] == "tied (proj_out): Linear(in_features=512, out_features=51865, bias=False)"


def test_layers_that_differ_are_not_folded_and_bytes_follow_the_type() -> None:
    layers = torch.nn.Sequential(*(torch.nn.Linear(256, width).to(torch.bfloat16) for width in (256, 256, 128)))
    lines = card.lines(torch.nn.ModuleDict({"layers": layers}))
    assert [line.split("  ", 1)[1].strip() for line in lines[2:]] == [
        "164,480      0.3 MiB    (layers): Sequential",
        "131,584      0.3 MiB      (0-1): 2 x Linear(in_features=256, out_features=256, bias=True)",
        "32,896      0.1 MiB      (2): Linear(in_features=256, out_features=128, bias=True)",
    ]
