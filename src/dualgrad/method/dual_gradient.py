"""The method as a library: two losses, one optimizer step along the mix of their normalised gradients.

    dual = DualGradient(model, optimizer, lam=0.35, period=16)
    for inputs, noisy, trusted in batches:
        logits = model(inputs)
        dual.step(cross_entropy(logits, noisy), cross_entropy(logits, trusted))

The census's trainer (:mod:`dualgrad.training.session`) does its steps with the same arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dualgrad.method.flat import Flat, Layout
from dualgrad.method.gradients import Number, combined, mix_units, renormalised, unit
from dualgrad.method.pair import Pair

Loss = Tensor | Callable[[], Tensor]
Gradient = Sequence[Tensor | None]


def mix(
    g_struct: Tensor | Sequence[Tensor], g_value: Tensor | Sequence[Tensor], lam: float, *, eps: float = 1e-12
) -> Tensor | list[Tensor]:
    """Return (1-λ)·g_struct/‖g_struct‖ + λ·g_value/‖g_value‖.

    Args:
        g_struct, g_value: two gradients: tensors of one shape, or sequences of tensors (one per parameter), whose
            norms run over all of them together.
        lam: λ, from 0 to 1.
        eps: added to each norm before dividing; with 0 a gradient of zeros stays as it is.

    Raises:
        ValueError: λ is not in [0, 1], or the gradients have different shapes, or several devices or dtypes.
    """
    check_lam(lam)
    one = isinstance(g_struct, Tensor)
    parts = [[g] if isinstance(g, Tensor) else list(g) for g in (g_struct, g_value)]
    shapes = [[tuple(part.shape) for part in each] for each in parts]
    if shapes[0] != shapes[1]:
        raise ValueError(f"two gradients of the same shapes are expected, found {shapes[0]} and {shapes[1]}")
    layout = Layout(parts[0])
    struct, value = (unit(layout.new().fill(each), eps) for each in parts)
    vector = combined(struct.vector, (1.0 - lam) * struct.scale, value.vector, lam * value.scale)
    mixed = layout.views(vector).parts
    return mixed[0] if one else mixed


class DualGradient:
    """Steps of an optimizer along the mix of two normalised gradients.

    What is trained are the parameters of ``model`` that ``optimizer`` holds and that require a gradient; both norms
    run over all of them together.

    - *One batch or two.* Losses may come from one forward pass or from two; BatchNorm's running statistics move as
      often as you go forward. A value loss given as a function is called only on steps that need it.
    - *Accumulation.* ``accumulate`` adds the gradients of one part of a batch; ``step`` adds those of the last part,
      and then normalises the sums.
    - *GradScaler.* Give it as ``scaler``, and the losses unscaled: ``step`` scales and unscales them, hands the mix
      to the scaler in the scale that it expects, and updates it. A step that overflows is left out, and a value
      gradient that did is not kept.
    - *DistributedDataParallel.* Give the wrapped model: gradients are averaged over its ranks before their norms are
      taken. Its own averaging is switched off (it would average after them); each rank keeps its running statistics;
      a parameter that a loss does not depend on has a gradient of zeros.
    - *Clipping* by norm has no place here: the mix has a norm of at most 1 whatever the losses. Lower the learning
      rate instead.

    Args:
        model: any module.
        optimizer: any torch optimizer whose ``step`` needs no closure, or a sequence of several.
        lam: λ from 0 to 1, or a function of the number of steps done that returns it.
        period: K, steps between two value gradients; in between the last one is used again.
        eps: added to each norm before dividing.
        renormalize: give the optimizer the mix divided by its own norm.
        scaler: a ``torch.amp.GradScaler``, for float16.

    Attributes:
        steps: steps done.

    Raises:
        TypeError, ValueError: one sentence that says what cannot be trained so.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer],
        lam: float | Callable[[int], float],
        *,
        period: int = 1,
        eps: float = 1e-12,
        renormalize: bool = False,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        self._optimizers = [optimizer] if isinstance(optimizer, torch.optim.Optimizer) else list(optimizer)
        for each in self._optimizers:
            if not isinstance(each, torch.optim.Optimizer):
                raise TypeError(f"a torch optimizer is expected, found {type(each).__name__}")
            if isinstance(each, torch.optim.LBFGS):
                raise TypeError("LBFGS evaluates its losses itself; an optimizer without closure is expected")
        if isinstance(period, bool) or not isinstance(period, int) or period < 1:
            raise ValueError(f"period: a number of steps from 1 up is expected, found {period!r}")
        if not callable(lam):
            check_lam(lam)
        self.lam, self.period, self.eps, self.renormalize = lam, period, eps, renormalize
        self.steps = 0
        self._scaler = scaler
        self._group = _process_group(model)
        held = {id(p) for each in self._optimizers for group in each.param_groups for p in group["params"]}
        self._held = [p for p in model.parameters() if id(p) in held]
        strangers = len(held) - len(self._held)
        if strangers:
            raise ValueError(f"the optimizer holds {strangers} parameter(s) that are none of the model's")
        self._cached_unused: set[int] = set()
        self._lay_out()

    def _lay_out(self) -> None:
        """Make buffers for the parameters that require a gradient now; a cache for other ones is worth nothing."""
        self._params = [p for p in self._held if p.requires_grad]
        if any(hasattr(p, "placements") for p in self._params):
            raise TypeError(
                "sharded parameters (FSDP, DTensor) are not supported: each rank has a part of a norm"
            )
        self._layout = Layout(self._params)
        self._pair = Pair(self._layout, self.eps)
        self._mixed = self._pair.flat  # the mix takes the place of the structure gradient
        self._sums: dict[str, Flat] = {}
        self._unused: dict[str, set[int]] = {}

    # ------------------------------------------------------------------ gradients

    @property
    def due(self) -> bool:
        """Whether the next step computes a new value gradient."""
        return self.steps % self.period == 0 or self._pair.cache is None

    def accumulate(self, loss_struct: Tensor, loss_value: Loss | None = None) -> None:
        """Add the gradients of the losses of one part of a batch; the weights do not move.

        Args:
            loss_struct: scalar loss on the noisy labels.
            loss_value: scalar loss on the trusted labels, or a function that computes it; needed where ``due``.

        Raises:
            ValueError: a loss is no scalar, or the value loss is missing. RuntimeError: gradients are there already.
        """
        if self._changed():
            for parameter, part in zip(self._params, self._mixed.parts, strict=True):
                if parameter.grad is part:
                    parameter.grad = None
            self._lay_out()
        due = self.due
        if due and loss_value is None:
            raise ValueError("a value loss is expected at this step, which computes a new value gradient")
        for parameter, part in zip(self._params, self._mixed.parts, strict=True):
            if parameter.grad is not None and parameter.grad is not part:
                raise RuntimeError(
                    "parameters have gradients that are not this library's: leave out backward(), or call zero_grad()"
                )
        if due and not self._sums:  # the old value gradient's place serves the passes that compute a new one
            self._pair.release()
        shared = due and isinstance(loss_value, Tensor)
        self._add("struct", loss_struct, retain=shared)
        if due:
            assert loss_value is not None
            self._add("value", loss_value if isinstance(loss_value, Tensor) else loss_value(), retain=False)

    def _changed(self) -> bool:
        now = [p for p in self._held if p.requires_grad]
        return len(now) != len(self._params) or any(
            a is not b for a, b in zip(now, self._params, strict=True)
        )

    def _add(self, which: str, loss: Tensor, *, retain: bool) -> None:
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise ValueError(f"a scalar loss is expected, found {_words_for(loss)}")
        if self._scaler is not None:
            loss = self._scaler.scale(loss)
        try:
            found: Gradient = torch.autograd.grad(
                loss if loss.dim() == 0 else loss.reshape(()),
                self._params,
                retain_graph=retain,
                allow_unused=True,
            )
        except RuntimeError as error:
            if "donated" in str(error):
                raise RuntimeError(
                    "torch.compile gave the graph's buffers away, and two losses of one forward pass need it twice: "
                    "give the value loss as a function with a forward pass of its own, or set "
                    "torch._functorch.config.donated_buffer = False before compiling"
                ) from error
            raise
        if any(part is not None and part.is_sparse for part in found):
            raise TypeError("sparse gradients are not supported: build the embedding with sparse=False")
        unused = {i for i, part in enumerate(found) if part is None}
        parts = [torch.zeros_like(p) if g is None else g for p, g in zip(self._params, found, strict=True)]
        # Into their place at once, so that no gradient lies in memory twice while the next one is computed.
        if which in self._sums:
            torch._foreach_add_(self._sums[which].parts, parts)
            self._unused[which] &= unused
        else:
            flat = self._pair.flat if which == "struct" else self._pair.value_flat(keep=True)
            flat.fill(parts)
            self._sums[which], self._unused[which] = flat, unused

    def _averaged(self, vector: Tensor) -> Tensor:
        """Take the scaler's factor from a gradient's vector and average it over the ranks, in place."""
        if self._scaler is not None:
            vector.div_(self._scale(vector))
        if self._group is not None:
            torch.distributed.all_reduce(vector, group=self._group)
            vector.div_(torch.distributed.get_world_size(self._group))
        return vector

    def _scale(self, like: Tensor) -> Tensor:
        """The scaler's factor, without waiting for a device."""
        assert self._scaler is not None
        return self._scaler.scale(like.new_ones(()))

    # ------------------------------------------------------------------ the step

    def step(self, loss_struct: Tensor, loss_value: Loss | None = None) -> dict[str, Number]:
        """Do one step of the optimizer.

        Args:
            loss_struct: scalar loss on the noisy labels.
            loss_value: scalar loss on the trusted labels, or a function that computes it; needed where ``due``.

        Returns:
            What can be logged: ``lam``, ``cos`` (of the two gradients), ``norm_struct``, ``norm_value`` and
            ``norm_mix``. Numbers, or 0-dim tensors on the device, so that nothing waits for it.

        Raises:
            ValueError, TypeError, RuntimeError: as ``accumulate``; or λ is not in [0, 1].
        """
        lam = float(self.lam(self.steps) if callable(self.lam) else self.lam)
        check_lam(lam)
        self.accumulate(loss_struct, loss_value)
        pair, sums = self._pair, self._sums
        struct = unit(self._averaged(sums.pop("struct").vector), self.eps)
        if "value" in sums:
            pair.cache = fresh = unit(self._averaged(sums.pop("value").vector), self.eps)
            self._cached_unused = self._unused["value"]
            # (The scaler is about to wait for the device for the same reason.)
            overflowed = self._scaler is not None and not math.isfinite(fresh.norm)
        else:
            overflowed = False
        value = pair.cache
        assert value is not None  # the first step filled it
        mixed = mix_units(struct, value, lam, out=self._mixed.vector)
        if self.renormalize:
            renormalised(mixed.vector, self.eps, out=mixed.vector)
        unused = self._unused["struct"] & self._cached_unused if self._group is None else set()
        for i, (parameter, part) in enumerate(zip(self._params, self._mixed.parts, strict=True)):
            parameter.grad = None if i in unused else part
        if self._scaler is None:
            for optimizer in self._optimizers:
                optimizer.step()
        else:
            # The norms have taken the scale out, and the scaler will divide by it.
            self._mixed.vector.mul_(self._scale(self._mixed.vector))
            for optimizer in self._optimizers:
                self._scaler.step(optimizer)
            self._scaler.update()
        if overflowed:
            pair.cache = None
        self.steps += 1
        return {
            "lam": lam,
            "cos": mixed.cosine,
            "norm_struct": struct.norm,
            "norm_value": value.norm,
            "norm_mix": mixed.norm,
        }

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """Return steps done and cached value gradient, to be saved with those of model and optimizer."""
        unused = sorted(self._cached_unused) if self._pair.cache is not None else []
        return {"steps": self.steps, "cache": self._pair.state(), "unused": unused}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned.

        Raises:
            ValueError: the state belongs to another number of parameters.
        """
        cache = state["cache"]
        if cache is not None:
            found = cache["vector"].numel()
            if found != self._layout.numel:
                raise ValueError(
                    f"the cached value gradient has {found} numbers, this model trains {self._layout.numel}"
                )
            like = self._mixed.vector
            cache = {k: v.to(like.device) if isinstance(v, Tensor) else v for k, v in cache.items()}
        self.steps = state["steps"]
        self._pair.load_state(cache)
        self._cached_unused = set(state["unused"])


def check_lam(lam: float) -> None:
    """Raise a ValueError unless λ is a number from 0 to 1."""
    if isinstance(lam, bool) or not isinstance(lam, (int, float)) or not 0.0 <= lam <= 1.0:
        raise ValueError(f"lam: a number from 0 to 1 is expected, found {lam!r}")


def _words_for(loss: object) -> str:
    return f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__


def _process_group(model: nn.Module) -> Any:
    """The ranks that a wrapped model is trained by, with its own averaging switched off; None: one process."""
    if type(model).__name__ == "FullyShardedDataParallel":
        raise TypeError(
            "sharded parameters (FSDP, DTensor) are not supported: each rank has a part of a norm"
        )
    if not isinstance(model, nn.parallel.DistributedDataParallel):
        return None
    model.require_backward_grad_sync = False  # what no_sync() does
    return model.process_group
