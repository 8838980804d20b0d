"""What a job's command line hands over to its runs: files of other runs, of data sets, of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dualgrad.census import Census
from dualgrad.census.own import check_own, own_files
from dualgrad.data.prepare import check_definition, prepare_embedded
from dualgrad.jobs.inputs import data_files
from dualgrad.project import Project
from dualgrad.validation import InputError


def files_of_other_runs(paths: Sequence[Path] | None) -> dict[str, Path] | None:
    """Return files of other runs by their paths below the results, wherever those lie; None where none were named.

    Raises:
        InputError: a path that does not end as records and checkpoints do.
    """
    found: dict[str, Path] = {}
    for path in paths or ():
        kind, name = path.parts[-3:-2], "/".join(path.parts[-3:])
        if (kind, path.suffix) not in ((("runs",), ".json"), (("checkpoints",), ".pt")):
            expected = "expected .../runs/EXPERIMENT/RUN.json or .../checkpoints/EXPERIMENT/RUN.pt"
            raise InputError("--needs", str(path), expected)
        found[name] = path
    return None if paths is None else found


def data_folder(files: Sequence[Path] | None, default: Path) -> Path:
    """Return the folder of data sets in which these files lie (``FOLDER/NAME/FILE``); none: *default*.

    Raises:
        InputError: they lie in several, or are not there.
    """
    for path in files or ():
        if not path.is_file():
            raise InputError("--data", str(path), "no such file")
    folders = sorted({path.parent.parent for path in files or ()})
    if len(folders) > 1:
        places = " and ".join(map(str, folders))
        raise InputError("--data", "", f"expected files FOLDER/NAME/FILE of one folder; got {places}")
    return folders[0] if folders else default


def own_context(project: Project, names: Sequence[str], files: Sequence[Path] | None) -> dict[str, Any]:
    """Return what a context says of files of one's own, having checked them against the runs' data sets.

    Raises:
        CensusError: one does not fit. InputError: other files were handed over than the runs read.
    """
    census, root = project.census, project.root
    runs = [census.run(name) for name in names]
    wanted = list(dict.fromkeys(file for one in runs for file in own_files(one, root)))
    if files is not None and len(files) != len(wanted):
        raise InputError(
            "--files", "", f"expected {len(wanted)} ({', '.join(wanted) or 'none'}); got {len(files)}"
        )
    given = dict(zip(wanted, files or (), strict=False))
    for one in runs:
        check_own(
            one, census.datasets.get(one["task"]["dataset"]), root, lambda name: given.get(name, root / name)
        )
    named = {name: one.classes for name, one in census.datasets.items() if isinstance(one.classes, list)}
    return {"root": root, "files": given, "class_names": named}


def prepare_missing(census: Census, spec: dict[str, Any], data_dir: Path) -> None:
    """Prepare a run's data set if it comes with an installed package: nothing has to be fetched for it."""
    if not spec["task"]["synthetic"]:
        prepare_embedded(census.datasets[spec["task"]["dataset"]], census.datasets, data_dir)


def check_data(census: Census, spec: Mapping[str, Any], data_dir: Path) -> None:
    """Refuse prepared data that were written when their entry said something else (see ``check_definition``)."""
    entry = census.datasets.get(spec["task"]["dataset"])
    if entry is None:
        return
    for path in (data_dir / file for file in data_files(spec)):
        if path.suffix == ".npz" and path.exists():
            check_definition(entry, path)
