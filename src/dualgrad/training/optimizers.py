"""Optimizers over one flat vector of parameters: torch's own arithmetic, called directly.

``torch.optim`` spends six times as long around the arithmetic of a small network as on it; the functional forms that
its optimizers call are that arithmetic alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from dualgrad.census import run as spec


class SGD:
    """Stochastic gradient descent with momentum, as ``torch.optim.SGD``."""

    def __init__(self, weights: Tensor, lr: float, momentum: float = 0.0, weight_decay: float = 0.0) -> None:
        self.weights, self.lr = weights, lr
        self.momentum, self.weight_decay = momentum, weight_decay
        self._buffers: list[Tensor | None] = [None]

    def step(self, gradient: Tensor) -> None:
        """Move the weights (n,) by one step for their gradient (n,)."""
        sgd(
            [self.weights],
            [gradient],
            self._buffers,
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            dampening=0.0,
            nesterov=False,
            maximize=False,
            fused=True,
        )

    def state(self) -> dict[str, Any]:
        """Return what a resumed optimizer needs beside its settings."""
        return {"momentum": self._buffers[0], "lr": self.lr}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state` returned."""
        self._buffers, self.lr = [state["momentum"]], state["lr"]


class Adam:
    """Adam, as ``torch.optim.Adam``; with ``decoupled`` weight decay as ``torch.optim.AdamW``."""

    def __init__(
        self, weights: Tensor, lr: float, weight_decay: float = 0.0, decoupled: bool = False
    ) -> None:
        self.weights, self.lr = weights, lr
        self.weight_decay, self.decoupled = weight_decay, decoupled
        self._averages = [torch.zeros_like(weights), torch.zeros_like(weights)]
        self._steps = torch.zeros((), dtype=torch.float32, device=weights.device)

    def step(self, gradient: Tensor) -> None:
        """Move the weights (n,) by one step for their gradient (n,)."""
        first, second = self._averages
        adam(
            [self.weights],
            [gradient],
            [first],
            [second],
            [],
            [self._steps],
            lr=self.lr,
            beta1=0.9,
            beta2=0.999,
            eps=1e-8,
            weight_decay=self.weight_decay,
            decoupled_weight_decay=self.decoupled,
            amsgrad=False,
            maximize=False,
            fused=True,
        )

    def state(self) -> dict[str, Any]:
        """Return what a resumed optimizer needs beside its settings."""
        return {"averages": self._averages, "steps": self._steps, "lr": self.lr}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state` returned."""
        self._averages, self._steps, self.lr = state["averages"], state["steps"], state["lr"]


def make_optimizer(settings: spec.Optimizer, weights: Tensor, lr: float) -> SGD | Adam:
    """Return the optimizer of a run over its weights (n,), with a learning rate of the session's."""
    if isinstance(settings, spec.SGD):
        return SGD(weights, lr, settings.momentum or 0.0, settings.weight_decay)
    return Adam(weights, lr, settings.weight_decay, decoupled=isinstance(settings, spec.AdamW))
