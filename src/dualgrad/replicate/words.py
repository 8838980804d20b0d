"""What a replication comes to, in words and tables, for the page and for Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dualgrad.census.datasets import DataSet
from dualgrad.census.load import Census
from dualgrad.estimators.families import holm
from dualgrad.replicate import compare
from dualgrad.replicate.rows import Row

MEASURES = {
    "error": "test error",
    "loss": "training loss",
    "cosine": "mean cosine",
    "norm": "norm of the mix",
}
_FOUND = (
    "Last: the smallest difference by seed that as many pairs, with this spread, would have shown with a power of "
    "80 %."
)
_SYMBOLS = {"lambda": "λ", "noise_rate": "η"}


@dataclass(frozen=True)
class Table:
    """A table in words: a title, what to know about it, the columns' heads, and its rows."""

    title: str
    note: str
    head: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Replication:
    """Everything that a page says.

    Attributes:
        editions: names of the editions that were re-trained.
        rows: their runs.
        final, seeds, epochs: the three comparisons (``replicate.compare``).
        outdated: runs whose records are of another definition, left out.
        census: the census as published.
        datasets: data sets by name.
        within: errors within an epoch (``replicate.build.within_epochs``).
    """

    editions: list[str]
    rows: list[Row]
    final: pd.DataFrame
    seeds: pd.DataFrame
    epochs: pd.DataFrame
    outdated: list[str]
    census: Census
    datasets: Mapping[str, DataSet]
    within: pd.DataFrame


def condition(text: str) -> str:
    """Return a condition as people write it: λ = 0.3, η = 0.4."""
    return ", ".join(f"{_SYMBOLS.get(key, key)} = {level}" for key, level in json.loads(text).items())


def number(value: float, digits: int = 4) -> str:
    """Return a number with so many digits, an en dash for none, a true minus."""
    if value is None or np.isnan(value):
        return "–"
    text = f"{value:.{digits}f}"
    return (text if float(text) else text.lstrip("-")).replace("-", "−")  # no minus before a zero


def interval(low: float, high: float, digits: int = 4) -> str:
    """Return an interval in brackets, or nothing."""
    return "" if np.isnan(low) else f" [{number(low, digits)}, {number(high, digits)}]"


def _runs(count: int) -> str:
    return f"{count} run was" if count == 1 else f"{count:,} runs were"


def sentences(made: Replication) -> list[str]:
    """Return what the replication comes to, in sentences."""
    if not made.rows:
        return [f"Nothing of {' and '.join(made.editions)} has been trained yet."]
    whole = [row for row in made.rows if row.max_epochs is None]
    hours = sum(row.seconds for row in made.rows if not np.isnan(row.seconds)) / 3600
    machines = sorted({f"{row.machine}, {row.threads} thread" + "s" * (row.threads > 1) for row in made.rows})
    lines = [
        f"{_runs(len(made.rows))} trained, {len(whole)} whole and {len(made.rows) - len(whole)} for the first epochs "
        f"alone; {hours:.1f} hours in all ({'; '.join(machines)}).",
    ]
    for name in sorted({row.dataset for row in made.rows}):
        one = made.datasets[name]
        count = sum(row.dataset == name for row in made.rows)
        if one.copy_of:
            what = f"another copy of {made.datasets[one.copy_of].title}, not its published files"
        else:
            what = "the published data"
        lines.append(f"{_runs(count)} trained on {one.title} ({name}): {what}.")
    tested = made.final.dropna(subset=["paired_low"])
    if len(tested):
        lines.append(
            f"Final errors: the 95 % interval of the difference by seed contains 0 in {_zero(tested)} of "
            f"{len(tested)} conditions that have one (two or more pairs). By itself that shows no agreement: with "
            f"so many pairs a difference of {_range(tested['detectable'])} would have been found with 80 % power."
        )
    lines += [line for one in made.seeds.itertuples() for line in _seed_lines(one)]
    first = first_epochs(made)
    if len(first):
        lines.append(
            f"First epochs: the 95 % interval of the difference by seed contains 0 in {_zero(first)} of {len(first)} "
            f"measures; the smallest of their p values is {number(first['paired_p'].min(), 2)}, "
            f"{number(holm(first['paired_p']).min(), 2)} corrected for their number (Holm)."
        )
    if len(made.epochs):
        # One more of k + 1 values alike is the lowest or the highest of them with probability 2 / (k + 1).
        k = made.epochs["n_published"]
        counts = made.epochs.assign(expected=made.epochs["n"] * (k - 1) / (k + 1)).groupby("measure")
        found = counts[["inside", "n", "expected"]].sum()
        lines.append(
            "Epoch by epoch, values within the published runs' range at that epoch (and as many as would be expected "
            "of further published runs): "
            + ", ".join(
                f"{MEASURES[name]} {found['inside'][name]:,} of {found['n'][name]:,} ({found['expected'][name]:,.0f})"
                for name in MEASURES
                if name in found.index
            )
            + ". Values of one run, and of one seed at several λ, move together, so that these counts have no test."
        )
    if made.outdated:
        lines.append(
            f"{len(made.outdated)} records are of an earlier definition of their run and are left out: "
            + ", ".join(made.outdated[:5])
        )
    return lines


