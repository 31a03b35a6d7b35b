r"""Settings that were chosen between for the fast rows, one row each.

nox -s bench-cpu -- --lx-variants tools/performance/rows.py --lx-corpus ivr-ru-selection \
    -k "choice and not bf16 or [fp32-cpu]"   # on a CPU that computes in it: "choice-bf16 or [fp32-cpu]"
"""

from __future__ import annotations

from lxbench.ladder import CPU, Step, Variant
from lxbench.steps.cut import prune_ffn
from lxbench.steps.plain import merge_padding, plain_decoding
from lxbench.steps.precision import cast
from lxbench.steps.quantize import quantize_dynamic, quantize_linears
from lxbench.variants import BF16, CYRILLIC

DECODER = ("model.decoder.*", "proj_out")
HALF = cast("bfloat16", "model.encoder")
CHOSEN = merge_padding(64)


def merged(step: Step = CHOSEN, before: tuple[Step, ...] = ()) -> tuple[Step, ...]:
    """The steps up to merged padding."""
    return (*before, CYRILLIC, plain_decoding, step)


PADDING = {
    "8-groups": merged(),
    "4-groups": merged(merge_padding(64, groups=4)),
    "1-group": merged(merge_padding(64, groups=1)),
    "16": merged(merge_padding(16)),
    "half-second": merged(merge_padding(64, 0.5)),
    "fifth-of-a-second": merged(merge_padding(64, 0.2)),
}
INT8 = {
    "study": (*merged(), quantize_dynamic),
    "decoder": (*merged(), quantize_linears(*DECODER)),
    "fc1": (*merged(), quantize_linears(*DECODER, "model.encoder.*.fc1")),
    "fc1-out": (*merged(), quantize_linears(*DECODER, "model.encoder.*.fc1", "model.encoder.*.out")),
    "all": (*merged(), quantize_linears(*DECODER, "model.encoder.*")),
    "ffn": (
        *merged(before=(prune_ffn((0.75, 0.75, 0.75, 0.9, 1)),)),
        quantize_linears(*DECODER, "model.encoder.*.fc1"),
    ),
}
# For CPUs that compute in it.
BFLOAT16 = {
    **{
        f"bf16-{multiple}": (*merged(merge_padding(64, multiple=multiple)), HALF, quantize_linears(*DECODER))
        for multiple in (1, 32, 64)
    },
    "bf16-decoder-too": (*merged(merge_padding(64, multiple=32)), cast("bfloat16")),
    "bf16-none-all-int8": (*merged(merge_padding(64, multiple=32)), quantize_linears(*DECODER, "model.encoder.*")),
}
VARIANTS = (
    *(Variant(f"choice-{name}", CPU, steps) for name, steps in (PADDING | INT8).items()),
    *(Variant(f"choice-{name}", CPU, steps, instructions=BF16) for name, steps in BFLOAT16.items()),
)
