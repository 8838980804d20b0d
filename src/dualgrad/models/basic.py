"""Small feed-forward and convolutional models, with PyTorch's default initialisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Pixels of the embedded image sets, by their number of classes: digits 8x8, digit pairs 8x16.
_PIXELS = {10: 64, 100: 128}


_aten = torch.ops.aten


class TrainingPass:
    """A training pass of an MLP on the CPU without autograd, whose own work is a third of so small a step.

    The operations and their order are those of the modules and their derivatives: logits, gradients and running
    statistics are the same to the last bit (tests/test_fast_paths.py).
    """

    def __init__(self, tensors: list[list[Tensor]], norms: list[nn.BatchNorm1d], images: Tensor) -> None:
        """Go forward; ``tensors``: weight and bias of each linear layer with those and the buffers of its norm."""
        *blocks, (head, bias) = tensors
        self._head = head
        self._saved = []
        x = images.flatten(1)
        for block, norm in zip(blocks, norms, strict=True):
            linear, shift, scale, offset, running_mean, running_var, batches = block
            before = torch.addmm(shift, x, linear.t())
            after, mean, rstd = torch.native_batch_norm(
                *(before, scale, offset, running_mean, running_var, True),
                *(norm.momentum, norm.eps),  # type: ignore[arg-type]  # a number, not None
            )
            batches.add_(1)
            self._saved.append((linear, scale, norm.eps, x, before, mean, rstd))
            x = after.relu_()
        self._last = x
        self._log = torch.log_softmax(torch.addmm(bias, x, head.t()), 1)

    def gradient(self, target: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Mean cross-entropy with `target`, and its gradient in the order of the model's parameters."""
        log, active = self._log, self._last
        loss, total = _aten.nll_loss_forward(log, target, None, 1, -100)
        grad = _aten.nll_loss_backward(torch.ones_like(loss), log, target, None, 1, -100, total)
        grad = _aten._log_softmax_backward_data(grad, log, 1, log.dtype)
        gradients = [grad.sum(0), grad.t().mm(active)]
        grad = grad.mm(self._head)
        for weight, scale, eps, x, before, mean, rstd in reversed(self._saved):
            grad = _aten.threshold_backward(grad, active, 0)
            grad, d_scale, d_shift = _aten.native_batch_norm_backward(
                grad, before, scale, None, None, mean, rstd, True, eps, [True, True, True]
            )
            gradients += [d_shift, d_scale, grad.sum(0), grad.t().mm(x)]
            if x is not self._saved[0][3]:
                grad, active = grad.mm(weight), x
        return loss, gradients[::-1]


class MLP(nn.Module):
    """Linear-BatchNorm-ReLU blocks on the flattened image, then a linear layer."""

    head_modules = ("head",)

    def __init__(self, inputs: int, hidden: list[int], classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU()]
            inputs = width
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(inputs, classes)
        self._norms: list[Any] = layers[1::3]
        self._tensors: list[list[Tensor]] = []

    def forward(self, images: Tensor) -> Tensor:
        """Logits (b, classes) of images (b, ...)."""
        return self.head(self.body(images.flatten(1)))

    @torch.no_grad()
    def training_pass(self, images: Tensor) -> TrainingPass | None:
        """A forward pass in train mode over images (b, ...) that knows its gradients, or None: leave it to autograd.

        (A GPU's modules have other kernels than the plain operations.)
        """
        if not images.is_cpu or len(images) < 2:
            return None
        # Looked up once, for a module's attributes are slow; a module that moves to another dtype keeps its
        # parameters but not its buffers.
        if not self._tensors or self._tensors[0][4] is not self._norms[0].running_mean:
            layers = zip(self.body[::3], self._norms, strict=True)
            self._tensors = [
                [*linear.parameters(), *norm.parameters(), *norm.buffers()] for linear, norm in layers
            ]
            self._tensors.append([*self.head.parameters()])
        return TrainingPass(self._tensors, self._norms, images)


def mlp(spec: Mapping[str, Any], classes: int) -> MLP:
    """`hidden`: widths of the blocks; `inputs`: number of inputs (default: that of the digit images)."""
    inputs = spec.get("inputs") or _PIXELS.get(classes)
    if inputs is None:
        raise ValueError(f"model mlp with {classes} classes needs `inputs`, the number of input values")
    return MLP(int(inputs), [int(width) for width in spec["hidden"]], classes)


def _conv_block(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]


