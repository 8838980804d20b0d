"""What is known of the published release beside its rows: configuration files, folders, notebooks."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from dualgrad.tables.errors import MissingError

_STAMP = re.compile(r"_\d{8}_\d{6}$")


#: Forms of the published archive: its ingested rows alone; its result files; a clone with notebooks and pictures.
ROWS, RESULTS, COMPLETE = "rows", "results", "complete"
FORMS = {
    ROWS: "its rows alone, without the archive",
    RESULTS: "its result files, without notebooks and pictures",
    COMPLETE: "a complete clone, with notebooks and pictures",
}


class Release:
    """The published archive around the tables, as far as it is here.

    Attributes:
        paper: folder notebooks/Paper-A of the archive, or None.
        files: paths below it that the manifest lists.
        runs: run specifications by EXPERIMENT/RUN, as the census resolves them.
    """

    def __init__(
        self,
        paper: Path | None,
        files: Sequence[str] = (),
        runs: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.paper, self.files, self.runs = paper, list(files), runs or {}

    @cached_property
    def form(self) -> str:
        """Which form of the archive is here, one of :data:`FORMS`; what can be said of the release depends on it."""
        if self.paper is None:
            return ROWS
        try:
            return COMPLETE if self._notebooks else RESULTS
        except MissingError:
            return RESULTS

    @cached_property
    def _notebooks(self) -> dict[str, str]:
        """Source of all code cells of the release's notebooks, by name; several folders may hold them."""
        found = sorted(self._archive.glob("*.ipynb")) + sorted(self._archive.glob("notebooks/*.ipynb"))
        if not found:
            raise MissingError("needs the notebooks, which only a complete clone of the release has")
        return {path.name: path.read_text(encoding="utf-8") for path in found}

    @property
    def _archive(self) -> Path:
        if self.paper is None:
            raise MissingError("needs the published archive, which is not here")
        return self.paper

    def specifications(self, node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Run specifications of the experiments or series that a measure names.

        Raises:
            MissingError: there are none.
        """
        experiments, series = set(node.get("experiments", ())), set(node.get("series", ()))
        found = [
            run for run in self.runs.values() if run["experiment"] in experiments or run["series"] in series
        ]
        if not found:
            raise MissingError("no run specifications at hand")
        return found

    def configurations(self, experiments: Sequence[str]) -> list[dict[str, Any]]:
        """Configuration files of experiments, as published.

        Raises:
            MissingError: one is not in the archive.
        """
        found = []
        for name in experiments:
            files = sorted(self._archive.glob(f"results/exp_{name}_*/*config.json"))
            if not files:
                raise MissingError(f"no configuration file of {name} in the archive")
            found += [json.loads(path.read_text(encoding="utf-8")) for path in files]
        return found

    def folders_found(self, names: Sequence[str]) -> int:
        """Number of the named result folders that the release has; time stamps do not matter."""
        have = {
            _STAMP.sub("", PurePosixPath(path).parts[1]) for path in self.files if path.startswith("results/")
        }
        return sum(any(PurePosixPath(one).match(name) for one in have) for name in names)

    def count(self, pattern: str) -> int:
        """Number of files below the paper's folder by pattern, in a clone that has the notebooks."""
        _ = self._notebooks
        return len(list(self._archive.glob(pattern)))

    def layout(self, names: Sequence[str]) -> int:
        """Number of the named folders that a clone with the notebooks has."""
        _ = self._notebooks
        return sum((self._archive / name).is_dir() for name in names)

    def notebooks(self, names: str, text: str) -> tuple[int, int]:
        """Number of notebooks (by name pattern) whose text matches a regular expression, and of all of them."""
        chosen = [source for name, source in self._notebooks.items() if PurePosixPath(name).match(names)]
        return sum(bool(re.search(text, source)) for source in chosen), len(chosen)

    def archived_rows(self, pattern: str) -> tuple[int, int]:
        """Number of result files by pattern, each a JSON list, and of the rows in them.

        Raises:
            MissingError: there are none; a copy with the result files alone may lack empty ones.
        """
        found = sorted(self._archive.glob(pattern))
        if not found:
            raise MissingError(f"needs {pattern}, which only a complete clone of the release has")
        return len(found), sum(len(json.loads(path.read_text(encoding="utf-8"))) for path in found)
