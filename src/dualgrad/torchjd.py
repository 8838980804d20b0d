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
from dualgrad.method.gradients import HALF


class NormalizedMix(Weighting[Tensor]):
    """Weights (1-λ)/(‖g_struct‖+eps) and λ/(‖g_value‖+eps) from the Gramian of the two gradients.

    The first loss is the one on noisy labels. In single precision on the CPU, norms from a Gramian are as exact as
    torch's inner products; ``DualGradient`` has more digits for large networks. A gradient of zeros stays as it is.
    In half precision the weights are computed in float32, and none is larger than that precision can hold; TorchJD
    computes the Gramian itself in half precision, and where that overflows, in float16 from a norm of 256 on, the
    weight is NaN, so that no gradient is left out in silence.

    Args:
        lam: λ, from 0 to 1.
        eps: added to each norm before dividing; with 0 a gradient of zeros has no norm to be divided by.

    Raises:
        ValueError: λ is not in [0, 1], or eps is negative or not finite.
    """

    def __init__(self, lam: float, eps: float = 1e-12) -> None:
        super().__init__()
        self.lam, self.eps = check_lam(lam), check_eps(eps)

    def forward(self, gramian: Tensor, /) -> Tensor:
        """Return the weights (2,) of the two gradients from their Gramian (2, 2), in its dtype.

        Raises:
            ValueError: the Gramian is not one of two gradients.
        """
        if tuple(gramian.shape) != (2, 2):
            raise ValueError(f"two losses are expected, found a Gramian of shape {tuple(gramian.shape)}")
        dtype = gramian.dtype
        if dtype in HALF:
            gramian = gramian.float()
        shares = gramian.new_tensor([1.0 - self.lam, self.lam])
        norms = torch.diagonal(gramian).sqrt()
        divisors = norms + self.eps
        weights = torch.where(divisors == 0, shares, shares / divisors)
        # An infinite weight would make NaN of zeros, a weight of 0 would leave out a gradient that overflowed.
        weights = weights.clamp_max(torch.finfo(dtype).max) + 0.0 * norms
        return weights.to(dtype)
