"""Figure 4: noise level and gradient geometry.

Source: figure specification, Figure 4 a-d.
"""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dualgrad.figures import frames as f
from dualgrad.figures import gaps
from dualgrad.figures import style as s
from dualgrad.figures.frames import Tables

AUDIT_NOTE = (
    "a noise rates apart, the boundary by two rules; c seeds matched; d selection, rate and traps stated"
)
ARROW = 0.50
LEVEL, RELATIVE = (
    0.30,
    2.0,
)  # audited: the boundary as a fixed error, and as a multiple of each curve's own minimum


# --------------------------------------------------------------------------------------------------- numbers


def panel_a(tables: Tables) -> pd.DataFrame:
    """Error over lambda at two noise rates. Published: the eta=0.4 curve holds exp A's eta=0.8 rows too."""
    a, m2 = tables.runs("A"), tables.runs("M2")
    high = pd.concat([tables.runs("M3b"), tables.runs("M3")])
    coarse = a[a["noise_rate"] < 0.6] if tables.audited else a
    low_mean = f.summary(pd.concat([coarse, m2]), "test_error", "eta=0.4")
    high_mean = f.summary(high, "test_error", "eta=0.8")
    parts = [low_mean, high_mean]
    if tables.audited:
        parts.append(f.summary(a[a["noise_rate"] >= 0.6], "test_error", "A eta=0.8"))
        for mean, series in ((low_mean, "eta=0.4"), (high_mean, "eta=0.8")):
            found = _boundaries(mean, series)
            crossing = float(found[0]["y"].iloc[0]) if found else math.nan
            parts += [*found, f.number(f"lambda_c {series}", LEVEL, x=crossing)]
        return f.panel(*parts)
    # As published: at the low rate the first lambda of the critical stretch of the fine sweep, at the high rate the
    # minimum.
    low_c = f.steepest(f.summary(m2, "test_error", "M2"))[0]
    high_c = float(high_mean.loc[high_mean["y"].astype(float).idxmin(), "x"]) if len(high_mean) else math.nan
    parts.append(f.number("lambda_c eta=0.4", f.at(low_mean, low_c), x=low_c))
    parts.append(f.number("lambda_c eta=0.8", f.at(high_mean, high_c), x=high_c))
    return f.panel(*parts)


def _boundaries(mean: pd.DataFrame, series: str) -> list[pd.DataFrame]:
    """Where a curve crosses a fixed error, and where it crosses a multiple of its own minimum, upwards."""
    x, y = mean["x"].to_numpy(dtype=float), mean["y"].to_numpy(dtype=float)
    if not len(y):
        return []
    return [
        f.number(f"fixed {series}", f.crossing_up(x, y, LEVEL)),
        f.number(f"relative {series}", f.crossing_up(x, y, RELATIVE * float(y.min()))),
    ]


def panel_b(tables: Tables) -> pd.DataFrame:
    """Mean gradient cosine of each run, per lambda, in the two fine sweeps."""
    return f.panel(*(f.summary(tables.runs(name), "avg_cos", name) for name in ("M2", "M3")))


def panel_c(tables: Tables) -> pd.DataFrame:
    """Gradient cosine along the two branches of W1. Audited: only seeds that both branches have."""
    rows = tables.geometry("W1")
    branches = {name: rows[rows["branch"] == name] for name in ("ordered", "collapse")}
    if tables.audited:
        shared = set.intersection(*(set(one["seed"].dropna()) for one in branches.values()))
        branches = {name: one[one["seed"].isin(shared)] for name, one in branches.items()}
    means = {name: f.summary(one, "cos_struct_value_mean", name, x="lam") for name, one in branches.items()}
    apart = f.difference(means["collapse"], means["ordered"])
    where = f.nearest(apart, ARROW)
    return f.panel(
        *means.values(),
        f.number("delta", f.at(apart, where), x=where),
        f.number("delta range", None, low=apart["y"].min(), high=apart["y"].max()),
    )


