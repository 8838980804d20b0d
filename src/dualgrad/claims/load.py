"""config/claims.yaml: reading it, checking it, and writing out its families."""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dualgrad.claims.functions import FUNCTIONS
from dualgrad.claims.measure import COUNTS, KINDS, STATISTICS, TAKES, inherit, parts_of
from dualgrad.tables import schema
from dualgrad.validation import InputError, check_schema, did_you_mean, read_yaml

FILE = Path("config/claims.yaml")
# Of the published experiments.
SERIES = ("A-Q", "R-W", "X", "Y")
_REFERENCE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::([^}]*))?\})")


class ClaimsError(InputError):
    """config/claims.yaml cannot be used."""


@dataclass(frozen=True)
class Reading:
    """One way to read a claim: its name, its measure and, unless it is compared by rounding, its criterion."""

    name: str
    measure: Mapping[str, Any]
    expect: Mapping[str, Any] | None = None
    show: str | None = None


@dataclass(frozen=True)
class Claim:
    """A published statement and how it is measured.

    Attributes:
        id: name, as in the claims ledger.
        topic: key of ``topics``.
        places: where it is printed, "document § section".
        says: the statement in our words.
        printed: as printed: numbers (then ``step`` and ``unit`` hold), or a text.
        unit: printed unit of numbers.
        step: one unit of the last printed digit, or None for a text.
        measure: how it is measured, or None where only readings are, or nothing is.
        expect: criterion of a claim that is no number.
        readings: several readings of a claim that can be read in several ways.
        show: how measured values are written.
        untestable: why nothing can be measured, or None.
        caveat: kind of caveat.
        note: what to know beside the verdict; ``{name}`` stands for a measure of ``also``.
        also: measures that the note quotes.
    """

    id: str
    topic: str
    places: Sequence[str]
    says: str
    printed: Any
    unit: str = ""
    step: float | None = None
    measure: Mapping[str, Any] | None = None
    expect: Mapping[str, Any] | None = None
    readings: Sequence[Reading] = ()
    show: str | None = None
    untestable: str | None = None
    caveat: str = "none"
    note: str = ""
    also: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def documents(self) -> list[str]:
        """Codes of the documents that print it, each once."""
        return list(dict.fromkeys(place.split(" § ")[0] for place in self.places))


@dataclass(frozen=True)
class Conclusion:
    """A conclusion over several claims.

    Attributes:
        title: it in a line.
        question: what it answers; the heading where other data than the published are measured.
        text: prose with ``{name}`` for measures.
        values: the measures.
        claims: claims that it rests on.
        optional: sentences that appear only where all of their numbers can be measured.
    """

    title: str
    question: str
    text: str
    values: Mapping[str, Mapping[str, Any]]
    claims: Sequence[str]
    optional: Sequence[str] = ()


@dataclass(frozen=True)
class Ledger:
    """All of config/claims.yaml, families written out."""

    documents: Mapping[str, str]
    topics: Mapping[str, str]
    rows: Mapping[str, Mapping[str, Any]]
    claims: Sequence[Claim]
    conclusions: Sequence[Conclusion]


# What was asked for last in this process, by the file's content and the experiments that it was checked against.
_KEPT: dict[tuple[str, frozenset[str] | None], Ledger] = {}
_KEPT_AT_MOST = 4


def load_ledger(root: Path, experiments: Iterable[str] | None = None) -> Ledger:
    """Read and check config/claims.yaml; what was read before is not read again, so treat it as read-only.

    Args:
        root: folder that holds ``config``.
        experiments: names that measures may use; None: any.

    Raises:
        ClaimsError: the file is malformed, or names something that does not exist; says which claim and key.
    """
    known = None if experiments is None else frozenset(experiments)
    try:
        source = hashlib.sha256((root / FILE).read_bytes()).hexdigest(), known
    except OSError:
        return _load(root, known)  # says what is wrong
    made = _KEPT.pop(source, None) or _load(root, known)
    _KEPT[source] = made
    while len(_KEPT) > _KEPT_AT_MOST:
        del _KEPT[next(iter(_KEPT))]
    return made


def _load(root: Path, experiments: frozenset[str] | None) -> Ledger:
    data = read_yaml(root / FILE, str(FILE), ClaimsError)
    check_schema(data, "claims", str(FILE), ClaimsError)
    claims: list[Claim] = []
    for topic, entries in data["claims"].items():
        if topic not in data["topics"]:
            raise ClaimsError(FILE, f"claims.{topic}", f"no such topic{did_you_mean(topic, data['topics'])}")
        for entry in entries:
            claims += [_claim(topic, one) for one in written_out(entry)]
    conclusions = [
        Conclusion(
            one["title"],
            one["question"],
            one["text"],
            one.get("values", {}),
            one.get("claims", ()),
            one.get("optional", ()),
        )
        for one in data["conclusions"]
    ]
    ledger = Ledger(data["documents"], data["topics"], data["rows"], claims, conclusions)
    _check(ledger, experiments)
    return ledger


