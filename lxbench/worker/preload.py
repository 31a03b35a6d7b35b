"""What workers import, in memory already: they are forked from a server that has imported this module.

To import it took half of the time until a row was ready. The server, ``multiprocessing``'s own, computes nothing, holds
no model (it has loaded one of next to nothing, and the tokenizer) and has no second thread, which a fork would lose: a
worker begins as one that has just done the same.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from lxbench import kept
from lxbench.steps.compile import COMPILER
from lxbench.variants import VARIANTS
from lxbench.worker import noise
from lxbench.worker.processes import DEVICE, IMPORTS, MODEL_FOLDER
from lxbench.worker.serve import NEEDED

gc.disable()  # Nothing that is imported is garbage: to look for it takes half a second.
_of_gpu = os.environ.get(DEVICE) == "cuda"
if not _of_gpu:  # torchao looks what a GPU can do, which begins CUDA: memory and seconds that no row needs.
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

noise.listen()
_nowhere = os.open(os.devnull, os.O_WRONLY)
for _stream in (1, 2):
    os.dup2(_nowhere, _stream)  # A worker has its log instead.
os.close(_nowhere)


def _asked() -> tuple[str, ...]:
    """What the run's rows import beside what all do. Engines start threads of their own and are left to their rows."""
    if (told := os.environ.get(IMPORTS)) is not None:
        return tuple(told.split())
    return tuple(dict.fromkeys(name for variant in VARIANTS for name in variant.imports))


def _load_once() -> None:
    """Load a Whisper of next to nothing: transformers makes its tables of names when it loads the first model."""
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration
    from transformers.utils import logging

    torch.set_num_threads(1)
    logging.disable_progress_bar()  # It has a thread.
    of_both = [f"{part}_{size}" for part in ("encoder", "decoder") for size in ("layers", "attention_heads", "ffn_dim")]
    sizes = [*of_both, "d_model", "vocab_size", "max_source_positions", "max_target_positions"]
    ids = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id")
    least: dict[str, Any] = {**dict.fromkeys(sizes, 4), **dict.fromkeys(ids, 0)}
    with tempfile.TemporaryDirectory() as folder:
        WhisperForConditionalGeneration(WhisperConfig(**least)).save_pretrained(folder)
        WhisperForConditionalGeneration.from_pretrained(folder, local_files_only=True)


def _read_tokenizer() -> None:
    """Read the tokenizer of the run's model: a tenth of a second each."""
    from lxbench import models

    models.tokenizer(Path(os.environ[MODEL_FOLDER]))


def _keep_for_every_environment() -> None:
    """Have what Inductor compiles found again from another environment with the same torch, and all of it in the cache.

    It keeps C++ by the compiler's command, which names the folder of torch's headers: a link stands for it. Headers it
    would precompile into a folder of /tmp whose name anybody can guess.
    """
    import torch
    from torch._inductor import codecache
    from torch.utils import cpp_extension

    headers = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]) / "precompiled_headers"
    codecache._HEADER_DIR, codecache._HEADER_LOCK_DIR = str(headers), str(headers / "locks")
    link = kept.place("torch", f"{torch.__version__}-{torch.version.git_version}")
    link.parent.mkdir(parents=True, exist_ok=True)
    draft = link.with_name(f".{os.getpid()}")
    draft.unlink(missing_ok=True)  # Of one of the same number that was ended just then.
    draft.symlink_to(Path(torch.__file__).parent)
    draft.replace(link)
    cpp_extension._TORCH_PATH, cpp_extension.TORCH_LIB_PATH = str(link), str(link / "lib")


def _ask_the_system() -> None:
    """Have Inductor find out what it asks of CPU, compiler and installation before it compiles: 1.5 s each.

    Where it has never compiled, it compiles to find out: left to the row that needs it.
    """
    from torch._inductor import codecache, cpu_vec_isa

    if any(Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]).glob("*")):
        cpu_vec_isa.pick_vec_isa()
        codecache.CacheBase.get_system()
        codecache.torch_key()


def _imports(names: Iterable[str]) -> Iterator[Callable[[], object]]:
    return (partial(import_module, name) for name in names)


def _attempt(*parts: Callable[[], object]) -> None:
    """Do each; what goes wrong is left to a worker, which does it again and says so."""
    for part in parts:
        with suppress(Exception):
            part()


@contextmanager
def _absent(*packages: str) -> Iterator[None]:
    """Have whoever asks meanwhile be told that packages are not installed."""
    for package in packages:
        sys.modules[package] = None  # type: ignore[assignment]  # What importlib looks for.
    try:
        yield
    finally:
        for package in packages:
            del sys.modules[package]


def _prepare() -> None:
    needed = [*_imports(NEEDED), _load_once, _read_tokenizer]
    if _of_gpu:
        # transformers imports torchao wherever it is installed, for models that are stored in its types, and torchao
        # looks what a GPU can do: that begins CUDA, which does not survive a fork. Rows that use it import it. Where
        # flash-attn is installed transformers looks for a GPU itself; all rows have torch's attention.
        with _absent("torchao", "flash_attn", "flash_attn_interface"):
            _attempt(*needed)
        return
    asked = _asked()
    _attempt(*_imports(asked), _keep_for_every_environment)
    with ThreadPoolExecutor(1) as pool:
        if COMPILER in asked:
            pool.submit(_ask_the_system)  # Half of its time it waits for other programs.
        _attempt(*needed)


_prepare()
# A worker that looks for garbage has its own to look through, not what it was born with: an eighth of a second each.
# The little of it that is garbage stays: to find it would take longer than all else here but the imports.
gc.freeze()
gc.enable()
