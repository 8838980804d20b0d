"""Single precision on the CPU: sums that torch's own kernels get wrong, and how far gradients are from double's."""

from __future__ import annotations

import copy
import math
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dualgrad.data.task import Task, load_task
from dualgrad.method import gradients
from dualgrad.method.flat import Layout
from dualgrad.method.gradients import combined, dot, norm, renormalised, unit
from dualgrad.models import batchnorm_modules, build_model

FIDELITY = Path(__file__).parents[1] / "docs" / "fidelity.md"


# Norms and inner products ----------------------------------------


@pytest.mark.parametrize("sizes", [(11_000_000,), (1,), (4096, 4097, 16384, 3), (3_000_001, 50_000)])
def test_sums_in_float32_are_right_to_one_in_a_million(sizes: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(n, generator=generator) * torch.rand(n, generator=generator) ** 8 for n in sizes]
    others = [x + 0.1 * torch.randn(len(x), generator=generator) for x in parts]
    exact = sum(float(x.double().square().sum()) for x in parts) ** 0.5
    product = sum(float(x.double().dot(y.double())) for x, y in zip(parts, others, strict=True))
    assert float(norm(torch.cat(parts))) == pytest.approx(exact, rel=1e-6)
    assert float(dot(torch.cat(parts), torch.cat(others))) == pytest.approx(product, rel=1e-6)


def test_sums_do_not_depend_on_the_layout_of_a_weight() -> None:
    weight = torch.randn(64, 32, 3, 3, generator=torch.Generator().manual_seed(1))
    strided = weight.to(memory_format=torch.channels_last)
    a, b = (Layout([like]).new() for like in (weight, strided))
    assert [part.stride() for part in a.parts + b.parts] == [weight.stride(), strided.stride()]
    for flat in (a, b):
        flat.fill([strided])
        assert torch.equal(flat.parts[0], weight)
        assert float(norm(flat.vector)) == pytest.approx(float(weight.double().norm()), rel=1e-6)


def test_a_gradient_of_nothing_but_zeros_has_norm_zero() -> None:
    zero = unit(torch.zeros(5003), eps=0.0)
    assert float(zero.norm) == 0.0 and float(zero.scale) == 1.0


def test_what_is_not_finite_stays_so() -> None:
    assert math.isnan(norm(torch.tensor([1.0, float("nan")] + [1.0] * 5000)))
    assert math.isinf(norm(torch.full((5009,), 1e38)))


