"""Extended Data Figure 8: long runs at the boundary of the text task (X4).

Source: figure specification, ED Figure 8 a-b.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dualgrad.figures import frames as f
from dualgrad.figures import style as s
from dualgrad.figures.figure3 import lines
from dualgrad.figures.figure5 import data_name
from dualgrad.figures.frames import Tables

AUDIT_NOTE = "b runs at exactly chance counted as well (dotted)"
CHANCE = 0.50
SHADES = (s.RED, s.ORANGE, s.GREEN)
ARROW_EPOCH = 7


def panel_a(tables: Tables) -> pd.DataFrame:
    """Every trajectory of X4 and the mean per lambda."""
    rows = tables.trajectories("X4").dropna(subset=["lam"])
    name = rows["lam"].map("{:.2f}".format)
    parts = [f.single_runs(rows.assign(name=name), "epoch", "test_error", lambda frame: frame["name"])]
    parts += [f.summary(group, "test_error", series, x="epoch") for series, group in rows.groupby(name)]
    return f.panel(*parts, f.number("chance", CHANCE))


def panel_b(tables: Tables) -> pd.DataFrame:
    """Percentage of runs with error above chance (strict) per epoch and lambda; audited also at or above."""
    rows = tables.trajectories("X4").dropna(subset=["lam", "test_error"])
    rows = rows.assign(
        above=(rows["test_error"] > CHANCE).astype(float),
        reached=(rows["test_error"] >= CHANCE).astype(float),
    )
    parts = []
    for series, group in rows.groupby(rows["lam"].map("{:.2f}".format)):
        parts.append(f.summary(group, "above", series, x="epoch", scale=100.0))
        if tables.audited:
            parts.append(f.summary(group, "reached", series, x="epoch", scale=100.0, layer="at or above"))
    return f.panel(*parts)


PANELS = {"a": panel_a, "b": panel_b}


def draw(panels: dict[str, pd.DataFrame], look: s.Look) -> Figure:
    """The whole figure from its panel frames."""
    page = s.Page(look, "ED_Fig8", 2.95, AUDIT_NOTE)
    axes = page.panels("ab", 2, wspace=1.1)
    draw_a(page, axes["a"], panels["a"])
    draw_b(page, axes["b"], panels["b"])
    return page.finish()


def _shades(data: pd.DataFrame) -> dict[str, str]:
    names = sorted(set(f.pick(data, "mean")["series"]))
    return {name: SHADES[min(i, len(SHADES) - 1)] for i, name in enumerate(names)}


def draw_a(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel a: trajectories and means."""
    s.labels(ax, f"All trajectories by λ (X4, {data_name(page.look)})", "Epoch", "Test error")
    if f.pick(data, "mean").empty:
        s.no_data(ax)
        return
    for name, colour in _shades(data).items():
        mean = f.pick(data, "mean", name)
        lines(ax, f.pick(data, "run", name), colour, width=0.4, alpha=0.3)
        s.curve(
            ax, mean, colour, marker=None, width=2.0, band=0, label=f"λ={name} (n={s.counts(mean)})", zorder=4
        )
    chance = f.get(data, "chance")
    s.threshold(ax, chance)
    last = float(f.pick(data, "mean")["x"].max())
    ax.set_xlim(0.45, last + 0.55)
    s.limits(ax, page.look, y=(0.25, 0.90))
    # Trajectories fill the panel: the names stand beside it, at the ends of the means.
    ends = [(last, chance, "chance", s.GREY)]
    for name, colour in _shades(data).items():
        mean = f.pick(data, "mean", name).sort_values("x")
        ends.append(
            (float(mean["x"].iloc[-1]), float(mean["y"].iloc[-1]), f"λ={name}\n(n={s.counts(mean)})", colour)
        )
    s.end_labels(ax, ends, lines=2)


def draw_b(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel b: how many runs are above chance."""
    s.labels(ax, "Survival above chance level", "Epoch", "% above chance (error > 0.50)")
    if f.pick(data, "mean").empty:
        s.no_data(ax)
        return
    shades = _shades(data)
    for i, (name, colour) in enumerate(shades.items()):
        mean = f.pick(data, "mean", name)
        # Where curves lie on each other (both at 100 %), the first is a broad line with large marks below the next.
        below = len(shades) - 1 - i
        s.curve(
            ax,
            mean,
            colour,
            band=0,
            size=3.4 + 1.7 * below,
            width=1.3 + 1.4 * below,
            label=f"λ={name}",
            zorder=3 + i,
            marker="osD"[i % 3],
        )
        other = f.pick(data, "at or above", name)
        if len(other) and (other["y"].to_numpy() != mean["y"].to_numpy()).any():
            ax.plot(other["x"], other["y"], color=colour, ls=":", lw=1.1, zorder=3, label=f"λ={name}, ≥ 0.50")
    s.threshold(ax, 50)
    last = float(f.pick(data, "mean")["x"].max())
    ax.set_xlim(0.45, last + 0.55)
    ax.set_ylim(-5, 108)
    name = max(shades)
    mean = f.pick(data, "mean", name)
    where = f.nearest(mean, min(ARROW_EPOCH, last))
    height = f.at(mean, where)
    values = mean["y"].to_numpy(dtype=float)
    if f.known(height) and values[-1] > values[0]:
        page.note(
            ax,
            f"λ={name}: gradual drift\ntoward chance",
            near=(where, height),
            arrow=True,
            color=shades[name],
            fontsize=6.6,
            reach=0.6,
        )
    # Dotted curves double the entries: two columns, below the curves.
    crowded = page.look.audited and not page.look.published_scale
    if crowded:
        ax.set_yticks(range(0, 101, 20))
        ax.set_ylim(bottom=-48)
    page.legend(ax, corner="lower right" if crowded else "center right", ncols=2 if crowded else 1)
