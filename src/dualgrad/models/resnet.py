"""CIFAR ResNets written out, as in the published notebooks A-P and Q1 (A-G.md#1.6, I-P.md#0, Q-R.md#1.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """conv3x3-BN-ReLU-conv3x3-BN plus shortcut: identity, or 1x1 convolution and BN where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride=1, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(b, inputs, h, w) to (b, outputs, h / stride, w / stride)."""
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class ResNet(nn.Module):
    """Stem 3x3 without max-pool, four stages of blocks, global average pool, linear layer."""

    head_modules = ("linear",)

    def __init__(self, blocks: tuple[int, ...], classes: int, width: float = 1.0) -> None:
        super().__init__()
        channels = int(64 * width)
        self.conv1 = nn.Conv2d(3, channels, 3, stride=1, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        stages = []
        for stage, (count, outputs) in enumerate(zip(blocks, (64, 128, 256, 512), strict=True)):
            outputs = int(outputs * width)
            layers = []
            for index in range(count):
                layers.append(Block(channels, outputs, 2 if stage > 0 and index == 0 else 1))
                channels = outputs
            stages.append(nn.Sequential(*layers))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.linear = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (b, classes) of images (b, 3, height, width)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))


def resnet18_own(spec: Mapping[str, Any], classes: int) -> ResNet:
    """`width`: factor on the channel numbers (Q1: 0.5, 1, 2)."""
    return ResNet((2, 2, 2, 2), classes, float(spec.get("width", 1.0)))


def resnet34_own(spec: Mapping[str, Any], classes: int) -> ResNet:
    """`width`: factor on the channel numbers."""
    return ResNet((3, 4, 6, 3), classes, float(spec.get("width", 1.0)))
