"""The pages say what there is: links lead somewhere, sessions and rows exist, jobs to copy are YAML."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from lxbench.variants import VARIANTS
from tests.suite import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SESSIONS = re.findall(
    r"@nox\.session(?:\(name=\"([\w-]+)\".*?\)|)\ndef (\w+)", (ROOT / "noxfile.py").read_text("utf-8")
)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")


def anchors(page: Path) -> set[str]:
    """What headings are called in links: lower case, without punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def prose_and_code(page: Path) -> Iterator[str]:
    """Its blocks of code and what stands between backquotes in a line."""
    text = page.read_text("utf-8")
    yield from re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    yield from re.findall(r"`([^`\n]+)`", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text("utf-8")):
        there = page.parent / target if target else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), f"{target}#{anchor}"


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_modules_are_where_they_are_said_to_be(page: Path) -> None:
    for name in re.findall(r"\b(?:lxbench|tools|bench|tests)/[\w/]+\.py", page.read_text("utf-8")):
        assert (ROOT / name).is_file(), name
    for name in re.findall(r"python -m (tools[.\w]*)", page.read_text("utf-8")):
        path = ROOT.joinpath(*name.split("."))
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), name


def test_the_map_of_the_house_has_all_its_rooms() -> None:
    (rooms,) = re.findall(r"## The house\n(.*?)\n## ", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.DOTALL)
    told = set(re.findall(r"`(\w+(?:\.py|/))`", rooms)) - {
        "bench/",
        "tests/",
        "tools/",
        "docs/",
        "lxbench/",
        "baselines/",
    }
    package = ROOT / "lxbench"
    for name in ("run", "worker"):
        (room,) = re.findall(rf"^\| `{name}/` \|(.*)$", rooms, re.MULTILINE)
        inside = {path.stem for path in (package / name).glob("*.py")} - {"__init__"}
        assert set(re.findall(r"`([a-z]\w+)`", room)) == inside
    modules = {path.name for path in package.glob("*.py")} - {"__init__.py"}
    assert told == modules | {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_have_sessions_and_rows_that_there_are(page: Path) -> None:
    sessions = {name or function for name, function in SESSIONS}
    assert "bench-cpu" in sessions
    rows = {f"{variant.name}-{device}" for variant in VARIANTS for device in ("cpu", "cuda")}
    for code in prose_and_code(page):
        assert set(re.findall(r"nox -s ([a-z][\w-]*)", code)) <= sessions, code
        if "nox" in code and "-k" in code:
            assert set(re.findall(r"\[([a-z][\w+-]*-(?:cpu|cuda))\]", code)) - {"name-cpu"} <= rows, code


def test_jobs_to_copy_are_yaml_and_run_what_they_say() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "ci.md").read_text("utf-8"), re.DOTALL)
    github, gitlab = map(yaml.safe_load, blocks)
    steps: list[dict[str, Any]] = [step for job in github["jobs"].values() for step in job["steps"]]
    told = [
        [step["run"] for step in steps if "run" in step],
        [line for job in gitlab.values() for line in job["script"]],
    ]
    for commands in told:
        assert sum(command.startswith("nox -s bench-cpu -- --benchmark-disable") for command in commands) == 1
        assert sum(command.startswith("nox -s ab -- ") for command in commands) == 1
    assert [step["with"]["fetch-depth"] for step in steps if "fetch-depth" in step.get("with", ())] == [0]
