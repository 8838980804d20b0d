"""Numbers about the networks that can be had without torch: their size, and seconds per example as measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dualgrad.census.networks import PARAMETERS
from dualgrad.planning.own_networks import measured


@dataclass(frozen=True)
class Network:
    """One network at its published (or the demo's) input size.

    Attributes:
        parameters: trainable numbers.
        saved: numbers that a forward pass keeps for the backward pass, per example.
        seconds: seconds for a million forward passes of one example in training (`Work.units`; a backward pass counts
            as two), set-up included: for published networks as recorded, for the demo's as measured.
    """

    parameters: int
    saved: int
    seconds: float


# Published networks: all recorded seconds of a network's runs over all their passes, with a forward pass for every
# gradient, as the notebooks did it (config/census: seconds_recorded; an A100 by the publication's word, float32 with
# TF32 convolutions, bfloat16 for DistilBERT). Small networks took as long as ResNet-18: they waited for their data.
# The demo's: medians over its runs, float64, two jobs at once on two cores of an x86-64 machine.
# tests/test_plan.py counts sizes and recorded seconds again.
NETWORKS = {
    "resnet18_own": Network(PARAMETERS["resnet18_own", 1.0, 10], 1_177_440, 37.7),
    "resnet18_own x0.5": Network(PARAMETERS["resnet18_own", 0.5, 10], 590_256, 35.4),
    "resnet18_own x2": Network(PARAMETERS["resnet18_own", 2.0, 10], 2_351_808, 86.1),
    "resnet18_tv": Network(PARAMETERS["resnet18_tv", None, 10], 1_177_440, 40.2),
    "resnet34_own": Network(PARAMETERS["resnet34_own", None, 10], 1_998_496, 62.7),
    "resnet34_tv": Network(PARAMETERS["resnet34_tv", None, 10], 1_998_496, 60.7),
    "vgg11_p": Network(PARAMETERS["vgg11_p", None, 10], 401_248, 32.5),
    "vgg11_p2": Network(PARAMETERS["vgg11_p2", None, 10], 402_784, 32.5),
    "simplecnn_p": Network(PARAMETERS["simplecnn_p", None, 10], 172_272, 32.3),
    "simplecnn_p2": Network(PARAMETERS["simplecnn_p2", None, 10], 470_976, 32.5),
    "distilbert": Network(PARAMETERS["distilbert", None, 2], 13_866_880, 164.4),
    "textcnn": Network(3_354_502, 27_520, 13.1),
    "mlp": Network(3_154, 244, 1.25),
    "distilbert_mini": Network(54_146, 3_466, 20.0),
    "textcnn, small": Network(33_610, 1_008, 13.8),
}
# Networks of the demo, trained on CPUs.
SMALL = frozenset({"mlp", "distilbert_mini", "textcnn, small"})


def network_of(task: Mapping[str, Any]) -> str:
    """Return the name under which a task's network is known here, its width included where that is not 1."""
    model = task["model"]
    name, width = model["name"], model.get("width", 1)
    if "import" in model:  # one's own: any option may change its size
        options = {
            key: one for key, one in model.items() if key not in ("name", "import", "width", "body_from")
        }
        name = " ".join([name, *(f"{key}={one}" for key, one in options.items())])
    if name == "textcnn" and model.get("dim", 128) < 128:
        return "textcnn, small"
    return name if width == 1 else f"{name} x{width:g}"


def is_small(task: Mapping[str, Any]) -> bool:
    """Return whether a task's network is one in miniature; of an unknown network, whether its epochs are."""
    name = network_of(task)
    return name in SMALL if name in NETWORKS else task["steps_per_epoch"] is not None


# Seconds that a network of one's own takes on the publication's A100 are not known, but its operations are. Those of
# ResNet-18 as published (forward, one example); small networks waited for their data.
_RESNET18_OPERATIONS = 1.113e9
_LEAST_SECONDS = {"image": NETWORKS["simplecnn_p"].seconds, "text": NETWORKS["textcnn"].seconds}


def numbers_of(run: Mapping[str, Any]) -> Network:
    """Return what is known of a run's network.

    Of one's own: as measured by one forward pass (see ``own_networks``). Of one in a width that nobody measured:
    parameters and seconds grow with its square, what is kept grows with it. Of any other: what is known of one that
    is not smaller.
    """
    task = run["task"]
    known = NETWORKS.get(network_of(task))
    if known is not None:
        return known
    model, small, kind = task["model"], is_small(task), task["kind"]
    own = measured(run)
    if own is not None:
        published = own.operations / _RESNET18_OPERATIONS * NETWORKS["resnet18_own"].seconds
        seconds = own.seconds if small else max(_LEAST_SECONDS[kind], published)
        return Network(own.parameters, own.saved, seconds)
    base, width = NETWORKS.get(model["name"]), model.get("width", 1)
    if base is not None:
        return Network(
            int(base.parameters * width**2), int(base.saved * width), base.seconds * max(1, width) ** 2
        )
    if kind == "text":
        return NETWORKS["distilbert_mini" if small else "distilbert"]
    return NETWORKS["mlp" if small else "resnet34_own"]
