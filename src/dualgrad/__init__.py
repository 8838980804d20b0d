"""Dual-gradient learning under label noise: the method as a library, and the published census as data and one DAG.

    from dualgrad import DualGradient, mix

Importing this package imports nothing heavy; each part imports what it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dualgrad.method.dual_gradient import DualGradient, mix

__version__ = "0.1.0"
__all__ = ["DualGradient", "__version__", "mix"]


def __getattr__(name: str) -> Any:
    """Import the library, and with it torch, when it is first asked for (PEP 562)."""
    if name in ("DualGradient", "mix"):
        from dualgrad.method import dual_gradient

        return getattr(dual_gradient, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
