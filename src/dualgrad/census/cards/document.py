"""The document of all cards (`docs/protocols.md`)."""

from __future__ import annotations

import re

from dualgrad.census.cards.experiments import card, counts, hours, shared_groups
from dualgrad.census.cards.words import listed, values
from dualgrad.census.load import Census

_SERIES = {
    "A-Q": "images, from scratch",
    "R-W": "loops, ladders, lifetimes, two branches, traps",
    "X": "text",
    "Y": "controls for the text runs",
    "helper": "needed by others, not counted",
    "archived": "superseded, not counted",
}

_INTRODUCTION = """\
# Protocols

Generated from the census by `dualgrad cards`; edit `config/census`, not this file. One card for each experiment says
what the edition `paper` trains, which is what was published. The other trained editions run the same grids, stages,
gates and calendars on smaller tasks (`config/editions`). What was done as published down to its quirks, and what was
not, stands in [fidelity.md](fidelity.md).

## How to read a card

s is the base seed of a run, η the rate of label noise, λ the weight of the value gradient, K the number of steps
between two computations of it, t the number of steps done in a session. "Error" is the share of wrong answers on the
clean test set, never a percentage. Epochs are planned ones: a stop rule or a failed gate can end a run earlier.
A100-hours are those that the published rows record (for a training that was written down several times, once).

**The dual step.** For a batch x with noisy labels ỹ and value labels v: g_struct = ∇ CE(x, ỹ) at every step; if K
divides t, or nothing is cached yet, g_value = ∇ CE(x, v) from a second pass in train mode, otherwise the cached
gradient, up to K − 1 steps old. Both are divided by their norm over all parameters (+ 1e-12 for images), and the
optimizer gets

    g_mix = (1 − λ) · ĝ_struct + λ · ĝ_value

not brought back to length 1 unless the card says so. Momentum and weight decay (all parameters, biases and
normalisation layers too) act on g_mix. The second pass updates BatchNorm's running statistics a second time. In text,
the value gradient has batches, and dropout masks, of its own.

**Images.** 50,000 training and 10,000 test images; random crops of 32 × 32 with 4 pixels of padding, then random
flips, one view per image and step, used for both gradients. Evaluation is in eval mode on the whole test set.

**Text.** SST-2: 67,349 training sentences (29,780 negative, 37,569 positive) and, for evaluation, the 872 of the
validation set.

**Sessions.** A session begins with weights (new ones, or those of another run or stage) and has an optimizer, a
schedule, a step count t, a cache and a seed. A stage that goes on with the session before it shares all of these, so
λ changes under a running schedule, and the cache of the old λ is used until the next multiple of K.

**Seeds and streams.** Initial weights depend on the session's seed (and the network) alone, label noise and trusted
sets on s alone: runs with equal s have them in common, whatever their experiment, λ or η, and noise at a lower η is
part of that at a higher one. Batch order, crops, dropout, random labels and random directions come from private
streams, named by purpose, stream group, replicate, seed and session. The group is the experiment unless the card says
otherwise. So within an experiment, runs with equal seed see the same batches, as they did when published, and
experiments do not share them, except where they were one and the same training."""


def _overview(census: Census) -> list[str]:
    lines = ["## All experiments", "", "| experiment | what | runs | trainings | epochs | A100-hours |"]
    lines += ["|---|---|---:|---:|---:|---:|"]
    total = {"runs": 0, "trainings": 0, "epochs": 0, "hours": 0.0}
    for name, experiment in census.experiments.items():
        count = counts(census, [census.runs[target] for target in experiment["runs"]])
        shown = f"{count['runs']:,}" if experiment["counted"] else f"({count['runs']})"
        if experiment["counted"]:
            total = {key: total[key] + (count[key] or 0) for key in total}
        title, anchor = experiment["title"].replace("|", "\\|"), _anchor(f"{name}: {experiment['title']}")
        cells = [
            f"[{name}](#{anchor})",
            title,
            shown,
            f"{count['trainings']:,}",
            f"{count['epochs']:,}",
            hours(count),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines.append(
        f"| **counted** | | **{total['runs']:,}** | **{total['trainings']:,}** | **{total['epochs']:,}** "
        f"| **{total['hours']:.1f}** |"
    )
    untimed = [
        name
        for name, one in census.experiments.items()
        if one["counted"] and counts(census, [census.runs[target] for target in one["runs"]])["timed"] == 0
    ]
    lines += [
        "",
        "In parentheses: not counted. –: no time was recorded. The sum of the hours lacks those of ",
    ]
    lines[-1] += f"{listed(untimed)}."
    return lines


def _anchor(heading: str) -> str:
    """The anchor that Git hosts give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _shared(census: Census) -> list[str]:
    lines = [
        "## Shared streams",
        "",
        "Experiments that share a stream group, because parts of them were one training:",
    ]
    lines.append("")
    for group, names in shared_groups(census).items():
        seeds = [
            {run["factors"].get("seed") for run in census.runs.values() if run["experiment"] == name}
            for name in names
        ]
        common = sorted(set.intersection(*seeds))
        lines.append(f"- `{group}`: {listed(names)}, for seeds {values(common)}")
    return lines


def document(census: Census) -> str:
    """``docs/protocols.md``: introduction, table, and the cards by series."""
    lines = [_INTRODUCTION, "", *_overview(census), "", *_shared(census)]
    order = dict.fromkeys(one["series"] for one in census.experiments.values())
    last = [series for series in order if series in ("helper", "archived")]
    for series in [one for one in order if one not in last] + last:
        names = [name for name, one in census.experiments.items() if one["series"] == series]
        what = _SERIES.get(series)
        lines += ["", f"## Series {series}" + (f": {what}" if what else "")]
        if series in last:
            lines[-1] = f"## {series.capitalize()}: {what}" if series == "archived" else f"## Helpers: {what}"
        for name in names:
            lines += ["", card(census, name)]
    return "\n".join(lines) + "\n"