def written_out(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the claims that an entry stands for: itself, or one for each row of its family (``each``)."""
    each = entry.get("each")
    body = {key: value for key, value in entry.items() if key != "each"}
    if each is None:
        return [body]
    for row in each["rows"]:
        if len(row) != len(each["columns"]):
            problem = f"{len(row)} values in the row {row}, but {len(each['columns'])} columns"
            raise ClaimsError(FILE, entry["id"], problem)
    try:
        return [_filled(body, dict(zip(each["columns"], row, strict=True))) for row in each["rows"]]
    except ClaimsError as error:
        raise ClaimsError(FILE, entry["id"], f"in '{error.key}': {error.problem}") from None


def _filled(value: Any, names: Mapping[str, Any]) -> Any:
    """Replace ``$name`` and ``${name:format}`` of a family; a text that is one reference becomes the thing itself."""
    if isinstance(value, Mapping):
        return {
            _text(key, names) if isinstance(key, str) else key: _filled(one, names)
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [_filled(one, names) for one in value]
    if not isinstance(value, str):
        return value
    whole = re.fullmatch(r"\$(\w+)", value)
    if whole and whole[1] in names:
        return names[whole[1]]
    return _text(value, names)


def _text(text: str, names: Mapping[str, Any]) -> str:
    def write(found: re.Match) -> str:
        name = found[1] or found[2]
        if name not in names:
            raise ClaimsError(FILE, text, f"no column {name!r} in this family{did_you_mean(name, names)}")
        try:
            return format(names[name], found[3] or "")
        except (ValueError, TypeError) as error:
            raise ClaimsError(FILE, text, f"cannot write {names[name]!r} as '{found[3]}' ({error})") from None

    return _REFERENCE.sub(write, text)


def _claim(topic: str, entry: Mapping[str, Any]) -> Claim:
    outer, unit = entry.get("measure", {}), entry.get("unit", "")

    def complete(measure: Mapping[str, Any]) -> dict[str, Any]:
        return {"unit": unit, **inherit(outer, measure)}

    readings = [
        Reading(one["reading"], complete(one.get("measure", {})), one.get("expect"), one.get("show"))
        for one in entry.get("readings", ())
    ]
    taken = ("id", "places", "says", "step", "expect", "show", "untestable", "caveat", "note")
    return Claim(
        topic=topic,
        printed=entry["printed"],
        unit=unit,
        measure=complete({}) if outer and not readings else None,
        readings=readings,
        also={name: complete(one) for name, one in entry.get("also", {}).items()},
        **{key: entry[key] for key in taken if key in entry},
    )


# ------------------------------------------------------------------------------------------------- checks


def _check(ledger: Ledger, experiments: Collection[str] | None) -> None:
    """Check what a schema cannot: names that must exist, ids that must be unique, criteria that must be there."""
    seen: set[str] = set()
    for claim in ledger.claims:
        for text in (claim.show, *(reading.show for reading in claim.readings)):
            _check_format(text or "", None, f"{claim.id}.show")
        _check_format(claim.note, claim.also, f"{claim.id}.note")
        if claim.id in seen:
            raise ClaimsError(FILE, claim.id, "two claims have this id")
        seen.add(claim.id)
        for place in claim.places:
            code = place.split(" § ")[0]
            if code not in ledger.documents:
                raise ClaimsError(
                    FILE, claim.id, f"no document {code!r}{did_you_mean(code, ledger.documents)}"
                )
        kinds = [claim.measure is not None, bool(claim.readings), claim.untestable is not None]
        if sum(kinds) != 1:
            raise ClaimsError(FILE, claim.id, "expected exactly one of measure, readings and untestable")
        for measure, expect in [
            (claim.measure, claim.expect),
            *((r.measure, r.expect) for r in claim.readings),
        ]:
            if measure is not None and expect is None and claim.step is None:
                raise ClaimsError(
                    FILE, claim.id, "a claim without printed digits (step) needs a criterion (expect)"
                )
        for measure in [claim.measure, *(one.measure for one in claim.readings), *claim.also.values()]:
            if measure is not None:
                check_measure(measure, ledger, experiments, claim.id)
    for conclusion in ledger.conclusions:
        for name in conclusion.claims:
            if name not in seen:
                raise ClaimsError(FILE, conclusion.title, f"no claim {name!r}{did_you_mean(name, seen)}")
        for text in (conclusion.text, *conclusion.optional):
            _check_format(text, conclusion.values, conclusion.title)
        for measure in conclusion.values.values():
            check_measure(measure, ledger, experiments, conclusion.title)
    for name, rows in ledger.rows.items():
        check_measure(rows, ledger, experiments, f"rows.{name}")


def _check_format(text: str, names: Collection[str] | None, where: str) -> None:
    """Check a text with ``{name:format}`` or ``{name[1]}`` for these names; None: with ``{0:format}`` for places."""
    try:
        fields = list(string.Formatter().parse(text))
        for _, name, form, _ in fields:
            if name is None:
                continue
            if "{" in (form or ""):
                raise ValueError("a format within a format")
            plain = re.fullmatch(r"\d*" if names is None else r"(\w+)(\[\d+\])?", name)
            if not plain or (names is not None and plain[1] not in names):
                expected = "a place such as 0" if names is None else f"one of {', '.join(names) or 'none'}"
                raise ClaimsError(FILE, where, f"'{{{name}}}' stands for nothing; expected {expected}")
            format(0.5, form or "")
    except ClaimsError:
        raise
    except ValueError as error:
        raise ClaimsError(FILE, where, f"'{text}' cannot be filled in: {error}") from None


def _check_condition(name: str, condition: Any, table: str, where: str) -> None:
    """Check that a condition can be asked of a column: words of words, numbers of numbers."""
    words = schema.words(table)[name].type == schema.STRING
    bounds = condition if isinstance(condition, Mapping) else {"": condition}
    for bound, value in bounds.items():
        if bound == "known":
            continue
        wanted = str if words else int | float  # flags count as 0 and 1
        values = [one for one in _as_list(value) if not (words and one is None)]
        asked = f"{name}: {bound}" if bound else name
        if words != (bound in ("", "not", "starting")) and (words or bound == "starting"):
            kind = "words" if words else "numbers"
            raise ClaimsError(FILE, where, f"{asked} cannot be asked of a column of {kind}")
        for one in values:
            if not isinstance(one, wanted) and not (words and isinstance(one, int | float)):
                problem = f"{asked}: expected {'a text' if words else 'a number'}; got {one!r}"
                raise ClaimsError(FILE, where, problem)


def check_measure(
    measure: Mapping[str, Any], ledger: Ledger, experiments: Collection[str] | None, where: str
) -> None:
    """Check a measure and those inside it, each as it is carried out.

    Raises:
        ClaimsError: it names a function, row set, experiment, column or statistic that does not exist.
    """

    def need(name: Any, known: Collection[str], what: str) -> None:
        if name not in known:
            raise ClaimsError(FILE, where, f"no {what} {name!r}{did_you_mean(name, known)}")

    arguments = measure.get("with", {})
    inner = [one for kind in ("difference", "ratio", "reduction") for one in measure.get(kind, ())]
    inner += arguments.get("between", ()) if "function" in measure else ()
    if "function" in measure:
        need(measure["function"], FUNCTIONS, "function")
        inner += [
            one for one in _as_list(arguments.get("of")) if isinstance(one, Mapping) and "claim" not in one
        ]
    if "parts" in measure:
        for part in parts_of(measure):
            check_measure(part, ledger, experiments, where)
        return
    if inner:
        outer = {key: value for key, value in measure.items() if key not in (*KINDS, "with", "take", "then")}
        for one in inner:
            check_measure(inherit(outer, one), ledger, experiments, where)
        return
    if "rows" in measure:
        need(measure["rows"], ledger.rows, "row set")
    for name in measure.get("series", ()):
        need(name, SERIES, "series")
    if experiments is not None:
        for name in measure.get("experiments", ()):
            need(name, experiments, "experiment")
    table = measure.get("table") or ledger.rows.get(measure.get("rows", ""), {}).get("table", "runs")
    for key, one in (("where", table), ("which", table), ("of", "runs")):
        for name, condition in measure.get(key, {}).items():
            need(name, schema.words(one), f"column in table {one}:")
            _check_condition(name, condition, one, where)
    for name in [*_as_list(measure.get("over")), *_as_list(measure.get("field"))]:
        need(name, schema.words(table), f"column in table {table}:")
    read = schema.words(table).get(measure.get("field", ""))
    words = read is not None and read.type == schema.STRING and "function" not in measure
    if read is not None and words and measure.get("statistic", "mean") not in COUNTS:
        raise ClaimsError(FILE, where, f"field: expected a column of numbers; {read.name} holds words")
    if "statistic" in measure:
        need(measure["statistic"], (*STATISTICS, *COUNTS), "statistic")
    for key in ("take", "then"):
        for one in _as_list(measure.get(key)):
            need(one if isinstance(one, str) else next(iter(one)), TAKES, "way to take")


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
