"""Reading and checking what people write: YAML files, their schemas, and names typed by hand.

Every message says which file, which key and what was expected, and offers the nearest name when one is misspelt
(DESIGN §9). Nothing heavier than yaml and jsonschema is imported here.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:  # imported where it is used: it takes longer to import than many commands to run
    import jsonschema


class InputError(ValueError):
    """Something a person wrote cannot be used. Its text names the place, the key and what was expected."""

    def __init__(self, where: object, key: str, problem: str) -> None:
        self.where, self.key, self.problem = str(where), key, problem
        super().__init__(f"{where}: {key}: {problem}" if key else f"{where}: {problem}")


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
    """The safe loader, except that a key written twice is an error: YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    problem = f"the key '{key.value}' is written twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep=deep)


# PyYAML follows YAML 1.1, where 1e-3 is a text; everybody who writes it means a number.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_yaml(path: Path, shown: str | None = None, error: type[InputError] = InputError) -> Any:
    """Read one YAML file. *shown* is the file's name in messages; raises *error* if it is missing or malformed."""
    shown = shown or str(path)
    try:
        with path.open(encoding="utf-8") as stream:
            return yaml.load(stream, Loader=_Loader)  # a subclass of the safe loader
    except FileNotFoundError:
        raise error(shown, "", "the file does not exist") from None
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        line = f"line {mark.line + 1}" if mark else ""
        raise error(shown, line, getattr(problem, "problem", None) or str(problem)) from None


# JSON Schemas, kept as YAML. They belong to the code that reads the files, so they travel with the package.
SCHEMAS = Path(__file__).parent / "schemas"


@cache
def _validator(name: str) -> jsonschema.protocols.Validator:
    import jsonschema

    return jsonschema.Draft202012Validator(read_yaml(SCHEMAS / f"{name}.schema.yaml"))


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


def _explain(found: jsonschema.ValidationError) -> str:
    schema, value, rule = found.schema, found.instance, found.validator
    if rule == "additionalProperties":
        known = schema.get("properties", {})
        unknown = next(key for key in value if key not in known)
        return f"unknown key '{unknown}'{did_you_mean(unknown, known)} (known: {', '.join(sorted(known))})"
    if rule == "required":
        missing = next(key for key in found.validator_value if key not in value)
        about = schema.get("properties", {}).get(missing, {}).get("description", "")
        return f"the key '{missing}' is missing" + (f" ({about})" if about else "")
    if rule == "propertyNames" or (
        rule == "pattern" and found.parent and found.parent.validator == "propertyNames"
    ):
        return f"'{value}' cannot be used as a name here"
    expected = {
        "enum": lambda: "one of " + ", ".join(map(str, found.validator_value)),
        "const": lambda: str(found.validator_value),
        "type": lambda: " or ".join(
            [found.validator_value] if isinstance(found.validator_value, str) else found.validator_value
        ),
        "minimum": lambda: f"at least {found.validator_value}",
        "maximum": lambda: f"at most {found.validator_value}",
        "exclusiveMinimum": lambda: f"more than {found.validator_value}",
    }.get(rule, lambda: "")()
    about = schema.get("description", "")
    expected = ", ".join(part for part in (expected, about) if part) or f"something else ({found.message})"
    hint = did_you_mean(value, found.validator_value) if rule == "enum" else ""
    return f"expected {expected}; got {value!r}{hint}"
