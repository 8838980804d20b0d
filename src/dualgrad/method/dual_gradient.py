"""The method as a library: two losses, one optimizer step along the mix of their normalised gradients.

    dual = DualGradient(model, optimizer, lam=0.35, period=16)
    for inputs, noisy, trusted in batches:
        logits = model(inputs)
        dual.step(cross_entropy(logits, noisy), cross_entropy(logits, trusted))

The census's trainer (:mod:`dualgrad.training.session`) does its steps with the same arithmetic.
"""

from __future__ import annotations

import math
import numbers
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from dualgrad.method.flat import Flat, Layout
from dualgrad.method.gradients import Number, Unit, combined, mix_units, renormalised, unit
from dualgrad.method.pair import Pair

Loss = Tensor | Callable[[], Tensor]
Gradient = Sequence[Tensor | None]
_FORMAT = 2  # of a state; the first one had no number
_SHARDED = "sharded parameters (FSDP, DTensor) are not supported: each rank has a part of a norm"
_SPARSE = "sparse gradients are not supported: build the embedding with sparse=False"
_CONSTANT = "the loss depends on no parameter that is trained: was it detached, or the model replaced since?"


def mix(
    g_struct: Tensor | Sequence[Tensor], g_value: Tensor | Sequence[Tensor], lam: float, *, eps: float = 1e-12
) -> Tensor | list[Tensor]:
    """Return (1-λ)·g_struct/‖g_struct‖ + λ·g_value/‖g_value‖; autograd does not follow it.

    Args:
        g_struct, g_value: two gradients: tensors of one shape, or sequences of tensors (one per parameter), whose
            norms run over all of them together. ``torch.autograd.grad(..., allow_unused=True)`` gives None for a
            parameter that a loss does not depend on: put ``torch.zeros_like(parameter)`` in its place.
        lam: λ, from 0 to 1.
        eps: added to each norm before dividing; with 0 a gradient of zeros stays as it is.

    Raises:
        TypeError: a gradient is no dense tensor. ValueError: λ is not in [0, 1], or the gradients have different
            shapes, or several devices or dtypes.
    """
    lam, eps = check_lam(lam), check_eps(eps)
    one = isinstance(g_struct, Tensor)
    parts = [[g] if isinstance(g, Tensor) else list(g) for g in (g_struct, g_value)]
    if any(isinstance(g, Tensor) and g.is_sparse for each in parts for g in each):
        raise TypeError(_SPARSE)
    if strange := [type(g).__name__ for each in parts for g in each if not isinstance(g, Tensor)]:
        zeros = ": put zeros in its place" if strange[0] == "NoneType" else ""
        raise TypeError(f"gradients are expected as tensors, found {strange[0]}{zeros}")
    shapes = [[tuple(part.shape) for part in each] for each in parts]
    if shapes[0] != shapes[1]:
        raise ValueError(f"two gradients of the same shapes are expected, found {shapes[0]} and {shapes[1]}")
    layout, other = map(Layout, parts)
    if (layout.dtype, layout.device) != (other.dtype, other.device):
        kinds = f"{layout.dtype} on {layout.device} and {other.dtype} on {other.device}"
        raise ValueError(f"two gradients of one dtype on one device are expected, found {kinds}")
    with torch.no_grad():
        struct, value = (unit(layout.new().fill(each), eps) for each in parts)
        vector = combined(struct.vector, (1.0 - lam) * struct.scale, value.vector, lam * value.scale)
        mixed = layout.views(vector).parts
    return mixed[0] if one else mixed


