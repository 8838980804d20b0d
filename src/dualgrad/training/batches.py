"""Which examples make up which batch: shuffled passes over a set of indices, epoch by epoch."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from dualgrad.training.streams import Streams


def batches_per_pass(examples: int, batch_size: int, drop_last: bool) -> int:
    """Return the number of batches in one pass over ``examples`` examples."""
    full, rest = divmod(examples, batch_size)
    return full if drop_last or not rest else full + 1


class StructureOrder:
    """Batches of the structure set; epoch e takes the next ``steps_per_epoch`` batches of an endless row of passes.

    With ``steps_per_epoch=None`` an epoch is one pass, as published. Each pass has an order of its own, drawn from
    the stream ``("order", pass)``, so any epoch can be entered without the ones before it.
    """

    def __init__(
        self, indices: Tensor, batch_size: int, drop_last: bool, steps_per_epoch: int | None, streams: Streams
    ):
        self._indices = indices
        self._batch_size = batch_size
        self._per_pass = batches_per_pass(len(indices), batch_size, drop_last)
        if not self._per_pass:
            raise ValueError(
                f"batch size {batch_size} with drop_last leaves no batch of {len(indices)} examples"
            )
        rest = len(indices) % batch_size
        # Examples of the smallest batch, and of all.
        self.smallest = rest if rest and not drop_last else batch_size
        self.examples = len(indices)
        self._streams = streams
        self._pass = -1
        self._order = indices
        self.steps_per_epoch = steps_per_epoch or self._per_pass

    def epoch(self, epoch: int, steps: int | None = None) -> Iterator[Tensor]:
        """Yield the index batches of 0-based ``epoch``, each an int64 tensor on the indices' device.

        With ``steps`` so many of them, even if that is more than an epoch has (J's ten batches).
        """
        first = epoch * self.steps_per_epoch
        for number in range(first, first + (steps or self.steps_per_epoch)):
            which, within = divmod(number, self._per_pass)
            if which != self._pass:
                self._order = _shuffled(self._indices, self._streams, "order", which)
                self._pass = which
            yield self._order[within * self._batch_size : (within + 1) * self._batch_size]


def trusted_batches(trusted: Tensor, batch_size: int, epoch: int, streams: Streams) -> Iterator[Tensor]:
    """Yield indices (b,) of trusted examples, without end; reshuffled whenever used up (X-Y.md#1.5).

    Args:
        trusted: (k,) their indices among all training examples.
        batch_size: b; the last batch of a pass is smaller where k is no multiple of it.
        epoch: 0-based epoch that the order is drawn for.
        streams: what it is drawn from.
    """
    again = 0
    while True:
        order = _shuffled(trusted, streams, "trusted_order", epoch, again)
        yield from torch.split(order, batch_size)
        again += 1


def _shuffled(indices: Tensor, streams: Streams, name: str, *index: int) -> Tensor:
    order = torch.randperm(len(indices), generator=streams.generator(name, *index))
    return indices[order.to(indices.device)]
