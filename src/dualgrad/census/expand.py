"""From one census entry to its runs: inheritance, factor grid, references, normal form."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Any, NamedTuple

from dualgrad.census import stages as words
from dualgrad.census.part import MISSING
from dualgrad.census.run import SHARED, WRITTEN, Checker, UnfitRun, check_part
from dualgrad.census.stages import CensusError, merge
from dualgrad.validation import did_you_mean

# What describes the experiment as a whole and is not passed on by `extends`.
HEADER = ("title", "count", "notes", "counted", "series")
# What describes the grid: passed on, but no part of a run.
GRID = ("factors", "blocks", "name")
# What an entry says of its runs that is no part of them: it changes no training.
FACTS = ("seconds_recorded",)

Entry = Mapping[str, Any]
Place = tuple[str, str]  # file and key, for messages


class Library:
    """What an entry can extend: protocol fragments and experiments, each with the place where it is written."""

    def __init__(self, defaults: Mapping[str, Any]) -> None:
        self.run_defaults: dict[str, Any] = defaults["run"]
        self.stage_defaults: dict[str, Any] = defaults["stage"]
        self.entries: dict[str, tuple[Place, Entry]] = {}
        self._spelt: dict[str, str] = {}
        self._resolved: dict[str, dict[str, Any]] = {}

    def add(self, name: str, place: Place, entry: Entry) -> None:
        """Make *entry* known. Raises CensusError if the name is taken, be it in other letters: it is a folder's."""
        if name in self.entries:
            raise CensusError(*place, f"the name is already used in {self.entries[name][0][0]}")
        if (known := self._spelt.setdefault(name.lower(), name)) != name:
            problem = "differs from this name in capitals alone: on macOS and Windows both are one folder"
            raise CensusError(*place, f"'{known}' in {self.entries[known][0][0]} {problem}")
        self.entries[name] = (place, entry)

    def resolve(self, entry: Entry, place: Place, chain: tuple[str, ...] = ()) -> dict[str, Any]:
        """*entry* laid on everything that it extends, in the order in which that is listed.

        Raises:
            CensusError: it extends something unknown, or itself.
        """
        file, key = place
        names = entry.get("extends") or []
        whole: dict[str, Any] = {}
        for name in [names] if isinstance(names, str) else names:
            if name not in self.entries:
                hint = did_you_mean(name, self.entries)
                raise CensusError(
                    file, f"{key}.extends", f"no protocol or experiment is called '{name}'{hint}"
                )
            if name in chain:
                raise CensusError(file, f"{key}.extends", f"goes in a circle: {' -> '.join([*chain, name])}")
            if name not in self._resolved:
                there, base = self.entries[name]
                self._resolved[name] = self.resolve(base, there, (*chain, name))
            whole = merge(whole, self._resolved[name])
        own = {word: value for word, value in entry.items() if word not in HEADER and word != "extends"}
        return merge(whole, own)


class Cell(NamedTuple):
    """One combination of factor levels: a run before it has content."""

    name: str
    factors: dict[str, Any]
    places: dict[str, int]  # <factor>_index: place of the level among the factor's levels, from 0
    block: int
    overrides: list[dict[str, Any]]  # of the chosen levels


