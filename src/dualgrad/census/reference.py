"""What is generated from the models of a run: the schema of census files, and the tables of keys in config/README.md.

``python -m dualgrad.census.reference --fix`` writes both; a test compares. The words around a run (factors, blocks,
names, starts, segments) stand in ``schemas/census.vocabulary.yaml``; what a run holds, in :mod:`dualgrad.census.run`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import click
import yaml
from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from dualgrad.census.networks import BuiltIn, Imported
from dualgrad.census.part import Part, keys_of
from dualgrad.census.run import (
    GIVEN,
    LINKED,
    Aggregated,
    Augment,
    Direction,
    EvaluateAt,
    EvaluateEvery,
    Gate,
    Log,
    MeasuredScale,
    Noise,
    Normalize,
    Optimizer,
    RandomLabels,
    Run,
    Schedule,
    Segment,
    Stage,
    Start,
    Stop,
    Streams,
    Task,
    Trusted,
    Validation,
    ValueSignal,
)
from dualgrad.census.stages import ATOMIC_KEYS
from dualgrad.validation import SCHEMAS, read_yaml

REFERENCE = r"^\$[A-Za-z_]\w*( *[+-] *\d+(\.\d+)?)?$"
_HEADER = """\
# Generated from the models of a run (src/dualgrad/census/run.py) and from census.vocabulary.yaml by
# `python -m dualgrad.census.reference --fix`; edit these.
"""


# --- schema --------------------------------------------------------------------------------------------------


def census_schema() -> dict[str, Any]:
    """The JSON Schema of ``config/census/*.yaml``.

    The vocabulary says ``{$run: task}`` or ``{$stage: gate}`` where the schema of a key of a run or stage belongs.
    """
    models: dict[str, type[Part]] = {"$run": Run, "$stage": Stage}
    generated: dict[str, Any] = {}

    def filled(node: Any) -> Any:
        if isinstance(node, dict):
            for word, model in models.items():
                if word in node:
                    name = f"{word[1:]}_{node[word]}"
                    generated[name] = written(model, node[word])
                    return {"$ref": f"#/$defs/{name}"}
            return {key: filled(value) for key, value in node.items()}
        return [filled(one) for one in node] if isinstance(node, list) else node

    schema: dict[str, Any] = filled(read_yaml(SCHEMAS / "census.vocabulary.yaml"))
    schema["$defs"] |= generated
    return schema


def written(model: type[Part], key: str) -> dict[str, Any]:
    """The schema of one key of a model as an entry may write it: a part of it, and references for values."""
    whole = model.model_json_schema()
    described = whole["properties"][key]
    node = _written(described, whole.get("$defs", {}), key in ATOMIC_KEYS)
    return {"description": described.get("description", ""), **_referable(node)}


def _referable(node: Any) -> Any:
    """Let a reference stand for each choice of words; what tells alternatives apart stays as it is."""
    if isinstance(node, list):
        return [_referable(one) for one in node]
    if not isinstance(node, dict):
        return node
    whole = {key: one if key == "if" else _referable(one) for key, one in node.items()}
    if isinstance(whole.get("enum"), list):
        about = _about(whole)
        words = {"enum": whole.pop("enum"), **about}
        whole |= {"if": {"type": "string", "pattern": r"^\$"}, "then": {"pattern": REFERENCE}, "else": words}
    return whole


def _written(node: Mapping[str, Any], known: Mapping[str, Any], whole: bool) -> dict[str, Any]:
    if "$ref" in node:
        return _written({**known[node["$ref"].rpartition("/")[2]], **_about(node)}, known, whole)
    options = node.get("oneOf") or node.get("anyOf")
    if options:
        tagged = [_written(one, known, whole) for one in options]
        objects = [one for one in tagged if one.get("type") == ["object", "string"]]
        others = [one for one in tagged if one not in objects]
        if own := [one for one in objects if "import" in one.get("properties", {})]:
            # A network of one's own, whose options nobody knows here, and the others.
            (built_in,) = (one for one in objects if one not in own)
            imports = {"type": "object", "required": ["import"]}
            others.append({"type": ["object", "string"], "if": imports, "then": own[0], "else": built_in})
        elif len(objects) > 1:
            others.append(_told_apart(objects))
        else:
            others += objects
        return _about(node) | _merged(others)
    about = _about(node)
    if "const" in node or "enum" in node:
        return about | {"enum": node.get("enum", [node.get("const")])}
    kind = node["type"]
    if kind == "object":
        rules: dict[str, Any] = {"type": ["object", "string"], "pattern": REFERENCE}
        if "properties" in node:
            rules["additionalProperties"] = bool(node.get("additionalProperties", False))
            if whole and node.get("required"):
                rules["required"] = node["required"]
            rules["properties"] = {
                key: _written(one, known, key in ATOMIC_KEYS) for key, one in node["properties"].items()
            }
        else:
            rules["additionalProperties"] = _any_of(node.get("additionalProperties"), known)
            if "propertyNames" in node:
                names = dict(node["propertyNames"])
                rules["propertyNames"] = {"description": "a word", **_exact(names)}
        return about | rules
    if kind == "array":
        items = node.get("items")
        if "prefixItems" in node:  # a pair
            rules = {key: node[key] for key in ("minItems", "maxItems")}
            rules["items"] = _written(node["prefixItems"][0], known, False)
        else:
            rules = {key: node[key] for key in ("minItems",) if key in node}
            rules["items"] = _written(items, known, False) if items else {}
        return about | {"type": ["array", "string"], "pattern": REFERENCE, **rules}
    if kind == "string":
        return about | _exact(
            {"type": ["string"], **{key: node[key] for key in ("pattern",) if key in node}}, True
        )
    if kind == "null":
        return about | {"type": ["null"]}
    limits = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
    return about | {
        "type": [kind, "string"],
        "pattern": REFERENCE,
        **{key: node[key] for key in limits if key in node},
    }


def _about(node: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": node["description"]} if "description" in node else {}


def _exact(rules: dict[str, Any], referable: bool = False) -> dict[str, Any]:
    """Patterns of Python's `re`, where $ would also match before a line's end; a name may be a reference."""
    if "pattern" in rules:
        pattern = rules["pattern"].removesuffix("$") + r"$(?!\n)"
        rules["pattern"] = f"{pattern}|{REFERENCE}" if referable else pattern
    return rules


def _any_of(node: Any, known: Mapping[str, Any]) -> Any:
    return True if node in (None, True) else _written(node, known, False)


def _merged(options: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Alternatives of different types as one schema: each keyword speaks about its own type."""
    types: list[str] = []
    whole: dict[str, Any] = {}
    for one in options:
        if "enum" in one:
            whole["enum"] = [*whole.get("enum", ()), *one["enum"]]
            continue
        types += [kind for kind in one["type"] if kind not in types]
        whole |= {key: value for key, value in one.items() if key not in ("type", "description")}
    if "object" in types and "enum" in whole:  # a word, or a mapping in its place
        words = {"enum": whole.pop("enum")}
        return {"if": {"type": "string"}, "then": words, "else": {"type": types, **whole}}
    if "enum" in whole:  # null is the only other word
        return whole | ({"enum": [*whole["enum"], None]} if "null" in types else {})
    return {"type": types} | whole


def _told_apart(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """Alternatives that one of their keys tells apart: a mistake in one is explained by that one."""
    tags = [
        key for key in ("kind", "name") if all("enum" in one["properties"].get(key, {}) for one in objects)
    ]
    if not tags:  # calendars: the keys differ
        properties: dict[str, Any] = {}
        for one in objects:
            properties |= one["properties"]
        return {"type": ["object", "string"], "pattern": REFERENCE, "additionalProperties": False,
                "properties": properties, "oneOf": [{"required": one["required"]} for one in objects]}  # fmt: skip
    (tag,) = tags
    known = [word for one in objects for word in one["properties"][tag]["enum"]]
    whole: dict[str, Any] = {"type": ["object", "string"], "pattern": REFERENCE, "required": [tag]}
    whole["properties"] = {tag: {**_about(objects[0]["properties"][tag]), "enum": known}}
    whole["allOf"] = [
        {
            "if": {"type": "object", "properties": {tag: one["properties"][tag]}, "required": [tag]},
            "then": {
                key: one[key] for key in ("additionalProperties", "required", "properties") if key in one
            },
        }
        for one in objects
    ]
    return whole


# --- tables of keys ------------------------------------------------------------------------------------------

_MARKS = ("<!-- keys of a run: generated -->", "<!-- end of the keys -->")
_PARTS: tuple[tuple[str, Any], ...] = (
    ("a run", Run),
    ("`task`", Task),
    ("`task.normalize`", Normalize),
    ("`task.augment`", Augment),
    ("`task.model`", BuiltIn),
    ("`task.model`, with a network of one's own", Imported),
    ("`task.validation`", Validation),
    ("`noise`", Noise),
    ("`value`", ValueSignal),
    ("`value.random`", RandomLabels),
    ("`value.trusted`", Trusted),
    ("`value.synthetic`", Direction),
    ("`method`, with an aggregator of TorchJD", Aggregated),
    ("`optimizer`", Optimizer),
    ("`lr_scale`, where another run measures it", MeasuredScale),
    ("`streams`", Streams),
    ("`log`", Log),
    ("a stage", Stage),
    ("`start`", Start),
    ("`schedule`", Schedule),
    ("`segments`, each", Segment),
    ("`evaluate`", EvaluateEvery | EvaluateAt),
    ("`gate`", Gate),
    ("`stop`", Stop),
)
# Given by experiment, edition and dependencies; nobody writes them.
_NOT_WRITTEN = (*GIVEN, *LINKED, "save", "factors")


def key_tables() -> str:
    """The keys of a run as tables in Markdown."""
    lines = [_MARKS[0]]
    for title, annotation in _PARTS:
        classes = _classes(annotation)
        lines += ["", f"Keys of {title}:", ""]
        if len(classes) == 1:
            lines += ["| key | value | default | meaning |", "|---|---|---|---|"]
            lines += [f"| {row}" for row in _rows(classes[0])]
        else:
            tag = next((one for one in ("kind", "name") if one in keys_of(classes[0])), None)
            first = f"`{tag}`" if tag else ""
            lines += [f"| {first} | key | value | default | meaning |", "|---|---|---|---|---|"]
            for model in classes:
                (word,) = get_args(model.model_fields[tag].annotation) if tag else ("",)
                name = f"`{word}`: {(model.__doc__ or '').splitlines()[0]}" if word else (model.__doc__ or "")
                rows = _rows(model, without=(tag, "body_from")) or ["– | | | |"]
                lines += [f"| {name if not place else ''} | {row}" for place, row in enumerate(rows)]
    return "\n".join([*lines, "", _MARKS[1]])


def _classes(annotation: Any) -> list[type[Part]]:
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return [annotation]
    found: list[type[Part]] = []
    for one in get_args(annotation):
        found += _classes(one)
    return found


def _rows(model: type[Part], without: tuple[str | None, ...] = ()) -> list[str]:
    rows = []
    for name, field in model.model_fields.items():
        key = field.alias or name
        if key in without or (model in (Run, Task, Stage) and key in _NOT_WRITTEN):
            continue
        rows.append(f"`{key}` | {_type_words(field)} | {_default(field)} | {field.description} |")
    return rows


def _type_words(field: FieldInfo) -> str:
    annotation: Any = field.annotation
    node = TypeAdapter(field.rebuild_annotation()).json_schema()
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{word}`" for word in get_args(annotation))
    return _words(node, node.get("$defs", {})) + (
        " or null" if NoneType in get_args(annotation) and not _left(field) else ""
    )


def _left(field: FieldInfo) -> bool:
    return field.exclude_if is not None


def _words(node: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    if "$ref" in node:
        return "mapping"
    if options := node.get("oneOf") or node.get("anyOf"):
        words = [_words(one, known) for one in options if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(words))
    if "enum" in node or "const" in node:
        return ", ".join(f"`{word}`" for word in node.get("enum", [node.get("const")]))
    names = {"integer": "integer", "number": "number", "boolean": "true or false", "string": "text", "array": "list",
             "object": "mapping"}  # fmt: skip
    text = names[node["type"]]
    bounds = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
    large = 2**31 - 1  # no bound that a reader needs
    said = [f"{sign} {node[key]:g}" for key, sign in bounds if key in node and abs(node[key]) < large]
    return " ".join([text, ", ".join(said)]).strip()


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "–"
    if _left(field):
        return "left out"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Part):
        value = value.plain()
    shown = yaml.safe_dump(value, default_flow_style=True, width=200).removesuffix("\n...\n").strip()
    return f"`{shown}`"


# --- files ---------------------------------------------------------------------------------------------------


def generated(root: Path) -> dict[Path, str]:
    """The generated files of a clone, with what they have to hold."""
    readme = root / "config" / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(_MARKS[0])
    after = rest.partition(_MARKS[1])[2]
    schema = yaml.safe_dump(
        census_schema(), sort_keys=False, allow_unicode=True, width=110, default_flow_style=False
    )
    return {SCHEMAS / "census.schema.yaml": _HEADER + schema, readme: before + key_tables() + after}


@click.command()
@click.option("--fix", is_flag=True, help="write the files anew")
@click.option(
    "--root", type=click.Path(path_type=Path), default=Path(), help="folder of the clone (default: here)"
)
@click.pass_context
def main(context: click.Context, fix: bool, root: Path) -> None:
    """Compare the generated files with the models; with --fix, write them."""
    wanted = generated(root)
    stale = [path for path, text in wanted.items() if path.read_text(encoding="utf-8") != text]
    for path in stale:
        if fix:
            path.write_text(wanted[path], encoding="utf-8")
        else:
            print(
                f"{path}: is not what the models say; python -m dualgrad.census.reference --fix",
                file=sys.stderr,
            )
    context.exit(int(bool(stale) and not fix))


if __name__ == "__main__":
    main()
