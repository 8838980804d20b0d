"""YAML as this project reads it: the plain scalars of version 1.2, no key twice, and no more than a machine bears."""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

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


def load(text: str) -> Any:
    """Return what a text says.

    Raises:
        yaml.YAMLError: it is malformed. ValueError: it holds a whole number of thousands of digits.
    """
    _check_extent(text)
    return yaml.load(text, Loader=_Loader)  # a subclass of the safe loader
