"""Labels that people gave the examples of a data set: their file is checked and put where experiments look for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from dualgrad.census.datasets import Annotation, DataSet
from dualgrad.data import given
from dualgrad.data.errors import DataError
from dualgrad.files import replacing

# The published share of wrong labels is given to five digits.
_ROUNDING = 1e-5


def place(entry: DataSet, annotation: Annotation, source: Path | None, root: Path) -> Path:
    """Copy an annotation's file to where experiments look for it, once it is found to be that one.

    Args:
        entry: the data set that the labels belong to.
        annotation: what is expected.
        source: the file, or a folder that holds it; None: look whether it is in its place.
        root: the workflow's folder.

    Returns:
        Where it lies.

    Raises:
        DataError: it is not there, or is another file.
    """
    target = root / annotation.path
    if source is None and not target.is_file():
        raise DataError(f"{target} is not there; published at {annotation.origin}: give it with --from")
    file = target if source is None else source / target.name if source.is_dir() else source
    true, noisy = (given.read_column(file, column) for column in (annotation.clean, annotation.noisy))
    expected = entry.examples("train") or len(true)
    if not len(true) == len(noisy) == expected:
        raise DataError(f"{file}: expected {expected:,} labels; got {len(true):,} and {len(noisy):,}")
    wrong = float(np.mean(true != noisy))
    if abs(wrong - annotation.wrong) > _ROUNDING:
        raise DataError(
            f"{file}: expected {annotation.noisy} to be wrong on {annotation.wrong:.5f}; got {wrong:.5f}"
        )
    if file.resolve() != target.resolve():
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            shutil.copyfile(file, temporary)
    return target
