"""The gradient arithmetic: norms, the dual mix, and directions at a set cosine.

A gradient is one flat vector (see :mod:`dualgrad.method.flat`), in which all parameters follow each other in
``model.parameters()`` order (A-G.md#1.9, X-Y.md#1.5): norms and cosines run over all of them together.

Norms and cosines are numbers: 0-dim tensors on the gradient's device, so that nothing waits for a GPU, but Python
floats where the gradient is on the CPU. There they cost a twentieth, which a small network's step notices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Number = Tensor | float


@dataclass(frozen=True)
class Unit:
    """A gradient with its norm: the unit vector is ``scale * vector``.

    Attributes:
        vector: (n,) raw gradient.
        norm: its L2 norm.
        scale: 1 / (norm + eps).
    """

    vector: Tensor
    norm: Number
    scale: Number

    @property
    def length(self) -> Number:
        """Norm of the scaled vector: 1 but for eps, 0 for a zero gradient."""
        return self.norm * self.scale


def number(value: Tensor) -> Number:
    """Return a 0-dim tensor as the number that further arithmetic is done with (see the module's docstring)."""
    return value.item() if value.is_cpu else value.detach()


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
HALF = (torch.float16, torch.bfloat16)  # too few digits, or too small a range, for a sum of squares
_HALF_STRETCH = 2**24  # numbers in half precision that are copied into float32 at a time
_LONGEST_DOT = 2**30  # numbers; torch.dot refuses more than 2^31 - 1 on a GPU


def _adds_up_plainly(vector: Tensor) -> bool:
    """Whether torch's own sums over this vector lose digits (float32 on the CPU)."""
    return vector.is_cpu and vector.dtype is torch.float32


def norm(vector: Tensor) -> Number:
    """Return the L2 norm of a vector (n,), right to 1e-6 in float32 for 100 million numbers."""
    if vector.dtype in HALF:
        norms = [one for part in vector.split(_HALF_STRETCH) for one in _norms(part.float())]
    elif not _adds_up_plainly(vector) or len(vector) < _NORM_STRETCH:
        return number(torch.linalg.vector_norm(vector))
    else:
        norms = _norms(vector)
    if len(norms) == 1 and len(norms[0]) == 1:
        return number(norms[0].squeeze(0))
    return number(torch.linalg.vector_norm(torch.cat(norms), dtype=torch.float64).float())


def _norms(vector: Tensor) -> list[Tensor]:
    """Return the norms of all stretches of a float32 vector (n,), as vectors of one or several."""
    if not _adds_up_plainly(vector) or len(vector) < _NORM_STRETCH:
        return [torch.linalg.vector_norm(vector).reshape(1)]
    whole = len(vector) // _NORM_STRETCH * _NORM_STRETCH
    rows = vector[:whole].view(-1, _NORM_STRETCH)
    return [torch.linalg.vector_norm(vector[whole:]).reshape(1), torch.linalg.vector_norm(rows, dim=1)]


def dot(a: Tensor, b: Tensor) -> Number:
    """Return the inner product of two vectors (n,), right to 1e-6 of ‖a‖·‖b‖ in float32."""
    if a.dtype in HALF:
        pairs = zip(a.split(_HALF_STRETCH), b.split(_HALF_STRETCH), strict=True)
        dots = [one for x, y in pairs for one in _dots(x.float(), y.float())]
    else:
        dots = _dots(a, b)
    if len(dots) == 1:
        return number(dots[0])
    return number(torch.stack(dots).sum(dtype=torch.float64).to(dots[0].dtype))


def _dots(a: Tensor, b: Tensor) -> list[Tensor]:
    """Return the inner products of all stretches of two vectors (n,) in float32 or float64."""
    stretch = _DOT_STRETCH if _adds_up_plainly(a) else _LONGEST_DOT
    if len(a) <= stretch:
        return [torch.dot(a, b)]
    return list(map(torch.dot, a.split(stretch), b.split(stretch)))


def unit(vector: Tensor, eps: float) -> Unit:
    """Normalise a gradient: g / (‖g‖ + eps); with ``eps=0`` a zero gradient stays as it is (X-Y.md#1.5)."""
    length = norm(vector)
    if eps:
        scale = 1.0 / (length + eps)
    elif isinstance(length, float):
        scale = 1.0 / length if length > 0 else 1.0
    else:
        scale = torch.where(length > 0, 1.0 / length, torch.ones_like(length))
    return Unit(vector, length, scale)


@dataclass(frozen=True)
class Mix:
    """A mixed gradient and what is logged about it.

    Attributes:
        vector: (n,) (1-λ)·ĝ_struct + λ·ĝ_value, the gradient given to the optimizer unless renormalised later.
        cosine: ĝ_struct · ĝ_value.
        norm: ‖vector‖.
        cosine_to_value: vector / ‖vector‖ · ĝ_value.
    """

    vector: Tensor
    cosine: Number
    norm: Number
    cosine_to_value: Number


def combined(a: Tensor, alpha: Number, b: Tensor, beta: Number, out: Tensor | None = None) -> Tensor:
    """Return alpha·a + beta·b, in ``out`` or as a new vector; the factors are numbers or 0-dim tensors."""
    if a.dtype in HALF:
        return _in_single(lambda x, y: combined(x, alpha, y, beta), out, a, b)
    result = torch.mul(a, alpha, out=out)
    return result.add_(b, alpha=beta) if isinstance(beta, float) else result.addcmul_(b, beta)


def _in_single(operation: Callable[..., Tensor], out: Tensor | None, *vectors: Tensor) -> Tensor:
    """Return in half precision what is computed in float32, number by number and a stretch at a time.

    Where 1 / ‖g‖ is beyond float16, add_ refuses it as a number, and a kernel of the GPU rounds it to infinity.

    Args:
        operation: of as many float32 stretches as there are vectors; ``out`` may be one of these.
    """
    result = torch.empty_like(vectors[0]) if out is None else out
    for into, *parts in zip(*(each.split(_HALF_STRETCH) for each in (result, *vectors)), strict=True):
        into.copy_(operation(*(part.float() for part in parts)))
    return result


def mix_units(struct: Unit, value: Unit, lam: float, sign: float = 1.0, out: Tensor | None = None) -> Mix:
    """Mix two unit gradients: (1-λ)·ĝ_struct + λ·sign·ĝ_value (docs/specification/A-G.md#1.9).

    The norm and the cosines follow from the two lengths and one inner product, so no further pass over the
    parameters is needed to log them.
    """
    cosine = sign * dot(struct.vector, value.vector) * struct.scale * value.scale
    vector = combined(struct.vector, (1.0 - lam) * struct.scale, value.vector, sign * lam * value.scale, out)
    length, along = (1.0 - lam) * struct.length, value.length
    along = lam * (along * along)
    squared = length * length + lam * along + 2.0 * lam * (1.0 - lam) * cosine
    size = square_root(at_least(squared, 0.0))
    return Mix(vector, cosine, size, ((1.0 - lam) * cosine + along) / (size + 1e-12))


def as_mix(struct: Unit, value: Unit, vector: Tensor) -> Mix:
    """Return two gradients combined in some other way, with what is logged about it."""
    size = norm(vector)
    along = dot(vector, value.vector) * value.scale
    cosine = dot(struct.vector, value.vector) * struct.scale * value.scale
    return Mix(vector, cosine, size, along / (size + 1e-12))


def renormalised(vector: Tensor, eps: float, out: Tensor | None = None) -> Tensor:
    """Return vector / (‖vector‖ + eps), in ``out`` or as a new vector; with eps = 0 one of zeros stays as it is."""
    half = vector.dtype in HALF
    factor = 1.0 / at_least(norm(vector) + eps, torch.finfo(torch.float32 if half else vector.dtype).tiny)
    if half:
        return _in_single(lambda part: part * factor, out, vector)
    return torch.mul(vector, factor, out=out)


def direction_at_cosine(reference: Unit, cosine: float, random: Tensor, eps: float) -> Unit:
    """Return a unit vector at a set cosine to ``reference``: c·ê + √(1-c²)·u (specs I-P, experiments I and L).

    Args:
        reference: the vector ê the cosine refers to.
        cosine: c, clamped to ±0.999 as published.
        random: (n,) standard normal draw; u is its normalised part orthogonal to ê.
        eps: added to the norm before dividing.
    """
    cosine = max(-0.999, min(0.999, cosine))
    overlap = dot(random, reference.vector) * reference.scale
    orthogonal = combined(random, 1.0, reference.vector, -overlap * reference.scale)
    across = 1.0 / (norm(orthogonal) + eps) * (1.0 - cosine**2) ** 0.5
    return Unit(combined(reference.vector, cosine * reference.scale, orthogonal, across), 1.0, 1.0)
