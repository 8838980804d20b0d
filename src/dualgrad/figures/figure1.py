"""Figure 1: overview (mixing scheme, error and variance over lambda, errors near the boundary, slowing down).

Source: figure specification, Figure 1 a-d.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

from dualgrad.estimators.dip import dip
from dualgrad.figures import frames as f
from dualgrad.figures import style as s
from dualgrad.figures.frames import Tables

AUDIT_NOTE = (
    "a-b exp A split by noise rate; c one row per noise rate and λ, with the dip test; d axis from 0, "
    "lr drop and runs that never converge shown"
)
BINS = np.linspace(0.05, 0.80, 40)  # 39 equal bins
VARIANCE_SCALE = 1e4
PRINTED_SPAN = (0.455, 0.50)  # panel d, as printed; no rule on the convergence epochs gives it
# Delay against the fastest λ: under 5 % no slowing, above 20 % strong slowing.
SLOW, SLOWER = 0.05, 0.20


# --------------------------------------------------------------------------------------------------- numbers


def panel_b(tables: Tables) -> pd.DataFrame:
    """Error over lambda (A, M2) and the variance of M2. Published: A pools noise rates 0.4 and 0.8."""
    a, m2 = tables.runs("A"), tables.runs("M2")
    fine = f.summary(m2, "test_error", "M2")
    if tables.audited:
        curves = [f.summary(group, "test_error", f"A eta={eta:g}") for eta, group in a.groupby("noise_rate")]
    else:
        curves = [f.summary(a, "test_error", "A")]
    low, high = f.steepest(fine)
    centre = (low + high) / 2
    return f.panel(
        *curves,
        fine,
        f.variance(m2, "test_error", "M2", scale=VARIANCE_SCALE),
        f.number("critical region", None, low=low, high=high),
        f.number("lambda_c", centre),
    )


def panel_c(tables: Tables) -> pd.DataFrame:
    """Final errors of S2 per lambda. Published: noise rates in one row; audited: one row for each."""
    runs = tables.runs("S2").dropna(subset=["test_error"])
    runs["group"] = runs["lam"].map("{:.2f}".format)
    if tables.audited:
        runs["group"] += runs["noise_rate"].map(" eta={:g}".format)
    parts = [f.number("threshold", f.LH_THRESHOLD)]
    bins = f.bins_for(runs["test_error"], BINS)
    keys = ["noise_rate", "lam", "group"] if tables.audited else ["lam", "group"]
    for key, group in runs.groupby(keys, sort=True):
        name = key[-1]
        lam = group["lam"].iloc[0]
        counts, edges = np.histogram(group["test_error"], bins=bins)
        parts += [
            f.rows("profile", name, x=(edges[:-1] + edges[1:]) / 2, y=counts),
            f.single_runs(group, "test_error", "lam", name),
            f.split(
                group["test_error"],
                name,
                x=lam,
                noise_rate=group["noise_rate"].iloc[0] if tables.audited else None,
            ),
        ]
        if tables.audited:
            parts.append(f.number(f"dip p {name}", dip_p(group["test_error"].to_numpy())))
    return f.panel(*parts)


def dip_p(values: np.ndarray) -> float:
    """p value of Hartigan's dip test for more than one mode; nan with too few runs."""
    return dip(values)[1] if len(values) >= 4 else float("nan")


