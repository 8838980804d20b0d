"""The card of an experiment: what all its runs have in common, and where they differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from dualgrad.census.cards.runs import (
    data_words,
    kept_words,
    mix_words,
    network_words,
    noise_words,
    optimizer_words,
    planned_epochs,
    seed_words,
    value_words,
)
from dualgrad.census.cards.stages import stage_words
from dualgrad.census.cards.words import Run, blocks, grid, number, plural, told_apart
from dualgrad.census.load import Census
from dualgrad.wording import listed


def shared_groups(census: Census) -> dict[str, list[str]]:
    """Stream groups that several experiments share, with these experiments."""
    groups: dict[str, dict[str, None]] = {}
    for run in census.runs.values():
        groups.setdefault(run["streams"]["group"], {})[run["experiment"]] = None
    return {group: list(names) for group, names in groups.items() if len(names) > 1}


def counts(census: Census, runs: Sequence[Run]) -> dict[str, Any]:
    """Runs, trainings (copies train nothing), planned epochs, and hours recorded when published (None: never)."""
    trained = [run for run in runs if run["copy_of"] is None]
    seconds = recorded(census, runs)
    return {
        "runs": len(runs),
        "trainings": len(trained),
        "epochs": sum(planned_epochs(run) for run in trained),
        "per_run": sorted({planned_epochs(run) for run in trained}),
        "hours": sum(seconds) / 3600 if seconds else None,
        "timed": len(seconds),
    }


def recorded(census: Census, runs: Sequence[Run]) -> list[float]:
    """The seconds that the publication recorded of these runs, where it did."""
    known = (census.seconds_recorded.get(f"{run['experiment']}/{run['run']}") for run in runs)
    return [seconds for seconds in known if seconds is not None]


def hours(count: Mapping[str, Any]) -> str:
    """Published hours of training, as text; a dash where nobody recorded them."""
    return "–" if count["hours"] is None else f"{count['hours']:.2f}"


def _head(census: Census, runs: Sequence[Run]) -> str:
    count = counts(census, runs)
    text = f"**{plural(count['runs'], 'run')}**"
    if count["trainings"] != count["runs"]:
        text += (
            f" from {plural(count['trainings'], 'training')}"
            if count["trainings"]
            else ", no training of their own"
        )
    per_run = count["per_run"]
    if count["epochs"]:
        each = f"{per_run[0]:,}" if len(per_run) == 1 else f"{listed([f'{n:,}' for n in per_run])}"
        text += f" · {plural(count['epochs'], 'epoch')} ({each} each)"
    if count["hours"] is None:
        return f"{text} · time not recorded"
    seconds = set(recorded(census, runs))
    each = (
        f"{number(min(seconds))} s each"
        if len(seconds) == 1
        else f"{number(min(seconds))} to {number(max(seconds))} s each"
    )
    return f"{text} · {count['hours']:.2f} A100-hours recorded ({each})"


def _lines(label: str, cases: Sequence[tuple[str, str]]) -> list[str]:
    cases = [(condition, text) for condition, text in cases if text]
    if not cases:
        return []
    if len(cases) == 1 and not cases[0][0]:
        return [f"- {label}: {cases[0][1]}"]
    if len(cases) == 1:
        return [f"- {label}, {cases[0][0]}: {cases[0][1]}"]
    return [f"- {label}:", *(f"  - {condition}: {text}" for condition, text in cases)]


def _joined(parts: Sequence[Callable[[Run], str]], run: Run) -> str:
    return "; ".join(filter(None, (words(run) for words in parts)))


def _stage_lines(runs: Sequence[Run], slots: Sequence[str]) -> list[str]:
    """Stages of runs that have the same ones in one list; otherwise one list per kind of run."""

    def names(run: Run) -> str:
        return "\n".join(stage["name"] for stage in run["stages"])

    lines = []
    for condition, case in told_apart(runs, names):
        members = [run for run in runs if names(run) == case]
        lines.append(f"- Stages, {condition}:" if condition else "- Stages:")
        for place, name in enumerate(case.split("\n"), start=1):
            parts = [partial(words, place=place - 1) for words in stage_words(slots)]
            same = [said[0][1] for words in parts if len(said := told_apart(members, words)) == 1]
            lines.append(f"  {place}. `{name}`: {'; '.join(filter(None, same))}")
            vary = [words for words in parts if len(told_apart(members, words)) > 1]
            if vary:
                cases = told_apart(members, partial(_joined, vary))
                lines += [f"     - {condition}: {text}" for condition, text in cases]
    return lines


def card(census: Census, name: str) -> str:
    """The card of one experiment, as Markdown."""
    experiment = census.experiments[name]
    runs = [census.runs[target] for target in experiment["runs"]]
    slots = list(dict.fromkeys(run["factors"]["slot"] for run in runs if "slot" in run["factors"]))
    grids = [f"{grid(block)}" for block in blocks(run["factors"] for run in runs)]
    originals = [run for run in runs if run["copy_of"] is None] or runs
    lines = [f"### {name}: {experiment['title']}", "", _head(census, runs), ""]
    lines += [f"- Grid: {grids[0]}"] if len(grids) == 1 else ["- Grid:", *(f"  - {one}" for one in grids)]
    lines += _lines("Data", told_apart(originals, data_words))
    lines += _lines("Network", told_apart(originals, network_words))
    lines += _lines("Noise", told_apart(originals, noise_words))
    lines += _lines("Value signal", told_apart(originals, value_words))
    lines += _lines("Mix", told_apart(originals, mix_words))
    lines += _lines("Optimizer", told_apart(originals, optimizer_words))
    lines += _lines("Seed", told_apart(originals, seed_words))
    lines += _stage_lines(originals, slots)
    lines += _lines("Outcome", told_apart(originals, kept_words))
    lines += _copies(runs)
    lines += _dependencies(census, name, runs)
    lines += _streams(census, name, runs)
    notes = experiment["notes"]
    lines += (
        [f"- Note: {notes[0]}"]
        if len(notes) == 1
        else ["- Notes:", *(f"  - {one}" for one in notes)]
        if notes
        else []
    )
    return "\n".join(lines)


def _copies(runs: Sequence[Run]) -> list[str]:
    copies = [run for run in runs if run["copy_of"]]
    if not copies:
        return []
    sources = list(dict.fromkeys(run["copy_of"].partition("/")[0] for run in copies))
    first = {run["prefix_epochs"] for run in copies}.pop()
    part = f"the first {plural(first, 'epoch')} of " if first else ""
    own = sources == [copies[0]["experiment"]]
    which = grid(blocks(run["factors"] for run in copies)[0]) if len(copies) < len(runs) else "all of them"
    whose = "other runs of this experiment" if own else f"runs of {listed(sources)}"
    return [f"- Copies: {which}: {part}{whose}, written down again"]


def _dependencies(census: Census, name: str, runs: Sequence[Run]) -> list[str]:
    def experiments(targets: Iterable[str]) -> list[str]:
        return [one for one in dict.fromkeys(target.partition("/")[0] for target in targets) if one != name]

    lines = []
    needs = experiments(need for run in runs for need in run["needs"])
    own = any(need.startswith(f"{name}/") for run in runs if not run["copy_of"] for need in run["needs"])
    if own:
        needs.append("its own first runs")
    if needs:
        lines.append(f"- Needs: {listed(needs)}")
    mine = {f"{name}/{run['run']}" for run in runs}
    users = [one for one, other in census.experiments.items() if one != name and _uses(census, other, mine)]
    if users:
        lines.append(f"- Needed by: {listed(users)}")
    return lines


def _uses(census: Census, experiment: Mapping[str, Any], targets: set[str]) -> bool:
    return any(need in targets for run in experiment["runs"] for need in census.runs[run]["needs"])


def _streams(census: Census, name: str, runs: Sequence[Run]) -> list[str]:
    (group,) = {run["streams"]["group"] for run in runs}
    others = [one for one in shared_groups(census).get(group, ()) if one != name]
    if others:
        return [f"- Streams: group `{group}`, shared with {listed(others)}"]
    if len({run["streams"]["replicate"] for run in runs}) > 1:
        return ["- Streams: its own, one set per replicate"]
    return []
