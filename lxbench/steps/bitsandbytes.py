"""Integer weights by bitsandbytes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from lxbench.ladder import fits

_of_bitsandbytes = partial(fits, package="bitsandbytes")
_OUTLIER = 6.0  # The paper's, and transformers'; bitsandbytes' own default knows no outliers.


@_of_bitsandbytes
def bitsandbytes_int8(model: Any) -> Any:
    """Store every Linear but ``proj_out`` as int8, with outliers apart (LLM.int8).

    Dettmers et al. 2022, https://arxiv.org/abs/2208.07339. Activations are quantized on the fly, rounded to float16
    before, and columns of them with a value beyond 6 are multiplied as floats. On CUDA all else is in float16, as its
    kernels want it.
    """
    if model.device.type == "cuda":
        model = model.half()
    from bitsandbytes.nn.modules import Int8Params, Linear8bitLt

    def convert(linear: Any) -> Any:
        new = Linear8bitLt(
            linear.in_features,
            linear.out_features,
            linear.bias is not None,
            has_fp16_weights=False,
            threshold=_OUTLIER,
        )
        new.weight = Int8Params(linear.weight.data.cpu(), requires_grad=False, has_fp16_weights=False)
        return new

    return _replace_linears(model, convert)


@_of_bitsandbytes
def bitsandbytes_nf4(model: Any) -> Any:
    """Store every Linear but ``proj_out`` in 4 bits, on the quantiles of a normal distribution (NF4).

    Dettmers et al. 2023, https://arxiv.org/abs/2305.14314. Products are in the model's own type, on CPUs with
    ``avx512_bf16`` in bfloat16, by a kernel that unpacks the weights as it reads them.
    """
    from bitsandbytes.nn.modules import Linear4bit, Params4bit

    def convert(linear: Any) -> Any:
        new = Linear4bit(
            linear.in_features,
            linear.out_features,
            linear.bias is not None,
            compute_dtype=linear.weight.dtype,
            quant_type="nf4",
        )
        # That kernel unpacks 64 inputs of 32 outputs at once, and fails at others.
        new.support_avx512bf16_for_cpu &= not (linear.in_features % 64 or linear.out_features % 32)
        new.weight = Params4bit(linear.weight.data.cpu(), requires_grad=False, quant_type="nf4")
        return new

    return _replace_linears(model, convert)


def _replace_linears(model: Any, convert: Callable[[Any], Any]) -> Any:
    """Put another layer in the place of every Linear but ``proj_out``, as transformers does for bitsandbytes."""
    import torch

    for name, linear in list(model.named_modules()):
        if isinstance(linear, torch.nn.Linear) and name != "proj_out":
            new = convert(linear)
            new.bias = linear.bias
            new.train(linear.training)  # Those that train take other kernels.
            parent, _, child = name.rpartition(".")
            # Packs the weights on their way from the CPU; those that are on a GPU already would stay as they are.
            setattr(model.get_submodule(parent), child, new.to(linear.weight.device))
    return model
