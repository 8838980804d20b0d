"""What was asked for, looked at once Snakemake knows all rules and before it plans.

Snakemake says of a file that no rule makes that no rule makes it, and takes a target that ends in a slash, as the Tab
key completes the name of a folder, for such a file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

from dualgrad.jobs.replaced import replace

#: Is told files that were asked for, whether some rule makes one, and the names of targets: rules and files.
Check = Callable[[Iterable[str], Callable[[str], bool], list[str]], None]


def look_at_targets(dag: type, check: Check) -> None:
    """Have Snakemake's class of DAGs take ``figures/main/`` for the rule of this name, and check other targets.

    Args:
        dag: the class.
        check: refuses what cannot be made.
    """

    def made(plain: Any) -> Any:
        def __init__(self: Any, workflow: Any, *args: Any, **more: Any) -> None:
            for kind in ("target", "force", "until", "omit"):
                files, rules = more.get(f"{kind}files") or set(), more.get(f"{kind}rules") or set()
                named = {file for file in files if workflow.is_rule(str(file))}
                more[f"{kind}rules"] = {*rules, *(workflow.get_rule(str(file)) for file in named)}
                more[f"{kind}files"] = {*files} - named
            check(
                sorted(map(str, more["targetfiles"])),
                lambda file: any(rule.is_producer(file) for rule in workflow.rules),
                [name for rule in workflow.rules for name in _names(rule)],
            )
            plain(self, workflow, *args, **more)

        return __init__

    replace(dag, "__init__", made)


def replaced_unasked(
    targets: Iterable[object], showing: Collection[str], runs: Collection[str], records: Path
) -> str | None:
    """Say that targets which are about what there is would first train some of it again, in the place of records.

    Args:
        targets: what was asked for.
        showing: names of such targets.
        runs: what the workflow would train.
        records: the edition's results.

    Returns:
        What to do about it; None where nothing is trained, or where something was asked for that trains.
    """
    asked = set(map(str, targets))
    if not runs or not asked or not asked <= set(showing):
        return None
    names = ", ".join(list(runs)[:5]) + ", …" * (len(runs) > 5)
    return (
        f"{' and '.join(sorted(asked))}: {len(runs):,} of the runs behind it would be trained first, in the place of "
        f"records in {records} ({names}): their definition, their data or settings such as precision are not those "
        "that they were trained with. Give these settings; or train them on purpose, by `census` or their records' "
        f"paths; or look at the records as they are, by hand: dualgrad {sorted(asked)[0]}"
    )


def _names(rule: Any) -> list[str]:
    """What can be asked for by a fixed name: the rule, where it is a target, or else its files without a wildcard."""
    return [str(file) for file in rule.output if not file.contains_wildcard()] if rule.output else [rule.name]
