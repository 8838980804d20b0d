"""Figure 3: metastability and traps (survival, bifurcation, escape attempts, causal jumps).

Source: figure specification, Figure 3 a-d.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dualgrad.figures import frames as f
from dualgrad.figures import style as s
from dualgrad.figures.frames import Tables

AUDIT_NOTE = (
    "a-b lr drops marked; a runs before the switch and from scratch; b final errors as a histogram; c traps counted, "
    "not attempts; d one gap per seed"
)
LOW = 0.20  # "ordered" by the release's own rule
FOREST_LAMBDA, FOREST_RATE = 0.50, 0.4  # the condition of panel b
# Top to bottom, with the colours of panel c.
INTERVENTIONS = {
    "baseline": ("Baseline (continue)", s.GREY),
    "lambda_zero": ("λ=0 (struct only)", s.BLUE),
    "lambda_low": ("λ=0.2 (low value)", s.LIGHT_BLUE),
    "lr_boost": ("LR ×10", s.ORANGE),
    "lr_boost_high": ("LR ×100", s.RED),
    "combined": ("λ=0 + LR ×10", s.PURPLE),
}
SEED_COLOURS = (s.BLUE, s.ORANGE, s.PURPLE)
SEED_MARKS = "oD^sv"  # beside the colours


# --------------------------------------------------------------------------------------------------- numbers


def panel_a(tables: Tables) -> pd.DataFrame:
    """Errors after the switch to the target lambda, of the runs whose initial phase passed its gate."""
    runs = tables.runs("T1a")
    passed = runs[runs["init_success"] == True]  # noqa: E712  (missing counts as failed)
    rows = observed(tables.trajectories("T1a"))
    kept = rows[rows["run"].isin(passed["run"])]
    # A run that diverged before the others' end was not seen to survive.
    alive = passed[passed["censored"].eq(True) & passed["lifetime"].eq(passed["lifetime"].max())]
    target = kept["lam"].dropna()
    parts = [
        f.single_runs(kept, "stage_epoch", "test_error", "survivor"),
        f.summary(kept, "test_error", "mean", x="stage_epoch"),
        f.number("survivors", len(alive)),
        f.number("started", len(passed)),
        f.number("runs", len(runs)),
        f.number("lambda", float(target.iloc[-1]) if len(target) else math.nan),
    ]
    if tables.audited:
        failed = runs[~runs["run"].isin(passed["run"])]
        before = tables.trajectories("T1a", stage="init")
        whole = pd.concat(
            [before.assign(stage_epoch=before["stage_epoch"] - before["stage_epoch"].max()), rows]
        )
        parts = [
            *parts,
            f.summary(whole[whole["run"].isin(passed["run"])], "test_error", "whole", x="stage_epoch"),
            *f.lr_drops(tables, "T1a", before["epoch"].max() + rows["stage_epoch"].max()),
            f.number("switch epoch", before["epoch"].max()),
            *_from_scratch(tables, float(target.iloc[-1]) if len(target) else math.nan),
            *[
                f.number("excluded", row["init_error"], run=row["run"], seed=row["seed"])
                for _, row in failed.iterrows()
            ],
        ]
    return f.panel(*parts)


def _from_scratch(tables: Tables, lam: float) -> list[pd.DataFrame]:
    """Runs of S1 that train at the target λ from the start, and how many of them end low as well."""
    runs = tables.runs("S1", noise_rate=FOREST_RATE)
    errors = runs[np.isclose(runs["lam"], lam)]["test_error"].dropna()
    return [f.number("from scratch", len(errors)), f.number("from scratch low", int((errors <= LOW).sum()))]


def observed(rows: pd.DataFrame) -> pd.DataFrame:
    """Evaluations after the switch, with the last one before it as epoch 0 where the edition records none there."""
    after = rows[rows["stage"] == "observe"].copy()
    lacking = set(rows["run"]) - set(after.loc[after["stage_epoch"] == 0, "run"])
    before = rows[(rows["stage"] == "init") & rows["run"].isin(lacking & set(after["run"]))]
    start = before.groupby("run", sort=False).tail(1).assign(stage_epoch=0.0)
    joined = pd.concat([start, after]).sort_values(["run", "stage_epoch"], kind="stable")
    joined["lam"] = joined["run"].map(after.groupby("run")["lam"].last())
    return joined


def panel_b(tables: Tables) -> pd.DataFrame:
    """All trajectories of S2 at one lambda, split by the final error."""
    runs = tables.runs("S2", noise_rate=FOREST_RATE)
    runs = runs[np.isclose(runs["lam"], FOREST_LAMBDA)].dropna(subset=["test_error"])
    rows = tables.trajectories("S2")
    rows = rows[rows["run"].isin(runs["run"])]
    group = dict(zip(runs["run"], f.by_threshold(runs["test_error"]), strict=True))
    return f.panel(
        f.single_runs(rows, "epoch", "test_error", lambda frame: frame["run"].map(group)),
        f.single_runs(
            runs.assign(last=rows["epoch"].max()),
            "last",
            "test_error",
            lambda frame: frame["run"].map(group),
            layer="final",
        ),
        f.split(runs["test_error"], "S2", x=FOREST_LAMBDA, noise_rate=FOREST_RATE),
        f.number("threshold", f.LH_THRESHOLD),
        *(f.lr_drops(tables, "S2", rows["epoch"].max()) if tables.audited else []),
    )


def panel_c(tables: Tables) -> pd.DataFrame:
    """Final errors of the escape attempts, per intervention."""
    runs = tables.runs("Td2")
    runs = runs[runs["intervention"].isin(INTERVENTIONS)].dropna(subset=["test_error"])
    parts = []
    for name in INTERVENTIONS:
        group = runs[runs["intervention"] == name]
        if len(group):
            errors = group["test_error"]
            parts += [
                f.rows("bar", name, x=errors.mean(), sd=errors.std(ddof=0), n=len(errors)),
                f.single_runs(group.assign(place=0.0), "test_error", "place", name),
            ]
    escaped = runs["escaped"] == True  # noqa: E712
    if tables.audited:
        # Attempts on one trap are no independent trials: the same state is continued in different ways.
        left = escaped.groupby(runs["seed"]).any()
        low, high = share_interval(int(left.sum()), len(left))
        parts.append(f.number("traps left", int(left.sum()), n=len(left), low=low, high=high))
    return f.panel(*parts, f.number("escaped", int(escaped.sum())), f.number("attempts", len(runs)))


def share_interval(hits: int, n: int) -> tuple[float, float]:
    """Exact (Clopper-Pearson) 95 % interval of a share; nan without trials."""
    if not n:
        return math.nan, math.nan
    from scipy.special import betaincinv

    low = float(betaincinv(hits, n - hits + 1, 0.025)) if hits else 0.0
    high = float(betaincinv(hits + 1, n - hits, 0.975)) if hits < n else 1.0
    return low, high


def panel_d(tables: Tables) -> pd.DataFrame:
    """Errors after the jump of both branches to the same lambda, and the final gaps."""
    runs = tables.runs("W2").dropna(subset=["final_gap"])
    runs = runs[runs["intervention"] != "base"]  # the states before the jump
    parts = []
    for branch in ("ordered", "collapse"):
        rows = tables.trajectories("W2", stage=f"{branch}_jump")
        rows = rows[rows["run"].isin(runs["run"])]
        parts.append(
            f.single_runs(
                rows,
                "stage_epoch",
                "test_error",
                branch,
                label=rows.dropna(subset=["test_error"])["lam"].map("{:g}".format).tolist(),
            )
        )
    gaps = runs["final_gap"]
    if tables.audited:
        per_seed = runs.groupby("seed")["final_gap"].mean()
        parts += [
            f.rows(
                "gap",
                "seed",
                x=per_seed.index.to_numpy(),
                y=100 * per_seed.to_numpy(),
                seed=per_seed.index.to_numpy(),
            ),
            f.number("gap per seed", 100 * per_seed.mean(), sd=100 * per_seed.std(ddof=0), n=len(per_seed)),
        ]
    whole = f.panel(
        *parts,
        f.number(
            "gap",
            100 * gaps.mean() if len(gaps) else math.nan,
            sd=100 * gaps.std(ddof=0) if len(gaps) else math.nan,
            n=len(gaps),
        ),
        f.number("largest gap", 100 * gaps.max() if len(gaps) else math.nan),
    )
    low, high = f.pick(whole, "run", "ordered")["y"], f.pick(whole, "run", "collapse")["y"]
    # The pale bands that hold the two branches.
    return f.panel(
        whole,
        f.number("L band", None, low=0.0, high=low.max() + 0.046),
        f.number("H band", None, low=high.min() - 0.063, high=high.max() + 0.08),
    )


PANELS = {"a": panel_a, "b": panel_b, "c": panel_c, "d": panel_d}


# --------------------------------------------------------------------------------------------------- drawing


def draw(panels: dict[str, pd.DataFrame], look: s.Look) -> Figure:
    """The whole figure from its panel frames."""
    page = s.Page(look, "Figure3", 5.9, AUDIT_NOTE)
    axes = page.panels("abcd", 2, insets={"c": 0.47})  # room for the names of the attempts
    (draw_a_audited if look.audited else draw_a)(page, axes["a"], panels["a"])
    draw_b(page, axes["b"], panels["b"])
    draw_c(page, axes["c"], panels["c"])
    draw_d(page, axes["d"], panels["d"])
    return page.finish()


def lines(
    ax: Axes, rows: pd.DataFrame, colour: str, *, width: float = 0.4, alpha: float = 0.3, zorder: float = 2
) -> None:
    """One thin line per run."""
    paths = [
        group.sort_values("x")[["x", "y"]].to_numpy(dtype=float)
        for _, group in rows.groupby("run", sort=False)
    ]
    if paths:
        ax.add_collection(LineCollection(paths, colors=colour, linewidths=width, alpha=alpha, zorder=zorder))
        ax.autoscale_view()


def draw_a(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel a as published."""
    target = f.get(data, "lambda")
    s.labels(
        ax, f"L-branch stability (T1a{s.named(', λ=', target)})", "Epoch (observation phase)", "Test error"
    )
    mean = f.pick(data, "mean", "mean")
    if mean.empty:
        s.no_data(ax, "no run passed the gate of its initial phase")
        return
    horizon = float(mean["x"].max()) or 1.0  # an axis for runs that ended where they began
    s.span(page, ax, 0, 0.1 * horizon)
    lines(ax, f.pick(data, "run"), s.GREEN, alpha=0.35)
    s.curve(
        ax,
        mean,
        s.DARK_GREEN,
        marker=None,
        width=2.0,
        band=0.25,
        label=f"Mean ± SD (n={f.get(data, 'started'):.0f})",
        zorder=5,
    )
    ax.set_xlim(0, horizon)
    s.limits(ax, page.look, y=(0.06, 0.38), floor=0, headroom=0.3)
    page.legend(ax, corner="upper right")
    page.note(ax, _survival(data), corner="upper right", color=s.GREEN, fontsize=7.2, fontweight="bold")
    page.note(
        ax, "convergence", near=(0.07 * horizon, ax.get_ylim()[1]), color=s.GREY, rotation=90, fontsize=6
    )


