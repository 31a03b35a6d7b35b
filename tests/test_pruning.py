from __future__ import annotations

import json
from typing import Any

import pytest

from tools import picture
from tools.pruning import __main__ as tables
from tools.pruning.rows import VARIANTS


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    figures: dict[str, Any] = json.loads(tables.KEPT.read_text("utf-8"))
    return figures


def test_the_tables_are_of_the_sweep_that_is_kept(kept: dict[str, Any]) -> None:
    """Should they differ: ``python -m tools.pruning``."""
    text = tables.PAGE.read_text("utf-8")
    assert tables.updated(text, kept) == text


@pytest.mark.skipif(picture.CHROMIUM is None, reason="no Chromium on this machine")
def test_the_plot_is_of_the_sweep_that_is_kept(kept: dict[str, Any]) -> None:
    """Should it differ: ``python -m tools.pruning``."""
    assert tables.draw(kept) == tables.PLOT.read_text("utf-8")


def test_every_row_of_the_sweep_was_run(kept: dict[str, Any]) -> None:
    assert set(kept) == {"fp32", *(row.name for row in VARIANTS)}
