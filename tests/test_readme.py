from __future__ import annotations

import json

import pytest

from tools import picture, readme


def test_the_first_table_is_of_the_run_that_is_kept() -> None:
    """Should it differ: ``python -m tools.readme``."""
    text = readme.README.read_text("utf-8")
    assert readme.updated(text, json.loads(readme.KEPT.read_text("utf-8"))) == text


@pytest.mark.skipif(picture.CHROMIUM is None, reason="no Chromium on this machine")
def test_the_picture_is_of_the_run_that_is_kept() -> None:
    """Should it differ: ``python -m tools.readme``."""
    assert picture.draw(json.loads(readme.KEPT.read_text("utf-8"))) == readme.PICTURE.read_text("utf-8")


def test_a_readme_without_the_place_for_it_is_left_alone() -> None:
    with pytest.raises(ValueError, match="unpack"):
        readme.updated("no table here", json.loads(readme.KEPT.read_text("utf-8")))
