"""What is required: ranges, and what they begin with is what ``nox -s oldest`` installs."""

from __future__ import annotations

import tomllib

from tests.suite import ROOT


def test_the_oldest_versions_are_where_the_ranges_begin() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    ranges = [*project["dependencies"], *extras["engines"], *extras["kernels"]]
    oldest = (ROOT / "constraints" / "oldest.txt").read_text("utf-8").splitlines()[1:]
    assert oldest == [requirement.replace(">=", "==") for requirement in ranges]
