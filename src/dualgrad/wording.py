"""How lists, symbols and numbers are written, wherever people read them."""

from __future__ import annotations

from collections.abc import Sequence

#: Factors and columns that have one symbol everywhere.
SYMBOLS = {"lambda": "λ", "lam": "λ", "noise_rate": "η"}


def listed(items: Sequence[str]) -> str:
    """Return ``a``, ``a and b``, ``a, b and c``."""
    return f"{', '.join(items[:-1])} and {items[-1]}" if len(items) > 1 else "".join(items)


def unsigned_zero(text: str) -> str:
    """Return a number's text; a zero, of any unit, without its minus."""
    return text if text.strip("-0.% p") else text.lstrip("-")