def _zero(rows: pd.DataFrame) -> int:
    return int(((rows["paired_low"] <= 0) & (rows["paired_high"] >= 0)).sum())


def _range(values: pd.Series) -> str:
    ends = [number(values.min(), 3), number(values.max(), 3)]
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def _seed_lines(one: Any) -> list[str]:
    """Return what conditions that differ in λ alone come to together."""
    if np.isnan(one.difference_low):
        return []
    name = ", ".join(filter(None, [one.experiment, condition(one.condition)]))
    lines = [
        f"{name}: its {one.conditions} conditions share {one.n} seeds, so they are one comparison. Mean over a "
        "seed's conditions of the re-trained error minus the published one: "
        f"{number(one.difference)}{interval(one.difference_low, one.difference_high)} (paired t). By two one-sided "
        f"tests at 5 % they are equivalent within any margin from {number(one.equivalent_within)} on; a difference "
        f"of {number(one.detectable)} would have been found with a power of 80 %. The standard deviation between "
        f"seeds is {number(one.sd)} re-trained, {number(one.sd_published)} published"
        + ("." if np.isnan(one.sd_p) else f" (Pitman and Morgan's test of pairs: p = {number(one.sd_p, 2)}).")
    ]
    if not np.isnan(one.change_difference_low):
        mine, theirs, apart = (
            f"{number(getattr(one, key))}{interval(getattr(one, f'{key}_low'), getattr(one, f'{key}_high'))}"
            for key in ("change", "change_published", "change_difference")
        )
        lines.append(
            f"{name}: from λ = {one.lambda_from:g} to {one.lambda_to:g} the error changes by {mine} re-trained and "
            f"by {theirs} published, in the same {one.n_change} seeds; these changes differ by {apart}."
        )
    return lines


def first_epochs(made: Replication) -> pd.DataFrame:
    """Return the rows of ``made.epochs`` that stand for conditions without a whole run.

    Of each measure the last epoch that two or more pairs have.
    """
    if made.epochs.empty:
        return made.epochs
    keys = list(compare.KEYS)
    whole = set() if made.final.empty else set(made.final[keys].itertuples(index=False, name=None))
    rows = made.epochs.dropna(subset=["paired_low"])
    begun = [key not in whole for key in rows[keys].itertuples(index=False, name=None)]
    rows = rows[np.array(begun, dtype=bool)]  # an empty list would choose no columns
    return rows.groupby([*keys, "measure"], sort=False).tail(1)


def first_table(made: Replication) -> Table:
    """Return what first epochs come to, one line per condition and measure."""
    head = ["experiment", "condition", "epoch", "measure", "published: mean", "re-trained: mean", "data set"]
    head += ["by seed [95 %] (pairs)", "found with 80 %"]
    rows = [
        [
            one.experiment,
            condition(one.condition),
            str(one.epoch),
            MEASURES[one.measure],
            f"{number(one.mean_published, 3)} (n = {one.n_published})",
            f"{number(one.mean, 3)} (n = {one.n})",
            one.dataset,
            *_paired_cells(one, 3),
        ]
        for one in first_epochs(made).itertuples()
    ]
    note = f"Conditions without a whole run, at the last epoch that two or more seeds have. {_FOUND}"
    return Table("First epochs", note, head, rows)


