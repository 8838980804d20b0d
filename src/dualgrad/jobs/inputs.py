"""What jobs depend on, as files below a folder and as parameters: the workflow's contract, free of Snakemake."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from dualgrad.census import Census, load_census
from dualgrad.census.datasets import DataSet, reader_of
from dualgrad.census.own import check_own, own_files
from dualgrad.files import visible
from dualgrad.project import Project, is_own, words_of
from dualgrad.records import training
from dualgrad.release.errors import ArchiveError
from dualgrad.release.manifest import archive_at_hand, listing

Run = Mapping[str, Any]
# The published DistilBERT, all of it: whoever opens its folder checks every file.
PRETRAINED = [
    f"distilbert-base-uncased/{name}"
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
]


def training_of(run: Run, census: Census) -> dict[str, Any]:
    """Return what a run's training is made of, as a parameter: changed, it is trained again.

    Beside the run's own definition, what it leaves to a data set's entry: where a set's content is pinned, its
    prepared files are no reason to train again, so they cannot say that the entry has changed.
    """
    entry, task = census.datasets.get(run["task"]["dataset"]), run["task"]
    if entry is None or task["synthetic"] or (task["kind"] == "image" and task["normalize"]):
        return training(run)
    given = entry.normalize if task["kind"] == "image" else entry.tokens
    return training(run) | ({"entry": given.model_dump(mode="json")} if given else {})


def needed_files(run: Run, census: Census) -> list[str]:
    """Return the records and checkpoints that a run starts from, below the edition's results."""
    files = []
    for need in run["needs"]:
        files.append(f"runs/{need}.json")
        if census.runs[need]["saves"]:
            files.append(f"checkpoints/{need}.pt")
    return files


def files_to_verify(name: str, census: Census) -> list[str]:
    """Return what training a run a second time reads, its record first: a copy's source is trained again as well."""
    run = census.run(name)
    files = [f"runs/{name}.json", *needed_files(run, census)]
    while run["copy_of"]:
        run = census.run(run["copy_of"])
        files += needed_files(run, census)
    return list(dict.fromkeys(files))


def files_of_ones_own(names: Iterable[str], census: Census) -> list[str]:
    """Return the files of one's own that runs read, as jobs are told them: from the workflow's folder.

    Raises:
        CensusError: one is missing, malformed, or does not fit its run's data set.
    """
    files: list[str] = []
    for name in names:
        run = census.run(name)
        files += own_files(run, census.root)
        check_own(run, census.datasets.get(run["task"]["dataset"]), census.root)
    return list(dict.fromkeys(files))


def trained_to_verify(name: str, census: Census) -> list[str]:
    """Return the run that is trained when a run is verified: itself, or what it is a copy of."""
    while census.run(name)["copy_of"]:
        name = census.run(name)["copy_of"]
    return [name]


def data_files(run: Run) -> list[str]:
    """Return the prepared files of a run's data set, below the folder of data sets; none for synthetic examples."""
    task = run["task"]
    name, model = task["dataset"], task["model"]
    if task["synthetic"]:
        return []
    file = name if task["kind"] == "image" else reader_of(model["name"])
    files = [f"{name}/{file}.npz", f"{name}/{file}.json"]
    if model["name"] == "distilbert" and model.get("pretrained", True):
        files += PRETRAINED
    return files


def is_fixed(run: Run, census: Census) -> bool:
    """Whether the content of a run's data set is known beforehand: pinned in its entry, or by its sources' sums."""
    entry = census.datasets.get(run["task"]["dataset"])
    return entry is None or entry.is_fixed


def tokens_need(entry: DataSet, reader: str) -> list[str]:
    """Return what writing a text set for a kind of network reads, below the folder of data sets."""
    files = [f"{entry.name}/{entry.name}.npz", f"{entry.name}/{entry.name}.json"]
    return files + (PRETRAINED if entry.needs_tokenizer(reader) else [])


def thresholds(experiment: str, census: Census) -> dict[str, dict[str, float]]:
    """Return the thresholds of an experiment's runs that have some: tables read them off, training does not."""
    runs = {name: census.runs[name]["thresholds"] for name in census.experiment(experiment)["runs"]}
    return {name: own for name, own in runs.items() if own}


def folder_of_logs(results: str) -> str:
    """Return the folder of logs for the setting ``results_dir``: ``logs``, and below it what the setting says."""
    parts = () if results == "results" else Path(results).parts
    return "/".join(["logs", *(part for part in parts if part not in ("/", ".."))])


def revision(folder: Path, *patterns: str) -> str:
    """Return a digest of source files, for rules whose results are cheap to make again.

    Which files are behind which command stands in :mod:`dualgrad.jobs.revisions`.
    """
    files = [file for pattern in patterns for file in visible(folder, pattern)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def trained_by(project: Project) -> list[Any]:
    """Return what a verified run has to be trained a second time by, should it change: code, versions, execution.

    The code down to its comments, unlike a record's digest of it, for which all of it would have to be parsed.
    """
    code = [f"{folder}/**/*.py" for folder in ("data", "method", "models", "training")]
    versions = [f"{name} {metadata.version(name)}" for name in ("torch", "numpy")]
    settings = {key: project.settings[key] for key in ("threads_per_job", "device")}
    return [revision(Path(__file__).parents[1], *code), platform.python_version(), *versions, settings]


def shown(project: Project, experiment: str | None = None) -> str:
    """Return a digest of what pages show beside results: titles, notes, runs, and how to make them again.

    Some tenths of a second for a whole census: for rules that show it, not for every run.

    Args:
        project: the workflow's project.
        experiment: the one that is shown; None: all of them.
    """
    census = project.census
    if experiment is not None:
        entry = census.experiment(experiment)
        return _digest([census.edition["name"], entry, [census.runs[run] for run in entry["runs"]]])
    commands = [project.settings["results_dir"], words_of(project.root, project.settings)]
    return _digest([census.edition, census.experiments, census.runs, commands])


def ingested(project: Project, edition: str) -> str:
    """Return a digest of what reading the published archive takes from the census: the published runs alone.

    Args:
        project: the workflow's project, of whatever edition.
        edition: the one that is ingested. Settings have no part in its tables.
    """
    census = load_census(project.root, {"edition": edition})
    published = (one for one in census.experiments.values() if not is_own(one))
    return _digest([census.runs[run] for one in published for run in one["runs"]])


def archive_form(project: Project) -> str | None:
    """Return a digest of the archive that claims are asked about beside its tables; None: there is none."""
    try:
        tables = project.results / "tables"
        return listing(archive_at_hand(project.archive, project.root, tables)) if project.ingested else None
    except ArchiveError:  # the command will say so
        return None


def _digest(content: Any) -> str:
    text = json.dumps(content, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
