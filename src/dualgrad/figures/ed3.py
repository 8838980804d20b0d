"""Extended Data Figure 3: phase diagram over noise rate and lambda.

Source: figure specification, ED Figure 3 a-b.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dualgrad.figures import frames as f
from dualgrad.figures import style as s
from dualgrad.figures.frames import Tables

AUDIT_NOTE = (
    "b the boundary relative to each rate's own floor beside the fixed level; downward crossing stated"
)
LEVEL = 0.30
RELATIVE = 2.0  # audited: the error that counts as "over the boundary", as a multiple of the row's minimum


def cells(runs: pd.DataFrame, y: str, by: str, series: str = "cell") -> pd.DataFrame:
    """Mean per (lambda, row) as heat-map cells: x lambda, low = the row's value."""
    runs = runs.dropna(subset=[y, by, "lam"])
    groups = runs.groupby([by, "lam"])[y]
    index = groups.mean().index
    return f.rows(
        "cell",
        series,
        x=index.get_level_values("lam").to_numpy(dtype=float),
        low=index.get_level_values(by).to_numpy(dtype=float),
        y=groups.mean().to_numpy(),
        sd=groups.std(ddof=0).to_numpy(),
        n=groups.count().to_numpy(),
    )


def panel_a(tables: Tables) -> pd.DataFrame:
    """Mean error per noise rate and lambda (N1, N2)."""
    return f.panel(cells(tables.runs("N1", "N2"), "test_error", "noise_rate"))


def panel_b(tables: Tables) -> pd.DataFrame:
    """Where the mean error of each noise rate crosses 0.30 upwards, interpolated in lambda."""
    means = f.pick(panel_a(tables), "cell")
    parts = []
    for rate, row in means.groupby("low"):
        row = row.sort_values("x")
        x, y = row["x"].to_numpy(dtype=float), row["y"].to_numpy(dtype=float)
        place = f.crossing_up(x, y, LEVEL)
        if f.known(place):
            parts.append(f.rows("mean", "lambda_c", x=float(rate), y=place, n=row["n"].sum()))
        if tables.audited:
            relative = f.crossing_up(x, y, RELATIVE * y.min())
            if f.known(relative):
                parts.append(
                    f.rows(
                        "mean",
                        "relative",
                        x=float(rate),
                        y=relative,
                        n=row["n"].sum(),
                        label=f"{y.min():.4f}",
                    )
                )
            if y[0] > LEVEL:
                parts.append(f.rows("above at start", "lambda_c", x=float(rate), y=float(x[0]), low=y[0]))
    return f.panel(*parts, f.number("level", LEVEL))


PANELS = {"a": panel_a, "b": panel_b}


def draw(panels: dict[str, pd.DataFrame], look: s.Look) -> Figure:
    """The whole figure from its panel frames."""
    page = s.Page(look, "ED_Fig3", 3.0, AUDIT_NOTE)
    axes = page.panels("ab", 2, wspace=1.05, widths=(1.12, 1))
    s.labels(axes["a"], "Phase diagram: mean test error", "Mixing coefficient λ", "Noise rate η")
    heat_map(page, axes["a"], f.pick(panels["a"], "cell"), limits=(0.08, 0.90), row_format="{:.1f}")
    draw_b(page, axes["b"], panels["b"])
    return page.finish()


