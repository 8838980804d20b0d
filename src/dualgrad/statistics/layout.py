"""The shape of all statistics: what identifies an estimate, the estimate, its interval, and what to know about it.

Every file has the columns of ``FIRST``, then the statistic's own keys, then ``LAST``. A row without a value
says in ``note`` why.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from dualgrad.estimators.bootstrap import LEVEL
from dualgrad.estimators.families import holm
from dualgrad.tables import parquet
from dualgrad.tables.schema import BOOL, FLOAT64, INT64, STRING, Column

NO_DATA = "no data"

FIRST = (
    Column("edition", STRING, "edition that the rows belong to", nullable=False),
    Column("experiment", STRING, "experiment, or several joined by + where their rows are taken together"),
)
LAST = (
    Column("quantity", STRING, "what is estimated; listed below", nullable=False),
    Column("value", FLOAT64, "the estimate; null where it cannot be had, and then the note says why"),
    Column("unit", STRING, "unit of value, low and high; 1 for pure numbers", nullable=False),
    Column("low", FLOAT64, "lower end of the interval; null: none, or open"),
    Column("high", FLOAT64, "upper end of the interval; null: none, or open"),
    Column("level", FLOAT64, "confidence level of the interval"),
    Column("interval", STRING, "how the interval was made (see Intervals)"),
    Column("p_value", FLOAT64, "two-sided p value, uncorrected, of the test that the quantity names"),
    Column("p_holm", FLOAT64, "the same after Holm's correction for all tests of this quantity in the file"),
    Column(
        "n",
        INT64,
        "independent units behind the value: seeds, or starts that runs go on from",
        nullable=False,
    ),
    Column(
        "runs",
        INT64,
        "runs behind it; more than n where several share a seed's noise or a start",
        nullable=False,
    ),
    Column("note", STRING, "why there is no value, or what to know before using it"),
)


@dataclass(frozen=True)
class Quantity:
    """One kind of estimate.

    Attributes:
        unit: unit of the value ("fraction", "lambda", "epochs", "1" for pure numbers, …); "" where it varies by row.
        meaning: definition or formula, in plain words.
    """

    unit: str
    meaning: str


class Sheet:
    """Rows of one statistic, collected one by one."""

    def __init__(self, edition: str, keys: Sequence[Column], quantities: Mapping[str, Quantity]) -> None:
        self._edition = edition
        self._keys = {column.name for column in keys} | {"experiment"}
        self._columns = columns_of(keys)
        self._quantities = quantities
        self._rows: list[dict[str, Any]] = []

    def add(
        self,
        quantity: str,
        value: float | None,
        n: int,
        *,
        bounds: tuple[float, float, str] | None = None,
        p_value: float | None = None,
        note: str | None = None,
        unit: str | None = None,
        runs: int | None = None,
        **keys: Any,
    ) -> None:
        """Append one estimate.

        Args:
            quantity: a declared quantity.
            value: the estimate; None or NaN: there is none.
            n: number of independent units behind it.
            bounds: (low, high, how the interval was made); infinite ends are open ones.
            p_value: of the test that goes with the quantity.
            note: what to know; a missing value without note gets :data:`NO_DATA`.
            unit: where the quantity's unit varies.
            runs: number of runs behind it, where that is not n.
            keys: experiment and the statistic's own keys.

        Raises:
            KeyError: the quantity or a key is not declared (a mistake in the code).
        """
        declared = self._quantities[quantity]
        unknown = keys.keys() - self._keys
        if unknown:
            raise KeyError(f"undeclared keys: {', '.join(sorted(unknown))}")
        known = _finite(value)
        low, high, how = bounds if bounds is not None and known is not None else (None, None, None)
        self._rows.append(
            {
                "edition": self._edition,
                **keys,
                "quantity": quantity,
                "value": known,
                "unit": unit or declared.unit,
                "low": _finite(low),
                "high": _finite(high),
                "level": LEVEL if how else None,
                "interval": how,
                "p_value": _finite(p_value),
                "p_holm": None,
                "n": int(n),
                "runs": int(n if runs is None else runs),
                "note": note or (NO_DATA if known is None else None),
            }
        )

    def __len__(self) -> int:
        return len(self._rows)

    def frame(self) -> pd.DataFrame:
        """Return the rows, columns in the order of the layout; p values of one quantity are a family."""
        frame = pd.DataFrame(self._rows, columns=[column.name for column in self._columns])
        p_values = pd.to_numeric(frame["p_value"])
        frame["p_holm"] = p_values.groupby(frame["quantity"]).transform(holm)
        return frame


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def columns_of(keys: Sequence[Column]) -> tuple[Column, ...]:
    """Return all columns of a statistic with these keys."""
    return (*FIRST, *keys, *LAST)


def to_arrow(frame: pd.DataFrame, keys: Sequence[Column]) -> pa.Table:
    """Return a statistic's frame as Arrow, with units and meanings as field metadata."""
    schema = pa.schema(
        [
            pa.field(
                column.name,
                column.type,
                nullable=column.nullable,
                metadata={"unit": column.unit, "meaning": column.meaning},
            )
            for column in columns_of(keys)
        ]
    )
    return pa.Table.from_arrays([_array(frame[field.name], field.type) for field in schema], schema=schema)


def _array(values: pd.Series, kind: pa.DataType) -> pa.Array:
    """Return a column as Arrow; NaN and None are null."""
    if kind == FLOAT64:
        return pa.array(
            pd.to_numeric(values).to_numpy(dtype=float, na_value=math.nan), type=kind, from_pandas=True
        )
    known = values.notna().to_numpy()
    convert = {STRING: str, INT64: int, BOOL: bool}[kind]
    plain = values.to_numpy(dtype=object)
    return pa.array([convert(v) if k else None for v, k in zip(plain, known, strict=True)], type=kind)


def write(frame: pd.DataFrame, keys: Sequence[Column], path: Path) -> None:
    """Write a statistic as Parquet; the file appears under its name when it is complete."""
    parquet.write(path, to_arrow(frame, keys))