class DualGradient:
    """Steps of an optimizer along the mix of two normalised gradients.

    What is trained are the parameters of ``model`` that ``optimizer`` holds and that require a gradient; both norms
    run over all of them together. Freezing, thawing or adding some between two steps renews the value gradient.

    - *One batch or two.* Losses may come from one forward pass or from two; BatchNorm's running statistics move as
      often as you go forward. A value loss given as a function is called only on steps that need it, and needs
      a forward pass of its own.
    - *Accumulation.* ``accumulate`` adds the gradients of one part of a batch; ``step`` adds those of the last part,
      and then normalises the sums.
    - *GradScaler.* Give it as ``scaler``, and the losses unscaled: ``step`` scales and unscales them, hands the mix
      to the scaler in the scale that it expects, and updates it. A step that overflows is left out, by all optimizers
      together, and a value gradient that did is not kept. No two optimizers may hold the same parameter, whose
      gradient each would unscale.
    - *DistributedDataParallel.* Give the wrapped model: gradients are averaged over its ranks before their norms are
      taken. Its own averaging is switched off (it would average after them), so a plain ``loss.backward()`` is not
      averaged either, until ``release()`` switches it on again; ``with dual:`` around the steps switches it off at
      its start and on at its end, as often as wanted. Each rank keeps its running statistics; a parameter that a loss
      does not depend on has a gradient of zeros.
    - *Hooks.* Gradients are computed by ``torch.autograd.grad``: hooks on tensors are called, those of
      ``register_post_accumulate_grad_hook`` are not.
    - *What it replaces.* ``step`` stands in the place of ``backward()``, clipping, the optimizer's and the scaler's
      ``step()`` and the scaler's ``update()``: take them out. Gradients stay until the next step, so an
      ``optimizer.step()`` left in the loop goes once more along the same mix. Schedulers stay, after ``step``.
    - *Clipping* by norm has no place here: the mix has a norm of at most 1 whatever the losses. So the learning rate
      of a loop with plain gradients does not carry over.
    - *torch.compile.* Two losses of one pass go back through a graph twice: set
      ``torch._functorch.config.donated_buffer = False`` before compiling, or give the value loss as a function.
    - *Resuming.* Save ``state_dict()`` with those of model, optimizers, schedulers and scaler, between two batches.
      Load it beside a model of the same trainable parameters in the same order, in any memory format.
    - *Copies.* ``copy.deepcopy`` and ``pickle`` keep the value gradient; copy model, optimizers and this together.

    Args:
        model: any module; of several give one ``nn.ModuleList``.
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
        if not isinstance(model, nn.Module):
            raise TypeError(f"a torch.nn.Module is expected, found {type(model).__name__}")
        given: Any = optimizer
        self._optimizers: list[torch.optim.Optimizer] = [*given] if isinstance(given, Iterable) else [given]
        for each in self._optimizers:
            if not isinstance(each, torch.optim.Optimizer):
                raise TypeError(f"a torch optimizer is expected, found {type(each).__name__}")
            if isinstance(each, torch.optim.LBFGS):
                raise TypeError("LBFGS evaluates its losses itself; an optimizer without closure is expected")
        if isinstance(period, bool) or not isinstance(period, int) or period < 1:
            raise ValueError(f"period: a number of steps from 1 up is expected, found {period!r}")
        if not callable(lam):
            lam = check_lam(lam)
        eps = check_eps(eps)
        if not isinstance(scaler, torch.amp.GradScaler | None):
            raise TypeError(f"scaler: a torch.amp.GradScaler is expected, found {type(scaler).__name__}")
        self.lam, self.period, self.eps, self.renormalize = lam, period, eps, renormalize
        self.steps = 0
        self._scaler = scaler
        self._wrapped = _wrappers(model)
        self._silenced: list[nn.parallel.DistributedDataParallel] = []
        self._model = model
        self._lay_out()
        self._silence()

    def _lay_out(self) -> None:
        """Look what is to be trained now; a cache and sums of other parameters are worth nothing."""
        known = self._handed_over()
        held = {id(p) for p in known}
        self._held = [p for p in self._model.parameters() if id(p) in held]
        if strangers := len(held) - len(self._held):
            raise ValueError(
                f"the optimizer holds {strangers} parameter(s) that are none of the model's: "
                "give all modules that it trains in one nn.ModuleList"
            )
        if self._scales() and sum(p.requires_grad for p in known) > sum(p.requires_grad for p in self._held):
            raise ValueError(
                "a parameter is held twice by the optimizers, and GradScaler would divide its gradient by the scale "
                "twice: let one of them hold it, or train without scaler"
            )
        self._known = known
        self._params = [p for p in self._held if p.requires_grad]
        if any(hasattr(p, "placements") for p in self._params):
            raise TypeError(_SHARDED)
        if any(isinstance(p, nn.UninitializedParameter) for p in self._params):
            raise TypeError("lazy layers have no parameters yet: let the model go forward once before")
        self._layout = Layout(self._params)
        self._pair = Pair(self._layout, self.eps)
        self._cached_unused: set[int] = set()
        self._mixed: Flat | None = None  # what the parameters have as their gradients
        self._sums: dict[str, Flat] = {}
        self._unused: dict[str, set[int]] = {}

    def _handed_over(self) -> list[Tensor]:
        return [p for each in self._optimizers for p in _parameters(each)]

    def _scales(self) -> bool:
        return self._scaler is not None and self._scaler.is_enabled()

    def _changed(self) -> bool:
        """Whether other parameters are to be trained than before: thawed or frozen, added, moved or cast."""
        now = [p for p in self._held if p.requires_grad]
        kind = self._layout.dtype, self._layout.device
        return (
            not _are(now, self._params)
            or any((p.dtype, p.device) != kind for p in now)
            or not _are(self._handed_over(), self._known)
        )

    def _follow(self) -> None:
        """Take note of parameters that were thawed, frozen or exchanged between two steps."""
        if not self._sums and self._changed():
            self._let_go()
            self._lay_out()

    # ------------------------------------------------------------------ gradients

    @property
    def due(self) -> bool:
        """Whether the next step computes a new value gradient."""
        self._follow()
        return self.steps % self.period == 0 or self._pair.cache is None

    def accumulate(self, loss_struct: Tensor, loss_value: Loss | None = None) -> None:
        """Add the gradients of the losses of one part of a batch; the weights do not move.

        Parts are summed as given. For the gradient of a mean over the whole batch multiply each part's mean loss by
        ``len(part) / len(batch)``, the last one's, given to ``step``, as well.

        Args:
            loss_struct: scalar loss on the noisy labels.
            loss_value: scalar loss on the trusted labels, or a function that computes it; needed where ``due``.

        Raises:
            ValueError: a loss is no scalar or depends on no parameter that is trained, the value loss is missing, or
                what is to be trained has changed into something that the constructor refuses too.
            TypeError: gradients are sparse, or parameters became sharded or are not there yet.
            RuntimeError: parameters have gradients of another origin; others are trained than in the parts before;
                a forward pass was used up by a loss before, or cannot be gone back through twice (torch.compile) or
                by ``torch.autograd.grad`` (reentrant checkpoints); or DistributedDataParallel averages by itself.
                Whatever is raised while gradients are computed, the parts before are dropped.
        """
        if any(each.require_backward_grad_sync for each in self._wrapped):
            raise RuntimeError(
                "DistributedDataParallel averages by itself, since release() or from elsewhere: go forward and step "
                "within `with dual:`"
            )
        if self._sums:
            if self._changed():
                self._sums = {}
                raise RuntimeError(
                    "other parameters are trained than in the parts of this batch before: begin it anew"
                )
        else:
            self._let_go()
            self._follow()
        if any(parameter.grad is not None for parameter in self._params):
            raise RuntimeError(
                "parameters have gradients that are not this library's: leave out backward(), or set them to None "
                "before, as zero_grad() does"
            )
        due = self.due
        if due and loss_value is None:
            raise ValueError("a value loss is expected at this step, which computes a new value gradient")
        if due and not self._sums:  # the passes that compute a new value gradient have the old one's memory
            self._pair.release("kept")
        shared = due and isinstance(loss_value, Tensor)
        try:
            self._add("struct", loss_struct, retain=shared)
            if due:
                assert loss_value is not None
                value = loss_value if isinstance(loss_value, Tensor) else loss_value()
                self._add("value", value, retain=False)
        except BaseException:  # half a batch is none; nothing of it is added to the next one
            self._sums = {}
            raise

    def _let_go(self) -> None:
        """Free the last mix, where the parameters still have it, so that the next passes have its memory."""
        if self._mixed is not None:
            for parameter, part in zip(self._params, self._mixed.parts, strict=True):
                if parameter.grad is part:
                    parameter.grad = None
            self._mixed = None
            self._pair.release("struct")

    def _add(self, which: str, loss: Tensor, *, retain: bool) -> None:
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise ValueError(f"a scalar loss is expected, found {_words_for(loss)}")
        if not loss.requires_grad:
            raise ValueError(_CONSTANT)
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
            if "a second time" in str(error):
                raise RuntimeError(
                    "this loss comes from a forward pass that a loss before has used up: a value loss given as a "
                    "function needs a pass of its own; losses of one pass are both given as they are"
                ) from error
            raise
        if any(part is not None and part.is_sparse for part in found):
            raise TypeError(_SPARSE)
        unused = {i for i, part in enumerate(found) if part is None}
        if unused and unused != self._unused.get(which) and _checkpointed(loss):
            raise RuntimeError(
                "checkpoint() in its reentrant form keeps parameters from their gradients here: "
                "call it with use_reentrant=False"
            )
        if len(unused) == len(found):
            raise ValueError(_CONSTANT)
        parts = [torch.zeros_like(p) if g is None else g for p, g in zip(self._params, found, strict=True)]
        # Into their place at once, so that no gradient lies in memory twice while the next one is computed.
        if which in self._sums:
            torch._foreach_add_(self._sums[which].parts, parts)
            self._unused[which] &= unused
        else:
            flat = self._pair.place("kept" if which == "value" else which)
            flat.fill(parts)
            self._sums[which], self._unused[which] = flat, unused

    def _unit(self, vector: Tensor) -> Unit:
        """Normalise a gradient, averaged; under a scaler one that overflowed becomes NaN throughout."""
        found = unit(self._averaged(vector), self.eps)
        if not self._scales():
            return found
        # With an infinite norm the scale is 0, and only what was infinite itself becomes NaN. As the scaler looks at
        # every optimizer by itself, one whose numbers are finite would go along the other gradient. The scale that
        # belongs to a finite norm stays as it is.
        return replace(found, scale=found.scale * (1.0 + 0.0 * found.norm))

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
            ``norm_mix`` (before it is renormalised). Numbers, or 0-dim tensors on the device, so that nothing waits
            for it. Where no new value gradient is computed, ``cos`` and ``norm_value`` are those of the kept one. Of
            a step that overflows under a scaler they are infinite or NaN; left out, it counts in ``steps`` all the
            same, and so for ``lam`` and ``period``.

        Raises:
            ValueError, TypeError, RuntimeError: as ``accumulate``; or λ is not in [0, 1].
        """
        lam: Any = self.lam(self.steps) if callable(self.lam) else self.lam
        lam = check_lam(lam.item() if isinstance(lam, Tensor) and lam.numel() == 1 else lam)
        self.accumulate(loss_struct, loss_value)
        pair, sums = self._pair, self._sums
        self._sums = {}
        self._mixed = flat = sums["struct"]  # the mix takes the structure gradient's place
        struct = self._unit(flat.vector)
        overflowed = False
        if "value" in sums:
            pair.cache = self._unit(sums["value"].vector)
            self._cached_unused = self._unused["value"]
            # (The scaler is about to wait for the device for the same reason.)
            overflowed = self._scaler is not None and not math.isfinite(pair.cache.norm)
        value = pair.cache
        assert value is not None  # the first step filled it
        mixed = mix_units(struct, value, lam, out=flat.vector)
        if self.renormalize:
            renormalised(mixed.vector, self.eps, out=mixed.vector)
        unused = self._unused["struct"] & self._cached_unused if self._group is None else set()
        for i, (parameter, part) in enumerate(zip(self._params, flat.parts, strict=True)):
            parameter.grad = None if i in unused else part
        if self._scaler is None:
            for optimizer in self._optimizers:
                optimizer.step()
        else:
            # The norms have taken the scale out, and the scaler will divide by it.
            flat.vector.mul_(self._scale(flat.vector))
            for optimizer in self._optimizers:
                # Of one that has no gradients, as of a frozen part, the scaler has found nothing out, and says so.
                if any(p.grad is not None for p in _parameters(optimizer)):
                    self._scaler.step(optimizer)
            self._scaler.update()
        if overflowed:
            pair.release("kept")
        self.steps += 1
        return {
            "lam": lam,
            "cos": mixed.cosine,
            "norm_struct": struct.norm,
            "norm_value": value.norm,
            "norm_mix": mixed.norm,
        }

    # ------------------------------------------------------------------ DistributedDataParallel's own averaging

    @property
    def _group(self) -> Any:
        """The ranks that a wrapped model is trained by; None: one process."""
        return self._wrapped[0].process_group if self._wrapped else None

    def _silence(self) -> None:
        self._silenced += [each for each in self._wrapped if each.require_backward_grad_sync]
        for each in self._wrapped:
            each.require_backward_grad_sync = False  # what no_sync() does

    def release(self) -> None:
        """Let DistributedDataParallel average again, for plain training; the last mix is taken from the parameters.

        Parts of a batch that no step has followed are dropped. Steps go on within ``with dual:``, which does at its
        start what the constructor did and at its end what this does. Without a wrapped model they go on as they are.
        """
        self._let_go()
        self._sums = {}
        for each in self._silenced:
            each.require_backward_grad_sync = True
        self._silenced = []

    def __enter__(self) -> Self:
        self._silence()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """Return steps done and cached value gradient, to be saved with those of model and optimizer.

        Plain numbers, and tensors on the device of the gradients: ``torch.load(..., weights_only=True)`` reads them.
        The gradient is one contiguous tensor per trained parameter, in the order of ``model.parameters()``.

        Raises:
            RuntimeError: parts of a batch were accumulated and no step has followed; a state does not hold them.
            ValueError, TypeError: what is to be trained has changed into something that the constructor refuses.
        """
        if self._sums:
            raise RuntimeError(
                "a state cannot hold the parts of a batch that were accumulated: take it after their step(), or drop "
                "them with release()"
            )
        self._follow()
        cache: dict[str, Any] | None = self._pair.state()
        if cache is not None:
            cache["parts"] = [part.contiguous() for part in self._layout.views(cache.pop("vector")).parts]
        unused = sorted(self._cached_unused) if cache is not None else []
        return {"format": _FORMAT, "steps": self.steps, "cache": cache, "unused": unused}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned; parts of a batch that were accumulated are dropped.

        The gradient takes device, dtype and memory format of this model's parameters. Parameters that changed places
        with others of the same shape are not noticed. A state without a format number, as they were at first, holds
        the gradient as one vector in memory order: its length alone can be checked, and the memory format must be
        that of the model that it was saved with.

        Raises:
            ValueError: this is no state, or one in another format; or its gradient is of other parameters, by number
                or shape. What is to be trained has changed into something that the constructor refuses.
            TypeError: likewise.
        """
        if missing := {"steps", "cache", "unused"} - set(state):
            raise ValueError(
                f"a state of DualGradient is expected; this one lacks {', '.join(sorted(missing))}"
            )
        if state.get("format", _FORMAT) != _FORMAT:
            raise ValueError(
                f"a state of DualGradient in the format {_FORMAT} is expected, found {state['format']!r}: "
                "another version has saved it"
            )
        self._follow()
        cache = state["cache"]
        if cache is not None:
            # Norm and scale of half-precision gradients are float32, and stay so.
            cache = {k: v.to(self._layout.device) if isinstance(v, Tensor) else v for k, v in cache.items()}
            cache["vector"] = self._vector_of(cache)
            cache.pop("parts", None)
        self._sums = {}
        self.steps = state["steps"]
        self._pair.load_state(cache)
        self._cached_unused = set(state["unused"])

    def _vector_of(self, cache: dict[str, Any]) -> Tensor:
        """Return the gradient (n,) that a state holds, as it lies in memory here."""
        if "parts" not in cache:  # the first format
            vector: Tensor = cache["vector"]
            if vector.numel() != self._layout.numel:
                raise ValueError(
                    f"the cached value gradient has {vector.numel()} numbers, this model trains {self._layout.numel}"
                )
            return vector.to(self._layout.dtype)
        shapes = [tuple(part.shape) for part in cache["parts"]]
        own = [tuple(p.shape) for p in self._params]
        if len(shapes) != len(own):
            raise ValueError(
                f"the cached value gradient is one of {len(shapes)} parameters, this model trains {len(own)}"
            )
        for place, (found, expected) in enumerate(zip(shapes, own, strict=True), 1):
            if found != expected:
                raise ValueError(
                    f"the cached value gradient has the shape {found} for parameter {place} of {len(own)}, which has "
                    f"{expected} here"
                )
        with torch.no_grad():
            return self._layout.new().fill(cache["parts"])


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _are(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Whether two lists hold the same tensors themselves, in the same order."""
    return len(some) == len(others) and all(a is b for a, b in zip(some, others, strict=True))


