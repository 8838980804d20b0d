"""How runs share several GPUs: a simulated list schedule that respects what runs need of each other."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """What came of a simulation, in seconds.

    Attributes:
        slots: runs at once.
        makespan: from the first start to the last end.
        total: all runs one after another.
        critical_path: the longest chain of runs that need each other; no number of slots is faster.
        starts: run -> when it starts.
    """

    slots: int
    makespan: float
    total: float
    critical_path: float
    starts: dict[str, float]

    @property
    def efficiency(self) -> float:
        """Share of the slots' time in which they train."""
        return self.total / (self.slots * self.makespan) if self.makespan else 1.0


def simulate(seconds: Mapping[str, float], needs: Mapping[str, Iterable[str]], slots: int) -> Schedule:
    """Give every free slot the first run, in the order of *seconds*, whose needs are done.

    That is how Snakemake's greedy scheduler goes about it: it never waits for a longer run to become ready. Such a
    schedule is at most critical path longer than total / slots (Graham 1969).

    Args:
        seconds: run -> how long it takes; its order is the order of preference.
        needs: run -> runs that must be done before; those that *seconds* does not hold are done already.
        slots: runs at once, at least 1.

    Raises:
        ValueError: fewer than one slot, or runs that need each other in a circle.
    """
    if slots < 1:
        raise ValueError(f"{slots} slots: expected at least 1")
    place = {name: number for number, name in enumerate(seconds)}
    names = list(seconds)
    missing = {name: {one for one in needs.get(name, ()) if one in place} for name in names}
    waiting: dict[str, list[str]] = {}
    for name, open_needs in missing.items():
        for need in open_needs:
            waiting.setdefault(need, []).append(name)
    ready = [place[name] for name in names if not missing[name]]
    running: list[tuple[float, int]] = []
    starts: dict[str, float] = {}
    longest: dict[str, float] = {}  # the chain that ends with a run
    now = 0.0
    while ready or running:
        while ready and len(running) < slots:
            number = heapq.heappop(ready)
            name = names[number]
            starts[name] = now
            longest[name] = seconds[name] + max(
                (longest[need] for need in needs.get(name, ()) if need in place), default=0.0
            )
            heapq.heappush(running, (now + seconds[name], number))
        now, number = heapq.heappop(running)
        for name in waiting.get(names[number], ()):
            missing[name].discard(names[number])
            if not missing[name]:
                heapq.heappush(ready, place[name])
    if len(starts) < len(names):
        stuck = next(name for name in names if name not in starts)
        raise ValueError(f"'{stuck}' is in, or needs, a circle of runs that need each other")
    return Schedule(slots, now, sum(seconds.values()), max(longest.values(), default=0.0), starts)
