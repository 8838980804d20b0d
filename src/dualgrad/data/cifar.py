"""CIFAR-10 and CIFAR-100 from their published archives, or from a folder in torchvision's layout."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dualgrad.data.errors import DataError
from dualgrad.data.store import check_file, fetch, file_hash, member

_MEMBER_LIMIT = 256 << 20


@dataclass(frozen=True)
class Cifar:
    """Where a CIFAR data set comes from, and its parts in torchvision's order."""

    url: str
    archive: str
    sha256: str
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    label_key: str
    torchvision_class: str


CIFAR = {
    "cifar10": Cifar(
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        "cifar-10-python.tar.gz",
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        "cifar-10-batches-py",
        tuple(f"data_batch_{i}" for i in range(1, 6)),
        ("test_batch",),
        "labels",
        "CIFAR10",
    ),
    "cifar100": Cifar(
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        "cifar-100-python.tar.gz",
        "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        "cifar-100-python",
        ("train",),
        ("test",),
        "fine_labels",
        "CIFAR100",
    ),
}


class _ArraysOnly(pickle.Unpickler):
    """Reads NumPy arrays and plain containers; refuses everything else a pickle could run."""

    def find_class(self, module: str, name: str) -> Any:
        if (module.replace("_core", "core"), name) == ("numpy.core.multiarray", "_reconstruct"):
            from numpy._core.multiarray import _reconstruct

            return _reconstruct
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):
            import codecs

            return codecs.encode
        raise DataError(f"it asks for {module}.{name}, which no CIFAR file needs")


def _batch(cifar: Cifar, name: str, part: str, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 3072) uint8 and labels (n,) int64 of one file; raises DataError where it holds something else."""
    try:
        batch = _ArraysOnly(io.BytesIO(content), encoding="latin1").load()
        images, labels = np.asarray(batch["data"]), np.asarray(batch[cifar.label_key])
    except DataError as error:
        raise DataError(f"{name}, {part}: {error}") from None
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(f"{name}, {part}: no CIFAR file ({type(error).__name__}: {error})") from error
    if images.dtype != np.uint8 or images.shape != (len(images), 3 * 32 * 32):
        raise DataError(
            f"{name}, {part}, data: {images.dtype} of shape {images.shape}, expected uint8 of shape (n, 3072)"
        )
    classes = int(cifar.torchvision_class.removeprefix("CIFAR"))
    known = labels.shape == (len(images),) and labels.dtype.kind in "iu" and len(labels) > 0
    if not known or labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f"{name}, {part}, {cifar.label_key}: expected a number below {classes} for each image"
        )
    return images, labels.astype(np.int64)


def _checksums(cifar: Cifar) -> dict[str, str]:
    # torchvision carries the MD5 of every file in the folder; imported here, as it takes seconds.
    from torchvision import datasets

    known = getattr(datasets, cifar.torchvision_class)
    return dict(known.train_list) | dict(known.test_list)


def _folder_reader(cifar: Cifar, folder: Path) -> Callable[[str], bytes]:
    checksums = _checksums(cifar)

    def read(part: str) -> bytes:
        path = folder / part
        if not path.is_file():
            raise DataError(f"{path} is missing: give the whole folder, or the archive {cifar.archive}")
        found = file_hash(path, "md5")
        if found != checksums[part]:
            raise DataError(
                f"{path} is truncated or altered: its MD5 is {found}, expected {checksums[part]}; "
                f"replace the folder, or give the archive {cifar.archive}"
            )
        return path.read_bytes()

    return read


def _reader(name: str, folder: Path, source: Path | None, offline: bool) -> Callable[[str], bytes]:
    """A function that returns the checked content of one file of the data set."""
    cifar = CIFAR[name]
    remedy = f"run: dualgrad data {name}"
    places = [source, source / cifar.folder, source / cifar.archive] if source else [folder / cifar.folder]
    for place in places:
        if (place / cifar.test[0]).exists():
            return _folder_reader(cifar, place)
    archive = next((place for place in places if place.is_file()), None if source else folder / cifar.archive)
    if archive is None:
        raise DataError(f"{source} holds neither {cifar.archive} nor the folder {cifar.folder}")
    if not source and not offline:
        fetch(cifar.url, archive, cifar.sha256)
    check_file(archive, cifar.sha256, remedy)
    return lambda part: member(archive, f"{cifar.folder}/{part}", _MEMBER_LIMIT)


def load_cifar(
    name: str, folder: Path, source: Path | None = None, offline: bool = False
) -> dict[str, np.ndarray]:
    """Images (n, 3, 32, 32) uint8 and labels (n,) int64 of both splits, in torchvision's order.

    `source`: the archive, or a folder that holds it or its unpacked files. None: what is in `folder`, where
    the archive is downloaded to unless `offline`. Raises DataError where files are missing or fail their
    checksum.
    """
    cifar = CIFAR[name]
    read = _reader(name, folder, source, offline)
    arrays: dict[str, np.ndarray] = {}
    for split, parts in (("train", cifar.train), ("test", cifar.test)):
        batches = [_batch(cifar, name, part, read(part)) for part in parts]
        arrays[f"{split}_images"] = np.concatenate([images for images, _ in batches]).reshape(-1, 3, 32, 32)
        arrays[f"{split}_labels"] = np.concatenate([labels for _, labels in batches])
    return arrays
