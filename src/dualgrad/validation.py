"""Reading and checking what people write: YAML files, their schemas, and names typed by hand.

Every message says which file, which key and what was expected, and offers the nearest name when one is misspelt
(docs/specification/contract.md#failures). Nothing heavy is imported here before it is needed.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # imported where it is used: it takes longer to import than many commands to run
    import jsonschema


class InputError(ValueError):
    """Something a person wrote cannot be used. Its text names the place, the key and what was expected."""

    def __init__(self, where: object, key: str, problem: str) -> None:
        self.where, self.key, self.problem = str(where), key, problem
        parts = (clipped(part, 500) for part in (where, key) if str(part))
        super().__init__(": ".join((*parts, clipped(problem, 2000))))


def did_you_mean(word: object, known: Iterable[object]) -> str:
    """Return ``; did you mean 'x'?`` for the known name nearest to *word*, or an empty text."""
    names = [str(name) for name in known]
    folded = {name.lower(): name for name in names}
    if str(word).lower() in folded:  # a slip of the shift key is no slip in meaning
        return f"; did you mean '{folded[str(word).lower()]}'?"
    near = difflib.get_close_matches(str(word), names, n=1, cutoff=0.6)
    if not near:
        near = [folded[hit] for hit in difflib.get_close_matches(str(word).lower(), folded, n=1, cutoff=0.6)]
    return f"; did you mean '{near[0]}'?" if near else ""


def holds_workflow(folder: Path) -> bool:
    """Return whether *folder* is a workflow's: it has a census, by which the rules know a config that is meant."""
    return (folder / "config" / "census").is_dir()


_LARGEST = 1e300  # beyond this a number is a slip, and the next sum may be infinite


def parse_yaml(text: str, shown: str, error: type[InputError] = InputError) -> Any:
    """Return what a YAML text says. *shown* is its name in messages; raises *error* if it is malformed."""
    import yaml  # here: the command line is quicker without it

    from dualgrad.strict_yaml import load

    try:
        return load(text)
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        line = f"line {mark.line + 1}" if mark else ""
        said = [getattr(problem, name, None) for name in ("context", "problem")]
        what = ", ".join(part for part in said if part) or " ".join(str(problem).split())
        raise error(shown, line, what) from None
    except ValueError as problem:  # a whole number of thousands of digits
        raise error(shown, "", clipped(problem)) from None


def read_yaml(path: Path, shown: str | None = None, error: type[InputError] = InputError) -> Any:
    """Read one YAML file. *shown* is the file's name in messages; raises *error* if it is missing or malformed."""
    from dualgrad.files import read_regular

    shown = shown or str(path)
    try:
        text = read_regular(path).decode("utf-8")
    except FileNotFoundError:
        raise error(shown, "", "the file does not exist") from None
    except OSError as problem:
        raise error(shown, "", f"cannot be read ({problem.strerror})") from None
    except UnicodeDecodeError as problem:
        line = problem.object.count(b"\n", 0, problem.start) + 1
        what = f"expected text in UTF-8; got the byte 0x{problem.object[problem.start]:02x}"
        raise error(shown, f"line {line}", what) from None
    return parse_yaml(text, shown, error)


def clipped(value: object, most: int = 120) -> str:
    """Return a value as text that is short enough for a message, without control characters."""
    text = str(value)
    text = text if len(text) <= most else f"{text[: most - 3]}..."
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


# JSON Schemas, kept as YAML. They belong to the code that reads the files, so they travel with the package.
SCHEMAS = Path(__file__).parent / "schemas"


@cache
def _schema(file: str) -> Any:
    return read_yaml(SCHEMAS / file)


