"""The ladder, read from top to bottom. To add a row: one step function if none fits, one line here."""

from lxbench.ladder import ALL, CPU, Variant, ladder
from lxbench.steps.compile import compile_encoder
from lxbench.steps.precision import autocast, cast
from lxbench.steps.quantize import quantize_dynamic

VARIANTS = ladder(
    Variant("fp32", ALL, summary="the model as loaded", runs="addmm float32"),
    Variant(
        "bf16",
        ALL,
        steps=(cast("bfloat16"),),
        summary="weights and activations in bfloat16",
        runs="addmm bfloat16",
    ),
    Variant(
        "autocast",
        CPU,
        steps=(autocast("bfloat16"),),
        summary="float32 weights, matrix products in bfloat16",
        runs="addmm bfloat16",
    ),
    Variant(
        "ptq-dynamic",
        CPU,
        steps=(quantize_dynamic,),
        summary="int8 weights, activations quantized on the fly",
        runs="quantized::linear_dynamic float32",
    ),
    Variant(
        "compile",
        CPU,
        steps=(compile_encoder,),
        summary="the encoder through torch.compile",
        runs="Torch-Compiled Region",
    ),
)