class Trunk(nn.Module):
    """A convolutional trunk, flattened, and a head; the trunk is created first."""

    head_modules = ("head",)

    def __init__(self, trunk: nn.Sequential, head: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """Logits (b, classes) of images (b, 3, 32, 32)."""
        return self.head(self.trunk(images).flatten(1))


_VGG11 = (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M")


def _vgg11_trunk() -> nn.Sequential:
    layers: list[nn.Module] = []
    inputs = 3
    for item in _VGG11:
        if isinstance(item, str):  # "M": a maximum over 2×2
            layers.append(nn.MaxPool2d(2, 2))
        else:
            layers += _conv_block(inputs, item)
            inputs = item
    return nn.Sequential(*layers)


def _dropout_head(inputs: int, hidden: int, classes: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Dropout(0.5), nn.Linear(hidden, classes))


def vgg11_p(spec: Mapping[str, Any], classes: int) -> Trunk:
    """VGG11 of experiment P: batch norm, single linear layer (I-P 0: 9,231,114 parameters)."""
    return Trunk(_vgg11_trunk(), nn.Linear(512, classes))


def vgg11_p2(spec: Mapping[str, Any], classes: int) -> Trunk:
    """VGG11 of experiment P2: hidden layer and dropout in the head (I-P 0: 9,493,770 parameters)."""
    return Trunk(_vgg11_trunk(), _dropout_head(512, 512, classes))


class SimpleCNN(nn.Module):
    """Four conv-BN-ReLU-pool stages, linear head; layers are created in the published order."""

    head_modules = ("fc",)

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.conv3 = nn.Conv2d(64, 128, 3, padding=1)
        self.conv4 = nn.Conv2d(128, 256, 3, padding=1)
        self.fc = nn.Linear(256 * 2 * 2, classes)
        self.bn1 = nn.BatchNorm2d(32)
        self.bn2 = nn.BatchNorm2d(64)
        self.bn3 = nn.BatchNorm2d(128)
        self.bn4 = nn.BatchNorm2d(256)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (b, classes) of images (b, 3, 32, 32)."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(images))), 2)
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        x = F.max_pool2d(F.relu(self.bn3(self.conv3(x))), 2)
        x = F.max_pool2d(F.relu(self.bn4(self.conv4(x))), 2)
        return self.fc(x.flatten(1))


def simplecnn_p(spec: Mapping[str, Any], classes: int) -> SimpleCNN:
    """SimpleCNN of experiment P (I-P 0: 399,626 parameters)."""
    return SimpleCNN(classes)


def simplecnn_p2(spec: Mapping[str, Any], classes: int) -> Trunk:
    """SimpleCNN of experiment P2, another net than P's (I-P 0: 2,360,906 parameters)."""
    trunk = nn.Sequential(
        *_conv_block(3, 64),
        *_conv_block(64, 64),
        nn.MaxPool2d(2, 2),
        *_conv_block(64, 128),
        *_conv_block(128, 128),
        nn.MaxPool2d(2, 2),
    )
    return Trunk(trunk, _dropout_head(8 * 8 * 128, 256, classes))


class TextCNN(nn.Module):
    """Embedding, convolutions over 3, 4, 5 tokens, maximum over positions, dropout, linear layer (X-Y 1.4)."""

    head_modules = ("fc",)

    def __init__(
        self, vocab_size: int, classes: int, dim: int, filters: int, kernels: list[int], dropout: float
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, dim, padding_idx=0)
        self.convs = nn.ModuleList(nn.Conv1d(dim, filters, width) for width in kernels)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(filters * len(kernels), classes)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Logits (b, classes) of token ids (b, length); padding takes part in the maximum, as published."""
        x = self.embedding(input_ids).transpose(1, 2)
        pooled = [F.relu(conv(x)).amax(2) for conv in self.convs]
        return self.fc(self.dropout(torch.cat(pooled, 1)))


def textcnn(spec: Mapping[str, Any], classes: int) -> TextCNN:
    """`vocab_size` (from the task); `dim` 128, `filters` 100, `kernels` 3 4 5, `dropout` 0.5 unless given."""
    if not spec.get("vocab_size"):
        raise ValueError("model textcnn needs `vocab_size`; the task knows it (Task.model_options)")
    return TextCNN(
        int(spec["vocab_size"]),
        classes,
        int(spec.get("dim", 128)),
        int(spec.get("filters", 100)),
        [int(width) for width in spec.get("kernels", (3, 4, 5))],
        float(spec.get("dropout", 0.5)),
    )
