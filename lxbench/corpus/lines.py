"""Files of lines, JSON, CSV or TSV, as rows. Without torch."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lxbench.errors import CorpusError


def read(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yield the number of every line that begins a row, and the row by column, or why it is none.

    Raises:
        CorpusError: the file is not UTF-8.
    """
    return _json_lines(path) if path.suffix.lower() in (".jsonl", ".json") else _csv_lines(path)


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    for number, line in enumerate(_text(path).split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
                yield number, row if isinstance(row, dict) else "not a JSON object"
            except ValueError as error:
                yield number, f"not JSON: {error}"


def _csv_lines(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    tabs = path.suffix.lower() == ".tsv"  # Common Voice's are not quoted: a lone quote is a part of what is said.
    form: Any = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if tabs else {}
    reader = csv.reader(io.StringIO(_text(path), newline=""), **form)
    names: list[str] = []
    began = 1
    try:
        for cells in reader:
            bare = list(map(_unquoted, cells)) if tabs else cells
            if names and bare:
                yield began, _misread(names, bare, reader.line_num) or dict(zip(names, bare, strict=True))
            names, began = names or bare, reader.line_num + 1
    except csv.Error as error:
        yield reader.line_num, f"not CSV from here on: {error}"


def _unquoted(cell: str) -> str:
    """A cell without the quotes around it, where all within are doubled, as some programs write them."""
    quoted = re.fullmatch(r'"((?:[^"]|"")*)"', cell)
    return quoted[1].replace('""', '"') if quoted else cell


def _misread(names: Sequence[str], cells: Sequence[str], last: int) -> str:
    """Why a row, which ends in a line, is not one recording; empty if it is."""
    if any("\n" in cell or "\r" in cell for cell in cells):
        return f"a cell that is several lines long, the row ends in line {last}: is a quote not closed?"
    return "" if len(cells) == len(names) else f"cells: {len(cells)}, columns: {len(names)}"


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")  # Spreadsheets put a mark in front.
    except UnicodeDecodeError as error:
        known = path.read_bytes()[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        there, to = shlex.quote(str(path)), shlex.quote(str(path.with_suffix(f".utf8{path.suffix}")))
        raise CorpusError(
            f"{path} is not UTF-8: {error}",
            expected="a listing in UTF-8",
            # Not over it: in a wrong encoding everything is read, and nothing as it was meant.
            command=f"iconv -f utf-16 -t utf-8 {there} > {to}"
            if known
            else f"iconv -f cp1251 -t utf-8 {there} > {to}  # if it is in cp1251: look at what comes out",
        ) from None
