"""What the Tab key offers beyond verbs, options and choices: names of the census, the claims and the settings.

click completes, asked by the scripts that ``dualgrad completion SHELL`` prints. The names of runs take a while to
expand, so they are kept in the user's cache folder until a file of the census changes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

from dualgrad.files import visible
from dualgrad.validation import SCHEMAS, InputError, holds_workflow, read_yaml


class _Whole(ShellComplete):
    """Completes --edition=smo to the whole word --edition=smoke, where click gives the value alone."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        found = super().get_completions(args, incomplete)
        option, equals, _ = incomplete.partition("=")
        if equals and option.startswith("-"):
            for one in found:
                one.value = f"{option}={one.value}"
        return found


@add_completion_class
class Fish(_Whole, FishComplete):
    """Completion in fish."""


@add_completion_class
class Bash(_Whole, BashComplete):
    """Completion in bash, which takes the sign = for a word of its own: lambda=0.3 is whole again here.

    No space follows a name that goes on.
    """

    source_template = """\
%(complete_func)s() {
    local IFS=$'\\n' line=${COMP_LINE:0:COMP_POINT} cur=${COMP_WORDS[COMP_CWORD]#=}
    local word=${line##*[[:space:]]}
    COMPREPLY=($(COMP_WORDS=$line %(complete_var)s=bash_complete "$1" 2>/dev/null))
    COMPREPLY=("${COMPREPLY[@]#"${word%%"$cur"}"}")
    if [[ ${#COMPREPLY[@]} == 0 ]]; then
        compopt -o default
    elif [[ ${COMPREPLY[0]} == *[/=] ]]; then
        compopt -o nospace
    fi 2>/dev/null
}
complete -F %(complete_func)s %(prog_name)s
"""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Take the line up to the cursor apart."""
        line = os.environ["COMP_WORDS"]
        words = split_arg_string(line)[1:]
        return (words, "") if line[-1:].isspace() else (words[:-1], words[-1])

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Leave names of files to bash."""
        return item.value if item.type == "plain" else ""


@add_completion_class
class Zsh(_Whole, ZshComplete):
    """Completion in zsh; no space follows a name that goes on."""

    source_template = ZshComplete.source_template.replace(
        "compadd -U -V unsorted -a completions",
        "compadd -U -V open -S '' -- ${(M)completions:#*[/=]}\n"
        "        compadd -U -V closed -- ${completions:#*[/=]}",
    )


def known_from(root: Path | None) -> Mapping[str, Any]:
    """Return the names of the workflow in a folder, or in the nearest one from here upwards; none without one."""
    here = Path.cwd()
    folders = [root] if root else [one for one in (here, *here.parents) if holds_workflow(one)]
    return names(folders[0]) if folders else {}


def names(root: Path) -> dict[str, Any]:
    """Return runs by experiment, levels by factor, values by setting, and more; kept until the census changes."""
    files = sorted([*visible(root / "config", "**/*.yaml"), *SCHEMAS.glob("*.yaml")])
    stamps = [(str(file), stat.st_mtime_ns, stat.st_size) for file in files for stat in [file.stat()]]
    stamp = hashlib.sha256(json.dumps([__file__, *stamps]).encode()).hexdigest()
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dualgrad"
    kept = folder / f"names-{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]}.json"
    try:
        found = json.loads(kept.read_text(encoding="utf-8"))
        if found["stamp"] == stamp:
            return found
    except (OSError, ValueError, KeyError):
        pass  # none yet, or half a one
    found = {"stamp": stamp, **_expanded(root)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(found), encoding="utf-8")
        partial.replace(kept)
    except OSError:
        pass  # a home that cannot be written to: slower, not wrong
    return found


def _expanded(root: Path) -> dict[str, Any]:
    from dualgrad.census.datasets import all_annotations
    from dualgrad.claims.verdicts import VERDICTS
    from dualgrad.project import load_project
    from dualgrad.statistics.sources import ALL_STATISTICS

    project = load_project(root)
    census = project.census
    factors: dict[str, dict[str, None]] = {}
    for run in census.runs.values():
        for factor, level in run["factors"].items():
            factors.setdefault(factor, {})[f"{level:g}" if isinstance(level, float) else str(level)] = None
    rules = read_yaml(SCHEMAS / "config.schema.yaml")["properties"]
    editions = [path.stem for path in visible(root / "config" / "editions", "*.yaml")]
    settings = {key: [one for one in rules[key].get("enum", ()) if one] for key in project.settings}
    return {
        "runs": {
            name: [target.split("/", 1)[1] for target in one["runs"]]
            for name, one in census.experiments.items()
        },
        "factors": {factor: list(levels) for factor, levels in factors.items()},
        "settings": settings | {"edition": editions},
        "editions": editions,
        "datasets": [*census.datasets, "distilbert", *all_annotations(census.datasets)],
        "series": list(dict.fromkeys(one["series"] for one in census.experiments.values())),
        "verdicts": list(VERDICTS),
        "statistics": list(ALL_STATISTICS),
        **_claims(root),
    }


def _claims(root: Path) -> dict[str, list[str]]:
    """Names around the claims; none where the ledger cannot be read: the verb itself says what is wrong."""
    from dualgrad.claims.load import load_ledger

    try:
        ledger = load_ledger(root)
    except InputError:
        return {}
    claims = [one.id for one in ledger.claims]
    return {"claims": claims, "topics": list(ledger.topics), "documents": list(ledger.documents)}
