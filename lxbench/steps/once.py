"""What takes long to choose on the calibration clips is chosen once, and kept in the user's cache."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import wraps
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from lxbench import kept, machine
from lxbench.corpus import audio, calibration
from lxbench.families import whisper
from lxbench.ladder import Step

_OBSERVER = "activation_post_process"  # How torchao calls them.


def once(step: Step) -> Step:
    """Keep what a step of ``lxbench.steps.cut`` makes, and read it where the same was made before.

    The same: of the same model, on the same calibration clips, by the same code, with the same arithmetic. What is kept
    has the size of the model.

    Args:
        step: makes a ``PrunedWhisper`` of floats.
    """

    @wraps(step)
    def made(model: Any) -> Any:
        from lxbench.checkpoints import shapes
        from lxbench.pruning import activations, pruned, removal
        from lxbench.steps import cut

        if hasattr(model.config, shapes.SEED_KEY):
            return step(model)  # Of random weights nothing is worth gigabytes.

        after: list[Any] = []

        def make(folder: Path) -> None:
            after.append(step(model))
            after[0].save_pretrained(folder)

        what = (step.__name__, model.config.to_json_string(), model.generation_config.to_json_string())
        folder = _place("pruned", model, what, (activations, cut, pruned, removal))
        if kept.ensure(folder, make):
            after.append(pruned.read(folder, like=model))
        return after[0]

    return made


def observe(graph: Any, clips: Iterable[Any]) -> None:
    """Have the observers of a graph see the calibration clips, or take over what they saw of the same ones before.

    Args:
        graph: what ``prepare_pt2e`` made.
        clips: log-mel features of each, shape (1, mel bands, frames).
    """
    from safetensors.torch import load_file, save_file

    def make(folder: Path) -> None:
        for clip in clips:
            graph(clip)
        seen = {name: each for name, each in graph.named_buffers() if name.startswith(_OBSERVER)}
        save_file({name: each.clone().contiguous() for name, each in seen.items()}, folder / "seen.safetensors")

    folder = _place("observed", graph, (str(graph.graph), version("torchao")))
    if kept.ensure(folder, make):
        # Not by load_state_dict, which takes what has no version for that of an early one and resets their eps.
        for name, value in load_file(folder / "seen.safetensors").items():
            observer, _, buffer = name.rpartition(".")
            setattr(graph.get_submodule(observer), buffer, value)


def _place(kind: str, model: Any, what: tuple[str, ...], code: Sequence[ModuleType] = ()) -> Path:
    """Where something is kept that is made of a model and the calibration clips."""
    import torch

    from lxbench.inference import features

    # Observers are empty still, and could not grow any more once their memory had been shown to numpy.
    buffers = {name: each for name, each in model.named_buffers() if not name.startswith(_OBSERVER)}
    weights = {**dict(model.named_parameters()), **buffers}
    device = next(iter(weights.values())).device
    digest = kept.digest(
        weights,
        *what,
        calibration.fingerprint(),
        *(Path(str(module.__file__)).read_bytes() for module in (audio, calibration, features, whisper, *code)),
        torch.__version__,
        version("transformers"),
        # Sums are rounded in another order elsewhere.
        machine.instructions(),
        torch.get_num_threads(),
        torch.get_float32_matmul_precision(),
        torch.cuda.get_device_name(device) if device.type == "cuda" else "",
    )
    return kept.place(kind, digest)
