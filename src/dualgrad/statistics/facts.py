"""What follows from facts of an edition's census that its tables carry: classes and learning-rate drops."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd


def trap_level(classes: int) -> float:
    """Return the error from which a state of an image task counts as trapped.

    A constant prediction errs on 1 - 1/C of a balanced test set of C classes; the published rule for ten classes is
    0.85, half a class below it, so the level is 1 - 1.5/C.
    """
    return 1.0 - 1.5 / classes


def constant_predictors(runs: pd.DataFrame) -> pd.Series:
    """Return which runs end as constant predictors: as recorded, else an error of exactly 1 - 1/C.

    ``constant_prediction`` is recorded by trained editions; the published rows hold the error alone. Texts have two
    classes and test sets that are not balanced: there an error says nothing.
    """
    classes = runs["num_classes"].to_numpy(dtype=float)
    exact = (np.abs(runs["test_error"] - (1.0 - 1.0 / classes)) < 1e-9) & (classes > 2)
    recorded = runs["constant_prediction"]
    return pd.Series(
        [bool(flag) if flag is not None else bool(same) for flag, same in zip(recorded, exact, strict=True)],
        index=runs.index,
        dtype=bool,
    )


def lr_factor(drops: Sequence[int], epochs: np.ndarray) -> np.ndarray:
    """Return the learning rate of the given epochs (1-based, any shape) relative to the session's first.

    The published schedules fall to a tenth at each drop.
    """
    after = np.asarray(drops, dtype=float)
    return 0.1 ** (np.asarray(epochs, dtype=float)[..., None] > after).sum(axis=-1)
