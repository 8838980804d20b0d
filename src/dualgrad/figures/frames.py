"""Panel frames: the statistics of the figures and the tidy shape that every panel is saved in.

Conventions (figure specification, section 0): errors are fractions of the last epoch; the centre is the arithmetic
mean, the spread the population standard deviation (ddof 0), not clipped to [0, 1]; lambda is rounded to 3 decimals
before grouping; a run is L if its final error is below 0.30 (strict), else H. The recorded ``phase`` is not used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd

from dualgrad.estimators.curves import last_crossing, steepest_step
from dualgrad.figures.sources import FIGURE_TABLES, experiments_of
from dualgrad.figures.trained import Trained
from dualgrad.tables import edition

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
    *("experiment", "run", "noise_rate", "seed"),
)
_TEXT = ("layer", "series", "label", "experiment", "run")


class Tables(edition.Tables):
    """The tables of one edition, and which variant of a figure is drawn from them."""

    variant: str = "published"
    trained: Mapping[str, Trained] = MappingProxyType({})

    @classmethod
    def drawn(
        cls, edition_dir: Path, figure: str, variant: str, trained: Mapping[str, Trained] | None = None
    ) -> Tables:
        """Return the tables of the experiments that a figure draws."""
        tables = cls(edition_dir, experiments_of(figure, variant), FIGURE_TABLES)
        tables.variant, tables.trained = variant, trained or {}
        return tables

    @classmethod
    def given(
        cls,
        frames: Mapping[str, pd.DataFrame],
        variant: str = "published",
        trained: Mapping[str, Trained] | None = None,
    ) -> Tables:
        """Return tables that are at hand."""
        tables = cls.of_frames(frames)
        tables.variant, tables.trained = variant, trained or {}
        return tables

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


def panel(*parts: pd.DataFrame | None) -> pd.DataFrame:
    """Stack parts into one frame of the common shape."""
    given = [_shaped(part) for part in parts if part is not None and len(part)]
    columns = {
        name: np.concatenate([part[name] for part in given]) if given else np.empty(0) for name in COLUMNS
    }
    return pd.DataFrame(
        {
            name: pd.array(column, dtype="string") if name in _TEXT else column
            for name, column in columns.items()
        }
    )


def _shaped(part: pd.DataFrame) -> dict[str, np.ndarray]:
    """The columns of a part in the common shape: text as objects, numbers as float64; what it lacks is empty."""
    columns: dict[str, np.ndarray] = {}
    for name in COLUMNS:
        if name not in part:
            columns[name] = np.full(len(part), pd.NA if name in _TEXT else math.nan)
        elif name in _TEXT:
            columns[name] = part[name].astype("string").to_numpy(dtype=object)
        else:
            numbers = pd.to_numeric(part[name], errors="coerce")
            columns[name] = numbers.to_numpy(dtype="float64", na_value=math.nan)
    return columns


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
        noise_rate=frame["noise_rate"].to_numpy(),
        seed=frame["seed"].to_numpy(),
        **columns,
    )
    part["series"] = names
    return part


def by_threshold(values: pd.Series) -> list[str]:
    """L below the threshold (strict), H at or above."""
    return ["L" if value < LH_THRESHOLD else "H" for value in values]


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
    step = int(steepest_step(x, y, 0)[0][0])
    return float(x[max(step - 1, 0)]), float(x[min(step + 2, len(x) - 1)])


def bins_for(values: pd.Series, published: np.ndarray) -> np.ndarray:
    """The published bins, or as many that hold the data where more than 2 % of the values lie outside them."""
    values = values.dropna()
    outside = ~values.between(published[0], published[-1])
    if values.empty or outside.mean() <= 0.02:
        return published
    low, high = math.floor(20 * values.min()) / 20, math.ceil(20 * values.max()) / 20
    return np.linspace(low, max(high, low + 0.05), len(published))


def lr_drops(tables: Tables, experiment: str, last: float) -> list[pd.DataFrame]:
    """The learning-rate drops that a training of ``last`` epochs meets, as printed numbers."""
    return [number("lr drop", float(epoch)) for epoch in tables.lr_drops(experiment) if epoch < last]


def crossing_up(x: np.ndarray, y: np.ndarray, level: float) -> float:
    """Where y crosses the level upwards for the last time; nan where it does not."""
    if len(x) < 2:
        return math.nan
    found = float(last_crossing(x, y, level)[0])
    return found if math.isfinite(found) else math.nan
