"""Charts as SVG files of their own, drawn by the page's library in headless Chromium."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from lxbench.report import page
from lxbench.report.table import Results

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_WIDTH = 900  # pixels
_CHART = re.compile(r'<div id="speed">(<svg .*?</svg>)</div>', re.DOTALL)
_COLORS = re.compile(r"^:root \{.*?^\}\n@media .*?^\}\n", re.DOTALL | re.MULTILINE)
_LONG = re.compile(r"-?\d+\.\d{3,}")
_ALONE = (
    "svg { background: var(--back); color: var(--fore); font-family: sans-serif; --plot-background: var(--back); }\n"
)


def draw(results: Results) -> str:
    """The page's chart of words against speed. The same run gives the same text, whatever the browser's version.

    Raises:
        RuntimeError: there is no Chromium, or nothing was timed.
    """
    with tempfile.TemporaryDirectory() as name:
        return _drawn(page.render([results], [Path(name)], Path(name)))


def plot(script: str, data: Any) -> str:
    """A chart that a script makes of ``data`` and ``width`` with Observable Plot: ``return Plot.plot({...});``.

    Raises:
        RuntimeError: there is no Chromium, or the script made no SVG.
    """
    called = f"((data, width) => {{\n{script}\n}})({json.dumps(data)}, {_WIDTH})"
    scripts = (*page.libraries(), f'document.getElementById("speed").append({called});')
    elements = "".join(f"<script>{text}</script>\n" for text in scripts)
    return _drawn(f'<!doctype html><meta charset="utf-8"><div id="speed"></div>\n{elements}')


def _drawn(html: str) -> str:
    if CHROMIUM is None:
        raise RuntimeError("Chromium draws the picture, and there is none on this machine; next: apt install chromium")
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "report.html"
        file.write_text(html, "utf-8")
        options = ("--headless", "--no-sandbox", "--disable-gpu", f"--window-size={_WIDTH},900", "--dump-dom")
        command = [CHROMIUM, *options, f"--user-data-dir={file.parent / 'profile'}", file.as_uri()]
        dumped = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = _CHART.search(dumped)
    if found is None:
        raise RuntimeError("the page has no chart: was nothing timed in this run?")
    return _alone(found[1])


def _alone(svg: str) -> str:
    """The chart without its page: it brings the page's colours, light and dark."""
    colors = _COLORS.search(page.style())
    assert colors is not None
    head, rest = _LONG.sub(lambda number: f"{float(number[0]):.2f}", svg).split(">", 1)
    return f'{head} xmlns="http://www.w3.org/2000/svg"><style>\n{colors[0]}{_ALONE}</style>{rest}\n'
