"""Extended Data Figure 4: slowing down in exp K.

Source: figure specification, ED Figure 4 a-b.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dualgrad.figures import frames as f
from dualgrad.figures import style as s
from dualgrad.figures.frames import Tables

AUDIT_NOTE = "a lr drop marked, axis from 0, runs that never converge counted; b noise rates apart"
REGION_COLOUR = {"ordered": s.GREEN, "critical": s.ORANGE, "collapse": s.RED}
RATE = 0.4


def _region_of(runs: pd.DataFrame) -> dict[float, str]:
    """The recorded region of each lambda (set by lambda alone, not by outcome)."""
    known = runs.dropna(subset=["region"])
    return dict(zip(known["lam"], known["region"], strict=True))


def _with_regions(part: pd.DataFrame, regions: dict[float, str]) -> pd.DataFrame:
    return part.assign(label=[regions.get(x, "ordered") for x in part["x"]])


def _critical(regions: dict[float, str]) -> pd.DataFrame:
    inside = sorted(lam for lam, region in regions.items() if region == "critical")
    return f.number(
        "critical region", None, low=inside[0] if inside else None, high=inside[-1] if inside else None
    )


def panel_a(tables: Tables) -> pd.DataFrame:
    """Convergence epoch per lambda at noise rate 0.4; ``count`` rows hold how many of n never converge (high)."""
    runs = tables.runs("K", noise_rate=RATE)
    regions = _region_of(tables.runs("K"))
    reached = runs.dropna(subset=["convergence_epoch"])
    last = tables.trajectories("K")["epoch"].max()
    parts = [
        _with_regions(f.summary(reached, "convergence_epoch", "K"), regions),
        *[
            f.rows(
                "count",
                "never",
                x=lam,
                n=len(cell),
                high=int(cell["convergence_epoch"].isna().sum()),
                label=regions.get(lam),
            )
            for lam, cell in runs.groupby("lam")
        ],
        f.number("last epoch", last if pd.notna(last) else runs["epochs"].max()),
        _critical(regions),
    ]
    if tables.audited:
        parts += f.lr_drops(tables, "K", last)
        parts.append(f.single_runs(reached, "lam", "convergence_epoch", "K"))
    return f.panel(*parts)


def panel_b(tables: Tables) -> pd.DataFrame:
    """Final error per lambda. Published: both noise rates in one mean."""
    runs = tables.runs("K")
    regions = _region_of(runs)
    if tables.audited:
        means = [
            _with_regions(f.summary(group, "test_error", f"eta={eta:g}"), regions)
            for eta, group in runs.groupby("noise_rate")
        ]
    else:
        means = [_with_regions(f.summary(runs, "test_error", "K"), regions)]
    return f.panel(*means, _critical(regions))


PANELS = {"a": panel_a, "b": panel_b}


def draw(panels: dict[str, pd.DataFrame], look: s.Look) -> Figure:
    """The whole figure from its panel frames."""
    page = s.Page(look, "ED_Fig4", 2.95, AUDIT_NOTE)
    axes = page.panels("ab", 2)
    draw_a(page, axes["a"], panels["a"])
    draw_b(page, axes["b"], panels["b"])
    return page.finish()


def _span(page: s.Page, ax: Axes, data: pd.DataFrame) -> tuple[float, float]:
    region = f.pick(data, "number", "critical region").iloc[0]
    s.span(page, ax, region["low"], region["high"])
    return region["low"], region["high"]


def _points(ax: Axes, mean: pd.DataFrame) -> None:
    """Circles with error bars, coloured by region."""
    for _, point in mean.iterrows():
        colour = REGION_COLOUR.get(point["label"], s.GREY)
        ax.errorbar(
            point["x"],
            point["y"],
            yerr=point["sd"],
            fmt="o",
            color=colour,
            ms=5,
            mec="white",
            mfc=colour,
            mew=0.5,
            elinewidth=1.1,
            capsize=3,
            zorder=4,
        )


def draw_a(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel a: convergence epochs; runs that never converge at the last epoch."""
    mean, last = f.pick(data, "mean", "K"), f.get(data, "last epoch")
    s.labels(
        ax,
        page.look.title("Critical slowing down", "Epochs to converge") + " (η=0.4)",
        "Mixing coefficient λ",
        "Convergence epoch",
    )
    if f.pick(data, "count").empty or not f.known(last):
        s.no_data(ax)
        return
    low, high = _span(page, ax, data)
    ax.set_xlim(0.2875, 0.5625)
    _points(ax, mean)
    if page.look.audited:
        ax.set_title("First epoch with error below 0.20 (η=0.4)")
        dots = f.pick(data, "run")
        ax.scatter(
            dots["x"] + 0.006 + s.jitter(len(dots), 0.002),
            dots["y"],
            s=5,
            color=s.GREY,
            alpha=0.6,
            lw=0,
            zorder=3,
        )
        s.lr_marks(page, ax, f.pick(data, "number", "lr drop")["y"], horizontal=True)
    never = f.pick(data, "count", "never")
    never = never[never["high"] > 0]
    for _, row in never.iterrows():
        if row["high"] < row["n"] and not page.look.audited:
            continue  # as published: only a lambda at which no run converges is marked
        ax.plot(
            row["x"],
            last,
            marker="^",
            color=REGION_COLOUR.get(row["label"], s.RED),
            ms=6,
            mec="white",
            mew=0.5,
            ls="none",
            zorder=4,
        )
        text = f"{row['high']:.0f}/{row['n']:.0f} never" if page.look.audited else "no conv."
        ax.annotate(
            text,
            (row["x"], last),
            xytext=(-5, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=6.6,
            color=REGION_COLOUR.get(row["label"], s.RED),
        )
    if page.look.audited:
        ax.set_ylim(0, 1.12 * last)
    elif page.look.exact:
        ax.set_ylim(40, 105)
    else:
        start = float(mean["y"].min()) if len(mean) else 0.0
        ax.set_ylim(max(0.0, start - 0.25 * (last - start)), last + 0.1 * (last - start) + 0.5)
    if f.known(low, high):
        page.note(ax, "critical zone", near=((low + high) / 2, ax.get_ylim()[1]), color=s.GREY, fontsize=6.6)


def draw_b(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel b: final error by region; audited one curve per noise rate."""
    s.labels(
        ax,
        page.look.title("Error increases sharply at boundary", "Final error, both noise rates"),
        "Mixing coefficient λ",
        "Test error",
    )
    means = f.pick(data, "mean")
    if means.empty:
        s.no_data(ax)
        return
    _span(page, ax, data)
    ax.set_xlim(0.2875, 0.5625)
    if page.look.audited:
        ax.set_title("Final error, noise rates apart (exp K)")
        for name, colour, marker in (("eta=0.4", s.BLUE, "o"), ("eta=0.8", s.RED, "D")):
            mean = f.pick(means, "mean", name)
            s.curve(
                ax,
                mean,
                colour,
                marker=marker,
                size=4,
                label=f"{name.replace('eta', 'η')} (n={s.counts(mean)})",
            )
        ax.set_ylim(bottom=0)
        page.legend(ax, corner="upper left")
        return
    mean = f.pick(means, "mean", "K")
    ax.plot(mean["x"], mean["y"], color=s.LIGHT_GREY, lw=1.2, zorder=2)
    _points(ax, mean)
    if page.look.exact:
        ax.set_ylim(0.074, 0.883)
    handles = [
        Line2D([], [], ls="none", marker="o", ms=4.5, color=REGION_COLOUR[region], label=region.capitalize())
        for region in REGION_COLOUR
        if region in set(mean["label"])
    ]
    page.legend(ax, corner="upper left", handles=handles)
