"""Settings that change how runs are trained, and train nothing again: the start of a workflow says so."""

from __future__ import annotations

import json
from collections import Counter

from dualgrad.project import Project
from dualgrad.records import conditions


def changed_settings(project: Project) -> list[str]:
    """Say which settings differ from those that records were trained with.

    One record of each experiment is looked at, the first that is there: reading all of a census takes too long for
    every start. Records of one experiment that differ among themselves are told by its tables.

    Args:
        project: the workflow's project, of an edition that is trained.

    Returns:
        A line for each of ``threads_per_job`` and ``device`` that differs; ``device: auto`` is not looked into.
    """
    threads = project.settings["threads_per_job"]
    wanted = {project.settings["device"], project.edition_file["device"]}
    device = "cpu" if "cpu" in wanted else "cuda" if "cuda" in wanted else None
    found: Counter[tuple[str, str]] = Counter()
    looked_at = 0
    for experiment in project.census.experiments.values():
        for run in experiment["runs"]:
            try:
                record = json.loads((project.records / f"{run}.json").read_bytes())
                then = conditions(record["provenance"])
            except FileNotFoundError:
                continue
            except (OSError, ValueError, LookupError, TypeError):
                break  # whoever needs it says what is wrong with it
            looked_at += 1
            on_cpu = then["device"] == "cpu"
            if device and then["device"] and (device == "cpu") != on_cpu:
                found["device", f"on '{then['device']}', device is now {device}"] += 1
            elif on_cpu and then["threads"] not in (None, threads):
                found["threads_per_job", f"with {then['threads']}, threads_per_job is now {threads}"] += 1
            break
    return [
        f"{key}: runs of {count} of {looked_at} experiments were trained {how}. They are not trained again for "
        "that, and new ones may differ from them in their last digits. For all of it anew, remove "
        f"{project.records} or set another results_dir."
        for (key, how), count in sorted(found.items())
    ]
