"""A plan: runs with what they do, how long each takes, and where the number comes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dualgrad.census import Census
from dualgrad.planning.networks import network_of
from dualgrad.planning.rates import (
    ASSUMED,
    ASSUMED_FACTORS,
    COPY,
    OWN_OPERATIONS,
    PUBLISHED_NETWORK,
    PUBLISHED_RUN,
    WARM,
    Estimate,
    Rate,
    completed,
    known_seconds,
)
from dualgrad.planning.recorded import OWN, Recorded, rates_of_records
from dualgrad.planning.schedule import Schedule, simulate
from dualgrad.planning.work import Work, work_of


@dataclass(frozen=True)
class Plan:
    """What training a selection of runs takes.

    Attributes:
        runs: run -> resolved run, in census order.
        work: run -> what it does.
        estimates: run -> seconds of training, with their source.
        device: ``cuda`` or ``cpu``.
        device_name: what the seconds are about.
        rates: network -> rate, where seconds were computed from rates.
    """

    runs: dict[str, dict[str, Any]]
    work: dict[str, Work]
    estimates: dict[str, Estimate]
    device: str
    device_name: str
    rates: dict[str, Rate]

    def seconds(self, name: str) -> float:
        """Seconds of a run's job in a workflow with a warm worker: its training and what is beside it."""
        beside = WARM[self.device if self.work[name].runs else "cpu"]
        return self.estimates[name].seconds + beside

    def total(self, names: Iterable[str] | None = None) -> tuple[Work, float]:
        """Work and seconds of all runs, or of some."""
        names = list(self.runs if names is None else names)
        return sum((self.work[name] for name in names), Work()), sum(map(self.seconds, names))

    def by_experiment(self) -> dict[str, list[str]]:
        """The runs of each experiment, in census order."""
        found: dict[str, list[str]] = {}
        for name, run in self.runs.items():
            found.setdefault(run["experiment"], []).append(name)
        return found

    def by_source(self) -> dict[str, tuple[int, float]]:
        """Source of seconds -> how many runs it gives, and their seconds of training; the largest first."""
        found: dict[str, tuple[int, float]] = {}
        for estimate in self.estimates.values():
            count, value = found.get(estimate.source, (0, 0.0))
            found[estimate.source] = count + 1, value + estimate.seconds
        return dict(sorted(found.items(), key=lambda one: -one[1][1]))

    def assumed_factor(self) -> float | None:
        """What published seconds were multiplied by for this precision and device, if they were."""
        of_publication = {PUBLISHED_RUN, PUBLISHED_NETWORK, OWN_OPERATIONS, ASSUMED}
        if not of_publication & {one.source for one in self.estimates.values()}:
            return None
        precision = next(iter(self.runs.values()))["precision"]
        factor = ASSUMED_FACTORS[self.device, precision]
        return None if factor == 1 else factor

    def schedule(self, slots: int, slower: float = 1.0) -> Schedule:
        """Simulate the runs on so many slots, each run taking ``slower`` times as long."""
        times = {name: slower * self.seconds(name) for name in self.runs}
        return simulate(times, {name: run["needs"] for name, run in self.runs.items()}, slots)


def make_plan(
    census: Census,
    names: Iterable[str],
    device: str,
    recorded: Recorded,
    rates: Mapping[str, Rate] | None = None,
    device_name: str | None = None,
) -> Plan:
    """Estimate runs by given rates, else by the edition's records, else by what is known beforehand.

    Args:
        census: the edition's.
        names: the runs.
        device: ``cuda`` or ``cpu``.
        recorded: what the edition's records say.
        rates: network -> rate; for networks without one, what is known beforehand is scaled.
        device_name: what the given rates are about.
    """
    runs = {name: census.runs[name] for name in names}
    work = {name: work_of(run) for name, run in runs.items()}
    by_network = {network_of(run["task"]): run for run in runs.values()}
    own: Mapping[str, float] = {}
    given = dict(rates or {})
    if not given and recorded.seconds:
        given, own, device_name = rates_of_records(recorded, census.runs), recorded.seconds, recorded.device
        by_network |= {network_of(run["task"]): run for run in census.runs.values()}
    if given:
        whole = completed(given, by_network)
        used = {network_of(run["task"]) for run in runs.values()}
        shown = {network: rate for network, rate in whole.items() if network in used}
    else:
        whole = shown = {}
        device_name = "two CPU cores" if device == "cpu" else "the publication's A100"

    def estimate(name: str) -> Estimate:
        if not work[name].runs:
            return Estimate(0.0, COPY)
        if name in own:
            return Estimate(own[name], OWN)
        if not whole:
            return known_seconds(runs[name], device, census.seconds_recorded.get(name))
        rate = whole[network_of(runs[name]["task"])]
        return Estimate(rate.seconds(work[name]), rate.source)

    return Plan(runs, work, {name: estimate(name) for name in runs}, device, device_name or "", shown)
