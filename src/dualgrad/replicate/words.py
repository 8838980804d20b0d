"""What a replication comes to, in words and tables, for the page and for Markdown."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from dualgrad.census.datasets import DataSet
from dualgrad.census.load import Census
from dualgrad.estimators.families import holm
from dualgrad.replicate import compare
from dualgrad.replicate.rows import Row
from dualgrad.wording import SYMBOLS, listed, unsigned_zero

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
# Beyond so many curves over λ a table says what each comes to; beyond so many tables and rows the page folds them.
MOST_CURVES, MOST_OUTSIDE = 6, 12
FOLDED_TABLES, FOLDED_ROWS = 12, 150


@dataclass(frozen=True)
class Table:
    """A table in words: a title, what to know about it, the columns' heads, its rows, whether a page folds it."""

    title: str
    note: str
    head: list[str]
    rows: list[list[str]]
    folded: bool = False


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

    def data(self, one: Any) -> str:
        """Return the data set of a comparison's row, with its arithmetic where runs differ in that."""
        several = len({row.precision for row in self.rows}) > 1
        return f"{one.dataset}, {one.precision}" if several else str(one.dataset)


def condition(text: str) -> str:
    """Return a condition as people write it: λ = 0.3, η = 0.4."""
    return ", ".join(f"{SYMBOLS.get(key, key)} = {level}" for key, level in json.loads(text).items())


def number(value: float, digits: int = 4) -> str:
    """Return a number with so many digits, an en dash for none, a true minus."""
    if value is None or np.isnan(value):
        return "–"
    return unsigned_zero(f"{value:.{digits}f}").replace("-", "−")


def interval(low: float, high: float, digits: int = 4) -> str:
    """Return an interval in brackets, or nothing."""
    return "" if np.isnan(low) else f" [{number(low, digits)}, {number(high, digits)}]"


def _runs(count: int) -> str:
    return f"{count} run was" if count == 1 else f"{count:,} runs were"


def sentences(made: Replication) -> list[str]:
    """Return what the replication comes to, in sentences."""
    outdated = []
    if made.outdated:
        outdated = [
            f"Records of another definition of their run, left out ({len(made.outdated)}): "
            + ", ".join(made.outdated[:5])
            + ", …" * (len(made.outdated) > 5)
        ]
    if not made.rows:
        return outdated or [f"Nothing of {' and '.join(made.editions)} has been trained yet."]
    whole = [row for row in made.rows if row.max_epochs is None]
    hours = sum(row.seconds for row in made.rows if not np.isnan(row.seconds)) / 3600
    machines = sorted({f"{row.machine}, {row.threads} thread" + "s" * (row.threads > 1) for row in made.rows})
    shares = {"whole": len(whole), "for the first epochs alone": len(made.rows) - len(whole)}
    how = " and ".join(f"{number} {words}" for words, number in shares.items() if number)
    lines = [f"{_runs(len(made.rows))} trained, {how}; {hours:.1f} hours in all ({'; '.join(machines)})."]
    for name in sorted({row.dataset for row in made.rows}):
        of_set = [row for row in made.rows if row.dataset == name]
        lines.append(
            f"{_runs(len(of_set))} trained on {made.datasets[name].title} ({name}): {_what(name, of_set, made)}."
        )
    ranged = made.final.dropna(subset=["inside"])
    if len(ranged):
        lines.append(
            f"Of {ranged['n'].sum():,} whole runs {ranged['inside'].sum():,.0f} end within the range of the "
            f"published seeds of their condition ({_expected(ranged).sum():,.0f} would be expected of further "
            "published runs)."
        )
    lines += _single_runs(made)
    lines += _several_sets(made)
    tested = made.final.dropna(subset=["paired_low"])
    if len(tested):
        lines.append(
            f"Final errors on {_sets(tested)}: the 95 % interval of the difference by seed contains 0 in "
            f"{_zero(tested)} of {len(tested)} conditions that have one (two or more pairs). By itself that "
            f"shows no agreement: with so many pairs a difference of {_range(tested['detectable'])} would have been "
            "found with 80 % power."
        )
    curves = made.seeds.dropna(subset=["difference_low"])
    if len(curves) <= MOST_CURVES:
        lines += [line for one in curves.itertuples() for line in _seed_lines(one, made)]
    else:
        zero = int(((curves["difference_low"] <= 0) & (curves["difference_high"] >= 0)).sum())
        lines.append(
            f"Conditions that differ in λ alone share their seeds, so each of {len(curves)} curves over λ is one "
            f"comparison (table below), on {_sets(curves)}: the 95 % interval of the mean difference contains 0 in "
            f"{zero} of {len(curves)}; no interval allows for their number."
        )
    first = first_epochs(made)
    if len(first):
        lines.append(
            f"First epochs on {_sets(first)}: the 95 % interval of the difference by seed contains 0 in "
            f"{_zero(first)} of {len(first)} measures; the smallest of their p values is "
            f"{number(first['paired_p'].min(), 2)}, {number(holm(first['paired_p']).min(), 2)} corrected for their "
            "number (Holm)."
        )
        outside = first[first["inside"] < first["n"]]
        if 0 < len(outside) <= MOST_OUTSIDE:
            lines.append(
                "Of these, runs outside of the published seeds' range: "
                + "; ".join(
                    f"{one.experiment}, {condition(one.condition)}, epoch {one.epoch}: {MEASURES[one.measure]} of "
                    f"{one.n - one.inside} of {one.n}"
                    for one in outside.itertuples()
                )
                + (
                    "."
                    if made.within.empty
                    else "; what the published loop gives over the same batches is below."
                )
            )
    if len(made.epochs):
        counts = made.epochs.assign(expected=_expected(made.epochs)).groupby("measure")
        found = counts[["inside", "n", "expected"]].sum()
        lines.append(
            f"Epoch by epoch on {_sets(made.epochs)}, values within the published runs' range at that epoch "
            "(and as many as would be expected of further published runs): "
            + ", ".join(
                f"{MEASURES[name]} {found['inside'][name]:,} of {found['n'][name]:,} ({found['expected'][name]:,.0f})"
                for name in MEASURES
                if name in found.index
            )
            + ". Values of one run, and of one seed at several λ, move together, so that these counts have no test."
        )
    return lines + outdated


