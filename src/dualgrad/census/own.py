"""What a run takes from files of one's own: labels, trusted indices, the module of its network.

They are inputs of its job, and are checked against the data set when the run is asked for, before any job.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dualgrad.census import imports
from dualgrad.census.stages import CensusError

if TYPE_CHECKING:
    from dualgrad.census.datasets import DataSet

Run = Mapping[str, Any]


def label_files(run: Run) -> dict[str, Mapping[str, Any]]:
    """Return the blocks of a run that name a file, by their keys: ``noise``, ``value.trusted``."""
    blocks = {"noise": run["noise"], "value.trusted": run["value"].get("trusted") or {}}
    return {key: block for key, block in blocks.items() if block.get("path") is not None}


def own_files(run: Run, root: Path) -> list[str]:
    """Return the files of one's own that a run reads: as it names them, or, of a module, below *root*.

    Raises:
        CensusError: the network's module is not there.
    """
    files = [block["path"] for block in label_files(run).values()]
    path = run["task"]["model"].get("import")
    if path is not None:
        try:
            found = imports.files_of_module(path.partition(":")[0], root)
        except imports.ImportPathError as error:
            raise _refused(run, "task.model.import", str(error)) from None
        files += [file.relative_to(root.resolve()).as_posix() for file in found]
    return list(dict.fromkeys(files))


def check_own(
    run: Run, dataset: DataSet | None, root: Path, place: Callable[[str], Path] | None = None
) -> None:
    """Check the files that a run names, against its data set as its entry describes it.

    Args:
        run: a resolved run.
        dataset: its data set's entry.
        root: the workflow's folder.
        place: where a file that the run names lies; default: below *root*.

    Raises:
        CensusError: one is missing, malformed, or does not fit; names the run and the key.
    """
    from dualgrad.data.errors import DataError

    path = run["task"]["model"].get("import")
    if path is not None:
        try:
            imports.check_import(path, root)
        except imports.ImportPathError as error:
            raise _refused(run, "task.model.import", str(error)) from None
    task = run["task"]
    n = dataset.examples(task.get("split") or "train") if dataset is not None else None
    names = dataset.classes if dataset is not None and isinstance(dataset.classes, list) else []
    for key, block in label_files(run).items():
        file = place(block["path"]) if place is not None else root / block["path"]
        try:
            _check_file(
                key,
                file,
                block.get("column"),
                n,
                task["classes"],
                tuple(names),
                task["dataset"],
                _stamp(file),
            )
        except DataError as error:
            raise _refused(run, key, str(error)) from None


def _stamp(file: Path) -> tuple[int, int]:
    """What tells a file from what it was before."""
    try:
        found = file.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


@cache
def _check_file(
    key: str,
    file: Path,
    column: str | None,
    n: int | None,
    classes: int,
    names: tuple[str, ...],
    dataset: str,
    stamp: tuple[int, int],
) -> None:
    from dualgrad.data import given

    found = given.read_column(file, column)
    where = f"{file}, for the data set {dataset}"
    if key == "noise":
        given.as_labels(found, len(found) if n is None else n, classes, names, where)
    elif n is not None:
        given.as_indices(found, n, where)


def _refused(run: Run, key: str, problem: str) -> CensusError:
    return CensusError(f"{run['experiment']}/{run['run']}", key, problem)