def panel_d(tables: Tables) -> pd.DataFrame:
    """The two branches of Tb2, its gap, and the gaps at noise rate 0.4 that the note compares with."""
    means = two_branches(tables, "Tb2")
    gap = f.difference(means["collapse"], means["ordered"])
    where = f.nearest(gap, ARROW)
    low, high = gaps.range_text(f.pick(gaps.maxima(tables), "mean", "Two-branch"))
    collapse = means["collapse"]
    return f.panel(
        *means.values(),
        f.number("gap", f.at(gap, where), x=where),
        f.number("gaps at eta=0.4", None, low=low, high=high),
        f.number("collapse", None, low=_edge(collapse, -1), high=_edge(collapse, 1)),
        *([f.number("rate", tables.rate("Tb2", "collapse_sweep"))] if tables.audited else []),
    )


def two_branches(tables: Tables, experiment: str) -> dict[str, pd.DataFrame]:
    """Mean curves of the two sweeps of a two-branch experiment."""
    return {
        name: f.summary(tables.trajectories(experiment, stage=f"{name}_sweep"), "test_error", name, x="lam")
        for name in ("ordered", "collapse")
    }


def _edge(mean: pd.DataFrame, side: int) -> float:
    """Lowest (-1) or highest (+1) point of a curve's band."""
    if mean.empty:
        return math.nan
    band = mean["y"].astype(float) + side * mean["sd"].astype(float)
    return float(band.max() if side > 0 else band.min())


PANELS = {"a": panel_a, "b": panel_b, "c": panel_c, "d": panel_d}


# --------------------------------------------------------------------------------------------------- drawing


def draw(panels: dict[str, pd.DataFrame], look: s.Look) -> Figure:
    """The whole figure from its panel frames."""
    page = s.Page(look, "Figure4", 5.9, AUDIT_NOTE)
    axes = page.panels("abcd", 2)
    draw_a(page, axes["a"], panels["a"])
    draw_b(page, axes["b"], panels["b"])
    draw_c(page, axes["c"], panels["c"])
    draw_d(page, axes["d"], panels["d"])
    return page.finish()


