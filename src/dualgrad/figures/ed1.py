"""Extended Data Figure 1: the two-branch gap under other noise, architecture, data set and noise rate.

Source: figure specification, ED Figure 1 a-d.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dualgrad.figures import frames as f
from dualgrad.figures import style as s
from dualgrad.figures.frames import Tables

AUDIT_NOTE = (
    "seeds stuck at a constant-class error drawn dashed and left out of mean, band and arrow where others are left; "
    "gaps printed per seed; d low branch selected from the search runs"
)
# letter -> experiment, title, published x and y limits, lambda of the arrow
SETTINGS = {
    "a": ("V1", "Asymmetric noise (η=0.4, ResNet18, CIFAR-10)", (0.28, 0.72), (0.0, 0.75), 0.50),
    "b": ("V3", "ResNet34 architecture (η=0.4, CIFAR-10)", (0.28, 0.72), (0.0, 0.85), 0.50),
    "c": ("V4", "CIFAR-100 dataset (η=0.4, ResNet18)", (0.28, 0.72), (0.30, 0.92), 0.50),
    "d": ("Tb2", "High noise η=0.8 (ResNet18, CIFAR-10)", (0.38, 0.82), (0.30, 1.02), 0.60),
}
# What the same settings are called where data and model are miniatures.
MINIATURE_TITLES = {
    "a": "Asymmetric noise (η=0.4)",
    "b": "Deeper model (η=0.4)",
    "c": "100 classes (η=0.4)",
    "d": "High noise (η=0.8)",
}
# Ranges over λ as printed where the rows round to another number (b: 50.51 to 56.46, printed 51-57 %).
PRINTED_RANGE = {"b": (51.0, 57.0)}
TRAP_SPREAD = 1e-9  # a seed whose error never moves along the whole sweep


def compute(tables: Tables, experiment: str, arrow: float) -> pd.DataFrame:
    """Mean and single curves of both branches, the gap at the arrow and its range over lambda."""
    parts, means, curves = [], {}, {}
    for branch in ("ordered", "collapse"):
        curves[branch] = tables.trajectories(experiment, stage=f"{branch}_sweep")
    stuck = _stuck(curves["collapse"]) if tables.audited else set()
    for branch, rows in curves.items():
        free = rows[~rows["seed"].isin(stuck)]
        # Where every seed is stuck, there is nothing to leave out: the mean is one of traps, and the box says so.
        means[branch] = f.summary(free if len(free) else rows, "test_error", branch, x="lam")
        apart = rows.assign(series=branch)
        apart.loc[rows["seed"].isin(stuck), "series"] = f"{branch} stuck"
        parts += [
            means[branch],
            f.single_runs(apart, "lam", "test_error", lambda frame: frame["series"]),
        ]
    gap = f.difference(means["collapse"], means["ordered"])
    where = f.nearest(gap, arrow)
    parts += [
        f.rows("words", "network", label=tables.network(experiment)),
        f.number("gap", f.at(gap, where), x=where),
        f.number("gap range", None, low=100 * gap["y"].min(), high=100 * gap["y"].max()),
    ]
    if tables.audited:
        parts += _per_seed(curves, where)
    return f.panel(*parts)


def _stuck(rows: pd.DataFrame) -> set[float]:
    """Seeds whose error never moves along the whole sweep."""
    spread = rows.groupby("seed")["test_error"].agg(lambda errors: errors.max() - errors.min())
    return {seed for seed, width in spread.items() if width <= TRAP_SPREAD}


def _per_seed(curves: dict[str, pd.DataFrame], where: float) -> list[pd.DataFrame]:
    """The gap of every seed at the arrow, and the mean gap of the seeds that are not stuck."""
    at = {
        branch: rows[(rows["lam"] - where).abs() < 1e-6].set_index("seed")["test_error"]
        for branch, rows in curves.items()
    }
    gaps = (at["collapse"] - at["ordered"]).dropna() * 100
    stuck = _stuck(curves["collapse"])
    parts = [
        f.rows("gap", "trapped" if seed in stuck else "moving", x=where, y=gap, seed=seed)
        for seed, gap in gaps.items()
    ]
    free = [gap for seed, gap in gaps.items() if seed not in stuck]
    parts.append(
        f.number("gap without trapped", sum(free) / len(free) if free else float("nan"), n=len(free))
    )
    return parts


def _panel(letter: str) -> Callable[[Tables], pd.DataFrame]:
    experiment, _, _, _, arrow = SETTINGS[letter]

    def function(tables: Tables) -> pd.DataFrame:
        return compute(tables, experiment, arrow)

    function.__doc__ = f"Both branches of {experiment}."
    return function


PANELS = {letter: _panel(letter) for letter in SETTINGS}


def draw(panels: dict[str, pd.DataFrame], look: s.Look) -> Figure:
    """The whole figure from its panel frames."""
    page = s.Page(look, "ED_Fig1", 5.9, AUDIT_NOTE)
    axes = page.panels("abcd", 2)
    for letter in SETTINGS:
        draw_panel(page, axes[letter], panels[letter], letter)
    return page.finish()


def draw_panel(page: s.Page, ax: Axes, data: pd.DataFrame, letter: str) -> None:
    """One setting: means with bands, thin lines per seed, the gap and its range."""
    _, title, x_limits, y_limits, _ = SETTINGS[letter]
    network = f.words(data, "network")
    miniature = MINIATURE_TITLES[letter] + (f", {network}" if network else "")
    s.labels(
        ax,
        title if page.look.published_scale else miniature,
        "Mixing coefficient λ",
        "Test error",
    )
    low, high = f.pick(data, "mean", "ordered"), f.pick(data, "mean", "collapse")
    if low.empty and high.empty:
        s.no_data(ax)
        return
    for branch, colour in (("ordered", s.GREEN), ("collapse", s.RED)):
        for name, style, width in ((branch, "-", 0.5), (f"{branch} stuck", (0, (4, 2)), 0.9)):
            for _, rows in f.pick(data, "run", name).groupby("run"):
                rows = rows.sort_values("x")
                ax.plot(rows["x"], rows["y"], color=colour, ls=style, lw=width, alpha=0.6, zorder=2)
    s.curve(ax, low, s.GREEN, label="L-branch (ordered init)", band=0.15)
    s.curve(
        ax,
        high,
        s.RED,
        marker="s",
        size=3.2,
        label="H-branch (collapse init)",
        band=0.15,
    )
    s.limits(ax, page.look, x=x_limits, y=y_limits, floor=0, ceiling=1.02)
    if not page.look.exact:
        bottom, top = ax.get_ylim()
        ax.set_ylim(bottom, top + 0.12 * (top - bottom))
    where = f.get(data, "gap", "x")
    s.gap_arrow(
        page, ax, where, f.at(low, where), f.at(high, where), page.look.points(s.percent(f.get(data, "gap")))
    )
    bounds = f.pick(data, "number", "gap range").iloc[0]
    if f.known(bounds["low"], bounds["high"]):
        printed = PRINTED_RANGE.get(letter) if page.look.exact and page.look.edition == "released" else None
        low_end, high_end = printed or (bounds["low"], bounds["high"])
        text = f"Gap: {page.look.points(s.spread_text(low_end, high_end))}, n={s.counts(high)}"
        if page.look.audited:
            text = f"gap over λ: {bounds['low']:.1f}–{bounds['high']:.1f} pp\n" + _seed_text(data)
        page.note(ax, text, corner="center left", box=True, color=s.GREY, fontsize=6)
    page.legend(ax, corner="upper left" if letter in "ab" and page.look.exact else "center right")


def _seed_text(data: pd.DataFrame) -> str:
    """'per seed at 0.50: 79*/28/31', the trapped ones starred."""
    gaps = f.pick(data, "gap").sort_values("seed")
    sizes = "/".join(
        f"{gap['y']:.0f}{'*' if gap['series'] == 'trapped' else ''}" for _, gap in gaps.iterrows()
    )
    text = f"per seed at {gaps['x'].iloc[0]:.2f}: {sizes}"
    free = f.pick(data, "number", "gap without trapped").iloc[0]
    if "*" in sizes:
        text += "\n* stuck (dashed): " + ("left out" if f.known(free["y"]) else "all of them")
    return text
