"""From one census entry to its runs: inheritance, factor grid, references, normal form."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import product
from typing import Any

from dualgrad.census import vocabulary as words
from dualgrad.census.vocabulary import CensusError, merge
from dualgrad.inputs import did_you_mean

# What describes the experiment as a whole and is not passed on by `extends`.
HEADER = ("title", "count", "counted", "series")
# What describes the grid; passed on, but no part of a run.
GRID = ("extends", "factors", "blocks", "name", "let")
# Keys of a run, in the order in which it is written down (INTERFACES of the trainer; see the census schema).
RUN_KEYS = (
    *("protocol", "factors", "labels", "seed", "streams", "copy_of", "prefix_epochs"),
    *("task", "noise", "value", "method", "renormalize", "optimizer", "lr_scale", "head_cosine_every"),
    *("stages", "log", "outcome", "thresholds", "seconds_recorded"),
)


class Library:
    """Named entries that others can extend: protocol fragments and experiments, each with the file it is from."""

    def __init__(self, defaults: Mapping[str, Any]) -> None:
        self.run_defaults: dict[str, Any] = defaults["run"]
        self.stage_defaults: dict[str, Any] = defaults["stage"]
        self.entries: dict[str, tuple[str, dict[str, Any]]] = {}
        self._whole: dict[str, dict[str, Any]] = {}

    def resolve(self, entry: Mapping[str, Any], where: tuple[str, str], chain: tuple[str, ...] = ()) -> dict:
        """*entry* with everything it extends merged beneath it, in the order in which it is listed."""
        names = entry.get("extends") or []
        whole: dict[str, Any] = {}
        for name in [names] if isinstance(names, str) else names:
            if name not in self.entries:
                hint = did_you_mean(name, self.entries)
                raise CensusError(
                    where[0], where[1] + ".extends", f"no protocol or experiment is called '{name}'{hint}"
                )
            if name in chain:
                raise CensusError(
                    where[0], where[1] + ".extends", f"goes in a circle: {' -> '.join([*chain, name])}"
                )
            if name not in self._whole:
                file, base = self.entries[name]
                self._whole[name] = self.resolve(base, (file, name), (*chain, name))
            whole = merge(whole, self._whole[name])
        own = {key: value for key, value in entry.items() if key not in HEADER and key != "extends"}
        return merge(whole, own)


class Experiment:
    """One census entry, ready to be expanded.

    Args:
        name: the experiment's name, as published.
        entry: what the census file says.
        file, key: where it says so, for messages.
        library: what the entry may extend.
        runs_of: gives the run ids of another experiment (a stage may select among them).
    """

    def __init__(
        self,
        name: str,
        entry: Mapping[str, Any],
        where: tuple[str, str],
        library: Library,
        runs_of: Callable[[str], list[str]],
    ) -> None:
        self.name, self.entry, self.file, self.key = name, entry, *where
        self.library, self.runs_of = library, runs_of
        self.whole = library.resolve(entry, where)
        self._used: set[str] = set()

    def error(self, key: str, problem: str) -> CensusError:
        return CensusError(self.file, f"{self.key}.{key}" if key else self.key, problem)

    def grid(self) -> Iterator[tuple[str, dict[str, Any], list[dict], dict[str, Any]]]:
        """Yield (run name, factors, overrides of the chosen levels, block) for every run, in census order."""
        factors = self.whole.get("factors") or {}
        if "name" not in self.whole:
            raise self.error("name", "the template of the run names is missing, e.g. lam{lambda}_seed{seed}")
        unknown = words.references(self.whole["name"]) - self._all_factors()
        for wrong in sorted(unknown):
            raise self.error("name", f"'{wrong}' is no factor here{did_you_mean(wrong, self._all_factors())}")
        for number, block in enumerate(self.whole.get("blocks") or [{}]):
            own = block.get("factors") or {}
            names = [factor for factor in {**factors, **own} if own.get(factor, ...) is not None]
            axes = [self._axis(factor, factors.get(factor), own.get(factor), number) for factor in names]
            for combination in product(*axes):
                levels = dict(zip(names, (level for level, _ in combination), strict=True))
                yield (
                    words.run_name(self.whole["name"], levels),
                    levels,
                    [over for _, over in combination],
                    block,
                )

    def _all_factors(self) -> set[str]:
        blocks = self.whole.get("blocks") or []
        return set(self.whole.get("factors") or {}).union(*(block.get("factors") or {} for block in blocks))

    def _axis(self, factor: str, general: Any, own: Any, number: int) -> list[tuple[Any, dict]]:
        """Levels of one factor in one block; a block may list some of the levels that `factors` describes."""
        if own is None or not isinstance(general, dict) or isinstance(own, dict):
            return list(words.levels(general if own is None else own).items())
        described = words.levels(general)
        chosen = words.levels(own)
        for level in chosen:
            if level not in described:
                hint = did_you_mean(level, described)
                raise self.error(
                    f"blocks.{number}.factors.{factor}", f"'{level}' is no level of this factor{hint}"
                )
        return [(level, described[level]) for level in chosen]

    def names(self) -> list[str]:
        """Run names alone, without building the runs."""
        return [name for name, *_ in self.grid()]

    def runs(self) -> dict[str, dict[str, Any]]:
        """Build every run. Parts that are equal are one object: treat the runs as read-only."""
        runs: dict[str, dict[str, Any]] = {}
        bodies: dict[tuple[int, ...], _Body] = {}
        for name, factors, overrides, block in self.grid():
            if name in runs:
                raise self.error(
                    "name", f"two runs would be called '{name}'; name every factor that tells them apart"
                )
            # Blocks and level overrides live as long as the entry, so their identity can stand for their content.
            which = (id(block), *map(id, overrides))
            if which not in bodies:
                bodies[which] = self._body(block, overrides)
            runs[name] = bodies[which].run(factors)
        self._check_used()
        return runs

    def _body(self, block: Mapping[str, Any], overrides: list[dict]) -> _Body:
        body = merge(
            self.library.run_defaults, {k: v for k, v in self.whole.items() if k not in GRID or k == "let"}
        )
        for over in (*overrides, block):  # a block says more about its runs than a level that others share
            if over:
                resolved = self.library.resolve(over, (self.file, self.key))
                body = merge(
                    body, {key: value for key, value in resolved.items() if key not in ("factors", "name")}
                )
        return _Body(self, body)

    def _check_used(self) -> None:
        """A factor or a `let` of this very entry that nothing refers to is a slip: it would change no run."""
        general = self.whole.get("factors") or {}
        blocks = self.whole.get("blocks") or []
        for factor in self._all_factors() - self._used:
            specs = [general.get(factor), *((block.get("factors") or {}).get(factor) for block in blocks)]
            levels = {level for spec in specs if spec is not None for level in words.levels(spec)}
            if len(levels) > 1 and not any(isinstance(spec, dict) for spec in specs):
                raise self.error(f"factors.{factor}", f"changes no run: nothing refers to ${factor}")
        for word in set(self.entry.get("let") or {}) - self._used:
            hint = did_you_mean(word, self._used)
            raise self.error(f"let.{word}", f"changes no run: nothing refers to ${word}{hint}")


class _Body:
    """A run's content before the factor levels are known: built once, filled in for many runs."""

    def __init__(self, owner: Experiment, body: dict[str, Any]) -> None:
        self.owner = owner
        self.let = body.pop("let", {})
        self.let_refs = {name: words.references(value) for name, value in self.let.items()}
        unknown = body.keys() - set(RUN_KEYS)
        for key in sorted(unknown):
            raise owner.error(key, f"unknown key{did_you_mean(key, RUN_KEYS)}")
        self.parts = [
            (key, body[key], tuple(sorted(words.references(body[key])))) for key in RUN_KEYS if key in body
        ]
        self.memo: dict[tuple, Any] = {}
        used = set().union(*(refs for _, _, refs in self.parts))
        while more := set().union(*(self.let_refs.get(name, ()) for name in used)) - used:
            used |= more
        owner._used |= used

    def run(self, factors: dict[str, Any]) -> dict[str, Any]:
        names = {"experiment": self.owner.name, **factors}
        for name in self.let:
            self._let(name, names, ())
        run: dict[str, Any] = {"factors": factors}
        for key, part, refs in self.parts:
            try:
                # Equal references give equal content: most parts of most runs are shared.
                which = (key, *[repr(names[ref]) for ref in refs])
                if which not in self.memo:
                    self.memo[which] = self._finish(key, words.substitute(part, names))
                run[key] = self.memo[which]
            except KeyError as problem:
                missing = problem.args[0]
                hint = did_you_mean(missing, names)
                raise self.owner.error(
                    key, f"nothing is called '{missing}'{hint} ({', '.join(sorted(names))})"
                ) from None
            except (ValueError, TypeError) as problem:
                raise self.owner.error(key, str(problem)) from None
        return {key: run[key] for key in RUN_KEYS if key in run}

    def _let(self, name: str, names: dict[str, Any], chain: tuple[str, ...]) -> None:
        """Give *name* its value; a factor of the same name wins, and a `let` may refer to other names."""
        if name in names:
            return
        if name in chain:
            raise self.owner.error(f"let.{name}", f"goes in a circle: {' -> '.join([*chain, name])}")
        for other in self.let_refs[name]:
            if other not in names and other in self.let:
                self._let(other, names, (*chain, name))
        # May refer to a factor that this block does not have; that is an error only if something uses it.
        with suppress(KeyError):
            names[name] = words.substitute(self.let[name], names)

    def _finish(self, key: str, part: Any) -> Any:
        if key == "stages":
            return words.stages(part, self.owner.library.stage_defaults, self.owner.runs_of)
        return part
