"""The optimizer step: torch's fused update kernels, called without the bookkeeping around them.

``Optimizer.step`` spends more time on hooks, grouping and guards than a small network's update takes, and its first
call imports torch's compiler (seconds, in every process). State stays where torch.optim keeps it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

OPTIMIZERS = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW, "adam": torch.optim.Adam}


class Update:
    """Updates parameters by their gradients as the optimizer of a resolved run would.

    Attributes:
        optimizer: the torch optimizer that holds settings and state; reading and loading it are its own business.
    """

    def __init__(self, spec: dict, params: list[nn.Parameter], lr: float):
        settings = {key: value for key, value in spec.items() if key not in ("name", "lr")}
        self.optimizer = OPTIMIZERS[spec["name"]](params, lr=lr, fused=True, **settings)
        self._group = self.optimizer.param_groups[0]
        self._params = params
        self._kernel = {"sgd": self._sgd, "adam": self._adam, "adamw": self._adam}[spec["name"]]
        self._state: list[list[Tensor]] = []

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Do one update; every parameter has a gradient, laid out in memory like itself."""
        if self.optimizer.param_groups[0] is not self._group:  # a state was loaded
            self._group, self._state = self.optimizer.param_groups[0], []
        self._group["lr"] = lr
        self._kernel([parameter.grad for parameter in self._params])

    def _lists(self, names: tuple[str, ...]) -> list[list[Tensor]]:
        if not self._state:
            self._state = [[self.optimizer.state[p][name] for p in self._params] for name in names]
        return self._state

    def _sgd(self, gradients: list[Tensor]) -> None:
        first, momentum = False, []
        if self._group["momentum"]:
            first = not self.optimizer.state
            if first:
                for parameter in self._params:
                    self.optimizer.state[parameter]["momentum_buffer"] = torch.empty_like(parameter)
            (momentum,) = self._lists(("momentum_buffer",))
        torch._fused_sgd_(
            self._params,
            gradients,
            momentum,
            weight_decay=self._group["weight_decay"],
            momentum=self._group["momentum"],
            lr=self._group["lr"],
            dampening=self._group["dampening"],
            nesterov=self._group["nesterov"],
            maximize=False,
            is_first_step=first,
        )

    def _adam(self, gradients: list[Tensor]) -> None:
        if not self.optimizer.state:
            for p in self._params:
                self.optimizer.state[p] = {
                    "step": torch.zeros((), dtype=torch.float32, device=p.device),
                    "exp_avg": torch.zeros_like(p),
                    "exp_avg_sq": torch.zeros_like(p),
                }
        steps, averages, squares = self._lists(("step", "exp_avg", "exp_avg_sq"))
        torch._foreach_add_(steps, 1)
        beta1, beta2 = self._group["betas"]
        kernel = torch._fused_adamw_ if self._group["decoupled_weight_decay"] else torch._fused_adam_
        kernel(
            self._params,
            gradients,
            averages,
            squares,
            [],
            steps,
            lr=self._group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=self._group["weight_decay"],
            eps=self._group["eps"],
            amsgrad=False,
            maximize=False,
        )
