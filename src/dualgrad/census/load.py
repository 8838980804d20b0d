"""Reading the census: files, checks, and the object that everybody asks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dualgrad.census import dependencies, editions
from dualgrad.census.datasets import FOLDER as DATASETS
from dualgrad.census.datasets import DataSet, load_datasets
from dualgrad.census.expand import FACTS, Experiment, Library
from dualgrad.census.run import trained_on
from dualgrad.census.stages import CensusError, closest
from dualgrad.files import visible
from dualgrad.validation import check_schema, did_you_mean, holds_workflow, read_yaml

FOLDER, PROTOCOLS, TOTALS = "config/census", "protocols.yaml", "totals.yaml"


@dataclass(frozen=True)
class Census:
    """All runs of one edition.

    Attributes:
        root: folder that holds ``config``.
        edition: the edition's file, resolved, with its ``name``.
        runs: run id (``EXPERIMENT/RUN``) -> resolved run; plain JSON types; shared parts, so treat as read-only.
        experiments: name -> title, series, counted, count, file, notes, runs (ids), in census order.
        datasets: data sets by name, as ``config/datasets`` describes them.
        seconds_recorded: run id -> wall seconds that the publication recorded; runs without are not in it.
    """

    root: Path
    edition: dict[str, Any]
    runs: dict[str, dict[str, Any]]
    experiments: dict[str, dict[str, Any]]
    datasets: dict[str, DataSet] = field(default_factory=dict)
    seconds_recorded: dict[str, float] = field(default_factory=dict, repr=False)
    _known: frozenset[str] = field(default=frozenset(), repr=False)

    def run(self, target: str) -> dict[str, Any]:
        """Return one run by its id; raises CensusError with the nearest id if there is none."""
        if target in self.runs:
            return self.runs[target]
        if target in self._known:
            raise CensusError(
                "census", target, f"the edition '{self.edition['name']}' does not select this run"
            )
        if target in self.experiments:
            first = (
                self.experiments[target]["runs"][0] if self.experiments[target]["runs"] else f"{target}/RUN"
            )
            problem = f"is an experiment, not a run; `dualgrad census {target}` lists its runs, e.g. {first}"
            raise CensusError("census", target, problem)
        called_so = [name for name in self.runs if name.partition("/")[2] == target][:3]
        hint = f"; did you mean {' or '.join(called_so)}" if called_so else closest(target, self.runs)
        raise CensusError("census", target, f"there is no such run{hint}")

    def experiment(self, name: str) -> dict[str, Any]:
        """Return one experiment; raises CensusError with the nearest name if there is none."""
        if name not in self.experiments:
            hint = did_you_mean(name, self.experiments)
            raise CensusError("census", name, f"there is no such experiment{hint}")
        return self.experiments[name]


def find_root(start: Path | None = None) -> Path:
    """Return the nearest folder from *start* (default: the working folder) upwards that holds a workflow.

    Raises:
        CensusError: there is none.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if holds_workflow(folder):
            return folder
    raise CensusError(start, "", "neither this folder nor one above it holds config/census; use --root")


# What was asked for last in this process, by what it was read from; the last one at the end.
_KEPT: dict[str, Census] = {}
_KEPT_AT_MOST = 8


def load_census(root: Path, config: Mapping[str, Any] | None = None) -> Census:
    """Read, check and expand the census for the edition that *config* names; what was read before is not read again.

    Args:
        root: folder that holds ``config/census`` and ``config/editions``.
        config: as from ``dualgrad.project.load_settings``; those of ``editions.SETTINGS`` are read. Default: the
            edition ``demo``.

    Raises:
        CensusError: an unknown or malformed key, a count that does not add up, a name that occurs twice, a run that
            needs an unknown run, a circle of runs, an unknown edition.
    """
    root, config = Path(root), config or {}
    source = _source(root, config)
    made = _KEPT.pop(source, None) or _load(root, config)
    _KEPT[source] = made
    while len(_KEPT) > _KEPT_AT_MOST:
        del _KEPT[next(iter(_KEPT))]
    return replace(made, root=root)


