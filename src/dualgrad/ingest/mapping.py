"""What the published files' fields mean, read from ``config/released/*.yaml`` and checked.

A mapping file is ``{shapes: {name: source}, experiments: {name: [source, …]}}``. A *source* turns the rows of one
published file into runs:

    file        path below ``notebooks/Paper-A``
    like        shape(s) whose keys come first; ``fields`` and ``constants`` are joined, other keys replaced
    each        name of a nested list: its items are the rows (Td2, W2)
    inherit     with ``each``: rules for fields of the row that holds the list
    fields      rule for every field of a row; a field without a rule, or a missing one, is refused
    factors     factors that no field holds as such: ``{const: value}``, ``{position: "pos{}"}`` (1-based row), or
                ``{from: field, match: …, number: …, format: …}``
    constants   ``runs`` columns with one value for all rows of the source (protocol, not recorded)
    partial     why runs of the census may have no row here; without it every run needs one
    event       stop rule that says event, censored and the first crossing from the evaluations
    blocks      which nested list is which table, see :class:`Block`

A *rule* is a column's name (``name?``: may be null), a list of columns, or a mapping with some of

    to: column(s) · nullable · optional (may be absent) · factor: name (must be the run's level, and finds the run)
    is: constant · equals: column · one_minus: field · basename · json · skip: why
    match: regular expression whose group is taken · number (as a whole number) · format: text with {}
    fields: rules of a nested object, whose fields are then called ``object.field``
    plus: n (added) · in block items also index: n (must be 0-based position + n) · map: {published: ours}

Block items name ``table.column`` or one of the keys ``stage branch direction lambda epoch stage_epoch``. A block's
own keys are values, ``$column`` of the run, or ``{$column: {level: value}}``; ``{$stage: …}`` goes by the item's
stage.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dualgrad.files import visible
from dualgrad.release.errors import MappingError
from dualgrad.tables.schema import FACTORS, TABLES, column_of, columns, word_of
from dualgrad.validation import InputError, check_schema, read_yaml

KEYS = ("stage", "branch", "direction", "lam", "epoch", "stage_epoch")


@dataclass(frozen=True)
class Rule:
    """How one published field is read (see the module docstring)."""

    to: tuple[str, ...] = ()
    nullable: bool = False
    optional: bool = False
    factor: str | None = None
    constant: Any = None
    has_constant: bool = False
    equals: str | None = None
    one_minus: str | None = None
    basename: bool = False
    json: bool = False
    skip: str | None = None
    match: re.Pattern | None = None
    number: bool = False
    format: str | None = None
    fields: Mapping[str, Rule] | None = None
    map: Mapping[Any, Any] | None = None
    plus: int = 0
    index: int | None = None


@dataclass(frozen=True)
class Block:
    """A nested list (or one point made of scalars) and the table rows that it gives.

    Attributes:
        source: dotted field that holds the list, "" for a point.
        form: ``rows`` (list of objects) or ``columns`` (object of equally long lists).
        item: rules of an item's fields.
        point: for a point: ``table.column`` → field.
        same: stage, branch, direction, lambda, epoch of all items, where items do not carry them.
        every: epochs between items, where items carry no epoch.
        after: epochs of the session before the stage began.
        copy_of: the list repeats the items of another field's list where ``where`` holds; checked, not kept.
        values_of: (field, item field) that a plain list repeats; checked, not kept.
        length: exact number of items, if it never varies.
        ends_with, starts_with: column of the run that the last or first error equals.
    """

    source: str
    form: str = "rows"
    item: Mapping[str, Rule] = field(default_factory=dict)
    point: Mapping[str, str] = field(default_factory=dict)
    same: Mapping[str, Any] = field(default_factory=dict)
    every: Any = None
    after: Any = 0
    copy_of: str | None = None
    where: Mapping[str, Any] = field(default_factory=dict)
    values_of: tuple[str, ...] = ()
    length: int | None = None
    ends_with: str | None = None
    starts_with: str | None = None


@dataclass(frozen=True)
class Event:
    """A stop rule: ``consecutive`` errors beyond ``threshold`` within a stage (Q-R.md#R3, S-T.md#3, S-T.md#4).

    Attributes:
        stage: stage that it watches.
        above: True: error above the threshold, False: below.
        inclusive: the threshold itself counts.
        by_segment: evaluations are λ steps (the last λ stands in for a missing event), not epochs.
    """

    stage: str
    above: bool
    threshold: float
    inclusive: bool
    consecutive: int
    by_segment: bool


@dataclass(frozen=True)
class Source:
    """Rows of one published file and what they mean."""

    file: str
    fields: Mapping[str, Rule]
    blocks: tuple[Block, ...] = ()
    each: str | None = None
    inherit: Mapping[str, Rule] = field(default_factory=dict)
    factors: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    event: Event | None = None
    partial: str | None = None


def load_mapping(folder: Path) -> dict[str, tuple[Source, ...]]:
    """Read and check all mapping files of a folder (``config/released``).

    Returns:
        Sources by experiment.

    Raises:
        MappingError: a file is no YAML, a key is unknown, a column does not exist, an experiment comes twice.
    """
    files = visible(folder, "*.yaml")
    if not files:
        raise MappingError(f"{folder}: no mapping files (*.yaml)")
    texts: dict[Path, dict[str, Any]] = {}
    for path in files:
        try:
            texts[path] = read_yaml(path)
            check_schema(texts[path], "released", str(path))
        except InputError as error:
            raise MappingError(str(error)) from None
    shapes: dict[str, dict] = {}
    for path, text in texts.items():
        for name, shape in (text.get("shapes") or {}).items():
            if name in shapes:
                raise MappingError(f"{path}: shapes.{name}: defined twice")
            shapes[name] = shape
    result: dict[str, tuple[Source, ...]] = {}
    for path, text in texts.items():
        for experiment, sources in (text.get("experiments") or {}).items():
            if experiment in result:
                raise MappingError(f"{path}: experiments.{experiment}: defined twice")
            result[experiment] = tuple(
                _source(_with_shapes(source, shapes, where), where)
                for i, source in enumerate(sources)
                for where in [f"{path}: experiments.{experiment}[{i}]"]
            )
    return result


def files_of(mapping: Mapping[str, tuple[Source, ...]]) -> set[str]:
    """Return all published files that a mapping reads."""
    return {source.file for sources in mapping.values() for source in sources}


def _with_shapes(source: dict, shapes: Mapping[str, dict], where: str, chain: tuple[str, ...] = ()) -> dict:
    names = source.get("like", [])
    result: dict[str, Any] = {}
    for name in [names] if isinstance(names, str) else names:
        if name not in shapes:
            raise MappingError(
                f"{where}.like: no shape {name!r}, expected one of {', '.join(sorted(shapes))}"
            )
        if name in chain:
            raise MappingError(f"{where}.like: goes in a circle: {' -> '.join([*chain, name])}")
        result = _joined(result, _with_shapes(shapes[name], shapes, where, (*chain, name)))
    return _joined(result, {key: value for key, value in source.items() if key != "like"})


def _joined(first: dict, second: dict) -> dict:
    result = dict(first)
    for key, value in second.items():
        joined = key in ("fields", "constants", "factors", "inherit") and isinstance(value, dict)
        result[key] = {**result.get(key, {}), **value} if joined else value
    return result


def _source(raw: dict, where: str) -> Source:
    if "file" not in raw or "fields" not in raw:
        raise MappingError(f"{where}: needs file and fields")
    for column in raw.get("constants", {}):
        _column("runs", column, f"{where}.constants")
    for name, rule in raw.get("factors", {}).items():
        if name not in FACTORS:
            raise MappingError(f"{where}.factors.{name}: {name!r} is no factor")
        if "match" in rule:
            _pattern(rule["match"], f"{where}.factors.{name}.match")
        for key in ("position", "format"):
            _template(rule.get(key), f"{where}.factors.{name}.{key}")
    return Source(
        file=raw["file"],
        fields=_rules(raw["fields"], where + ".fields"),
        blocks=tuple(_block(block, f"{where}.blocks[{i}]") for i, block in enumerate(raw.get("blocks", ()))),
        each=raw.get("each"),
        inherit=_rules(raw.get("inherit", {}), where + ".inherit"),
        factors=raw.get("factors", {}),
        constants=raw.get("constants", {}),
        event=_event(raw["event"]) if "event" in raw else None,
        partial=raw.get("partial"),
    )


def _rules(raw: Mapping[str, Any], where: str, *, items: bool = False) -> dict[str, Rule]:
    rules = {str(name): _rule(value, f"{where}.{name}", items) for name, value in raw.items()}
    for name, rule in rules.items():
        if rule.one_minus is not None and rule.one_minus not in rules:
            raise MappingError(f"{where}.{name}.one_minus: there is no field {rule.one_minus!r} beside it")
    return rules


def _pattern(text: str, where: str) -> re.Pattern:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise MappingError(f"{where}: {error}") from None
    if not pattern.groups:
        raise MappingError(f"{where}: {text!r}, expected a pattern with a group, whose text is taken")
    return pattern


def _template(text: str | None, where: str) -> None:
    try:
        (text or "").format(1)
    except (ValueError, LookupError, AttributeError) as error:
        raise MappingError(f"{where}: {text!r} cannot be filled in ({error})") from None


_RULE_KEYS = (
    *(
        "to",
        "nullable",
        "optional",
        "factor",
        "is",
        "equals",
        "one_minus",
        "basename",
        "json",
        "skip",
        "match",
    ),
    *("number", "format", "fields", "map", "plus", "index"),
)


def _rule(raw: Any, where: str, items: bool) -> Rule:
    if isinstance(raw, str):
        raw = {"to": raw.removesuffix("?"), "nullable": raw.endswith("?")}
    elif isinstance(raw, list):
        raw = {"to": raw}
    targets = raw.get("to", ())
    targets = (targets,) if isinstance(targets, str) else tuple(targets)
    for target in targets:
        if items:
            _item_target(target, where)
        else:
            _column("runs", target, where)
    if raw.get("factor") is not None and raw["factor"] not in FACTORS:
        raise MappingError(f"{where}.factor: {raw['factor']!r} is no factor")
    if not targets and not {"factor", "is", "equals", "one_minus", "skip", "fields", "index"} & raw.keys():
        raise MappingError(f"{where}: says nothing about the field")
    if "equals" in raw:
        _column("runs", raw["equals"], f"{where}.equals")
    _template(raw.get("format"), f"{where}.format")
    match = _pattern(raw["match"], f"{where}.match") if "match" in raw else None
    return Rule(
        to=tuple(map(column_of, targets)),
        constant=raw.get("is"),
        has_constant="is" in raw,
        match=match,
        fields=_rules(raw["fields"], where + ".fields") if "fields" in raw else None,
        **{key: raw[key] for key in _RULE_KEYS if key in raw and key not in ("to", "is", "match", "fields")},
    )


def _column(table: str, name: str, where: str) -> None:
    if name not in columns(table):
        raise MappingError(f"{where}: table {table} has no column {name!r}")


def _item_target(target: str, where: str) -> None:
    if column_of(target) in KEYS:
        return
    table, _, column = target.partition(".")
    if table not in TABLES[1:]:
        raise MappingError(
            f"{where}: {target!r}, expected table.column or one of {', '.join(map(word_of, KEYS))}"
        )
    _column(table, column, where)


def _block(raw: Mapping[str, Any], where: str) -> Block:
    if ("from" in raw) == ("point" in raw):
        raise MappingError(f"{where}: needs either from or point")
    for target in raw.get("point", {}):
        _item_target(target, f"{where}.point")
    return Block(
        source=raw.get("from", ""),
        item=_rules(raw.get("item", {}), where + ".item", items=True),
        same={column_of(key): value for key, value in raw.items() if column_of(key) in KEYS[:5]},
        values_of=tuple(raw.get("values_of", ())),
        **{
            key: raw[key]
            for key in (
                "form",
                "point",
                "every",
                "after",
                "copy_of",
                "where",
                "length",
                "ends_with",
                "starts_with",
            )
            if key in raw
        },
    )


def _event(raw: Mapping[str, Any]) -> Event:
    return Event(
        stage=raw["stage"],
        above=raw["error"] == "above",
        threshold=raw["threshold"],
        inclusive=raw["inclusive"],
        consecutive=raw["consecutive"],
        by_segment=raw["unit"] == "segment",
    )
