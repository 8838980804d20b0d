"""The gradient arithmetic: global norms, the dual mix, and directions at a set cosine.

A gradient is a list of tensors, one per parameter in ``model.parameters()`` order, treated as one flat vector
(A-G.md#1.9, X-Y.md#1.5): norms and cosines run over all parameters together. Nothing is ever flattened.

Norms and cosines are numbers: 0-dim tensors on the gradient's device, so that nothing waits for a GPU, but Python
floats where the gradient is float64 on the CPU. There they are the same arithmetic at a twentieth of the cost, which
a small network's step notices.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

Gradient = list[Tensor] | tuple[Tensor, ...]
Number = Tensor | float


@dataclass(frozen=True)
class Unit:
    """A gradient with its norm: the unit vector is ``scale * parts``.

    Attributes:
        parts: raw gradient.
        norm: its global L2 norm.
        scale: 1 / (norm + eps).
    """

    parts: Gradient
    norm: Number
    scale: Number

    @property
    def length(self) -> Number:
        """Norm of the scaled vector: 1 but for eps, 0 for a zero gradient."""
        return self.norm * self.scale

    def times(self, factor: float) -> Gradient:
        """Return ``factor`` times the unit vector; asked of a cached gradient, the same product step after step."""
        if factor not in self._products:
            self._products.clear()
            self._products[factor] = torch._foreach_mul(self.parts, factor * self.scale)
        return self._products[factor]

    @cached_property
    def _products(self) -> dict[float, Gradient]:
        return {}

    @cached_property
    def vectors(self) -> list[Tensor]:
        """The parts, each as a vector."""
        return [part if part.dim() == 1 else part.reshape(-1) for part in self.parts]


def number(value: Tensor) -> Number:
    """Return a 0-dim tensor as the number that further arithmetic is done with (see the module's docstring)."""
    return value.item() if value.is_cpu and value.dtype is torch.float64 else value.detach()


def at_least(value: Number, low: float) -> Number:
    """Return the larger of the two; NaN stays NaN."""
    return max(value, low) if isinstance(value, float) else value.clamp_min(low)


def square_root(value: Number) -> Number:
    """Return torch's square root, which is not everywhere the correctly rounded one."""
    return (
        torch.tensor(value, dtype=torch.float64).sqrt().item() if isinstance(value, float) else value.sqrt()
    )


# Longest stretch that is added up in float32 on the CPU before the sums go on in float64. torch's kernels for norms
# and inner products there add one number after another: at 11 million numbers a norm is 4e-4 too small, at 100
# million 4e-3 (https://github.com/pytorch/pytorch/issues/68326). In stretches of this length it is right to 1e-6.
_NORM_STRETCH = 4096
_DOT_STRETCH = 16384


def _adds_up_plainly(parts: Gradient) -> bool:
    """Whether torch's own sums over these tensors lose digits (float32 on the CPU)."""
    return bool(parts) and parts[0].is_cpu and parts[0].dtype is torch.float32


def _stretch_norms(part: Tensor) -> list[Tensor]:
    """Return norms of consecutive stretches of a float32 tensor, each a vector."""
    flat = part.reshape(-1)
    whole = flat.numel() // _NORM_STRETCH * _NORM_STRETCH
    norms = []
    if whole:
        norms.append(torch.linalg.vector_norm(flat[:whole].view(-1, _NORM_STRETCH), dim=1))
    if whole < flat.numel() or not whole:
        norms.append(torch.linalg.vector_norm(flat[whole:]).reshape(1))
    return norms


def global_norm(parts: Gradient) -> Number:
    """Return the L2 norm over all tensors together, right to 1e-6 in float32 for 100 million numbers."""
    if _adds_up_plainly(parts):
        norms = torch.cat([norm for part in parts for norm in _stretch_norms(part)])
        return number(torch.linalg.vector_norm(norms, dtype=torch.float64).float())
    return number(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(parts))))


def dot(a: Gradient, b: Gradient) -> Number:
    """Return the inner product over all tensors together."""
    return _dot([x.reshape(-1) for x in a], [y.reshape(-1) for y in b])


def _dot(a: list[Tensor], b: list[Tensor]) -> Number:
    if _adds_up_plainly(a):
        pairs = zip(a, b, strict=True)
        dots = [d for x, y in pairs for d in map(torch.dot, x.split(_DOT_STRETCH), y.split(_DOT_STRETCH))]
        return number(torch.stack(dots).sum(dtype=torch.float64).float())
    return number(torch.stack(list(map(torch.dot, a, b))).sum())


def unit(parts: Gradient, eps: float) -> Unit:
    """Normalise a gradient: g / (‖g‖ + eps); with ``eps=0`` a zero gradient stays as it is (X-Y.md#1.5)."""
    norm = global_norm(parts)
    if eps:
        scale = 1.0 / (norm + eps)
    elif isinstance(norm, float):
        scale = 1.0 / norm if norm > 0 else 1.0
    else:
        scale = torch.where(norm > 0, 1.0 / norm, torch.ones_like(norm))
    return Unit(parts, norm, scale)


@dataclass(frozen=True)
class Mix:
    """A mixed gradient and what is logged about it.

    Attributes:
        parts: (1-λ)·ĝ_struct + λ·ĝ_value, the gradient given to the optimizer unless renormalised later.
        cosine: ĝ_struct · ĝ_value.
        norm: ‖parts‖.
        cosine_to_value: parts / ‖parts‖ · ĝ_value.
    """

    parts: list[Tensor]
    cosine: Number
    norm: Number
    cosine_to_value: Number


def mix(struct: Unit, value: Unit, lam: float, sign: float = 1.0) -> Mix:
    """Mix two unit gradients: (1-λ)·ĝ_struct + λ·sign·ĝ_value (docs/specification/A-G.md#1.9).

    The norm and the cosines follow from the two lengths and one inner product, so no further pass over the
    parameters is needed to log them.
    """
    cosine = sign * _dot(struct.vectors, value.vectors) * struct.scale * value.scale
    parts = torch._foreach_mul(struct.parts, (1.0 - lam) * struct.scale)
    torch._foreach_add_(parts, value.times(sign * lam))
    length, along = (1.0 - lam) * struct.length, value.length
    along = lam * (along * along)
    squared = length * length + lam * along + 2.0 * lam * (1.0 - lam) * cosine
    norm = square_root(at_least(squared, 0.0))
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
    across = 1.0 / (global_norm(orthogonal) + eps) * (1.0 - cosine**2) ** 0.5
    parts = torch._foreach_mul(reference.parts, cosine * reference.scale)
    torch._foreach_add_(parts, torch._foreach_mul(orthogonal, across))
    return Unit(parts, 1.0, 1.0)
