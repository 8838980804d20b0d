"""An edition as comparisons read it: its tables, read when first asked for."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dualgrad.statistics.summaries import with_conditions
from dualgrad.tables.edition import Tables
from dualgrad.tables.errors import TableError
from dualgrad.tables.read import made


class Edition:
    """Tables of one edition, as far as they have been made."""

    def __init__(self, edition_dir: Path, counted: list[str]) -> None:
        """Find the tables.

        Args:
            edition_dir: ``results/<edition>``.
            counted: counted experiments of the census.

        Raises:
            TableError: no experiment's tables are there.
        """
        self.folder, self.name = Path(edition_dir), Path(edition_dir).name
        self.experiments = made(self.folder, counted)
        if not self.experiments:
            raise TableError(
                f"{self.folder / 'tables' / 'parts'}: no tables of edition {self.name}; make them first: "
                f"snakemake tables --config edition={self.name}"
            )
        self._tables = Tables(
            self.folder, self.experiments, ("runs", "trajectories", "epochs", "geometry"), partial=True
        )

    def runs(self, *experiments: str) -> pd.DataFrame:
        """Counted runs of some experiments (default: all), with their condition spelt out."""
        return with_conditions(self._tables.runs(*experiments))

    def trajectories(self, *experiments: str) -> pd.DataFrame:
        """Evaluations of some experiments."""
        return self._tables.trajectories(*experiments)

    def geometry(self, *experiments: str) -> pd.DataFrame:
        """Per-λ means of the logged gradient geometry."""
        return self._tables.geometry(*experiments)

    def lr_drops(self, experiment: str) -> tuple[int, ...]:
        """Epochs after which an experiment's learning rate falls."""
        return self._tables.lr_drops(experiment)

    def num_classes(self, experiment: str) -> int:
        """Classes of an experiment's task."""
        return self._tables.num_classes(experiment)

    def epochs(self, *experiments: str) -> pd.DataFrame:
        """Per-epoch statistics of some experiments."""
        return self._tables.epochs(*experiments)
