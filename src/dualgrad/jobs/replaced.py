"""A function of somebody else's code in whose place another one is put, while the workflow is read."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any


def existing(owner: Any, name: str) -> Any:
    """Return what somebody else's class, module or object has under a name.

    Args:
        owner: the class, module or object.
        name: what is wanted of it.

    Raises:
        RuntimeError: it has no such name, as in another version of it; says which, and what to do.
    """
    try:
        return getattr(owner, name)
    except AttributeError:
        one = owner if isinstance(owner, type | ModuleType) else type(owner)
        where = one.__name__ if isinstance(one, ModuleType) else f"{one.__module__}.{one.__qualname__}"
        raise RuntimeError(
            f"{where} has no '{name}': this Snakemake has moved what this workflow mends; envs/requirements.txt pins "
            "one that has not"
        ) from None


def replace(owner: Any, name: str, made: Callable[[Any], Any]) -> None:
    """Put what is *made* of a function into its place, unless that was done before.

    Args:
        owner: the class or module that has it.
        name: what it is called there.
        made: takes the function, and returns what is called instead.

    Raises:
        RuntimeError: it is called otherwise there.
    """
    plain = existing(owner, name)
    if not getattr(plain, "is_ours", False):
        ours = made(plain)
        ours.is_ours = True
        setattr(owner, name, ours)
