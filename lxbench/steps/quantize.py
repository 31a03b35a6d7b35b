"""Integer weights: dynamic and static quantization for CPUs, and what our kernels for GPUs read."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import Any

from lxbench.corpus import calibration
from lxbench.ladder import Step, fits, imports, whisper_only
from lxbench.steps.compile import COMPILER
from lxbench.steps.named import linears
from lxbench.steps.once import observe


def quantize_dynamic(model: Any) -> Any:
    """Store every Linear as int8 and quantize its input on the fly (FBGEMM or oneDNN kernels, CPU only).

    See https://docs.pytorch.org/tutorials/recipes/recipes/dynamic_quantization.html. ``proj_out`` is included: it
    reads half of the decoder's bytes per token. Its tie to the embedding, which stays float32, ends here.

    By default torch gives activations 7 bits only, because the product of 8 and 8 may overflow on CPUs without VNNI. On
    those with it the eighth bit is exact, free, and worth words.
    """
    import torch.ao.nn.quantized.dynamic
    import torch.ao.quantization

    quantize: Any = torch.ao.quantization.quantize_dynamic
    with _without_announcements():
        quantize(model, {torch.nn.Linear}, dtype=torch.qint8, inplace=True)
    if torch.cpu._is_vnni_supported():
        for module in model.modules():
            if isinstance(module, torch.ao.nn.quantized.dynamic.Linear):
                module.version = 3  # From version 4 of its format on, its ``forward`` asks for 7 bits.
    return model


def quantize_linears(*patterns: str) -> Step:
    """Store some Linears as int8, a scale for every output, and quantize their inputs on the fly (FBGEMM, CPU only).

    As ``quantize_dynamic``, but where it is wanted, and finer. CPUs without VNNI add two products of 8 bits in 16,
    which may overflow: one side has to do with 7. There torch takes the bit from the activations, which have one scale
    for all channels; here the weights give it, which have a scale for every output and miss it less.

    Args:
        patterns: names of Linears, ``*`` for any letters, such as ``model.decoder.*``.

    Raises:
        StepError: one of them matches none.
    """

    def step(model: Any) -> Any:
        import torch
        import torch.ao.nn.quantized.dynamic as dynamic
        from torch.ao import quantization

        bound = 127 if torch.cpu._is_vnni_supported() else 63
        observer: Any = quantization.PerChannelMinMaxObserver
        weight = observer.with_args(
            dtype=torch.qint8, qscheme=torch.per_channel_symmetric, quant_min=-bound - 1, quant_max=bound
        )
        scheme = quantization.QConfig(activation=quantization.default_dynamic_quant_observer, weight=weight)
        names = list(linears(model, patterns))
        quantize: Any = quantization.quantize_dynamic
        with _without_announcements():
            quantize(model, dict.fromkeys(names, scheme), inplace=True)
        for name in names:
            module = model.get_submodule(name)
            assert isinstance(module, dynamic.Linear)
            module.version = 3  # From version 4 of its format on, its ``forward`` takes a bit from the activations.
        return model

    step.__name__ = f"quantize_linears({', '.join(patterns)})"
    return step


@contextmanager
def _without_announcements() -> Iterator[None]:
    """torch.ao announces its move to torchao, which has no equal of these CPU kernels in eager mode."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message="torch.quantize_per_tensor", category=UserWarning)
        yield


# Not its quantizer: imported, it changes Inductor's settings, and with them the key of whatever else is compiled.
@imports(COMPILER)
@partial(fits, package="torchao")
@whisper_only
def quantize_static(model: Any) -> Any:
    """Quantize the encoder to int8 with ranges taken from calibration clips, and compile it (oneDNN kernels, CPU only).

    torchao's PT2E flow with its quantizer for x86 and Inductor, see
    https://docs.pytorch.org/ao/stable/pt2e_quantization/pt2e_quant_x86_inductor.html: export, observe, convert, lower
    with frozen weights. Compilation happens here. The decoder stays as it is: its cache grows from token to token,
    which an exported graph cannot follow.

    Raises:
        StepError: no calibration clips were given.
    """
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
        X86InductorQuantizer,
        get_default_x86_inductor_quantization_config,
    )

    encoder, clips = model.model.encoder, (clip.features for clip in calibration.recordings(model))
    first = next(clips)
    with torch.no_grad():
        exported = export_encoder(encoder, first)
        # Without VNNI the int8 product may overflow: one bit less, as the configuration advises.
        narrow = not torch.cpu._is_vnni_supported()
        quantizer = X86InductorQuantizer().set_global(get_default_x86_inductor_quantization_config(reduce_range=narrow))
        observed = prepare_pt2e(exported, quantizer)
        observe(observed, chain([first], clips))
        encoder.graph = _without_leftovers(convert_pt2e(observed))
    encoder.layers = torch.nn.ModuleList()  # What they held is in the graph now.
    encoder.forward = _lowered(encoder.graph, first)
    return model


def export_encoder(encoder: Any, features: Any) -> Any:
    """Export the encoder, with notes of the functions that nodes stem from: torchao's quantizer finds Linears by them.

    torch 2.11 makes such notes in strict exports alone, which warn of the objects that a forward of transformers makes.
    """
    import torch

    exported = torch.export.export(encoder, (features,))
    if not any("source_fn_stack" in node.meta for node in exported.graph.nodes):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="While compiling, we found certain side effects")
            exported = torch.export.export(encoder, (features,), strict=True)
    return exported.module()


def _without_leftovers(graph: Any) -> Any:
    """Take the float weights out of a converted graph that has them as int8 now and reads these alone."""
    used = {node.target for node in graph.graph.nodes if node.op == "get_attr"}
    for name, _ in [*graph.named_parameters(), *graph.named_buffers()]:
        if name not in used:
            owner, _, attribute = name.rpartition(".")
            delattr(graph.get_submodule(owner), attribute)
    return graph


def _lowered(graph: Any, example: Any) -> Callable[..., Any]:
    """Compile an exported encoder with its weights frozen; return what stands in for its ``forward``."""
    import torch
    import torch._inductor.config
    from transformers.modeling_outputs import BaseModelOutput

    compiled: Any = torch.compile(graph, dynamic=False)

    def forward(input_features: Any, **_: Any) -> Any:
        # The graph is of one clip: of several each has its turn.
        said = [compiled(clip).last_hidden_state for clip in input_features.split(1)]
        return BaseModelOutput(last_hidden_state=said[0] if len(said) == 1 else torch.cat(said))

    # Inductor reads this switch while it compiles, and it compiles for the kind of tensor that it is given: an
    # inference tensor, as ``transcribe`` makes them.
    with torch._inductor.config.patch(freezing=True), torch.inference_mode():
        forward(example.clone())
    return forward


def int8_weights(*patterns: str) -> Step:
    """Store some Linears as int8, a scale for every output, for ``inference.kernels``; see ``graphed.Int8Linear``.

    Args:
        patterns: names of Linears, ``*`` for any letters, such as ``model.decoder.*``.

    Raises:
        StepError: one of them matches none.
    """

    def step(model: Any) -> Any:
        from lxbench.inference.graphed import Int8Linear

        for name, linear in linears(model, patterns).items():
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, Int8Linear(linear))
        return model

    step.__name__ = f"int8_weights({', '.join(patterns)})"
    return step