def _expected(rows: Any) -> Any:
    """Return how many values as good as published ones would be expected within the published range.

    One more of k + 1 values alike is the lowest or the highest of them with probability 2 / (k + 1).
    """
    return rows.n * (rows.n_published - 1) / (rows.n_published + 1)


def _sets(rows: pd.DataFrame) -> str:
    """Return the names of the data sets of a comparison's rows."""
    return listed(sorted(set(rows["dataset"])))


def _what(name: str, rows: Sequence[Row], made: Replication) -> str:
    """Return what a data set is to the published one of the runs that were trained on it."""
    copy_of = made.datasets[name].copy_of
    if copy_of:
        return f"another copy of {made.datasets[copy_of].title}, not its published files"
    counted = [run for run in made.census.runs.values() if run["counted"]]
    if name in {run["task"]["dataset"] for run in counted}:
        return "the published data"
    published = [row for row in rows if made.census.experiments[row.experiment]["counted"]]
    if not published:
        return "data of no published run"
    meant = {made.census.runs[row.name]["task"]["dataset"] for row in published}
    return f"other data in the place of {' and '.join(made.datasets[one].title for one in sorted(meant))}"


def _single_runs(made: Replication) -> list[str]:
    """Return what conditions with one whole run come to, by the interval of one more published run."""
    single = made.final[(made.final["n"] == 1) & (made.final["n_published"] > 1)]
    if single.empty:
        return []
    k, mean = single["n_published"], single["mean_published"]
    half = stdtrit(k - 1, 0.975) * single["sd_published"] * np.sqrt(1 + 1 / k)
    single = single.assign(from_=mean - half, to=mean + half)
    beyond = single[(single["mean"] - mean).abs() > half]
    lines = [
        f"Of conditions with one whole run, {len(beyond)} of {len(single)} lie outside of the 95 % prediction "
        f"interval of one more published run ({0.05 * len(single):.2g} would be expected)."
    ]
    if len(beyond) <= MOST_OUTSIDE:
        lines += [
            f"{one.experiment}, {condition(one.condition)} on {made.data(one)}: {number(one.mean)}, expected within"
            f"{interval(one.from_, one.to)}."
            for one in beyond.itertuples()
        ]
    return lines


