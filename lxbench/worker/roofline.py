"""What a variant computes and reads at least, and how near it comes to what the machine can do.

After the roofline model (Williams et al. 2009, https://doi.org/10.1145/1498765.1498785): a pass of the encoder,
hundreds of positions at once, is bound by arithmetic; a token of the decoder, one position, by reading the weights. The
first is held against the fastest matrix product of this machine in the same type, the second against how fast it reads
memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

_GFLOP, _MIB = 1e9, 2**20
# Products in integers; where weights alone are, they are turned back into floats first.
_INTEGER = ("quantized::linear", "onednn::qlinear", "_int_mm")
_FLOATS = ("bfloat16", "float16", "float32")
_EVERY_TOKEN = ("model.decoder.", "proj_out.")
# Of these, what is read once a clip, or one row of which is read a token.
_NOT_EVERY_TOKEN = ("embed_", "positions", "encoder_attn.k_proj", "encoder_attn.v_proj", ".kv")
# The products that are measured: up to about that of a large Whisper's feed-forward; on a GPU, up to what fills it.
_SMALL = ((32, 512, 512), (256, 512, 2048), (1024, 2048, 2048))
_SIZES = {"cpu": _SMALL, "cuda": (*_SMALL, (4096, 4096, 4096), (8192, 8192, 8192))}
_MEASURED = {"cpu": ("float32", "bfloat16", "int8"), "cuda": (*_FLOATS, "tf32", "int8")}
_LONG_S = 0.01
_READ_BYTES = {"cpu": 2**28, "cuda": 2**32}  # more than caches hold, and long beside the time of a launch


@dataclass(frozen=True)
class Work:
    """What the parts of a variant have to do.

    Attributes:
        per_position: floating point operations of the encoder by position: its matrices and convolutions.
        per_pair: the same by pair of positions: attention.
        token_bytes: stored weights that are read for every token.
        heard_bytes: by position of the encoder's output, keys and values that are read for every token.
    """

    per_position: float
    per_pair: float
    token_bytes: float
    heard_bytes: float

    def encoder_gflop(self, positions: int) -> float:
        """Operations of one pass over so many positions, in 10^9."""
        return positions * (self.per_position + positions * self.per_pair) / _GFLOP

    def token_mib(self, positions: int) -> float:
        """Bytes that a token reads after so many positions were heard, in MiB; the text so far is left out."""
        return (self.token_bytes + positions * self.heard_bytes) / _MIB


def count(model: Any, before: Work | None = None, state: Any = None) -> Work | None:
    """Count a model by its Linears; None for one that runs in another engine.

    Args:
        model: a module with ``model.encoder``, ``model.decoder`` and ``proj_out``.
        before: what was counted before the last step: an encoder that was exported has no Linears any more.
        state: its state dict, where that was made already: quantized weights are unpacked for it.
    """
    import torch

    from lxbench.worker import census

    if not hasattr(model, "proj_out"):
        return None
    encoder, decoder = model.model.encoder, model.model.decoder
    linears = dict(_linears(encoder))
    convolutions = [each for each in encoder.modules() if isinstance(each, torch.nn.Conv1d)]
    stride = 1
    per_position = 2.0 * sum(inputs * outputs for inputs, outputs in linears.values())
    for each in reversed(convolutions):  # Of the first ones, several outputs are one position.
        per_position += 2.0 * stride * each.weight.numel()
        stride *= each.stride[0]
    state = model.state_dict() if state is None else state
    read = {name: each for name, each in state.items() if name.startswith(_EVERY_TOKEN) and not _is_left_out(name)}
    bytes_read = sum(tensor.untyped_storage().nbytes() for tensor in census.stored(read))
    bytes_read += sum(getattr(module, "token_bytes", 0) for module in decoder.modules())
    # Of keys and values as they are kept, where that is not what the weights are.
    width = getattr(decoder, "heard_width", next((each.element_size() for each in decoder.parameters()), 4))
    heard = [sizes for name, sizes in _linears(decoder) if _is_heard(name)]
    work = Work(
        per_position=per_position,
        per_pair=4.0 * sum(inputs for name, (inputs, _) in linears.items() if _is_output(name)),
        token_bytes=bytes_read,
        heard_bytes=width * sum(outputs for _, outputs in heard),
    )
    if linears or before is None:
        return work
    return replace(work, per_position=before.per_position, per_pair=before.per_pair)


def _linears(part: Any) -> Iterable[tuple[str, tuple[int, int]]]:
    """Names and sizes of whatever is a Linear, of any library."""
    for name, module in part.named_modules():
        if hasattr(module, "in_features") and hasattr(module, "out_features"):
            yield name, (int(module.in_features), int(module.out_features))


def _is_output(name: str) -> bool:
    """Whether a Linear, or the first of two thin ones, projects what attention has seen: its inputs are all heads."""
    return name.removesuffix(".0").endswith(("attn.out_proj", "attn.o_proj", "attention.out"))


def _is_heard(name: str) -> bool:
    return name.removesuffix(".1").endswith(("encoder_attn.k_proj", "encoder_attn.v_proj", ".kv"))


def _is_left_out(name: str) -> bool:
    return any(part in name for part in _NOT_EVERY_TOKEN)


def product_types(kernels: Mapping[str, int], stored: Mapping[str, int], exactness: str = "highest") -> list[str]:
    """The types that a row multiplies in, shortest first.

    Args:
        kernels: what was seen, see ``census.kernels``.
        stored: how many numbers of each type the model has: what a CUDA graph multiplies does not tell its types.
        exactness: of products of float32, by torch's setting: kernels of a GPU are named by their type or are not.
    """
    if any("_scaled_mm" in kernel for kernel in kernels):
        return ["float8"]  # Its scales are float32, and look like what is multiplied.
    integer = any(part in kernel for kernel in kernels for part in _INTEGER)
    seen = [kernel.split() for kernel in kernels if "mm" in kernel.split()[0]]
    # A matrix product has inputs of one type; an addmm of several has an integer among them, and is counted above.
    floats = [name for name in reversed(_FLOATS) if any(name in types for _, *types in seen)]
    if "cudaGraphLaunch" in kernels:
        floats = [max(_FLOATS, key=lambda name: stored.get(name, 0))]
    if exactness != "highest":
        floats = ["tf32" if name == "float32" else name for name in floats]
    return ["int8"] * integer + (floats or ["float32"] * (not integer))


def peaks(device: str) -> dict[str, float]:
    """Measure what this machine can do, by torch's own kernels: about a second.

    Returns:
        By type, 10^9 operations a second of the fastest of a few matrix products; under ``read``, 10^9 bytes a second
        that are read from memory.
    """
    import torch

    def fastest(call: Callable[[], object]) -> float:
        best = float("inf")
        for _ in range(4):
            start = time.perf_counter()
            call()
            if device == "cuda":
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - start)
        return best

    found = {}
    with torch.inference_mode():
        for name in _MEASURED[device]:
            for size in _SIZES[device]:  # The larger the nearer to the limit, where that does not take long.
                rows, inner, columns = size
                try:
                    with _exactness("high" if name == "tf32" else "highest"):
                        seconds = fastest(_product(name, size, device))
                except RuntimeError:  # The GPU is full, or has no such product.
                    break
                found[name] = 2.0 * rows * inner * columns / _GFLOP / seconds
                if seconds > _LONG_S:
                    break
        read = _READ_BYTES[device]
        if device == "cuda":  # A small card has the model in it too.
            read = min(read, torch.cuda.mem_get_info()[0] // 4)
        values = torch.ones(read // 4, device=device)
        return {**found, "read": values.nbytes / _GFLOP / fastest(values.sum)}


def _product(type: str, size: tuple[int, int, int], device: str) -> Callable[[], object]:
    """A matrix product by the kernels that the rows use: for int8 dynamic quantization on CPUs, ``_int_mm`` on GPUs."""
    import torch

    from lxbench.steps.quantize import quantize_dynamic

    rows, inner, columns = size
    if type == "int8" and device == "cuda":
        left, right = (
            torch.randint(-127, 127, shape, dtype=torch.int8, device=device)
            for shape in ((rows, inner), (columns, inner))
        )
        return lambda: torch._int_mm(left, right.T)
    layer: Any = torch.nn.Sequential(torch.nn.Linear(inner, columns))
    inputs = torch.randn(rows, inner, device=device)
    if type == "int8":
        layer = quantize_dynamic(layer)
    else:
        dtype = torch.float32 if type == "tf32" else getattr(torch, type)
        layer, inputs = layer.to(device, dtype), inputs.to(dtype)
    return lambda: layer(inputs)


@contextmanager
def _exactness(wanted: str) -> Iterator[None]:
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(wanted)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@dataclass(frozen=True)
class Reached:
    """How near a row comes to the machine's limits.

    Attributes:
        product: of the types that it multiplies in, the one in which this machine is fastest.
        gflop: of a pass of the encoder, mean over clips.
        gflops: 10^9 operations a second that it reached.
        of_product: share of the fastest product in that type.
        mib: that a token reads.
        read: 10^9 bytes a second that it reached.
        of_read: share of how fast memory is read; over 1 where weights stay in a cache.
    """

    product: str
    gflop: float
    gflops: float
    of_product: float
    mib: float
    read: float
    of_read: float


def reached(work: Mapping[str, Any], parts: Mapping[str, float], limits: Mapping[str, float]) -> Reached | None:
    """Hold a row against the limits.

    Args:
        work: means over the clips of ``encoder_gflop``, ``token_mib`` and the decoder's ``passes``, and types of
            ``products``.
        parts: mean seconds of the parts of a clip, see ``Transcript.parts``.
        limits: see ``peaks``.
    """
    known = [name for name in (work or {}).get("products", ()) if name in limits]
    if not known or not parts.get("encoder") or not parts.get("decoder"):
        return None
    product = max(known, key=lambda name: limits[name])
    gflops = work["encoder_gflop"] / parts["encoder"]
    read = work["token_mib"] * _MIB / _GFLOP * work["passes"] / parts["decoder"]
    return Reached(
        product=product,
        gflop=work["encoder_gflop"],
        gflops=gflops,
        of_product=gflops / limits[product],
        mib=work["token_mib"],
        read=read,
        of_read=read / limits["read"],
    )
