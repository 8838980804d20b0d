"""What people ask for, as runs: experiments, figures, targets and paths, each with everything that it needs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from dualgrad.census import Census
from dualgrad.census.dependencies import closure
from dualgrad.figures.sources import EXTENDED_FIGURES, FIGURE_EXPERIMENTS, MAIN_FIGURES
from dualgrad.validation import InputError, did_you_mean

# Named targets of the Snakefile that draw figures.
FIGURE_TARGETS = {
    "figures/main": MAIN_FIGURES,
    "figures/extended_data": EXTENDED_FIGURES,
    "figures/audited": MAIN_FIGURES + EXTENDED_FIGURES,
}


def select(census: Census, words: Iterable[str]) -> list[str]:
    """Return the runs that *words* ask for and those that these need, in census order.

    Args:
        census: the edition's.
        words: ``census``, experiments, figures (``Figure2``, ``figures/main``, a picture's path), runs
            (``EXPERIMENT/RUN`` or the path of a record or checkpoint).

    Raises:
        InputError: a word that means nothing here, with the nearest that does.
    """
    wanted: set[str] = set()
    for word in words:
        wanted.update(_runs(census, word))
    wanted = closure(wanted, census.runs)
    return [name for name in census.runs if name in wanted]


def _runs(census: Census, word: str) -> list[str]:
    word = word.rstrip("/")
    if word == "census":
        return [name for name, run in census.runs.items() if run["counted"]]
    figures = FIGURE_TARGETS.get(word)
    if figures is None and PurePosixPath(word).stem in FIGURE_EXPERIMENTS:
        figures = (PurePosixPath(word).stem,)
    if figures is not None:
        names = {name: None for figure in figures for name in FIGURE_EXPERIMENTS[figure]}
        return [run for name in names for run in census.experiments[name]["runs"]]
    if word in census.experiments:
        return list(census.experiments[word]["runs"])
    name = _named_by_path(census, word)
    if "/" in name and name.split("/")[0] in census.experiments:
        census.run(name)
        return [name]
    known = ["census", *census.experiments, *FIGURE_EXPERIMENTS, *FIGURE_TARGETS]
    raise InputError(
        "plan",
        word,
        f"expected census, an experiment, a figure, a run or its path{did_you_mean(word, known)}",
    )


def _named_by_path(census: Census, word: str) -> str:
    """The run that a path is about; anything else stays as it is."""
    for folder, ending in (("runs", ".json"), ("checkpoints", ".pt")):
        before, found, name = word.partition(f"/{folder}/")
        if found and name.endswith(ending):
            edition = PurePosixPath(before).name
            if edition != census.edition["name"]:
                problem = f"the edition is '{census.edition['name']}'; add --edition {edition}"
                raise InputError("plan", word, problem)
            return name.removesuffix(ending)
    return word
