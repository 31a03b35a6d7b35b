"""Settings that were chosen between for the fast rows, one row each.

nox -s bench-cpu -- --lx-variants tools/performance/rows.py --lx-corpus ivr-ru-selection -k "choice or [fp32-cpu]"
"""

from __future__ import annotations

from lxbench.ladder import CPU, Step, Variant
from lxbench.steps.cut import prune_ffn
from lxbench.steps.plain import merge_padding, plain_decoding
from lxbench.steps.quantize import quantize_dynamic, quantize_linears
from lxbench.variants import CYRILLIC

DECODER = ("model.decoder.*", "proj_out")


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
VARIANTS = tuple(Variant(f"choice-{name}", CPU, steps) for name, steps in (PADDING | INT8).items())
