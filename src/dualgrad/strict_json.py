"""JSON read without the leniency of the standard library's reader: what is odd is an error, never a guess."""

from __future__ import annotations

import json
import math
from typing import Any


def loads(data: bytes) -> Any:
    """Return what JSON text says.

    Raises:
        ValueError: no JSON; NaN or an infinity; a key twice in one object; numbers or nesting without end. The text
            says what, in a line.
    """
    try:
        return json.loads(data, parse_constant=_constant, parse_float=_finite, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):  # 1e400
        raise ValueError(f"{text} where a finite number is expected")
    return number


def _constant(text: str) -> Any:
    raise ValueError(f"{text} where a number is expected")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise ValueError(f"the key {twice!r} stands there twice")
    return found
