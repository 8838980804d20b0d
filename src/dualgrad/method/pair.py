"""The two gradients of a step, and the value gradient that is kept until the next refresh."""

from __future__ import annotations

from torch import Tensor

from dualgrad.method.flat import Flat, Layout, Parts
from dualgrad.method.gradients import Number, Unit, unit


class Pair:
    """Structure and value gradient of a step in places of their own, normalised, and the cached value gradient.

    Attributes:
        eps: added to a norm before dividing by it.
        cache: the value gradient that is kept, or None.
    """

    def __init__(self, layout: Layout, eps: float) -> None:
        self.eps = eps
        self.cache: Unit | None = None
        self._layout = layout
        self._places: dict[str, Flat] = {}

    def place(self, name: str) -> Flat:
        """Return the place of a gradient: ``struct``, ``kept`` (the cache's) or ``passing`` (a value gradient's)."""
        if name not in self._places:
            self._places[name] = self._layout.new()
        return self._places[name]

    def release(self, name: str) -> None:
        """Give a place's memory back; without its own the cache is empty."""
        self._places.pop(name, None)
        if name == "kept":
            self.cache = None

    def plain(self, parts: Parts) -> Tensor:
        """Return a gradient as one vector, which holds until the next structure gradient comes."""
        return self.place("struct").fill(parts)

    def struct(self, parts: Parts) -> Unit:
        """Normalise a structure gradient, one tensor per parameter; it holds until the next one comes."""
        return unit(self.plain(parts), self.eps)

    def value(self, parts: Parts, *, keep: bool) -> Unit:
        """The same of a value gradient: ``keep`` it in the cache, or else until the next one comes."""
        found = unit(self.place("kept" if keep else "passing").fill(parts), self.eps)
        if keep:
            self.cache = found
        return found

    def keep_struct(self, struct: Unit) -> None:
        """Keep a copy of a structure gradient in place of a value gradient."""
        self.cache = Unit(struct.vector.clone(), struct.norm, struct.scale)

    def state(self) -> dict[str, Tensor | Number] | None:
        """Return the cache as plain data and tensors."""
        return None if self.cache is None else dict(vars(self.cache))

    def load_state(self, state: dict | None) -> None:
        """Restore what :meth:`state` returned."""
        self.cache = None if state is None else Unit(**state)