def _source(root: Path, config: Mapping[str, Any]) -> str:
    """A digest of all that a census is made of."""
    settings = [config.get(key, default) for key, default in editions.SETTINGS.items()]
    found = hashlib.sha256(repr(settings).encode())
    for folder in (FOLDER, editions.FOLDER, DATASETS):
        for path in visible(root / folder, "*.yaml"):
            try:
                content = path.read_bytes()
            except OSError:
                content = b""  # reading it will say what is wrong
            found.update(f"\0{folder}/{path.name}\0{len(content)}\0".encode() + content)
    return found.hexdigest()


def _load(root: Path, config: Mapping[str, Any]) -> Census:
    datasets = load_datasets(root)
    library, totals, entries = _read(root)
    edition = editions.load_edition(root, config, datasets)
    entries |= _helpers(edition, library)
    built: dict[str, Experiment] = {}

    def runs_of(name: str) -> list[str]:
        if name not in built:
            raise ValueError(f"no experiment is called '{name}'{did_you_mean(name, built)}")
        return [f"{name}/{run}" for run in built[name].names()]

    for name, (place, _, entry) in entries.items():
        built[name] = Experiment(name, entry, place, library, runs_of)

    published: dict[str, dict[str, Any]] = {}
    seconds: dict[str, float] = {}
    experiments: dict[str, dict[str, Any]] = {}
    for name, (place, series, entry) in entries.items():
        head = {"series": series, "counted": entry.get("counted", series in totals)}
        own = built[name].runs()
        if len(own) != entry["count"]:
            problem = f"expected {entry['count']} runs, but the factors give {len(own)}"
            raise CensusError(place[0], f"{place[1]}.count", problem)
        for run, content in own.items():
            recorded = {key: content.pop(key, None) for key in FACTS}["seconds_recorded"]
            if recorded is not None:
                seconds[f"{name}/{run}"] = recorded
            published[f"{name}/{run}"] = {"experiment": name, "run": run, **head, **content}
        experiments[name] = {"title": entry["title"], **head, "count": len(own), "file": place[0]}
        experiments[name]["notes"] = entry.get("notes", [])
        experiments[name]["runs"] = [f"{name}/{run}" for run in own]
    _check_totals(experiments, totals)

    runs = editions.resolve_all(published, edition)
    _add_data(runs, datasets, {name: place for name, (place, *_) in entries.items()})
    dependencies.link(runs, {name: place for name, (place, *_) in entries.items()})
    kept = editions.select(runs, edition)
    if len(kept) < len(runs):
        for one in experiments.values():
            one["runs"] = [target for target in one["runs"] if target in kept]
    return Census(root, edition, kept, experiments, datasets, seconds, frozenset(runs))


# Experiment -> (place, series, what the file says).
Entries = dict[str, tuple[tuple[str, str], str, dict[str, Any]]]


def _read(root: Path) -> tuple[Library, dict[str, int], Entries]:
    """Read and check the files: what can be extended, the totals, and the experiments."""
    content: dict[str, dict[str, Any]] = {}
    for path in visible(root / FOLDER, "*.yaml"):
        shown = f"{FOLDER}/{path.name}"
        content[path.name] = read_yaml(path, shown, CensusError)
        check_schema(content[path.name], "census", shown, CensusError)
    for name, key in ((PROTOCOLS, "protocols"), (TOTALS, "totals")):
        if key not in content.get(name, {}):
            raise CensusError(f"{FOLDER}/{name}", key, "this block is missing; it belongs to the census")
    totals, shared = content.pop(TOTALS)["totals"], content.pop(PROTOCOLS)

    library = Library(shared["defaults"])
    for name, entry in shared["protocols"].items():
        library.add(name, (f"{FOLDER}/{PROTOCOLS}", f"protocols.{name}"), entry)
    entries: Entries = {}
    for file, data in content.items():
        if "experiments" not in data:
            problem = "this block is missing; expected series and experiments"
            raise CensusError(f"{FOLDER}/{file}", "experiments", problem)
        for name, entry in data["experiments"].items():
            place = (f"{FOLDER}/{file}", f"experiments.{name}")
            library.add(name, place, entry)
            entries[name] = (place, entry.get("series", data["series"]), entry)
    return library, totals, entries