def panel_d(tables: Tables) -> pd.DataFrame:
    """First epoch with error below 0.20 (K): runs that have one. Audited adds the runs that never do."""
    runs = tables.runs("K")
    if tables.audited:
        per_rate = []
        for eta, group in runs.groupby("noise_rate"):
            reached = group.dropna(subset=["convergence_epoch"])
            per_rate += [
                f.summary(reached, "convergence_epoch", f"eta={eta:g}"),
                f.single_runs(reached, "lam", "convergence_epoch", f"eta={eta:g}"),
                *_never(group, f"eta={eta:g}", eta),
            ]
        last = _last(tables)
        return f.panel(*per_rate, *f.lr_drops(tables, "K", last), f.number("last epoch", last))
    # The published bars hold noise rate 0.4 alone, because no other run qualifies; other editions' bars do so too.
    done = runs[runs["noise_rate"] < 0.6].dropna(subset=["convergence_epoch"])
    mean = f.summary(done, "convergence_epoch", "K", layer="bar")
    # A span over the lambdas that converge late.
    slow = mean[mean["y"] > (1 + SLOW) * mean["y"].min()] if len(mean) else mean
    step = float(np.diff(mean["x"]).min()) if len(mean) > 1 else 0.02
    region = (slow["x"].min() - 0.3 * step, slow["x"].max() + 1.2 * step) if len(slow) else (np.nan, np.nan)
    return f.panel(mean, f.number("critical region", None, low=region[0], high=region[1]))


def _never(group: pd.DataFrame, series: str, eta: float) -> list[pd.DataFrame]:
    """Per lambda: how many runs there are and how many never converge (``high``)."""
    return [
        f.rows(
            "censored",
            series,
            x=lam,
            n=len(cell),
            high=int(cell["convergence_epoch"].isna().sum()),
            noise_rate=eta,
        )
        for lam, cell in group.groupby("lam")
    ]


def _last(tables: Tables) -> float:
    return float(tables.trajectories("K")["epoch"].max())


PANELS = {"b": panel_b, "c": panel_c, "d": panel_d}


# --------------------------------------------------------------------------------------------------- drawing


def draw(panels: dict[str, pd.DataFrame], look: s.Look) -> Figure:
    """The whole figure from its panel frames."""
    page = s.Page(look, "Figure1", 5.95, AUDIT_NOTE)
    # Room for what stands beside the rows of panel c.
    axes = page.panels("abcd", 2, wspace=0.98, right=0.5, insets={"c": 0.52})
    schematic(axes["a"])
    (draw_b_audited if look.audited else draw_b)(page, axes["b"], panels["b"])
    draw_c(page, axes["c"], panels["c"])
    (draw_d_audited if look.audited else draw_d)(page, axes["d"], panels["d"])
    return page.finish()


