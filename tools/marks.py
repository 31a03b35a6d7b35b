"""What stands between two marks of a page is written by a program."""

from __future__ import annotations


def updated(text: str, begin: str, end: str, content: str) -> str:
    """A page with new content between its marks.

    Raises:
        ValueError: it does not have each of them once.
    """
    before, rest = text.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}\n{content}\n{end}{after}"
