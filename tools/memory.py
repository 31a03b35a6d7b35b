"""What a corpus of many hours takes in memory while it is read and checked.

python -m tools.memory          # 1 and 10 hours of synthetic speech
python -m tools.memory 0.1 1    # so many hours
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile

from lxbench import corpus
from lxbench.commands import CORPORA
from lxbench.corpus.audio import SAMPLE_RATE, read_audio

_SECONDS = 20
# In a process of its own: the peak is that of reading alone.
_LOAD = """
import resource, sys
from pathlib import Path
from lxbench import corpus
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
loaded = corpus.load(sys.argv[1], Path("."))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(loaded.clips), sum(clip.seconds for clip in loaded.clips) / 3600, base / 1024, peak / 1024)
"""


def synthetic(folder: Path, hours: float) -> Path:
    """Write clips of 20 s, each the embedded recordings in another order with noise of its own; return the manifest."""
    speech = [read_audio(clip.path) for clip in corpus.load(corpus.EMBEDDED, CORPORA).clips]
    random = np.random.default_rng(0)

    def lines() -> Iterator[str]:
        for number in range(round(hours * 3600 / _SECONDS)):
            joined = np.concatenate([speech[place] for place in random.permutation(len(speech))[:12]])
            samples = np.resize(joined, _SECONDS * SAMPLE_RATE) + random.normal(0, 1e-3, _SECONDS * SAMPLE_RATE)
            soundfile.write(folder / f"{number}.flac", np.clip(samples, -0.99, 0.99), SAMPLE_RATE)
            yield json.dumps({"audio_filepath": f"{number}.flac", "text": "some words"}) + "\n"

    manifest = folder / "manifest.jsonl"
    with manifest.open("w", encoding="utf-8") as file:
        file.writelines(lines())
    return manifest


def main(arguments: Sequence[str]) -> None:
    """Print a line for every length."""
    print("clips  hours  seconds  MiB before  MiB at the peak")
    for hours in map(float, arguments or ("1", "10")):
        with tempfile.TemporaryDirectory() as name:
            manifest = synthetic(Path(name), hours)
            begun = time.perf_counter()
            command = [sys.executable, "-c", _LOAD, str(manifest)]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            count, length, base, peak = map(float, said)
            print(f"{count:5.0f}  {length:5.1f}  {time.perf_counter() - begun:7.0f}  {base:10.0f}  {peak:15.0f}")


if __name__ == "__main__":
    main(sys.argv[1:])
