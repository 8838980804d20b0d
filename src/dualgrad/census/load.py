"""Reading the census: files, checks, and the object that everybody asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dualgrad.census import editions, graph
from dualgrad.census.expand import Experiment, Library
from dualgrad.census.vocabulary import CensusError, closest
from dualgrad.inputs import check_schema, did_you_mean, read_yaml

PROTOCOLS, TOTALS = "protocols.yaml", "totals.yaml"


@dataclass(frozen=True)
class Census:
    """All runs of one edition.

    Attributes:
        root: folder that holds the Snakefile and ``config/census``.
        edition: the edition's file, resolved, with its ``name``.
        runs: run id (``EXPERIMENT/RUN``) -> resolved run; plain JSON types; shared parts, so treat as read-only.
        experiments: name -> title, series, counted, count, file, runs (ids), in census order.
    """

    root: Path
    edition: dict[str, Any]
    runs: dict[str, dict[str, Any]]
    experiments: dict[str, dict[str, Any]]
    _known: frozenset[str] = field(default=frozenset(), repr=False)

    def run(self, target: str) -> dict[str, Any]:
        """Return one run by its id; raises CensusError with the nearest id if there is none."""
        if target in self.runs:
            return self.runs[target]
        if target in self._known:
            raise CensusError(
                "census", target, f"the edition '{self.edition['name']}' does not select this run"
            )
        raise CensusError("census", target, f"there is no such run{closest(target, self.runs)}")

    def experiment(self, name: str) -> dict[str, Any]:
        """Return one experiment; raises CensusError with the nearest name if there is none."""
        if name not in self.experiments:
            hint = did_you_mean(name, self.experiments)
            raise CensusError("census", name, f"there is no such experiment{hint}")
        return self.experiments[name]


def find_root(start: Path | None = None) -> Path:
    """Nearest folder from *start* (default: the working folder) upwards with a Snakefile and config/census."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "config" / "census").is_dir() and (folder / "Snakefile").is_file():
            return folder
    raise CensusError(
        start, "", "neither this folder nor one above it holds a Snakefile and config/census; use --root"
    )


def load_census(root: Path, config: Mapping[str, Any] | None = None) -> Census:
    """Read, check and expand the census for the edition that *config* names.

    Args:
        root: folder that holds ``config/census``, ``config/editions`` and ``workflow/schemas``.
        config: as from ``dualgrad.config.load_config``; ``edition``, ``precision``, ``paper_data`` and ``max_steps``
            are read. Default: the edition ``demo``.

    Raises:
        CensusError: an unknown or malformed key, a count that does not add up, a name that occurs twice, a run that
            needs an unknown run, a circle of runs, an unknown edition.
    """
    root = Path(root)
    config = config or {}
    folder = root / "config" / "census"
    schema = root / "workflow" / "schemas" / "census.schema.yaml"
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise CensusError(folder, "", "no census files here")
    content = {}
    for path in files:
        shown = path.relative_to(root).as_posix()
        content[path.name] = (shown, read_yaml(path, shown, CensusError))
        check_schema(content[path.name][1], schema, shown, CensusError)
    shown_totals, totals = content.pop(TOTALS, (f"config/census/{TOTALS}", {"totals": {}}))
    shown, protocols = content.pop(PROTOCOLS)

    library = Library(protocols["defaults"])
    for name, entry in protocols["protocols"].items():
        library.entries[name] = (shown, entry)
    found: dict[str, tuple[str, str, dict]] = {}
    for shown, data in content.values():
        for name, entry in data["experiments"].items():
            if name in library.entries:
                first = library.entries[name][0]
                raise CensusError(shown, f"experiments.{name}", f"the name is already used in {first}")
            library.entries[name] = (shown, entry)
            found[name] = (shown, entry.get("series", data["series"]), entry)

    built: dict[str, Experiment] = {}

    def runs_of(name: str) -> list[str]:
        if name not in built:
            raise ValueError(f"no experiment is called '{name}'{did_you_mean(name, built)}")
        return [f"{name}/{run}" for run in built[name].names()]

    for name, (shown, _, entry) in found.items():
        built[name] = Experiment(name, entry, (shown, f"experiments.{name}"), library, runs_of)

    published = totals["totals"]
    runs: dict[str, dict[str, Any]] = {}
    experiments: dict[str, dict[str, Any]] = {}
    for name, (shown, series, entry) in found.items():
        counted = entry.get("counted", series in published)
        own = built[name].runs()
        if len(own) != entry["count"]:
            raise CensusError(
                shown,
                f"experiments.{name}.count",
                f"expected {entry['count']} runs, but the factors give {len(own)}",
            )
        for run_name, body in own.items():
            runs[f"{name}/{run_name}"] = {
                "experiment": name, "run": run_name, "series": series, "counted": counted, **body
            }  # fmt: skip
        experiments[name] = {
            "title": entry["title"], "series": series, "counted": counted, "count": len(own), "file": shown,
            "runs": [f"{name}/{run_name}" for run_name in own],
        }  # fmt: skip
    _check_totals(experiments, published, shown_totals)
    graph.link(runs, {name: (file, f"experiments.{name}") for name, (file, *_) in found.items()})

    edition = editions.load_edition(root, config)
    resolved = editions.resolve_all(runs, edition)
    kept = editions.select(resolved, edition)
    if len(kept) < len(resolved):
        for one in experiments.values():
            one["runs"] = [target for target in one["runs"] if target in kept]
    return Census(root, edition, kept, experiments, frozenset(resolved))


def _check_totals(experiments: Mapping[str, Mapping], published: Mapping[str, int], shown: str) -> None:
    for series, expected in published.items():
        if series == "all":
            got = sum(one["count"] for one in experiments.values() if one["counted"])
        else:
            got = sum(
                one["count"] for one in experiments.values() if one["counted"] and one["series"] == series
            )
        if got != expected:
            raise CensusError(
                shown, f"totals.{series}", f"expected {expected} counted runs, the experiments give {got}"
            )
