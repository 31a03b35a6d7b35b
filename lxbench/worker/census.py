"""What a model is made of, before and after a step, and which kernels it really runs.

Silent no-ops are the most common lie of this field: a configuration says int8 while float32 is running.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

_MATMUL = (
    "addmm",
    "aten::mm",
    "aten::bmm",
    "aten::_int_mm",
    "_scaled_mm",
    "int8",
    "int4",
    "quantized::",
    "mkl::",
    "mkldnn::",
    "onednn::",
    "torchao::",
    "bitsandbytes::",
    "ctranslate2::",
    "onnxruntime::",
    "openvino::",
    "whispercpp::",
    "MatMul8bit",
    # Kernels of a GPU, and what replays them.
    "gemm",
    "gemv",
    "nvjet",
    "cutlass",
    "triton_",
    "cudaGraphLaunch",
    "_attention_forward",
    "_attention_math",
    "_cslt_sparse_mm",
    "_sparse_semi_structured",
)


_EXACT = 2**24  # Up to here float32 counts one by one.
_PIECE = {"cpu": 2**18}  # Numbers that stay in its caches: they are counted three times as fast as all at once.


@dataclass(frozen=True)
class Census:
    """Counts over one model.

    Attributes:
        modules: how many modules of each class.
        dtypes: how many stored numbers of each type.
        zeros: how many of them are exactly zero.
        magnitude: sum of their absolute values.
        size_mib: what the tensors of a saved state dict take on disk, and what another engine keeps there.
        compiled: what torch.compile will run: modules, and the decoding step.
        wrapped: modules whose ``forward`` or ``generate`` was replaced.
        shapes: how many matrices of floats of each shape, such as ``2048x512``.
        float32: how exact products of float32 are, by torch's setting of the process.
    """

    modules: dict[str, int]
    dtypes: dict[str, int]
    zeros: int
    magnitude: float
    size_mib: float
    compiled: int
    wrapped: int
    shapes: dict[str, int]
    float32: str = "highest"

    def changes(self, after: Census) -> list[str]:
        """Names of the counts that differ."""
        left, right = asdict(self), asdict(after)
        return [name for name in left if left[name] != right[name]]


def take(model: Any, state: Any = None) -> Census:
    """Count a model.

    Args:
        model: any ``torch.nn.Module``.
        state: its state dict, where that was made already: quantized weights are unpacked for it.
    """
    import torch

    modules = list(model.modules())
    dtypes: Counter[str] = Counter()
    zeros, magnitude, size = 0, 0.0, 0
    for tensor in stored(model.state_dict() if state is None else state):
        dtypes[str(tensor.dtype).removeprefix("torch.")] += tensor.numel()
        size += tensor.untyped_storage().nbytes()
        numbers = tensor.int_repr() if tensor.is_quantized else tensor.detach()
        for piece in numbers.flatten().split(_PIECE.get(numbers.device.type, _EXACT)):
            sizes = piece.float().abs()
            magnitude += float(sizes.sum())
            zeros += piece.numel() - int(sizes.nan_to_num_(1).sign_().sum())
    generation = getattr(model, "generation_config", None)
    return Census(
        modules=dict(sorted(Counter(map(_class_name, modules)).items())),
        dtypes=dict(dtypes),
        zeros=zeros,
        magnitude=magnitude,
        size_mib=(size + sum(getattr(module, "stored_bytes", 0) for module in modules)) / 2**20,
        compiled=sum(module._compiled_call_impl is not None for module in modules)
        + (getattr(generation, "compile_config", None) is not None),
        wrapped=sum(not vars(module).keys().isdisjoint({"forward", "generate"}) for module in modules),
        shapes=dict(sorted(Counter(_matrices(model)).items())),
        float32=torch.get_float32_matmul_precision(),
    )


def stored(state: Any) -> Iterator[Any]:
    """Yield the tensors of a state dict: tied weights once, packed and wrapped ones as they are stored."""
    import torch
    from torch.utils._pytree import tree_leaves

    seen: set[int] = set()

    def visit(leaf: Any) -> Iterator[Any]:
        if hasattr(leaf, "__tensor_flatten__"):  # a wrapper subclass, as torchao's: look at what it wraps
            for name in leaf.__tensor_flatten__()[0]:
                yield from visit(getattr(leaf, name))
        elif isinstance(leaf, torch.Tensor) and leaf.untyped_storage().data_ptr() not in seen:
            seen.add(leaf.untyped_storage().data_ptr())
            yield leaf

    for leaf in tree_leaves(state):
        yield from visit(leaf)


def kernels(call: Callable[[], object], cuda: bool = False) -> dict[str, int]:
    """Run a function under torch.profiler and count its matrix kernels by name and input type.

    Args:
        call: the function.
        cuda: whether kernels of a GPU are counted too.

    Keys read like ``addmm bfloat16`` or ``quantized::linear_dynamic float32``; compiled functions are numbered in the
    order in which they first ran, ``Torch-Compiled Region 0`` and so on.
    """
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * cuda
    with profile(activities=activities, record_shapes=True) as profiler:
        call()
    found: Counter[str] = Counter()
    functions: dict[str, int] = {}
    raw: Any = profiler.profiler
    for event in sorted(raw.kineto_results.events(), key=lambda event: event.start_ns()):
        name = event.name()
        if name.startswith(_COMPILED):  # ": 3/1", the fourth function of this process, compiled a second time
            number = functions.setdefault(name.partition("/")[0], len(functions))
            found[f"{_COMPILED} {number}"] += 1
        elif any(part in name for part in _MATMUL):
            types = sorted({_TYPES[type] for type in event.dtypes() if type in _TYPES})
            found[" ".join([name.removeprefix("aten::"), *types])] += 1
    return dict(found.most_common())


_COMPILED = "Torch-Compiled Region"
_TYPES = {
    "float": "float32",
    "double": "float64",
    "c10::BFloat16": "bfloat16",
    "c10::Half": "float16",
    "signed char": "int8",
    "unsigned char": "uint8",
}


def _matrices(model: Any) -> Iterator[str]:
    for parameter in model.parameters():  # tied ones once
        if parameter.ndim == 2 and parameter.is_floating_point():
            yield "x".join(map(str, parameter.shape))


def _class_name(module: Any) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"
