"""The library against plain autograd, the trainer and TorchJD, and what it refuses."""

from __future__ import annotations

import ast
import copy
import math
import pickle
import re
import runpy
import subprocess
import sys
import tomllib
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from oracles.lab import MLP, Lab, run_of, stage, vectors
from torch import Tensor, nn

from dualgrad import DualGradient, mix
from dualgrad.census.run import Constant, read
from dualgrad.method import gradients
from dualgrad.training.session import Session, new_model

EXACT = {"rtol": 1e-12, "atol": 1e-14}


def network(*, norm: bool = True, dropout: float = 0.0, extra: bool = False) -> nn.Module:
    """A small network; ``extra``: with a layer that no loss uses."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)]
    if norm:
        layers.insert(1, nn.BatchNorm1d(8))
    if dropout:
        layers.insert(-1, nn.Dropout(dropout))
    net = nn.Sequential(*layers).double()
    if extra:
        net.register_module("unused", nn.Linear(2, 2).double())
        net.forward = lambda x: nn.Sequential(*list(net.children())[:-1])(x)  # type: ignore[method-assign]
    return net


def batches(count: int, size: int = 12) -> list[tuple[Tensor, Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(size, 6, generator=draw, dtype=torch.float64),
            torch.randint(0, 3, (size,), generator=draw),
            torch.randint(0, 3, (size,), generator=draw),
        )
        for _ in range(count)
    ]


def sgd(parameters) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-3)


def adamw(parameters) -> torch.optim.Optimizer:
    # A bias before a BatchNorm has a gradient of nothing but rounding, which Adam with its usual eps would blow up.
    return torch.optim.AdamW(parameters, lr=0.01, eps=1e-3)


Losses = Callable[[nn.Module, tuple[Tensor, Tensor, Tensor]], tuple[Tensor, Tensor]]


def one_pass(net: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    x, noisy, clean = batch
    logits = net(x)
    return F.cross_entropy(logits, noisy), F.cross_entropy(logits, clean)


def in_parts(count: int) -> Losses:
    """Means of the losses over as many equal parts of a batch, each with a forward pass of its own."""

    def losses(net: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        parts = zip(*(each.chunk(count) for each in batch), strict=True)
        struct, value = zip(*(one_pass(net, part) for part in parts), strict=True)
        return sum(struct) / count, sum(value) / count

    return losses


class Heads(nn.Module):
    """A body with a head for each loss: to either loss, the other's head has no gradient."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh())
        self.noisy, self.clean = nn.Linear(8, 3), nn.Linear(8, 3)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def two_heads(net: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    x, noisy, clean = batch
    features = net(x)
    return F.cross_entropy(net.noisy(features), noisy), F.cross_entropy(net.clean(features), clean)


def by_hand(
    model: nn.Module,
    optimizer,
    lam: Callable[[int], float],
    period: int,
    data,
    renormalize: bool = False,
    losses: Losses = one_pass,
) -> None:
    """The method as a user would write it: autograd, lists, norms over everything; None where nothing is known."""
    optimizers = optimizer if isinstance(optimizer, list) else [optimizer]
    groups = [group for one in optimizers for group in one.param_groups]
    held = list(dict.fromkeys(p for group in groups for p in group["params"] if p.requires_grad))
    cache = None

    def scaled(parts):
        size = torch.sqrt(sum((p**2).sum() for p in parts if p is not None)) + 1e-12
        return [None if p is None else p / size for p in parts]

    for t, batch in enumerate(data):
        struct_loss, value_loss = losses(model, batch)
        struct = scaled(torch.autograd.grad(struct_loss, held, retain_graph=True, allow_unused=True))
        if t % period == 0:
            cache = scaled(torch.autograd.grad(value_loss, held, allow_unused=True))
        mixed = []
        for s, v in zip(struct, cache, strict=True):
            zero = 0.0
            both = (1 - lam(t)) * (zero if s is None else s) + lam(t) * (zero if v is None else v)
            mixed.append(None if s is None and v is None else both)
        if renormalize:
            mixed = scaled(mixed)
        for parameter, gradient in zip(held, mixed, strict=True):
            parameter.grad = gradient
        for one in optimizers:
            one.step()


def assert_same(one: nn.Module, other: nn.Module) -> None:
    for (name, a), (_, b) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        torch.testing.assert_close(a, b, **EXACT, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize(
    "options",
    [{"norm": False}, {"norm": True}, {"dropout": 0.5}, {"extra": True}],
    ids=lambda o: next(iter(o)),
)
@pytest.mark.parametrize(("period", "renormalize"), [(1, False), (4, False), (3, True)])
@pytest.mark.parametrize("make", [sgd, adamw], ids=["sgd", "adamw"])
def test_steps_are_those_of_plain_autograd(options, period, renormalize, make) -> None:
    one, other = network(**options), network(**options)
    schedule = lambda t: 0.1 + 0.05 * t  # noqa: E731
    torch.manual_seed(5)
    by_hand(one, make(one.parameters()), schedule, period, batches(9), renormalize)
    torch.manual_seed(5)
    dual = DualGradient(other, make(other.parameters()), schedule, period=period, renormalize=renormalize)
    for x, noisy, clean in batches(9):
        logits = other(x)
        log = dual.step(F.cross_entropy(logits, noisy), F.cross_entropy(logits, clean))
    assert_same(one, other)
    assert dual.steps == 9 and log["lam"] == pytest.approx(0.5) and -1 <= log["cos"] <= 1
    if options.get("extra"):
        assert all(p.grad is None for p in other.unused.parameters())


def test_a_value_loss_with_a_forward_pass_of_its_own() -> None:
    """As for a trusted batch: dropout draws twice, BatchNorm moves twice, and on steps in between neither does."""
    one, other = network(dropout=0.5), network(dropout=0.5)
    first, trusted = batches(6), batches(12)[6:]

    def apart(net: nn.Module, both) -> tuple[Tensor, Tensor]:
        t, (x, noisy, _), (y, _, clean) = both
        loss = F.cross_entropy(net(x), noisy)
        return loss, F.cross_entropy(net(y), clean) if t % 3 == 0 else loss

    together = list(zip(range(6), first, trusted, strict=True))
    torch.manual_seed(5)
    by_hand(one, sgd(one.parameters()), lambda t: 0.3, 3, together, losses=apart)
    torch.manual_seed(5)
    dual = DualGradient(other, sgd(other.parameters()), 0.3, period=3)
    for (x, noisy, _), (y, _, clean) in zip(first, trusted, strict=True):
        dual.step(F.cross_entropy(other(x), noisy), lambda y=y, clean=clean: F.cross_entropy(other(y), clean))
    assert_same(one, other)


@pytest.mark.parametrize("period", [1, 3])
def test_parameters_that_one_of_the_losses_does_not_depend_on(period: int) -> None:
    one, other = Heads(), Heads()
    by_hand(one, adamw(one.parameters()), lambda t: 0.4, period, batches(7), losses=two_heads)
    dual = DualGradient(other, adamw(other.parameters()), 0.4, period=period)
    for batch in batches(7):
        dual.step(*two_heads(other, batch))
    assert_same(one, other)


def test_frozen_parameters_and_groups() -> None:
    one, other = network(), network()
    for net in (one, other):
        net[0].weight.requires_grad_(False)

    def groups(net):
        return torch.optim.SGD(
            [{"params": net[0].parameters(), "lr": 0.05}, {"params": list(net[1:].parameters())}], lr=0.2
        )

    before = other[0].weight.clone()
    by_hand(one, groups(one), lambda t: 0.3, 2, batches(6))
    dual = DualGradient(other, groups(other), 0.3, period=2)
    for x, noisy, clean in batches(6):
        # Called only where it is needed.
        logits = other(x)
        dual.step(F.cross_entropy(logits, noisy), F.cross_entropy(logits, clean) if dual.due else None)
    assert_same(one, other)
    assert torch.equal(before, other[0].weight)
    other[0].weight.requires_grad_(True)  # from now on with it, and a cache of the old length is of no use
    assert dual.steps % 2 == 0
    x, noisy, clean = batches(1)[0]
    assert dual.due
    dual.step(F.cross_entropy(other(x), noisy), lambda: F.cross_entropy(other(x), clean))
    assert not torch.equal(before, other[0].weight)


@pytest.mark.parametrize("shared", [False, True], ids=["each its own", "layers in both"])
def test_one_module_and_two_optimizers(shared: bool) -> None:
    def both(net: nn.Module) -> list[torch.optim.Optimizer]:
        return [sgd(net[:2].parameters()), adamw((net if shared else net[2:]).parameters())]

    one, other = network(), network()
    by_hand(one, both(one), lambda t: 0.4, 2, batches(5))
    dual = DualGradient(other, both(other), 0.4, period=2)
    for batch in batches(5):
        dual.step(*one_pass(other, batch))
    assert_same(one, other)


def test_two_networks_with_one_body_take_turns() -> None:
    """Each with an optimizer of its own, which holds the body too; in between gradients are cleared as ever."""
    results = []
    for library in (False, True):
        torch.manual_seed(0)
        body, *heads = network()[:3], nn.Linear(8, 3).double(), nn.Linear(8, 3).double()
        nets = [nn.Sequential(body, head) for head in heads]
        optimizers = [sgd(net.parameters()) for net in nets]
        duals = [DualGradient(*pair, 0.4) for pair in zip(nets, optimizers, strict=True)]
        for step, batch in enumerate(batches(6)):
            turn = step % 2
            if library:
                duals[turn].step(*one_pass(nets[turn], batch))
                optimizers[turn].zero_grad()
            else:
                by_hand(nets[turn], optimizers[turn], lambda t: 0.4, 1, [batch])
        results.append(nn.ModuleList(nets))
    assert_same(*results)


@pytest.mark.parametrize("norm", [False, True], ids=["plain", "BatchNorm"])
@pytest.mark.parametrize("scaler", [None, 1024.0], ids=["unscaled", "GradScaler"])
def test_gradients_of_a_batch_in_parts_are_summed_first(norm: bool, scaler: float | None) -> None:
    one, other = network(norm=norm), network(norm=norm)
    data = batches(5)
    by_hand(one, sgd(one.parameters()), lambda t: 0.4, 2, data, losses=in_parts(3))
    settings = {} if scaler is None else {"scaler": torch.amp.GradScaler("cpu", init_scale=scaler)}
    dual = DualGradient(other, sgd(other.parameters()), 0.4, period=2, **settings)
    for batch in data:
        parts = list(zip(*(each.chunk(3) for each in batch), strict=True))
        for part in parts:
            losses = (loss / 3 for loss in one_pass(other, part))
            (dual.step if part is parts[-1] else dual.accumulate)(*losses)
    assert_same(one, other)


def test_a_grad_scaler_changes_nothing_and_leaves_out_what_overflows() -> None:
    one, other = network(), network()
    by_hand(one, sgd(one.parameters()), lambda t: 0.4, 2, batches(6))
    scaler = torch.amp.GradScaler("cpu", init_scale=65536.0)
    scaled = DualGradient(other, sgd(other.parameters()), 0.4, period=2, scaler=scaler)
    for step, batch in enumerate(batches(6)):
        log = scaled.step(*one_pass(other, batch))
        assert 0.01 < float(log["norm_struct"]) < 10, step
    assert_same(one, other)

    before, scale = copy.deepcopy(other.state_dict()), scaler.get_scale()
    (batch,) = batches(1)
    struct, value = one_pass(other, batch)
    scaled.step(struct, value * float("inf"))
    weights = {name for name, _ in other.named_parameters()}
    assert all(
        torch.equal(value, before[name]) for name, value in other.state_dict().items() if name in weights
    )
    assert scaler.get_scale() == scale / 2
    # The value gradient that overflowed was not kept, though a new one would be due at step 8 only.
    assert scaled.due
    log = scaled.step(*one_pass(other, batch))
    assert math.isfinite(log["norm_mix"])
    assert not torch.equal(other.state_dict()["0.weight"], before["0.weight"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_scale_of_one_changes_no_bit(dtype: torch.dtype) -> None:
    nets = [network().to(dtype) for _ in range(2)]
    for net, scaler in zip(nets, (None, torch.amp.GradScaler("cpu", init_scale=1.0)), strict=True):
        dual = DualGradient(net, sgd(net.parameters()), 0.4, period=2, scaler=scaler)
        for x, *labels in batches(5):
            dual.step(*one_pass(net, (x.to(dtype), *labels)))
    for a, b in zip(*(net.parameters() for net in nets), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("which", ["struct", "value"])
@pytest.mark.parametrize("device", ["CPU", "GPU"])
def test_an_overflow_leaves_out_the_step_of_every_optimizer(
    which: str, fused: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One number is infinite, of a parameter that the other optimizer does not hold."""
    if device == "GPU":  # its norms are tensors
        monkeypatch.setattr(gradients, "number", Tensor.detach)
    net = Heads()
    optimizers = [
        torch.optim.SGD(part, lr=0.1, fused=fused)
        for part in ([*net.body.parameters(), *net.noisy.parameters()], net.clean.parameters())
    ]
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    dual = DualGradient(net, optimizers, 0.4, period=4, scaler=scaler)
    first, second, third = batches(3)
    dual.step(*two_heads(net, first))
    before = copy.deepcopy(list(net.parameters()))
    if which == "struct":
        dual.step(two_heads(net, second)[0] + net.noisy.bias[0] * float("inf"))
    else:
        dual.load_state_dict({"steps": 1, "cache": None, "unused": []})
        struct, value = two_heads(net, second)
        dual.step(struct, value + net.clean.bias[0] * float("inf"))
        assert dual.due
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    assert scaler.get_scale() == 32.0
    dual.step(*two_heads(net, third))
    moved = [not torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True)]
    assert moved[0] and moved[-4] and moved[-2]  # a bias before BatchNorm has no gradient


def test_an_optimizer_without_gradients_is_passed_over_by_the_scaler() -> None:
    one, other = network(), network()
    for net in (one, other):
        net[:2].requires_grad_(False)
    by_hand(one, sgd(one[2:].parameters()), lambda t: 0.4, 2, batches(3))
    optimizers = [sgd(other[:2].parameters()), sgd(other[2:].parameters())]
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    dual = DualGradient(other, optimizers, 0.4, period=2, scaler=scaler)
    for batch in batches(3):
        dual.step(*one_pass(other, batch))
    assert_same(one, other)
    other.requires_grad_(True)
    before = other[0].weight.clone()
    dual.step(*one_pass(other, batches(1)[0]))
    assert not torch.equal(before, other[0].weight)


def test_with_a_scaler_no_parameter_has_two_optimizers() -> None:
    """What is frozen has no gradient, and a scaler that is switched off divides nothing."""
    net = network()
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    optimizers = [sgd(net.parameters()), adamw(net[:2].parameters())]
    with pytest.raises(ValueError, match="a parameter is held twice by the optimizers, and GradScaler"):
        DualGradient(net, optimizers, 0.4, scaler=scaler)
    DualGradient(net, optimizers, 0.4, scaler=torch.amp.GradScaler("cpu", enabled=False))
    net[:2].requires_grad_(False)
    dual = DualGradient(net, optimizers, 0.4, scaler=scaler)
    dual.step(*one_pass(net, batches(1)[0]))
    net[:2].requires_grad_(True)
    for _ in range(2):
        with pytest.raises(ValueError, match="a parameter is held twice by the optimizers"):
            dual.step(*one_pass(net, batches(1)[0]))


RANKS = """
import sys, pytest, torch, torch.distributed as dist
from dualgrad import DualGradient
sys.path.insert(0, sys.argv[3])
from test_library import batches, network, one_pass, sgd
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)
# As it is, and inside of something else, as torch.compile and frameworks wrap it.
for name, wrap in {"alone": lambda net: net, "wrapped": torch.nn.Sequential}.items():
    ranks = torch.nn.parallel.DistributedDataParallel(network())
    net = wrap(ranks)
    optimizer = sgd(net.parameters())
    dual = DualGradient(net, optimizer, 0.4, period=2)
    mine = [[each.chunk(2)[rank] for each in batch] for batch in batches(10)]
    for batch in mine[:6]:
        dual.step(*one_pass(net, batch))
    torch.save(ranks.module.state_dict(), sys.argv[2] + f".{name}.{rank}.pt")
    dual.release()
    for batch in mine[6:8]:  # gradients of the last step are none of plain training's
        one_pass(net, batch)[0].backward()
        optimizer.step()
        optimizer.zero_grad()
    with dual:
        for batch in mine[8:]:
            dual.step(*one_pass(net, batch))
    torch.save(ranks.module.state_dict(), sys.argv[2] + f".{name} and back.{rank}.pt")
    with pytest.raises(RuntimeError, match="averages by itself, since release"):
        dual.step(*one_pass(net.eval(), mine[0]))
net = network()
with pytest.warns(UserWarning, match="each of the 2 ranks trains by itself"):
    DualGradient(net, sgd(net.parameters()), 0.4)
fixed = torch.nn.parallel.DistributedDataParallel(network(), static_graph=True)
with pytest.raises(TypeError, match="static_graph=True"):
    DualGradient(fixed, sgd(fixed.parameters()), 0.4)
dist.destroy_process_group()
"""


def test_two_ranks_train_as_one_process_over_both_halves(tmp_path: Path) -> None:
    store = tmp_path / "store"
    words = [sys.executable, "-c", RANKS]
    ranks = [subprocess.Popen([*words, str(r), str(store), str(Path(__file__).parent)]) for r in (0, 1)]
    assert [rank.wait(240) for rank in ranks] == [0, 0]
    one, both, data = network(), in_parts(2), batches(10)
    optimizer = sgd(one.parameters())

    def assert_found(where: str) -> None:
        for file in (f"{store}.{name}{where}.{rank}.pt" for name in ("alone", "wrapped") for rank in (0, 1)):
            found = torch.load(file, weights_only=True)
            for name, parameter in one.named_parameters():  # running statistics are each rank's own
                torch.testing.assert_close(found[name], parameter.detach(), **EXACT)

    by_hand(one, optimizer, lambda t: 0.4, 2, data[:6], losses=both)
    assert_found("")
    for batch in data[6:8]:
        optimizer.zero_grad()
        both(one, batch)[0].backward()
        optimizer.step()
    by_hand(one, optimizer, lambda t: 0.4, 2, data[8:], losses=both)
    assert_found(" and back")


def test_state_is_saved_and_restored(tmp_path: Path) -> None:
    data = batches(7)
    nets, duals = [], []
    for _ in range(2):
        net = network()
        optimizer = sgd(net.parameters())
        nets.append((net, optimizer))
        duals.append(DualGradient(net, optimizer, 0.4, period=4))

    def go(which: int, part) -> None:
        for x, noisy, clean in part:
            logits = nets[which][0](x)
            duals[which].step(F.cross_entropy(logits, noisy), F.cross_entropy(logits, clean))

    go(0, data[:2])
    state = {"model": nets[0][0], "optimizer": nets[0][1], "dual": duals[0]}
    torch.save({name: each.state_dict() for name, each in state.items()}, tmp_path / "state.pt")
    go(0, data[2:])
    loaded = torch.load(tmp_path / "state.pt", weights_only=True)
    nets[1][0].load_state_dict(loaded["model"])
    nets[1][1].load_state_dict(loaded["optimizer"])
    duals[1].load_state_dict(loaded["dual"])
    go(1, data[2:])
    for a, b in zip(nets[0][0].state_dict().values(), nets[1][0].state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert all(part.is_contiguous() for part in loaded["dual"]["cache"]["parts"])
    smaller = nn.Linear(6, 3).double()
    with pytest.raises(ValueError, match="is one of 6 parameters, this model trains 2"):
        trained(smaller).load_state_dict(loaded["dual"])
    turned = network()
    turned[0] = nn.Linear(8, 6).double()  # as many numbers in other shapes
    turned[0].bias = nn.Parameter(torch.zeros(8).double())
    with pytest.raises(
        ValueError, match=r"has the shape \(8, 6\) for parameter 1 of 6, which has \(6, 8\) here"
    ):
        trained(turned).load_state_dict(loaded["dual"])


def convolution() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 3)).double()


@pytest.mark.parametrize("formats", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_state_fits_any_memory_format(formats: tuple[int, int], dtype: torch.dtype) -> None:
    """The gradient that is kept from the first step, beside weights of an own layout in memory."""
    kinds = [[torch.contiguous_format, torch.channels_last][each] for each in formats]
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    batch = x, torch.tensor([0, 1, 2, 0]), torch.tensor([0, 1, 1, 2])
    one = convolution().to(memory_format=kinds[0])
    first = DualGradient(one, torch.optim.SGD(one.parameters(), lr=0.1), 0.4, period=4)
    first.step(*one_pass(one, batch))
    state = first.state_dict()
    other = copy.deepcopy(one).to(dtype, memory_format=kinds[1])
    second = DualGradient(other, torch.optim.SGD(other.parameters(), lr=0.1), 0.4, period=4)
    second.load_state_dict(state)
    first.step(*one_pass(one, batch))
    second.step(*one_pass(other, (x.to(dtype), *batch[1:])))
    if dtype is torch.float64:
        assert_same(one, other)
    else:
        torch.testing.assert_close(other[0].weight, one[0].weight.float(), rtol=1e-4, atol=1e-5)


def test_a_state_of_the_first_form_goes_on_as_it_did() -> None:
    """One vector in memory order and no format number; its length alone can be looked at."""
    net = network()
    dual = trained(net, period=4)
    dual.step(*one_pass(net, batches(1)[0]))
    again = copy.deepcopy(net)
    state = dual.state_dict()
    cache = state["cache"]
    vector = torch.cat([part.flatten() for part in cache["parts"]])
    old = {
        "steps": 1,
        "cache": {"vector": vector, "norm": cache["norm"], "scale": cache["scale"]},
        "unused": [],
    }
    # The momentum of both begins anew.
    resumed = [trained(net, period=4), trained(again, period=4)]
    for one, saved in zip(resumed, (state, old), strict=True):
        one.load_state_dict(saved)
        assert not one.due
    net.zero_grad()
    for one, each in zip(resumed, (net, again), strict=True):
        one.step(one_pass(each, batches(2)[1])[0])
    assert_same(net, again)
    with pytest.raises(ValueError, match="has 99 numbers, this model trains 21"):
        trained(nn.Linear(6, 3).double()).load_state_dict(old)


def test_half_a_batch_has_no_state() -> None:
    net = network()
    dual = trained(net)
    dual.accumulate(*one_pass(net, batches(1)[0]))
    with pytest.raises(RuntimeError, match="cannot hold the parts of a batch"):
        dual.state_dict()
    dual.release()
    assert dual.state_dict()["cache"] is None and dual.due
    one = network()
    one.load_state_dict(net.state_dict())
    by_hand(one, sgd(one.parameters()), lambda t: 0.3, 1, batches(2)[1:])
    dual.step(*one_pass(net, batches(2)[1]))
    assert_same(one, net)


def test_due_and_state_follow_what_is_frozen_between_steps() -> None:
    """The cache of other parameters is worth nothing: a new one is due, and a state without it can be restored."""
    data, net = batches(5), network()
    dual = DualGradient(net, sgd(net.parameters()), 0.3, period=4)

    def go(batch) -> None:
        logits = net(batch[0])
        value = F.cross_entropy(logits, batch[2]) if dual.due else None
        dual.step(F.cross_entropy(logits, batch[1]), value)

    go(data[0])
    assert not dual.due
    net[0].requires_grad_(False)
    assert dual.due
    go(data[1])
    state = dual.state_dict()
    resumed = DualGradient(net.requires_grad_(True), sgd(net.parameters()), 0.3, period=4)
    net[0].requires_grad_(False)
    resumed.load_state_dict(state)
    assert resumed.steps == 2 and not resumed.due
    net[0].requires_grad_(True)
    assert dual.due and dual.state_dict()["cache"] is None  # of what was trained before


def test_a_part_that_is_exchanged_for_one_of_equal_size_is_trained() -> None:
    net = network()
    optimizer = sgd(net.parameters())
    dual = DualGradient(net, optimizer, 0.3)
    first, second = batches(2)
    dual.step(*one_pass(net, first))
    last = len(net) - 1
    net[last] = copy.deepcopy(net[last])
    optimizer.param_groups[0]["params"] = list(net.parameters())
    before = net[last].weight.clone()
    dual.step(*one_pass(net, second))
    assert not torch.equal(before, net[last].weight)


def test_zeros_stay_zeros_without_eps() -> None:
    from dualgrad.method.gradients import renormalised

    assert renormalised(torch.zeros(3), 0.0).tolist() == [0.0, 0.0, 0.0]


def test_what_is_trained_may_change_between_steps() -> None:
    """Parameters that the optimizer is given later are trained, and weights may be cast."""
    one, other = network(), network()
    optimizers = [torch.optim.SGD(net[:2].parameters(), lr=0.1) for net in (one, other)]
    dual = DualGradient(other, optimizers[1], 0.4)
    for part in (batches(4)[:2], batches(4)[2:]):
        by_hand(one, optimizers[0], lambda t: 0.4, 1, part)
        for batch in part:
            dual.step(*one_pass(other, batch))
        assert_same(one, other)
        for net, optimizer in zip((one, other), optimizers, strict=True):
            if len(optimizer.param_groups) == 1:
                optimizer.add_param_group({"params": list(net[2:].parameters()), "lr": 0.05})
    state = dual.state_dict()
    dual.load_state_dict(state)
    other.float()
    x, *labels = batches(1)[0]
    dual.step(*one_pass(other, (x.float(), *labels)))
    assert other[0].weight.grad.dtype is torch.float32
    other.zero_grad()
    single = DualGradient(other, sgd(other.parameters()), 0.4, period=3)
    single.load_state_dict({**state, "steps": 1})  # a state of double precision
    single.step(one_pass(other, (x.float(), *labels))[0])


def test_a_state_keeps_the_norm_as_it_is() -> None:
    """On a GPU the norm of a half-precision gradient is a float32 tensor; 1 / a small one is beyond float16."""
    net = linear().half()
    dual = trained(net, period=2)
    for kind in (torch.float16, torch.float64):
        for held in (
            {"vector": torch.ones(6, dtype=kind)},
            {"parts": [torch.ones(2, 2, dtype=kind), torch.ones(2, dtype=kind)]},
        ):
            cache = {**held, "norm": torch.tensor(1e-6), "scale": torch.tensor(1e6)}
            dual.load_state_dict({"steps": 1, "cache": cache, "unused": []})
            found = dual.state_dict()["cache"]
            assert (float(found["norm"]), float(found["scale"])) == pytest.approx((1e-6, 1e6))
            assert [part.dtype for part in found["parts"]] == [torch.float16] * 2


def test_half_a_batch_is_not_added_to_the_next_one() -> None:
    """A loss that fails, for want of memory or by Ctrl-C, takes the parts before it along."""
    one, other = network(norm=False), network(norm=False)
    first, second = batches(2)
    by_hand(one, sgd(one.parameters()), lambda t: 0.4, 1, [second])
    dual = DualGradient(other, sgd(other.parameters()), 0.4)

    def interrupted() -> Tensor:
        raise KeyboardInterrupt

    dual.accumulate(*one_pass(other, first))
    other[0].bias.requires_grad_(False)
    with pytest.raises(RuntimeError, match="other parameters are trained than in the parts"):
        dual.step(*one_pass(other, first))
    other[0].bias.requires_grad_(True)
    for last in (dual.step, dual.accumulate):
        dual.accumulate(*one_pass(other, first))
        with pytest.raises(KeyboardInterrupt):
            last(one_pass(other, first)[0], interrupted)
    dual.step(*one_pass(other, second))
    assert_same(one, other)


def test_the_last_mix_takes_no_memory_while_the_next_one_is_computed() -> None:
    net = network()
    dual = DualGradient(net, sgd(net.parameters()), 0.4)
    dual.step(*one_pass(net, batches(1)[0]))
    last = weakref.ref(net[0].weight.grad._base)
    assert last() is not None
    struct, value = one_pass(net, batches(1)[0])

    def looked_at() -> Tensor:
        assert last() is None and net[0].weight.grad is None
        return value

    struct_alone, _ = one_pass(net, batches(1)[0])
    dual.step(struct_alone, looked_at)
    assert net[0].weight.grad is not None and struct.requires_grad


@pytest.mark.parametrize("begun", [False, True], ids=["between two batches", "within one"])
def test_copies_go_on_as_the_original_does(begun: bool) -> None:
    """With the value gradient that is kept from the first step, and with the parts of a batch that is begun."""
    net = network(norm=False)
    dual = DualGradient(net, sgd(net.parameters()), 0.4, period=4)
    dual.step(*one_pass(net, batches(1)[0]))
    if begun:
        dual.accumulate(*one_pass(net, batches(1)[0]))
    pairs = [copy.deepcopy((net, dual)), pickle.loads(pickle.dumps((net, dual))), (net, dual)]
    for own, each in pairs:
        assert not each.due
        for batch in batches(6)[1:]:
            each.step(*one_pass(own, batch))
    assert_same(pairs[0][0], net)
    assert_same(pairs[1][0], net)


@pytest.mark.parametrize("amp", [False, True], ids=["float64", "autocast"])
def test_a_compiled_network_takes_the_same_steps(amp: bool) -> None:
    """By torch's tracing compiler, whose graphs two losses can go back through."""
    nets = []
    for compiled in (False, True):
        net = network().float() if amp else network()
        dual = DualGradient(net, sgd(net.parameters()), 0.4, period=2)
        go = torch.compile(net, backend="aot_eager") if compiled else net
        for x, *labels in batches(3):
            with torch.autocast("cpu", torch.bfloat16, enabled=amp):
                losses = one_pass(go, (x.float() if amp else x, *labels))
            dual.step(*losses)
        nets.append(net)
    for a, b in zip(*(net.parameters() for net in nets), strict=True):
        torch.testing.assert_close(a, b, **({"rtol": 1e-2, "atol": 1e-3} if amp else EXACT))


def test_channels_last_weights_keep_their_strides() -> None:
    one = convolution()
    other = copy.deepcopy(one).to(memory_format=torch.channels_last)
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    noisy, clean = torch.tensor([0, 1, 2, 0]), torch.tensor([0, 1, 1, 2])
    for net in (one, other):
        dual = DualGradient(net, torch.optim.SGD(net.parameters(), lr=0.1, fused=True), 0.4)
        for _ in range(3):
            logits = net(x)
            dual.step(F.cross_entropy(logits, noisy), F.cross_entropy(logits, clean))
    assert other[0].weight.grad.stride() == other[0].weight.stride() != one[0].weight.stride()
    assert_same(one, other)


def test_the_mix_by_itself() -> None:
    draw = torch.Generator().manual_seed(2)
    a, b = (torch.randn(5, 3, generator=draw, dtype=torch.float64) for _ in range(2))
    expected = 0.7 * a / a.norm() + 0.3 * b / b.norm()
    torch.testing.assert_close(mix(a, b, 0.3), expected, **EXACT)
    parts = mix([a[:2], a[2:]], [b[:2], b[2:]], 0.3)
    torch.testing.assert_close(torch.cat(parts), expected, **EXACT)
    assert not mix(a.clone().requires_grad_(), b, 0.3).requires_grad
    assert torch.equal(mix(a, b, np.float32(0.25)), mix(a, b, 0.25))
    zero = torch.zeros(4)
    assert torch.equal(mix(zero, torch.ones(4), 0.0, eps=0.0), zero)


def linear() -> nn.Module:
    return nn.Linear(2, 2)


class Sparse(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(4, 2, sparse=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.table(x)


def one_step(net: nn.Module, x: Tensor, value: Callable[[Tensor], object] = lambda loss: loss) -> None:
    loss = net(x).sum()
    DualGradient(net, torch.optim.SGD(net.parameters(), lr=0.1), 0.3).step(loss, value(loss))


def with_gradients() -> None:
    net = linear()
    net(torch.ones(1, 2)).sum().backward()
    one_step(net, torch.ones(1, 2))


def two_kinds() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double())
    DualGradient(net, sgd(net.parameters()), 0.3)


def checkpointed() -> None:
    """Nothing before the part takes a gradient, so torch does not notice."""
    net = network()
    x, labels, _ = batches(1)[0]
    kept = torch.utils.checkpoint.checkpoint(net[:3], x.requires_grad_(), use_reentrant=True)
    loss = F.cross_entropy(net[3](kept), labels)
    DualGradient(net, sgd(net.parameters()), 0.3).step(loss, loss)


def second_pass_missing() -> None:
    net = linear()
    dual = DualGradient(net, sgd(net.parameters()), 0.3)
    logits = net(torch.ones(1, 2))
    dual.step(logits.sum(), lambda: logits.square().sum())


def trained(net: nn.Module | None = None, lam: object = 0.3, **settings: object) -> DualGradient:
    net = net or linear()
    return DualGradient(net, sgd(net.parameters()), lam, **settings)


def replaced() -> None:
    net = linear()
    dual = trained(net)
    net.load_state_dict(linear().state_dict(), assign=True)  # other parameters than the optimizer's
    loss = net(torch.ones(1, 2)).sum()
    dual.step(loss, loss)


REFUSED = {
    "a torch.nn.Module is expected, found list": lambda: DualGradient([], [], 0.3),
    "a torch optimizer is expected, found StepLR": lambda: DualGradient(
        linear(), torch.optim.lr_scheduler.StepLR(sgd(linear().parameters()), 1), 0.3
    ),
    "a torch.amp.GradScaler is expected, found bool": lambda: trained(scaler=True),
    "eps: a number from 0 up is expected, found -1.0": lambda: trained(eps=-1.0),
    "eps: a number from 0 up is expected, found nan": lambda: mix(
        torch.ones(2), torch.ones(2), 0.3, eps=float("nan")
    ),
    "lam: a number from 0 to 1 is expected, found None": lambda: trained(lam=lambda step: None).step(
        torch.ones(())
    ),
    "lazy layers have no parameters yet": lambda: trained(nn.LazyLinear(2)),
    "real numbers of a floating dtype are expected, found torch.complex64": lambda: trained(
        nn.Linear(2, 2, dtype=torch.complex64)
    ),
    "depends on no parameter that is trained": lambda: trained().step(torch.ones(()), torch.ones(())),
    "or the model replaced since": replaced,
    "call it with use_reentrant=False": checkpointed,
    "a state of DualGradient is expected; this one lacks cache, steps": lambda: trained().load_state_dict(
        {"unused": []}
    ),
    "a state of DualGradient in the format 2 is expected, found 3": lambda: trained().load_state_dict(
        {"format": 3, "steps": 0, "cache": None, "unused": []}
    ),
    "gradients are expected as tensors, found NoneType: put zeros in its place": lambda: mix(
        [None], [None], 0.3
    ),
    "two gradients of one dtype on one device are expected": lambda: mix(
        torch.ones(2), torch.ones(2).double(), 0.3
    ),
    "lam: a number from 0 to 1 is expected, found 1.5": lambda: DualGradient(
        linear(), sgd(linear().parameters()), 1.5
    ),
    "lam: a number from 0 to 1 is expected, found True": lambda: mix(torch.ones(2), torch.ones(2), True),
    "found nan": lambda: mix(torch.ones(2), torch.ones(2), float("nan")),
    "period: a number of steps": lambda: DualGradient(linear(), [], 0.3, period=0),
    "a torch optimizer is expected, found str": lambda: DualGradient(linear(), ["sgd"], 0.3),
    "holds 2 parameter.s. that are none of the model's: give all modules": lambda: DualGradient(
        linear(), sgd(linear().parameters()), 0.3
    ),
    "found nothing to train": lambda: DualGradient(linear(), [], 0.3),
    "of one dtype on one device": two_kinds,
    "LBFGS evaluates its losses itself": lambda: (
        lambda net: DualGradient(net, torch.optim.LBFGS(net.parameters()), 0.3)
    )(linear()),
    r"two gradients of the same shapes are expected, found \[\(2,\)\] and \[\(3,\)\]": lambda: mix(
        torch.ones(2), torch.ones(3), 0.3
    ),
    "sparse gradients are not supported": lambda: one_step(Sparse(), torch.tensor([1, 2])),
    "a scalar loss is expected, found a tensor of shape .2,": lambda: one_step(
        linear(), torch.ones(1, 2), lambda loss: loss.expand(2)
    ),
    "a value loss is expected": lambda: one_step(linear(), torch.ones(1, 2), lambda loss: None),
    "leave out backward": with_gradients,
    "a value loss given as a function needs a pass of its own": second_pass_missing,
    "sparse gradients are not supported: build": lambda: mix(torch.eye(2).to_sparse(), torch.eye(2), 0.3),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_trained_so_is_refused_in_a_sentence(message: str) -> None:
    with pytest.raises((TypeError, ValueError, RuntimeError), match=message) as found:
        REFUSED[message]()
    assert "\n" not in str(found.value)


def test_a_compiled_network_that_gave_its_buffers_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's own message (of inductor, which no test can wait for) becomes one that says what to do."""

    def grad(*_: object, **settings: object) -> None:
        assert settings["retain_graph"] is True
        raise RuntimeError(
            "This backward function was compiled with non-empty donated buffers which requires "
            "create_graph=False and retain_graph=False."
        )

    net = linear()
    dual = DualGradient(net, sgd(net.parameters()), 0.3)
    loss = net(torch.ones(1, 2)).sum()
    monkeypatch.setattr(torch.autograd, "grad", grad)
    with pytest.raises(
        RuntimeError, match="give the value loss as a function with a forward pass of its own"
    ):
        dual.step(loss, loss)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    return Lab(tmp_path, monkeypatch)


def test_the_trainer_takes_the_same_steps(lab) -> None:
    """A session of the census's trainer, and a plain loop with the library.

    Gradients and mix are equal to the last bit; torch's fused optimizers round a tensor's last numbers otherwise when
    it stands in a longer vector, so the weights are not.
    """
    task = lab.add(vectors())
    run = run_of(task, MLP, [stage(segments=[(0.3, 2)])], value={"period": 3})
    spec = read(run)
    bench = lab.session(run)
    model, mine = (new_model(spec, task, run["seed"], torch.float64) for _ in range(2))
    labels = lab.labels(run)
    session = Session(spec, model, labels, bench.streams, 0.1, Constant(kind="constant"), 8)
    optimizer = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[run["optimizer"]["name"]]
    settings = {k: v for k, v in run["optimizer"].items() if k not in ("name", "lr")}
    dual = DualGradient(mine, optimizer(mine.parameters(), lr=0.1, fused=True, **settings), 0.3, period=3)
    for index in bench.order.epoch(0, 8):
        log = session.step(index, task.inputs(index), 0.3)
        logits = mine(*task.inputs(index))
        own = dual.step(
            F.cross_entropy(logits, labels.noisy[index]), F.cross_entropy(logits, labels.value[index])
        )
        names = ("cos", "norm_struct", "norm_value", "norm_mix")
        expected = [log[name] for name in names]
        assert [own[name] for name in names] == (
            expected if dual.steps == 1 else pytest.approx(expected, rel=1e-11)
        )
    for a, b in zip(model.parameters(), mine.parameters(), strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def test_torchjd_gives_the_same_gradient() -> None:
    from torchjd.aggregation import GramianWeightedAggregator
    from torchjd.autojac import backward, jac_to_grad

    from dualgrad.torchjd import NormalizedMix

    net = network()
    x, noisy, clean = batches(1)[0]
    logits = net(x)
    losses = [F.cross_entropy(logits, noisy), F.cross_entropy(logits, clean)]
    params = list(net.parameters())
    grads = [torch.autograd.grad(loss, params, retain_graph=True) for loss in losses]
    backward(losses)
    jac_to_grad(params, GramianWeightedAggregator(NormalizedMix(0.35)))
    for parameter, expected in zip(params, mix(*grads, 0.35), strict=True):
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-11, atol=1e-14)
    with pytest.raises(ValueError, match="two losses are expected"):
        NormalizedMix(0.3)(torch.eye(3))


@pytest.mark.parametrize("eps", [0.0, 1e-12])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_weights_for_torchjd_in_every_precision(dtype: torch.dtype, eps: float) -> None:
    pytest.importorskip("torchjd")
    from torchjd.aggregation import GramianWeightedAggregator

    from dualgrad.torchjd import NormalizedMix

    weighting = NormalizedMix(0.25, eps)
    combine = GramianWeightedAggregator(weighting)
    zeros, value = torch.zeros(3, dtype=dtype), torch.tensor([0.0, 3.0, 4.0], dtype=dtype)
    mixed = combine(torch.stack((zeros, value)))
    assert mixed.dtype is dtype
    torch.testing.assert_close(mixed.double(), torch.tensor([0.0, 0.15, 0.2]).double(), rtol=1e-2, atol=1e-6)
    assert combine(torch.stack((zeros, zeros))).tolist() == [0.0] * 3
    # A Gramian that overflowed has no norms left; a weight of 0 would leave that gradient out in silence.
    assert weighting(torch.tensor([[float("inf"), 0.0], [0.0, 4.0]], dtype=dtype)).isnan().any()
    gramian = torch.tensor([[3.0, 1.0], [1.0, 5.0]], dtype=dtype)
    if dtype in (torch.float32, torch.float64):  # bit for bit
        plain = gramian.new_tensor([0.75, 0.25]) / (torch.diagonal(gramian).sqrt() + eps)
        assert torch.equal(weighting(gramian), plain)


ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_examples_run(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if file.stem == "with_accelerate":
        pytest.importorskip("accelerate")  # which is not pinned
    runpy.run_path(str(file), run_name="__main__")
    assert capsys.readouterr().out


# Nothing that the workflow brings can be imported: what `pip install dualgrad` gives, torch and numpy, is left.
LIBRARY_ALONE = """
import sys

class Without:  # a finder that finds no absent package; raising would be seen by those who ask what there is
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {absent!r}:
            return self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = map(Without, sys.meta_path)
"""


def library_alone(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process that has torch and numpy, and of the declared packages no other."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    declared = {re.match(r"[\w-]+", one)[0].replace("-", "_") for one in sum(extras.values(), [])}
    names = {"pyyaml": "yaml", "scikit_learn": "sklearn", "pillow": "PIL"}
    absent = sorted({names.get(one, one) for one in declared} | {"accelerate", "tokenizers"})
    words = [sys.executable, "-c", LIBRARY_ALONE.format(absent=absent) + code]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)


def test_examples_run_with_torch_and_numpy_alone() -> None:
    """And importing the package imports no torch; the first use of the library does."""
    files = [str(file) for file in EXAMPLES if not file.stem.startswith("with_")]
    assert len(files) >= 3
    code = f"""
import re, runpy, sys
import dualgrad
assert "torch" not in sys.modules
dualgrad.mix
assert "torch" in sys.modules
for file in {files!r}:
    runpy.run_path(file, run_name="__main__")
(code,) = re.findall("```python\\n(import torch\\n.*?)```", open("README.md").read(), re.DOTALL)
exec(code, {{}})
"""
    done = library_alone(code)
    assert done.returncode == 0, done.stderr
    assert "cosine of the two gradients" in done.stdout


def test_the_command_says_what_it_needs_beside_the_library() -> None:
    done = library_alone(
        "import sys; sys.argv = ['dualgrad', 'census']\nfrom dualgrad.entry import command; command()"
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert 'pip install ".[workflow]"' in done.stderr and "click is not installed" in done.stderr
    done = library_alone(
        "import sys; sys.argv = ['dualgrad', '--version']\nfrom dualgrad.entry import command; command()"
    )
    assert done.returncode == 0 and done.stdout.startswith("dualgrad 0.")


def test_the_command_says_on_which_systems_it_works() -> None:
    """Windows itself has no fcntl."""
    code = "import sys; sys.modules['fcntl'] = None; sys.argv = ['dualgrad', 'census']\n"
    words = [sys.executable, "-c", code + "from dualgrad.entry import command; command()"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "Linux, macOS or WSL 2" in done.stderr


def test_the_example_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(import torch\n.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(code.splitlines()) <= 30
    exec(compile(code, "README.md", "exec"), {})
    assert "cosine" in capsys.readouterr().out


def test_the_library_imports_torch_and_numpy_alone() -> None:
    """What lies under `method` and what that imports of this package names nothing else."""
    names = set()
    for file in [*(ROOT / "src/dualgrad/method").glob("*.py"), ROOT / "src/dualgrad/__init__.py"]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names |= {one.name for one in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(str(node.module))
    outside = {name for name in names if name.partition(".")[0] not in sys.stdlib_module_names}
    assert all(name.split(".")[0] == "torch" or name.startswith("dualgrad.method") for name in outside)
