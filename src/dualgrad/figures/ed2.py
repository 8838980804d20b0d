"""Extended Data Figure 2: S1 and S2 in detail.

Source: figure specification, ED Figure 2 a-d.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dualgrad.figures import frames as f
from dualgrad.figures import style as s
from dualgrad.figures.figure1 import dip_p
from dualgrad.figures.figure3 import FOREST_LAMBDA, FOREST_RATE
from dualgrad.figures.frames import Tables

AUDIT_NOTE = "a S2 beside S1 at the same λ and η; c dip test over all runs; d one column per noise rate"
BINS = np.linspace(0.10, 0.60, 40)  # 39 equal bins


# --------------------------------------------------------------------------------------------------- numbers


def panel_a(tables: Tables) -> pd.DataFrame:
    """Fraction of S1 runs that end below 0.30. Audited: the same conditions of S2 beside it."""
    parts = [_fractions(tables.runs("S1"), "S1")]
    if tables.audited:
        parts.append(_fractions(tables.runs("S2", noise_rate=FOREST_RATE), "S2"))
    whole = f.panel(*parts)
    first = f.pick(whole, "mean", "S1")
    # The transition: where the fraction is neither (almost) 0 nor (almost) 1.
    middle = first[(first["y"] > 0.03) & (first["y"] < 0.97)]
    region = (middle["x"].min(), middle["x"].max()) if len(middle) else (np.nan, np.nan)
    return f.panel(whole, f.number("transition", None, low=region[0], high=region[1]))


def _fractions(runs: pd.DataFrame, series: str) -> pd.DataFrame:
    runs = runs.dropna(subset=["test_error"])
    return f.summary(runs.assign(low=(runs["test_error"] < f.LH_THRESHOLD).astype(float)), "low", series)


def panel_b(tables: Tables) -> pd.DataFrame:
    """Every run of S1, and the mean per lambda."""
    runs = tables.runs("S1").dropna(subset=["test_error"])
    return f.panel(
        f.single_runs(runs, "lam", "test_error", lambda frame: f.by_threshold(frame["test_error"])),
        f.summary(runs, "test_error", "S1"),
        f.split(runs["test_error"], "S1"),
        f.number("threshold", f.LH_THRESHOLD),
    )


def panel_c(tables: Tables) -> pd.DataFrame:
    """Histogram of the S2 runs at one lambda: all, and by the threshold."""
    runs = tables.runs("S2", noise_rate=FOREST_RATE)
    errors = runs[np.isclose(runs["lam"], FOREST_LAMBDA)]["test_error"].dropna()
    low = errors < f.LH_THRESHOLD
    parts = []
    bins = f.bins_for(errors, BINS)
    for name, values in (("all", errors), ("L", errors[low]), ("H", errors[~low])):
        counts, edges = np.histogram(values, bins=bins)
        parts.append(f.rows("count", name, x=(edges[:-1] + edges[1:]) / 2, y=counts))
    parts += [f.split(errors, "S2", x=FOREST_LAMBDA), f.number("threshold", f.LH_THRESHOLD)]
    if tables.audited:
        parts.append(f.number("dip p", dip_p(errors.to_numpy())))
    return f.panel(*parts)


def panel_d(tables: Tables) -> pd.DataFrame:
    """Every run of S2 per lambda. Published: noise rates in one column."""
    runs = tables.runs("S2").dropna(subset=["test_error"])
    parts = [
        f.single_runs(runs, "lam", "test_error", lambda frame: f.by_threshold(frame["test_error"])),
        f.number("threshold", f.LH_THRESHOLD),
    ]
    keys = ["lam", "noise_rate"] if tables.audited else ["lam"]
    for key, group in runs.groupby(keys):
        eta = key[1] if tables.audited else None
        parts.append(
            f.split(group["test_error"], "S2" if eta is None else f"eta={eta:g}", x=key[0], noise_rate=eta)
        )
    return f.panel(*parts)


PANELS = {"a": panel_a, "b": panel_b, "c": panel_c, "d": panel_d}


# --------------------------------------------------------------------------------------------------- drawing


def draw(panels: dict[str, pd.DataFrame], look: s.Look) -> Figure:
    """The whole figure from its panel frames."""
    page = s.Page(look, "ED_Fig2", 5.9, AUDIT_NOTE)
    axes = page.panels("abcd", 2)
    draw_a(page, axes["a"], panels["a"])
    draw_b(page, axes["b"], panels["b"])
    draw_c(page, axes["c"], panels["c"])
    (draw_d_audited if look.audited else draw_d)(page, axes["d"], panels["d"])
    return page.finish()


def draw_a(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel a: the L fraction."""
    mean = f.pick(data, "mean", "S1")
    s.labels(
        ax,
        page.look.title("S1: Phase transition", "S1: Fraction below 0.30")
        + f" (η=0.4, n={s.counts(mean)} per λ)",
        "Mixing coefficient λ",
        "L-branch fraction",
    )
    if mean.empty:
        s.no_data(ax)
        return
    region = f.pick(data, "number", "transition").iloc[0]
    s.span(page, ax, region["low"], region["high"])
    page.soft(ax.fill_between(mean["x"], 0, mean["y"], color=s.BLUE, alpha=0.13, lw=0, zorder=1))
    s.curve(ax, mean, s.BLUE, band=0, label="S1")
    if page.look.audited:
        other = f.pick(data, "mean", "S2")
        ax.plot(
            other["x"],
            other["y"],
            color=s.PURPLE,
            marker="D",
            ms=4,
            ls="none",
            mfc="white",
            mew=1,
            label=f"S2, same λ and η (n={s.counts(other)})",
            zorder=5,
        )
        page.legend(ax, corner="lower left")
    s.threshold(ax, 0.5)
    s.limits(ax, page.look, x=(0.413, 0.567))
    ax.set_ylim(-0.05, 1.05)
    page.note(ax, "50%", near=(0.415, 0.5), color=s.GREY, fontsize=6.2)
    if f.known(region["low"]):
        page.note(
            ax,
            "transition zone",
            near=((region["low"] + region["high"]) / 2, 1.0),
            color=s.GREY,
            fontsize=6.6,
        )