def _paired_cells(one: Any, digits: int = 4) -> list[str]:
    by_seed = (
        f"{number(one.paired, digits)}{interval(one.paired_low, one.paired_high, digits)} ({one.n_pairs})"
    )
    return [by_seed, number(one.detectable, digits)]


def final_table(made: Replication) -> Table:
    """Return final errors, one line per condition."""
    rows = []
    for one in made.final.itertuples():
        rows.append(
            [
                one.experiment,
                condition(one.condition),
                f"{number(one.mean_published)} ± {number(one.sd_published)} (n = {one.n_published}; "
                f"{number(one.low_published, 3)} to {number(one.high_published, 3)})",
                f"{number(one.mean)} ± {number(one.sd)} (n = {one.n})",
                one.dataset,
                f"{number(one.difference)}{interval(one.difference_low, one.difference_high)}",
                *_paired_cells(one),
            ]
        )
    head = ["experiment", "condition", "published: mean ± sd (range)", "re-trained: mean ± sd", "data set"]
    head += ["difference [95 %, Welch]", "by seed [95 %] (pairs)", "found with 80 %"]
    note = (
        "Test errors at the end of whole runs, fractions. The differences by seed compare runs of one seed, which "
        "have the same label noise, trusted examples and initial weights; Welch's intervals take all published seeds "
        f"and leave that out. {_FOUND}"
    )
    return Table("Final errors", note, head, rows)


def epoch_tables(made: Replication, most: int | None = None) -> list[Table]:
    """Return one table per condition: measures epoch by epoch.

    Args:
        made: the replication.
        most: epochs that are written out, spread over all; None: all.
    """
    tables = []
    for key, group in made.epochs.groupby(list(compare.KEYS), sort=False):
        experiment, factors, dataset, precision = map(str, key)
        edition = group["edition"].iloc[0]
        epochs = sorted(group["epoch"].unique())
        if most is not None and len(epochs) > most:
            epochs = sorted({epochs[i] for i in np.linspace(0, len(epochs) - 1, most).round().astype(int)})
        rows = []
        for epoch in epochs:
            cells = [str(epoch)]
            for measure in MEASURES:
                one = group[(group["epoch"] == epoch) & (group["measure"] == measure)]
                cells += _cells(one.iloc[0] if len(one) else None)
            rows.append(cells)
        shown = [name for name in MEASURES if (group["measure"] == name).any()]
        place = {name: 1 + 3 * number for number, name in enumerate(MEASURES)}
        kept = [0, *(place[name] + i for name in shown for i in range(3))]
        head = [
            "epoch",
            *(f"{MEASURES[n]}: {w}" for n in MEASURES for w in ("published", "reference", "ours")),
        ]
        # A column that nobody has is no column.
        kept = [i for i in kept if i == 0 or any(row[i] != "–" for row in rows)]
        n = int(group["n"].max())
        some = "" if group["n"].min() == n else ", fewer in some epochs"
        note = (
            f"Edition{'s' * (', ' in edition)} {edition}, data set {dataset}, arithmetic {precision}; "
            f"{n} run{'s' * (n > 1)} of ours{some}. "
        )
        note += "Published: lowest to highest of the seeds. An asterisk: a run of ours is outside of them."
        if any("reference" in head[i] for i in kept):
            note += " Reference: the release's own code on the same data (`docs/replication/reference.csv`)."
        tables.append(
            Table(
                f"{experiment}, {condition(factors)}",
                note,
                [head[i] for i in kept],
                [[row[i] for i in kept] for row in rows],
            )
        )
    return tables


