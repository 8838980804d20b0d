"""Figure 5: text classification (landscape, boundary, loop, time against path, dose, alignment over time).

Source: figure specification, Figure 5 a-f.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dualgrad.figures import frames as f
from dualgrad.figures import gaps
from dualgrad.figures import style as s
from dualgrad.figures.figure1 import VARIANCE_SCALE
from dualgrad.figures.frames import Tables

AUDIT_NOTE = (
    "a training lengths named; c signed gaps at each λ; d path compared at equal total epochs, axis from 0; "
    "e the dose by seed, net of the epochs that it takes, k named epochs"
)
LANDSCAPE = {"X1": ("DistilBERT", 0.4), "X1d": ("DistilBERT", 0.8), "X1c": ("TextCNN", 0.4)}
LANDSCAPE_LOOK = {"X1": (s.BLUE, "o"), "X1d": (s.RED, "D"), "X1c": (s.TEAL, "s")}
TEXT_LOOPS = {"fast": "X3_fast", "slow": "X3_slow"}
ARROW = 0.20
BAR_COLOURS = {"Y1B": s.GREEN, "Y1A": s.RED, "Y2k3": s.ORANGE, "Y2k10": s.PURPLE}
# Epochs of the damage phase, which name the two arms.
DAMAGE = {"Y2k3": 3, "Y2k10": 10}


# --------------------------------------------------------------------------------------------------- numbers


def panel_a(tables: Tables) -> pd.DataFrame:
    """Final error over lambda: X1, X1d (not X1b) and X1c, with their training lengths."""
    parts = []
    for name in LANDSCAPE:
        runs = tables.runs(name)
        parts.append(f.summary(runs, "test_error", name))
        epochs = runs["epochs"].dropna()
        parts.append(f.number(f"epochs {name}", float(epochs.iloc[0]) if len(epochs) else math.nan))
        parts.append(f.rows("words", f"network {name}", label=tables.network(name)))
    return f.panel(*parts)


def panel_b(tables: Tables) -> pd.DataFrame:
    """Boundary map of X2: error, variance, critical stretch, variance peak."""
    runs = tables.runs("X2")
    mean, spread = (
        f.summary(runs, "test_error", "X2"),
        f.variance(runs, "test_error", "X2", scale=VARIANCE_SCALE),
    )
    low, high = f.steepest(mean)
    where, peak = f.largest(spread)
    return f.panel(
        mean,
        spread,
        f.number("critical region", None, low=low, high=high),
        f.number("variance peak", peak, x=where),
    )


def panel_c(tables: Tables) -> pd.DataFrame:
    """The text loop, fast and slow, its largest gaps (absolute, as published), and the range of the vision gaps."""
    parts = []
    for speed, experiment in TEXT_LOOPS.items():
        for way, mean in gaps.loop_means(tables, experiment).items():
            parts.append(mean.assign(series=f"{speed} {way}"))
        apart = gaps.loop_gaps(tables, experiment)
        where, size = f.largest(apart, absolute=True)
        parts.append(f.number(f"max gap {speed}", abs(size), x=where))
        parts.append(f.rows("gap", speed, x=apart["x"], y=apart["y"]))
        rises = apart[apart["y"] > 0]
        parts.append(f.number(f"largest positive gap {speed}", f.largest(rises)[1], x=f.largest(rises)[0]))
        if speed == "fast":
            start = f.nearest(apart, ARROW)
            parts.append(f.number("gap", f.at(apart, start), x=start))
    low, high = gaps.range_text(gaps.maxima(tables))
    return f.panel(*parts, f.number("vision gaps", None, low=low, high=high))


def panel_d(tables: Tables) -> pd.DataFrame:
    """Final errors of the four arms (%). Audited: Y1A at the epochs of the arms beside them."""
    final = {name: tables.runs(name)["test_error"].dropna() for name in BAR_COLOURS}
    length = {name: tables.runs(name)["epochs"].max() for name in BAR_COLOURS}
    order = ["Y1B", "Y1A", "Y2k3", "Y2k10"]
    parts = [_bar(name, final[name], length[name]) for name in order]
    mean = {name: 100 * values.mean() if len(values) else math.nan for name, values in final.items()}
    parts += [
        f.number("time", mean["Y1A"] - mean["Y1B"]),
        f.number("path", mean["Y2k3"] - mean["Y1B"]),
    ]
    runs = tables.runs("Y1B", "Y1A", *DAMAGE)
    for name, column in (("lambda", tables.runs("Y1B", "Y1A")["lam"]), ("noise rate", runs["noise_rate"])):
        values = column.dropna()
        parts.append(f.number(name, float(values.iloc[0]) if len(values) else math.nan))
    if tables.audited:
        rows = tables.trajectories("Y1A")
        for arm in DAMAGE:
            same = (
                rows[np.isclose(rows["epoch"], length[arm])]["test_error"].dropna()
                if f.known(length[arm])
                else rows.iloc[:0]["test_error"]
            )
            parts.append(_bar(f"Y1A at {arm}", same, length[arm]))
            parts.append(
                f.number(f"matched path {arm}", mean[arm] - (100 * same.mean() if len(same) else math.nan))
            )
    return f.panel(*parts)


def _bar(name: str, errors: pd.Series, epochs: float) -> pd.DataFrame | None:
    if errors.empty:
        return None
    return f.rows(
        "bar", name, x=float(epochs), y=100 * errors.mean(), sd=100 * errors.std(ddof=0), n=len(errors)
    )


def panel_e(tables: Tables) -> pd.DataFrame:
    """Final errors of the two damage lengths (%), their difference and its p value."""
    parts, arms = [], {}
    for place, name in enumerate(DAMAGE):
        runs = tables.runs(name).dropna(subset=["test_error"])
        errors = 100 * runs["test_error"]
        arms[name] = pd.Series(errors.to_numpy(), index=runs["seed"].to_numpy())
        if len(runs):
            parts += [
                f.rows("mean", name, x=place, y=errors.mean(), sd=errors.std(ddof=0), n=len(errors)),
                f.single_runs(runs.assign(place=place, percent=errors), "place", "percent", name),
            ]
            damage = _damage_epochs(tables, name)
            parts.append(f.number(f"damage epochs {name}", damage))
    short, long = arms.values()
    parts.append(f.number("delta", long.mean() - short.mean() if len(short) and len(long) else math.nan))
    parts.append(f.number("p", student_p(short.to_numpy(), long.to_numpy())))
    if tables.audited:
        both = short.index.intersection(long.index)
        parts.append(f.number("p paired", paired_p((long[both] - short[both]).to_numpy()), n=len(both)))
        parts += _net_of_time(tables, short, long)
    return f.panel(*parts)


def _net_of_time(tables: Tables, short: pd.Series, long: pd.Series) -> list[pd.DataFrame]:
    """The dose by seed, what the same epochs at constant λ do (Y1A at the arms' lengths), and the rest (pp).

    The long arm trains for longer, so the plain difference of the arms is dose and time together.
    """
    rows = tables.trajectories("Y1A")
    lengths = [tables.runs(name)["epochs"].max() for name in DAMAGE]
    at = [
        rows[np.isclose(rows["epoch"], length)].set_index("seed")["test_error"].dropna() * 100
        for length in lengths
        if f.known(length)
    ]
    if len(at) < 2:
        return []
    seeds = short.index.intersection(long.index).intersection(at[0].index).intersection(at[1].index)
    dose, time = long[seeds] - short[seeds], at[1][seeds] - at[0][seeds]
    parts = []
    for place, (name, values) in enumerate((("dose", dose), ("time", time), ("net", dose - time))):
        if len(values) < 2:
            continue
        low, high = t_interval(values.to_numpy())
        p = paired_p(values.to_numpy())
        parts += [
            f.rows("difference", name, x=place, y=values.to_numpy(), seed=values.index.to_numpy()),
            f.number(f"effect {name}", float(values.mean()), x=place, n=len(values), low=low, high=high),
            f.number(f"p {name}", p),
        ]
    return [
        *parts,
        *(f.number(f"length {name}", length) for name, length in zip(DAMAGE, lengths, strict=True)),
    ]


def t_interval(values: np.ndarray) -> tuple[float, float]:
    """Student's 95 % interval of a mean."""
    from scipy.special import stdtrit

    half = float(stdtrit(len(values) - 1, 0.975)) * values.std(ddof=1) / math.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def _damage_epochs(tables: Tables, name: str) -> float:
    """Epochs of the damage phase as evaluated."""
    rows = tables.trajectories(name, stage="phase2_damage")
    return float(rows["stage_epoch"].max()) if len(rows) else math.nan


def student_p(first: np.ndarray, second: np.ndarray) -> float:
    """Two-sided p of the unpaired t-test with equal variances (as published)."""
    n, m = len(first), len(second)
    if n + m < 3 or min(n, m) < 1:
        return math.nan
    pooled = (((first - first.mean()) ** 2).sum() + ((second - second.mean()) ** 2).sum()) / (n + m - 2)
    return (
        _t_to_p((first.mean() - second.mean()) / math.sqrt(pooled * (1 / n + 1 / m)), n + m - 2)
        if pooled > 0
        else math.nan
    )


def paired_p(differences: np.ndarray) -> float:
    """Two-sided p of the paired t-test."""
    n = len(differences)
    if n < 2 or differences.std() == 0:
        return math.nan
    return _t_to_p(differences.mean() / (differences.std(ddof=1) / math.sqrt(n)), n - 1)


def _t_to_p(t: float, freedom: int) -> float:
    # scipy.stats takes half a second to import; the distribution function alone does not.
    from scipy.special import stdtr

    return float(2 * stdtr(freedom, -abs(t)))


def panel_f(tables: Tables) -> pd.DataFrame:
    """Gradient cosine of the head over the epochs of Y1A, and where Y1B stops."""
    mean = f.summary(tables.epochs("Y1A"), "cos_mean", "Y1A", x="epoch")
    short = f.summary(tables.epochs("Y1B"), "cos_mean", "Y1B", x="epoch")
    lam = tables.runs("Y1A")["lam"].dropna()
    eta = tables.runs("Y1A")["noise_rate"].dropna()
    stop = short.iloc[-1] if len(short) else None
    return f.panel(
        mean,
        f.number(
            "stop", stop["y"] if stop is not None else math.nan, x=stop["x"] if stop is not None else math.nan
        ),
        f.number("first", mean["y"].iloc[0] if len(mean) else math.nan),
        f.number("last", mean["y"].iloc[-1] if len(mean) else math.nan),
        f.number("lambda", float(lam.iloc[0]) if len(lam) else math.nan),
        f.number("noise rate", float(eta.iloc[0]) if len(eta) else math.nan),
    )


PANELS = {"a": panel_a, "b": panel_b, "c": panel_c, "d": panel_d, "e": panel_e, "f": panel_f}


# --------------------------------------------------------------------------------------------------- drawing


def draw(panels: dict[str, pd.DataFrame], look: s.Look) -> Figure:
    """The whole figure from its panel frames."""
    page = s.Page(look, "Figure5", 8.5, AUDIT_NOTE)
    axes = page.panels("abcdef", 2, wspace=1.0, right=0.5)
    draw_a(page, axes["a"], panels["a"])
    draw_b(page, axes["b"], panels["b"])
    draw_c(page, axes["c"], panels["c"])
    (draw_d_audited if look.audited else draw_d)(page, axes["d"], panels["d"])
    (draw_e_audited if look.audited else draw_e)(page, axes["e"], panels["e"])
    draw_f(page, axes["f"], panels["f"])
    return page.finish()


def data_name(look: s.Look) -> str:
    """What the text runs are trained on."""
    return "SST-2" if look.published_scale else look.text or "text"


def draw_a(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel a: the landscape."""
    s.labels(ax, f"NLP error landscape ({data_name(page.look)})", "Mixing coefficient λ", "Test error")
    if f.pick(data, "mean").empty:
        s.no_data(ax)
        return
    for name, (model, rate) in LANDSCAPE.items():
        mean = f.pick(data, "mean", name)
        colour, marker = LANDSCAPE_LOOK[name]
        epochs = f.get(data, f"epochs {name}")
        length = f", {epochs:.0f} ep" if page.look.audited and f.known(epochs) else ""
        if not page.look.published_scale:
            model = (f.words(data, f"network {name}") or model) + ","
        n = "" if page.look.exact else f" (n={s.counts(mean)})"
        s.curve(ax, mean, colour, marker=marker, label=f"{model} η={rate}{length}{n}")
    s.limits(ax, page.look, x=(0.05, 0.65), y=(0.05, 1.02), floor=0)
    if not page.look.exact:
        room = 0.15 if page.look.published_scale else 0.3
        ax.set_ylim(top=ax.get_ylim()[1] + room * (ax.get_ylim()[1] - ax.get_ylim()[0]))
    high, low = f.pick(data, "mean", "X1d"), f.pick(data, "mean", "X1")
    if len(high) > 2:
        middle = high.iloc[len(high) // 2]
        page.note(
            ax,
            f"η=0.8: {_trend(high)}",
            near=(middle["x"] + 0.05, middle["y"] + 0.1),
            color=s.RED,
            fontsize=6.6,
            reach=0.7,
        )
    if len(low) > 2:
        page.note(ax, f"η=0.4: {_trend(low)}", near=(0.45, low["y"].iloc[-1]), color=s.BLUE, fontsize=6.6)
    page.legend(ax, corner="upper right")


def _trend(mean: pd.DataFrame) -> str:
    """Steep, monotonic or flat, in words."""
    values = mean["y"].to_numpy(dtype=float)
    steps = np.diff(values)
    if values.max() - values.min() > 0.25:
        return "steep transition"
    if (steps < 0).all():
        return "monotonic (↓)"
    return "monotonic (↑)" if (steps > 0).all() else "no steep transition"


def draw_b(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel b: the boundary with the variance behind it."""
    mean, bars = f.pick(data, "mean", "X2"), f.pick(data, "variance", "X2")
    s.labels(ax, "Boundary mapping (η=0.8, X2)", "Mixing coefficient λ", "Test error")
    if mean.empty:
        s.no_data(ax)
        return
    s.curve(ax, mean, s.RED, marker="D", size=3.2, label=f"X2 (n={s.counts(mean)})")
    s.limits(ax, page.look, x=(0.24, 0.46), y=(0.25, 0.92), floor=0)
    region = f.pick(data, "number", "critical region").iloc[0]
    where, peak = f.get(data, "variance peak", "x"), f.get(data, "variance peak")
    twin = s.variance_axis(page, ax, bars, 0.015, 35, (region["low"], region["high"]))
    ax.set_xticks(np.arange(0.26, 0.451, 0.04))
    bottom, top = ax.get_ylim()
    page.note(
        ax,
        r"$\lambda_c$ region",
        near=((region["low"] + region["high"]) / 2, bottom + 0.97 * (top - bottom)),
        color=s.GREY,
        fontsize=7.2,
    )
    # The peak's height on the left axis, because texts are placed in its coordinates.
    height = np.interp(peak, twin.get_ylim(), ax.get_ylim())
    page.note(ax, f"peak: {peak:.1f}", near=(where, float(height)), arrow=True, color=s.PURPLE, fontsize=6.8)
    page.legend(ax, corner="lower left")


def draw_c(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel c: the loop at two speeds."""
    s.labels(ax, "Hysteresis in NLP (X3, fast vs slow)", "Mixing coefficient λ", "Test error")
    if f.pick(data, "mean").empty:
        s.no_data(ax)
        return
    looks = {
        "fast up": (s.RED, "-", "o"),
        "fast down": (s.BLUE, "-", "s"),
        "slow up": (s.RED, "--", "D"),
        "slow down": (s.BLUE, "--", "D"),
    }
    for name, (colour, style, marker) in looks.items():
        mean = f.pick(data, "mean", name)
        s.curve(
            ax,
            mean,
            colour,
            style=style,
            marker=marker,
            size=3.0,
            band=0.09,
            label=name.capitalize() + ("" if page.look.exact else f" (n={s.counts(mean)})"),
        )
    s.limits(ax, page.look, x=(0.15, 0.70), y=(0.56, 0.98), floor=0)
    if not page.look.exact:
        room = 0.7 if page.look.audited and not page.look.published_scale else 0.3
        ax.set_ylim(top=ax.get_ylim()[1] + room * (ax.get_ylim()[1] - ax.get_ylim()[0]))
    where, size = f.get(data, "gap", "x"), f.get(data, "gap")
    if f.known(where, size):
        low, high = (f.at(f.pick(data, "mean", f"fast {way}"), where) for way in ("down", "up"))
        s.double_arrow(ax, (where, low), (where, high))
        page.note(
            ax,
            page.look.points(s.percent(size), "pp"),
            near=(where, (low + high) / 2),
            color=s.ORANGE,
            fontsize=7.2,
            fontweight="bold",
            box=True,
        )
    if page.look.audited:
        text = "\n".join(filter(None, (_signed(data, speed) for speed in TEXT_LOOPS)))
    else:
        fast, slow = (
            page.look.points(s.percent(f.get(data, f"max gap {speed}")), "pp") for speed in ("fast", "slow")
        )
        text = f"Fast: {fast} max gap\nSlow: {slow}\n" + _vision(page.look, data)
    page.note(ax, text.strip(), corner="upper center", color=s.GREY)
    page.legend(ax, corner="upper right")


def _vision(look: s.Look, data: pd.DataFrame) -> str:
    bounds = f.pick(data, "number", "vision gaps").iloc[0]
    text = "cf. Vision: " + look.points(s.spread_text(bounds["low"], bounds["high"]), "pp")
    return text if f.known(bounds["low"]) else ""


def _signed(data: pd.DataFrame, speed: str) -> str:
    """Audited: the gaps of one loop with their signs; the first step apart."""
    gap = f.pick(data, "gap", speed).sort_values("x")
    if len(gap) < 3:
        return ""
    sizes = 100 * gap["y"].to_numpy(dtype=float)
    if speed == "fast":
        rest = np.abs(sizes[2:]).max()
        steps = f"{sizes[0]:+.1f} pp (first step),\n{sizes[1]:+.1f} (second),\nthen |gap| ≤ {rest:.1f}"
        return f"up – down, fast:\n{steps}"
    return f"slow: {sizes.min():+.1f} to {sizes.max():+.1f} pp".replace("-", "−")


def _caps(ax: Axes, x: float, y: float, sd: float) -> None:
    ax.errorbar(x, y, yerr=sd, fmt="none", ecolor=s.DARK, elinewidth=0.9, capsize=2.5, zorder=4)


def draw_d(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel d as published: final errors of four arms on a cut axis."""
    s.labels(ax, f"Time vs path decomposition (Y, {data_name(page.look)})", "", "Test error (%)")
    bars = f.pick(data, "bar").set_index("series")
    if bars.empty:
        s.no_data(ax)
        return
    names = [name for name in ("Y1B", "Y1A", "Y2k3", "Y2k10") if name in bars.index]
    details = {
        name: f"k={DAMAGE[name]}" if name in DAMAGE else f"{bars.loc[name, 'x']:.0f} ep" for name in names
    }
    for place, name in enumerate(names):
        bar = bars.loc[name]
        ax.bar(place, bar["y"], width=0.6, color=BAR_COLOURS[name], alpha=0.8, lw=0, zorder=2)
        _caps(ax, place, bar["y"], bar["sd"])
        ax.annotate(
            f"{bar['y']:.1f}%",
            (place, bar["y"] + bar["sd"]),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=6.8,
            zorder=5,
        )
    ax.set_xticks(range(len(names)), [f"{name}\n({details[name]})" for name in names])
    top = float((bars["y"] + bars["sd"]).max())
    usual = page.look.exact and s.fits([bars["y"]], 15, 54)
    bottom, high = (15.0, 72.0) if usual else (0.0, 1.7 * top)
    ax.set_ylim(bottom, high)
    ax.set_xlim(-0.6, len(names) - 0.4)
    for other, level, name, text, width in (
        ("Y1A", 61.5, "time", "time", 1.6),
        ("Y2k3", 56.0, "path", "path", 0.9),
    ):
        if "Y1B" in names and other in names and f.known(f.get(data, name)):
            y = level if usual else (1.36 if name == "time" else 1.2) * top
            start, end = names.index("Y1B"), names.index(other)
            s.double_arrow(ax, (start, y), (end, y), s.DARK, width)
            ax.annotate(
                f"{_gained(page.look, f.get(data, name))} ({text})",
                ((start + end) / 2 if name == "time" else end - 0.42, y),
                xytext=(0, 4.5),
                textcoords="offset points",
                ha="center",
                fontsize=6.8,
                fontweight="bold" if name == "time" else "normal",
                zorder=6,
            )
    _condition(page, ax, data, bars)


def _condition(
    page: s.Page, ax: Axes, data: pd.DataFrame, bars: pd.DataFrame, corner: str = "upper right"
) -> None:
    """The grey line with n, lambda and noise rate."""
    text = f"n={s.counts(bars)} per condition"
    text += s.named(", λ=", f.get(data, "lambda")) + s.named(", η=", f.get(data, "noise rate"), "g")
    page.note(ax, text, corner=corner, color=s.GREY, fontsize=6.2)


def draw_d_audited(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel d with the constant-lambda run at the same total epochs beside each path arm, from zero."""
    s.labels(ax, f"Path effect at equal epochs (Y, {data_name(page.look)})", "", "Test error (%)")
    bars = f.pick(data, "bar").set_index("series")
    if bars.empty:
        s.no_data(ax)
        return
    order = ["Y1B", "Y1A at Y2k3", "Y2k3", "Y1A at Y2k10", "Y2k10", "Y1A"]
    places = dict(zip(order, (0, 1.2, 1.95, 3.15, 3.9, 5.1), strict=True))
    top = float((bars["y"] + bars["sd"]).max())
    for name in order:
        if name not in bars.index:
            continue
        bar = bars.loc[name]
        arm = name.split(" at ")[0]
        ax.bar(places[name], bar["y"], width=0.62, color=BAR_COLOURS[arm], alpha=0.8, lw=0, zorder=2)
        _caps(ax, places[name], bar["y"], bar["sd"])
        ax.annotate(
            f"{bar['y']:.1f}",
            (places[name], bar["y"] + bar["sd"]),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=6.6,
            zorder=5,
        )
    present = [name for name in order if name in bars.index]
    ax.set_xticks(
        [places[name] for name in present],
        [f"{name.split(' at ')[0]}\n{bars.loc[name, 'x']:.0f} ep" for name in present],
    )
    ax.set_ylim(0, 1.7 * top)
    ax.set_xlim(-0.55, 5.65)
    for arm in DAMAGE:
        effect = f.get(data, f"matched path {arm}")
        if f.known(effect):
            y = 1.17 * top
            start, end = places[f"Y1A at {arm}"], places[arm]
            ax.plot([start, start, end, end], [y - 0.03 * top, y, y, y - 0.03 * top], color=s.DARK, lw=0.9)
            ax.annotate(
                f"{_gained(page.look, effect)} (path)",
                ((start + end) / 2, y),
                xytext=(0, 2.5),
                textcoords="offset points",
                ha="center",
                fontsize=6.8,
            )
    if f.known(f.get(data, "time")):
        y = 1.32 * top
        s.double_arrow(ax, (places["Y1B"], y), (places["Y1A"], y), s.DARK, 1.6)
        ax.annotate(
            f"{_gained(page.look, f.get(data, 'time'))} (time)",
            ((places["Y1B"] + places["Y1A"]) / 2, y),
            xytext=(0, 2.5),
            textcoords="offset points",
            ha="center",
            fontsize=6.8,
            fontweight="bold",
        )
    _condition(page, ax, data, bars)


def draw_e(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel e as published: the two arms, one dot per run."""
    s.labels(ax, "Dose dependence (Y2)", "", "Final error (%)")
    means = f.pick(data, "mean")
    if means.empty:
        s.no_data(ax)
        return
    dots = f.pick(data, "run")
    names = [name for name in DAMAGE if name in set(means["series"])]
    for place, name in enumerate(DAMAGE):
        if name not in names:
            continue
        mine, mean = f.pick(data, "run", name), f.pick(data, "mean", name).iloc[0]
        ax.scatter(
            place + s.jitter(len(mine), 0.12),
            mine["y"],
            s=11,
            color=BAR_COLOURS[name],
            alpha=0.6,
            lw=0,
            zorder=2,
        )
        _mean_mark(ax, place, mean["y"], mean["sd"], BAR_COLOURS[name])
    unit = "steps" if page.look.exact else "epochs"
    ax.set_xticks([0, 1], [f"k={DAMAGE[name]} {unit}\n({name})" for name in DAMAGE])
    ax.set_xlim(-0.6, 1.6)
    low, high = float(dots["y"].min()), float(dots["y"].max())
    room = max(high - low, 1.0)
    usual = page.look.exact and s.fits([dots["y"]], 36, 53)
    ax.set_ylim(*((36, 57) if usual else (low - 0.25 * room, high + 0.55 * room)))
    level = 53.0 if usual else high + 0.28 * room
    tick = 0.02 * (ax.get_ylim()[1] - ax.get_ylim()[0])
    if len(names) == 2:
        ax.plot([0, 0, 1, 1], [level - tick, level, level, level - tick], color=s.DARK, lw=0.9)
        for text, offset, side, weight in (
            (f"p = {_p(f.get(data, 'p'))}", 2.5, "bottom", "normal"),
            (f"Δ = {_gained(page.look, f.get(data, 'delta'))}", -3, "top", "bold"),
        ):
            ax.annotate(
                text,
                (0.5, level),
                xytext=(0, offset),
                textcoords="offset points",
                ha="center",
                va=side,
                fontsize=6.8,
                fontweight=weight,
            )
    page.note(
        ax,
        f"n={s.counts(means)} per condition",
        corner="lower right" if page.look.exact else "lower center",
        color=s.GREY,
        fontsize=6.2,
    )


def _mean_mark(ax: Axes, place: float, mean: float, spread: float, colour: str) -> None:
    """A diamond with its bar."""
    ax.errorbar(
        place,
        mean,
        yerr=spread,
        color=s.DARK,
        fmt="D",
        ms=5,
        mfc=colour,
        mec=s.DARK,
        mew=0.8,
        elinewidth=1,
        capsize=3,
        zorder=4,
    )


EFFECTS = {"dose": s.PURPLE, "time": s.RED, "net": s.BLUE}


def draw_e_audited(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel e by seed: the difference of the arms, that of equal times at constant λ, and what is left."""
    dots = f.pick(data, "difference")
    names = [name for name in EFFECTS if name in set(dots["series"])]
    if not names:  # no runs at constant λ to compare with: the arms alone
        draw_e(page, ax, data)
        return
    s.labels(ax, "Dose net of elapsed time (Y2, Y1A)", "", "Difference by seed (pp)")
    s.threshold(ax, 0.0)
    s.violins(ax, dots, list(EFFECTS), list(EFFECTS.values()), width=0.62, value="y", horizontal=False)
    low, high = float(dots["y"].min()), float(dots["y"].max())
    room = max(high - low, 1.0)
    for name in names:
        place, mine = list(EFFECTS).index(name), f.pick(data, "difference", name)
        effect = f.pick(data, "number", f"effect {name}").iloc[0]
        ax.scatter(
            place + s.jitter(len(mine), 0.1), mine["y"], s=7, color=EFFECTS[name], alpha=0.6, lw=0, zorder=3
        )
        _mean_mark(ax, place, effect["y"], effect["high"] - effect["y"], EFFECTS[name])
        p = f.get(data, f"p {name}")
        text = f"{effect['y']:+.1f}\n[{effect['low']:.1f}, {effect['high']:.1f}]".replace("-", "−")
        ax.annotate(
            text + (f"\np = {_p(p)}" if f.known(p) and name == "net" else ""),
            (place, high + 0.05 * room),
            ha="center",
            va="bottom",
            fontsize=6.4,
            fontweight="bold" if name == "net" else "normal",
            linespacing=1.2,
        )
    short, long = (f.get(data, f"length {name}") for name in DAMAGE)
    words = {
        "dose": f"k={DAMAGE['Y2k10']} − k={DAMAGE['Y2k3']}\nepochs (Y2)",
        "time": f"epoch {long:.0f} − {short:.0f}\nat constant λ (Y1A)",
        "net": "dose net\nof time",
    }
    ax.set_xticks(range(len(EFFECTS)), [words[name] for name in EFFECTS])
    ax.set_xlim(-0.6, len(EFFECTS) - 0.4)
    ax.set_xlabel("")
    ax.set_ylabel("Difference by seed (pp)")
    ax.set_ylim(low - 0.2 * room, high + 0.4 * room)
    page.note(
        ax,
        f"n={s.counts(f.pick(data, 'number'))} seeds, mean and 95 % t interval",
        corner="lower left",
        color=s.GREY,
        fontsize=6.2,
    )


def _gained(look: s.Look, value: float) -> str:
    """Percentage points with their sign."""
    return look.points(f"{value:+.1f}".replace("-", "−"), "pp")


def _p(value: float) -> str:
    """A p value: 5.3e-05, 0.24."""
    return f"{value:.1e}" if value < 1e-3 else f"{value:#.2g}"


def draw_f(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel f: alignment of the two gradients over training."""
    mean = f.pick(data, "mean", "Y1A")
    s.labels(
        ax,
        page.look.title("Gradient corrosion", "Gradient alignment")
        + f" over time (Y1A{s.named(', λ=', f.get(data, 'lambda'))})",
        "Epoch",
        r"$c_{\mathrm{sv}}$ (gradient alignment)",
    )
    if mean.empty:
        s.no_data(ax)
        return
    ax.axhline(0, color=s.GREY, lw=0.8, ls=":", zorder=1)
    s.curve(ax, mean, s.RED, marker=None, width=1.6, band=0.22)
    last = float(mean["x"].max())
    ax.set_xlim(*((0, 59) if page.look.exact else (0, 1.04 * last)))
    s.limits(ax, page.look, y=(-0.95, 0.45), headroom=0.0 if page.look.published_scale else 0.3)
    stop, height = f.get(data, "stop", "x"), f.get(data, "stop")
    if f.known(stop, height):
        ax.plot(stop, height, marker="s", color=s.GREEN, ms=5.5, mec="white", mew=0.6, ls="none", zorder=6)
        page.note(
            ax, f"Y1B stop ({stop:.0f} ep)", near=(stop + 0.02 * last, height), color=s.GREEN, fontsize=6.8
        )
    page.note(ax, "alignment = 0", near=(0.8 * last, 0.0), color=s.GREY, fontsize=6.2)
    page.note(
        ax,
        rf"$c_{{\mathrm{{sv}}}}$: {f.get(data, 'first'):+.2f} → {f.get(data, 'last'):+.2f}".replace("-", "−"),
        corner="center right",
        box=True,
        color=s.RED,
        fontsize=7.2,
    )
    page.note(
        ax,
        f"n={s.counts(mean)} seeds{s.named(', η=', f.get(data, 'noise rate'), 'g')}",
        corner="lower right",
        color=s.GREY,
        fontsize=6.2,
    )