def _several_sets(made: Replication) -> list[str]:
    """Return what runs come to that were trained on more than one data set, if they are few."""
    several = compare.on_several_sets(made.rows, made.census)
    if len(several) > MOST_OUTSIDE:
        return []
    lines = []
    for epoch, group in several:
        line = (
            f"{group[0].name} after epoch {epoch}: "
            + "; ".join(f"{number(row.error[epoch], 3)} on {made.data(row)}" for row in group)
            + f"; published {_published(made, group[0], epoch)}"
        )
        band = _band(made, group[0], epoch)
        within = [made.data(row) for row in group if band and band[0] <= row.error[epoch] <= band[1]]
        without = [made.data(row) for row in group if made.data(row) not in within]
        if within and without:
            line += (
                f", a range that holds {listed(within)} and not {listed(without)}: the training is otherwise the "
                "same, so the copy is the likely reason"
            )
        lines.append(f"{line}.")
    return lines


def _zero(rows: pd.DataFrame) -> int:
    return int(((rows["paired_low"] <= 0) & (rows["paired_high"] >= 0)).sum())


def _range(values: pd.Series) -> str:
    ends = [number(values.min(), 3), number(values.max(), 3)]
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def _seed_lines(one: Any, made: Replication) -> list[str]:
    """Return what conditions that differ in λ alone come to together."""
    name = ", ".join(filter(None, [one.experiment, condition(one.condition)])) + f" on {made.data(one)}"
    lines = [
        f"{name}: its {one.conditions} conditions share {one.n} seeds, so they are one comparison. Mean over a "
        "seed's conditions of the re-trained error minus the published one: "
        f"{_with_interval(one, 'difference')} (paired t). By two one-sided "
        f"tests at 5 % they are equivalent within any margin from {number(one.equivalent_within)} on; a difference "
        f"of {number(one.detectable)} would have been found with a power of 80 %. The standard deviation between "
        f"seeds is {number(one.sd)} re-trained, {number(one.sd_published)} published"
        + ("." if np.isnan(one.sd_p) else f" (Pitman and Morgan's test of pairs: p = {number(one.sd_p, 2)}).")
    ]
    if not np.isnan(one.change_difference_low):
        mine, theirs, apart = (
            _with_interval(one, key) for key in ("change", "change_published", "change_difference")
        )
        lines.append(
            f"{name}: from λ = {one.lambda_from:g} to {one.lambda_to:g} the error changes by {mine} re-trained and "
            f"by {theirs} published, in the same {one.n_change} seeds; these changes differ by {apart}."
        )
    return lines


def seed_table(made: Replication) -> Table:
    """Return what conditions that differ in λ alone come to, one line per curve over λ."""
    head = [
        "experiment",
        "condition",
        "data set",
        "conditions",
        "seeds",
        "difference [95 %]",
        "equivalent within",
    ]
    head += [
        "found with 80 %",
        "change over λ: published",
        "change over λ: re-trained",
        "changes differ by [95 %]",
    ]
    rows = [
        [
            one.experiment,
            condition(one.condition),
            made.data(one),
            str(one.conditions),
            str(one.n),
            _with_interval(one, "difference"),
            number(one.equivalent_within),
            number(one.detectable),
            *(_with_interval(one, key) for key in ("change_published", "change", "change_difference")),
        ]
        for one in made.seeds.dropna(subset=["difference_low"]).itertuples()
    ]
    note = (
        "Conditions that differ in λ alone have the same seeds. Difference: mean over seeds of the mean over a "
        "seed's conditions, re-trained error minus published error (paired t). Equivalent within: the smallest "
        "margin by two one-sided tests at 5 %. Change: error at the highest λ minus that at the lowest, in "
        "seeds with both."
    )
    return Table("Conditions that share seeds", note, head, rows)


def _with_interval(one: Any, key: str) -> str:
    return f"{number(getattr(one, key))}{interval(getattr(one, f'{key}_low'), getattr(one, f'{key}_high'))}"


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
            made.data(one),
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
                f"{number(one.mean)}{interval(one.mean_low, one.mean_high)} ± {number(one.sd)} (n = {one.n})",
                _within(one),
                made.data(one),
                _with_interval(one, "difference"),
                *_paired_cells(one),
            ]
        )
    head = ["experiment", "condition", "published: mean ± sd (range)", "re-trained: mean [95 %] ± sd"]
    head += ["within the range (expected)", "data set"]
    head += ["difference [95 %, Welch]", "by seed [95 %] (pairs)", "found with 80 %"]
    note = (
        "Test errors at the end of whole runs, fractions. Within the range: re-trained runs between the lowest and "
        "the highest published one (and as many as would be expected of further published runs). The differences "
        f"by seed compare runs of one seed{_alike(made)}; Welch's intervals take all published seeds and leave that "
        f"out. {_FOUND}"
    )
    return Table("Final errors", note, head, rows)