def _helpers(edition: Mapping[str, Any], library: Library) -> Entries:
    """Uncounted runs that only this edition needs, such as the pretraining of a small text model."""
    helpers = edition.get("helpers", {})
    shown = edition["file"]
    if helpers:
        data = {"series": "helper", "experiments": helpers}
        check_schema(data, "census", shown, CensusError)
    entries: Entries = {}
    for name, entry in helpers.items():
        place = (shown, f"helpers.{name}")
        library.add(name, place, entry)
        entries[name] = (place, "helper", {**entry, "counted": False})
    return entries


def _add_data(
    runs: Mapping[str, dict[str, Any]], datasets: Mapping[str, DataSet], places: Mapping[str, Any]
) -> None:
    """Check that runs fit their data sets, and give each what planning has to know of its data."""
    checked: set[int] = set()  # tasks are shared by many runs
    enough: set[tuple[int, int, str]] = set()
    for target, run in runs.items():
        task = run["task"]
        if id(task) not in checked:
            file, key = places[run["experiment"]]
            one = datasets.get(task["dataset"])
            if one is None:
                hint = did_you_mean(task["dataset"], datasets)
                problem = (
                    f"'{target}' trains on '{task['dataset']}', which no file in {DATASETS} describes{hint}"
                )
                raise CensusError(file, f"{key}.task.dataset", problem)
            for what, asked, held in (
                ("kind", task["kind"], one.kind),
                ("classes", task["classes"], one.number_of_classes),
            ):
                if asked != held:
                    problem = (
                        f"'{target}' says {asked}, but the data set {one.name} has {held}; where the entry says "
                        f"nothing it has the protocol's, so write task: {{{what}: {held}}}"
                    )
                    raise CensusError(file, f"{key}.task.{what}", problem)
            if (task.get("split") or "train") not in one.splits:
                hint = did_you_mean(task["split"], one.splits)
                problem = f"the data set {one.name} has no split '{task['split']}'{hint}"
                raise CensusError(file, f"{key}.task.split", problem)
            checked.add(id(task))
        sizes = (id(task), id(run["value"]), run["noise"]["kind"])
        if sizes not in enough:
            if unfit := _too_few(run, datasets[task["dataset"]]):
                file, key = places[run["experiment"]]
                raise CensusError(file, f"{key}.{unfit[0]}", f"'{target}': {unfit[1]}")
            enough.add(sizes)
        run["data"] = datasets[task["dataset"]].planned


def _too_few(run: Mapping[str, Any], dataset: DataSet) -> tuple[str, str] | None:
    """Which key of a run asks for more examples than there are, and what is wrong with it; None: none does."""
    task, trusted = run["task"], run["value"]["trusted"]
    given = task["synthetic"] if isinstance(task["synthetic"], Mapping) else {}
    examples = given.get("train") or dataset.examples(task.get("split") or "train")
    if examples is None or (task["synthetic"] is True):
        return None
    pool = run["noise"]["kind"] == "text_pool"
    ratio = trusted["ratio"] if trusted and "ratio" in trusted else 0.0
    if ratio and not pool and int(ratio * examples) < 1:  # of each class a pool sets aside one at least
        return (
            "value.trusted.ratio",
            f"expected at least one of {examples:,} examples; {ratio:g} of them is none",
        )
    left = examples - int(ratio * examples) + task["classes"] if pool else examples
    if pool and task["subset"] and task["subset"] > left:
        return "task.subset", f"expected at most the pool of {left:,} examples; got {task['subset']:,}"
    structure = trained_on(task, task["subset"] or examples)
    if task["drop_last"] and task["batch_size"] > structure:
        problem = f"with drop_last no batch of {task['batch_size']:,} is left of {structure:,} examples"
        return "task.batch_size", problem
    return None


def _check_totals(experiments: Mapping[str, Mapping[str, Any]], totals: Mapping[str, int]) -> None:
    for series, expected in totals.items():
        mine = [one for one in experiments.values() if one["counted"] and series in (one["series"], "all")]
        got = sum(one["count"] for one in mine)
        if got != expected:
            problem = f"expected {expected} counted runs, but the experiments give {got}"
            raise CensusError(f"{FOLDER}/{TOTALS}", f"totals.{series}", problem)
