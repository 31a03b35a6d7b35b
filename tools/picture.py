"""The chart of words against speed as an SVG file, drawn by the page itself in headless Chromium."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from lxbench.report import page
from lxbench.report.table import Results

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_WIDTH = 900  # pixels
_CHART = re.compile(r'<div id="speed">(<svg .*?</svg>)</div>', re.DOTALL)
_COLORS = re.compile(r"^:root \{.*?^\}\n@media .*?^\}\n", re.DOTALL | re.MULTILINE)
_LONG = re.compile(r"-?\d+\.\d{3,}")
_ALONE = "svg { background: var(--back); color: var(--fore); font-family: sans-serif; }\n"


def draw(results: Results) -> str:
    """Draw a run. The same run gives the same text, whatever the version of the browser.

    Raises:
        RuntimeError: there is no Chromium, or nothing was timed.
    """
    if CHROMIUM is None:
        raise RuntimeError("Chromium draws the picture, and there is none on this machine; next: apt install chromium")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "report.html").write_text(page.render([results], [folder], folder), "utf-8")
        options = ("--headless", "--no-sandbox", "--disable-gpu", f"--window-size={_WIDTH},900", "--dump-dom")
        command = [CHROMIUM, *options, f"--user-data-dir={folder / 'profile'}", (folder / "report.html").as_uri()]
        dumped = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = _CHART.search(dumped)
    if found is None:
        raise RuntimeError("the page has no chart of words against speed: was nothing timed in this run?")
    return _alone(found[1])


def _alone(svg: str) -> str:
    """The chart without its page: it brings the page's colours, light and dark."""
    colors = _COLORS.search(page.style())
    assert colors is not None
    head, rest = _LONG.sub(lambda number: f"{float(number[0]):.2f}", svg).split(">", 1)
    return f'{head} xmlns="http://www.w3.org/2000/svg"><style>\n{colors[0]}{_ALONE}</style>{rest}\n'
