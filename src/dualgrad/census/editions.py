"""Editions: where records come from, and what becomes of a published run there (DESIGN §3).

``resolve(run, edition)`` is a pure function of the published run and the edition's file.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from dualgrad.census.graph import closure
from dualgrad.census.vocabulary import CensusError, merge
from dualgrad.inputs import check_schema, did_you_mean, read_yaml


def load_edition(root: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Read ``config/editions/<edition>.yaml``, with what it extends and with *config*'s options laid on it.

    Raises:
        CensusError: there is no such edition, or its file is malformed.
    """
    name = config.get("edition") or "demo"
    folder = root / "config" / "editions"
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    chain, edition = [name], {}
    while chain[-1]:
        if chain[-1] not in known or chain[-1] in chain[:-1]:
            hint = did_you_mean(chain[-1], known)
            raise CensusError(
                "config/editions", chain[-1], f"there is no such edition{hint} (known: {', '.join(known)})"
            )
        shown = f"config/editions/{chain[-1]}.yaml"
        data = read_yaml(root / shown, shown, CensusError)
        check_schema(data, root / "workflow" / "schemas" / "edition.schema.yaml", shown, CensusError)
        edition = merge(data, edition)
        chain.append(edition.pop("extends", None) if len(chain) == 1 else data.get("extends"))
    edition.pop("extends", None)
    edition["name"] = name
    if config.get("precision"):
        edition["precision"] = config["precision"]
    if edition.get("options"):
        edition["synthetic"] = config.get("paper_data", "cifar") == "synthetic"
        edition["max_steps"] = config.get("max_steps")
    return edition


def resolve(run: Mapping[str, Any], edition: Mapping[str, Any]) -> dict[str, Any]:
    """The run as this edition executes it: a pure transformation of the published *run*."""
    return _Edition(edition).resolve(run)


def resolve_all(runs: Mapping[str, Mapping], edition: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """``resolve`` for every run, doing equal parts once."""
    transform = _Edition(edition)
    return {target: transform.resolve(run) for target, run in runs.items()}


class _Edition:
    """Transforms parts of runs and remembers them: published runs share their parts, and so do the results."""

    def __init__(self, edition: Mapping[str, Any]) -> None:
        self.edition = edition
        self.memo: dict[tuple, Any] = {}
        self.head = {
            "edition": edition["name"],
            "precision": edition.get("precision"),
            "synthetic": bool(edition.get("synthetic") or edition.get("max_steps")),
            "max_steps": edition.get("max_steps"),
        }

    def resolve(self, run: Mapping[str, Any]) -> dict[str, Any]:
        first = ("experiment", "run", "series", "counted")
        resolved = {key: run[key] for key in first} | {
            "edition": self.head["edition"],
            "protocol": run["protocol"],
        }
        resolved |= {key: self.head[key] for key in ("precision", "synthetic", "max_steps")}
        for key, value in run.items():
            if key not in resolved:
                resolved[key] = value
        return resolved


def select(runs: dict[str, dict[str, Any]], edition: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The runs that this edition has: all of them, or those its `select` names and everything they need."""
    rule = edition.get("select")
    if not rule:
        return runs
    chosen = {target for target in runs if any(fnmatchcase(target, pattern) for pattern in rule)}
    wanted = closure(chosen, runs)
    return {target: run for target, run in runs.items() if target in wanted}