class Experiment:
    """One census entry, ready to be expanded.

    Args:
        name: the experiment's name, as published.
        entry: what the census file says.
        place: where it says so.
        library: what the entry may extend.
        runs_of: gives the run ids of another experiment (a stage may select among them).

    Raises:
        CensusError: the entry extends something unknown, has no run names, or one that names no factor.
    """

    def __init__(
        self, name: str, entry: Entry, place: Place, library: Library, runs_of: Callable[[str], list[str]]
    ) -> None:
        self.name, self.entry, self.place = name, entry, place
        self.library, self.runs_of = library, runs_of
        whole = library.resolve(entry, place)
        self.template: str = whole.pop("name", "")
        self.general: dict[str, Any] = whole.pop("factors", {})
        self.blocks: list[Entry] = whole.pop("blocks", None) or [{}]
        self.factors = {*self.general}.union(*(block.get("factors") or {} for block in self.blocks))
        self.content = merge(library.run_defaults, whole)
        # A grid that is far from what it should be is told before it is built.
        self.most: int = max(10_000, 2 * entry["count"])
        self.used: set[str] = set()  # names that some run refers to
        if not self.template:
            raise self.error("name", "the template of the run names is missing, e.g. lam{lambda}_seed{seed}")
        # An inherited template may name factors that this entry does not have, its own may not.
        for word in sorted(words.references(entry.get("name", "")) - self.factors):
            raise self.error("name", f"'{word}' is no factor here{did_you_mean(word, self.factors)}")

    def error(self, key: str, problem: str) -> CensusError:
        """A CensusError about *key* of this entry."""
        return CensusError(self.place[0], f"{self.place[1]}.{key}", problem)

    def grid(self) -> Iterator[Cell]:
        """Yield every combination of factor levels that is a run, in order."""
        size = 0
        for number, block in enumerate(self.blocks):
            own = block.get("factors") or {}
            axes = {
                factor: self._levels(factor, own.get(factor), number)
                for factor in {**self.general, **own}
                if own.get(factor, ...) is not None  # null: these runs do not have the factor
            }
            size += math.prod(map(len, axes.values()))
            if size > self.most:
                problem = f"expected {self.entry['count']} runs, but the factors give {size:,} or more"
                raise self.error("count", problem)
            for chosen in product(*(enumerate(levels.items()) for levels in axes.values())):
                factors = {factor: level for factor, (_, (level, _)) in zip(axes, chosen, strict=True)}
                try:
                    name = words.run_name(self.template, factors)
                except ValueError as problem:
                    raise self.error("name", str(problem)) from None
                yield Cell(
                    name=name,
                    factors=factors,
                    places={
                        f"{factor}_index": place for factor, (place, _) in zip(axes, chosen, strict=True)
                    },
                    block=number,
                    overrides=[over for _, (_, over) in chosen if over],
                )

    def _levels(self, factor: str, own: Any, number: int) -> dict[Any, dict[str, Any] | None]:
        """Levels of a factor in one block, which may list some of those that the entry's `factors` describe."""
        try:
            return self._level_mapping(factor, own, number)
        except CensusError:
            raise
        except ValueError as problem:
            raise self.error(f"factors.{factor}", str(problem)) from None

    def _level_mapping(self, factor: str, own: Any, number: int) -> dict[Any, dict[str, Any] | None]:
        general = self.general.get(factor)
        if own is None or not isinstance(general, dict) or isinstance(own, dict):
            return words.levels(general if own is None else own)
        described, listed = words.levels(general), words.levels(own)
        for level in listed:
            if level not in described:
                hint = did_you_mean(level, described)
                raise self.error(
                    f"blocks.{number}.factors.{factor}", f"'{level}' is no level of this factor{hint}"
                )
        return {level: described[level] for level in listed}

    def names(self) -> list[str]:
        """Run names alone, without building the runs."""
        return [cell.name for cell in self.grid()]

    def runs(self) -> dict[str, dict[str, Any]]:
        """Build every run, by name. Equal parts of runs are one object: treat the runs as read-only.

        Raises:
            CensusError: two runs of one name, a reference to nothing, a factor or a `let` that changes nothing.
        """
        runs: dict[str, dict[str, Any]] = {}
        checker = Checker()
        bodies: dict[tuple[int, ...], _Body] = {}
        for cell in self.grid():
            if cell.name in runs:
                raise self.error(
                    "name", f"two runs are called '{cell.name}'; it must name every factor that differs"
                )
            which = (cell.block, *map(id, cell.overrides))  # overrides live as long as the entry
            if which not in bodies:
                bodies[which] = self._body(cell)
            run = runs[cell.name] = bodies[which].run(cell)
            try:
                checker.check(run, self._whose(cell), FACTS)
            except UnfitRun as unfit:
                raise self.error(unfit.key, self._explained(unfit)) from None
        self._check_used()
        return runs

    def _body(self, cell: Cell) -> _Body:
        content = self.content
        for over in (
            *cell.overrides,
            self.blocks[cell.block],
        ):  # a block knows more than a level that others share
            if over:
                content = merge(content, self.library.resolve(over, self.place))
        return _Body(self, {key: value for key, value in content.items() if key not in GRID})

    def _whose(self, cell: Cell) -> dict[str, Any]:
        """What a run has of its experiment before an edition makes it its own."""
        return {"experiment": self.name, "run": cell.name, "edition": "published"}

    def _explained(self, unfit: UnfitRun) -> str:
        general = unfit.problem == MISSING and unfit.key.count(".") <= 1
        return unfit.problem + ("; extend protocols that have it, such as base and fixed" if general else "")

    def _check_used(self) -> None:
        used = self.used | {name.removesuffix("_index") for name in self.used}
        for factor in sorted(self.factors - used):
            specs = [
                self.general.get(factor),
                *((block.get("factors") or {}).get(factor) for block in self.blocks),
            ]
            levels = set().union(*(words.levels(spec) for spec in specs if spec is not None))
            # One level is a constant worth writing down; levels with overrides are used by these.
            if len(levels) > 1 and not any(isinstance(spec, dict) for spec in specs):
                raise self.error(f"factors.{factor}", f"changes no run: nothing refers to ${factor}")
        for word in sorted(set(self.entry.get("let") or {}) - self.used):
            hint = did_you_mean(word, self.used)
            raise self.error(f"let.{word}", f"changes no run: nothing refers to ${word}{hint}")


