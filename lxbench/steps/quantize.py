"""Integer weights."""

from __future__ import annotations

import warnings
from typing import Any


def quantize_dynamic(model: Any) -> Any:
    """Store every Linear as int8 and quantize its input on the fly (FBGEMM or oneDNN kernels, CPU only).

    See https://docs.pytorch.org/tutorials/recipes/recipes/dynamic_quantization.html. ``proj_out`` is included: it
    reads half of the decoder's bytes per token. Its tie to the embedding, which stays float32, ends here.
    """
    import torch.ao.quantization

    with warnings.catch_warnings():
        # torch.ao announces its move to torchao, which has no equal of these CPU kernels in eager mode.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message="torch.quantize_per_tensor", category=UserWarning)
        quantize: Any = torch.ao.quantization.quantize_dynamic
        return quantize(model, {torch.nn.Linear}, dtype=torch.qint8, inplace=True)