def draw_b(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel b: every run of S1."""
    splits = f.pick(data, "split")
    total = int(splits["n"].sum()) if len(splits) else 0
    s.labels(ax, f"S1: Individual outcomes (n={total})", "Mixing coefficient λ", "Final test error")
    if not total:
        s.no_data(ax)
        return
    _dots(ax, f.pick(data, "run"))
    mean = f.pick(data, "mean", "S1")
    ax.plot(
        mean["x"],
        mean["y"],
        color=s.GREY,
        lw=1.4,
        marker="o",
        ms=2.8,
        mec="white",
        mew=0.4,
        zorder=4,
        label="mean",
    )
    cut = f.get(data, "threshold")
    s.threshold(ax, cut, colour=s.DARK)
    s.limits(ax, page.look, x=(0.4065, 0.5735), y=(0.05, 0.75), floor=0)
    clipped = int((f.pick(data, "run")["y"] > ax.get_ylim()[1]).sum())
    row = splits.iloc[0]
    handles = [
        _dot_handle(s.GREEN, f"error < {cut:.2f} ({row['low']:.0f})"),
        _dot_handle(s.RED, f"error ≥ {cut:.2f} ({row['high']:.0f})"),
        *ax.get_legend_handles_labels()[0],
    ]
    page.legend(ax, corner="upper left", handles=handles)
    if clipped:
        page.note(
            ax,
            f"{clipped} run{'s' if clipped > 1 else ''} above the axis ↑",
            corner="upper right",
            fontsize=6,
        )


def _dots(ax: Axes, runs: pd.DataFrame, width: float = 0.006) -> None:
    """One dot per run, coloured by the threshold."""
    x = runs["x"].to_numpy(dtype=float) + s.jitter(len(runs), width)
    colours = [s.GREEN if series == "L" else s.RED for series in runs["series"]]
    ax.scatter(x, runs["y"], s=4.5, c=colours, alpha=0.5, lw=0, zorder=3)


def _dot_handle(colour: str, label: str) -> Line2D:
    return Line2D([], [], ls="none", marker="o", ms=3, color=colour, label=label)


def draw_c(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel c: the histogram, coloured by the threshold."""
    splits = f.pick(data, "split")
    title = page.look.title("S2: Bimodal distribution", "S2: Final errors")
    s.labels(ax, f"{title} at λ={FOREST_LAMBDA:.2f}", "Final test error", "Count")
    if splits.empty or not splits["n"].iloc[0]:
        s.no_data(ax)
        return
    row = splits.iloc[0]
    width = float(f.pick(data, "count", "all")["x"].diff().median())
    for name, colour, label in (
        ("all", s.LIGHT_BLUE, "all"),
        ("L", s.GREEN, f"L (n={row['low']:.0f})"),
        ("H", s.RED, f"H (n={row['high']:.0f})"),
    ):
        bars = f.pick(data, "count", name)
        ax.bar(
            bars["x"],
            bars["y"],
            width=width,
            color=colour,
            alpha=0.5 if name == "all" else 0.6,
            lw=0,
            label=label,
            zorder=2,
        )
    cut = f.get(data, "threshold")
    ax.axvline(cut, color=s.DARK, ls="--", lw=1, zorder=3)
    top = float(f.pick(data, "count", "all")["y"].max())
    centres = f.pick(data, "count", "all")["x"]
    ax.set_xlim(centres.min() - 2.45 * width, centres.max() + 2.45 * width)
    # Above the bars, room for the legend, and audited for a box of four lines.
    ax.set_ylim(0, 34.65 if page.look.exact else (1.8 if page.look.audited else 1.3) * max(top, 1))
    page.note(ax, f"{cut:.2f}", near=(cut, 0.97 * ax.get_ylim()[1]), color=s.DARK, fontsize=6.2)
    box = f"n={row['n']:.0f}\n{row['low']:.0f} L / {row['high']:.0f} H"
    outside = int(row["n"] - f.pick(data, "count", "all")["y"].sum())
    if page.look.audited:
        p = f.get(data, "dip p")
        box += (
            f"\ndip test p={p:.2f}:\none mode is not rejected"
            if f.known(p) and p > 0.05
            else f"\ndip test p={p:.3f}"
            if f.known(p)
            else ""
        )
    page.note(ax, box, corner="center right", box=True, color=s.DARK, fontsize=7)
    if outside:
        page.note(
            ax,
            f"{outside} run{'s' if outside > 1 else ''} outside the bins",
            corner="lower right",
            fontsize=6,
        )
    page.legend(ax, corner="upper right")


def draw_d(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel d as published."""
    splits = f.pick(data, "split").sort_values("x")
    total = int(splits["n"].sum()) if len(splits) else 0
    s.labels(
        ax,
        page.look.title("S2: Coexistence", "S2: Outcomes") + f" across λ (n={total} total)",
        "Mixing coefficient λ",
        "Final test error",
    )
    if not total:
        s.no_data(ax)
        return
    _dots(ax, f.pick(data, "run"))
    s.threshold(ax, f.get(data, "threshold"), colour=s.DARK)
    ax.set_xlim(0.388, 0.532)
    s.limits(ax, page.look, y=(0.05, 0.62), floor=0)
    if not page.look.exact:
        ax.set_ylim(top=ax.get_ylim()[1] * 1.06)
    for _, row in splits.iterrows():
        ax.annotate(
            f"n={row['n']:.0f}",
            (row["x"], 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, -3),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=6.6,
            zorder=6,
            bbox={"fc": "white", "ec": "none", "alpha": 0.8, "pad": 0.8},
        )
    clipped = int((f.pick(data, "run")["y"] > ax.get_ylim()[1]).sum())
    if clipped:
        page.note(ax, f"{clipped} runs above the axis ↑", corner="lower left", fontsize=6)


def draw_d_audited(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel d with one column per noise rate and lambda."""
    splits = f.pick(data, "split").sort_values(["noise_rate", "x"]).reset_index(drop=True)
    total = int(splits["n"].sum()) if len(splits) else 0
    s.labels(ax, f"S2 by noise rate (n={total})", "", "Final test error")
    if not total:
        s.no_data(ax)
        return
    runs = f.pick(data, "run")
    places = []
    for i, row in splits.iterrows():
        place = i + (0.5 if row["noise_rate"] >= 0.6 else 0)
        places.append(place)
        mine = runs[
            np.isclose(runs["x"], row["x"]) & np.isclose(runs["noise_rate"], row["noise_rate"])
        ].assign(x=place)
        _dots(ax, mine, 0.27)
        ax.annotate(
            f"n={row['n']:.0f}\n{row['low']:.0f} L\n{row['high']:.0f} H",
            (place, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, -3),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=5.8,
        )
    s.threshold(ax, f.get(data, "threshold"), colour=s.DARK)
    ax.set_xticks(places, [f"λ={row['x']:.2f}\nη={row['noise_rate']:g}" for _, row in splits.iterrows()])
    ax.set_xlim(-0.6, places[-1] + 0.6)
    ax.set_ylim(0, 1.28 * max(float(runs["y"].max()), 0.3))
