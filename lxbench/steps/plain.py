"""Inference without what it does not need: a plain loop, joined projections, padding heard coarsely, CUDA graphs."""

from __future__ import annotations

from typing import Any

from lxbench.errors import StepError
from lxbench.ladder import Step, fits, whisper_only


@whisper_only
def plain_decoding(model: Any) -> Any:
    """Decode in a plain greedy loop, over a cache of fixed length, queries, keys and values in one product.

    In the place of ``generate``, which prepares every token for whatever might be asked of it. The text is the same.
    """
    from lxbench.inference.plain import Decoder

    model.model.decoder = Decoder(model.model.decoder)
    return model


def graph_decoding(fused: bool = False) -> Step:
    """Record the plain loop's prompt and its step as CUDA graphs; see ``lxbench.inference.graphed``.

    Args:
        fused: whether the prompt and a step are made of ``lxbench.inference.kernels``, at batch 1.
    """

    def step(model: Any) -> Any:
        from lxbench.inference import graphed
        from lxbench.inference.plain import Decoder

        _require_one_shape(model, step.__name__)
        if type(model.model.decoder) is not Decoder:
            raise StepError(
                f"{step.__name__} before plain_decoding: generate's own loop prepares every token on the CPU",
                expected="plain_decoding, then graph_decoding",
                command="see fast-fp16 in lxbench/variants.py",
            )
        model.model.decoder = graphed.Decoder(model.model.decoder, fused)
        return model

    step.__name__ = f"graph_decoding({'fused' * fused})"
    return fits(whisper_only(step), **({"package": "triton"} if fused else {}))


@whisper_only
def graph_encoder(model: Any) -> Any:
    """Record the encoder's pass as a CUDA graph: it always sees 30 s of features."""
    from lxbench.inference import graphed

    _require_one_shape(model, "graph_encoder")
    encoder = model.model.encoder
    encoder.forward = graphed.recorded_encoder(encoder.forward)
    return model


def _require_one_shape(model: Any, step: str) -> None:
    """Refuse to record a model that hears clips of each length in another shape: every one would be a graph.

    Raises:
        StepError: its padding is merged.
    """
    if hasattr(model.model.encoder, "heard"):
        raise _of_many_shapes(step, "merge_padding")


def _of_many_shapes(step: str, before: str) -> StepError:
    return StepError(
        f"{step} behind {before}: a CUDA graph is of one shape, and every length of a clip has its own",
        expected="one of the two",
        command="see fast and fast-fp16 in lxbench/variants.py",
    )


def merge_padding(most: int, margin_s: float = 1.0, groups: int = 8, multiple: int = 1) -> Step:
    """Let the encoder hear the padding behind a clip the coarser the further behind; see ``inference.plain.Encoder``.

    Nothing is cut off: the window stays 30 s, and clips of any length in it are heard as before.

    Args:
        most: positions that become one at most, each 20 ms; 1 merges none.
        margin_s: seconds behind the clip that stay as they are.
        groups: of one size, before the next are twice as large.
        multiple: of which the positions that stay are; more of the padding stays until they are.

    Raises:
        ValueError: less than one position becomes one, less than one group is of a size, positions are a multiple of
            less than one, or less than 0.1 s stays.
    """
    if min(most, groups, multiple) < 1:
        raise ValueError(f"{most} positions in one, {groups} groups of a size, a multiple of {multiple}: at least 1")
    if margin_s < 0.1:
        raise ValueError(f"{margin_s} s behind the clip are too few: at least 0.1, where its last sounds still echo")

    def step(model: Any) -> Any:
        from lxbench.inference.plain import Decoder, Encoder

        if "forward" in vars(model.model.encoder):
            raise StepError(
                f"{step.__name__} behind a step that wraps the encoder, as graphs and autocast do: it would be lost",
                expected="merge_padding before them, and no graphs",
                command="see fast and fast-fp16 in lxbench/variants.py",
            )
        if hasattr(model.model.decoder, "fused"):
            raise _of_many_shapes(step.__name__, "graphs")
        if not isinstance(model.model.decoder, Decoder):
            raise StepError(
                f"{step.__name__} before plain_decoding: only its decoder knows how much a merged position weighs",
                expected="plain_decoding, then merge_padding",
                command="see fast in lxbench/variants.py",
            )
        model.model.encoder = Encoder(model.model.encoder, most, round(margin_s * 50), groups, multiple)
        return model

    others = [f"margin_s={margin_s:g}"] * (margin_s != 1) + [f"groups={groups}"] * (groups != 8)
    others += [f"multiple={multiple}"] * (multiple != 1)
    step.__name__ = f"merge_padding({', '.join([str(most), *others])})"
    return whisper_only(step)