def check_lam(lam: Any) -> float:
    """Return λ as a plain number; raise a ValueError unless it is one from 0 to 1."""
    if isinstance(lam, bool) or not isinstance(lam, numbers.Real) or not 0.0 <= float(lam) <= 1.0:
        raise ValueError(f"lam: a number from 0 to 1 is expected, found {lam!r}")
    return float(lam)


def check_eps(eps: Any) -> float:
    """Return what is added to a norm as a plain number; raise a ValueError unless it is one from 0 up."""
    if isinstance(eps, bool) or not isinstance(eps, numbers.Real) or not 0.0 <= float(eps) < math.inf:
        raise ValueError(f"eps: a number from 0 up is expected, found {eps!r}")
    return float(eps)


def _checkpointed(loss: Tensor) -> bool:
    """Whether a part of the loss's graph has its own backward pass, which autograd.grad passes over in silence."""
    seen, todo = set(), [loss.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            if node.name() == "CheckpointFunctionBackward":
                return True
            seen.add(node)
            todo += [following for following, _ in node.next_functions]
    return False


def _words_for(loss: object) -> str:
    return f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__


def _wrappers(model: nn.Module) -> list[nn.parallel.DistributedDataParallel]:
    """What a model is wrapped in to be trained by several ranks, if anything.

    Raises:
        TypeError: it is wrapped in a way in which its gradients cannot be averaged here.
    """
    # Looked for in the whole model, as torch.compile and others wrap the wrapper.
    if any(type(each).__name__ == "FullyShardedDataParallel" for each in model.modules()):
        raise TypeError(_SHARDED)
    wrapped = [each for each in model.modules() if isinstance(each, nn.parallel.DistributedDataParallel)]
    if any(each.static_graph for each in wrapped):
        raise TypeError(
            "DistributedDataParallel(static_graph=True) does not let go of its averaging: leave it out"
        )
    together = torch.distributed.is_available() and torch.distributed.is_initialized()
    if not wrapped and together and (ranks := torch.distributed.get_world_size()) > 1:
        warnings.warn(
            f"the model is not wrapped in DistributedDataParallel: each of the {ranks} ranks trains by itself",
            stacklevel=3,
        )
    return wrapped
