"""Extended Data Figure 6: learning rate, and alignment over time.

Source: figure specification, ED Figure 6 a-b.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dualgrad.figures import frames as f
from dualgrad.figures import style as s
from dualgrad.figures.ed3 import cells, heat_map
from dualgrad.figures.frames import Tables

AUDIT_NOTE = "a and b noise rates apart; lr drops marked"
PHASES = {"ordered": s.GREEN, "critical": s.ORANGE, "collapse": s.RED}


def panel_a(tables: Tables) -> pd.DataFrame:
    """Mean error per learning rate and lambda (Q3). Published: both noise rates in one cell."""
    runs = tables.runs("Q3")
    if tables.audited:
        return f.panel(
            *(cells(group, "test_error", "lr", f"eta={eta:g}") for eta, group in runs.groupby("noise_rate"))
        )
    return f.panel(cells(runs, "test_error", "lr"))


def panel_b(tables: Tables) -> pd.DataFrame:
    """Gradient cosine over epochs (0-based) per phase label (Q4). Published: both noise rates together."""
    label = tables.runs("Q4").set_index("run")["phase_label"]
    rows = tables.epochs("Q4")
    rows = rows.assign(phase=rows["run"].map(label), index=rows["epoch"] - 1)
    parts = []
    for phase in PHASES:
        mine = rows[rows["phase"] == phase]
        if tables.audited:
            for eta, group in mine.groupby("noise_rate"):
                parts.append(f.summary(group, "cos_mean", f"{phase} eta={eta:g}", x="index"))
                lam = group["lam"].dropna()
                parts.append(
                    f.number(f"lambda {phase} eta={eta:g}", float(lam.iloc[0]) if len(lam) else None)
                )
        else:
            parts.append(f.summary(mine, "cos_mean", phase, x="index"))
    if tables.audited:
        parts += f.lr_drops(tables, "Q4", rows["epoch"].max())
    return f.panel(*parts)


PANELS = {"a": panel_a, "b": panel_b}


def draw(panels: dict[str, pd.DataFrame], look: s.Look) -> Figure:
    """The whole figure from its panel frames."""
    if look.audited:
        return _draw_audited(panels, look)
    page = s.Page(look, "ED_Fig6", 2.95, AUDIT_NOTE)
    axes = page.panels("ab", 2, wspace=1.05)
    s.labels(
        axes["a"],
        look.title("LR–λ interaction (Q3, η=0.4)", "LR–λ interaction (Q3, both noise rates)"),
        "Mixing coefficient λ",
        "Learning rate",
    )
    heat_map(page, axes["a"], f.pick(panels["a"], "cell"), limits=(0.10, 0.90), row_format="{:g}")
    draw_b(page, axes["b"], panels["b"])
    return page.finish()


def _draw_audited(panels: dict[str, pd.DataFrame], look: s.Look) -> Figure:
    """Two heat maps and two time courses, one per noise rate."""
    page = s.Page(look, "ED_Fig6", 5.4, AUDIT_NOTE)
    grid = page.panels("aAbB", 2, wspace=1.0, right=0.55)
    axes = {letter: (grid[letter], grid[letter.upper()]) for letter in "ab"}
    for letter, side, rate in (("a", 0, "0.4"), ("a", 1, "0.8")):
        ax = axes[letter][side]
        s.labels(ax, f"LR–λ interaction (Q3, η={rate})", "Mixing coefficient λ", "Learning rate")
        cell = f.pick(panels[letter], "cell", f"eta={rate}")
        heat_map(page, ax, cell, limits=(0.10, 0.90), row_format="{:g}")
    for letter, side, rate in (("b", 0, "0.4"), ("b", 1, "0.8")):
        ax = axes[letter][side]
        s.labels(ax, f"Gradient alignment (Q4, η={rate})", "Epoch", r"$c_{\mathrm{sv}}$ (gradient cosine)")
        _courses(page, ax, panels[letter], f" eta={rate}")
    return page.finish()


def draw_b(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel b as published."""
    s.labels(ax, "Gradient alignment over training (Q4)", "Epoch", r"$c_{\mathrm{sv}}$ (gradient cosine)")
    _courses(page, ax, data, "")


def _courses(page: s.Page, ax: Axes, data: pd.DataFrame, suffix: str) -> None:
    if f.pick(data, "mean").empty:
        s.no_data(ax)
        return
    ax.axhline(0, color=s.GREY, lw=0.8, ls=":", zorder=1)
    for phase, colour in PHASES.items():
        mean = f.pick(data, "mean", phase + suffix)
        if mean.empty:
            continue
        lam = f.get(data, f"lambda {phase}{suffix}")
        where = f" λ={lam:.2f}" if f.known(lam) else ""
        s.curve(
            ax,
            mean,
            colour,
            marker=None,
            band=0.18,
            label=f"{phase.capitalize()}{where} (n={s.counts(mean)})",
        )
    last = float(f.pick(data, "mean")["x"].max()) or 1.0  # an axis for runs that ended where they began
    ax.set_xlim(-0.05 * last, 1.05 * last)
    s.limits(ax, page.look, y=(-0.61, 0.32))
    if page.look.audited:
        bottom, top = ax.get_ylim()
        ax.set_ylim(bottom, top + 0.22 * (top - bottom))
    s.lr_marks(page, ax, f.pick(data, "number", "lr drop")["y"], shift=-0.5)
    # An opaque ground: the dashed lines run under the legend.
    page.legend(ax, corner="upper right", frameon=True, facecolor="white", edgecolor="none", framealpha=0.85)
