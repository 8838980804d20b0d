"""Norms and inner products of long float32 gradients, which torch's own CPU kernels get wrong."""

from __future__ import annotations

import pytest
import torch

from dualgrad.training.gradients import dot, global_norm, unit


@pytest.mark.parametrize("sizes", [(11_000_000,), (1,), (4096, 4097, 16384, 3), (3_000_001, 50_000)])
def test_sums_in_float32_are_right_to_one_in_a_million(sizes: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(n, generator=generator) * torch.rand(n, generator=generator) ** 8 for n in sizes]
    others = [x + 0.1 * torch.randn(len(x), generator=generator) for x in parts]
    exact = sum(float(x.double().square().sum()) for x in parts) ** 0.5
    product = sum(float(x.double().dot(y.double())) for x, y in zip(parts, others, strict=True))
    assert float(global_norm(parts)) == pytest.approx(exact, rel=1e-6)
    assert float(dot(parts, others)) == pytest.approx(product, rel=1e-6)


def test_sums_do_not_depend_on_the_layout_of_a_weight() -> None:
    weight = torch.randn(64, 32, 3, 3, generator=torch.Generator().manual_seed(1))
    strided = weight.to(memory_format=torch.channels_last)
    assert float(global_norm([strided])) == pytest.approx(float(global_norm([weight])), rel=1e-6)
    assert float(dot([strided], [weight])) == pytest.approx(float(weight.double().square().sum()), rel=1e-6)


def test_a_gradient_of_nothing_but_zeros_has_norm_zero() -> None:
    zero = unit([torch.zeros(5000), torch.zeros(3)], eps=0.0)
    assert float(zero.norm) == 0.0 and float(zero.scale) == 1.0


def test_what_is_not_finite_stays_so() -> None:
    assert torch.isnan(global_norm([torch.tensor([1.0, float("nan")]), torch.ones(5000)]))
    assert torch.isinf(global_norm([torch.full((5000,), 1e38), torch.full((9,), 1e38)]))
