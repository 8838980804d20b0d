"""Print one run as it will be executed: everything that the census and the edition say about it.

dualgrad show A/lam0.35_eta0.4_seed0
dualgrad show Tg1/pos1 --edition paper --json
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import click

from dualgrad.arguments import RUN, json_option, verb


@verb
@click.argument("run", type=RUN, help="the run, as `dualgrad census --runs` names it")
@json_option(help="write JSON instead of YAML")
def run(args: SimpleNamespace) -> int:
    """Print the run."""
    from dualgrad.project import load_project

    spec = load_project(args.root, args.config).census.run(args.run)
    print(
        json.dumps(spec, indent=2, ensure_ascii=False) if args.json else as_yaml(spec),
        end="\n" if args.json else "",
    )
    return 0


def as_yaml(spec: dict) -> str:
    """A resolved run as YAML for reading: in its own order, short collections on one line."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes shared parts out in full, and collections of plain values on one line."""

        def ignore_aliases(self, data: object) -> bool:
            return True

        def represent_sequence(
            self, tag: str, sequence: Iterable[Any], flow_style: bool | None = None
        ) -> yaml.SequenceNode:
            return super().represent_sequence(
                tag, sequence, not any(isinstance(one, dict) for one in sequence)
            )

        def represent_mapping(
            self, tag: str, mapping: Mapping[str, Any], flow_style: bool | None = None
        ) -> yaml.MappingNode:
            plain = not any(isinstance(value, (dict, list)) for value in mapping.values())
            return super().represent_mapping(
                tag, mapping, plain and len(mapping) <= 6 and mapping is not spec
            )

    return yaml.dump(spec, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=110)
