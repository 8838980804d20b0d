"""One training session: a model, its optimizer, the cached value gradient, and the step that the specs define.

A session begins with weights (fresh, or somebody's) and lasts through every stage that continues it: optimizer state,
schedule, step counter and cached value gradient persist across λ changes (Q-R.md#1.5, S-T.md#4).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dualgrad.census.networks import Imported
from dualgrad.census.run import Aggregated, Run, Schedule
from dualgrad.data.task import Task, image_format
from dualgrad.method.flat import Layout, Parts
from dualgrad.method.gradients import (
    Number,
    Unit,
    as_mix,
    at_least,
    direction_at_cosine,
    dot,
    mix_units,
    norm,
    number,
    renormalised,
)
from dualgrad.method.pair import Pair
from dualgrad.models import batchnorm_modules, build_model, head_parameters, imported, needs_two_passes
from dualgrad.training.aggregators import make_aggregator
from dualgrad.training.errors import TrainingError
from dualgrad.training.labels import Labels
from dualgrad.training.optimizers import make_optimizer
from dualgrad.training.schedules import lr_factor
from dualgrad.training.streams import Streams
from dualgrad.training.trajectory import VALIDATION


@dataclass
class Session:
    """State of one training session (see module docstring).

    Attributes:
        update: t, optimizer steps done; never reset within a session.
        epoch: epochs done.
        diverged: the weights are no longer finite, and training them further would change nothing.
    """

    run: Run
    model: nn.Module
    labels: Labels
    streams: Streams
    base_lr: float
    schedule: Schedule
    total_updates: int
    autocast: torch.dtype | None = None
    update: int = 0
    epoch: int = 0
    diverged: bool = False

    def __post_init__(self) -> None:
        self.params = list(self.model.parameters())
        layout = Layout(self.params)
        weights = layout.take(self.params).vector
        self.optimizer = make_optimizer(self.run.optimizer, weights, self.base_lr)
        self.batchnorms = batchnorm_modules(self.model)
        self._forward: Callable[..., Tensor] = self.model
        if self.run.compile:
            torch.use_deterministic_algorithms(True)  # the compiler's own switch with it
            torch._functorch.config.donated_buffer = False  # two losses of one pass need its buffers twice
            self._forward = torch.compile(self.model)
        # Some small models know their gradients, of cross-entropies as they are.
        plain = not (self.autocast or self.run.method == "lossmix" or self.run.compile)
        self._training_pass = getattr(self.model, "training_pass", None) if plain else None
        # Dropout draws a new mask in the second pass, so the two passes cannot share one forward (I-P.md#0).
        self.shares_forward = not needs_two_passes(self.model)
        # The text experiments normalise without eps (X-Y.md#1.5), the vision ones add 1e-12 (A-G.md#1.9).
        self.pair = Pair(layout, 0.0 if self.run.task.kind == "text" else 1e-12)
        method = self.run.method
        self.aggregate = make_aggregator(method, weights) if isinstance(method, Aggregated) else None
        named = {name: position for position, (name, _) in enumerate(self.model.named_parameters())}
        self.head = [named[name] for name in head_parameters(self.model)] if self._head_every else []
        self._layout = layout

    @property
    def _head_every(self) -> int | None:
        return self.run.head_cosine_every

    # ------------------------------------------------------------------ forward passes and gradients

    @contextlib.contextmanager
    def _double_batchnorm_update(self) -> Iterator[None]:
        """Let one forward update BatchNorm's running statistics as two passes over the same batch would."""
        kept: list[tuple[nn.modules.batchnorm._BatchNorm, Any, Tensor]] = [
            (module, module.momentum, module.num_batches_tracked)
            for module in self.batchnorms
            if module.num_batches_tracked is not None  # else it keeps no statistics
        ]
        for module, momentum, count in kept:
            # Without momentum the mean over all batches counts, and two of count + 2 will be this one.
            module.momentum = 2.0 / (int(count) + 2) if momentum is None else 1.0 - (1.0 - momentum) ** 2
        try:
            yield
        finally:
            for module, momentum, count in kept:
                module.momentum = momentum
                count.add_(1)

    def _logits(self, inputs: tuple[Tensor, ...]) -> Tensor:
        logits: Tensor
        if self.autocast is None:
            return self._forward(*inputs)
        with torch.autocast(inputs[0].device.type, dtype=self.autocast):
            logits = self._forward(*inputs)
        return logits.float()

    def _gradients(self, inputs: tuple[Tensor, ...], *targets: Tensor) -> list[tuple[Number, Parts]]:
        """Do one forward pass; return the mean cross-entropy and its gradient for each of the targets."""
        own = self._training_pass(*inputs) if self._training_pass else None
        if own is not None:
            return [(number(loss), gradient) for loss, gradient in map(own.gradient, targets)]
        with torch.inference_mode(False):
            # Autograd takes nothing that was made in inference mode.
            inputs, targets = (
                tuple(part.clone() if part.is_inference() else part for part in parts)
                for parts in (inputs, targets)
            )
            logits = self._logits(inputs)
            losses = [F.cross_entropy(logits, target) for target in targets]
            found = [
                (
                    loss,
                    torch.autograd.grad(
                        loss, self.params, retain_graph=loss is not losses[-1], allow_unused=True
                    ),
                )
                for loss in losses
            ]
        return [(number(loss), self._whole(gradient)) for loss, gradient in found]

    def _whole(self, gradient: tuple[Tensor | None, ...]) -> Parts:
        """A gradient with zeros for parameters that a pass left out, as a network may that skips layers at random."""
        pairs = zip(gradient, self.params, strict=True)
        return [torch.zeros_like(parameter) if part is None else part for part, parameter in pairs]

    # ------------------------------------------------------------------ the step

    def step(
        self,
        index: Tensor,
        inputs: tuple[Tensor, ...],
        lam: float,
        *,
        trusted: tuple[Tensor, tuple[Tensor, ...]] | None = None,
        direction: torch.Generator | None = None,
        min_trusted: int = 1,
    ) -> dict[str, Number]:
        """Do one update at λ and return what can be logged about it.

        Args:
            index: (b,) indices of the batch's examples.
            inputs: model inputs of the batch, augmented.
            lam: mixing weight λ.
            trusted: indices and inputs of a separate trusted batch (text), if the run uses such batches.
            direction: generator of random directions, if the run uses a synthetic value direction.
            min_trusted: fewest trusted examples in a batch that make a refresh (2 where BatchNorm sees vectors).
        """
        method = self.run.method
        parts: Parts
        log: dict[str, Number]
        # Where autograd is not needed, it need not follow each operation.
        with torch.inference_mode(self._training_pass is not None):
            if method == "dual" or self.aggregate is not None:
                gradient, log = self._dual(index, inputs, lam, trusted, direction, min_trusted)
            else:
                noisy = self.labels.noisy[index]
                if method == "lossmix":
                    logits = self._logits(inputs)
                    struct_loss = F.cross_entropy(logits, noisy)
                    loss = (1.0 - lam) * struct_loss + lam * F.cross_entropy(logits, self.labels.value[index])
                    log, parts = (
                        {"loss_struct": number(struct_loss)},
                        self._whole(torch.autograd.grad(loss, self.params, allow_unused=True)),
                    )
                else:
                    ((plain_loss, parts),) = self._gradients(inputs, noisy)
                    log = {"loss_struct": plain_loss}
                gradient = self.pair.plain(parts)
            self._apply(gradient)
        return log

    @torch.no_grad()
    def _apply(self, gradient: Tensor) -> None:
        factor = lr_factor(
            self.schedule, epoch=self.epoch, update=self.update, total_updates=self.total_updates
        )
        self.optimizer.lr = self.base_lr * factor
        self.optimizer.step(gradient)
        self.update += 1

    def _dual(
        self,
        index: Tensor,
        inputs: tuple[Tensor, ...],
        lam: float,
        trusted: tuple[Tensor, tuple[Tensor, ...]] | None,
        direction: torch.Generator | None,
        min_trusted: int,
    ) -> tuple[Tensor, dict[str, Number]]:
        value, pair = self.run.value, self.pair
        synthetic = value.synthetic
        due = self.update % value.period == 0 or pair.cache is None
        about_struct = synthetic is not None and synthetic.about == "struct"
        compute = not about_struct and (due or value.fresh_every_step)

        fresh = None
        if compute and value.labels not in ("trusted", "trusted_batches"):
            struct, fresh, log = self._both_from_one_batch(index, inputs, keep=due)
        else:
            ((loss, gradient),) = self._gradients(inputs, self.labels.noisy[index])
            struct, log = pair.struct(gradient), {"loss_struct": loss}
            if compute:
                fresh = self._from_trusted(index, inputs, trusted, struct, log, min_trusted, keep=due)

        target, sign = pair.cache, float(value.sign)
        if synthetic is not None:
            reference = struct if about_struct else pair.cache
            assert reference is not None  # the first step fills the cache
            random = self._layout.new()
            for part in random.parts:
                torch.randn(part.shape, generator=direction, out=part)
            target = direction_at_cosine(reference, synthetic.cosine, random.vector, pair.eps)
            log["cos_actual"] = dot(reference.vector, target.vector) * reference.scale
            if not about_struct:
                log["cos_struct_clean"] = (
                    dot(struct.vector, reference.vector) * struct.scale * reference.scale
                )
        assert target is not None  # likewise
        if self.aggregate is None:
            mixed = mix_units(struct, target, lam, sign)
        else:
            mixed = as_mix(struct, target, self.aggregate(torch.stack((struct.vector, target.vector)), lam))
        log |= {
            "cos": mixed.cosine,
            "norm_struct": struct.norm,
            "norm_value": target.norm,
            "norm_mix": mixed.norm,
            "cos_mix_value": mixed.cosine_to_value,
        }
        # Td1, W1 log against the fresh value gradient, mix with the cached one; a batch may have no trusted example.
        if value.fresh_every_step and fresh is not None:
            log["cos"] = dot(struct.vector, fresh.vector) * struct.scale * fresh.scale
            log["norm_value"] = fresh.norm
            log["cos_mix_value"] = dot(mixed.vector, fresh.vector) * fresh.scale / (mixed.norm + 1e-12)
        if self._head_every and (self.update + 1) % self._head_every == 0:
            s, v = (self._of_head(gradient) for gradient in (struct, target))
            log["cos_head"] = dot(s, v) / at_least(norm(s) * norm(v), torch.finfo(s.dtype).tiny)
        return renormalised(mixed.vector, pair.eps) if self.run.renormalize else mixed.vector, log

    def _of_head(self, gradient: Unit) -> Tensor:
        return torch.cat([self._layout.view(gradient.vector, i).flatten() for i in self.head])

    def _both_from_one_batch(
        self, index: Tensor, inputs: tuple[Tensor, ...], *, keep: bool
    ) -> tuple[Unit, Unit, dict[str, Number]]:
        """Return structure and value gradient of one batch, as two forward passes over it would give them."""
        noisy, target = self.labels.noisy[index], self.labels.value[index]
        if self.shares_forward:
            with self._double_batchnorm_update():
                (loss_s, struct), (loss_v, value) = self._gradients(inputs, noisy, target)
        else:
            ((loss_s, struct),), ((loss_v, value),) = (self._gradients(inputs, t) for t in (noisy, target))
        log = {"loss_struct": loss_s, "loss_value": loss_v}
        return self.pair.struct(struct), self.pair.value(value, keep=keep), log

    def _from_trusted(
        self,
        index: Tensor,
        inputs: tuple[Tensor, ...],
        trusted: tuple[Tensor, tuple[Tensor, ...]] | None,
        struct: Unit,
        log: dict[str, Number],
        min_trusted: int,
        *,
        keep: bool,
    ) -> Unit | None:
        """Return the value gradient of trusted examples, or None where the stale one stays in use.

        Trusted examples come in batches of their own (text) or are those of the structure batch. Where the batch
        holds none, a stale gradient stays in use until the next multiple of K; with nothing cached yet, the
        structure gradient of this step stands in (docs/specification/A-G.md#1.9 DUAL-TRUSTED, Td-W.md#V2).
        """
        if trusted is not None:
            index, inputs = trusted
        else:
            assert self.labels.trusted_mask is not None
            where = self.labels.trusted_mask[index].nonzero().squeeze(1)
            if len(where) < min_trusted:
                # V2 retries at every multiple of K only, D1–D3 likewise: the stand-in counts as a filled cache.
                if self.pair.cache is None:
                    self.pair.keep_struct(struct)
                    return struct
                return None
            index, inputs = index[where], tuple(part[where] for part in inputs)
        ((log["loss_value"], gradient),) = self._gradients(inputs, self.labels.value[index])
        return self.pair.value(gradient, keep=keep)

    # ------------------------------------------------------------------ state for resuming

    def state(self) -> dict[str, Any]:
        """Return everything that a resumed session needs beyond the resolved run."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state(),
            "update": self.update,
            "epoch": self.epoch,
            "cache": self.pair.state(),
            "diverged": self.diverged,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state` returned."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state(state["optimizer"])
        self.update, self.epoch, self.diverged = state["update"], state["epoch"], state["diverged"]
        self.pair.load_state(state["cache"])


def new_model(run: Run, task: Task, seed: int, dtype: torch.dtype) -> nn.Module:
    """Build the run's model as published: drawn in float32 on the CPU from ``seed``, then cast and moved."""
    spec = {**task.model_options, **run.task.model.plain()}
    try:
        model = build_model(spec, task.classes, seed)
    except (
        ValueError,
        TypeError,
        KeyError,
        RuntimeError,
    ) as error:  # options are open-ended: the builders read them
        if "import" in spec:
            raise TrainingError(f"{run.experiment}/{run.run}: task.model.import: {error}") from None
        asked = {key: value for key, value in spec.items() if key not in task.model_options}
        raise TrainingError(f"task.model: {asked} cannot be built ({error})") from error
    if "import" not in spec:
        _check_inputs(model, run, task)
    device = task.train_labels.device
    model = model.to(device, dtype).to(memory_format=image_format(device, dtype))
    for module in batchnorm_modules(model):  # counts of batches are no work for a GPU
        if module.num_batches_tracked is not None:
            module.num_batches_tracked = torch.zeros((), dtype=torch.long)
    if isinstance(run.task.model, Imported):
        _try_out(run, run.task.model, model, task)
    return model


