"""Throw-away rows for the tests: variants that go wrong, and one that is made worse on purpose.

The environment variable ``LXBENCH_TEST_HARM`` decides what the row ``harmed`` suffers; without it, it is fast.
"""

from __future__ import annotations

import itertools
import logging
import os
import signal
import time
import warnings
from pathlib import Path
from typing import Any

from lxbench.ladder import CPU, Step, Variant
from lxbench.steps.plain import merge_padding, plain_decoding
from lxbench.variants import NOISE

HARM = os.environ.get("LXBENCH_TEST_HARM", "")


def die(model: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)
    return model


def leave(model: Any) -> Any:
    print("the last words of a worker", flush=True)
    os._exit(3)
    return model


def fail(_: Any) -> Any:
    raise RuntimeError("this step always fails")


def hang(model: Any) -> Any:
    time.sleep(3600)
    return model


def change_nothing(model: Any) -> Any:
    return model


def hang_later(model: Any) -> Any:
    """Answer the warm-up pass and hang in the first clip."""
    calls = iter(range(10_000))
    plain = model.generate

    def generate(*args: Any, **kwargs: Any) -> Any:
        if next(calls) >= 1:
            print("hanging", flush=True)
            time.sleep(3600)
        return plain(*args, **kwargs)

    model.generate = generate
    return model


def kill_the_others(model: Any) -> Any:
    """End all other workers while the first clip is transcribed; they are of one server, as this one."""
    calls = iter(range(10_000))
    plain = model.generate

    def generate(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == 1:
            server = os.getppid()
            for pid in map(int, Path(f"/proc/{server}/task/{server}/children").read_text().split()):
                if pid != os.getpid():
                    os.kill(pid, signal.SIGKILL)
        return plain(*args, **kwargs)

    model.generate = generate
    return model


def die_later(model: Any) -> Any:
    """Live in the first process, and die in the next ones."""
    mark = Path(os.environ["LXBENCH_TEST_MARK"])
    if mark.exists():
        die(model)
    mark.touch()
    return plain_decoding(model)


def scale_a_layer(model: Any) -> Any:
    """A deliberate accuracy regression: the weights of one decoder layer times 1.5; it might never end a text."""
    model.generation_config.max_length = 24
    for parameter in model.model.decoder.layers[2].parameters():
        parameter.data.mul_(1.5)
    return model


def slow_down(model: Any, by: float = 0.3) -> Any:
    """A deliberate slowdown: encoder and decoder together take 30 % longer, or more."""
    encode, greedy, began = model.model.encoder.forward, model.model.decoder.greedy, [0.0]

    def forward(*args: Any, **kwargs: Any) -> Any:
        began[0] = time.perf_counter()
        return encode(*args, **kwargs)

    def slower(*args: Any, **kwargs: Any) -> Any:
        said = greedy(*args, **kwargs)
        time.sleep(by * (time.perf_counter() - began[0]))
        return said

    model.model.encoder.forward, model.model.decoder.greedy = forward, slower
    return model


def stall(model: Any) -> Any:
    """A slowdown that no machine hides: five times as long."""
    return slow_down(model, 4.0)


def compile_again(model: Any) -> Any:
    """Recompile at every clip: a shape that is never the same."""
    import torch

    plain, sizes = model.model.encoder.forward, itertools.count(1)
    add = torch.compile(lambda x: x + 1, backend="eager", dynamic=False)

    def forward(*args: Any, **kwargs: Any) -> Any:
        add(torch.ones(next(sizes)))
        return plain(*args, **kwargs)

    model.model.encoder.forward = forward
    return model


def warn_and_hurry(model: Any) -> Any:
    """Say what a user should hear, and the noise that a user should not."""
    warnings.warn("the scales of this model look odd", stacklevel=2)
    logging.getLogger("torchao").warning("these weights were not quantized")
    logging.getLogger("torchao").warning(
        "Failed to load /x/torchao/_C_cutlass_90a.abi3.so: Could not load this library"
    )
    return merge_padding(64)(plain_decoding(model))


def fast() -> tuple[Step, ...]:
    """Fast on any CPU; every call gives steps of their own: rows with the very same ones would be measured once."""
    return plain_decoding, merge_padding(64)


_HARMS: dict[str, tuple[Step, ...]] = {
    "": (),
    "accuracy": (scale_a_layer,),
    "speed": (slow_down,),
    "stall": (stall,),
}

VARIANTS = (
    Variant("dies", CPU, steps=(die,)),
    Variant("leaves", CPU, steps=(leave,)),
    Variant("fails", CPU, steps=(fail,)),
    Variant("hangs", CPU, steps=(hang,), build_limit_s=8),
    Variant("hangs-later", CPU, steps=(hang_later,), clip_limit_s=5),
    Variant("nothing", CPU, steps=(change_nothing,)),
    Variant("pretends", CPU, steps=fast(), runs="addmm int8"),
    Variant("recompiles", CPU, steps=(compile_again,)),
    Variant("kills", CPU, steps=(kill_the_others,)),
    Variant("expires", CPU, steps=(die_later, merge_padding(64))),
    Variant("warns", CPU, steps=(warn_and_hurry,)),
    Variant("ruined", CPU, steps=(*fast(), scale_a_layer), unusable=True, clips=2, tolerance=NOISE),
    Variant("harmless", CPU, steps=(plain_decoding,), unusable=True),
    Variant("harmed", CPU, steps=(*fast(), *_HARMS[HARM])),
)
