"""Figure 2: hysteresis (loop, two-branch sweeps, gap against hold time, coexistence region).

Source: figure specification, Figure 2 a-d.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from dualgrad.figures import frames as f
from dualgrad.figures import gaps
from dualgrad.figures import style as s
from dualgrad.figures.frames import Tables

AUDIT_NOTE = (
    "a epochs trained at each point shown; b-c seeds matched over hold times; d recorded hold, censored and "
    "floor-bound thresholds marked"
)
# Span of panel a, as printed; the mean gap is positive up to 0.57, but for three λ.
PRINTED_OPEN = (0.22, 0.56)
ARROW_LOOP, ARROW_SWEEP = 0.30, 0.50  # where the printed gaps are read off
PUBLISHED_LONG_HOLD = 10  # printed on panel d; the rows say otherwise, see the audited variant
LAMBDA_MAX = 0.8
CONSECUTIVE = 3  # steps of the R3 ladders that must lie beyond the threshold


# --------------------------------------------------------------------------------------------------- numbers


def panel_a(tables: Tables) -> pd.DataFrame:
    """The fast loop: mean error on the way up and on the way down."""
    means = gaps.loop_means(tables, "R1a")
    gap = gaps.loop_gaps(tables, "R1a")
    where = f.nearest(gap, ARROW_LOOP)
    positive = gap[gap["y"] > 0]
    parts = [
        *means.values(),
        f.number("gap", f.at(gap, where), x=where),
        f.number("open", None, low=positive["x"].min(), high=positive["x"].max()),
        f.number("hold", gaps.hold(tables, "R1a", 1)),
    ]
    if tables.audited:
        rows = tables.trajectories("R1a", stage="loop")
        for way, group in rows.groupby("direction"):
            epochs = group.groupby("lam")["epoch"].mean()
            parts.append(f.rows("epoch", str(way), x=epochs.index.to_numpy(), y=epochs.to_numpy()))
        parts += f.lr_drops(tables, "R1a", rows["epoch"].max())
    return f.panel(*parts)


def panel_b(tables: Tables) -> pd.DataFrame:
    """The two branches at three hold times. Audited: over the seeds that all six sweeps share."""
    parts = []
    for published, (_, high) in gaps.TWO_BRANCH.items():
        held = gaps.hold(tables, high, published)
        for branch, mean in gaps.sweep_means(tables, published).items():
            parts.append(mean.assign(series=f"{branch} {held}"))
        gap = gaps.two_branch_gaps(tables, published)
        where = f.nearest(gap, ARROW_SWEEP)
        parts.append(f.number(f"gap {held}", f.at(gap, where), x=where))
    return f.panel(*parts, *_seeds(tables))


def panel_c(tables: Tables) -> pd.DataFrame:
    """Largest gap against hold time (percentage points)."""
    points = gaps.maxima(tables)
    low, high = gaps.range_text(points)
    return f.panel(points, f.number("range", None, low=low, high=high), *_seeds(tables))


def _seeds(tables: Tables) -> list[pd.DataFrame]:
    if not tables.audited:
        return []
    return [f.number("matched seed", seed) for seed in sorted(gaps.matched_seeds(tables))]


def panel_d(tables: Tables) -> pd.DataFrame:
    """Mean threshold lambda on the way up and down, per noise rate and hold; ``high`` counts censored runs."""
    parts = []
    for name, experiment in (("up", "R3a"), ("down", "R3b")):
        runs = tables.runs(experiment).dropna(subset=["threshold_lambda"])
        for (eta, hold), group in runs.groupby(["noise_rate", "hold_type"]):
            parts.append(
                f.rows(
                    "threshold",
                    name,
                    y=group["threshold_lambda"].mean(),
                    sd=group["threshold_lambda"].std(ddof=0),
                    n=len(group),
                    low=group["threshold_lambda"].min(),
                    high=int((group["censored"] == True).sum()),  # noqa: E712  (missing counts as not censored)
                    label=hold,
                    noise_rate=eta,
                )
            )
            epochs = group["hold_epochs"].dropna()
            if name == "up" and eta < 0.6 and len(epochs):
                parts.append(f.number(f"hold {hold}", float(epochs.iloc[0]), noise_rate=eta))
    ladder = sorted(tables.trajectories("R3a", stage="sweep")["lam"].dropna().unique())
    if len(ladder) >= CONSECUTIVE:
        # The smallest value that the rule can return: that many steps in a row beyond the threshold, from the start.
        parts.append(f.number("floor", ladder[CONSECUTIVE - 1]))
    whole = f.panel(*parts)
    low_rate = whole[(whole["noise_rate"] < 0.6) & (whole["layer"] == "threshold")]
    for hold in ("short", "long"):
        one = low_rate[low_rate["label"] == hold].set_index("series")["y"]
        if {"up", "down"} <= set(one.index):
            parts.append(f.number(f"width {hold}", float(one["up"] - one["down"])))
    return f.panel(*parts)


PANELS = {"a": panel_a, "b": panel_b, "c": panel_c, "d": panel_d}


# --------------------------------------------------------------------------------------------------- drawing


def draw(panels: dict[str, pd.DataFrame], look: s.Look) -> Figure:
    """The whole figure from its panel frames."""
    page = s.Page(look, "Figure2", 5.9, AUDIT_NOTE)
    axes = page.panels("abcd", 2)
    draw_a(page, axes["a"], panels["a"])
    draw_b(page, axes["b"], panels["b"])
    draw_c(page, axes["c"], panels["c"])
    draw_d(page, axes["d"], panels["d"])
    return page.finish()


def draw_a(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel a: the loop."""
    up, down = f.pick(data, "mean", "up"), f.pick(data, "mean", "down")
    s.labels(
        ax,
        page.look.title("Dynamic-sweep hysteresis", "Dynamic sweep")
        + f" (R1a{s.named(', ', f.get(data, 'hold'), '.0f')} ep/λ)",
        "Mixing coefficient λ",
        "Test error",
    )
    if page.look.audited:
        ax.set_title("Dynamic sweep (R1a): epochs differ at equal λ")
    if up.empty or down.empty:
        s.no_data(ax)
        return
    region = f.pick(data, "number", "open").iloc[0]
    s.span(page, ax, *(PRINTED_OPEN if page.look.exact else (region["low"], region["high"])))
    s.curve(ax, up, s.RED, label="Sweep λ up (noise-first)")
    s.curve(ax, down, s.BLUE, marker="s", size=3.0, label="Sweep λ down (signal-first)")
    s.limits(
        ax,
        page.look,
        x=(0.18, 0.66),
        y=(0, 0.75),
        floor=0,
        headroom=0.0 if page.look.published_scale else 0.2,
    )
    where, size = f.get(data, "gap", "x"), f.get(data, "gap")
    s.gap_arrow(page, ax, where, f.at(down, where), f.at(up, where), page.look.points(s.percent(size), "pp"))
    if page.look.audited:
        _epochs(page, ax, data, up, down)
    page.legend(ax, corner="lower right")
    page.note(ax, f"n={s.counts(up)} seeds per point", corner="upper right")


