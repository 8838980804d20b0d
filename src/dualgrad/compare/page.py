"""The summary of a comparison, as Markdown and as a self-contained HTML page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dualgrad.compare import conditions as conditions_module
from dualgrad.compare.phenomena import NO_DATA, SHOWN
from dualgrad.pages import data_uri, render
from dualgrad.wording import unsigned_zero

FOLDER = Path(__file__).parent
WORST = 10

# How a result is coloured on the page.
TONE = {
    "reproduced": "good",
    "opposite": "bad",
    "not reproduced": "bad",
    "direction only": "warn",
    "direction in both": "warn",
}


@dataclass(frozen=True)
class Comparison:
    """Everything that a page says.

    Attributes:
        names: the two editions.
        titles: what they are, one line each.
        margin: margin of the equivalence test.
        conditions, phenomena: the two tables.
    """

    names: tuple[str, str]
    titles: tuple[str, str]
    margin: float
    conditions: pd.DataFrame
    phenomena: pd.DataFrame


def number(value: float, unit: str) -> str:
    """Return a value for reading: fractions in points, the others with their usual digits."""
    if value is None or math.isnan(value):
        return "–"
    text = {
        "fraction": f"{100 * value:.1f} pp",
        "lambda": f"{value:.3f}",
        "fraction lambda": f"{value:.4f}",
    }.get(unit, f"{value:.2f}")
    return unsigned_zero(text).replace("-", "−")


def interval(row: Mapping[str, Any], side: str) -> str:
    """Return a value with its interval."""
    value, low, high = (row[f"{name}_{side}"] for name in ("value", "low", "high"))
    text = number(value, row["unit"])
    if math.isnan(value) or (math.isnan(low) and math.isnan(high)):
        return text
    ends = [
        number(end, row["unit"]).removesuffix(" pp") if not math.isnan(end) else "…" for end in (low, high)
    ]
    return f"{text} [{ends[0]}, {ends[1]}]"


def overview(comparison: Comparison) -> list[str]:
    """Return what the comparison comes to, in sentences."""
    first, second = comparison.names
    main = comparison.conditions[comparison.conditions["field"] == "test_error"]
    both = main.dropna(subset=["difference"])
    tested = both.dropna(subset=["low"])
    counts = {word: int((tested["outcome"] == word).sum()) for word in conditions_module.OUTCOMES}
    unsure = tested[tested["outcome"] == conditions_module.INCONCLUSIVE]
    only = [
        int(((main[f"n_{a}"] > 0) & (main[f"n_{b}"] == 0)).sum())
        for a, b in (("first", "second"), ("second", "first"))
    ]
    lines = [
        f"{len(both)} conditions have a final error in both editions; {only[0]} only in {first}, {only[1]} only in "
        f"{second}."
    ]
    if len(tested):
        rank = tested[["mean_first", "mean_second"]].corr(method="spearman").iloc[0, 1]
        lines.append(
            f"Of {len(tested)} conditions with two or more runs on both sides {counts['different']} differ, "
            f"{counts['equivalent']} are equivalent within ±{100 * comparison.margin:g} points, "
            f"{counts['dead in both']} more are so because all runs of both are dead, and {counts['inconclusive']} "
            f"are inconclusive (Welch's test and TOST at 5 %, corrected for the number of conditions by "
            f"Benjamini-Hochberg). Median absolute difference {100 * tested['difference'].abs().median():.1f} points"
            + (f"; rank correlation of their means {rank:.2f}." if rank == rank else ".")
        )
        if len(unsure):
            half = 50 * (unsure["high"] - unsure["low"]).median()
            lines.append(
                f"Inconclusive is no agreement: the median 95 % interval of those {len(unsure)} reaches ±{half:.1f} "
                "points."
            )
    constant = [int(both[f"constant_{side}"].sum()) for side in ("first", "second")]
    runs = [int(both[f"n_{side}"].sum()) for side in ("first", "second")]
    apart = int((both["constant_bh"] < 0.05).sum())
    lines.append(
        f"Runs that end as constant predictors: {constant[0]} of {runs[0]} in {first}, {constant[1]} of {runs[1]} in "
        f"{second}; the share differs in {apart} condition{'' if apart == 1 else 's'} (Fisher's exact test, "
        "5 %, corrected)."
    )
    table = comparison.phenomena
    shown = table[table["verdict_first"] == SHOWN]
    known = shown[shown["verdict_second"] != NO_DATA]
    found = known["result"].value_counts()
    lines.append(
        f"Of {len(table)} phenomena {first} shows {len(shown)}; {second} has data for {len(known)} of these and "
        f"reproduces {found.get('reproduced', 0)}, shows the direction of {found.get('direction only', 0)}, and "
        f"does not reproduce {found.get('not reproduced', 0) + found.get('opposite', 0)} "
        f"({found.get('opposite', 0)} of them the other way round)."
    )
    after = [int((table[f"p_holm_{side}"] < 0.05).sum()) for side in ("first", "second")]
    plain = [int((table[f"p_value_{side}"] < 0.05).sum()) for side in ("first", "second")]
    lines.append(
        f"Corrected for the number of phenomena (Holm), {after[0]} of {plain[0]} p values below 0.05 stay there in "
        f"{first}, {after[1]} of {plain[1]} in {second}."
    )
    return lines


def results(comparison: Comparison) -> Iterator[tuple[str, list[str]]]:
    """Yield each result and the statements that have it, the most telling first."""
    order = ["reproduced", "direction only", "not reproduced", "opposite"]
    found = comparison.phenomena["result"]
    for result in [*order, *sorted(set(found) - set(order))]:
        says = comparison.phenomena.loc[found == result, "says"].tolist()
        if says:
            yield result, says


def worst(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the conditions with the largest differences whose interval excludes 0."""
    main = rows[(rows["field"] == "test_error") & rows["low"].notna()]
    apart = main[(main["low"] > 0) | (main["high"] < 0)]
    return apart.loc[apart["difference"].abs().sort_values(ascending=False, kind="stable").index].head(WORST)