def draw_a(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel a: the boundary at two noise rates."""
    low, high = f.pick(data, "mean", "eta=0.4"), f.pick(data, "mean", "eta=0.8")
    title = page.look.title("Higher noise shifts boundary", "Error at two noise rates") + " (exp A, M2, M3)"
    s.labels(ax, title, "Mixing coefficient λ", "Test error")
    if low.empty and high.empty:
        s.no_data(ax)
        return
    s.curve(ax, low, s.BLUE, label=_low_label(page.look, low))
    s.curve(
        ax,
        high,
        s.RED,
        marker="D",
        size=3.2,
        label=f"η=0.8 (M3; n={s.counts(high)})" if page.look.audited else "η=0.8",
    )
    extra = f.pick(data, "mean", "A eta=0.8")
    if len(extra):
        s.curve(
            ax,
            extra,
            s.RED,
            marker="D",
            size=3.2,
            style=":",
            band=0.06,
            hollow=True,
            label=f"η=0.8, exp A (n={s.counts(extra)})",
        )
    s.limits(ax, page.look, x=(0.08, 0.52), y=(0, 0.95), floor=0, headroom=0.3 if page.look.audited else 0.12)
    low_c, high_c = (f.get(data, f"lambda_c eta={rate}", "x") for rate in ("0.4", "0.8"))
    for rate, colour, where in (("0.4", s.BLUE, low_c), ("0.8", s.RED, high_c)):
        height = f.get(data, f"lambda_c eta={rate}")
        if f.known(where, height):
            page.note(
                ax,
                rf"$\lambda_c^{{{rate}}}$",
                near=(where, height),
                arrow=True,
                color=colour,
                fontsize=8,
                reach=0.5,
            )
    if page.look.audited:
        page.note(ax, _by_two_rules(data), corner="upper center", color=s.DARK, fontsize=6.2)
    elif (
        page.look.exact and f.known(low_c, high_c) and abs(low_c - high_c) > 1e-9
    ):  # as printed: by two rules
        y = ax.get_ylim()[0] + 0.89 * (ax.get_ylim()[1] - ax.get_ylim()[0])
        inset = 0.06 * (low_c - high_c)
        s.arrow(ax, (low_c - inset, y), (high_c + inset, y))
        direction = "left" if high_c < low_c else "right"
        page.note(
            ax, f"boundary shifts {direction}", near=((low_c + high_c) / 2, y), color=s.ORANGE, fontsize=6.6
        )
    page.legend(ax, corner="upper left")


def _by_two_rules(data: pd.DataFrame) -> str:
    """Audited: the boundary at both noise rates by either rule; which way it moves depends on the rule."""
    lines = []
    for name, words in (("fixed", f"error {LEVEL:.2f}"), ("relative", f"{RELATIVE:g} × own minimum")):
        low, high = (f.get(data, f"{name} eta={rate}") for rate in ("0.4", "0.8"))
        if f.known(low, high):
            lines.append(f"{words}: λ = {low:.3f} (η=0.4), {high:.3f} (η=0.8)")
    return "\n".join(["boundary by", *lines]) if lines else ""


def _low_label(look: s.Look, mean: pd.DataFrame) -> str:
    """The blue curve's name; outside the published figure it says what is in the curve."""
    if look.exact:
        return "η=0.4"
    return f"η=0.4 (n={s.counts(mean)})" if look.audited else "η=0.4, with exp A's η=0.8 rows"


def draw_b(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel b: gradient opposition."""
    low, high = f.pick(data, "mean", "M2"), f.pick(data, "mean", "M3")
    s.labels(
        ax,
        page.look.title("Gradient opposition", "Gradient cosine") + r": $c_{\mathrm{sv}}$ vs λ",
        "Mixing coefficient λ",
        r"$c_{\mathrm{sv}}$ (gradient cosine)",
    )
    if low.empty and high.empty:
        s.no_data(ax)
        return
    s.span(page, ax, -0.05, 0.05, horizontal=True)
    ax.axhline(0, color=s.GREY, lw=0.8, ls=":", zorder=1)
    s.curve(ax, low, s.BLUE, label=f"η=0.4 (M2, n={s.counts(low)})")
    s.curve(ax, high, s.RED, marker="D", size=3.2, label=f"η=0.8 (M3, n={s.counts(high)})")
    s.limits(ax, page.look, x=(0.36, 0.52), y=(-0.52, 0.15))
    if not page.look.exact:
        ax.set_ylim(top=max(ax.get_ylim()[1], 0.1))
    page.note(ax, r"$c_{\mathrm{sv}} \approx 0$", near=(0.365, 0.0), color=s.DARK, fontsize=7.2)
    lowest = pd.concat([low, high])
    if lowest["y"].min() < -0.05:
        page.note(ax, "gradients oppose", corner="lower right", color=s.GREY, style="italic", fontsize=6.8)
    page.legend(ax, corner="lower left")


def draw_c(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel c: the same measure on the two branches."""
    low, high = f.pick(data, "mean", "ordered"), f.pick(data, "mean", "collapse")
    s.labels(
        ax, "Gradient geometry by branch (W1)", "Mixing coefficient λ", r"$c_{\mathrm{sv}}$ (gradient cosine)"
    )
    if low.empty and high.empty:
        s.no_data(ax)
        return
    ax.axhline(0, color=s.GREY, lw=0.8, ls=":", zorder=1)
    s.curve(ax, low, s.GREEN, label=f"L (ordered_up, n={s.counts(low)})")
    s.curve(ax, high, s.RED, marker="s", size=3.2, label=f"H (collapse_down, n={s.counts(high)})")
    s.limits(ax, page.look, x=(0.28, 0.72), y=(-0.18, 0.48))
    if not page.look.published_scale:  # bands fill the panel: texts stand above and below them
        bottom, top = ax.get_ylim()
        ax.set_ylim(bottom - 0.14 * (top - bottom), top + 0.3 * (top - bottom))
    where, delta = f.get(data, "delta", "x"), f.get(data, "delta")
    if page.look.audited:
        ax.set_title("Gradient geometry by branch (W1), seeds matched")
    text = f"Δ={delta:.2f}"
    if page.look.audited:
        bounds = f.pick(data, "number", "delta range").iloc[0]
        text += f"\n({bounds['low']:.2f} to {bounds['high']:.2f} over λ)"
    s.gap_arrow(page, ax, where, f.at(low, where), f.at(high, where), text)
    for mean, colour, name in ((high, s.RED, "H"), (low, s.GREEN, "L")):
        if len(mean):
            page.note(
                ax,
                f"{name}: {_alignment(mean)}",
                near=(0.5, _over(mean) if name == "H" else _under(mean)),
                color=colour,
                fontsize=6.6,
            )
    page.legend(ax, corner="upper left")


def _alignment(mean: pd.DataFrame) -> str:
    """What the mean cosine of a branch says in words."""
    value = float(mean["y"].mean())
    if abs(value) < 0.1:
        return "gradients near-orthogonal"
    return "gradients aligned (+)" if value > 0 else "gradients opposed (–)"


def _over(mean: pd.DataFrame) -> float:
    return float((mean["y"] + mean["sd"]).max()) + 0.02


def _under(mean: pd.DataFrame) -> float:
    return float((mean["y"] - mean["sd"]).min()) - 0.02


def draw_d(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel d: the two branches at the high noise rate."""
    low, high = f.pick(data, "mean", "ordered"), f.pick(data, "mean", "collapse")
    s.labels(
        ax,
        page.look.title("Two-branch at η=0.8 (Tb2): absorbing collapse", "Two branches at η=0.8 (Tb2)"),
        "Mixing coefficient λ",
        "Test error",
    )
    if low.empty and high.empty:
        s.no_data(ax)
        return
    s.curve(ax, low, s.GREEN, label=f"Low-error init (n={s.counts(low)})")
    s.curve(ax, high, s.RED, marker="D", size=3.2, label=f"Collapse init (n={s.counts(high)})")
    s.limits(ax, page.look, x=(0.38, 0.82), y=(0.28, 1.02), floor=0)
    if not page.look.exact:
        bottom, top = ax.get_ylim()
        below = 0.0 if page.look.published_scale else 0.3
        ax.set_ylim(bottom - below * (top - bottom), top + 0.14 * (top - bottom))
    where = f.get(data, "gap", "x")
    s.gap_arrow(
        page, ax, where, f.at(low, where), f.at(high, where), page.look.points(s.percent(f.get(data, "gap")))
    )
    state = f.pick(data, "number", "collapse").iloc[0]
    stuck = f.known(state["low"], state["high"]) and state["high"] - state["low"] < 5e-3
    words = (
        f"stuck at {state['high']:.2f}"
        if stuck
        else f"collapse branch: means {high['y'].min():.2f}–{high['y'].max():.2f}"
    )
    if len(high):
        page.note(ax, f"η=0.8: {words}", near=(0.7, float(high["y"].max())), color=s.RED, fontsize=6.6)
    other = f.pick(data, "number", "gaps at eta=0.4").iloc[0]
    lines = (
        ["cf. η=0.4: gap " + page.look.points(s.spread_text(other["low"], other["high"]))]
        if f.known(other["low"])
        else []
    )
    if page.look.audited:
        rate = f.get(data, "rate")
        held = f" at lr {rate:g} throughout" if f.known(rate) else ""
        lines += [f"η=0.8: {s.counts(high)} of {s.counts(high)} stay{held}"] if stuck else []
        lines.append(f"low branch: best {s.counts(low)} of the searches")
    else:
        lines += ["η=0.8: absorbing"] if stuck else []
    if lines:
        page.note(ax, "\n".join(lines), corner="center right", color=s.GREY)
    page.legend(ax, corner="lower right")
