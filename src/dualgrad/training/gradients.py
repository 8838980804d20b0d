"""The gradient arithmetic: global norms, the dual mix, and directions at a set cosine.

A gradient is a list of tensors, one per parameter in ``model.parameters()`` order, treated as one flat vector
(specs A-G §1.9, X-Y §1.5): norms and cosines run over all parameters together. Nothing is ever flattened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Gradient = Sequence[Tensor]


@dataclass(frozen=True)
class Unit:
    """A gradient with its norm: the unit vector is ``scale * parts``.

    Attributes:
        parts: raw gradient.
        norm: 0-dim tensor, its global L2 norm.
        scale: 0-dim tensor, 1 / (norm + eps).
    """

    parts: Gradient
    norm: Tensor
    scale: Tensor

    @property
    def length(self) -> Tensor:
        """Norm of the scaled vector: 1 but for eps, 0 for a zero gradient."""
        return self.norm * self.scale


def global_norm(parts: Gradient) -> Tensor:
    """Return the L2 norm over all tensors together, as a 0-dim tensor."""
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(parts)))


def dot(a: Gradient, b: Gradient) -> Tensor:
    """Return the inner product over all tensors together, as a 0-dim tensor."""
    return torch.stack([torch.dot(x.reshape(-1), y.reshape(-1)) for x, y in zip(a, b, strict=True)]).sum()


def unit(parts: Gradient, eps: float) -> Unit:
    """Normalise a gradient: g / (‖g‖ + eps); with ``eps=0`` a zero gradient stays as it is (X-Y §1.5)."""
    norm = global_norm(parts)
    scale = 1.0 / (norm + eps) if eps else torch.where(norm > 0, 1.0 / norm, torch.ones_like(norm))
    return Unit(parts, norm, scale)


@dataclass(frozen=True)
class Mix:
    """A mixed gradient and what is logged about it (0-dim tensors).

    Attributes:
        parts: (1-λ)·ĝ_struct + λ·ĝ_value, the gradient given to the optimizer unless renormalised later.
        cosine: ĝ_struct · ĝ_value.
        norm: ‖parts‖.
        cosine_to_value: parts / ‖parts‖ · ĝ_value.
    """

    parts: list[Tensor]
    cosine: Tensor
    norm: Tensor
    cosine_to_value: Tensor


def mix(struct: Unit, value: Unit, lam: float, sign: float = 1.0) -> Mix:
    """Mix two unit gradients: (1-λ)·ĝ_struct + λ·sign·ĝ_value (specs A-G §1.9).

    The norm and the cosines follow from the two lengths and one inner product, so no further pass over the
    parameters is needed to log them.
    """
    cosine = sign * dot(struct.parts, value.parts) * struct.scale * value.scale
    parts = torch._foreach_mul(struct.parts, (1.0 - lam) * struct.scale)
    torch._foreach_add_(parts, torch._foreach_mul(value.parts, sign * lam * value.scale))
    along = lam * value.length.square()
    squared = ((1.0 - lam) * struct.length).square() + lam * along + 2.0 * lam * (1.0 - lam) * cosine
    norm = squared.clamp_min(0).sqrt()
    return Mix(list(parts), cosine, norm, ((1.0 - lam) * cosine + along) / (norm + 1e-12))


def renormalised(parts: Gradient, eps: float) -> list[Tensor]:
    """Return parts / (‖parts‖ + eps)."""
    return list(torch._foreach_mul(parts, 1.0 / (global_norm(parts) + eps)))


def direction_at_cosine(reference: Unit, cosine: float, random: Gradient, eps: float) -> Unit:
    """Return a unit vector at a set cosine to ``reference``: c·ê + √(1-c²)·u (specs I-P, experiments I and L).

    Args:
        reference: the vector ê the cosine refers to.
        cosine: c, clamped to ±0.999 as published.
        random: standard normal draw, one tensor per parameter; u is its normalised part orthogonal to ê.
        eps: added to the norm before dividing.
    """
    cosine = max(-0.999, min(0.999, cosine))
    overlap = dot(random, reference.parts) * reference.scale
    orthogonal = torch._foreach_sub(random, torch._foreach_mul(reference.parts, overlap * reference.scale))
    across = (1.0 - cosine**2) ** 0.5 / (global_norm(orthogonal) + eps)
    parts = torch._foreach_mul(reference.parts, cosine * reference.scale)
    torch._foreach_add_(parts, torch._foreach_mul(orthogonal, across))
    one = torch.ones_like(reference.norm)
    return Unit(parts, one, one)
