"""Networks of one's own: built by a function from an import path, and looked at before they are trained."""

from __future__ import annotations

import copy
import importlib
import pickle
import random
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dualgrad.census import imports
from dualgrad.models import switches
from dualgrad.models.generators import forked_generator, generator_state

# Where modules are looked for first; a job sets it before it builds anything.
ROOT = Path()


def load(path: str) -> Callable[..., Any]:
    """Import the function at ``package.module:function``.

    PyTorch's switches stay as they are, whatever the module sets: a run's precision and threads hold, as its record
    says, and the next run of the process trains under its own. They are put back and not refused: the lines may stand
    in a library that the module imports, and nothing of them is wanted here.

    Raises:
        ValueError: it cannot be imported, or is no function; says why in one line.
    """
    module, _, name = path.partition(":")
    try:
        imports.check_import(path, ROOT)
    except imports.ImportPathError as error:
        raise ValueError(f"import {path}: {error}") from None
    if other := imports.shadowed(module, ROOT):
        raise ValueError(f"import {path}: Python takes {other} for it; give the module another name")
    imports.make_importable(ROOT)
    try:
        with switches.put_back():
            builder = getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as error:  # a module of somebody's may do anything
        raise ValueError(f"import {path}: {said(error, path)}") from None
    if not callable(builder):
        raise ValueError(f"import {path}: expected a function; it is a {type(builder).__name__}")
    return builder


def build(spec: Mapping[str, Any], classes: int, *, path: str) -> nn.Module:
    """Import a function and let it build a network, as the built-in ones are built.

    What the function does to PyTorch's switches is undone, as after the import.

    Args:
        spec: options of the run, and what the task knows: ``inputs`` and ``shape`` of a picture, ``vocab_size``.
        classes: number of outputs.
        path: ``package.module:function``.

    Raises:
        ValueError: it cannot be imported, fails, seeds PyTorch's generator, or returns nothing that can be trained.
    """
    with torch.random.fork_rng(devices=[]):  # whatever the module does when it is first imported
        builder = load(path)
    options = {key: value for key, value in spec.items() if key not in ("name", "import", "body_from")}
    seed = torch.initial_seed()
    try:
        with switches.put_back():
            model = builder(options, classes)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{path}({options}, {classes}): {said(error, path)}") from None
    if torch.initial_seed() != seed:
        raise ValueError(
            f"{path} seeds PyTorch's generator, so that all seeds of the census would have one start; expected it to "
            "draw from the generator as it is (what is meant to be fixed: within torch.random.fork_rng())"
        )
    if not isinstance(model, nn.Module):
        raise ValueError(f"{path} returned a {type(model).__name__}; expected a torch.nn.Module")
    parameters = list(model.parameters())
    for wrong, problem in (
        (not parameters, "without parameters"),
        (
            any(isinstance(one, nn.parameter.UninitializedParameter) for one in parameters),
            "with lazy layers, whose sizes are not known",
        ),
        (
            any(one.is_meta for one in (*parameters, *model.buffers())),
            "on the device meta, which holds no numbers",
        ),
        (
            not all(one.requires_grad for one in parameters),
            "with parameters that need no gradient; expected buffers in their place",
        ),
        (
            any(one.dtype is not torch.float32 for one in parameters),
            "that is not float32; the run's precision casts it",
        ),
    ):
        if wrong:
            raise ValueError(f"{path} returned a network {problem}")
    return model.train()


def _frames(error: BaseException, path: str) -> list[traceback.FrameSummary]:
    """Where an error came by in the module of an import path, or in its package."""
    try:
        module = path.partition(":")[0]
        files = imports.files_of_module(module, ROOT) or [imports.find_module(module, ROOT)]
    except imports.ImportPathError:
        return []
    own = {str(file.resolve()) for file in files}
    return [
        one for one in traceback.extract_tb(error.__traceback__) if str(Path(one.filename).resolve()) in own
    ]


def said(error: BaseException, path: str) -> str:
    """An error in one line, with the line of one's own module that raised it, or of the library that did."""
    passed = [one for one in traceback.extract_tb(error.__traceback__) if one.filename != __file__]
    frames = _frames(error, path) or passed
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}{f': {text}' if text else ''}{where}"


def raised_by(error: BaseException, path: str) -> bool:
    """Whether an error comes from a network's own code, or from the layers that it is made of."""
    layers = str(Path(nn.modules.__file__).parent)
    passed = traceback.extract_tb(error.__traceback__)
    return bool(_frames(error, path)) or any(one.filename.startswith(layers) for one in passed)


