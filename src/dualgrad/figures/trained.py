"""What an edition trains, in the words of a figure: networks, data sets, learning rates. Tables do not hold it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dualgrad.census import Census

# The networks of the publication, by their names in the census.
_PUBLISHED = {"resnet18": "ResNet18", "resnet34": "ResNet34", "vgg11": "VGG11", "simplecnn": "SimpleCNN"}
_TEXT = {"distilbert": "DistilBERT", "textcnn": "TextCNN"}


@dataclass(frozen=True)
class Trained:
    """An experiment's network in words, its data set's name, the learning rate that each stage starts with."""

    network: str
    rates: Mapping[str, float]
    data: str
    kind: str  # "image" or "text"


def trained(census: Census, experiments: Iterable[str]) -> dict[str, Trained]:
    """What each experiment trains; experiments that the census does not know are left out.

    Networks and data sets are those of all runs; learning rates are those of the first.
    """
    found = {}
    for name in experiments:
        if name in census.experiments:
            runs = [census.runs[one] for one in census.experiments[name]["runs"]]
            run = runs[0]
            networks = dict.fromkeys(network_words(one["task"]["model"]) for one in runs)
            rates = {
                stage["name"]: stage["lr"] if stage["lr"] is not None else run["optimizer"]["lr"]
                for stage in run["stages"]
            }
            data = dict.fromkeys(
                "synthetic data" if one["synthetic"] else one["task"]["dataset"] for one in runs
            )
            found[name] = Trained(" / ".join(networks), rates, " / ".join(data), run["task"]["kind"])
    return found


def network_words(model: Mapping[str, Any]) -> str:
    """Name a network as a reader would: 'MLP 24-24-24', 'DistilBERT of 1 layer, 24 wide', 'ResNet18'."""
    name = model["name"]
    if name == "mlp":
        return "MLP " + "-".join(map(str, model["hidden"]))
    if name == "distilbert_mini":
        layers = model["layers"]
        return f"DistilBERT of {layers} layer{'s' if layers > 1 else ''}, {model['dim']} wide"
    if name == "textcnn" and "dim" in model:
        return f"TextCNN, {model['dim']} wide, {model['filters']} filters"
    return _TEXT.get(name) or _PUBLISHED.get(name.split("_")[0], name)
