"""The mix among TorchJD's ways to combine several losses (in a clone: ``pip install ".[torchjd]"``).

from torchjd.aggregation import GramianWeightedAggregator
from torchjd.autojac import backward, jac_to_grad

aggregator = GramianWeightedAggregator(NormalizedMix(0.35))
backward([loss_struct, loss_value])
jac_to_grad(model.parameters(), aggregator)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchjd.aggregation import Weighting

from dualgrad.method.dual_gradient import check_eps, check_lam


class NormalizedMix(Weighting[Tensor]):
    """Weights (1-λ)/(‖g_struct‖+eps) and λ/(‖g_value‖+eps) from the Gramian of the two gradients.

    The first loss is the one on noisy labels. In single precision on the CPU, norms from a Gramian are as exact as
    torch's inner products; ``DualGradient`` has more digits for large networks.

    Args:
        lam: λ, from 0 to 1.
        eps: added to each norm before dividing.
    """

    def __init__(self, lam: float, eps: float = 1e-12) -> None:
        super().__init__()
        self.lam, self.eps = check_lam(lam), check_eps(eps)

    def forward(self, gramian: Tensor, /) -> Tensor:
        """Return the weights (2,) of the two gradients from their Gramian (2, 2)."""
        if tuple(gramian.shape) != (2, 2):
            raise ValueError(f"two losses are expected, found a Gramian of shape {tuple(gramian.shape)}")
        shares = gramian.new_tensor([1.0 - self.lam, self.lam])
        return shares / (torch.diagonal(gramian).sqrt() + self.eps)