def _alike(made: Replication) -> str:
    """Return what runs of one seed have in common with the published ones, as a clause; nothing of a miniature."""
    if not all(compare.is_published_training(row, made.census) for row in made.rows):
        return ""
    return (
        ", which have the same initial weights and, where the training examples lie in the published order, the same "
        "label noise and trusted examples"
    )


def _within(one: Any) -> str:
    """Return how many re-trained runs lie within the published ones' range."""
    if np.isnan(one.inside):
        return "–"
    return f"{one.inside:.0f} of {one.n} ({_expected(one):.1f})"


def epoch_tables(made: Replication, most: int | None = None) -> list[Table]:
    """Return one table per condition: measures epoch by epoch.

    Args:
        made: the replication.
        most: epochs that are written out, spread over all; None: all.
    """
    tables: list[Table] = []
    groups = list(made.epochs.groupby(list(compare.KEYS), sort=False))
    alike = Counter((key[0], key[1]) for key, _ in groups)
    for key, group in groups:
        experiment, factors, dataset, precision = map(str, key)
        edition = group["edition"].iloc[0]
        epochs = sorted(group["epoch"].unique())
        if most is not None and len(epochs) > most:
            epochs = sorted({epochs[i] for i in np.linspace(0, len(epochs) - 1, most).round().astype(int)})
        known = {(one["epoch"], one["measure"]): one for one in group.to_dict("records")}
        rows = [
            [str(epoch), *(cell for name in MEASURES for cell in _cells(known.get((epoch, name))))]
            for epoch in epochs
        ]
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
                f"{experiment}, {condition(factors)}"
                + (f", {dataset}, {precision}" if alike[key[0], key[1]] > 1 else ""),
                note,
                [head[i] for i in kept],
                [[row[i] for i in kept] for row in rows],
                folded=len(groups) > FOLDED_TABLES,
            )
        )
    return tables


def sets_table(made: Replication) -> Table:
    """Return what runs come to that were trained on more than one data set, one line for each."""
    head = ["run", "epoch", "published", "data set", "test error"]
    rows = [
        [row.name, str(epoch), _published(made, row, epoch), made.data(row), number(row.error[epoch], 3)]
        for epoch, group in compare.on_several_sets(made.rows, made.census)
        for row in group
    ]
    note = (
        "Test errors of runs that were trained on more than one data set, after the last epoch that all of them "
        "have. Initial weights and, where copies hold the examples in one order, noisy labels and batches are the "
        "same; the examples themselves differ. Published: lowest to highest of the condition's seeds."
    )
    return Table("One run on several data sets", note, head, rows)


def _published(made: Replication, row: Row, epoch: int) -> str:
    """Return the range of the published errors of a run's condition after an epoch."""
    band = _band(made, row, epoch)
    return f"{number(band[0], 3)} to {number(band[1], 3)} ({band[2]})" if band else "–"


def _band(made: Replication, row: Row, epoch: int) -> tuple[float, float, int] | None:
    """Return the lowest and highest published error of a run's condition after an epoch, and of how many runs."""
    key = (row.experiment, compare.condition_of(made.census.runs[row.name]["factors"]), "error", epoch)
    for one in made.epochs.itertuples():
        if (one.experiment, one.condition, one.measure, one.epoch) == key:
            return one.low_published, one.high_published, one.n_published
    return None


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
        if row.max_epochs is not None and compare.is_published_training(row, made.census):
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
    note = "Digests of the records, the first twelve characters."
    return Table("The runs", note, head, rows, folded=len(rows) > FOLDED_ROWS)


def tables_of(made: Replication, epochs: int | None = None) -> Sequence[Table]:
    """Return all tables, in reading order."""
    first = [final_table(made)] if len(made.final) else []
    first += [seed_table(made)] if made.seeds["difference_low"].count() > MOST_CURVES else []
    first += [first_table(made)] if len(first_epochs(made)) else []
    several = sets_table(made)
    first += [several] if several.rows else []
    return [*first, *epoch_tables(made, epochs), *within_tables(made), run_table(made), missing_table(made)]
