"""torchvision's ResNets with the CIFAR stem (docs/specification/Q-R.md#1.4 TV18, S-T.md#0.5, Td-W.md#1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn


def _cifar_stem(name: str, classes: int) -> nn.Module:
    from torchvision.models import resnet  # seconds to import: only when asked for

    model = getattr(resnet, name)(weights=None, num_classes=classes)
    # Replaced after construction: the 7x7 stem consumes random numbers too, and this one keeps PyTorch's
    # default init.
    model.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
    model.maxpool = nn.Identity()
    model.head_modules = ("fc",)
    return model


def resnet18_tv(spec: Mapping[str, Any], classes: int) -> nn.Module:
    """torchvision ResNet-18 for images (b, 3, 32, 32): 11,173,962 parameters with 10 classes."""
    return _cifar_stem("resnet18", classes)


def resnet34_tv(spec: Mapping[str, Any], classes: int) -> nn.Module:
    """torchvision ResNet-34 for images (b, 3, 32, 32): 21,282,122 parameters with 10 classes."""
    return _cifar_stem("resnet34", classes)