class _Body:
    """What some runs of an experiment have in common, before the levels of their factors are put in."""

    def __init__(self, owner: Experiment, content: dict[str, Any]) -> None:
        self.owner = owner
        self.let: dict[str, Any] = content.pop("let", {})
        self.parts = [
            (key, content[key], sorted(words.references(content[key])))
            for key in (*WRITTEN, *FACTS)
            if key in content
        ]
        self.memo: dict[tuple[Any, ...], Any] = {}
        self.let_refs = {name: words.references(value) for name, value in self.let.items()}
        used = set().union(*(refs for _, _, refs in self.parts))
        while more := set().union(*(self.let_refs.get(name, ()) for name in used)) - used:
            used |= more
        needed = [name for name in self.let if name in used]
        self.constant = {name: self.let[name] for name in needed if not self.let_refs[name]}
        self.needed = [name for name in needed if name not in self.constant]
        owner.used |= used

    def run(self, cell: Cell) -> dict[str, Any]:
        """The run with these factor levels."""
        names = {**self.constant, "experiment": self.owner.name, **cell.places, **cell.factors}
        for name in self.needed:
            self._let(name, names, ())
        run: dict[str, Any] = {"factors": cell.factors}
        for key, part, refs in self.parts:
            try:
                # Equal values of what a part refers to give an equal part, so most parts are made once.
                which = (key, *(repr(names[ref]) for ref in refs))
                if which not in self.memo:
                    self.memo[which] = self._made(key, words.substitute(part, names) if refs else part)
                run[key] = self.memo[which]
            except KeyError as missing:
                word = missing.args[0]
                while gone := sorted(self.let_refs.get(word, set()) - names.keys() - {word}):
                    word = gone[0]  # a `let` that is there, but refers to something that is not
                known = sorted(names.keys() - cell.places.keys())
                problem = f"nothing is called '{word}'{did_you_mean(word, known)} (known: {', '.join(known)})"
                raise self.owner.error(key, problem) from None
            except CensusError:
                raise
            except UnfitRun as unfit:
                raise self.owner.error(unfit.key, unfit.problem) from None
            except (ValueError, TypeError, ArithmeticError) as problem:
                raise self.owner.error(key, str(problem)) from None
        return run

    def _made(self, key: str, part: Any) -> Any:
        if key == "stages":
            part = words.stages(part, self.owner.library.stage_defaults, self.owner.runs_of)
        if key == "seed" and part is not None and type(part) is not int:
            raise ValueError(f"expected an integer or null; got {part!r} (a range of seeds is written 0..49)")
        if key not in (*SHARED, *FACTS):  # what is shared is checked with the whole run, once
            check_part(key, part)
        return part

    def _let(self, name: str, names: dict[str, Any], chain: tuple[str, ...]) -> None:
        """Give *name* its value. A factor of the same name wins, and a value may refer to other names."""
        if name in names:
            return
        if name in chain:
            raise self.owner.error(f"let.{name}", f"goes in a circle: {' -> '.join([*chain, name])}")
        for other in self.let_refs[name]:
            if other in self.let:
                self._let(other, names, (*chain, name))
        # It may refer to a factor that these runs do not have; that is an error only where something uses it.
        try:
            names[name] = words.substitute(self.let[name], names)
        except KeyError:
            pass
        except (ValueError, TypeError, ArithmeticError) as problem:
            raise self.owner.error(f"let.{name}", str(problem)) from None
