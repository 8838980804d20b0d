"""What a workflow says on the terminal while it runs and when it is done: how long it takes, where things lie.

Light: Snakemake imports it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from dualgrad.progress import duration
from dualgrad.project import Project, words_of

# What jobs that train nothing take, in seconds: tables a part of one, figures and statistics a few.
OTHER_SECONDS = 1.0


class TimeLeft:
    """An estimate of how long the rest of a workflow takes, if it goes on as until now.

    Jobs are weighed by what they were planned to take: runs of a census differ by a factor of a hundred.
    """

    _EARLY = 5.0  # seconds in which nothing can be said

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seconds: dict[int, float] = {}
        self._all = self._done = self._began = 0.0

    def begin(self, seconds: Mapping[int, float]) -> None:
        """Start: the planned seconds of each job, by its number."""
        self._seconds = dict(seconds)
        self._all, self._done, self._began = sum(seconds.values()), 0.0, self._clock()

    def finish(self, job: int) -> None:
        """Note that a job is done."""
        self._done += self._seconds.pop(job, 0.0)

    def words(self) -> str:
        """Return e.g. ``about 3 min 10 s left``; empty where nothing can be said yet, or nothing is left."""
        passed = self._clock() - self._began
        if passed < self._EARLY or not self._seconds or self._done <= 0:
            return ""
        return f"about {duration(passed * (self._all - self._done) / self._done)} left"


def closing(targets: Iterable[str], project: Project, working_folder: Path) -> list[str]:
    """Return where that lies which was asked for, a line for each target that has a place, and how to see it.

    Args:
        targets: names of targets and files; none: the default target.
        project: the workflow's project.
        working_folder: where Snakemake runs. Elsewhere than in the project, its commands look for other results.
    """
    settings, edition = project.settings, project.edition
    results = f"{settings['results_dir']}/{edition}"
    pair = "_".join(name.strip() for name in (settings["compare"] or "").split(","))
    named = words_of(project.root, settings)

    def shown(place: str, command: str) -> str:
        return f"{place}  (dualgrad {command}{named})" if working_folder == project.root else place

    def figures(folder: str, variant: str, first: str) -> str:
        option = "" if variant == "published" else f" --variant {variant}"
        place = f"{folder}: edition {edition}, whose own copies stay in {results}/figures/{variant}"
        return shown(place, f"open figure {first}{option}")

    places = {
        "figures/main": figures("figures/main", "published", "1"),
        "figures/extended_data": figures("figures/extended_data", "published", "ED1"),
        "figures/audited": figures("figures/audited", "audited", "1"),
        "census": shown(f"{results}/{'tables/parts' if project.ingested else 'runs'}", "results M2"),
        "tables": f"{results}/tables",
        "statistics": f"{results}/statistics",
        "claims": shown(f"{results}/claims.html", "open claims"),
        "controls": f"{results}/controls.md",
        "compare": shown(f"{settings['results_dir']}/compare/{pair}/summary.html", "open comparison"),
        "replicate": shown(f"{results}/replication/replication.html", "open replication"),
        "report": shown(f"{results}/report/index.html", "open report"),
    }
    asked = [one.rstrip("/") for one in targets] or ["figures/main"]
    return [places.get(one, one) for one in asked if one in places or "." in one]