def heat_map(
    page: s.Page,
    ax: Axes,
    table: pd.DataFrame,
    *,
    limits: tuple[float, float],
    row_format: str,
) -> None:
    """Equal cells, white edges, the mean printed in each."""
    if table.empty:
        s.no_data(ax)
        return
    import seaborn

    names = ax.get_xlabel(), ax.get_ylabel()
    grid = table.pivot_table(index="low", columns="x", values="y")
    low, high = (
        limits
        if page.look.published_scale
        else (max(0.0, float(table["y"].min()) - 0.02), float(table["y"].max()))
    )
    before = list(ax.texts)
    seaborn.heatmap(
        grid.iloc[::-1],
        ax=ax,
        cmap="rocket_r",  # light to dark with the error: readable in grey and under red-green blindness
        vmin=low,
        vmax=max(high, low + 0.05),
        annot=True,
        fmt=".2f",
        annot_kws={"fontsize": 6.4, "fontweight": "bold"},
        linewidths=1.2,
        linecolor="white",
        cbar_kws={"fraction": 0.05, "pad": 0.03, "label": "Test error"},
        xticklabels=[f"{value:.2f}" for value in grid.columns],
        yticklabels=[row_format.format(value) for value in grid.index[::-1]],
    )
    mesh = ax.collections[0]
    for text in [text for text in ax.texts if text not in before]:
        # Dark or white, whichever stands out more; seaborn goes over to white on light orange already.
        text.set_color(s.on(mesh.to_rgba(np.array([float(text.get_text())]))[0]))
    ax.set_xlabel(names[0])
    ax.set_ylabel(names[1])
    ax.tick_params(length=0, labelrotation=0)
    for side in ax.spines.values():
        side.set_visible(True)


def draw_b(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel b: the estimated boundary over the noise rate."""
    line = f.pick(data, "mean", "lambda_c").sort_values("x")
    s.labels(
        ax,
        page.look.title("Boundary shifts left with higher noise", "Boundary over noise rate"),
        "Noise rate η",
        r"Estimated $\lambda_c$",
    )
    if line.empty:
        s.no_data(ax, f"no noise rate crosses error {f.get(data, 'level'):.2f}")
        return
    bottom, top = 0.20, 0.60
    page.soft(ax.fill_between(line["x"], line["y"], top, color=s.RED, alpha=0.14, lw=0, zorder=0))
    page.soft(ax.fill_between(line["x"], bottom, line["y"], color=s.GREEN, alpha=0.14, lw=0, zorder=0))
    label = f"mean error crosses {f.get(data, 'level'):.2f}" if page.look.audited else None
    s.curve(ax, line.assign(sd=0.0), s.BLUE, band=0, size=4.5, width=1.5, label=label)
    ax.set_xlim(0.17, 0.83)
    ax.set_ylim(0.18, 0.62)
    ax.set_xticks(sorted(line["x"]))
    page.note(ax, "H-branch dominant", near=(0.7, 0.58), color=s.RED, fontsize=7.2, fontweight="bold")
    page.note(ax, "L-branch dominant", near=(0.3, 0.23), color=s.GREEN, fontsize=7.2, fontweight="bold")
    if page.look.audited:
        relative = f.pick(data, "mean", "relative").sort_values("x")
        s.curve(
            ax,
            relative.assign(sd=0.0),
            s.PURPLE,
            band=0,
            marker="D",
            size=4,
            style="--",
            label=f"crosses {RELATIVE:g} × its own minimum",
        )
        for _, row in f.pick(data, "above at start").iterrows():
            page.note(
                ax,
                f"η={row['x']:g} also starts above\nthe level ({row['low']:.2f} at λ={row['y']:.2f})",
                corner="lower right",
                color=s.GREY,
            )
        page.legend(ax, corner="center left")
        ax.set_title("Boundary at a fixed and at a relative error")
    elif len(line) > 1 and line["y"].iloc[-1] < line["y"].iloc[0]:
        # Along the line, a little below it.
        first, last = line.iloc[0], line.iloc[-1]
        below = [(first["x"] + 0.08, first["y"] - 0.07), (last["x"] - 0.08, last["y"] - 0.03)]
        ax.annotate("", below[1], below[0], arrowprops={"arrowstyle": "-|>", "color": s.ORANGE, "lw": 1.4})
        page.note(
            ax,
            "higher η →\nearlier collapse",
            near=(0.45, 0.37),
            color=s.ORANGE,
            fontsize=7,
            fontweight="bold",
        )
