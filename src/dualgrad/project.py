"""A project as every command sees it: its settings, its census and its folders, loaded in one place.

Settings are ``config/config.yaml`` with what was said on the command line laid on it.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dualgrad.census import Census, edition_names, load_census
from dualgrad.census.editions import load_edition, spelt_out
from dualgrad.validation import InputError, check_schema, did_you_mean, read_yaml

FILE = "config/config.yaml"
# Settings that name folders in which the workflow makes files.
FOLDERS = ("data_dir", "results_dir")
# Settings that may be null. A command line says so by the word, which Snakemake hands over as a text.
NULLABLE = ("precision", "released_archive", "max_steps", "max_epochs", "data_copies", "compare")
# What has a meaning in Snakemake's paths: braces are wildcards, angle brackets are variables.
MEANINGFUL = "{}<>"


# Series whose experiments are not counted and yet nobody's own: needed by others, superseded, with a page of theirs.
_OF_THE_PROJECT = ("helper", "archived", "controls")


def is_own(experiment: Mapping[str, Any]) -> bool:
    """Whether an experiment of the census is neither published nor part of this project."""
    return not experiment["counted"] and experiment["series"] not in _OF_THE_PROJECT


def controls_of(census: Census) -> list[str]:
    """Names of the controls that an edition can train.

    Labels in a file belong to the data set that was annotated, so an edition that puts another one in its place
    leaves their control out.
    """
    other_data = bool(census.edition.get("datasets"))

    def needs_file(one: Mapping[str, Any]) -> bool:
        return any(census.runs[run]["noise"]["kind"] == "file" for run in one["runs"])

    controls = {name: one for name, one in census.experiments.items() if one["series"] == "controls"}
    return [name for name, one in controls.items() if not (other_data and needs_file(one))]


class ConfigError(InputError):
    """A setting is unknown or cannot have this value; the message names file, key and what was expected."""


@dataclass(frozen=True)
class Project:
    """The workflow in a folder, under some settings.

    Attributes:
        root: folder that holds ``config``.
        settings: all settings, checked; folders are normalised, and relative to *root* unless absolute.
    """

    root: Path
    settings: dict[str, Any]

    @cached_property
    def census(self) -> Census:
        """All runs of the edition."""
        return load_census(self.root, self.settings)

    @cached_property
    def edition_file(self) -> dict[str, Any]:
        """The edition as its file says it, resolved, with its ``name``: a trial of an edition is one of its own."""
        return load_edition(self.root, self.settings)

    @property
    def edition(self) -> str:
        """Name of the edition that really applies."""
        return self.edition_file["name"]

    @property
    def ingested(self) -> bool:
        """Whether the edition's records are read from an archive instead of trained."""
        return self.edition_file["records"] == "ingested"

    @property
    def counted(self) -> list[str]:
        """Names of the counted experiments, in census order."""
        return [name for name, experiment in self.census.experiments.items() if experiment["counted"]]

    @property
    def own(self) -> list[str]:
        """Names of experiments of one's own that the edition trains, in census order.

        An ingested edition has none, and neither has one that selects among the published runs.
        """
        if self.ingested:
            return []
        return [name for name, one in self.census.experiments.items() if is_own(one) and one["runs"]]

    @property
    def all_results(self) -> Path:
        """Folder of everything that is made, with a folder for each edition."""
        return self.root / self.settings["results_dir"]

    @property
    def results(self) -> Path:
        """Folder of the edition's results."""
        return self.all_results / self.edition

    @property
    def records(self) -> Path:
        """Folder of the edition's records."""
        return self.results / "runs"

    @property
    def checkpoints(self) -> Path:
        """Folder of the weights that other runs of the edition start from."""
        return self.results / "checkpoints"

    @property
    def data(self) -> Path:
        """Folder of the prepared data sets."""
        return self.root / self.settings["data_dir"]

    @property
    def archive(self) -> str | None:
        """The setting ``released_archive``."""
        return self.settings["released_archive"]


# What a worker has read for the jobs that it forks.
_SHARED: dict[tuple[Path, str], Project] = {}


def load_project(root: Path | str, overrides: Mapping[str, Any] | None = None) -> Project:
    """Read the settings of the workflow in *root*; its census is read when it is first asked for.

    Raises:
        ConfigError: as from :func:`load_settings`.
    """
    shared = _SHARED.get(_key(root, overrides))
    return shared or Project(Path(root), load_settings(Path(root), overrides))


def share_project(root: Path, overrides: Mapping[str, Any]) -> bool:
    """Read a project with its census for all processes that this one forks; return whether that is new.

    Raises:
        ConfigError, CensusError: as from :func:`load_project` and of its census.
    """
    key = _key(root, overrides)
    if key in _SHARED:
        return False
    project = load_project(root, overrides)
    _ = project.census
    _SHARED[key] = project
    return True


