"""TorchJD's ways to combine the two gradients, for runs whose method names one (`{aggregator: UPGrad}`)."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dualgrad.census.run import Aggregated
from dualgrad.training.errors import TrainingError

# What takes the weights 1-λ and λ of the two losses, and by which name.
_WEIGHTS = {
    "AlignedMTL": "pref_vector",
    "ConFIG": "pref_vector",
    "Constant": "weights",
    "DualProj": "pref_vector",
    "UPGrad": "pref_vector",
}
Combine = Callable[[Tensor, float], Tensor]


def make_aggregator(method: Aggregated, like: Tensor) -> Combine:
    """Return a function of the two gradients (2, n) and λ that gives the combined one (n,).

    Args:
        method: the aggregator and its options.
        like: a tensor of the gradients' dtype and device.

    Raises:
        TrainingError: TorchJD, or what it solves this aggregator's problem with, is not installed.
    """
    name = method.aggregator
    options = method.model_dump(exclude={"aggregator"}, exclude_none=True)
    try:
        kind = getattr(importlib.import_module("torchjd.aggregation"), name)
        made: dict[float, Any] = {}

        def of(lam: float) -> Any:
            if lam not in made:
                weights = {_WEIGHTS[name]: like.new_tensor([1.0 - lam, lam])} if name in _WEIGHTS else {}
                made[lam] = kind(**options, **weights)
            return made[lam]

        of(0.5)
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise TrainingError(
            f'method.aggregator: {name}: {reason}; in the clone: pip install ".[torchjd]"'
        ) from None

    def combine(gradients: Tensor, lam: float) -> Tensor:
        with torch.inference_mode(False), torch.no_grad():
            combined: Tensor = of(lam if name in _WEIGHTS else 0.5)(gradients)
            return combined

    return combine
