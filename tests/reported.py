"""What results.json has of a run and a row, made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lxbench.history import Comparison
from lxbench.report import terminal


def row(variant: str, word: str, **values: Any) -> dict[str, Any]:
    return {
        "id": f"{variant}-cpu",
        "variant": variant,
        "reference": variant == "fp32",
        "verdict": word,
        "verdicts": {"speed": {"word": "PASS", "text": "fine"}, "accuracy": {"word": word, "text": "WER 0.3"}},
        "usable": True,
        "shown_usable": True,
        "declared_unusable": False,
        "complete": True,
        "warnings": [],
        "disturbance": {"load": 2.0, "stolen": 0.0, "others": 0.02, "mhz": 2600.0},
        "profile": {},
        "wer": 0.1393,
        "cer": 0.02793,
        "seconds": 0.6226,
        "processes": 1,
        "parts": {"features": 0.001, "encoder": 0.25, "decoder": 0.3706, "rest": 0.001},
        "ratio": {"value": 1.812, "low": 1.773, "high": 1.851},
        "peak_mib": 976.4,
        "size_mib": 138.7,
        "build": {
            "seconds": {"load": 3.0, "steps": 0.2, "warm-up": 1.5},
            "steps": [{"name": "cast(bfloat16)", "changed": ["dtypes"]}],
            "loaded": {"modules": {"torch.nn.modules.Linear": 3}, "size_mib": 277.0},
            "census": {
                "modules": {"torch.nn.modules.Linear": 1, "x.Packed": 2},
                "dtypes": {"float32": 7_000_000, "int8": 3_000_000, "int64": 4},
                "zeros": 1_000_000,
                "size_mib": 138.7,
            },
        },
        "baseline": {"clips": {"a": {"text": "", "word_edits": 1}}},
        "clips": [
            {"id": "a", "text": "Раз дваа", "seconds": 0.6, "word_edits": 1, "tokens": 3, "pairs": [(1.2, 0.6)]},
            {
                "id": "b",
                "text": "<b>три</b> | `x`",
                "seconds": 0.6,
                "word_edits": 2,
                "tokens": 6,
                "pairs": [(1.6, 0.8)],
            },
            {"id": "c", "text": "пять", "seconds": 0.6, "word_edits": 0, "tokens": 3, "pairs": []},
        ],
        **values,
    }


def results(*rows: dict[str, Any], **values: Any) -> dict[str, Any]:
    return {
        "language": "ru",
        "normalizer": "russian/1",
        "device": "cpu",
        "model": {"name": "whisper-base"},
        "corpus": {
            "name": "ivr-ru",
            "seconds": 9.0,
            "clips": [{"id": "a", "text": "Раз, два!"}, {"id": "b", "text": "три"}, {"id": "c", "text": "5"}],
        },
        "machine": {"cpu": "Xeon", "threads": 2},
        "versions": {"torch": "2.13.0"},
        "harness": {
            "wall_s": 60.0,
            "transcribing_share": 0.91,
            "warming_up_share": 0.02,
            "building_share": 0.036,
            "loading_share": 0.03,
            "own_share": 0.004,
        },
        "rows": list(rows),
        "absent": [],
        "order": [row["variant"] for row in rows],
        "orphans": [],
        "notes": [],
        "suspected": {"rows": [], "command": ""},
        "next": "",
        **values,
    }


def ending(found: dict[str, Any], width: int, comparison: Comparison | None = None) -> str:
    """What stands at the end of a run."""
    parts = terminal.ending(found, comparison, [], Path("results/now"), width)
    return terminal.render(parts, width, color=False)
