"""Training passes of an MLP on the CPU without autograd, whose own work is a good part of so small a step.

A pass goes forward when it is made and then knows the gradient of the cross-entropy with any labels. Operations and
their order are those of the modules and their derivatives: logits, gradients and running statistics are
the same to the last bit (tests/test_fast_paths.py). Call everything here under ``torch.no_grad``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_aten = torch.ops.aten
_ALL = [True, True, True]  # gradients of the input, the weight and the bias of a normalisation
_ONE = {dtype: torch.ones((), dtype=dtype) for dtype in (torch.float32, torch.float64)}


def _cross_entropy(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy of logits (b, classes) with labels (b,), and its gradient by the logits."""
    log = torch.log_softmax(logits, 1)
    loss, total = _aten.nll_loss_forward.default(log, target, None, 1, -100)
    grad = _aten.nll_loss_backward.default(_ONE[loss.dtype], log, target, None, 1, -100, total)
    return loss, _aten._log_softmax_backward_data.default(grad, log, 1, log.dtype)


class MLPPass:
    """A pass of an MLP: linear layers with batch normalisation and ReLU, and a linear head."""

    def __init__(self, tensors: list[list[Tensor]], norms: list[nn.BatchNorm1d], images: Tensor) -> None:
        """Go forward; ``tensors``: weight and bias of each linear layer with those and the buffers of its norm."""
        *blocks, (head, bias) = tensors
        self._head = head
        self._saved = []
        x = images.flatten(1)
        for block, norm in zip(blocks, norms, strict=True):
            linear, shift, scale, offset, running_mean, running_var, _ = block
            before = F.linear(x, linear, shift)
            after, mean, rstd = torch.native_batch_norm(
                *(before, scale, offset, running_mean, running_var, True),
                *(norm.momentum, norm.eps),  # type: ignore[arg-type]  # a number, not None
            )
            self._saved.append((linear, scale, norm.eps, x, before, mean, rstd))
            x = after.relu_()
        torch._foreach_add_([block[-1] for block in blocks], 1)
        self._last = x
        self.logits = F.linear(x, head, bias)

    def gradient(self, target: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Mean cross-entropy with `target`, and its gradient in the order of the model's parameters."""
        loss, grad = _cross_entropy(self.logits, target)
        active = self._last
        gradients = [grad.sum(0), grad.t().mm(active)]
        grad = grad.mm(self._head)
        for weight, scale, eps, x, before, mean, rstd in reversed(self._saved):
            grad = _aten.threshold_backward.default(grad, active, 0)
            grad, d_scale, d_shift = _aten.native_batch_norm_backward.default(
                grad, before, scale, None, None, mean, rstd, True, eps, _ALL
            )
            gradients += [d_shift, d_scale, grad.sum(0), grad.t().mm(x)]
            if x is not self._saved[0][3]:
                grad, active = grad.mm(weight), x
        return loss, gradients[::-1]
