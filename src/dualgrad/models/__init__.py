"""Models, built in float32 on the CPU with the published initialisation and construction order.

A model's parameters depend only on its specification and a seed. torchvision and transformers are imported
only when a model of theirs is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from dualgrad.models import basic, distilbert, imported, resnet, torchvision_resnet

# Each builder takes the specification and the number of classes; its docstring says which options it reads.
_BUILDERS: dict[str, Callable[[Mapping[str, Any], int], nn.Module]] = {
    "mlp": basic.mlp,
    "vgg11_p": basic.vgg11_p,
    "vgg11_p2": basic.vgg11_p2,
    "simplecnn_p": basic.simplecnn_p,
    "simplecnn_p2": basic.simplecnn_p2,
    "textcnn": basic.textcnn,
    "resnet18_own": resnet.resnet18_own,
    "resnet34_own": resnet.resnet34_own,
    "resnet18_tv": torchvision_resnet.resnet18_tv,
    "resnet34_tv": torchvision_resnet.resnet34_tv,
    "distilbert": distilbert.distilbert,
    "distilbert_mini": distilbert.distilbert_mini,
}


def build_model(spec: Mapping[str, Any], classes: int, seed: int) -> nn.Module:
    """A model in train mode, float32, on the CPU, with `classes` outputs.

    `spec` is the `model` block of a resolved run: `name` and the model's own options. Seeds torch's global
    generator with `seed` first, so the parameters depend on nothing else, and leaves the generator where
    construction ended. Raises ValueError for an unknown name.
    """
    if "import" in spec:
        builder: Callable[[Mapping[str, Any], int], nn.Module] = partial(imported.build, path=spec["import"])
    elif (name := spec["name"]) in _BUILDERS:
        builder = _BUILDERS[name]
    else:
        raise ValueError(f"unknown model {name!r}; known: {', '.join(sorted(_BUILDERS))}")
    default = torch.get_default_dtype()
    torch.manual_seed(seed)
    try:
        # Drawn in float32 whatever the run computes in, so that precisions start from the same weights.
        torch.set_default_dtype(torch.float32)
        return builder(spec, classes)
    finally:
        torch.set_default_dtype(default)


def import_for(name: str) -> None:
    """Import the libraries that model `name` is built from, without building it (they take seconds)."""
    if ":" in name:  # somebody's module, which a job imports for itself
        return
    if name.endswith("_tv"):
        importlib.import_module("torchvision.models.resnet")
    elif name.startswith("distilbert"):
        importlib.import_module("transformers.models.distilbert.modeling_distilbert")


def head_parameters(model: nn.Module) -> list[str]:
    """Names, in the model's order, of the parameters of its head, on which text runs measure c_sv (X-Y.md#1.5)."""
    heads: Any = model.head_modules
    return [
        name for name, _ in model.named_parameters() if name.startswith(tuple(f"{head}." for head in heads))
    ]


def batchnorm_modules(model: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """The model's batch-normalisation layers, in order."""
    return [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def needs_two_passes(model: nn.Module) -> bool:
    """Whether two train-mode passes over one batch differ from one: dropout draws anew, or buffers have moved.

    BatchNorm's statistics do not count: one pass can move them as two would.
    """
    return bool(getattr(model, "changes", False)) or any(
        isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0 for m in model.modules()
    )
