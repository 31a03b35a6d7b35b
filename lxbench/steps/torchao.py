"""Integer weights, and float8, by torchao."""

from __future__ import annotations

from functools import partial
from typing import Any

from lxbench.ladder import fits

_of_torchao = partial(fits, package="torchao")
# torchao would have Inductor search for the fastest of every kernel's settings, in the whole process: another step.
_MODEL_ALONE: dict[str, Any] = {"set_inductor_config": False}


@_of_torchao
def torchao_a8w8(model: Any) -> Any:
    """Int8 weights, int8 activations quantized on the fly, per row and per token ("Int8A-Int8W").

    torchao's ``Int8DynamicActivationInt8WeightConfig``, see https://docs.pytorch.org/ao/stable/. CUDA's int8 product
    refuses 16 rows or fewer, which is every decoding step at batch 1: there the decoder gets int8 weights alone.
    """
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, Int8WeightOnlyConfig, quantize_

    if model.device.type == "cuda":
        quantize_(model.model.encoder, Int8DynamicActivationInt8WeightConfig(**_MODEL_ALONE))
        quantize_(model.model.decoder, Int8WeightOnlyConfig(**_MODEL_ALONE))
        quantize_(model, Int8WeightOnlyConfig(**_MODEL_ALONE), lambda _, name: name == "proj_out")
    else:
        quantize_(model, Int8DynamicActivationInt8WeightConfig(**_MODEL_ALONE))
    return model


@_of_torchao
def torchao_w8(model: Any) -> Any:
    """Int8 weights, per output; turned back into floats for every product (torchao's ``Int8WeightOnlyConfig``)."""
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    quantize_(model, Int8WeightOnlyConfig(**_MODEL_ALONE))
    return model


@_of_torchao
def torchao_w4(model: Any) -> Any:
    """Int4 weights in groups of 64, packed for tensor cores; products in bfloat16, so cast the model first (CUDA).

    torchao's ``Int4WeightOnlyConfig`` in the layout that torch's own kernel reads. ``proj_out`` is left alone, as in
    ``torchao_a8w4``.
    """
    from torchao.quantization import Int4WeightOnlyConfig, quantize_

    config = Int4WeightOnlyConfig(group_size=64, int4_packing_format="tile_packed_to_4d", **_MODEL_ALONE)
    quantize_(model.model, config)
    return model


@_of_torchao
def torchao_a8w4(model: Any) -> Any:
    """Int4 weights in groups of 32, int8 activations quantized on the fly, per token ("Int8A-Int4W").

    torchao's ``Int8DynamicActivationIntxWeightConfig``. Its packed kernels are not in torchao's
    wheels for x86: there both sides are turned back into floats for every product, which costs more than it saves.
    ``proj_out`` is left alone: four bits for the embedding of the vocabulary cost more words than all else together.
    """
    import torch
    from torchao.quantization import Int8DynamicActivationIntxWeightConfig, quantize_
    from torchao.quantization.granularity import PerGroup

    int4: Any = torch.int4  # type: ignore[attr-defined]  # torch's stubs do not know it
    quantize_(model.model, Int8DynamicActivationIntxWeightConfig(int4, PerGroup(32)))
    return model


@_of_torchao
def torchao_fp8(model: Any) -> Any:
    """Weights and activations in float8 (e4m3), a scale per row; cast the model to bfloat16 first (Ada, Hopper, newer).

    torchao's ``Float8DynamicActivationFloat8WeightConfig``; Micikevicius et al. 2022, https://arxiv.org/abs/2209.05433.
    """
    from torchao.quantization import Float8DynamicActivationFloat8WeightConfig, PerRow, quantize_

    quantize_(model, Float8DynamicActivationFloat8WeightConfig(granularity=PerRow(), **_MODEL_ALONE))
    return model