def schematic(ax: Axes) -> None:
    """Panel a: how the two gradients are mixed and where training ends. No data."""
    ax.set_xlim(0, 10)
    ax.set_ylim(0, 8)
    ax.set_xticks([])
    ax.set_yticks([])

    def box(x: float, y: float, wide: float, tall: float, colour: str, text: str) -> None:
        ax.add_patch(
            FancyBboxPatch(
                (x, y),
                wide,
                tall,
                boxstyle="round,pad=0,rounding_size=0.25",
                fc=colour,
                ec=colour,
                alpha=0.14,
                lw=0,
                zorder=2,
            )
        )
        ax.add_patch(
            FancyBboxPatch(
                (x, y),
                wide,
                tall,
                boxstyle="round,pad=0,rounding_size=0.25",
                fc="none",
                ec=colour,
                lw=1.1,
                zorder=3,
            )
        )
        ax.text(
            x + wide / 2, y + tall / 2, text, ha="center", va="center", fontsize=8.2, color=colour, zorder=4
        )

    def arrow(start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
        ax.add_patch(
            FancyArrowPatch(
                start,
                end,
                arrowstyle="-|>",
                mutation_scale=9,
                lw=1.2,
                color=colour,
                shrinkA=0,
                shrinkB=0,
                zorder=3,
            )
        )

    box(0.45, 5.55, 2.4, 1.25, s.RED, r"$g_{\mathrm{struct}}$")
    ax.text(1.65, 5.18, "Noisy labels", ha="center", va="center", fontsize=6.4, color=s.GREY)
    box(0.45, 3.35, 2.4, 1.25, s.BLUE, r"$g_{\mathrm{value}}$")
    ax.text(1.65, 2.98, "Trusted signal", ha="center", va="center", fontsize=6.4, color=s.GREY)
    ax.add_patch(Circle((4.75, 5.08), 0.62, fc="white", ec=s.DARK, lw=1.1, zorder=3))
    ax.text(4.75, 5.06, "λ", ha="center", va="center", fontsize=10.5, zorder=4)
    arrow((2.95, 6.15), (4.18, 5.42), s.GREY)
    arrow((2.95, 3.98), (4.18, 4.74), s.GREY)
    box(6.95, 5.75, 2.6, 1.2, s.GREEN, "L-branch")
    box(6.95, 3.25, 2.6, 1.2, s.RED, "H-branch")
    arrow((5.42, 5.36), (6.85, 6.2), s.GREEN)
    arrow((5.42, 4.8), (6.85, 3.98), s.RED)
    ax.text(8.25, 5.4, "low error", ha="center", va="center", fontsize=6.4, color=s.GREY)
    ax.text(8.25, 2.9, "high error", ha="center", va="center", fontsize=6.4, color=s.GREY)
    ax.text(
        5.0,
        1.62,
        r"$g_{\mathrm{mix}} = (1-\lambda)\,\hat{g}_{\mathrm{s}} + \lambda\,\hat{g}_{\mathrm{v}}$",
        ha="center",
        va="center",
        fontsize=9,
        bbox={"boxstyle": "round,pad=0.35", "fc": "white", "ec": s.DARK, "lw": 0.8},
    )
    ax.text(
        5.0,
        0.55,
        "a larger λ means more trusted signal",
        ha="center",
        va="center",
        fontsize=6.6,
        style="italic",
        color=s.GREY,
    )
    ax.set_title("Dual-gradient mixing")


def draw_b(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel b as published."""
    s.labels(ax, "", "Mixing coefficient λ", "Test error")
    coarse, fine, bars = f.pick(data, "mean", "A"), f.pick(data, "mean", "M2"), f.pick(data, "variance", "M2")
    if coarse.empty and fine.empty:
        s.no_data(ax)
        return
    # Six rows per λ are three seeds at each of two noise rates; the published label does not say so.
    counted = (
        f"exp_A ({s.counts(coarse)} seeds/λ)"
        if page.look.exact
        else f"exp_A, both η ({s.counts(coarse)} runs/λ)"
    )
    s.curve(ax, coarse, s.BLUE, label=counted)
    s.curve(ax, fine, s.ORANGE, marker="D", size=3.0, label=f"M2 fine ({s.counts(fine)} seeds/λ)", zorder=4)
    s.limits(ax, page.look, x=(0.08, 0.52), y=(-0.02, 0.65), floor=-0.02)
    if page.look.exact:
        ax.set_yticks(np.arange(0, 0.61, 0.1))
    region = f.pick(data, "number", "critical region").iloc[0]
    twin = s.variance_axis(page, ax, bars, 0.013, 85, (region["low"], region["high"]))
    if page.look.exact:
        twin.set_yticks(np.arange(0, 81, 10))
    critical(page, ax, f.get(data, "lambda_c"), fine)
    page.legend(ax, corner="upper left")


def critical(page: s.Page, ax: Axes, position: float, mean: pd.DataFrame, text: str = r"$\lambda_c$") -> None:
    """The red arrow to where the error takes off."""
    if f.known(position) and len(mean):
        height = float(np.interp(position, mean["x"], mean["y"] + mean["sd"]))
        page.note(ax, text, near=(position, height), arrow=True, color=s.RED, fontsize=8.5, reach=0.6)


def draw_b_audited(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel b with one curve per noise rate."""
    s.labels(ax, "Noise rates apart (exp A, M2)", "Mixing coefficient λ", "Test error")
    fine, bars = f.pick(data, "mean", "M2"), f.pick(data, "variance", "M2")
    for name in sorted(set(f.pick(data, "mean")["series"]) - {"M2"}):
        mean = f.pick(data, "mean", name)
        rate = name.removeprefix("A eta=")
        colour, marker = (s.RED, "D") if rate == "0.8" else (s.BLUE, "o")
        s.curve(ax, mean, colour, marker=marker, label=f"exp A, η={rate} ({s.counts(mean)} seeds/λ)")
    s.curve(ax, fine, s.ORANGE, marker="D", size=3.0, label=f"M2, η=0.4 ({s.counts(fine)} seeds/λ)", zorder=4)
    s.limits(ax, page.look, x=(0.08, 0.52), y=(-0.02, 0.9), floor=-0.02)
    region = f.pick(data, "number", "critical region").iloc[0]
    s.variance_axis(page, ax, bars, 0.013, 85, (region["low"], region["high"]))
    if len(bars):
        at_edge = bars["y"].to_numpy().argmax() == len(bars) - 1
        peak = float(bars["x"].iloc[int(bars["y"].to_numpy().argmax())])
        text = f"M2 variance is largest at λ={peak:.2f}" + (
            ",\nthe last λ tried: no resolved peak" if at_edge else ""
        )
        page.note(ax, text, corner="upper center", color=s.PURPLE)
    page.legend(ax, corner="upper left")


def draw_c(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel c: one mirrored histogram per row, every run as a dot."""
    splits = f.pick(data, "split").reset_index(drop=True)
    total = int(splits["n"].sum()) if len(splits) else 0
    title = page.look.title("Bimodality near phase boundary", "Final errors near the boundary")
    s.labels(ax, f"{title} (S2, n={total})", "Test error (final)", "")
    if splits.empty:
        s.no_data(ax)
        return
    dots = f.pick(data, "run")
    ax.set_xlim(*((0.03, 0.82) if page.look.exact else _wide(dots["x"])))
    shades = _row_colours(splits, page.look.audited)
    s.threshold(ax, f.get(data, "threshold"), vertical=True, colour=s.DARK)
    order = splits["series"].tolist()
    if page.look.audited:
        s.violins(ax, dots, order, shades, width=0.72)
    for i, row in splits.iterrows():
        mine = f.pick(data, "run", row["series"])
        if not page.look.audited:
            _mirrored(ax, f.pick(data, "profile", row["series"]), i, shades[i])
        ax.scatter(
            mine["x"], i + s.jitter(len(mine), 0.1), s=3.2, color=shades[i], alpha=0.75, lw=0, zorder=4
        )
        text = split_text(row)
        if page.look.audited:
            p = f.get(data, f"dip p {row['series']}")
            text += f"\ndip p={p:.2f}" if f.known(p) else ""
        name = f"λ={row['x']:.2f}" + (f", η={row['noise_rate']:g}" if page.look.audited else "")
        _beside(ax, i, name, text, shades[i])
        _off_the_axis(ax, i, mine["x"])
    ax.set_yticks([])
    ax.set_ylabel("")
    ax.set_xlabel("Test error (final)")
    ax.set_ylim(-0.6, len(splits) - 0.2)
    ax.annotate(
        ("threshold " if page.look.audited else "L/H threshold ") + f"{f.get(data, 'threshold'):.2f}",
        (f.get(data, "threshold"), 1),
        xycoords=("data", "axes fraction"),
        xytext=(2.5, -2.5),
        textcoords="offset points",
        ha="left",
        va="top",
        fontsize=6.2,
        color=s.GREY,
    )


def _mirrored(ax: Axes, profile: pd.DataFrame, row: int, colour: str) -> None:
    """A row's histogram, joined at the bins' centres, mirrored, and closed at both ends."""
    half = 0.36 * profile["y"].to_numpy() / max(float(profile["y"].max()), 1.0)
    x = profile["x"].to_numpy()
    filled = np.flatnonzero(half)
    if not len(filled):  # no outline where the row has no run in the bins
        return
    width = float(x[1] - x[0])
    inside = slice(filled[0], filled[-1] + 1)
    x = np.concatenate([[x[filled[0]] - width], x[inside], [x[filled[-1]] + width]])
    half = np.concatenate([[0.0], half[inside], [0.0]])
    ax.fill_between(x, row - half, row + half, color=colour, alpha=0.28, lw=0, zorder=2)
    for side in (-1, 1):
        ax.plot(x, row + side * half, color=colour, lw=0.8, zorder=3)


def _beside(ax: Axes, row: int, name: str, text: str, colour: str) -> None:
    """A row's condition, and below it how many runs it has: left of the axes, where no data are."""
    lines = text.count("\n") + 1
    middle = 3.8 * lines - 3.0
    for words, side, size, shade, weight in (
        (name, "bottom", 6.8, colour, "bold"),
        (text, "top", 6.0, s.DARK, "normal"),
    ):
        ax.annotate(
            words,
            (0, row),
            xycoords=("axes fraction", "data"),
            xytext=(-4, middle),
            textcoords="offset points",
            ha="right",
            va=side,
            fontsize=size,
            color=shade,
            fontweight=weight,
            linespacing=1.15,
        )


def _off_the_axis(ax: Axes, row: int, values: pd.Series) -> None:
    """How many runs of a row lie beyond the axis, and where."""
    over = values[values > ax.get_xlim()[1]]
    if len(over):
        low, high = over.min(), over.max()
        where = f"{high:.2f}" if high - low < 0.005 else f"{low:.2f}–{high:.2f}"
        ax.annotate(
            f"{len(over)} at {where} →",
            (1, row),
            xycoords=("axes fraction", "data"),
            xytext=(-3, -5),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=5.8,
            color=s.GREY,
        )


def split_text(row: pd.Series) -> str:
    """'n=84 (47L/37H)', 'n=34 (all L)'."""
    n, low, high = int(row["n"]), int(row["low"]), int(row["high"])
    inside = "all L" if high == 0 else "all H" if low == 0 else f"{low}L/{high}H"
    return f"n={n} ({inside})"


def _wide(values: pd.Series) -> tuple[float, float]:
    return (0.0, max(float(values.max()) + 0.05, 0.45))  # room for the threshold's name


def _row_colours(splits: pd.DataFrame, audited: bool) -> list[str]:
    if audited:
        return [s.RED if row["noise_rate"] > 0.6 else s.BLUE for _, row in splits.iterrows()]
    cycle = [s.DARK_GREEN, s.LIGHT_GREEN, s.ORANGE, s.RED, s.PURPLE]
    return [cycle[min(i, len(cycle) - 1)] for i in range(len(splits))]


def draw_d(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel d as published: bars from zero on a cut axis."""
    bars = f.pick(data, "bar", "K")
    s.labels(
        ax,
        page.look.title("Critical slowing down (exp_K, ", "Epochs to converge (exp_K, η=0.4, ")
        + f"{s.counts(bars)} seeds/λ)",
        "Mixing coefficient λ",
        "Convergence epoch",
    )
    if bars.empty:
        s.no_data(ax, "no run reached the convergence error")
        return
    region = f.pick(data, "number", "critical region").iloc[0]
    s.span(page, ax, *(PRINTED_SPAN if page.look.exact else (region["low"], region["high"])))
    fastest = bars["y"].min()
    shades = [
        s.GREEN if y <= (1 + SLOW) * fastest else s.ORANGE if y <= (1 + SLOWER) * fastest else s.RED
        for y in bars["y"]
    ]
    ax.bar(bars["x"], bars["y"], width=_bar_width(bars["x"]), color=shades, alpha=0.85, lw=0, zorder=2)
    ax.errorbar(
        bars["x"],
        bars["y"],
        yerr=bars["sd"],
        fmt="none",
        ecolor="black",
        elinewidth=0.9,
        capsize=2.5,
        zorder=4,
    )
    top = float((bars["y"] + bars["sd"]).max())
    if (
        page.look.exact
        and s.fits([bars["x"]], 0.27, 0.51)
        and s.fits([bars["y"], bars["y"] + bars["sd"]], 42, 84)
    ):
        ax.set_xlim(0.27, 0.51)
        ax.set_ylim(42, 84)
    else:
        ax.set_xlim(bars["x"].min() - 0.03, bars["x"].max() + 0.04)
        ax.set_ylim(max(0.0, 2 * fastest - top), 1.22 * top)
    bottom, high = ax.get_ylim()
    line = 9.0 / (ax.get_window_extent().height * 72 / ax.figure.dpi) * (high - bottom)  # 9 pt in data units
    last: tuple[float, float] | None = None
    for i, (_, bar) in enumerate(bars.iterrows()):
        text = f"{bar['y']:.0f}" + (f"±{bar['sd']:.0f}" if bar["sd"] >= 0.5 else "")
        height = bar["y"] + bar["sd"] + 0.3 * line
        following = bars.iloc[i + 1] if i + 1 < len(bars) else None
        # A taller neighbour on the right would be written over; a neighbouring label of equal height too.
        crowded = following is not None and following["x"] - bar["x"] < 0.03 and following["y"] > height
        if last is not None and bar["x"] - last[0] < 0.035 and abs(height - last[1]) < line and len(text) > 2:
            height = last[1] + line
        last = (bar["x"], height)
        aside = crowded and len(text) > 2
        ax.annotate(
            text,
            (bar["x"], height),
            xytext=(5 if aside else 0, 0),
            textcoords="offset points",
            ha="right" if aside else "center",
            va="bottom",
            fontsize=6.4,
            zorder=5,
        )


def _bar_width(x: pd.Series) -> float:
    """The published width, or less where the lambdas are closer."""
    steps = np.diff(np.sort(x.to_numpy(dtype=float)))
    return min(0.022, 0.92 * float(steps.min())) if len(steps) else 0.022


def draw_d_audited(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel d with every run, an axis from zero, the learning-rate drop, and the runs that never converge."""
    s.labels(ax, "First epoch with error below 0.20 (exp K)", "Mixing coefficient λ", "Convergence epoch")
    last = f.get(data, "last epoch")
    if data.empty or not f.known(last):
        s.no_data(ax)
        return
    ax.set_xlim(0.27, 0.58)
    ax.set_ylim(0, 1.36 * last)
    ax.axhspan(last, 1.36 * last, color="#F1F1F1", lw=0, zorder=0)
    s.lr_marks(page, ax, f.pick(data, "number", "lr drop")["y"], horizontal=True)
    never = []
    for series, colour, marker, shift, level in (
        ("eta=0.4", s.BLUE, "^", -0.003, 1.05),
        ("eta=0.8", s.RED, "v", 0.003, 1.12),
    ):
        mean, dots, cells = (
            f.pick(data, "mean", series),
            f.pick(data, "run", series),
            f.pick(data, "censored", series),
        )
        if cells.empty:
            continue
        rate = series.replace("noise_rate", "η")
        ax.scatter(
            dots["x"] + shift + s.jitter(len(dots), 0.003),
            dots["y"],
            s=9,
            color=colour,
            alpha=0.6,
            lw=0,
            zorder=3,
        )
        if len(mean):
            ax.plot(
                mean["x"] + shift,
                mean["y"],
                color=colour,
                lw=1,
                marker="_",
                ms=9,
                zorder=2,
                label=f"{_eta(rate)}: runs and mean",
            )
        censored = cells[cells["high"] > 0]
        ax.plot(
            censored["x"] + shift,
            [level * last] * len(censored),
            ls="none",
            marker=marker,
            color=colour,
            ms=4,
            zorder=3,
        )
        sign = {"^": "▲", "v": "▼"}[marker]
        never.append(f"{sign} {cells['high'].sum():.0f}/{cells['n'].sum():.0f} at {_eta(rate)}")
    ax.text(
        0.425,
        1.29 * last,
        f"never within {last:.0f} epochs: {', '.join(never)}",
        ha="center",
        va="center",
        fontsize=5.4,
        color=s.GREY,
    )
    ax.set_yticks(
        [tick for tick in ax.get_yticks() if 0 <= tick <= last]
    )  # above it runs are counted, not placed
    page.legend(ax, corner="lower left")


def _eta(words: str) -> str:
    """A noise rate as the data's rows name it, for reading."""
    return words.replace("eta", "η")
