"""Published annotations that experiments of this project name: where their file belongs, and whether it is theirs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dualgrad.data import given
from dualgrad.data.errors import DataError
from dualgrad.files import replacing


@dataclass(frozen=True)
class Annotation:
    """A file of labels that people gave.

    Attributes:
        title: what it is.
        path: where experiments look for it, from the workflow's folder.
        origin: where it is published.
        true, noisy: its columns with the true labels and with those that are trained on.
        examples, wrong: number of labels, and the share of noisy ones that differ from the true ones.
    """

    title: str
    path: str
    origin: str
    true: str
    noisy: str
    examples: int
    wrong: float


ANNOTATIONS = {
    "cifar10n": Annotation(
        title="CIFAR-10N, labels of CIFAR-10 by human annotators (Wei et al. 2022)",
        path="data/cifar10n/CIFAR-10_human.pt",
        origin="github.com/UCSC-REAL/cifar-10-100n, data/CIFAR-10_human.pt",
        true="clean_label",
        noisy="worse_label",
        examples=50_000,
        wrong=0.40208,
    )
}


def place(name: str, source: Path | None, root: Path) -> Path:
    """Copy an annotation's file to where experiments look for it, once it is found to be that one.

    Args:
        name: one of ANNOTATIONS.
        source: the file, or a folder that holds it; None: look whether it is there.
        root: the workflow's folder.

    Returns:
        Where it lies.

    Raises:
        DataError: it is not there, or is another file.
    """
    entry = ANNOTATIONS[name]
    target = root / entry.path
    if source is None and not target.is_file():
        raise DataError(f"{target} is not there; published at {entry.origin}: give it with --from")
    file = target if source is None else source / target.name if source.is_dir() else source
    true, noisy = (given.read_column(file, column) for column in (entry.true, entry.noisy))
    if not len(true) == len(noisy) == entry.examples:
        raise DataError(f"{file}: expected {entry.examples:,} labels; got {len(true):,} and {len(noisy):,}")
    wrong = float(np.mean(true != noisy))
    if abs(wrong - entry.wrong) > 1e-5:
        raise DataError(f"{file}: expected {entry.noisy} to be wrong on {entry.wrong:.5f}; got {wrong:.5f}")
    if file.resolve() != target.resolve():
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            shutil.copyfile(file, temporary)
    return target
