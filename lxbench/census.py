"""What a model is made of, before and after a step, and which kernels it really runs.

Silent no-ops are the most common lie of this field: a configuration says int8 while float32 is running.
"""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, cast

_MATMUL = ("addmm", "aten::mm", "aten::bmm", "quantized::", "mkl::", "mkldnn::", "_scaled_mm", "int8", "int4")


@dataclass(frozen=True)
class Census:
    """Counts over one model.

    Attributes:
        modules: how many modules of each class.
        dtypes: how many stored numbers of each type.
        parameters: how many parameters.
        zeros: how many of them are exactly zero.
        magnitude: sum of their absolute values.
        size_mib: what a saved state dict takes.
        compiled: modules that torch.compile will run.
        wrapped: modules whose ``forward`` was replaced.
    """

    modules: dict[str, int]
    dtypes: dict[str, int]
    parameters: int
    zeros: int
    magnitude: float
    size_mib: float
    compiled: int
    wrapped: int

    def changes(self, after: Census) -> list[str]:
        """Names of the counts that differ."""
        left, right = asdict(self), asdict(after)
        return [name for name in left if left[name] != right[name]]


def take(model: Any) -> Census:
    """Count a model."""
    modules = list(model.modules())
    parameters = list(model.parameters())
    tensors = [*parameters, *model.buffers()]
    dtypes: Counter[str] = Counter()
    for tensor in tensors:
        dtypes[str(tensor.dtype).removeprefix("torch.")] += tensor.numel()
    return Census(
        modules=dict(sorted(Counter(map(_class_name, modules)).items())),
        dtypes=dict(dtypes),
        parameters=sum(tensor.numel() for tensor in parameters),
        zeros=sum(tensor.numel() - int(tensor.count_nonzero()) for tensor in parameters),
        magnitude=sum(float(tensor.detach().float().abs().sum()) for tensor in parameters),
        size_mib=saved_bytes(model) / 2**20,
        compiled=sum(module._compiled_call_impl is not None for module in modules),
        wrapped=sum("forward" in vars(module) for module in modules),
    )


def saved_bytes(model: Any) -> int:
    """Bytes that ``torch.save`` writes for the state dict: packed, quantized and tied weights counted as stored."""
    import torch

    counter = _Counter()
    torch.save(model.state_dict(), cast(Any, counter), pickle_protocol=pickle.HIGHEST_PROTOCOL)
    return counter.bytes


def kernels(call: Callable[[], object]) -> dict[str, int]:
    """Run a function under torch.profiler and count its matrix kernels by name and input type.

    Keys read like ``addmm bfloat16`` or ``quantized::linear_dynamic float32``; compiled graphs appear as
    ``Torch-Compiled Region``.
    """
    import torch
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities, record_shapes=True) as profiler:
        call()
    found: Counter[str] = Counter()
    raw: Any = profiler.profiler
    for event in raw.kineto_results.events():
        name = event.name()
        if name.startswith("Torch-Compiled Region"):
            found["Torch-Compiled Region"] += 1
        elif any(part in name for part in _MATMUL):
            types = sorted({_TYPES[type] for type in event.dtypes() if type in _TYPES})
            found[" ".join([name.removeprefix("aten::"), *types])] += 1
    return dict(found.most_common())


_TYPES = {
    "float": "float32",
    "double": "float64",
    "c10::BFloat16": "bfloat16",
    "c10::Half": "float16",
    "signed char": "int8",
    "unsigned char": "uint8",
}


class _Counter:
    """A file that only counts what is written to it."""

    def __init__(self) -> None:
        self.bytes = 0

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self.bytes += size
        return size

    def flush(self) -> None:
        pass


def _class_name(module: Any) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"
