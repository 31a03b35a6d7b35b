"""Log-mel features that stay on a device are those of transformers, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from lxbench.corpus.audio import SAMPLE_RATE
from lxbench.families.whisper import HOP
from lxbench.inference.features import log_mel

pytestmark = pytest.mark.cuda
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("bands", [80, 128])
@pytest.mark.parametrize("window_s", [30, 5])
@pytest.mark.parametrize("seconds", [0.02, 3.3, 5.0, 30.0])
def test_they_are_those_of_transformers(bands: int, window_s: int, seconds: float) -> None:
    kind: Any = WhisperFeatureExtractor
    extractor = kind(feature_size=bands)
    clip = np.random.default_rng(0).normal(0, 0.1, round(seconds * SAMPLE_RATE)).astype(np.float32)
    samples = window_s * SAMPLE_RATE
    asked: dict[str, Any] = {"sampling_rate": SAMPLE_RATE, "max_length": samples, "return_tensors": "pt"}
    theirs = extractor(clip, **asked, device=str(DEVICE)).input_features
    for _ in range(2):  # Its tables are made once.
        with torch.inference_mode():
            ours = log_mel(extractor, clip, samples, DEVICE)
        assert ours.shape == (1, bands, samples // HOP)
        assert ours.device.type == DEVICE.type
        assert torch.equal(ours.cpu(), theirs)


def test_tables_are_of_the_extractor() -> None:
    kind: Any = WhisperFeatureExtractor
    clip = np.ones(SAMPLE_RATE, dtype=np.float32)
    shapes = [log_mel(kind(feature_size=bands), clip, SAMPLE_RATE, DEVICE).shape[1] for bands in (80, 128, 80)]
    assert shapes == [80, 128, 80]
