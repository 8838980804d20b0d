"""Editions: where records come from, and what becomes of a published run there (contract.md#editions).

``resolve(run, edition)`` is a pure function of the published run and the edition's file; editions have no
experiments of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from dualgrad.census.datasets import DataSet, copies_named, load_datasets
from dualgrad.census.dependencies import closure
from dualgrad.census.networks import network_names
from dualgrad.census.run import Checker, UnfitRun
from dualgrad.census.stages import CensusError, closest, merge
from dualgrad.files import visible
from dualgrad.validation import check_schema, did_you_mean, read_yaml

FOLDER = "config/editions"
# Settings that make another edition of an edition, with the values that do not.
_OPTIONS: dict[str, Any] = {
    "paper_data": "published",
    "max_steps": None,
    "max_epochs": None,
    "compile": False,
    "cudnn_benchmark": False,
}
# All settings that a census depends on, with what they are unless said.
SETTINGS: dict[str, Any] = {"edition": "demo", "precision": None, **_OPTIONS}
# What a run says only where it is so: all other runs are what they were before there was such an option.
_NAMED = ("max_epochs", "compile", "cudnn_benchmark")


def edition_names(root: Path) -> list[str]:
    """Names of the editions that *root* knows."""
    return [path.stem for path in visible(Path(root) / FOLDER, "*.yaml")]


def spelt_out(name: str, known: Iterable[str]) -> dict[str, Any]:
    """Return the settings behind the name of an edition on other copies or of first epochs; empty: no such name.

    ``paper-sst2_tsv`` is ``edition=paper paper_data=sst2_tsv``, ``paper-first3`` is ``edition=paper max_epochs=3``.
    """
    base, *parts = name.split("-")
    if name in known or base not in known or not parts:
        return {}
    settings: dict[str, Any] = {"edition": base}
    if found := re.fullmatch(r"first([1-9]\d{0,5})", parts[-1]):
        settings["max_epochs"] = int(found[1])
        parts = parts[:-1]
    return settings | ({"paper_data": ",".join(parts)} if parts else {})


def load_edition(
    root: Path, config: Mapping[str, Any], datasets: Mapping[str, DataSet] | None = None
) -> dict[str, Any]:
    """Read the edition that *config* names, with what it extends beneath it and *config*'s options on top.

    An edition that is tried out on synthetic data or cut to a few steps becomes the edition that its file names under
    `trial`; on other copies of its data sets, or cut to its first epochs, it becomes one of a name of its own
    (``paper-sst2_tsv``, ``paper-cifar10_jpeg-first3``). Another name, another folder, so none of these records can be
    taken for, or replace, one of another kind.

    Raises:
        CensusError: there is no such edition, its file is malformed, or an option does not apply to it.
    """
    name = config.get("edition", "demo")
    edition = _read(Path(root), name, ())
    sets = load_datasets(root) if datasets is None else datasets
    _check_names(f"{FOLDER}/{name}.yaml", edition, sets)
    options = {option: config.get(option, default) for option, default in _OPTIONS.items()}
    changed = [option for option, given in options.items() if given != _OPTIONS[option]]
    for option in changed:
        if option not in edition["options"]:
            raise CensusError("config", option, f"applies to the edition paper only, not to {name}")
    trial: Any = edition.get("trial")
    if edition["options"] and not trial:
        problem = "the key is missing: an edition with options says which edition its trials are"
        raise CensusError(f"{FOLDER}/{name}.yaml", "trial", problem)
    if options["max_steps"] is not None and options["max_epochs"] is not None:
        raise CensusError("config", "max_epochs", "cuts stages as max_steps does; give one of the two")
    copies = []
    if options["paper_data"] not in ("published", "synthetic"):
        copies = copies_named(options["paper_data"], sets)
    if options["paper_data"] == "synthetic" or options["max_steps"] is not None:
        name, edition = trial, _read(Path(root), trial, ())
    elif name == trial:
        problem = "is for trials: say what is cut, by paper_data=synthetic or max_steps (or both)"
        raise CensusError("config", "edition", f"{name} {problem}")
    edition = {"name": name, **edition, **options, "file": f"{FOLDER}/{name}.yaml"}
    edition["stands_in"] = {one.copy_of: one.name for one in copies}
    if changed and name != trial:
        edition |= _renamed(name, edition["title"], copies, options["max_epochs"])
    edition["precision"] = config.get("precision") or edition["precision"]
    return edition


def _check_names(shown: str, edition: Mapping[str, Any], sets: Mapping[str, DataSet]) -> None:
    """Refuse a rule for a data set or a network that does not exist: what was meant would stay as it is."""
    for where, what, known in (("datasets", "data set", list(sets)), ("models", "network", network_names())):
        for name in edition.get(where, {}):
            if name not in known and ":" not in name:
                hint = did_you_mean(name, known)
                raise CensusError(
                    shown, where, f"there is no {what} '{name}'{hint} (known: {', '.join(known)})"
                )


def _renamed(name: str, title: str, copies: list[DataSet], max_epochs: int | None) -> dict[str, str]:
    """Name and title of an edition on other copies of its data sets, or cut to its first epochs."""
    names = [name, *(one.name for one in copies)]
    if copies:
        title += f", on {' and '.join(one.title for one in copies)}"
    if max_epochs is not None:
        names.append(f"first{max_epochs}")
        title += (
            f"; the first {max_epochs} epochs of each stage"
            if max_epochs > 1
            else "; the first epoch of each stage"
        )
    return {"name": "-".join(names), "title": title}


def _read(root: Path, name: str, chain: tuple[str, ...]) -> dict[str, Any]:
    known = edition_names(root)
    if name not in known:
        raise CensusError(
            FOLDER,
            str(name),
            f"there is no such edition{did_you_mean(name, known)} (known: {', '.join(known)})",
        )
    shown = f"{FOLDER}/{name}.yaml"
    if name in chain:
        raise CensusError(shown, "extends", f"goes in a circle: {' -> '.join([*chain, name])}")
    data = read_yaml(root / shown, shown, CensusError)
    check_schema(data, "edition", shown, CensusError)
    if "extends" in data and data["extends"] not in known:
        problem = f"there is no edition '{data['extends']}'{did_you_mean(data['extends'], known)}"
        raise CensusError(shown, "extends", f"{problem} (known: {', '.join(known)})")
    base = _read(root, data["extends"], (*chain, name)) if "extends" in data else {}
    # Where trials of an edition go is its own: another one's would end in the same folder.
    base = {**{key: value for key, value in base.items() if key != "trial"}, "options": []}
    return merge(base, {key: value for key, value in data.items() if key != "extends"})


def resolve(run: Mapping[str, Any], edition: Mapping[str, Any]) -> dict[str, Any]:
    """The run as this edition executes it: a pure transformation of the published *run*.

    Raises:
        CensusError: a rule of the edition does not fit the run.
    """
    return _Transform(edition).run(run)


def resolve_all(
    runs: Mapping[str, Mapping[str, Any]], edition: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """``resolve`` for every run, doing equal parts once."""
    transform, checker = _Transform(edition), Checker()
    resolved = {target: transform.run(run) for target, run in runs.items()}
    for target, run in resolved.items():
        try:
            checker.check(run)
        except UnfitRun as unfit:
            problem = f"'{target}' becomes a run that cannot be trained: {unfit.problem}"
            raise CensusError(transform.file, unfit.key, problem) from None
    return resolved


class _Transform:
    """Transforms runs part by part and remembers the parts: published runs share theirs, and so do the results."""

    def __init__(self, edition: Mapping[str, Any]) -> None:
        self.edition = edition
        self.file = edition["file"]
        self.memo: dict[tuple[Any, ...], tuple[Any, Any]] = {}
        synthetic = edition["paper_data"] == "synthetic"
        self.synthetic = synthetic
        self.cut = edition["max_steps"] is not None
        self.shortened = self.cut or edition["max_epochs"] is not None
        self.synthetic_rules = edition.get("synthetic", {}) if synthetic else {}
        self.common = {
            "edition": edition["name"],
            "precision": edition["precision"],
            # Whatever was trained on synthetic data or cut short must never pass for a record of the census.
            "synthetic": synthetic or self.cut,
            "max_steps": edition["max_steps"],
        }
        self.common |= {key: edition[key] for key in _NAMED if edition[key] != _OPTIONS[key]}
        self.stands_in: dict[str, str] = edition["stands_in"]

    def run(self, run: Mapping[str, Any]) -> dict[str, Any]:
        task, factor = self._once("task", run["task"], self._task)
        scale = (lambda part: self._scaled(part, factor)) if factor != 1 else None
        changed = {
            "task": task,
            "value": self._once("value", run["value"], self._value),
            "optimizer": self._once(("lr", factor), run["optimizer"], scale) if scale else run["optimizer"],
            "stages": self._once(("stages", factor), run["stages"], lambda part: self._stages(part, factor)),
            "log": self._once("log", run["log"], self._log),
            "head_cosine_every": self._renumber("head_cosine_every", run["head_cosine_every"]),
        }
        order = (
            "experiment",
            "run",
            "series",
            "counted",
            "edition",
            "protocol",
            "precision",
            "synthetic",
            "max_steps",
            *(key for key in _NAMED if key in self.common),
        )
        whole = {**run, **self.common, **changed}
        return {key: whole[key] for key in order} | whole

    def _once(self, which: Any, part: Any, make: Any) -> Any:
        """*make* of *part*, computed once per object; the object is kept, so its identity stays its own."""
        key = (which, id(part))
        if key not in self.memo:
            self.memo[key] = (part, make(part))
        return self.memo[key][1]

    def _rules(self, task: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """What applies to a task, from the general to the special: kind, data set, model; then synthetic data.

        Data sets and networks without a rule stay as they are.
        """
        rules = []
        model = task["model"]
        names = {"kinds": task["kind"], "datasets": task["dataset"]}
        names["models"] = model.get("import") or model["name"]
        for where, name in names.items():
            known = self.edition.get(where)
            if known is None:
                continue
            if name in known:
                rules.append(known[name])
        synthetic = (self.synthetic_rules.get(where, {}).get(name) for where, name in names.items())
        return rules + [rule for rule in synthetic if rule]

    def _task(self, task: Mapping[str, Any]) -> tuple[dict[str, Any], float]:
        changed, factor = dict(task), 1.0
        for rule in self._rules(task):
            changed |= rule.get("task", {})
            factor = rule.get("lr_factor", factor)
            if "hidden_times" in rule:  # keeps width a factor: hidden layers grow with the published option
                changed["model"] = self._grown(changed["model"], task["model"], rule["hidden_times"])
        changed["synthetic"] = (changed.get("synthetic") or True) if self.synthetic else False
        if "import" in changed["model"]:
            changed["model"] = {"name": changed["model"]["import"], **changed["model"]}
        changed["dataset"] = self.stands_in.get(changed["dataset"], changed["dataset"])
        return changed, factor

    def _grown(self, model: Mapping[str, Any], published: Mapping[str, Any], option: str) -> dict[str, Any]:
        """*model* with hidden layers as many times as large as an option of the published network says."""
        times, key = published.get(option), f"models.{published['name']}"
        if isinstance(times, bool) or not isinstance(times, (int, float)):
            problem = f"expected an option of '{published['name']}' that is a number; got '{option}'"
            raise CensusError(self.file, f"{key}.hidden_times", problem)
        hidden = model.get("hidden")
        if not isinstance(hidden, list) or not all(type(size) is int for size in hidden):
            problem = f"expected hidden, a list of integers, as hidden_times is set; got {hidden!r}"
            raise CensusError(self.file, f"{key}.task.model", problem)
        return {**model, "hidden": [max(1, int(size * times)) for size in hidden]}

    def _value(self, value: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**value, "period": self._renumber("value_period", value["period"])}

    def _log(self, log: Mapping[str, Any]) -> Mapping[str, Any]:
        renumbered = {key: self._renumber(key, log[key]) for key in ("steps_every", "first_steps")}
        return {**log, **renumbered}

    def _renumber(self, what: str, number: Any) -> Any:
        return self.edition.get("renumber", {}).get(what, {}).get(number, number)

    def _scaled(self, part: dict[str, Any], factor: float) -> dict[str, Any]:
        # Rounded, so that 0.001 · 20 is written 0.02.
        return part if part["lr"] is None else {**part, "lr": float(f"{part['lr'] * factor:.12g}")}

    def _stages(self, stages: list[dict[str, Any]], factor: float) -> list[dict[str, Any]]:
        most = self.edition.get("epochs_per_segment")
        if self.shortened:  # a few steps or epochs pass no gate, and every stage is to be tried
            stages = [
                {**stage, "gate": stage["gate"] and {**stage["gate"], "on_fail": "warn"}} for stage in stages
            ]
        if factor != 1:
            stages = [self._scaled(stage, factor) for stage in stages]
        return stages if most is None else _shortened(stages, most)


def _shortened(stages: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """Stages with at most *most* epochs per segment; milestones move in proportion to their session."""
    lengths: dict[int, list[int]] = {}
    begin = 0
    short = []
    for number, stage in enumerate(stages):
        if stage["start"]["kind"] != "continue":
            begin = number
        cut = [
            {**segment, "epochs": min(segment["epochs"], most)} if "epochs" in segment else segment
            for segment in stage["segments"]
        ]
        short.append({**stage, "segments": cut})
        before, after = lengths.setdefault(begin, [0, 0])
        lengths[begin] = [
            before + sum(segment.get("epochs", 0) for segment in stage["segments"]),
            after + sum(segment.get("epochs", 0) for segment in cut),
        ]
    for number, (before, after) in lengths.items():
        schedule = short[number]["schedule"]
        if "milestones" in schedule and before:
            moved = [max(1, round(milestone * after / before)) for milestone in schedule["milestones"]]
            short[number]["schedule"] = {**schedule, "milestones": moved}
    return short


def select(runs: dict[str, dict[str, Any]], edition: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The runs that this edition has: all, or those that its `select` chooses and everything that they need.

    ``one_per_shape`` chooses, per experiment, the first run of every protocol shape: of every combination of
    named levels, factors and method, copies apart. Otherwise a list of patterns such as ``A/lam0.3*``.

    Raises:
        CensusError: a pattern that chooses no run.
    """
    rule = edition.get("select")
    if rule is None:
        return runs
    if rule == "one_per_shape":
        first: dict[tuple[Any, ...], str] = {}
        for target, run in runs.items():
            if run["counted"]:
                first.setdefault(_shape(run), target)
        chosen = set(first.values())
    else:
        chosen = set()
        for pattern in rule:
            matching = {target for target in runs if fnmatchcase(target, pattern)}
            if not matching:
                problem = f"'{pattern}' selects no run{closest(pattern, runs)}"
                raise CensusError(edition["file"], "select", problem)
            chosen |= matching
    wanted = closure(chosen, runs)
    return {target: run for target, run in runs.items() if target in wanted}


def _shape(run: Mapping[str, Any]) -> tuple[Any, ...]:
    named = tuple(level for level in run["factors"].values() if isinstance(level, str))
    return run["experiment"], named, tuple(run["factors"]), repr(run["method"]), run["copy_of"] is not None
