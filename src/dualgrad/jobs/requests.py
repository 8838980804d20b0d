"""What a training job asks for: GPUs, time, memory, and on a cluster the group that it goes with."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dualgrad.census.dependencies import dependency_depth
from dualgrad.planning import own_networks
from dualgrad.planning.rates import seconds
from dualgrad.planning.storage import memory
from dualgrad.progress import duration
from dualgrad.project import Project

# Estimates of planning are rather too long than too short, but a node can be shared or far from its files, and
# Snakemake starts twice in front of each run. In megabytes: Snakemake and the worker.
_HEADROOM = 1.5
_STARTING_SECONDS, _BESIDE_MB = 60, 1000
GROUPS = (4, 16, 64)  # minutes
_A_DAY = 24 * 60  # minutes


@dataclass(frozen=True)
class Requests:
    """What the runs of a project ask for.

    Attributes:
        project: the workflow's project.
        cluster: whether jobs are a cluster's. It is trusted to have the GPUs that device=auto would take.
        local_gpu: whether this machine has a GPU.
    """

    project: Project
    cluster: bool
    local_gpu: bool

    @cached_property
    def gpus(self) -> int:
        """GPUs of one run."""
        wanted = self.project.settings["device"]
        if "cpu" in (wanted, self.project.edition_file["device"]):
            return 0
        return int(wanted == "cuda" or self.cluster or self.local_gpu)

    @property
    def device(self) -> str:
        """The kind of device that runs are planned for."""
        return "cuda" if self.gpus else "cpu"

    def seconds(self, run: str) -> float:
        """Return what a run is planned to take, without headroom."""
        recorded = self.project.census.seconds_recorded.get(run)
        return seconds(self._run(run), self.device, recorded=recorded)

    def _run(self, name: str) -> dict[str, Any]:
        """Return a run whose network is known, be it built in or not."""
        run = self.project.census.run(name)
        if not own_networks.is_known(run):
            own_networks.measure(self.project)
        return run

    def unasked_cpu(self, runs: Collection[str]) -> str | None:
        """Say that these runs would train for more than a day on the CPU, where nobody has asked for the CPU.

        Args:
            runs: what this machine is to train.

        Returns:
            What to do about it; None where there is a GPU, where the CPU was asked for, and where it takes less.
        """
        asked = "cpu" in (self.project.settings["device"], self.project.edition_file["device"])
        if self.gpus or asked or not runs:
            return None
        minutes = sum(map(self.seconds, runs)) / 60
        if minutes < _A_DAY:
            return None
        return (
            f"No GPU is here, so {len(runs):,} run{'s' * (len(runs) > 1)} of edition {self.project.edition} would "
            f"train on the CPU, planned at {minutes:,.0f} minutes ({duration(60 * minutes)}) of one job at a time. "
            "To train on the CPU all the same, say so: --config device=cpu"
        )

    def minutes(self, run: str, attempt: int) -> int:
        """Return the time to ask for, twice as much with each retry."""
        estimate = self.seconds(run)
        return math.ceil((_HEADROOM * estimate + _STARTING_SECONDS) / 60) * 2 ** (attempt - 1)

    def megabytes(self, run: str, attempt: int) -> int:
        """Return the main memory to ask for, twice as much with each retry."""
        estimate = memory(self._run(run), self.device).host
        return math.ceil(_HEADROOM * estimate / 1e6 + _BESIDE_MB) * 2 ** (attempt - 1)

    def group(self, run: str) -> str | None:
        """Return the group in which a cluster is given a run; None: it goes alone, as the longest do.

        Runs of about one length: so many of them are some hours. And of one level: none needs another of its own
        level, so however runs are put together, no submission waits for itself.
        """
        if not self.cluster:
            return None
        minutes = self.seconds(run) / 60
        fitting = [limit for limit in GROUPS if minutes <= limit]
        return f"level{self._depth[run]}_{fitting[0]}min" if fitting else None

    def submissions(self, runs: Iterable[str], components: Mapping[str, int]) -> tuple[int, int]:
        """Return how many submissions a cluster is given, and the minutes that the longest can ask for at first.

        Args:
            runs: what is to be trained.
            components: how many runs of each group go together (`group-components` of the profile).
        """
        minutes = defaultdict(list)
        for run in runs:
            minutes[self.group(run)].append(self.minutes(run, 1))
        number, longest = 0, 0
        for group, asked in minutes.items():
            size = components.get(group or "", 1)
            number += math.ceil(len(asked) / size)
            longest = max(longest, sum(sorted(asked, reverse=True)[:size]))
        return number, longest

    def in_words(self, runs: Collection[str], components: Mapping[str, int]) -> str | None:
        """Say what a cluster is given; None where there is none, or nothing to train."""
        if not self.cluster or not runs:
            return None
        number, minutes = self.submissions(runs, components)
        submissions = "1 submission" if number == 1 else f"{number:,} submissions"
        return f"{submissions} to the cluster; the longest asks for up to {duration(60 * minutes)}."

    @cached_property
    def _depth(self) -> dict[str, int]:
        return dependency_depth(self.project.census.runs)
