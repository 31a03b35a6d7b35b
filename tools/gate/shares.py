"""A share of trials with its interval."""

from __future__ import annotations

import math

Share = tuple[float, ...]  # The share, and the ends of its 95 % interval.


def wilson(hits: int, of: int) -> Share:
    """A share with its 95 % Wilson interval."""
    z, p = 1.96, hits / of
    middle, half = p + z * z / (2 * of), z * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    return p, max(0.0, (middle - half) / (1 + z * z / of)), min(1.0, (middle + half) / (1 + z * z / of))


def said(share: Share) -> str:
    """A share with its interval as text."""
    value, low, high = share
    return f"{value:.1%} [{low:.1%}, {high:.1%}]"
