"""What workers import, in memory already: on the CPU they are forked from a server that has imported this module.

To import it took half of the time until a row was ready. The server, ``multiprocessing``'s own, computes nothing, holds
no model and has no second thread, which a fork would lose: a worker begins as one that has just imported the same.
"""

from __future__ import annotations

import os
from contextlib import suppress
from importlib import import_module

from lxbench import noise

# What nearly all rows use. Engines start threads of their own and are left to their rows.
_MODULES = (
    "scipy.signal",
    "soundfile",
    "torch.ao.quantization",
    "transformers.models.whisper.feature_extraction_whisper",
    "transformers.models.whisper.modeling_whisper",
    "transformers.models.whisper.tokenization_whisper",
    "lxbench.serve",
    "lxbench.variants",
)

# Workers of a GPU are spawned. torchao looks what a GPU can do, which begins CUDA, and CUDA does not survive a fork.
os.environ["CUDA_VISIBLE_DEVICES"] = ""

noise.listen()
_nowhere = os.open(os.devnull, os.O_WRONLY)
for _stream in (1, 2):
    os.dup2(_nowhere, _stream)  # A worker has its log instead.
os.close(_nowhere)
with suppress(Exception):  # A worker imports it again, and says what is wrong.
    for _name in _MODULES:
        import_module(_name)
