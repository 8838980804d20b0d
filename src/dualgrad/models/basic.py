"""Small feed-forward models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


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

    def forward(self, images: Tensor) -> Tensor:
        """Logits (b, classes) of images (b, ...)."""
        return self.head(self.body(images.flatten(1)))


# Pixels of the embedded image sets, by their number of classes: digits 8x8, digit pairs 8x16.
_PIXELS = {10: 64, 100: 128}


def mlp(spec: Mapping[str, Any], classes: int) -> MLP:
    """`hidden`: widths of the blocks; `inputs`: number of inputs (default: that of the digit images)."""
    inputs = spec.get("inputs") or _PIXELS.get(classes)
    if inputs is None:
        raise ValueError(f"model mlp with {classes} classes needs `inputs`, the number of input values")
    return MLP(int(inputs), [int(width) for width in spec["hidden"]], classes)
