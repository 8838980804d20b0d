"""A second, deliberately plain implementation of the published procedures, to hold the trainer against.

Written from the protocol specifications alone: two real forward passes on refresh steps, all parameters concatenated
to one vector, Python loops, torch's own optimisers and schedulers, no shortcut. It shares with the trainer only what
is not under test here: model constructors, examples and label tables, the order of batches and the numbers drawn
from private generators, which the caller hands in. Section numbers in comments name the specification's sections.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

EPS = 1e-12


# Gradients as vectors ----------------------------------------


def flat(model: nn.Module) -> Tensor:
    """All parameter gradients, concatenated in the order of model.parameters()."""
    return torch.cat([p.grad.detach().clone().reshape(-1) for p in model.parameters()])


def put(model: nn.Module, vector: Tensor) -> None:
    """Replace the parameter gradients by the pieces of a vector."""
    start = 0
    for p in model.parameters():
        p.grad = vector[start : start + p.numel()].reshape(p.shape).clone()
        start += p.numel()
    assert start == len(vector)


def forward_backward(model: nn.Module, inputs: tuple[Tensor, ...], labels: Tensor) -> tuple[float, Tensor]:
    """One train-mode forward and backward pass: mean cross-entropy and its gradient vector."""
    model.train()
    model.zero_grad()
    loss = nn.functional.cross_entropy(model(*inputs), labels)
    loss.backward()
    return loss.item(), flat(model)


def unit(vector: Tensor) -> Tensor:
    """v / (|v| + 1e-12), one norm over all parameters (docs/specification/A-G.md#1.9)."""
    return vector / (vector.norm() + EPS)


def cosine(a: Tensor, b: Tensor) -> float:
    """Cosine with the denominator's guard of the probes (docs/specification/Td-W.md#Td1)."""
    return (a.dot(b) / (a.norm() * b.norm() + EPS)).item()


# One training session ----------------------------------------


@dataclass
class Session:
    """Model, optimiser, step counter t and cached value gradient: what persists from the first step to the last.

    Attributes:
        images: example indices -> model inputs of one training batch, drawn once per step (both passes see the same
            augmented images, docs/specification/A-G.md#1.9); the second argument is the 0-based epoch.
        noisy, value: label tables over the training set.
        begin_epoch: called with the 0-based epoch before its first step (seeds dropout as the trainer does).
        normals: gives as many standard normal numbers as there are parameters (I, J, L).
        rows: one row of measurements per step.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    images: Callable[[Tensor, int], tuple[Tensor, ...]]
    noisy: Tensor
    value: Tensor
    begin_epoch: Callable[[int], None] = lambda epoch: None
    normals: Callable[[], Tensor] | None = None
    t: int = 0
    cache: Tensor | None = None
    epochs: int = 0
    rows: list[dict] = field(default_factory=list)

    def epoch(
        self, batches: Iterable[Tensor], step: Callable[[Tensor, tuple[Tensor, ...]], dict]
    ) -> list[dict]:
        """Run one epoch and return the measurements of its steps."""
        rows = []
        self.begin_epoch(self.epochs)
        for indices in batches:
            row = step(indices, self.images(indices, self.epochs))
            row["t"] = self.t
            rows.append(row)
            self.t += 1
        self.epochs += 1
        self.rows += rows
        return rows

    def lr(self) -> float:
        """Learning rate the next step will use."""
        return self.optimizer.param_groups[0]["lr"]

    def update(self, gradient: Tensor) -> None:
        """Optimiser step on a given gradient vector; weight decay and momentum come on top of it."""
        put(self.model, gradient)
        self.optimizer.step()


def ce(session: Session) -> Callable:
    """CE (docs/specification/A-G.md#1.9): raw gradient on noisy labels."""

    def step(indices: Tensor, inputs: tuple[Tensor, ...]) -> dict:
        loss, g = forward_backward(session.model, inputs, session.noisy[indices])
        session.update(g)
        return {"loss_struct": loss, "norm_struct": g.norm().item()}

    return step


def lossmix(session: Session, lam: float) -> Callable:
    """LOSSMIX (A-G.md#1.9): one forward pass, raw gradient of the mixed loss, clean term fresh at every step."""

    def step(indices: Tensor, inputs: tuple[Tensor, ...]) -> dict:
        session.model.train()
        session.model.zero_grad()
        logits = session.model(*inputs)
        noisy = nn.functional.cross_entropy(logits, session.noisy[indices])
        clean = nn.functional.cross_entropy(logits, session.value[indices])
        ((1 - lam) * noisy + lam * clean).backward()
        session.update(flat(session.model))
        return {"loss_struct": noisy.item(), "loss_value": clean.item()}

    return step


def mixed(g_s: Tensor, g_v: Tensor, lam: float) -> tuple[Tensor, dict]:
    """(1-λ)·unit(g_s) + λ·unit(g_v), with the measurements every dual step shares."""
    u_s, u_v = unit(g_s), unit(g_v)
    d = (1 - lam) * u_s + lam * u_v
    row = {
        "cos": u_s.dot(u_v).item(),
        "norm_struct": g_s.norm().item(),
        "norm_value": g_v.norm().item(),
        "norm_mix": d.norm().item(),
        "cos_mix_value": unit(d).dot(u_v).item(),  # docs/specification/Q-R.md#Q4: (d/(|d|+1e-12))·u_v
    }
    return d, row


def dual(
    session: Session, lam: float, *, period: int = 16, sign: int = 1, renormalize: bool = False
) -> Callable:
    """DUAL(v, σ, K, renorm) (docs/specification/A-G.md#1.9, I-P.md#0, Q-R.md#1.5, S-T.md#0.7, Td-W.md#1)."""

    def step(indices: Tensor, inputs: tuple[Tensor, ...]) -> dict:
        loss, g_s = forward_backward(session.model, inputs, session.noisy[indices])
        loss_value = None
        if session.t % period == 0 or session.cache is None:
            loss_value, g_c = forward_backward(session.model, inputs, session.value[indices])
            session.cache = sign * g_c
        d, row = mixed(g_s, session.cache, lam)
        if renormalize:
            d = unit(d)
        row |= {"loss_struct": loss, "loss_value": loss_value, "norm_step": d.norm().item()}
        session.update(d)
        return row

    return step


def dual_trusted(session: Session, lam: float, trusted: set[int], *, period: int = 16) -> Callable:
    """DUAL-TRUSTED (A-G.md#1.9; Td-W.md#V2): the second pass sees only the trusted examples of the batch.

    A-G and V2 differ in one case, no trusted example at t = 0: A-G says the structure gradient counts as filled
    cache, V2 keeps it "until a later refresh succeeds". Both try again at the next multiple of 16, so it is the same.
    """

    def step(indices: Tensor, inputs: tuple[Tensor, ...]) -> dict:
        loss, g_s = forward_backward(session.model, inputs, session.noisy[indices])
        found = [place for place, index in enumerate(indices.tolist()) if index in trusted]
        loss_value = None
        if session.t % period == 0 or session.cache is None:
            if found:
                part = tuple(x[found] for x in inputs)
                loss_value, session.cache = forward_backward(
                    session.model, part, session.value[indices[found]]
                )
            elif session.cache is None:
                session.cache = g_s
        d, row = mixed(g_s, session.cache, lam)
        row |= {"loss_struct": loss, "loss_value": loss_value, "found": len(found)}
        session.update(d)
        return row

    return step


def about_struct(session: Session, lam: float, c: float) -> Callable:
    """I, and Orthogonal_noise of J (I-P): value direction at cosine c to this step's structure gradient."""

    def step(indices: Tensor, inputs: tuple[Tensor, ...]) -> dict:
        loss, g_s = forward_backward(session.model, inputs, session.noisy[indices])
        u_s = unit(g_s)
        r = session.normals()
        u = unit(r - r.dot(u_s) * u_s)
        clamped = min(max(c, -0.999), 0.999)
        g_v = clamped * u_s + math.sqrt(1 - clamped**2) * u
        d = (1 - lam) * u_s + lam * g_v
        session.update(d)
        return {"loss_struct": loss, "cos_actual": u_s.dot(g_v).item(), "norm_mix": d.norm().item()}

    return step


def about_clean(session: Session, lam: float, c: float, *, period: int = 16) -> Callable:
    """L (I-P): value direction at cosine c to the cached clean gradient, a fresh random part every step."""

    def step(indices: Tensor, inputs: tuple[Tensor, ...]) -> dict:
        loss, g_s = forward_backward(session.model, inputs, session.noisy[indices])
        if session.t % period == 0 or session.cache is None:
            _, session.cache = forward_backward(session.model, inputs, session.value[indices])
        u_s, u_c = unit(g_s), unit(session.cache)
        r = session.normals()
        u = unit(r - r.dot(u_c) * u_c)
        clamped = min(max(c, -0.999), 0.999)
        g_v = clamped * u_c + math.sqrt(1 - clamped**2) * u
        d = (1 - lam) * u_s + lam * unit(g_v)
        session.update(d)
        return {
            "loss_struct": loss,
            "cos_actual": u_c.dot(g_v).item(),
            "cos_struct_clean": u_s.dot(u_c).item(),
            "norm_mix": d.norm().item(),
        }

    return step


def probed(session: Session, lam: float, *, period: int = 16, log_every: int) -> Callable:
    """Td1, W1 (Td-W): a fresh value gradient every step for the log, the cached one in the mix."""

    def step(indices: Tensor, inputs: tuple[Tensor, ...]) -> dict:
        loss_s, g_s = forward_backward(session.model, inputs, session.noisy[indices])
        loss_v, g_v = forward_backward(session.model, inputs, session.value[indices])
        if session.t % period == 0 or session.cache is None:
            session.cache = g_v
        d, row = mixed(g_s, session.cache, lam)
        row |= {"loss_struct": loss_s, "loss_value": loss_v}
        if session.t % log_every == 0:
            row["log"] = {
                "cos_struct_value": cosine(g_s, g_v),
                "cos_mix_value": cosine(d, g_v),
                "norm_struct": g_s.norm().item(),
                "norm_value": g_v.norm().item(),
                "norm_mix": d.norm().item(),
                "loss_struct": loss_s,
                "loss_value": loss_v,
            }
        session.update(d)
        return row

    return step


def text(
    session: Session,
    lam: float,
    value_batches: Iterable[Tensor],
    inputs_of: Callable[[Tensor], tuple[Tensor, ...]],
    head: list[str],
    *,
    cosine_every: int,
    scheduler: torch.optim.lr_scheduler.LRScheduler | None,
) -> Callable:
    """The update of X and Y (X-Y.md#1.5): a value batch of its own at every update, no cache, no eps.

    ``value_batches`` is one epoch's iterator, re-created by the caller at the start of each epoch.
    """
    iterator = iter(value_batches)

    def norm_or_one(vector: Tensor) -> Tensor:
        norm = vector.norm()
        return norm if norm > 0 else torch.ones_like(norm)

    def head_vector() -> Tensor:
        named = dict(session.model.named_parameters())
        return torch.cat([named[name].grad.detach().clone().reshape(-1) for name in head])

    def step(indices: Tensor, inputs: tuple[Tensor, ...]) -> dict:
        loss_s, g_s = forward_backward(session.model, inputs, session.noisy[indices])
        head_s = head_vector()
        chosen = next(iterator)
        loss_v, g_v = forward_backward(session.model, inputs_of(chosen), session.value[chosen])
        head_v = head_vector()
        row = {"loss_struct": loss_s, "loss_value": loss_v}
        if (session.t + 1) % cosine_every == 0:  # "when the 1-based update count is a multiple of 25"
            row["c_sv"] = (head_s.dot(head_v) / (head_s.norm() * head_v.norm())).item()
        d = (1 - lam) * g_s / norm_or_one(g_s) + lam * g_v / norm_or_one(g_v)
        row |= {
            "norm_struct": g_s.norm().item(),
            "norm_value": g_v.norm().item(),
            "norm_mix": d.norm().item(),
        }
        row["cos_mix_value"] = cosine(d, g_v)
        row["lr"] = session.lr()
        session.update(d)
        if scheduler is not None:
            scheduler.step()
        return row

    return step


# Optimisers and schedules ----------------------------------------


def sgd(model: nn.Module, lr: float) -> torch.optim.SGD:
    """SGD of every image experiment (A-G.md#1.7): weight decay on all parameters, no Nesterov, no dampening."""
    return torch.optim.SGD(
        model.parameters(), lr=lr, momentum=0.9, dampening=0, nesterov=False, weight_decay=5e-4, foreach=False
    )


def adamw(model: nn.Module, lr: float = 2e-5) -> torch.optim.AdamW:
    """DistilBERT's optimiser (docs/specification/X-Y.md#1.6)."""
    return torch.optim.AdamW(
        model.parameters(), lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01, foreach=False
    )


def adam(model: nn.Module, lr: float = 1e-3) -> torch.optim.Adam:
    """TextCNN's optimiser (X-Y.md#1.6): the decay is part of the gradient, not decoupled."""
    return torch.optim.Adam(
        model.parameters(), lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-4, foreach=False
    )


def multistep(
    optimizer: torch.optim.Optimizer, milestones: list[int]
) -> torch.optim.lr_scheduler.MultiStepLR:
    """Stepped once at the end of each epoch (docs/specification/A-G.md#1.7)."""
    return torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma=0.1)


def warmup_linear(optimizer: torch.optim.Optimizer, total: int) -> torch.optim.lr_scheduler.LambdaLR:
    """Schedule WL (X-Y.md#1.6): update k has factor k/W below W = floor(0.1 T), then (T-k)/(T-W)."""
    warm = math.floor(0.1 * total)
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: k / warm if k < warm else max(0.0, (total - k) / (total - warm))
    )


