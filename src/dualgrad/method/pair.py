"""The two gradients of a step, and the value gradient that is kept until the next refresh."""

from __future__ import annotations

from torch import Tensor

from dualgrad.method.flat import Flat, Layout, Parts
from dualgrad.method.gradients import Number, Unit, unit


class Pair:
    """Structure and value gradient of a step in buffers of their own, normalised, and the cached value gradient.

    Attributes:
        eps: added to a norm before dividing by it.
        cache: the value gradient that is kept, or None.
        flat: the structure gradient of this step.
    """

    def __init__(self, layout: Layout, eps: float) -> None:
        self.eps = eps
        self.cache: Unit | None = None
        self.flat = layout.new()
        self._layout = layout
        self._values: dict[bool, Flat] = {}

    def plain(self, parts: Parts) -> Tensor:
        """Return a gradient as one vector, which holds until the next structure gradient comes."""
        return self.flat.fill(parts)

    def struct(self, parts: Parts) -> Unit:
        """Normalise a structure gradient, one tensor per parameter; it holds until the next one comes."""
        return unit(self.plain(parts), self.eps)

    def value(self, parts: Parts, *, keep: bool) -> Unit:
        """The same of a value gradient: ``keep`` it in the cache, or else until the next one comes."""
        found = unit(self.value_flat(keep=keep).fill(parts), self.eps)
        if keep:
            self.cache = found
        return found

    def value_flat(self, *, keep: bool) -> Flat:
        """Return the buffer of a value gradient: the cache's, or the one for a gradient that is not kept."""
        if keep not in self._values:
            self._values[keep] = self._layout.new()
        return self._values[keep]

    def release(self) -> None:
        """Give the cache's memory back, before a pass that computes another value gradient."""
        self.cache = None
        self._values.pop(True, None)

    def keep_struct(self, struct: Unit) -> None:
        """Keep a copy of a structure gradient in place of a value gradient."""
        self.cache = Unit(struct.vector.clone(), struct.norm, struct.scale)

    def state(self) -> dict[str, Tensor | Number] | None:
        """Return the cache as plain data and tensors."""
        return None if self.cache is None else dict(vars(self.cache))

    def load_state(self, state: dict | None) -> None:
        """Restore what :meth:`state` returned."""
        self.cache = None if state is None else Unit(**state)