# ------------------------------------------------------------------------------------------- tables as text


def _experiment_lines(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    first, second = comparison.names
    heads = [
        *(
            "experiment",
            "conditions",
            f"only {first}",
            f"only {second}",
            "median |difference|",
        ),
        *(*conditions_module.OUTCOMES, "rank correlation", f"constant {first}", f"constant {second}"),
    ]
    lines = []
    for _, row in conditions_module.by_experiment(comparison.conditions).iterrows():
        some = row["conditions"] > 0
        lines.append(
            [
                str(row["experiment"]),
                *(str(int(row[name])) for name in ("conditions", "only_first", "only_second")),
                number(row["median_absolute_difference"], "fraction"),
                *(str(int(row[name])) if some else "–" for name in conditions_module.OUTCOMES),
                number(row["rank_correlation"], "1"),
                *(str(int(row[name])) if some else "–" for name in ("constant_first", "constant_second")),
            ]
        )
    return heads, lines


def _worst_lines(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    first, second = comparison.names
    heads = ["experiment", "condition", first, second, "difference [95 %]", "KS", "constant"]
    lines = []
    for _, row in worst(comparison.conditions).iterrows():
        ends = [number(row[end], "fraction").removesuffix(" pp") for end in ("low", "high")]
        lines.append(
            [
                row["experiment"],
                row["condition"],
                f"{row['mean_first']:.3f} (n = {row['n_first']})",
                f"{row['mean_second']:.3f} (n = {row['n_second']})",
                f"{number(row['difference'], 'fraction')} [{ends[0]}, {ends[1]}]",
                f"{row['ks']:.2f}",
                f"{row['constant_first']} / {row['constant_second']}",
            ]
        )
    return heads, lines


def markdown(comparison: Comparison, picture: str) -> str:
    """Return the summary as Markdown; ``picture`` is the picture's file name."""
    return render(FOLDER / "summary.md", picture=picture, **_values(comparison))


def html(comparison: Comparison, picture: Path) -> str:
    """Return the summary as one HTML page with the picture in it."""
    return render(FOLDER / "compare.html", picture=data_uri(picture), tone=TONE, **_values(comparison))


def _values(comparison: Comparison) -> dict[str, Any]:
    """What both forms of the summary say."""
    first, second = comparison.names
    return {
        "first": first,
        "second": second,
        "editions": list(zip(comparison.names, comparison.titles, strict=True)),
        "overview": overview(comparison),
        "how": _HOW.format(first=first, second=second),
        "results": list(results(comparison)),
        "phenomena": {
            group: rows.to_dict("records")
            for group, rows in comparison.phenomena.groupby("group", sort=False)
        },
        "interval": interval,
        "tested": tested,
        "no_data": NO_DATA,
        "experiments": _experiment_lines(comparison),
        "worst": _worst_lines(comparison),
        "columns": _COLUMNS,
    }


def tested(row: Mapping[str, Any], side: str) -> str:
    """Return what carries a value: units, p value and its correction, and what could have been found."""
    how, away = row[f"interval_{side}"], row[f"detectable_{side}"]
    words = [f"n = {row[f'n_{side}']}" + (f" ({how})" if how else "")]
    for name, label in (("p_value", "p"), ("p_holm", "Holm")):
        value = row[f"{name}_{side}"]
        if not math.isnan(value):
            words.append(f"{label} {value:.0e}" if value < 0.001 else f"{label} {value:.3f}")
    if row[f"verdict_{side}"] != SHOWN and how:
        if math.isnan(away):
            words.append("no size of effect would be found with 80 % power")
        elif how == "Clopper-Pearson":
            words.append(f"a share of {number(away, row['unit'])} would be found with 80 % power")
        else:
            words.append(f"{number(away, row['unit'])} away would be found with 80 % power")
    return ", ".join(words)


_HOW = (
    "Each phenomenon is one number over n independent units (seeds, or starts) with a 95 % interval, and one rule "
    "holds for all. *Shown*: the whole interval lies on the expected side, n is 3 or more, and the value stays there "
    "whichever unit is left out; *direction only*: the value lies there, one of these fails; *not shown*: neither; "
    "*opposite*: the whole interval lies on the other side. p is two-sided, Holm its correction for the number of "
    "phenomena. Where something is not shown, the smallest effect that would have been found with a power of 80 % "
    "stands beside it. Editions are compared by these words, not by size: seeds are not comparable one by one, "
    "and a miniature has its own scale. Reproduced: shown in {first} and in {second}."
)
_COLUMNS = "All numbers are in conditions.parquet and phenomena.parquet beside this file."