def _epochs(page: s.Page, ax: Axes, data: pd.DataFrame, up: pd.DataFrame, down: pd.DataFrame) -> None:
    """Audited: how long the net has been trained at points of the loop, and where the learning rate falls."""
    for mean, way, colour, places in (
        (up, "up", s.RED, (0.22, 0.40, 0.57)),
        (down, "down", s.BLUE, (0.57, 0.30)),
    ):
        epochs = f.pick(data, "epoch", way)
        for place in places:
            where = f.nearest(epochs, place)
            epoch, height = f.at(epochs, where), f.at(mean, where)
            if f.known(epoch, height):
                page.note(
                    ax,
                    f"epoch {epoch:.0f}",
                    near=(where, height),
                    color=colour,
                    fontsize=6,
                    arrow=True,
                    reach=0.4,
                )
    for drop in f.pick(data, "number", "lr drop")["y"]:
        later = f.pick(data, "epoch", "down")
        later = later[later["y"] > drop]
        if len(later):
            where = float(later["x"].max())
            page.note(
                ax,
                f"lr ×0.1 from\nepoch {later['y'].min():.0f} on",
                near=(where, f.at(down, where)),
                color=s.DARK,
                fontsize=6,
                arrow=True,
                reach=0.4,
            )


def draw_b(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel b: six mean curves, labelled by hold at their ends."""
    means = f.pick(data, "mean")
    s.labels(
        ax,
        page.look.title("Two-branch gap narrows with hold time", "Two branches by hold time"),
        "Mixing coefficient λ",
        "Test error",
    )
    if page.look.audited:
        ax.set_title("Two-branch gap, seeds matched" + _seed_text(data))
    if means.empty:
        s.no_data(ax)
        return
    holds = sorted({int(name.split()[1]) for name in means["series"]})
    looks = dict(zip(holds, ((":", 0.9), ("--", 1.2), ("-", 2.0)), strict=False))
    ends: list[tuple[float, float, str, str]] = []
    for name in dict.fromkeys(means["series"]):
        branch, held = name.split()
        mean = f.pick(data, "mean", name)
        style, width = looks[int(held)]
        s.curve(ax, mean, s.BRANCH_COLOUR[branch], marker=None, style=style, width=width, band=0.07)
        last = mean.sort_values("x").iloc[-1]
        ends.append((last["x"], last["y"], held, s.BRANCH_COLOUR[branch]))
    s.limits(ax, page.look, x=(0.28, 0.75), y=(0.05, 0.72), floor=0)
    bottom, top = ax.get_ylim()
    heights = s.spread([end[1] for end in ends], 0.055 * (top - bottom), bottom + 0.03 * (top - bottom))
    for (x, _, held, colour), y in zip(ends, heights, strict=True):
        ax.text(x + 0.008, y, held, color=colour, fontsize=6.4, va="center", ha="left", zorder=6)
    ax.text(
        max(x for x, _, _, _ in ends) + 0.016,
        1.012,
        "ep/λ",
        transform=ax.get_xaxis_transform(),
        style="italic",
        fontsize=6.2,
        color=s.GREY,
        ha="center",
        va="bottom",
    )
    fastest = holds[0]
    where = f.get(data, f"gap {fastest}", "x")
    low, high = (f.at(f.pick(data, "mean", f"{branch} {fastest}"), where) for branch in "LH")
    s.gap_arrow(page, ax, where, low, high, page.look.points(s.percent(f.get(data, f"gap {fastest}"))))
    if page.look.audited:
        sizes = " / ".join(s.percent(f.get(data, f"gap {held}"), 1) for held in holds)
        page.note(
            ax,
            f"gap at λ={where:.2f} (pp):\n{sizes}\nat {' / '.join(map(str, holds))} ep/λ",
            corner="center left",
        )
    handles = [
        Line2D([], [], color=s.GREEN, lw=1.5, label="L (ordered init)"),
        Line2D([], [], color=s.RED, lw=1.5, label="H (collapse init)"),
    ]
    page.legend(ax, corner="center left", handles=handles)


def _seed_text(data: pd.DataFrame) -> str:
    seeds = [f"{seed:.0f}" for seed in f.pick(data, "number", "matched seed")["y"]]
    return f" ({', '.join(seeds)})" if seeds else ""


def draw_c(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel c: the largest gap against hold time."""
    title = page.look.title("Hysteresis gap decreases with longer training", "Largest gap by hold time")
    s.labels(ax, title, "Hold time (epochs per λ step)", "Max hysteresis gap (pp)")
    if page.look.audited:
        ax.set_title("Max gap over λ, two-branch seeds matched" + _seed_text(data))
    if f.pick(data, "mean").empty:
        s.no_data(ax)
        return
    bounds = f.pick(data, "number", "range").iloc[0]
    s.span(page, ax, bounds["low"], bounds["high"], horizontal=True)
    top = float(f.pick(data, "mean")["y"].max())
    longest = float(f.pick(data, "mean")["x"].max())
    usual = page.look.exact and s.fits([f.pick(data, "mean")["y"]], 0, 60) and longest <= 11.5
    ax.set_xlim(0, 11.5 if usual else 1.15 * longest)
    ax.set_ylim(
        min(0.0, float(f.pick(data, "mean")["y"].min()) - 0.2 * top), 60 if usual else max(1.25 * top, 1.0)
    )
    whole = f.pick(data, "mean")
    for name, colour, marker, usual in (
        ("Dynamic sweep", s.BLUE, "o", True),
        ("Two-branch", s.RED, "D", False),
    ):
        points = f.pick(data, "mean", name).sort_values("x")
        ax.plot(
            points["x"],
            points["y"],
            color=colour,
            marker=marker,
            ms=4.5,
            lw=1.3,
            label=name,
            mec="white",
            mew=0.5,
            zorder=4,
        )
        for _, point in points.iterrows():
            others = whole[(whole["x"] == point["x"]) & (whole["series"] != name)]["y"]
            below = usual if others.empty else bool(point["y"] < others.iloc[0])
            ax.annotate(
                (f"{point['y']:.0f}%" if page.look.exact else f"{point['y']:.1f}").replace("-", "−"),
                (point["x"], point["y"]),
                xytext=(0, -6 if below else 5),
                textcoords="offset points",
                ha="center",
                va="top" if below else "bottom",
                fontsize=6.8,
                color=colour,
                zorder=5,
            )
    page.legend(ax, corner="lower right")
    page.note(
        ax,
        page.look.points(s.spread_text(bounds["low"], bounds["high"])) + " range",
        near=(0.75 * ax.get_xlim()[1], bounds["low"] + 0.1 * (bounds["high"] - bounds["low"])),
        color=s.GREY,
    )


def draw_d(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel d: where only L, both or only H is stable, by hold."""
    thresholds = f.pick(data, "threshold")
    low_rate, high_rate = (
        thresholds[thresholds["noise_rate"] < 0.6],
        thresholds[thresholds["noise_rate"] >= 0.6],
    )
    s.labels(ax, "Coexistence region (η=0.4, R3)", "Mixing coefficient λ", "")
    if page.look.audited:
        ax.set_title("Ladder thresholds, censoring shown (η=0.4, R3)")
    ax.set_xlim(0, LAMBDA_MAX)
    ax.set_ylim(-1.2, 1.75)
    ax.set_yticks([])
    if low_rate.empty:
        s.no_data(ax)
        return
    for position, hold in ((1, "short"), (0, "long")):
        one = low_rate[low_rate["label"] == hold].set_index("series")
        if not {"up", "down"} <= set(one.index):
            ax.text(
                LAMBDA_MAX / 2,
                position,
                f"{hold} hold: no data",
                ha="center",
                va="center",
                fontsize=6.5,
                color=s.GREY,
            )
            continue
        _bar(page, ax, position, one.loc["down"], one.loc["up"])
        epochs = f.get(data, f"hold {hold}")
        if page.look.exact and hold == "long":
            epochs = PUBLISHED_LONG_HOLD
        held = f" ({epochs:.0f} ep)" if f.known(epochs) else ""
        ax.text(
            0.012, position + 0.36, f"{hold.capitalize()} hold{held}", fontsize=6.8, va="bottom", ha="left"
        )
    _note_high_rate(page, ax, high_rate, f.get(data, "floor"))
    handles = [
        Patch(fc=s.GREEN, alpha=0.45, label="L-branch stable"),
        Patch(fc=s.ORANGE, alpha=0.45, label="Coexistence"),
        Patch(fc=s.RED, alpha=0.45, label="H-branch stable"),
    ]
    ax.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.115),
        ncols=3,
        columnspacing=1.2,
        handlelength=1.2,
    )


def _bar(page: s.Page, ax: Axes, position: int, down: pd.Series, up: pd.Series) -> None:
    """One stacked bar with its two thresholds."""
    half = 0.3
    # Where the way up fails before the way down recovers, neither branch is stable in between.
    first, second = min(down["y"], up["y"]), max(down["y"], up["y"])
    between = s.ORANGE if up["y"] >= down["y"] else s.LIGHT_GREY
    for start, end, colour in ((0, first, s.GREEN), (first, second, between), (second, LAMBDA_MAX, s.RED)):
        ax.barh(position, end - start, left=start, height=2 * half, color=colour, alpha=0.45, lw=0, zorder=2)
    for threshold, colour in ((down, s.DARK_GREEN), (up, s.DARK_RED)):
        x, y = [threshold["y"]] * 2, [position - half, position + half]
        ax.plot(x, y, color=colour, lw=2, zorder=4, solid_capstyle="butt")
    ax.errorbar(
        up["y"], position, xerr=up["sd"], color=s.DARK_RED, elinewidth=1, capsize=2.5, zorder=5, fmt="none"
    )
    width = up["y"] - down["y"]
    sign = "≥" if page.look.audited and down["high"] else "="
    inside = width > 0.24  # room for the text between the two thresholds
    ax.text(
        (down["y"] + up["y"]) / 2 if inside else LAMBDA_MAX - 0.01,
        position if inside else position + 0.36,
        f"Δλ {sign} {width:.2f}".replace("-", "−"),
        ha="center" if inside else "right",
        va="center" if inside else "bottom",
        fontsize=8,
        fontweight="bold",
        zorder=6,
    )
    if page.look.audited:
        if down["high"]:
            ax.annotate(
                "",
                (down["y"] - 0.09, position),
                (down["y"], position),
                arrowprops={"arrowstyle": "-|>", "color": s.DARK_GREEN, "lw": 1.2},
                zorder=6,
            )
        ax.text(
            down["y"],
            position - half - 0.04,
            f"{down['high']:.0f}/{down['n']:.0f} censored",
            ha="center",
            va="top",
            fontsize=5.8,
            color=s.DARK_GREEN,
        )
        ax.text(
            up["y"],
            position - half - 0.04,
            f"{up['high']:.0f}/{up['n']:.0f} censored",
            ha="center",
            va="top",
            fontsize=5.8,
            color=s.DARK_RED,
        )


def _note_high_rate(page: s.Page, ax: Axes, thresholds: pd.DataFrame, floor: float) -> None:
    """The grey line about the other noise rate."""
    up = thresholds[thresholds["series"] == "up"].set_index("label")["y"]
    if up.empty:
        return
    rate = thresholds["noise_rate"].iloc[0]
    same = up.max() - up.min() < 5e-4
    values = (
        f"{up.iloc[0]:.2f}, hold-independent"
        if same
        else ", ".join(f"{value:.2f} ({hold})" for hold, value in up.items())
    )
    text = f"η={rate:g}: up-spinodal = {values}"
    spread = thresholds[thresholds["series"] == "up"]["sd"].max()
    if page.look.audited and same and spread < 1e-9 and abs(up.iloc[0] - floor) < 1e-6:
        text = f"η={rate:g}: {up.iloc[0]:.2f} in all runs: the first λ at which the rule can fire"
    ax.text(LAMBDA_MAX / 2, -0.62, text, ha="center", va="center", fontsize=6.4, color=s.GREY)