def _survival(data: pd.DataFrame) -> str:
    alive, started, runs = (f.get(data, name) for name in ("survivors", "started", "runs"))
    excluded = runs - started
    dagger = "†" if excluded else ""
    text = f"{alive:.0f}/{started:.0f}{dagger} survive{s.named(', λ=', f.get(data, 'lambda'))}"
    return text + (
        f"\n† {excluded:.0f} run{'s' if excluded > 1 else ''} failed the initial gate" if excluded else ""
    )


def draw_a_audited(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel a with the phase before the switch, the lr drops and the excluded run."""
    target = f.get(data, "lambda")
    s.labels(
        ax,
        f"Survival after the switch{s.named(' to λ=', target)} (T1a)",
        "Epoch after the switch",
        "Test error",
    )
    whole, mean = f.pick(data, "mean", "whole"), f.pick(data, "mean", "mean")
    if mean.empty:
        s.no_data(ax, "no run passed the gate of its initial phase")
        return
    lines(ax, f.pick(data, "run"), s.GREEN, alpha=0.35)
    before = whole[whole["x"] <= 0]
    s.curve(ax, before, s.GREY, marker="o", size=2.5, band=0.2, label="before the switch")
    s.curve(
        ax,
        mean,
        s.DARK_GREEN,
        marker=None,
        width=1.8,
        band=0.25,
        label=f"Mean ± SD (n={f.get(data, 'started'):.0f})",
        zorder=5,
    )
    ax.set_xlim(float(whole["x"].min()) - 3, float(mean["x"].max()))
    ax.set_ylim(bottom=0)
    s.limits(ax, page.look, y=(0, 0.5), floor=0)
    drops = f.pick(data, "number", "lr drop")["y"] - f.get(data, "switch epoch")
    ax.axvline(0, color=s.DARK, lw=0.8, ls="--", zorder=1)
    together = ";\nlr ×0.1 in the same epoch" if (drops == 0).any() else ""
    page.note(ax, f"switch of λ{together}", near=(0, 0.8 * ax.get_ylim()[1]), arrow=True, color=s.DARK)
    s.lr_marks(page, ax, drops[drops > 0], top=True)
    excluded = f.pick(data, "number", "excluded")
    ax.plot(
        [0] * len(excluded),
        excluded["y"],
        ls="none",
        marker="x",
        color=s.RED,
        ms=5,
        mew=1.2,
        label=f"failed the gate ({len(excluded)})",
        zorder=6,
    )
    page.legend(ax, corner="upper right")
    page.note(
        ax,
        _survival(data).split("\n")[0].replace("†", ""),
        corner="center right",
        color=s.GREEN,
        fontsize=7.2,
        fontweight="bold",
    )
    scratch, low = f.get(data, "from scratch"), f.get(data, "from scratch low")
    if f.known(scratch, low) and scratch:
        verdict = "no test of survival" if low == scratch else "the others do not"
        page.note(
            ax,
            f"from scratch at this λ (S1),\n{low:.0f} of {scratch:.0f} end at {LOW:.2f} or below\ntoo: {verdict}",
            corner="center right",
            color=s.DARK,
            fontsize=6.2,
        )


def draw_b(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel b: every trajectory, coloured by the final error."""
    splits = f.pick(data, "split")
    lam = float(splits["x"].iloc[0]) if len(splits) else FOREST_LAMBDA
    title = page.look.title("Bifurcation near boundary", "Error over training")
    s.labels(ax, f"{title} (S2, λ={lam:.2f})", "Epoch", "Test error")
    if splits.empty or not splits["n"].iloc[0] or f.pick(data, "run").empty:
        s.no_data(ax)
        return
    row = splits.iloc[0]
    for group, colour in (("H", s.RED), ("L", s.GREEN)):
        lines(ax, f.pick(data, "run", group), colour, alpha=0.28)
    last = float(f.pick(data, "run")["x"].max()) or 1.0
    ax.set_xlim(0, 105 if page.look.exact else 1.05 * last)
    s.limits(ax, page.look, y=(0, 0.85), floor=0, headroom=0.0 if page.look.audited else 0.15)
    cut = f.get(data, "threshold")
    s.threshold(ax, cut, colour=s.DARK)
    page.note(ax, f"L/H threshold {cut:.2f}", near=(0.12 * last, cut), color=s.DARK, fontsize=6.2)
    n, low, high = (int(row[column]) for column in ("n", "low", "high"))
    page.note(
        ax,
        f"λ={lam:.2f}, n={n}\n{low} L / {high} H",
        corner="lower left" if page.look.audited else "upper right",
        box=True,
        color=s.DARK,
        fontsize=7,
    )
    if page.look.audited:
        s.lr_marks(page, ax, f.pick(data, "number", "lr drop")["y"], shift=0.0)
        _final_histogram(ax, data, last)


def _final_histogram(ax: Axes, data: pd.DataFrame, last: float) -> None:
    """Audited: the final errors as one histogram at the right edge; the cut runs through a single mode."""
    finals = f.pick(data, "final")["y"].to_numpy()
    counts, edges = np.histogram(finals, bins=np.arange(0, 0.92, 0.02))
    ax.set_xlim(0, 1.34 * last)
    ax.axvline(1.04 * last, color=s.LIGHT_GREY, lw=0.6)
    ax.barh(
        (edges[:-1] + edges[1:]) / 2,
        0.27 * last * counts / max(counts.max(), 1),
        left=1.05 * last,
        height=0.018,
        color=[s.GREEN if edge < f.get(data, "threshold") - 1e-9 else s.RED for edge in edges[:-1]],
        alpha=0.7,
        lw=0,
    )
    ax.set_xticks([tick for tick in ax.get_xticks() if 0 <= tick <= last])
    ax.text(
        1.19 * last,
        0.98,
        "final\nerrors",
        transform=ax.get_xaxis_transform(),
        ha="center",
        va="top",
        fontsize=6,
        color=s.GREY,
    )


def draw_c(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel c: final error per escape attempt."""
    bars = f.pick(data, "bar")
    seeds = int(bars["n"].max()) if len(bars) else 0
    s.labels(
        ax, f"T-state escape attempts (Td2, {seeds} seeds × {len(bars)} methods)", "Final test error", ""
    )
    if bars.empty:
        s.no_data(ax)
        return
    names = [name for name in INTERVENTIONS if name in set(bars["series"])]
    for place, name in enumerate(names):
        label, colour = INTERVENTIONS[name]
        bar = f.pick(data, "bar", name).iloc[0]
        ax.barh(place, bar["x"], height=0.68, color=colour, alpha=0.75, lw=0, zorder=2)
        dots = f.pick(data, "run", name)
        offsets = np.linspace(-0.2, 0.2, len(dots)) if len(dots) > 1 else np.zeros(len(dots))
        ax.scatter(dots["x"], place + offsets, s=13, color="white", ec=s.DARK, lw=0.7, zorder=4)
    ax.set_yticks(range(len(names)), [INTERVENTIONS[name][0] for name in names])
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(names) - 0.45, -0.55)
    # The words stand beside the bars, where no data are.
    ax.set_xlim(0, 1.6)
    ax.set_xticks(np.arange(0, 1.01, 0.2))
    escaped, attempts = f.get(data, "escaped"), f.get(data, "attempts")
    words, size = f"{escaped:.0f}/{attempts:.0f}\nescaped", 11.0
    if page.look.audited:
        traps = f.pick(data, "number", "traps left").iloc[0]
        words = (
            f"{traps['y']:.0f} of {traps['n']:.0f} traps\nare left\n\n95 % interval\n"
            f"{100 * traps['low']:.0f} to {100 * traps['high']:.0f} %\n\n(attempts on one\ntrap are not\nindependent)"
        )
        size = 6.2
    ax.text(
        1.29,
        (len(names) - 1) / 2,
        words,
        fontsize=size,
        fontweight="normal" if page.look.audited else "bold",
        color=s.DARK,
        ha="center",
        va="center",
        linespacing=1.3,
    )


def draw_d(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """Panel d: both branches after the jump, one line per seed, branch and target lambda."""
    runs = f.pick(data, "run")
    title = page.look.title("Causal intervention: gap persists (W2)", "Jump to an equal λ (W2)")
    s.labels(ax, title, "Epoch (intervention phase)", "Test error")
    if runs.empty:
        s.no_data(ax)
        return
    seeds = sorted(runs["seed"].dropna().unique())
    colour_of = {seed: SEED_COLOURS[i % len(SEED_COLOURS)] for i, seed in enumerate(seeds)}
    mark_of = {seed: SEED_MARKS[i % len(SEED_MARKS)] for i, seed in enumerate(seeds)}
    last = float(runs["x"].max()) or 1.0
    for branch, style in (("ordered", "-"), ("collapse", "--")):
        for _, rows in runs[runs["series"] == branch].groupby("run"):
            rows = rows.sort_values("x")
            seed = rows["seed"].iloc[0]
            ax.plot(
                rows["x"],
                rows["y"],
                color=colour_of[seed],
                ls=style,
                lw=0.9,
                marker=mark_of[seed],
                ms=2.8,
                mew=0,
                alpha=0.9,
                zorder=3,
            )
    ax.set_xlim(*((-1, 32) if page.look.exact else (-0.035 * last, 1.07 * last)))
    s.limits(ax, page.look, y=(0, 0.88), floor=0, headroom=0.0 if page.look.published_scale else 0.3)
    apart = f.get(data, "L band", "high") < f.get(data, "H band", "low")
    for band, colour, text in (("L band", s.GREEN, "L"), ("H band", s.RED, "H")):
        if not apart:  # the branches overlap: no stretch belongs to one of them
            continue
        row = f.pick(data, "number", band).iloc[0]
        high = min(row["high"], ax.get_ylim()[1])
        s.span(page, ax, row["low"], high, colour=colour, horizontal=True, alpha=0.09)
        page.note(
            ax,
            text,
            near=(0.985 * ax.get_xlim()[1], (row["low"] + high) / 2),
            color=colour,
            fontsize=11,
            fontweight="bold",
        )
    if page.look.audited:
        gap = f.pick(data, "number", "gap per seed").iloc[0]
        sizes = " / ".join(f"{value:.0f}" for value in f.pick(data, "gap", "seed")["y"])
        text = f"gap per seed: {sizes} pp\nn={gap['n']:.0f} seeds (each used at {len(set(runs['label'].dropna()))} λ)"
    else:
        gap = f.pick(data, "number", "gap").iloc[0]
        size, largest = f"{gap['y']:.0f}±{gap['sd']:.0f}", f"{f.get(data, 'largest gap'):.0f}"
        text = f"Gap {page.look.points(size)}\n(max {page.look.points(largest)})"
    page.note(ax, text, corner="center", box=True, color=s.ORANGE, fontsize=7)
    handles = [
        Line2D(
            [],
            [],
            color=colour_of[seed],
            lw=1.2,
            marker=mark_of[seed],
            ms=3.2,
            mew=0,
            label=f"seed {seed:.0f}",
        )
        for seed in seeds
    ]
    handles += [
        Line2D([], [], color=s.GREY, lw=1.2, ls=style, label=name)
        for style, name in (("-", "L-init"), ("--", "H-init"))
    ]
    page.legend(ax, corner="center left", handles=handles, ncols=2)