def _check_inputs(model: nn.Module, run: Run, task: Task) -> None:
    """Refuse pictures that the first layer of a network of the package does not take."""
    first = next((layer for layer in model.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))), None)
    shape = task.model_options.get("shape")
    if shape is None or first is None:
        return
    if isinstance(first, nn.Conv2d):
        taken, given, what = first.in_channels, shape[0], "channels"
    else:
        taken, given, what = first.in_features, task.model_options["inputs"], "inputs"
    if taken != given:
        raise TrainingError(
            f"{run.experiment}/{run.run}: task.model: {run.task.model.name} takes {taken} {what}; the pictures of "
            f"{task.name} have {given}"
        )


def _try_out(run: Run, network: Imported, model: nn.Module, task: Task) -> None:
    """Refuse a network of somebody's that could not be trained, before it is."""
    try:
        if (run.head_cosine_every or network.body_from) and not hasattr(model, "head_modules"):
            raise ValueError(f"{network.path}: its network names no head_modules, which this run needs")
        two = torch.arange(2, device=task.train_labels.device)
        crops = task.crops(2, torch.Generator()) if task.augments else None
        imported.try_out(model, task.inputs(two, crops), task.classes, network.path)
    except ValueError as error:
        raise TrainingError(f"{run.experiment}/{run.run}: task.model.import: {error}") from None


