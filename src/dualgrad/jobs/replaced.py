"""A function of somebody else's code in whose place another one is put, while the workflow is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def replace(owner: Any, name: str, made: Callable[[Any], Any]) -> None:
    """Put what is *made* of a function into its place, unless that was done before.

    Args:
        owner: the class or module that has it.
        name: what it is called there.
        made: takes the function, and returns what is called instead.
    """
    plain = getattr(owner, name)
    if not getattr(plain, "is_ours", False):
        ours = made(plain)
        ours.is_ours = True
        setattr(owner, name, ours)
