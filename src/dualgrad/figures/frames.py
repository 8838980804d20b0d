"""Panel frames: the statistics of the figures and the tidy shape that every panel is saved in.

Conventions (figure specification, section 0): errors are fractions of the last epoch; the centre is the arithmetic
mean, the spread the population standard deviation (ddof 0), not clipped to [0, 1]; lambda is rounded to 3 decimals
before grouping; a run is L if its final error is below 0.30 (strict), else H. The recorded ``phase`` is not used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from dualgrad.figures.sources import LR_DROPS
from dualgrad.figures.trained import Trained

LH_THRESHOLD = 0.30

# One shape for all panels:
#   layer   what a row is: mean, run, variance, bar, count, split, profile, cell, number, ...
#   series  which curve, bar, branch or printed number it belongs to
#   x, y    plotted coordinates, in the units of the axes;  sd, n  population spread and number of rows behind y
#   low, high   ends of an interval; in layer "split" the numbers of L and of H runs
#   label   a printed text, or a category name
#   experiment, run, eta, seed   where the row comes from, if it is a single run
COLUMNS = (
    *("layer", "series", "x", "y", "sd", "n", "low", "high", "label"),
    *("experiment", "run", "eta", "seed"),
)
_TEXT = ("layer", "series", "label", "experiment", "run")

# Columns that the panels read. A table without one of them (an edition that does not record it) counts as all null.
COLUMNS_READ = {
    "runs": (
        *("experiment", "run", "counted", "eta", "lam", "s", "lambda", "noise_rate", "width_mult", "lr"),
        *("hold_type", "hold_epochs", "intervention", "branch", "region", "phase_label", "status"),
        *("test_error", "epochs"),
        *("init_error", "init_success", "lifetime", "censored", "threshold_lambda", "first_crossing_lambda"),
        *("convergence_epoch", "avg_cos", "final_gap", "escaped"),
    ),
    "trajectories": (
        *("experiment", "run", "eta", "s", "stage", "branch", "segment", "direction", "lambda"),
        *("epoch", "stage_epoch", "test_error"),
    ),
    "epochs": ("experiment", "run", "eta", "s", "stage", "lambda", "epoch", "lr", "cos_mean"),
    "geometry": ("experiment", "run", "eta", "s", "stage", "branch", "lambda", "cos_struct_value_mean"),
}
_WORDS = (
    *("experiment", "run", "hold_type", "intervention", "branch", "region", "phase_label", "status"),
    *("stage", "direction"),
)
_FLAGS = ("counted", "init_success", "censored", "escaped")

# How branches are named by the experiments that recorded them.
BRANCHES = {"ordered_up": "ordered", "low_error": "ordered", "collapse_down": "collapse"}


@dataclass
class Tables:
    """The tables of one edition, cut down to what a figure asks for."""

    tables: Mapping[str, pd.DataFrame]
    variant: str = "published"
    trained: Mapping[str, Trained] = field(default_factory=dict)
    _ready: dict[str, pd.DataFrame] = field(default_factory=dict, repr=False)

    @property
    def audited(self) -> bool:
        """Whether the artefacts are to be taken out."""
        return self.variant == "audited"

    def network(self, experiment: str) -> str | None:
        """Words for the network that an experiment trains; None where nobody said."""
        known = self.trained.get(experiment)
        return None if known is None else known.network

    def rate(self, experiment: str, stage: str) -> float:
        """Learning rate that a stage starts with; nan where nobody said."""
        known = self.trained.get(experiment)
        return math.nan if known is None else known.rates.get(stage, math.nan)

    def _table(self, name: str) -> pd.DataFrame:
        if name not in self._ready:
            frame = self.tables.get(name)
            frame = pd.DataFrame() if frame is None else frame.copy()
            for column in COLUMNS_READ[name]:
                if column not in frame:
                    frame[column] = pd.Series(pd.NA, index=frame.index, dtype="object")
                if column in _WORDS or column in _FLAGS:
                    values = frame[column].astype(object)
                    frame[column] = values.where(values.notna(), None)
                else:
                    frame[column] = pd.to_numeric(frame[column], errors="coerce").astype(float)
            for column in ("lam", "lambda", "eta"):
                if column in frame:
                    frame[column] = frame[column].round(3)
            if "branch" in frame:
                frame["branch"] = frame["branch"].map(lambda name: BRANCHES.get(name, name))
            self._ready[name] = frame
        return self._ready[name]

    def _pick(self, name: str, experiments: tuple[str, ...]) -> pd.DataFrame:
        frame = self._table(name)
        return frame[frame["experiment"].isin(experiments)].copy()

    def runs(self, *experiments: str, eta: float | None = None) -> pd.DataFrame:
        """Counted runs of the experiments, one row each, in the order of the experiments as named."""
        frame = self._pick("runs", experiments)
        frame = frame[frame["counted"].map(lambda flag: pd.isna(flag) or bool(flag)).astype(bool)]
        return frame if eta is None else frame[np.isclose(frame["eta"], eta)]

    def trajectories(
        self, *experiments: str, stage: str | None = None, branch: str | None = None
    ) -> pd.DataFrame:
        """Evaluations of the experiments in the order they were made."""
        frame = self._pick("trajectories", experiments)
        if stage is not None:
            frame = frame[frame["stage"] == stage]
        if branch is not None:
            frame = frame[frame["branch"] == branch]
        return frame

    def epochs(self, *experiments: str) -> pd.DataFrame:
        """Per-epoch training statistics."""
        return self._pick("epochs", experiments)

    def geometry(self, *experiments: str) -> pd.DataFrame:
        """Per-segment means of the logged gradient geometry."""
        return self._pick("geometry", experiments)


def panel(*parts: pd.DataFrame | None) -> pd.DataFrame:
    """Stack parts into one frame of the common shape."""
    given = [_shaped(part) for part in parts if part is not None and len(part)]
    return pd.concat(given, ignore_index=True) if given else _shaped(pd.DataFrame())


def _shaped(part: pd.DataFrame) -> pd.DataFrame:
    whole = part.reindex(columns=list(COLUMNS))
    for column in COLUMNS:
        if column in _TEXT:
            whole[column] = whole[column].astype("string")
        else:
            whole[column] = pd.to_numeric(whole[column], errors="coerce").astype("float64")
    return whole


def rows(layer: str, series: str = "", **columns: object) -> pd.DataFrame:
    """A part with the given columns; scalars are repeated."""
    arrays = {
        key: value for key, value in columns.items() if isinstance(value, pd.Series | np.ndarray | list)
    }
    length = max((len(value) for value in arrays.values()), default=1)
    data = {
        key: np.asarray(value, dtype=object) if key in arrays else [value] * length
        for key, value in columns.items()
    }
    return pd.DataFrame({"layer": layer, "series": series, **data})


def number(series: str, value: float | None, **columns: object) -> pd.DataFrame:
    """A printed number that is no point of a curve."""
    return rows("number", series, y=math.nan if value is None else value, **columns)


def summary(
    frame: pd.DataFrame, y: str, series: str, *, x: str = "lam", layer: str = "mean", scale: float = 1.0
) -> pd.DataFrame:
    """Mean, population SD and count of ``y`` per ``x``."""
    groups = frame.dropna(subset=[x, y]).groupby(x, sort=True)[y]
    return rows(
        layer,
        series,
        x=groups.mean().index.to_numpy(dtype=float),
        y=groups.mean().to_numpy() * scale,
        sd=groups.std(ddof=0).to_numpy() * scale,
        n=groups.count().to_numpy(),
    )


def variance(frame: pd.DataFrame, y: str, series: str, *, x: str = "lam", scale: float = 1.0) -> pd.DataFrame:
    """Population variance of ``y`` per ``x``."""
    groups = frame.dropna(subset=[x, y]).groupby(x, sort=True)[y]
    return rows(
        "variance",
        series,
        x=groups.var(ddof=0).index.to_numpy(dtype=float),
        y=groups.var(ddof=0).to_numpy() * scale,
        n=groups.count().to_numpy(),
    )


def single_runs(
    frame: pd.DataFrame,
    x: str,
    y: str,
    series: str | Callable[[pd.DataFrame], Iterable[str]],
    layer: str = "run",
    **columns: object,
) -> pd.DataFrame:
    """One row per row of ``frame``, with its origin."""
    frame = frame.dropna(subset=[y])
    names = series if isinstance(series, str) else list(series(frame))
    part = rows(
        layer,
        "",
        x=frame[x].to_numpy(),
        y=frame[y].to_numpy(),
        experiment=frame["experiment"].to_numpy(),
        run=frame["run"].to_numpy(),
        eta=frame["eta"].to_numpy(),
        seed=frame["s"].to_numpy(),
        **columns,
    )
    part["series"] = names
    return part


def by_threshold(values: pd.Series, threshold: float = LH_THRESHOLD) -> list[str]:
    """L below the threshold (strict), H at or above."""
    return ["L" if value < threshold else "H" for value in values]


def split(values: pd.Series, series: str, **columns: object) -> pd.DataFrame:
    """How many runs are L and how many are H."""
    values = values.dropna()
    low = int((values < LH_THRESHOLD).sum())
    return rows("split", series, n=len(values), low=low, high=len(values) - low, **columns)


def pick(frame: pd.DataFrame, layer: str, series: str | None = None) -> pd.DataFrame:
    """The rows of one layer, and of one series if named."""
    rows_ = frame["layer"] == layer
    if series is not None:
        rows_ &= frame["series"] == series
    return frame[rows_.fillna(False).astype(bool)]


def get(frame: pd.DataFrame, series: str, column: str = "y") -> float:
    """A printed number; nan where the edition has no rows for it."""
    found = pick(frame, "number", series)[column]
    return float(found.iloc[0]) if len(found) else math.nan


def words(frame: pd.DataFrame, series: str) -> str | None:
    """The text that goes with a name; None where the edition has none."""
    found = pick(frame, "words", series)["label"].dropna()
    return str(found.iloc[0]) if len(found) else None


def known(*values: float) -> bool:
    """Whether all values are numbers."""
    return all(value is not None and math.isfinite(value) for value in values)


def at(mean: pd.DataFrame, x: float, tolerance: float = 1e-6) -> float:
    """The mean at ``x``; nan where there is none."""
    found = mean.loc[(mean["x"].astype(float) - x).abs() <= tolerance, "y"]
    return float(found.iloc[0]) if len(found) else math.nan


def difference(high: pd.DataFrame, low: pd.DataFrame) -> pd.DataFrame:
    """high - low at the x they share, as columns x and y."""
    both = high[["x", "y"]].merge(low[["x", "y"]], on="x", suffixes=("_high", "_low"))
    return pd.DataFrame(
        {"x": both["x"].astype(float), "y": both["y_high"].astype(float) - both["y_low"].astype(float)}
    )


def largest(gaps: pd.DataFrame, absolute: bool = False) -> tuple[float, float]:
    """(x, y) of the largest gap; nan where there is none."""
    if gaps.empty:
        return math.nan, math.nan
    size = gaps["y"].abs() if absolute else gaps["y"]
    row = gaps.loc[size.idxmax()]
    return float(row["x"]), float(row["y"])


def nearest(gaps: pd.DataFrame, x: float) -> float:
    """The x in ``gaps`` nearest to the wanted one (where the arrow is drawn)."""
    if gaps.empty:
        return math.nan
    return float(gaps["x"].iloc[int((gaps["x"] - x).abs().to_numpy().argmin())])


def steepest(mean: pd.DataFrame) -> tuple[float, float]:
    """The critical stretch of a curve: its steepest step and one step on either side.

    On the published M2 and X2 means this gives the spans that are drawn there (.46-.50 and .34-.40).
    """
    curve = mean.sort_values("x")
    x, y = curve["x"].to_numpy(dtype=float), curve["y"].to_numpy(dtype=float)
    if len(x) < 2:
        return math.nan, math.nan
    step = int(np.abs(np.diff(y) / np.diff(x)).argmax())
    return float(x[max(step - 1, 0)]), float(x[min(step + 2, len(x) - 1)])


def bins_for(values: pd.Series, published: np.ndarray) -> np.ndarray:
    """The published bins, or as many that hold the data where more than 2 % of the values lie outside them."""
    values = values.dropna()
    outside = ~values.between(published[0], published[-1])
    if values.empty or outside.mean() <= 0.02:
        return published
    low, high = math.floor(20 * values.min()) / 20, math.ceil(20 * values.max()) / 20
    return np.linspace(low, max(high, low + 0.05), len(published))


def lr_drops(experiment: str, last: float) -> list[pd.DataFrame]:
    """The learning-rate drops that a training of ``last`` epochs meets, as printed numbers."""
    return [number("lr drop", float(epoch)) for epoch in LR_DROPS.get(experiment, ()) if epoch < last]


def crossing_up(x: np.ndarray, y: np.ndarray, level: float) -> float:
    """Where y crosses the level upwards for the last time before staying above, by linear interpolation."""
    for i in range(len(x) - 1, 0, -1):
        if y[i - 1] < level <= y[i]:
            return float(x[i - 1] + (level - y[i - 1]) / (y[i] - y[i - 1]) * (x[i] - x[i - 1]))
    return math.nan