def _key(root: Path | str, overrides: Mapping[str, Any] | None) -> tuple[Path, str]:
    return Path(root).resolve(), repr(sorted((overrides or {}).items()))


def load_settings(root: Path, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Read and check the settings of the workflow in *root*.

    Args:
        root: folder that holds ``config``.
        overrides: settings that win over the file's, e.g. Snakemake's ``config``.

    Raises:
        ConfigError: an unknown key, a value that does not fit, an edition that does not exist, a folder whose name
            cannot be used.
    """
    root, overrides = Path(root), dict(overrides or {})
    settings = read_yaml(root / FILE, FILE, ConfigError)
    check_schema(settings, "config", FILE, ConfigError)
    settings |= {
        key: None if value == "null" and key in NULLABLE else value for key, value in overrides.items()
    }
    check_schema(settings, "config", "--config" if overrides else FILE, ConfigError)

    def where(key: str) -> str:
        return "--config" if key in overrides else FILE

    known = edition_names(root)
    # An edition on other copies of its data, or of first epochs, can be named as its folder is.
    settings |= spelt_out(settings["edition"], known)
    if settings["edition"] not in known:
        hint = did_you_mean(settings["edition"], known)
        problem = f"expected one of {', '.join(known)}; got '{settings['edition']}'{hint}"
        raise ConfigError(where("edition"), "edition", problem)
    if settings["data_copies"]:
        settings["data_copies"] = _expanded(settings["data_copies"], where("data_copies"), "data_copies")
    for key in FOLDERS:
        settings[key] = _folder(settings[key], root, where(key), key)
    if settings["released_archive"]:
        settings["released_archive"] = _expanded(
            settings["released_archive"], where("released_archive"), "released_archive"
        )
    return settings


# Settings that decide what is made, and where.
_DECIDING = (
    *("edition", "paper_data", "max_steps", "max_epochs"),
    *("precision", "threads_per_job", "compile", "cudnn_benchmark", "results_dir"),
)


def words_of(root: Path, settings: Mapping[str, Any]) -> str:
    """Return settings as a command line needs them to make, or find, the same: `` --config KEY=VALUE ...``.

    Args:
        root: folder that holds ``config``.
        settings: as from :func:`load_settings`; named are those that differ from the file's. Empty where none does.
    """
    file = load_settings(root)
    given = {key: settings[key] for key in _DECIDING if settings[key] != file[key]}
    words = [
        shlex.quote(f"{key}={value if isinstance(value, str) else json.dumps(value)}")
        for key, value in given.items()
    ]
    return " ".join([" --config", *words]) if words else ""


def _expanded(text: str, where: str, key: str) -> str:
    """A path with the home folder in place of a leading ``~``."""
    try:
        expanded = os.path.expanduser(text)  # noqa: PTH111  (Path would drop what tells a typing error)
        expanded.encode()
    except UnicodeEncodeError:
        raise ConfigError(where, key, f"expected a name in UTF-8; got {text!r}") from None
    if expanded.startswith("~"):
        user = expanded.partition("/")[0]
        raise ConfigError(where, key, f"{user}: there is no home folder of this name; got '{text}'")
    return expanded


def _folder(text: str, root: Path, where: str, key: str) -> str:
    """A folder's name in the one form that paths, targets and Snakemake's rules share.

    Any name will do, spaces and quotes too, that means nothing else to Snakemake.
    """
    if "://" in text:
        problem = (
            f"expected a folder; got '{text}'. Files of an object store are Snakemake's business: "
            "docs/object-storage.md"
        )
        raise ConfigError(where, key, problem)
    name = os.path.normpath(_expanded(text, where, key))
    if any(sign in name for sign in MEANINGFUL):
        problem = (
            f"expected a folder without {' '.join(MEANINGFUL)}, which Snakemake's paths use; got '{text}'"
        )
        raise ConfigError(where, key, problem)
    if name.startswith("-"):
        raise ConfigError(where, key, f"expected a folder that cannot be taken for an option; got '{text}'")
    if name == os.curdir:
        problem = f"expected a folder of its own, not the one of the Snakefile; got '{text}'"
        raise ConfigError(where, key, problem)
    place = root / name
    try:
        nearest = next(part for part in (place, *place.parents) if part.exists())
    except OSError as error:
        raise ConfigError(where, key, f"{place}: {error.strerror}; expected a folder") from None
    if not nearest.is_dir():
        raise ConfigError(where, key, f"{nearest} is a file; expected a folder")
    return name
