"""Rates that people give: seconds per epoch on the command line, or a file that a plan or a benchmark wrote."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dualgrad.census import Census
from dualgrad.planning.networks import network_of
from dualgrad.planning.rates import Rate, rates_of_epochs
from dualgrad.validation import InputError, did_you_mean

# How `dualgrad bench gpu` names the measurement that is an epoch of the census.
BENCHMARK = "epoch with an evaluation: ResNet-18, batch 256, 50000 images"
EXPECTED = (
    "expected what `dualgrad plan --calibrate --json` or `dualgrad bench gpu --json` writes, "
    "or seconds_per_epoch: {network: seconds}"
)


@dataclass(frozen=True)
class Given:
    """Rates by network, and the device that they are about (``cpu`` or ``cuda``; None where nobody says)."""

    rates: dict[str, Rate]
    device: str | None
    device_name: str


def given_in_words(words: Iterable[str], census: Census, option: str) -> Given:
    """Read ``NETWORK=SECONDS``, each an epoch with one evaluation.

    Raises:
        InputError: no such form, no positive number, or no network of this census.
    """
    epochs = {}
    for word in words:
        name, _, value = word.partition("=")
        try:
            epochs[name] = _positive(value)
        except ValueError:
            raise InputError(option, word, "expected NETWORK=SECONDS, e.g. resnet18=1.5") from None
    rates = _of_epochs(epochs, census, "from the given seconds per epoch", option)
    return Given(rates, None, "the device of the given seconds")


def given_in_file(file: Path, census: Census) -> Given:
    """Read rates, or seconds per epoch, from JSON: a plan's, a GPU benchmark's, or written by hand.

    Raises:
        InputError: the file cannot be read, holds nothing of the kind, or was measured in another precision.
    """
    source = f"from {file}"
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        machine = data.get("machine", {})
        epochs = _epochs(data)
        rates = {} if epochs else {name: _rate(one, source) for name, one in data["rates"].items()}
        if not epochs and not rates:
            raise ValueError
        precision = data.get("precision", machine.get("precision"))
        name = data.get("device_name", machine.get("device"))
        device = data.get("device", machine and ("cpu" if name == "cpu" else "cuda"))
    except OSError as error:
        raise InputError(file, "", f"cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(file, "", EXPECTED) from None
    wanted = census.edition["precision"]
    if precision not in (None, wanted):
        problem = f"was measured in {precision}; this plan is for {wanted} (--config precision=...)"
        raise InputError(file, "precision", problem)
    if epochs:
        rates = _of_epochs(epochs, census, source, file)
    return Given(rates, device if device in ("cpu", "cuda") else None, str(name or "the device of the file"))


def _epochs(data: Mapping[str, Any]) -> dict[str, float]:
    """Seconds per epoch that a file names, or that a benchmark of ResNet-18 measured."""
    if "seconds_per_epoch" in data:
        return {str(name): _positive(value) for name, value in data["seconds_per_epoch"].items()}
    for result in data.get("results", []):
        if result["what"].startswith(BENCHMARK):
            return {"resnet18": _positive(result["values"]["ours"]["median"])}
    return {}


def _rate(numbers: Mapping[str, Any], source: str) -> Rate:
    second = float(numbers["second"])
    return Rate(
        _positive(numbers["step"]), second and _positive(second), _positive(numbers["evaluate"]), source
    )


def _positive(value: Any) -> float:
    number = float(value)
    if not 0 < number < math.inf:
        raise ValueError(value)
    return number


def _of_epochs(epochs: Mapping[str, float], census: Census, source: str, where: object) -> dict[str, Rate]:
    try:
        return rates_of_epochs(epochs, census.runs.values(), source)
    except KeyError as error:
        word = error.args[0]
        known = sorted({network_of(run["task"]) for run in census.runs.values()})
        hint = did_you_mean(word, known)
        raise InputError(
            where, word, f"no network here begins so{hint} (known: {', '.join(known)})"
        ) from None
