"""Completion of commands, options and names in a shell: quick enough for the Tab key.

The shell's script (``dualgrad completion bash``) calls ``dualgrad complete WORD...`` with the words after `dualgrad`
up to the cursor and offers the lines that it prints; no lines mean file names. The names of runs take a while to
expand, so they are kept in the user's cache folder until a file of the census changes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dualgrad.validation import SCHEMAS, InputError, holds_workflow

SCRIPTS = {
    "bash": """\
# Completion of dualgrad in bash. In ~/.bashrc: eval "$(dualgrad completion bash)"
_dualgrad() {
    local IFS=$'\\n' words=() word
    for word in "${COMP_WORDS[@]:1:COMP_CWORD}"; do [[ $word == "=" ]] || words+=("$word"); done
    [[ ${COMP_WORDS[COMP_CWORD]} == "=" ]] && words+=("")
    COMPREPLY=($(dualgrad complete -- "${words[@]}" 2>/dev/null))
    if [[ ${#COMPREPLY[@]} == 0 ]]; then
        compopt -o default 2>/dev/null
    elif [[ ${COMPREPLY[0]} == *[/=] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -F _dualgrad dualgrad
""",
    "zsh": """\
# Completion of dualgrad in zsh. In ~/.zshrc, after compinit: eval "$(dualgrad completion zsh)"
_dualgrad() {
    local -a found open closed
    found=("${(@f)$(dualgrad complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    open=(${(M)found:#*[/=]})
    closed=(${found:#*[/=]})
    (( $#open )) && compadd -S '' -- $open
    (( $#closed )) && compadd -- $closed
    (( $#open + $#closed )) || _files
}
compdef _dualgrad dualgrad
""",
    "fish": """\
# Completion of dualgrad in fish: dualgrad completion fish > ~/.config/fish/completions/dualgrad.fish
function __dualgrad_complete
    set -l words (commandline -opc) (commandline -ct)
    dualgrad complete -- $words[2..] 2>/dev/null
end
complete -c dualgrad -f -a '(__dualgrad_complete)'
complete -c dualgrad -n '__fish_seen_subcommand_from figure explorer report claims data' -F
""",
}


def candidates(words: Sequence[str]) -> list[str]:
    """Return what the last of the words could become; empty where that is a file's name, or nothing is known."""
    from dualgrad.cli import COMMANDS

    words = list(words) or [""]
    if len(words) == 1:
        return _starting(words[0], COMMANDS)
    command, *before, prefix = words
    if command not in COMMANDS:
        return []
    from dualgrad.cli import parser_of

    parser = parser_of(command)
    options = {name: action for action in parser._actions for name in action.option_strings}
    if prefix.startswith("-"):
        return _starting(prefix, [name for name in options if name.startswith("--")])
    action = _expected(parser, options, before)
    return [] if action is None else _values(action, prefix, _root(before), before)


def _expected(
    parser: argparse.ArgumentParser, options: Mapping[str, argparse.Action], before: Sequence[str]
) -> argparse.Action | None:
    """The argument that the next word belongs to."""
    places = [action for action in parser._actions if not action.option_strings]
    open_option: argparse.Action | None = None
    filled = 0
    for word in before:
        if word.startswith("-"):
            action = options.get(word)
            open_option = action if action is not None and action.nargs != 0 else None
        elif open_option is None:
            filled += 1
        elif open_option.nargs is None:  # takes one word
            open_option = None
    if open_option is not None:
        return open_option
    if filled < len(places):
        return places[filled]
    return places[-1] if places and places[-1].nargs in ("*", "+") else None


def _values(action: argparse.Action, prefix: str, root: Path | None, before: Sequence[str]) -> list[str]:
    if action.choices:
        return _starting(prefix, map(str, action.choices))
    kind = action.metavar if isinstance(action.metavar, str) else action.dest
    if kind == "edition" and root is not None:
        return _starting(prefix, sorted(path.stem for path in (root / "config" / "editions").glob("*.yaml")))
    if kind not in _KINDS or root is None:
        return []
    return _KINDS[kind](prefix, names(root), before)


def _runs(prefix: str, known: Mapping[str, Any], before: Sequence[str]) -> list[str]:
    if "/" not in prefix:  # the experiment first: thousands of names help nobody
        return _starting(prefix, [f"{name}/" for name in known["experiments"]])
    return _starting(
        prefix, [f"{prefix.split('/')[0]}/{run}" for run in known["runs"].get(prefix.split("/")[0], [])]
    )


def _experiments(prefix: str, known: Mapping[str, Any], before: Sequence[str]) -> list[str]:
    return [name for name in _starting(prefix, known["experiments"]) if name not in before]


def _either(prefix: str, known: Mapping[str, Any], before: Sequence[str]) -> list[str]:
    return _runs(prefix, known, before) if "/" in prefix else _experiments(prefix, known, before)


def _levels(prefix: str, known: Mapping[str, Any], before: Sequence[str]) -> list[str]:
    factor, equals, _ = prefix.partition("=")
    if not equals:
        return _starting(prefix, [f"{name}=" for name in known["factors"]])
    return _starting(prefix, [f"{factor}={level}" for level in known["factors"].get(factor, [])])


def _settings(prefix: str, known: Mapping[str, Any], before: Sequence[str]) -> list[str]:
    return _starting(prefix, [f"{name}=" for name in known["settings"]])


def _listed(key: str) -> Callable[[str, Mapping[str, Any], Sequence[str]], list[str]]:
    """Names of one kind that have not been typed yet."""
    return lambda prefix, known, before: [
        name for name in _starting(prefix, known.get(key, ())) if name not in before
    ]


# What an argument's metavar says about its values.
_KINDS: dict[str, Callable[[str, Mapping[str, Any], Sequence[str]], list[str]]] = {
    "EXPERIMENT/RUN": _runs,
    "EXPERIMENT": _experiments,
    "EXPERIMENT[/RUN]": _either,
    "FACTOR=LEVEL": _levels,
    "KEY=VALUE": _settings,
    "SERIES": _listed("series"),
    "CLAIM": _listed("claims"),
    "VERDICT": _listed("verdicts"),
    "TOPIC": _listed("topics"),
    "STATISTIC": _listed("statistics"),
}


def _starting(prefix: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(prefix)]


def _root(before: Sequence[str]) -> Path | None:
    """The workflow's folder: --root, or the nearest from here upwards."""
    if "--root" in before[:-1]:
        return Path(before[list(before).index("--root") + 1])
    here = Path.cwd()
    for folder in (here, *here.parents):
        if holds_workflow(folder):
            return folder
    return None


def names(root: Path) -> dict[str, Any]:
    """Return experiments, their runs, factors with their levels, and settings; kept until the census changes."""
    files = sorted([*(root / "config").rglob("*.yaml"), *SCHEMAS.glob("*.yaml")])
    stamps = [(str(file), stat.st_mtime_ns, stat.st_size) for file in files for stat in [file.stat()]]
    stamp = hashlib.sha256(json.dumps(stamps).encode()).hexdigest()
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
    from dualgrad.claims.verdicts import VERDICTS
    from dualgrad.project import load_project
    from dualgrad.statistics.sources import STATISTICS

    project = load_project(root)
    census = project.census
    factors: dict[str, dict[str, None]] = {}
    for run in census.runs.values():
        for factor, level in run["factors"].items():
            factors.setdefault(factor, {})[f"{level:g}" if isinstance(level, float) else str(level)] = None
    return {
        "experiments": list(census.experiments),
        "runs": {
            name: [target.split("/", 1)[1] for target in one["runs"]]
            for name, one in census.experiments.items()
        },
        "factors": {factor: list(levels) for factor, levels in factors.items()},
        "settings": list(project.settings),
        "series": list(dict.fromkeys(one["series"] for one in census.experiments.values())),
        **_claims(root),
        "verdicts": list(VERDICTS),
        "statistics": list(STATISTICS),
    }


def _claims(root: Path) -> dict[str, list[str]]:
    """Names of claims and topics; none where the ledger cannot be read: the command itself says what is wrong."""
    from dualgrad.claims.load import load_ledger

    try:
        ledger = load_ledger(root)
    except InputError:
        return {"claims": [], "topics": []}
    return {"claims": [one.id for one in ledger.claims], "topics": list(ledger.topics)}


def main(words: Sequence[str]) -> int:
    """Print the candidates; never a message, which the shell would offer."""
    try:
        found = candidates(words[1:] if words[:1] == ["--"] else words)
    except Exception:  # a broken census is told by every other command; here it would garble the prompt
        return 1
    print("\n".join(found))
    return 0
