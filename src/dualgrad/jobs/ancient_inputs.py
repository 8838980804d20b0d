"""A fault of Snakemake's that this workflow meets: jobs behind ``ancient()`` inputs are passed over.

Where a job has to run (a data set whose entry changed, say), Snakemake takes it that all jobs behind it will run too,
and does not look whether they would have to for reasons of their own: a record that is missing. It then finds that
those which know its output as ancient need not run because of it, and leaves them out. So nothing is trained, and
only a second call does what was asked for: https://github.com/snakemake/snakemake/issues/4166 (seen in 9.27).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dualgrad.jobs.replaced import replace


class _NotAncient(Mapping[Any, dict[Any, set[Any]]]):
    """Which jobs depend on a job, and by which files, without those that know all of these as ancient."""

    def __init__(self, depending: Mapping[Any, dict[Any, set[Any]]]) -> None:
        self._depending = depending

    def __getitem__(self, job: Any) -> dict[Any, set[Any]]:
        found = self._depending[job].items()
        return {other: files for other, files in found if not all(file.is_ancient for file in files)}

    def __iter__(self) -> Iterator[Any]:
        return iter(self._depending)

    def __len__(self) -> int:
        return len(self._depending)


def look_behind(dag: type) -> None:
    """Have Snakemake's class of DAGs look at jobs behind ancient inputs as at any other; once is enough."""

    def made(plain: Any) -> Any:
        async def update_needrun(self: Any, *args: Any, **more: Any) -> Any:
            # In there, a search along `depending` has but one use: to tell which jobs need no look of their own.
            search = self.bfs
            self.bfs = lambda direction, *jobs, **how: search(
                _NotAncient(direction) if direction is self.depending else direction, *jobs, **how
            )
            try:
                return await plain(self, *args, **more)
            finally:
                del self.bfs

        return update_needrun

    replace(dag, "update_needrun", made)
