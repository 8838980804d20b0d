"""What a run writes down while it trains: columns of evaluations, epochs and steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dualgrad.method.gradients import Number

_PLACE = ("stage", "branch", "segment", "direction", "lambda", "epoch", "stage_epoch")
COLUMNS = {
    "evaluations": (*_PLACE, "test_error", "test_loss"),
    "epochs": (
        *_PLACE,
        "lr",
        "loss_struct",
        "loss_value",
        "cos_mean",
        "cos_std",
        "cos_min",
        "cos_max",
        "norm_struct",
        "norm_value",
        "norm_mix",
        "cos_mix_value",
        "n_steps",
    ),
    "steps": (
        "stage",
        "branch",
        "segment",
        "lambda",
        "epoch",
        "step",
        "cos_struct_value",
        "cos_mix_value",
        "norm_struct",
        "norm_value",
        "norm_mix",
        "loss_struct",
        "loss_value",
    ),
}


# A row of a trajectory: values by column.
Row = dict[str, Any]

# Errors on examples set aside: by the data set's own labels, and by the noisy ones.
VALIDATION = ("validation_error", "validation_noisy_error")
# Columns that a block has where its first row has them.
_OPTIONAL = {"evaluations": VALIDATION}


class Trajectory:
    """Column-oriented log of one run; blocks that stay empty are left out of the record."""

    def __init__(self, blocks: Mapping[str, Mapping[str, list[Any]]] | None = None) -> None:
        self.blocks: dict[str, dict[str, list[Any]]] = {
            name: {column: list(values) for column, values in block.items()}
            for name, block in (blocks or {}).items()
        }

    def add(self, block: str, **values: Any) -> None:
        """Append one row; every column of the block must be given."""
        if block not in self.blocks:
            more = (name for name in _OPTIONAL.get(block, ()) if name in values)
            self.blocks[block] = {name: [] for name in (*COLUMNS[block], *more)}
        columns = self.blocks[block]
        if values.keys() != columns.keys():
            raise KeyError(f"{block}: columns {sorted(values)}, expected {sorted(columns)}")
        for name, value in values.items():
            columns[name].append(finite_or_none(value))

    def rows(self, block: str) -> list[Row]:
        """Return a block as a list of rows."""
        columns = self.blocks.get(block, {})
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def first_epochs(self, epochs: int) -> Trajectory:
        """Return the trajectory as it was after the first ``epochs`` epochs (prefix runs, Y1B of Y1A)."""
        cut = Trajectory(self.blocks)
        for block, columns in self.blocks.items():
            last = epochs - 1 if block == "steps" else epochs  # steps name the epochs done before them
            keep = [position for position, epoch in enumerate(columns["epoch"]) if epoch <= last]
            cut.blocks[block] = {name: [column[i] for i in keep] for name, column in columns.items()}
        return cut


def finite_or_none(value: Any) -> Any:
    """Return a float that JSON can hold, or None in place of NaN and infinities."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


class StepStatistics:
    """Per-step values of one epoch, kept where they are (0-dim tensors stay on the device) and read back once."""

    def __init__(self) -> None:
        self._values: dict[str, list[Number]] = {}
        self.steps = 0

    def add(self, log: dict[str, Number]) -> None:
        """Note the values of one step."""
        self.steps += 1
        for name, value in log.items():
            self._values.setdefault(name, []).append(value)

    def _column(self, name: str) -> Tensor | None:
        values: Any = self._values.get(name)  # all floats or all tensors
        if not values:
            return None
        if isinstance(values[0], float):
            return torch.tensor(values, dtype=torch.float64)
        return torch.stack(values).double()

    def mean(self, name: str) -> float | None:
        """Return the mean of a value over the steps that have it, or None."""
        column = self._column(name)
        return None if column is None else column.mean().item()

    def spread(self, name: str) -> dict[str, float]:
        """Return mean, population standard deviation, minimum and maximum of a value, or nothing."""
        column = self._column(name)
        if column is None:
            return {}
        numbers = torch.stack([column.mean(), column.std(correction=0), column.min(), column.max()])
        return dict(zip(("mean", "std", "min", "max"), numbers.tolist(), strict=True))

    def first(self, name: str, count: int | None = None) -> list[float]:
        """Return the first ``count`` values of ``name``, or all of them, as Python floats."""
        column = self._column(name)
        return [] if column is None else column[:count].tolist()

    def state(self) -> dict[str, Any]:
        """Return what :meth:`load_state` takes: plain data and tensors."""
        values: dict[str, Any] = {
            name: list(column) if isinstance(column[0], float) else torch.stack(column)  # type: ignore[arg-type]
            for name, column in self._values.items()
        }
        return {"steps": self.steps, "values": values}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state` returned."""
        self.steps = state["steps"]
        self._values = {
            name: list(column.unbind()) if isinstance(column, Tensor) else column
            for name, column in state["values"].items()
        }