def try_out(model: nn.Module, inputs: tuple[Tensor, ...], classes: int, path: str) -> None:
    """Let a copy of a network go forward and back over two examples, and look at what comes out; then in eval mode.

    The network itself stays as it is, but for a mark ``changes`` where its forward pass draws random numbers, moves
    buffers other than BatchNorm's, or uses a BatchNorm other than once, so that one pass cannot stand for two.

    Raises:
        ValueError: it fails, its outputs are no logits (examples, classes), it changes its inputs or one of PyTorch's
            switches, a parameter has no part in its outputs, its gradients are sparse, or it keeps or draws what an
            interrupted run would lose.
    """
    device = inputs[0].device
    with switches.put_back() as moved_switches, torch.inference_mode(False), forked_generator(device):
        try:
            trial = copy.deepcopy(model).train()
        except torch.OutOfMemoryError:
            raise  # the GPU's fault, and not the network's
        except Exception as error:
            raise ValueError(f"{path}: its network cannot be copied: {said(error, path)}") from None
        kept = {name: one.clone() for name, one in _own_buffers(trial)}
        before, others = generator_state(device), _other_generators(device)
        uses = _count_uses(trial)
        doing = "train"
        try:
            logits = _checked_pass(trial, inputs, classes, path)
            drawn = not torch.equal(before, generator_state(device))
            now = dict(_own_buffers(trial))
            moved = {name for name in now if name not in kept or not torch.equal(now[name], kept[name])}
            again = any(times != 1 for times in uses.values())
            model.changes = drawn or bool(moved) or now.keys() != kept.keys() or again  # type: ignore[assignment]
            _check_kept(trial, moved, others, device, path)
            named = dict(trial.named_parameters())
            grads = torch.autograd.grad(logits.sum(), list(named.values()), allow_unused=True)
            doing = "be evaluated"
            logits = _checked_pass(trial.eval(), inputs, classes, path)
            if names := moved_switches():  # nobody puts them back at every step
                raise _Unfit(
                    f"{path}: its network sets {names[0]} when it is called; expected it to leave PyTorch's switches "
                    "as the run has them"
                )
            # A layer that training leaves out at random has a part in eval mode.
            if any(one is None for one in grads):
                more = torch.autograd.grad(logits.sum(), list(named.values()), allow_unused=True)
                grads = tuple(b if a is None else a for a, b in zip(grads, more, strict=True))
        except _Unfit as error:
            raise ValueError(str(error)) from None
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            shapes = ", ".join(str(tuple(one.shape)) for one in inputs)
            raise ValueError(f"{path}: its network cannot {doing} on {shapes}: {said(error, path)}") from None
    unused = [name for name, grad in zip(named, grads, strict=True) if grad is None]
    if unused:
        raise ValueError(f"{path}: parameters without a part in the output: {', '.join(unused[:3])}")
    if any(one is not None and one.is_sparse for one in grads):
        raise ValueError(f"{path}: its network has sparse gradients; expected embeddings with sparse=False")


def _count_uses(model: nn.Module) -> dict[str, int]:
    """Count from now on how often each BatchNorm moves its statistics."""
    uses: dict[str, int] = {}

    def counting(name: str) -> Callable[..., None]:
        def count(module: nn.Module, *_: Any) -> None:
            uses[name] += module.training

        return count

    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
            uses[name] = 0
            module.register_forward_hook(counting(name))
    return uses


def _other_generators(device: torch.device) -> dict[str, bytes]:
    """States of the generators that a run neither seeds nor keeps, by what they are called."""
    states = {"Python's random": random.getstate(), "NumPy's random": np.random.get_state()}
    if device.type == "cuda":
        states["PyTorch's generator of the CPU"] = tuple(torch.default_generator.get_state().tolist())
    return {name: pickle.dumps(state) for name, state in states.items()}


def _check_kept(
    model: nn.Module, moved: Iterable[str], others: Mapping[str, bytes], device: torch.device, path: str
) -> None:
    """Refuse a network that, interrupted and continued, would go on as another one.

    Args:
        model: after a pass.
        moved: names of its buffers that the pass has moved.
        others: the other generators' states before the pass.
        device: of its inputs.
        path: its import path.

    Raises:
        _Unfit: says what its state lacks.
    """
    state = model.state_dict()
    if lost := sorted(name for name in moved if name not in state):
        raise _Unfit(
            f"{path}: its network moves the buffer {lost[0]}, which is not in its state; expected it to be persistent"
        )
    if strange := [name for name, one in state.items() if not isinstance(one, Tensor)]:
        raise _Unfit(
            f"{path}: its network's state holds {strange[0]}, which is no tensor; expected tensors alone"
        )
    now = _other_generators(device)
    if elsewhere := [name for name in others if others[name] != now[name]]:
        raise _Unfit(
            f"{path}: its network draws from {elsewhere[0]}, which no run seeds or keeps; expected it to draw from "
            "PyTorch's generator of its inputs' device"
        )


class _Unfit(ValueError):
    """What a network gives is not what is expected."""


def _checked_pass(model: nn.Module, inputs: tuple[Tensor, ...], classes: int, path: str) -> Tensor:
    """Return the logits of some inputs, of which the network gets copies."""
    given = [one.clone() for one in inputs]
    logits = model(*given)
    mode = "" if model.training else " in eval mode"
    expected = (len(inputs[0]), classes)
    found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if not isinstance(logits, Tensor) or found != expected:
        raise _Unfit(f"{path}: its network gives {found}{mode}; expected logits of shape {expected}")
    if not all(map(torch.equal, given, inputs)):
        # The data set is handed over as it lies in memory.
        raise _Unfit(
            f"{path}: its network changes its inputs in place{mode}; expected it to leave them alone"
        )
    return logits


def _own_buffers(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Buffers by name, but for BatchNorm's."""
    for prefix, module in model.named_modules():
        if not isinstance(module, nn.modules.batchnorm._BatchNorm):
            for name, one in module.named_buffers(recurse=False):
                yield (f"{prefix}.{name}" if prefix else name), one


def provenance(path: str) -> dict[str, Any]:
    """Return what a record says of an imported network: module, version, and the digest of its source.

    Raises:
        ValueError: it cannot be imported.
    """
    load(path)
    module = path.partition(":")[0]
    top = module.partition(".")[0]
    own = imports.files_of_module(module, ROOT)
    known = (importlib.import_module(one) for one in (module, top))
    version = next((one.__version__ for one in known if hasattr(one, "__version__")), None)
    if version is None and not own:
        try:
            version = metadata.version(metadata.packages_distributions()[top][0])
        except (KeyError, metadata.PackageNotFoundError):
            version = None
    file = imports.find_module(module, ROOT)
    shown = file.resolve().relative_to(ROOT.resolve()).as_posix() if own else file.name
    return {
        "import": path,
        "module": module,
        "version": None if version is None else str(version),
        "file": shown,
        "sha256": imports.source_digest(module, ROOT),
    }
