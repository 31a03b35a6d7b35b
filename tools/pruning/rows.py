"""The rows of the sweep, which have no baselines, so that a run of them ends red.

nox -s bench-cpu -- --lx-variants tools/pruning/rows.py --lx-corpus ivr-ru-selection -k 'sweep or fp32'
"""

from __future__ import annotations

from lxbench.ladder import CPU, Step, Variant
from lxbench.steps.cut import low_rank, prune_ffn, prune_heads, prune_layers
from lxbench.steps.tables import prune_positions, prune_vocabulary

RUSSIAN = prune_vocabulary("CYRILLIC")


def _row(name: str, *steps: Step, clips: int = 0) -> Variant:
    return Variant(f"sweep-{name}", CPU, steps, clips=clips)


# What is cut, and how much: less stays from row to row.
LINES: dict[str, tuple[Variant, ...]] = {
    "feed-forwards, encoder, all layers alike": tuple(
        _row(f"ffn-{share:g}", prune_ffn(share)) for share in (0.875, 0.75, 0.5)
    ),
    "feed-forwards, encoder, less in the last layers": (
        _row("ffn-early-0.75", prune_ffn((0.75, 0.75, 0.75, 0.9, 1))),
        _row("ffn-early-0.5", prune_ffn((0.5, 0.5, 0.5, 0.75, 1))),
        _row("ffn-early-0.25", prune_ffn((0.25, 0.25, 0.25, 0.625, 1))),
    ),
    "feed-forwards, decoder": tuple(_row(f"ffn-decoder-{share:g}", prune_ffn(decoder=share)) for share in (0.75, 0.5)),
    "heads, encoder": tuple(_row(f"heads-{share:g}", prune_heads(share)) for share in (0.875, 0.75, 0.5)),
    "heads, encoder, less in the last layers": tuple(
        _row(f"heads-early-{share:g}", prune_heads((share, 1))) for share in (0.875, 0.75, 0.5)
    ),
    "heads, decoder": tuple(_row(f"heads-decoder-{share:g}", prune_heads(decoder=share)) for share in (0.875, 0.75)),
    "heads, decoder to encoder": tuple(
        _row(f"heads-cross-{share:g}", prune_heads(cross=share)) for share in (0.75, 0.5)
    ),
    "layers, decoder": tuple(_row(f"layers-decoder-{count}", prune_layers(decoder=count)) for count in (1, 2)),
    "layers, encoder": (_row("layers-encoder-1", prune_layers(encoder=1)),),
    "low rank, encoder": tuple(_row(f"lowrank-{share:g}", low_rank(share)) for share in (0.9999, 0.999, 0.997)),
    "positions": tuple(_row(f"positions-{seconds}", prune_positions(seconds)) for seconds in (25, 20, 16)),
    "vocabulary": (_row("vocab", RUSSIAN),),
    "vocabulary and feed-forwards": (
        _row("vocab-ffn-0.75", RUSSIAN, prune_ffn((0.75, 0.75, 0.75, 0.9, 1))),
        _row("vocab-ffn-0.5", RUSSIAN, prune_ffn((0.5, 0.5, 0.5, 0.75, 1))),
    ),
    "vocabulary, feed-forwards, positions": (
        _row("structured-25", prune_positions(25), prune_ffn((0.75, 0.75, 0.75, 0.9, 1)), RUSSIAN),
        _row("structured-20", prune_positions(20), prune_ffn((0.75, 0.75, 0.75, 0.9, 1)), RUSSIAN),
        _row("structured-16", prune_positions(16), prune_ffn((0.5, 0.5, 0.5, 0.75, 1)), RUSSIAN),
    ),
}

# Importance and fit, at one share each: what chooses best. A destroyed model talks for minutes: a few clips tell.
CHOICES: dict[str, tuple[Variant, ...]] = {
    "energy, fitted": (LINES["feed-forwards, encoder, all layers alike"][1], LINES["heads, encoder"][1]),
    "energy, not fitted": (
        _row("ffn-0.75-bare", prune_ffn(0.75, fit=False)),
        _row("heads-0.75-bare", prune_heads(0.75, fit=False)),
    ),
    "magnitude, fitted": (
        _row("ffn-0.75-magnitude", prune_ffn(0.75, importance="magnitude")),
        _row("heads-0.75-magnitude", prune_heads(0.75, importance="magnitude")),
    ),
    "magnitude, not fitted": (
        _row("ffn-0.75-magnitude-bare", prune_ffn(0.75, importance="magnitude", fit=False), clips=8),
        _row("heads-0.75-magnitude-bare", prune_heads(0.75, importance="magnitude", fit=False), clips=8),
    ),
}

VARIANTS = (
    *(row for line in LINES.values() for row in line),
    *(row for pair in list(CHOICES.values())[1:] for row in pair),
)
