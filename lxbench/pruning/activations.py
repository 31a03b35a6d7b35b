"""What flows through a model while it hears the calibration clips: the statistics that cuts are fitted to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lxbench.corpus import calibration

# Frames of the encoder's output a second, and how many of them after the end of a clip are still observed: what follows
# is padding, the same for every clip, and would drown 3 s of speech in 27 s of silence.
_RATE = 50
_AFTER = 50
# No speech has more tokens a second; a model that talks on after the end of a clip says nothing worth fitting to.
_TOKENS = 12
_PROMPT = 4

_Tap = Callable[[Any, Any], None]


@dataclass
class Moments:
    """First and second moments of vectors.

    Attributes:
        count: vectors seen.
        total: their sum, shape (features,), float64.
        outer: sum of their outer products, shape (features, features), float64.
    """

    count: int = 0
    total: Any = 0.0
    outer: Any = 0.0

    def add(self, vectors: Any) -> None:
        """Take in vectors of shape (count, features)."""
        vectors = vectors.float()
        self.count += len(vectors)
        self.total = self.total + vectors.sum(0).double()
        self.outer = self.outer + (vectors.T @ vectors).double()

    @property
    def mean(self) -> Any:
        """Mean vector, shape (features,)."""
        return self.total / self.count

    @property
    def covariance(self) -> Any:
        """Covariance matrix, shape (features, features)."""
        return self.outer / self.count - self.mean.outer(self.mean)


def inputs(model: Any, names: Sequence[str]) -> dict[str, Moments]:
    """Take the moments of what layers are given.

    Args:
        model: a Whisper.
        names: layers by their path, such as ``model.encoder.layers.0.fc2``.

    Raises:
        StepError: no calibration clips were given.
    """
    moments = {name: Moments() for name in names}

    def add(name: str) -> _Tap:
        return lambda before, _: moments[name].add(before)

    _hear(model, {name: add(name) for name in names})
    return moments


def contribution(model: Any, linear: str, layer: str) -> Moments:
    """Take the joint moments of the inputs of a Linear and of what a later layer adds to the residual stream.

    Args:
        model: a Whisper.
        linear: path of the Linear, which runs before the layer.
        layer: path of the layer.

    Returns:
        Moments of vectors of shape (inputs of the Linear + width of the model,).
    """
    import torch

    moments = Moments()
    given: list[Any] = []
    _hear(
        model,
        {
            linear: lambda before, _: given.append(before),
            layer: lambda before, after: moments.add(torch.cat([given.pop(), after - before], dim=1)),
        },
    )
    return moments


def influences(model: Any, layers: Sequence[str]) -> list[float]:
    """How much each layer turns the residual stream: 1 - the mean cosine between what comes in and what goes out.

    Block influence, Men et al. 2024 (ShortGPT), https://arxiv.org/abs/2403.03853.
    """
    import torch

    cosines: dict[str, list[Any]] = {name: [] for name in layers}

    def compare(name: str) -> _Tap:
        return lambda before, after: cosines[name].append(torch.cosine_similarity(before, after))

    _hear(model, {name: compare(name) for name in layers})
    return [1 - float(torch.cat(cosines[name]).mean()) for name in layers]


def _hear(model: Any, taps: Mapping[str, _Tap]) -> None:
    """Transcribe the calibration clips and show functions what goes into a module and comes out of it.

    Both have shape (count, features); the encoder's padding is left out. Where all modules are the encoder's, nothing
    is decoded.
    """
    import torch

    frames = 0

    def watch(name: str) -> Any:
        def hook(_: Any, given: tuple[Any, ...], said: Any) -> None:
            before, after = given[0].flatten(0, -2), (said[0] if isinstance(said, tuple) else said).flatten(0, -2)
            # The encoder's frames, in the encoder or as keys and values of cross-attention, against tokens.
            encoded = len(before) == model.config.max_source_positions
            taps[name](*((before[:frames], after[:frames]) if encoded else (before, after)))

        return model.get_submodule(name).register_forward_hook(hook)

    handles = [watch(name) for name in taps]
    try:
        with torch.inference_mode():
            for clip in calibration.recordings(model):
                frames = int(clip.seconds * _RATE) + _AFTER
                encoded = model.model.encoder(clip.features)
                if any(".decoder." in name for name in taps):
                    limit = _PROMPT + int(clip.seconds * _TOKENS)
                    model.generate(encoder_outputs=encoded, max_length=limit, **calibration.prompt(model))
    finally:
        for handle in handles:
            handle.remove()
