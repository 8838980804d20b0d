"""Reading and checking what people write: YAML files, their schemas, and names typed by hand.

Every message says which file, which key and what was expected, and offers the nearest name when one is misspelt
(docs/specification/contract.md#failures). Nothing heavier than yaml and jsonschema is imported here.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from dualgrad.files import read_regular

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
    """Return whether *folder* is a workflow's: a census with a Snakefile, where a clone or snakedeploy has it."""
    snakefiles = ("Snakefile", "workflow/Snakefile")
    return (folder / "config" / "census").is_dir() and any((folder / one).is_file() for one in snakefiles)


_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # without libyaml the one in Python


class _Loader(_SafeLoader):
    """The safe loader with the plain scalars of YAML 1.2, without what YAML would silently make of a slip.

    PyYAML follows YAML 1.1, where `no` is false, 1:30 is 90, 010 is 8, 2026-01-12 is a date and 1e-3 is a text. Here
    only true and false are flags, and everything that is no decimal number is a text. A key written twice is an
    error, and so is a number that is not finite.
    """

    yaml_implicit_resolvers: dict = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    problem = f"the key '{key.value}' is written twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep=deep)

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        number = super().construct_yaml_float(node)
        if not math.isfinite(number):
            problem = f"expected a finite number; got {node.value}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return number


_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))

_LARGEST = 1e300  # beyond this a number is a slip, and the next sum may be infinite
# The longest file here (claims.yaml) has some 20,000 values, the deepest is nested 12 deep.
_MOST_VALUES, _DEEPEST = 1_000_000, 100


def _check_extent(text: str) -> None:
    """Refuse what would exhaust the machine: nesting without end, and aliases that stand for ever more.

    Works on events, of which there are as many as the text has values: the composer would recurse, and whoever walks
    through the result would meet every alias in full.
    """
    sizes: dict[str, int] = {}
    whole: list[tuple[str | None, int]] = [(None, 0)]  # anchor and size of the collections that are open
    for event in yaml.parse(text, Loader=_Loader):
        size = 0
        if isinstance(event, yaml.CollectionStartEvent):
            if len(whole) > _DEEPEST:
                raise yaml.MarkedYAMLError(
                    problem=f"nested more than {_DEEPEST} deep", problem_mark=event.start_mark
                )
            whole.append((event.anchor, 1))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = whole.pop()
            if anchor:
                sizes[anchor] = size
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in whole):
                problem = f"'{event.anchor}' contains itself"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
            size = sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.ScalarEvent):
            size = 1
            if event.anchor:
                sizes[event.anchor] = 1
        if size:
            whole[-1] = (whole[-1][0], whole[-1][1] + size)
            if whole[-1][1] > _MOST_VALUES:
                problem = f"more than {_MOST_VALUES:,} values, aliases written out"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


def parse_yaml(text: str, shown: str, error: type[InputError] = InputError) -> Any:
    """Return what a YAML text says. *shown* is its name in messages; raises *error* if it is malformed."""
    try:
        _check_extent(text)
        return yaml.load(text, Loader=_Loader)  # a subclass of the safe loader
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
def _validator(name: str) -> jsonschema.protocols.Validator:
    import jsonschema
    from referencing import Registry, Resource
    from referencing.jsonschema import DRAFT202012

    @cache  # asked for at every reference
    def beside(file: str) -> Resource:
        return Resource.from_contents(read_yaml(SCHEMAS / file), default_specification=DRAFT202012)

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
    return strict(read_yaml(SCHEMAS / f"{name}.schema.yaml"), registry=Registry(retrieve=beside))  # type: ignore[call-arg]  # (mypy misses attrs alias)


def check_schema(
    data: Any, schema: str, shown: str, error: type[InputError] = InputError, prefix: str = ""
) -> None:
    """Check *data* against the schema called *schema*; raise *error* for the first thing that is wrong."""
    found = next(_validator(schema).iter_errors(data), None)
    if found is None:
        return
    while found.context:  # of several alternatives, explain the one that came furthest
        found = max(found.context, key=lambda one: (len(one.absolute_path), _TELLING.get(one.validator, 2)))
    path = prefix + ".".join(str(part) for part in found.absolute_path)
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
