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
from dualgrad.replicate import compare
from dualgrad.replicate.rows import Row

MEASURES = {
    "error": "test error",
    "loss": "training loss",
    "cosine": "mean cosine",
    "norm": "norm of the mix",
}
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
        final, epochs: the two comparisons (``replicate.compare``).
        outdated: runs whose records are of another definition, left out.
        census: the census as published.
        datasets: data sets by name.
        within: errors within an epoch (``replicate.build.within_epochs``).
    """

    editions: list[str]
    rows: list[Row]
    final: pd.DataFrame
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


def interval(low: float, high: float) -> str:
    """Return an interval in brackets, or nothing."""
    return "" if np.isnan(low) else f" [{number(low)}, {number(high)}]"


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
    final = made.final.dropna(subset=["difference"])
    if len(final):
        inside = int((final["inside"] == True).sum())  # noqa: E712  (object column)
        tested = final.dropna(subset=["difference_low"])
        zero = int(((tested["difference_low"] <= 0) & (tested["difference_high"] >= 0)).sum())
        lines.append(
            f"Final errors: the 95 % interval of the difference contains 0 in {zero} of {len(tested)} conditions "
            "that have one (two or more runs on either side). The mean lies within the published runs' range in "
            f"{inside} of {len(final)}, which a mean of few runs rarely leaves."
        )
    if len(made.epochs):
        total, inside = int(made.epochs["n"].sum()), int(made.epochs["inside"].sum())
        # One more of k + 1 values alike is the lowest or the highest of them with probability 2 / (k + 1).
        k = made.epochs["n_published"]
        expected = float((made.epochs["n"] * (k - 1) / (k + 1)).sum())
        lines.append(
            f"Epoch by epoch: {inside:,} of {total:,} values lie within the published runs' range at that epoch; "
            f"of as many values from further published runs, {expected:,.0f} would be expected to."
        )
    if made.outdated:
        lines.append(
            f"{len(made.outdated)} records are of an earlier definition of their run and are left out: "
            + ", ".join(made.outdated[:5])
        )
    return lines


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
                f"{number(one.paired)}{interval(one.paired_low, one.paired_high)} ({one.n_pairs})",
                "–" if one.inside is None else "yes" if one.inside else "no",
            ]
        )
    head = ["experiment", "condition", "published: mean ± sd (range)", "re-trained: mean ± sd", "data set"]
    head += ["difference [95 %, Welch]", "by seed [95 %] (pairs)", "mean in range"]
    note = (
        "Test errors at the end of whole runs, fractions. The differences by seed compare runs of one seed, which "
        "have the same label noise, trusted examples and initial weights."
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
    """Return one table per run whose error was followed within an epoch."""
    if made.within.empty:
        return []
    tables = []
    for key, group in made.within.groupby(["experiment", "run", "dataset", "source"], sort=False):
        experiment, run, dataset, source = map(str, key)
        steps = int(group["steps"].iloc[0])
        note = (
            f"Error on the whole test set after so many of the {steps} steps of the first epoch, data set {dataset}: "
            f"{source}. It moves by {number(group['error'].max() - group['error'].min(), 3)} within "
            f"{steps - int(group['step'].min())} steps, so the error after an epoch is that of a moment."
        )
        ours = next(
            row.error.get(1)
            for row in made.rows
            if (row.name, row.dataset) == (f"{experiment}/{run}", dataset)
        )
        if ours is not None:
            note += f" Ours, over the same batches, is {number(ours, 3)} after the last step."
        cells = [number(one, 3) for one in group["error"]]
        tables.append(
            Table(
                f"{experiment}/{run}, step by step",
                note,
                ["steps", *(str(step) for step in group["step"])],
                [["test error", *cells]],
            )
        )
    return tables


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
    return [*first, *epoch_tables(made, epochs), *within_tables(made), run_table(made), missing_table(made)]
