"""Command lines around the workflow: what a job's is told, what a target may be, what is left of a submission."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from dualgrad.census import edition_names
from dualgrad.census.editions import spelt_out
from dualgrad.project import FOLDERS, MEANINGFUL, Project
from dualgrad.validation import InputError, did_you_mean


def as_words(settings: Mapping[str, Any]) -> list[str]:
    """Return settings as words of the command line of ``dualgrad``; values are JSON, which is YAML too."""
    return [
        word
        for key, value in settings.items()
        for word in ("--config", f"{key}={json.dumps(value, ensure_ascii=False)}")
    ]


def job_settings(project: Project, overrides: Mapping[str, Any], working_folder: Path) -> list[str]:
    """Return what every job's command is told: what differs from the files that it reads by itself.

    Args:
        project: the workflow's project.
        overrides: settings of the command line, as Snakemake's ``config`` holds them.
        working_folder: where Snakemake runs; results are written below it.

    Raises:
        InputError: the working folder is not the project's, and has a name that jobs would not take.
    """
    # Always the root: a job that searches for it would find another one where the workflow's files lie elsewhere.
    words = [*as_words(overrides), "--root", str(project.root)]
    if working_folder != project.root:
        if any(sign in str(working_folder) for sign in MEANINGFUL):
            problem = (
                f"jobs would take {' '.join(MEANINGFUL)} in a folder's name for wildcards and variables of "
                "Snakemake's paths; run the workflow in a folder without them"
            )
            raise InputError(working_folder, "", problem)
        words += as_words({key: str(Path(working_folder, project.settings[key])) for key in FOLDERS})
    return words


def check_included(workflow: Any, settings: Sequence[str], overrides: Mapping[str, Any]) -> None:
    """Refuse a second module of one workflow with other settings: all jobs are told the same, so one would be wrong.

    Args:
        workflow: Snakemake's own, which modules share.
        settings: what the jobs are told.
        overrides: settings of the module, to name it by.

    Raises:
        InputError: names the settings of both.
    """
    first, named = vars(workflow).setdefault("dualgrad_jobs", (settings, dict(overrides)))
    if first != settings:
        problem = (
            f"this workflow is included twice, with the settings {named} and with {dict(overrides)}, but its jobs in "
            "one Snakemake are all told the same; include it once, and run the other in a Snakefile of its own"
        )
        raise InputError("module", "", problem)


def check_targets(
    files: Iterable[str], is_made: Callable[[str], bool], names: Sequence[str], project: Project
) -> None:
    """Refuse what cannot be made where more can be said of it than that no rule makes it.

    Args:
        files: the targets that are no names of rules.
        is_made: whether a rule makes a file. (One does of any run, also of one that does not exist.)
        names: what can be asked for by a name: rules that are targets, and files.
        project: the workflow's project.

    Raises:
        InputError: names the target, and the nearest one that exists.
    """
    results, edition = project.settings["results_dir"], project.edition
    pattern = re.compile(
        rf"{re.escape(results)}/([^/]+)/"
        r"(?:(runs|checkpoints|verify)/(.+)\.(?:json|pt)|(?:tables/parts|experiments)/([^/]+)/.+|.+)"
    )
    for word in files:
        if not (path := pattern.fullmatch(word)):
            refuse_unknown(word, is_made, names)
            continue
        asked, kind, run, experiment = path.groups()
        if asked != edition:
            known = edition_names(project.root)
            is_edition = asked in known or spelt_out(asked, known)
            if is_made(word) or not (is_edition or kind):
                continue
            advice = f"add --config edition={asked}"
            if asked == project.settings["edition"] or not is_edition:
                advice = f"ask for {results}/{edition}{word.removeprefix(f'{results}/{asked}')}"
            raise InputError(word, "", f"the edition is '{edition}'; {advice}")
        try:
            if experiment:
                project.census.experiment(experiment)
            saves = not kind or project.census.run(run)["saves"]
        except InputError as error:
            raise InputError(word, "", str(error)) from None
        if kind == "checkpoints" and not saves:
            raise InputError(word, "", f"no other run starts from {run}, so its weights are not kept")
        refuse_unknown(word, is_made, names)


def refuse_unknown(word: str, is_made: Callable[[str], bool], names: Sequence[str]) -> None:
    """Refuse a target that no rule makes, and that is no file, where one of a similar name is made beside it."""
    if is_made(word) or Path(word).exists():
        return
    beside = [name for name in names if PurePosixPath(name).parent == PurePosixPath(word).parent]
    if hint := did_you_mean(word, beside if "." in word else names):
        raise InputError(word, "", f"there is no such target{hint}")


def words_for_the_rest(words: Sequence[str], results: str, folders: Mapping[str, str]) -> list[str] | None:
    """Return the command line with which a submission that is started again does what is left of it.

    Snakemake tells a submission to do its jobs whatever is there (``--force``, ``--target-jobs``); this asks for
    their files instead.

    Args:
        words: command line of the Snakemake on the node.
        results: folder of the edition's results, as targets name it.
        folders: below it, where each rule that trains writes, by the rule's name.

    Returns:
        The command line; None where it has jobs of another workflow, or asks for files already.
    """
    if "--target-jobs" not in words:
        return None
    start = words.index("--target-jobs") + 1
    stop = next(place for place in range(start, len(words)) if words[place].startswith("--"))
    found = [re.fullmatch(r"([^:]+):run=([^,]+)", word) for word in words[start:stop]]
    jobs = [job for job in found if job and job[1] in folders]
    if len(jobs) < len(found):
        return None
    files = [f"{results}/{folders[job[1]]}/{job[2]}.json" for job in jobs]
    others = [word for word in (*words[: start - 1], *words[stop:]) if word != "--force"]
    return [*others, "--", *files]
