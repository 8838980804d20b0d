"""Small feed-forward and convolutional models, with PyTorch's default initialisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dualgrad.models.passes import MLPPass

# Pixels of the embedded image sets, by their number of classes: digits 8x8, digit pairs 8x16.
_PIXELS = {10: 64, 100: 128}


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

    def training_pass(self, images: Tensor) -> MLPPass | None:
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
        return MLPPass(self._tensors, self._norms, images)


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
    """VGG11 of experiment P: batch norm, single linear layer (I-P.md#0: 9,231,114 parameters)."""
    return Trunk(_vgg11_trunk(), nn.Linear(512, classes))


def vgg11_p2(spec: Mapping[str, Any], classes: int) -> Trunk:
    """VGG11 of experiment P2: hidden layer and dropout in the head (I-P.md#0: 9,493,770 parameters)."""
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
    """SimpleCNN of experiment P (docs/specification/I-P.md#0: 399,626 parameters)."""
    return SimpleCNN(classes)


def simplecnn_p2(spec: Mapping[str, Any], classes: int) -> Trunk:
    """SimpleCNN of experiment P2, another net than P's (I-P.md#0: 2,360,906 parameters)."""
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
    """Embedding, convolutions over 3, 4, 5 tokens, maximum over positions, dropout, linear layer (X-Y.md#1.4)."""

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
