"""Pruning by masks: weights set to zero where they stand.

Nothing gets smaller or faster by it: these rows are a control (their ratio to fp32 must stay 1), and they show how much
of the model may go before its words do.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lxbench.ladder import Step


def prune_magnitude(keep: float) -> Step:
    """Keep the largest weights of every Linear by absolute value and set the others to zero.

    Han et al. 2015, https://arxiv.org/abs/1506.02626, through ``torch.nn.utils.prune.l1_unstructured``. ``proj_out`` is
    left alone: its weight is the embedding of the vocabulary, and masking that costs more words than all else together.

    Args:
        keep: share of each matrix that stays, more than 0 and less than 1.

    Raises:
        ValueError: a share outside this range.
    """
    amount = _amount(keep)

    def step(model: Any) -> Any:
        import torch
        from torch.nn.utils import prune

        def mask(linear: Any) -> None:
            prune.l1_unstructured(linear, "weight", amount=amount)
            prune.remove(linear, "weight")

        with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # To sort takes one thread.
            list(pool.map(mask, _linears(model)))
        return model

    step.__name__ = f"prune_magnitude({keep:g})"
    return step


def prune_l2(keep: float) -> Step:
    """Keep the outputs of every Linear whose weights have the largest L2 norm and set the others to zero.

    Li et al. 2017, https://arxiv.org/abs/1608.08710, through ``torch.nn.utils.prune.ln_structured``. Whole outputs go
    and nothing is fitted anew, while the layers after them go on expecting these: this ruins a Whisper.

    Args:
        keep: share of the outputs that stays, more than 0 and less than 1.

    Raises:
        ValueError: a share outside this range.
    """
    amount = _amount(keep)

    def step(model: Any) -> Any:
        from torch.nn.utils import prune

        for linear in _linears(model):
            prune.ln_structured(linear, "weight", amount=amount, n=2, dim=0)
            prune.remove(linear, "weight")
        return model

    step.__name__ = f"prune_l2({keep:g})"
    return step


def _amount(keep: float) -> float:
    if not 0 < keep < 1:
        raise ValueError(f"keep={keep:g} is not a share between 0 and 1, such as 0.81")
    return 1 - keep


def _linears(model: Any) -> list[Any]:
    import torch

    return [
        module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and name != "proj_out"
    ]
