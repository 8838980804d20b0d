"""Seconds: how long a run takes on a device, and where the number comes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from dualgrad.planning.networks import is_small, network_of, numbers_of
from dualgrad.planning.own_networks import measured
from dualgrad.planning.work import Work, examples_of, work_of

# Seconds of a job beside its training: in a process of its own, which imports torch, and forked by the warm worker.
# On a GPU also its context and first kernels.
ALONE = {"cpu": 8.0, "cuda": 15.0}
WARM = {"cpu": 0.15, "cuda": 5.0}
# How many times longer than the published runs on their A100. On the GPU assumed, from its peak rates (TF32 156,
# float32 19.5, float64 9.7 TFLOP/s) and what the published runs reached (about 30); on the CPU from two cores that
# reached 100 GFLOP/s in float32 and 26 in float64 on ResNet-18. A calibration replaces them.
ASSUMED_FACTORS = {
    ("cuda", "published"): 1.0,
    ("cuda", "float32"): 3.0,
    ("cuda", "float64"): 6.0,
    ("cpu", "published"): 300.0,
    ("cpu", "float32"): 300.0,
    ("cpu", "float64"): 1100.0,
}


def seconds(
    run: Mapping[str, Any],
    device: str = "cuda",
    beside: float | None = None,
    recorded: float | None = None,
) -> float:
    """Estimate how many seconds a resolved run takes, without importing torch and without reading a file.

    For published networks: the seconds that the publication recorded for this run, or for as many passes through
    its network, times an assumed factor for precision and device (ASSUMED_FACTORS). The trainer here does less work
    than the notebooks did, so this is rather too long than too short. For the demo's networks: measured on a CPU. For
    networks of one's own: by one forward pass, where ``own_networks.measure`` was asked before. A run that nobody
    timed counts in full even where gates or stop rules may end it early. About 6 µs a call.

    Args:
        run: a resolved run of any edition that trains.
        device: ``cuda`` or ``cpu``; the demo's networks always count as on a CPU.
        beside: seconds of the job beside its training (default: of a process of its own, as on a cluster).
        recorded: seconds that the publication recorded for this run (``Census.seconds_recorded``).

    Raises:
        KeyError: an unknown device or precision.
    """
    estimate = known_seconds(run, device, recorded)
    return estimate.seconds + (ALONE[device] if beside is None else beside)


@dataclass(frozen=True)
class Estimate:
    """Seconds that a run trains, and where they come from."""

    seconds: float
    source: str


COPY = "copies of other runs: nothing is trained"
DEMO = "measured on two CPU cores, per pass through the demo's networks"
PUBLISHED_RUN = "recorded by the publication for the run itself"
PUBLISHED_NETWORK = "recorded by the publication, per pass through the same network"
OWN_NETWORK = "measured here on a CPU core, by one forward pass of the network"
OWN_OPERATIONS = "operations of one forward pass, at the rate that the publication recorded of ResNet-18"
ASSUMED = "assumed: as a network that is rather larger, for this one could not be built"


def known_seconds(run: Mapping[str, Any], device: str, recorded: float | None) -> Estimate:
    """Return what is known about a run before anything was measured here; see :func:`seconds`."""
    task = run["task"]
    work = work_of(run)
    if not work.runs:
        return Estimate(0.0, COPY)
    imported, own = "import" in task["model"], measured(run)
    if own is not None and device == "cpu":
        return Estimate(own.seconds * work.units * 1e-6, OWN_NETWORK)
    if is_small(task):
        source = DEMO if not imported else OWN_NETWORK if own is not None else ASSUMED
        return Estimate(numbers_of(run).seconds * work.units * 1e-6, source)
    factor = ASSUMED_FACTORS[device, run["precision"]]
    if recorded is not None and not run["synthetic"]:
        return Estimate(recorded * factor, PUBLISHED_RUN)
    source = PUBLISHED_NETWORK if not imported else OWN_OPERATIONS if own is not None else ASSUMED
    return Estimate(numbers_of(run).seconds * work.units_published * 1e-6 * factor, source)


@dataclass(frozen=True)
class Rate:
    """Seconds that a network takes for a million examples on one device.

    Attributes:
        step: forward and back, with all that a step does.
        second: back once more, for a value gradient that shares the forward pass.
        evaluate: forward, without gradients.
        source: where the numbers come from.
    """

    step: float
    second: float
    evaluate: float
    source: str

    @classmethod
    def of_unit(cls, unit: float, source: str) -> Rate:
        """Make a rate from seconds for a million forward passes; a backward pass takes two of them."""
        return cls(3 * unit, 2 * unit, unit, source)

    def seconds(self, work: Work) -> float:
        """Seconds that this work takes."""
        per_million = self.step * work.passes + self.second * work.shared + self.evaluate * work.evaluated
        return per_million * 1e-6


def rates_of_epochs(
    given: Mapping[str, float], runs: Iterable[Mapping[str, Any]], source: str
) -> dict[str, Rate]:
    """Turn seconds per epoch into rates.

    An epoch is one of the network's usual ones here (the median over *runs*): its steps, with their refreshes, and
    one evaluation.

    Args:
        given: beginning of a network's name (``resnet18``, or ``resnet18_own x2`` for one of twice the width) ->
            seconds. A name without a width means width 1.
        runs: resolved runs.
        source: where the numbers come from.

    Raises:
        KeyError: its argument begins no network's name among the runs.
    """
    units: dict[str, list[float]] = {}
    for run in runs:
        work = work_of(run)
        if work.epochs:
            usual = (work.units - work.evaluated) / work.epochs + examples_of(run)[1]
            units.setdefault(network_of(run["task"]), []).append(usual)
    rates = {}
    for name, value in sorted(given.items(), key=lambda one: len(one[0])):  # the longer name knows better
        fitting = [one for one in units if one.startswith(name) and (" x" in one) == (" x" in name)]
        if not fitting:
            raise KeyError(name)
        for network in fitting:
            rates[network] = Rate.of_unit(value / median(units[network]) * 1e6, source)
    return rates


def completed(rates: Mapping[str, Rate], runs: Mapping[str, Mapping[str, Any]]) -> dict[str, Rate]:
    """Return a rate for every network: for those without one, what is known beforehand (NETWORKS), scaled.

    They are scaled as for the networks that do have a rate: for the same one in another width, else for those of the
    same kind (image, text), else for all.

    Args:
        rates: network -> rate, at least one.
        runs: network -> one of its runs, for all networks that need a rate.
    """
    factors = {
        name: rates[name].step / (3 * numbers_of(run).seconds) for name, run in runs.items() if name in rates
    }
    whole = dict(rates)
    for name, run in runs.items():
        if name in rates:
            continue
        akin = [one for one in factors if one.split(" x")[0] == name.split(" x")[0]]
        akin = akin or [one for one in factors if _kind(runs[one]) == _kind(run)] or list(factors)
        factor = fmean(factors[one] for one in akin) if akin else 1.0
        source = f"known beforehand, scaled as for {', '.join(akin[:3])}"
        whole[name] = Rate.of_unit(numbers_of(run).seconds * factor, source)
    return whole


def _kind(run: Mapping[str, Any]) -> str:
    kind: str = run["task"]["kind"]
    return kind
