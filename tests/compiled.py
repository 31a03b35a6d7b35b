"""Compile the kernels of a decoding step for Hopper as it launches them, without a GPU: JSON of what came out.

Run as a program of its own, without Triton's interpreter: ``python -m tests.compiled``.
"""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from lxbench.inference import kernels
from lxbench.inference.graphed import Int8Linear

HOPPER = GPUTarget("cuda", 90, 32)
WIDTH, HEADS, TEXT, HEARD = 1280, 20, 448, 1500  # of whisper-large-v3


def main() -> None:
    """Launch all, which only compiles them."""
    made: list[Any] = []
    run = JITFunction.run

    def compiled(self: Any, *arguments: Any, warmup: bool, **named: Any) -> None:  # noqa: ARG001
        made.append(run(self, *arguments, warmup=True, **named))

    JITFunction.run = compiled
    driver.set_active(
        SimpleNamespace(
            get_current_target=lambda: HOPPER, get_current_device=lambda: 0, get_current_stream=lambda _device: 0
        )
    )
    setattr(kernels, "early", lambda _device: {"EARLY": True, "launch_pdl": True})  # noqa: B010 - mypy
    with torch.no_grad():
        for int8 in (False, True):
            for tokens in (1, 4):  # of the text, of the prompt
                launch(int8, tokens)
    print(json.dumps([described(kernel) for kernel in made]))


def launch(int8: bool, tokens: int) -> None:
    """The kernels of a layer in float16."""

    def layer(inputs: int, outputs: int) -> nn.Module:
        plain = nn.Linear(inputs, outputs, dtype=torch.float16)
        return Int8Linear(plain) if int8 else plain

    x = torch.zeros(1, tokens, WIDTH, dtype=torch.float16)
    norm = nn.LayerNorm(WIDTH, dtype=torch.float16)
    keys, values = torch.zeros(2, 1, HEADS, TEXT, WIDTH // HEADS, dtype=torch.float16)
    at, counts = torch.zeros(1, dtype=torch.long), torch.zeros(HEADS, dtype=torch.int32)
    kernels.look_back(layer(WIDTH, 3 * WIDTH), x, norm, keys, values, at, counts)
    kernels.product(layer(WIDTH, WIDTH), x, residual=x)
    kernels.product(layer(WIDTH, WIDTH), x, norm=norm)
    heard = torch.zeros(1, HEARD, 2 * WIDTH, dtype=torch.float16)
    bias = torch.zeros(1, 1, 1, HEARD, dtype=torch.float16) if int8 else None
    kernels.look(x, heard, bias, HEADS, counts)
    kernels.product(layer(WIDTH, 4 * WIDTH), x, norm=norm, gelu=True)


def described(kernel: Any) -> dict[str, Any]:
    """What is in the assembly of a kernel."""
    assembly = kernel.asm["ptx"]
    before, counting, behind = assembly.partition("atom.")
    return {
        "name": kernel.metadata.name,
        "cubin": len(kernel.asm["cubin"]),
        "launches": assembly.count("griddepcontrol.launch_dependents"),
        "waits": assembly.count("griddepcontrol.wait"),
        "counted_behind_a_barrier": bool(counting and re.search(r"st\.global.*bar\.sync", before, re.DOTALL)),
        "read_behind_a_barrier": "bar.sync" in behind.partition("ld.global")[0],
    }


if __name__ == "__main__":
    main()