# Half precision ----------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("n", [0, 1, 5000, 100_003])
@pytest.mark.parametrize("stretch", [32768, 1000])
def test_half_precision_is_computed_in_float32_a_stretch_at_a_time(
    dtype: torch.dtype, n: int, stretch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same as with whole copies in float32, which at no time there are."""
    draw = torch.Generator().manual_seed(0)
    a, b = (torch.randn(n, generator=draw).to(dtype) for _ in range(2))
    x, y = a.float(), b.float()
    expected = [combined(x, 0.3, y, 0.7), renormalised(x, 1e-12)]
    sums = [norm(x), dot(x, y)]

    longest, plain = [0], Tensor.float
    monkeypatch.setattr(Tensor, "float", lambda tensor: longest.append(tensor.numel()) or plain(tensor))
    monkeypatch.setattr(gradients, "_HALF_STRETCH", stretch)
    found = [combined(a, 0.3, b, 0.7), renormalised(a, 1e-12)]
    into = [b.clone(), a.clone()]
    combined(a, 0.3, into[0], 0.7, out=into[0])
    renormalised(into[1], 1e-12, out=into[1])
    assert [norm(a), dot(a, b)] == (
        sums if stretch == 32768 else pytest.approx(sums, rel=1e-6, abs=1e-6 * sums[0] ** 2)
    )
    for one, other, right in zip(found, into, expected, strict=True):
        assert torch.equal(one, other)
        if stretch == 32768:
            assert torch.equal(one, right.to(dtype))
        else:  # a norm may differ in its last digit, and so round to the next number
            torch.testing.assert_close(one, right.to(dtype), rtol=2 * torch.finfo(dtype).eps, atol=0.0)
    assert max(longest) <= stretch


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inner_products_of_more_numbers_than_one_kernel_takes(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = (torch.randn(5003, dtype=dtype, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    expected = dot(a, b)
    monkeypatch.setattr(gradients, "_adds_up_plainly", lambda vector: False)
    assert dot(a, b) == float(torch.dot(a, b))
    monkeypatch.setattr(gradients, "_LONGEST_DOT", 1000)
    calls, one = [], torch.dot
    monkeypatch.setattr(torch, "dot", lambda x, y: calls.append(len(x)) or one(x, y))
    assert dot(a, b) == pytest.approx(expected, rel=1e-12 if dtype is torch.float64 else 1e-5)
    assert calls == [1000] * 5 + [3]


# BatchNorm ----------------------------------------


def pictures(dtype: torch.dtype, number: int, size: int = 32) -> tuple[Tensor, Tensor]:
    """Augmented training pictures (number, 3, size, size) as a run gets them, and their labels."""
    data = {"kind": "image", "dataset": "cifar10", "classes": 10, "model": {"name": "simplecnn_p"}}
    data["normalize"] = {"mean": [0.5] * 3, "std": [0.25] * 3}
    data |= {"augment": {"crop_padding": 4, "flip": True}, "synthetic": {"train": 300, "test": 10}}
    task: Task = load_task(data, "cpu", dtype)
    index = torch.arange(number)
    (images,) = task.inputs(index, task.crops(len(index), torch.Generator().manual_seed(0)))
    return images[:, :, :size, :size], task.train_labels[index]


def test_batchnorm_of_a_large_batch_is_right_in_float32() -> None:
    """256 pictures: 262,144 numbers a channel, which channels_last would add up one after another."""
    found = {}
    for dtype in (torch.float32, torch.float64):
        norm = nn.BatchNorm2d(3).to(dtype)
        images, _ = pictures(dtype, 256)
        out = norm(images)
        probe = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
        gradients = torch.autograd.grad((out * probe).sum(), list(norm.parameters()))
        found[dtype] = [out.detach(), *gradients, norm.running_mean, norm.running_var]
    for single, double in zip(*found.values(), strict=True):
        assert torch.allclose(single.double(), double, rtol=1e-5, atol=1e-6 * float(double.abs().max()))


NETWORKS = [
    "resnet18_own",
    "resnet34_own",
    "resnet18_tv",
    "resnet34_tv",
    "vgg11_p",
    "vgg11_p2",
    "simplecnn_p",
    "simplecnn_p2",
    "textcnn",
    "distilbert",
]


def first_gradients(name: str) -> list[tuple[list[Tensor], list[Tensor]]]:
    """Gradients of a fresh network without dropout, and running statistics: in single, then in double precision."""
    text = name in ("textcnn", "distilbert")
    model = build_model({"name": name, "vocab_size": 2000, "pretrained": False}, 2 if text else 10, 0)
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    weights = copy.deepcopy(model.state_dict())
    found = []
    for dtype in (torch.float32, torch.float64):
        inputs: tuple[Tensor, ...]
        if text:
            ids = torch.randint(3, 2000, (4, 12), generator=torch.Generator().manual_seed(2))
            inputs, target = (ids,) if name == "textcnn" else (ids, ids > 0), torch.arange(4) % 2
        else:
            images, target = pictures(dtype, 4, 16 if name.startswith("resnet") else 32)
            inputs = (images,)
        model.to(dtype).load_state_dict(weights)
        gradient = torch.autograd.grad(F.cross_entropy(model(*inputs), target), list(model.parameters()))
        statistics = [s for norm in batchnorm_modules(model) for s in (norm.running_mean, norm.running_var)]
        found.append((list(gradient), [s.clone() for s in statistics if s is not None]))
    return found


def relative_error(found: list[Tensor], exact: list[Tensor]) -> float:
    off = sum(float((x.double() - y).square().sum()) for x, y in zip(found, exact, strict=True))
    return (off / sum(float(y.square().sum()) for y in exact)) ** 0.5


def stated(words: str) -> float:
    """A number that the document states."""
    found = re.search(words.replace("#", r"([0-9.e-]+)"), FIDELITY.read_text().replace("\n", " "))
    assert found, words
    return float(found[1])


@pytest.mark.parametrize("name", NETWORKS)
def test_first_gradient_in_float32_is_that_in_float64(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With kinks smoothed: a unit within rounding of zero takes the other side, which is no error of a sum."""
    monkeypatch.setattr(F, "relu", lambda x, inplace=False: F.softplus(x))
    monkeypatch.setattr(F, "max_pool2d", lambda x, size, stride=None, *_, **__: F.avg_pool2d(x, size, stride))
    (single, statistics), (double, exact) = first_gradients(name)
    assert relative_error(single, double) < stated("within # of the one in double precision")
    for found, right in zip(statistics, exact, strict=True):
        assert relative_error([found], [right]) < 1e-5


def test_first_gradient_of_a_network_with_kinks() -> None:
    (single, _), (double, _) = first_gradients("resnet18_own")
    assert relative_error(single, double) < stated("of a ResNet then differs by up to # percent") / 100