@torch.inference_mode()
def evaluate(
    model: nn.Module, task: Task, batch_size: int, *, between: Callable[[], None] | None = None
) -> dict[str, Any]:
    """Evaluate on the whole clean test set in eval mode, full precision, no autocast.

    Args:
        model: left in train mode.
        task: whose test set it is.
        batch_size: examples at a time.
        between: called between two batches; what it raises ends the evaluation.

    Returns:
        ``test_error`` (fraction), ``test_loss`` (unweighted mean of batch-mean cross-entropies, as published for
        text; None where not finite) and ``constant_prediction`` (every example got the same class).
    """
    model.eval()
    predictions: list[Tensor] = []
    losses: list[Tensor] = []
    for start in range(0, task.n_test, batch_size):
        if start and between is not None:
            between()
        stop = min(start + batch_size, task.n_test)
        inputs = task.test_inputs(start, stop)
        logits = model(*inputs)
        predictions.append(logits.argmax(dim=1))
        losses.append(F.cross_entropy(logits, task.test_labels[start:stop]))
    model.train()
    # Nothing waited for a GPU up to here.
    predicted = torch.cat(predictions)
    correct = int((predicted == task.test_labels).sum())
    loss = float(torch.stack(losses).mean())
    return {
        "test_error": (task.n_test - correct) / task.n_test,
        "test_loss": loss if loss == loss and abs(loss) != float("inf") else None,
        "constant_prediction": bool((predicted == predicted[0]).all()),
    }


@torch.inference_mode()
def evaluate_aside(
    model: nn.Module,
    task: Task,
    labels: Labels,
    batch_size: int,
    *,
    between: Callable[[], None] | None = None,
) -> dict[str, float]:
    """Evaluate on the examples set aside, as :func:`evaluate` does on the test set.

    Returns:
        ``validation_error`` (by the data set's own labels) and ``validation_noisy_error`` (by the noisy ones), both
        fractions; nothing where no example is set aside.
    """
    if labels.validation is None:
        return {}
    model.eval()
    predictions: list[Tensor] = []
    for place, index in enumerate(torch.split(labels.validation, batch_size)):
        if place and between is not None:
            between()
        predictions.append(model(*task.plain_inputs(index)).argmax(dim=1))
    model.train()
    # Nothing waited for a GPU up to here.
    predicted, n = torch.cat(predictions), len(labels.validation)
    tables = (task.train_labels, labels.noisy)
    return {
        name: int((predicted != table[labels.validation]).sum()) / n
        for name, table in zip(VALIDATION, tables, strict=True)
    }
