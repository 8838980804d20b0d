"""Measuring the claims of the ledger on an edition, one verdict each."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from dualgrad.claims import verdicts
from dualgrad.claims.data import MissingError, Selection, Tables
from dualgrad.claims.functions import FUNCTIONS
from dualgrad.claims.load import FILE, Claim, ClaimsError, Conclusion, Ledger
from dualgrad.claims.measure import Measurer, Value
from dualgrad.claims.words import in_words
from dualgrad.release.contents import FORMS, Release
from dualgrad.validation import InputError
from dualgrad.wording import listed, unsigned_zero

#: The edition that the ledger's prose was written for.
PUBLISHED = "released"
#: Shown where an edition cannot say.
NOTHING = "n/a"


@dataclass(frozen=True)
class ReadingResult:
    """What one reading of a claim gave: values, how they are written, and whether it agrees (None: not testable)."""

    name: str
    words: str
    values: Sequence[Value]
    text: str
    agrees: bool | None


@dataclass(frozen=True)
class Result:
    """What a claim gave on an edition.

    Attributes:
        claim: the claim.
        verdict: one of :data:`verdicts.VERDICTS`.
        printed: the printed thing, as text.
        measured: the measured thing, as text.
        values: measured values in the printed unit.
        differences: measured - printed, one by one, or None.
        words: how it is measured.
        note: the caveat's text with its numbers filled in.
        reason: why it is not testable, or "".
        readings: the readings, if there are several.
        used: the rows behind it.
    """

    claim: Claim
    verdict: str
    printed: str
    measured: str = ""
    values: Sequence[Value] = ()
    differences: Sequence[float] | None = None
    words: str = ""
    note: str = ""
    reason: str = ""
    readings: Sequence[ReadingResult] = ()
    used: Sequence[Selection] = field(default_factory=list)

    @property
    def difference(self) -> float | None:
        """The largest difference from the printed numbers, with its sign."""
        return max(self.differences, key=abs) if self.differences else None


@dataclass(frozen=True)
class ConclusionResult:
    """A conclusion with its numbers: text, and the numbers one by one with how they are measured."""

    title: str
    question: str
    text: str
    numbers: Sequence[tuple[str, str]]
    claims: Sequence[str]
    complete: bool


def composition_of(results: Iterable[Result]) -> dict[str, int]:
    """Count claims by what they print: ``claims``, ``numbers``, ``statements``, and how many of each are reproduced.

    ``reproduced``: of both kinds together; ``with_caveat``: those of them that carry a caveat.
    """
    every = list(results)
    numbers = [one for one in every if one.claim.step is not None]
    reproduced = [one for one in every if one.verdict == verdicts.REPRODUCED]
    right = sum(one.claim.step is not None for one in reproduced)
    return {
        "claims": len(every),
        "numbers": len(numbers),
        "statements": len(every) - len(numbers),
        "reproduced": len(reproduced),
        "numbers_reproduced": right,
        "statements_reproduced": len(reproduced) - right,
        "with_caveat": sum(one.claim.caveat != "none" for one in reproduced),
    }


@dataclass(frozen=True)
class Report:
    """All claims and conclusions measured on one edition.

    Attributes:
        edition: its name.
        ledger: the claims.
        results: what they gave, by id.
        conclusions: what the conclusions gave.
        form: form of the published archive that was at hand (a key of ``release.contents.FORMS``), or "" where the
            edition has none.
    """

    edition: str
    ledger: Ledger
    results: Mapping[str, Result]
    conclusions: Sequence[ConclusionResult]
    form: str = ""

    def composition(self) -> str:
        """Say what the claims are, what became of each kind, and which form of the archive they were measured on."""
        found = composition_of(self.results.values())
        text = (
            f"{found['claims']} claims: {found['numbers']} print a number "
            f"({found['numbers_reproduced']} reproduced), {found['statements']} are statements "
            f"({found['statements_reproduced']} reproduced). "
            f"{found['with_caveat']} of the {found['reproduced']} reproduced carry a caveat."
        )
        return f"{text} Measured on the published archive: {FORMS[self.form]}." if self.form else text

    def counts(self, results: Iterable[Result] | None = None) -> dict[str, int]:
        """Number of claims by verdict, in the order of :data:`verdicts.VERDICTS`."""
        found = Counter(result.verdict for result in (self.results.values() if results is None else results))
        return {verdict: found[verdict] for verdict in verdicts.VERDICTS}

    def counts_by_document(self) -> dict[str, dict[str, int]]:
        """The same for each document; a claim that several documents print counts in each."""
        return {
            code: self.counts(result for result in self.results.values() if code in result.claim.documents)
            for code in self.ledger.documents
        }


def measure_all(
    ledger: Ledger, tables: Tables, release: Release | None = None, ids: Iterable[str] | None = None
) -> Report:
    """Measure claims and conclusions on an edition's tables.

    Args:
        ledger: the claims.
        tables: the rows.
        release: what is known beside the rows (archive, run specifications).
        ids: claims wanted; None: all, and the conclusions.

    Raises:
        ClaimsError: a measure asks for what cannot be computed, such as the mean of words.
    """
    measurer = Measurer(tables, ledger.rows, FUNCTIONS, release)
    # Claims about the ledger itself come last: they read the verdicts of the others.
    ordered = sorted(ledger.claims, key=lambda claim: claim.topic == "ledger")
    if ids is not None:
        wanted = set(ids)
        if not any(claim.topic == "ledger" and claim.id in wanted for claim in ordered):
            ordered = [claim for claim in ordered if claim.id in wanted]
    for claim in ordered:
        with _carrying_out(claim.id):
            measurer.results[claim.id] = judge(claim, measurer)
    results = {
        claim.id: measurer.results[claim.id] for claim in ledger.claims if claim.id in measurer.results
    }
    if ids is not None:
        results = {name: result for name, result in results.items() if name in wanted}
    conclusions = []
    for one in ledger.conclusions if ids is None else ():
        with _carrying_out(one.title):
            conclusions.append(conclude(one, measurer))
    form = release.form if release is not None and tables.edition == PUBLISHED else ""
    return Report(tables.edition, ledger, results, conclusions, form)


@contextmanager
def _carrying_out(name: str) -> Iterator[None]:
    """Name the claim where a measure that the checks let pass cannot be carried out: arguments are open-ended."""
    try:
        yield
    except InputError:
        raise
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        raise ClaimsError(FILE, name, f"the measure cannot be carried out ({error})") from error


def judge(claim: Claim, measurer: Measurer) -> Result:
    """Measure one claim and give its verdict; missing rows make it not testable, never an error."""
    measurer.used = []
    printed = written(claim)
    if claim.untestable:
        return Result(claim, verdicts.NOT_TESTABLE, printed, reason=claim.untestable, note=claim.note)
    if claim.readings:
        return _judge_readings(claim, measurer, printed)
    assert claim.measure is not None  # the ledger has been checked: what has no readings has a measure
    words = in_words(claim.measure, measurer)
    try:
        values = measurer.measure(claim.measure)
    except MissingError as error:
        return Result(
            claim,
            verdicts.NOT_TESTABLE,
            printed,
            words=words,
            reason=f"not in this edition: {error}",
            note=_note(claim, measurer),
        )
    used, measurer.used = measurer.used or [], None
    numbers = claim.printed if isinstance(claim.printed, list) else [claim.printed]
    if claim.expect is None:
        verdict = verdicts.by_rounding(values, numbers, claim.step)
        differences = verdicts.differences(values, numbers)
    else:
        verdict = verdicts.REPRODUCED if verdicts.fulfils(values, claim.expect) else verdicts.NOT_REPRODUCED
        differences = None
    return Result(
        claim,
        verdict,
        printed,
        measured=shown(claim.show, values, claim.step, claim.unit),
        values=values,
        differences=differences,
        words=words,
        note=_note(claim, measurer),
        used=used,
    )


def _judge_readings(claim: Claim, measurer: Measurer, printed: str) -> Result:
    found, missing = [], ""
    numbers = claim.printed if isinstance(claim.printed, list) else [claim.printed]
    for reading in claim.readings:
        words = in_words(reading.measure, measurer)
        try:
            values = measurer.measure(reading.measure)
        except MissingError as error:
            missing = f"not in this edition: {error}"
            found.append(ReadingResult(reading.name, words, [], NOTHING, None))
            continue
        if reading.expect is None:
            agrees = verdicts.by_rounding(values, numbers, claim.step) == verdicts.REPRODUCED
        else:
            agrees = verdicts.fulfils(values, reading.expect)
        text = shown(reading.show, values, claim.step, reading.measure.get("unit", claim.unit))
        found.append(ReadingResult(reading.name, words, values, text, agrees))
    used, measurer.used = measurer.used or [], None
    verdict = verdicts.joined([one.agrees for one in found])
    return Result(
        claim,
        verdict,
        printed,
        measured="; ".join(f"{one.name}: {one.text}{_AGREEMENT[one.agrees]}" for one in found),
        words="; ".join(dict.fromkeys(one.words for one in found)),
        note=_note(claim, measurer),
        reason=missing if verdict == verdicts.NOT_TESTABLE else "",
        readings=found,
        used=used,
    )


_AGREEMENT = {True: " [agrees]", False: " [disagrees]", None: ""}


# ------------------------------------------------------------------------------------------------- texts


class Filler(string.Formatter):
    """Fills ``{name:.2f}`` with measured values: all of them, or with ``{name[1]:.2f}`` one."""

    def __init__(self, values: Mapping[str, Sequence[Value] | None]) -> None:
        self.values, self.complete = values, True

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> tuple[Any, str]:
        """Look up a name, or a place among the positional values."""
        if field_name.isdigit():
            return (args[int(field_name)] if int(field_name) < len(args) else None), field_name
        name, _, place = field_name.partition("[")
        found: Any = self.values.get(name)
        if found is not None and place:
            found = dict(enumerate(found)).get(int(place.rstrip("]")))
        return found, field_name

    def format_field(self, value: Any, format_spec: str) -> str:
        """Write a value, or several in a row."""
        if isinstance(value, list | tuple):
            return listed([self.format_field(one, format_spec) for one in value])
        if value is None:
            self.complete = False
            return NOTHING
        if isinstance(value, bool):
            return "yes" if value else "no"
        return plain_number(value, format_spec)


def plain_number(value: Any, format_spec: str) -> str:
    """Write a number with a format; whole numbers without one need no decimals, and -0.0 loses its sign."""
    if not isinstance(value, int | float):
        return str(value)
    if not format_spec and isinstance(value, float):
        format_spec = ".0f" if value == int(value) else "g"
    return unsigned_zero(format(value, format_spec))


def decimals(step: float) -> int:
    """Return the decimals of a printed step."""
    text = f"{step:.12f}".rstrip("0")
    return len(text.split(".")[1]) if "." in text else 0


def written(claim: Claim) -> str:
    """Return what is printed, as text."""
    numbers = claim.printed if isinstance(claim.printed, list) else [claim.printed]
    if claim.step is None or not all(isinstance(one, int | float) for one in numbers):
        return str(claim.printed)
    if claim.show and "e}" in claim.show:
        return ", ".join(f"{one:.1e}" for one in numbers)
    digits = decimals(claim.step)
    texts = [f"{one:,.{digits}f}" if one != int(one) or digits else f"{int(one)}" for one in numbers]
    return ", ".join(texts) + _suffix(claim.unit)


def _suffix(unit: str) -> str:
    if unit.startswith("1e-"):
        return f" ×10⁻{'⁰¹²³⁴⁵⁶⁷⁸⁹'[int(unit[3:])]}"
    return unit if unit in ("", "%") else f" {unit}"


def shown(show: str | None, values: Sequence[Value], step: float | None, unit: str) -> str:
    """Return measured values as text: by their format, or with one or two digits more than printed."""
    if show is not None:
        # "none" is a finding here: such a level does not exist.
        named = ["none" if value is None else value for value in values]
        return Filler({}).vformat(show, named, {})
    texts = []
    digits = None if step is None else decimals(step) + (1 if step < 1 else 2)
    for value in values:
        if value is None:
            texts.append("none")
        elif isinstance(value, bool):
            texts.append("yes" if value else "no")
        elif isinstance(value, float) and (value != int(value) or (digits or 0) > 2):
            texts.append(plain_number(value, "g" if digits is None else f".{digits}f"))
        elif isinstance(value, float):
            texts.append(str(int(value)))
        else:
            texts.append(str(value))
    return ", ".join(texts) + _suffix(unit)


def _fill(
    text: str, measures: Mapping[str, Mapping[str, Any]], measurer: Measurer
) -> tuple[str, dict[str, Any], bool]:
    """Fill a text with the measures that it names; returns it, the values, and whether all were there."""
    named = {name.partition("[")[0] for _, name, _, _ in string.Formatter().parse(text) if name}
    values: dict[str, Any] = {}
    for name in named:
        try:
            values[name] = measurer.measure(measures[name]) if name in measures else None
        except MissingError:
            values[name] = None
    filler = Filler(values)
    return filler.vformat(text, (), {}), values, filler.complete


def _note(claim: Claim, measurer: Measurer) -> str:
    if not claim.note:
        return ""
    measurer.used = None  # the runs shown are those of the claim, not of its note
    text, _, _ = _fill(claim.note, claim.also, measurer)
    return " ".join(text.split())


def conclude(conclusion: Conclusion, measurer: Measurer) -> ConclusionResult:
    """Fill a conclusion's text with its numbers."""
    measurer.used = None
    text, values, complete = _fill(conclusion.text, conclusion.values, measurer)
    for sentence in conclusion.optional:
        more, found, known = _fill(sentence, conclusion.values, measurer)
        if known:
            text, values = f"{text} {more}", values | found
    numbers = [
        (in_words(measure, measurer), shown(None, values[name], None, measure.get("unit", "")))
        for name, measure in conclusion.values.items()
        if values.get(name) is not None
    ]
    return ConclusionResult(
        conclusion.title,
        conclusion.question,
        " ".join(text.split()),
        numbers,
        conclusion.claims,
        complete,
    )