def within_tables(made: Replication) -> list[Table]:
    """Return what the published loop came to over the batches of runs, and how the error of some moved meanwhile."""
    if made.within.empty:
        return []
    ours = {(row.name, row.dataset): row for row in made.rows}
    head = [
        "run",
        "data set",
        "test error: loop",
        "test error: ours",
        "mean cosine: loop",
        "mean cosine: ours",
    ]
    sources = " and ".join(dict.fromkeys(made.within["source"]))
    names = (made.within["experiment"] + "/" + made.within["run"]).unique()
    note = (
        f"After the first epoch: {sources}. Of the same inputs loop and trainer make the same steps, as tests show "
        "in float64, with other rounding, which grows from step to step."
    )
    if any(made.census.runs[name]["task"].get("augment") for name in names):
        note += " Pictures are cropped and flipped by draws of its own on each side, so the inputs differ as well."
    ends, tables = Table("The same batches by the published loop", note, head, []), []
    for key, group in made.within.groupby(["experiment", "run", "dataset"], sort=False):
        experiment, run, dataset = map(str, key)
        name, steps, last = f"{experiment}/{run}", int(group["steps"].iloc[0]), group.iloc[-1]
        mine = ours[name, dataset]
        nothing = float("nan")
        pairs = (last["error"], mine.error.get(1, nothing)), (last["cosine"], mine.cosine.get(1, nothing))
        ends.rows.append([name, dataset, *(number(value, 3) for pair in pairs for value in pair)])
        if len(group) > 1:
            note = (
                f"Error of the published loop on the whole test set after so many of the {steps} steps of the first "
                f"epoch, data set {dataset}. It moves by {number(group['error'].max() - group['error'].min(), 3)} "
                f"within {steps - int(group['step'].min())} steps, so the error after an epoch is that of a moment."
            )
            cells = [number(one, 3) for one in group["error"]]
            tables.append(
                Table(
                    f"{name}, step by step",
                    note,
                    ["steps", *(str(step) for step in group["step"])],
                    [["test error", *cells]],
                )
            )
    return [ends, *tables]


def _cells(one: Any) -> list[str]:
    if one is None:
        return ["–", "–", "–"]
    band = f"{number(one['low_published'], 3)} to {number(one['high_published'], 3)} ({one['n_published']})"
    ours = number(one["mean"], 3)
    if one["n"] > 1:
        ours += f" ({number(one['low'], 3)} to {number(one['high'], 3)})"
    outside = "" if one["inside"] == one["n"] else "*"
    return [band, number(one["reference"], 3), ours + outside]


def missing_table(made: Replication) -> Table:
    """Return what was not trained, or not whole."""
    counts = compare.not_trained(made.rows, made.census)
    begun: dict[str, set[str]] = {}
    for row in made.rows:
        if row.max_epochs is not None:
            begun.setdefault(row.experiment, set()).add(row.run)
    rows = [
        [
            name,
            made.census.experiments[name]["title"],
            f"{done} of {total}",
            str(len(begun.get(name, ()))) or "0",
        ]
        for name, (done, total) in counts.items()
        if done < total
    ]
    done, total = (sum(pair[i] for pair in counts.values()) for i in (0, 1))
    note = f"{total - done:,} of the {total:,} published runs have not been re-trained whole."
    return Table(
        "What was not trained", note, ["experiment", "title", "whole runs", "first epochs alone"], rows
    )


def run_table(made: Replication) -> Table:
    """Return the runs themselves."""
    rows = [
        [
            row.name,
            row.dataset,
            row.precision,
            "whole" if row.max_epochs is None else f"first {row.max_epochs}",
            number(np.nan if row.test_error is None else row.test_error),
            number(row.seconds / 60, 1),
            row.machine,
            row.digest[:12],
        ]
        for row in sorted(made.rows, key=lambda row: (row.edition, row.experiment, row.run))
    ]
    head = ["run", "data set", "arithmetic", "epochs", "test error", "minutes", "machine", "digest"]
    return Table("The runs", "Digests of the records, the first twelve characters.", head, rows)


def tables_of(made: Replication, epochs: int | None = None) -> Sequence[Table]:
    """Return all tables, in reading order."""
    first = [final_table(made)] if len(made.final) else []
    first += [first_table(made)] if len(first_epochs(made)) else []
    return [*first, *epoch_tables(made, epochs), *within_tables(made), run_table(made), missing_table(made)]