# Evaluation and averages ----------------------------------------


def evaluate(
    model: nn.Module, inputs: tuple[Tensor, ...], labels: Tensor, batch_size: int
) -> tuple[float, float]:
    """Error on the test set and unweighted mean of the batches' mean cross-entropies (X-Y.md#1.7), in eval mode."""
    model.eval()
    correct, losses = 0, []
    with torch.no_grad():
        for start in range(0, len(labels), batch_size):
            logits = model(*(x[start : start + batch_size] for x in inputs))
            wanted = labels[start : start + batch_size]
            losses.append(nn.functional.cross_entropy(logits, wanted).item())
            correct += sum(int(row.argmax()) == int(label) for row, label in zip(logits, wanted, strict=True))
    model.train()
    return 1 - correct / len(labels), sum(losses) / len(losses)


def mean(rows: Iterable[dict] | Iterable[float], key: str | None = None) -> float:
    """Mean of numbers, or of one field over the rows that have it."""
    values = list(rows) if key is None else [row[key] for row in rows if row.get(key) is not None]
    return math.fsum(values) / len(values)


def population_sd(values: list[float]) -> float:
    """Standard deviation with ddof 0."""
    centre = mean(values)
    return math.sqrt(math.fsum((v - centre) ** 2 for v in values) / len(values))
