"""Extended Data Figure 5: model width (exp Q1).

Source: figure specification, ED Figure 5 a-b.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dualgrad.figures import frames as f
from dualgrad.figures import style as s
from dualgrad.figures.frames import Tables

AUDIT_NOTE = "η=0.4 rows alone (lines) and η=0.8 rows alone (dashed); published means pool them"
WIDTHS = {
    0.5: ("Width ×0.5 (narrow)", s.RED, "D"),
    1.0: ("Width ×1.0 (baseline)", s.BLUE, "o"),
    2.0: ("Width ×2.0 (wide)", s.GREEN, "s"),
}
VARIANCE_SCALE = 1e3


def _groups(tables: Tables) -> list[tuple[str, pd.DataFrame]]:
    """Runs per curve. Published: per width; audited: per width and noise rate."""
    runs = tables.runs("Q1").dropna(subset=["width_mult"])
    if tables.audited:
        return [
            (f"{width:g} eta={eta:g}", group)
            for (width, eta), group in runs.groupby(["width_mult", "noise_rate"])
        ]
    return [(f"{width:g}", group) for width, group in runs.groupby("width_mult")]


def panel_a(tables: Tables) -> pd.DataFrame:
    """Error over lambda per width. Published: both noise rates in one mean."""
    return f.panel(*(f.summary(group, "test_error", name) for name, group in _groups(tables)))


def panel_b(tables: Tables) -> pd.DataFrame:
    """Variance of the error over lambda per width."""
    return f.panel(
        *(f.variance(group, "test_error", name, scale=VARIANCE_SCALE) for name, group in _groups(tables))
    )


PANELS = {"a": panel_a, "b": panel_b}


def draw(panels: dict[str, pd.DataFrame], look: s.Look) -> Figure:
    """The whole figure from its panel frames."""
    page = s.Page(look, "ED_Fig5", 2.95, AUDIT_NOTE)
    axes = page.panels("ab", 2)
    # The curves of panel a fill it with their bands: panel b holds the legend of both.
    s.labels(
        axes["a"],
        look.title("Error landscape by model width (η=0.4)", "Error by width, both noise rates (Q1)"),
        "Mixing coefficient λ",
        "Test error",
    )
    s.labels(
        axes["b"],
        look.title("Variance peaks sharpen with width", "Variance by width, both noise rates"),
        "Mixing coefficient λ",
        r"Variance ($\times10^{-3}$)",
    )
    if look.audited:
        axes["a"].set_title("Error by width, noise rates apart (Q1)")
        axes["b"].set_title(
            "Variance: no interior peak at η=0.4"
            if _at_edge(panels["b"])
            else "Variance by width, noise rates apart"
        )
    draw_panel(page, axes["a"], f.pick(panels["a"], "mean"), (0.087, 0.612), legend=False)
    draw_panel(page, axes["b"], f.pick(panels["b"], "variance").assign(sd=0.0), (-1.65, 37.06))
    return page.finish()


def _at_edge(data: pd.DataFrame) -> bool:
    """Whether every width's variance at eta=0.4 is largest at the end of its lambda grid."""
    rows = f.pick(data, "variance")
    low = rows[rows["series"].str.endswith("eta=0.4")]
    if low.empty:
        return False
    return all(
        group.loc[group["y"].idxmax(), "x"] in (group["x"].min(), group["x"].max())
        for _, group in low.groupby("series")
    )


def draw_panel(
    page: s.Page, ax: Axes, data: pd.DataFrame, y_limits: tuple[float, float], *, legend: bool = True
) -> None:
    """One curve per width; audited also per noise rate, dashed and hollow for the higher one."""
    if data.empty:
        s.no_data(ax)
        return
    for name in dict.fromkeys(data["series"]):
        width, _, rate = name.partition(" ")
        label, colour, marker = WIDTHS.get(float(width), (f"Width ×{width}", s.GREY, "o"))
        high = rate == "eta=0.8"
        rate_text = f", {rate.replace('eta', 'η')}" if rate else ""
        rows = data[data["series"] == name]
        n = "" if page.look.exact else f" (n={s.counts(rows)})"
        s.curve(
            ax,
            rows,
            colour,
            marker=marker,
            size=3.8,
            band=0.07 if rate else 0.13,
            style="--" if high else "-",
            hollow=high,
            width=1.0 if high else 1.3,
            label=(label.split(" (")[0] + rate_text if rate else label) + n,
        )
    # The legend of both panels stands above the curves wherever the published limits do not apply.
    room = 0.6 if page.look.audited else 0.35
    s.limits(ax, page.look, x=(0.374, 0.506), y=y_limits, headroom=room if legend else 0.0)
    if legend:
        page.legend(ax, corner="upper left")
