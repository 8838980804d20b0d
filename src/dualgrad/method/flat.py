"""Parameters and gradients as views of one flat vector, so that what is done to all of them is one operation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Parts = list[Tensor] | tuple[Tensor, ...]  # one tensor per parameter
Place = tuple[torch.Size, tuple[int, ...], int]  # shape, strides, and where it begins


@dataclass(frozen=True)
class Flat:
    """A vector, and the views of it that have the parameters' shapes.

    Attributes:
        vector: (n,) all numbers.
        parts: one view per parameter, in the parameters' order, with the parameters' strides.
    """

    vector: Tensor
    parts: list[Tensor]

    def fill(self, parts: Parts) -> Tensor:
        """Copy one tensor per parameter into the vector; return it."""
        torch._foreach_copy_(self.parts, parts)
        return self.vector

    def __reduce__(self) -> tuple[Any, ...]:
        """As the vector and where its parts lie: tensors that are pickled one by one share no memory afterwards."""
        return _views, (self.vector, [(p.shape, p.stride(), p.storage_offset()) for p in self.parts])


def _views(vector: Tensor, places: Iterable[Place]) -> Flat:
    return Flat(vector, [vector.as_strided(*place) for place in places])


class Layout:
    """Where each of some parameters lies in a flat vector: in their order, each as it lies in memory by itself.

    Raises:
        ValueError: there are no parameters, or they have several devices or dtypes, or are no real numbers.
    """

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        tensors = list(parameters)
        kinds = {(tensor.device, tensor.dtype) for tensor in tensors}
        if len(kinds) != 1:
            found = ", ".join(sorted(f"{dtype} on {device}" for device, dtype in kinds)) or "nothing to train"
            raise ValueError(f"parameters of one dtype on one device are expected, found {found}")
        ((self.device, self.dtype),) = kinds
        if not self.dtype.is_floating_point:
            raise ValueError(f"real numbers of a floating dtype are expected, found {self.dtype}")
        # Of channels_last weights the strides are kept: then no gradient is copied for its strides' sake.
        self._places: list[Place] = []
        self.numel = 0
        for tensor in tensors:
            strides = torch.empty_like(tensor, device="meta").stride()
            self._places.append((tensor.shape, strides, self.numel))
            self.numel += tensor.numel()

    def new(self) -> Flat:
        """Return a vector that holds nothing in particular, with its views."""
        return self.views(torch.empty(self.numel, device=self.device, dtype=self.dtype))

    def views(self, vector: Tensor) -> Flat:
        """Return a vector (n,) with its views."""
        return _views(vector, self._places)

    def view(self, vector: Tensor, number: int) -> Tensor:
        """Return the view of a vector (n,) that has one parameter's shape."""
        return vector.as_strided(*self._places[number])

    def take(self, parameters: Sequence[Tensor]) -> Flat:
        """Move the parameters' data into one new vector, of which they are views from then on."""
        flat = self.new()
        with torch.no_grad():
            flat.fill([parameter.detach() for parameter in parameters])
        for parameter, part in zip(parameters, flat.parts, strict=True):
            parameter.data = part
        return flat