@cache
def _validator(name: str) -> jsonschema.protocols.Validator:
    import jsonschema
    from referencing import Registry, Resource
    from referencing.jsonschema import DRAFT202012

    @cache  # asked for at every reference
    def beside(file: str) -> Resource:
        return Resource.from_contents(_schema(file), default_specification=DRAFT202012)

    # JSON Schema takes 2.0 for an integer, and knows no NaN and no end of integers.
    types = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
        {
            "integer": lambda _, value: type(value) is int and abs(value) < _LARGEST,
            "number": lambda _, value: type(value) in (int, float) and abs(value) < _LARGEST,
        }
    )

    def whole(_: Any, pattern: str, value: Any, __: Any) -> Iterable[jsonschema.ValidationError]:
        # Python's $ lets a line end pass, which the pattern does not mean.
        if isinstance(value, str) and not re.search(re.sub(r"(?<!\\)\$$", r"\\Z", pattern), value):
            yield jsonschema.ValidationError(f"{value!r} does not match {pattern!r}")

    strict = jsonschema.validators.extend(
        jsonschema.Draft202012Validator, {"pattern": whole}, type_checker=types
    )
    return strict(_schema(f"{name}.schema.yaml"), registry=Registry(retrieve=beside))  # type: ignore[call-arg]  # (mypy misses attrs alias)


def check_schema(data: Any, schema: str, shown: str, error: type[InputError] = InputError) -> None:
    """Check *data* against the schema called *schema*; raise *error* for the first thing that is wrong."""
    found = next(_validator(schema).iter_errors(data), None)
    if found is None:
        return
    while found.context:  # of several alternatives, explain the one that came furthest
        found = max(found.context, key=lambda one: (len(one.absolute_path), _TELLING.get(one.validator, 2)))
    path = ".".join(str(part) for part in found.absolute_path)
    raise error(shown, path, _explain(found))


# Of two failed alternatives, the one that says more: a wrong type only says that it was another one.
_TELLING = {"type": 0, "enum": 1, "additionalProperties": 3}


def _written(value: Any) -> str:
    """Return a value as one writes it in YAML: null and true, not Python's words for them."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def _explain(found: jsonschema.ValidationError) -> str:
    schema, value, rule = found.schema, found.instance, found.validator
    if rule == "additionalProperties":
        known = schema.get("properties", {})
        unknown = next(key for key in value if key not in known)
        return f"unknown key '{clipped(unknown)}'{did_you_mean(unknown, known)} (known: {', '.join(sorted(known))})"
    if rule == "required":
        missing = next(key for key in found.validator_value if key not in value)
        about = schema.get("properties", {}).get(missing, {}).get("description", "")
        return f"the key '{missing}' is missing" + (f" ({about})" if about else "")
    if rule == "propertyNames" or (
        rule == "pattern" and found.parent and found.parent.validator == "propertyNames"
    ):
        about = schema.get("description", "") or "another name"
        return f"{clipped(repr(value))} cannot be used as a name here; expected {about}"
    expected = {
        "enum": lambda: "one of " + ", ".join(map(_written, found.validator_value)),
        "const": lambda: _written(found.validator_value),
        "type": lambda: " or ".join(
            [found.validator_value] if isinstance(found.validator_value, str) else found.validator_value
        ),
        "minimum": lambda: f"at least {found.validator_value}",
        "maximum": lambda: f"at most {found.validator_value}",
        "exclusiveMinimum": lambda: f"more than {found.validator_value}",
    }.get(rule, lambda: "")()
    if rule == "pattern" and isinstance(schema.get("type"), list):  # a value, or a reference in its place
        kinds = [kind for kind in schema["type"] if kind != "string"]
        expected = " or ".join([*kinds, "a reference such as $name"]) if kinds else ""
    about = schema.get("description", "")
    expected = (
        ", ".join(part for part in (expected, about) if part) or f"something else ({clipped(found.message)})"
    )
    hint = ""
    if rule == "enum":
        nothing = value in ("None", "none", "nil", "NULL") and None in found.validator_value
        hint = (
            "; did you mean null?" if nothing else did_you_mean(value, map(_written, found.validator_value))
        )
    return f"expected {expected}; got {clipped(repr(value))}{hint}"
