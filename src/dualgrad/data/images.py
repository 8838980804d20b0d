"""Image data sets as plain arrays: uint8 images (n, channels, height, width) and int64 labels (n,)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dualgrad.data.errors import DataError
from dualgrad.data.store import content_digest, load_arrays, save_arrays

Arrays = dict[str, np.ndarray]  # train_images, train_labels, test_images, test_labels

DIGITS_TEST_PER_CLASS = 45
PAIRS_TRAIN_PER_CLASS = 60
PAIRS_TEST_PER_CLASS = 15
SPLIT_SEED = 20260112


@dataclass(frozen=True)
class ImageSet:
    """A data set: classes, (channels, height, width), usual normalisation, how it is built, digest of its arrays."""

    classes: int
    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    build: Callable[[], Arrays] | None  # None: has to be fetched first
    digest: str | None


def digits() -> Arrays:
    """scikit-learn's 1,797 handwritten digits (8x8), 45 test images of each class, the rest for training.

    The test set is balanced, so that a constant prediction has error 0.9 exactly, as on CIFAR-10.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = ((bunch.images.astype(np.int64) * 255 + 8) // 16).astype(np.uint8)[:, None]
    labels = bunch.target.astype(np.int64)
    state = np.random.RandomState(SPLIT_SEED)
    is_test = np.zeros(len(labels), dtype=bool)
    for c in range(10):
        is_test[state.permutation(np.flatnonzero(labels == c))[:DIGITS_TEST_PER_CLASS]] = True
    return {
        "train_images": images[~is_test],
        "train_labels": labels[~is_test],
        "test_images": images[is_test],
        "test_labels": labels[is_test],
    }


def digit_pairs() -> Arrays:
    """Two digits side by side (8x16), class 10 * left + right; training and test pairs share no digit image.

    60 training and 15 test pairs of each class, in shuffled order.
    """
    single = digits()
    state = np.random.RandomState(SPLIT_SEED + 1)
    out: Arrays = {}
    for part, per_class in (("train", PAIRS_TRAIN_PER_CLASS), ("test", PAIRS_TEST_PER_CLASS)):
        images, labels = single[f"{part}_images"], single[f"{part}_labels"]
        members = [np.flatnonzero(labels == c) for c in range(10)]
        pair_labels = state.permutation(np.repeat(np.arange(100, dtype=np.int64), per_class))
        left = np.array([members[c][state.randint(len(members[c]))] for c in pair_labels // 10])
        right = np.array([members[c][state.randint(len(members[c]))] for c in pair_labels % 10])
        out[f"{part}_images"] = np.concatenate([images[left], images[right]], axis=3)
        out[f"{part}_labels"] = pair_labels
    return out


SETS: dict[str, ImageSet] = {
    "digits": ImageSet(
        10,
        (1, 8, 8),
        (0.3057,),
        (0.3762,),
        digits,
        "1c05bb93f276add62c38e25887ab118a01f2bf169134773516ad7481964530fa",
    ),
    "digit_pairs": ImageSet(
        100,
        (1, 8, 16),
        (0.3057,),
        (0.3762,),
        digit_pairs,
        "608ded8f1a7690a6e3d09571f83a48a6178a6adbdfa54f454827c3a27efc2847",
    ),
    "cifar10": ImageSet(10, (3, 32, 32), (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010), None, None),
    "cifar100": ImageSet(100, (3, 32, 32), (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761), None, None),
}


def prepared_path(name: str, data_dir: Path) -> Path:
    """Where the prepared arrays of an image data set lie."""
    return data_dir / name / f"{name}.npz"


def prepare_images(
    name: str, data_dir: Path, source: Path | None = None, offline: bool = False
) -> tuple[Path, str]:
    """Build or fetch an image data set and write its prepared file; returns its path and digest.

    Raises DataError where it cannot be fetched, or is not what it is known to be.
    """
    image_set, path = SETS[name], prepared_path(name, data_dir)
    if image_set.build is not None:
        arrays, origin = image_set.build(), "scikit-learn, load_digits"
    else:
        from dualgrad.data.cifar import CIFAR, load_cifar

        arrays, origin = load_cifar(name, path.parent, source, offline), CIFAR[name].url
    found = content_digest(arrays)
    if image_set.digest is not None and found != image_set.digest:
        raise DataError(
            f"{name}: the arrays built from {origin} have SHA-256 {found}, expected {image_set.digest}; "
            "install the pinned version of the package"
        )
    return path, save_arrays(path, arrays, {"data_set": name, "origin": origin})


def load_images(name: str, data_dir: Path) -> Arrays:
    """Arrays of an image data set from its prepared file; a set that comes with a package is prepared on the spot.

    Returns:
        `train_images`, `test_images`: uint8 (n, channels, height, width); `train_labels`, `test_labels`: int64 (n,).

    Raises:
        DataError: the set is unknown, has not been fetched, or its file is damaged.
    """
    if name not in SETS:
        raise DataError(f"unknown image data set {name!r}; known: {', '.join(SETS)}")
    image_set, path = SETS[name], prepared_path(name, data_dir)
    if image_set.build is not None and not path.with_suffix(".json").exists():
        prepare_images(name, data_dir)
    return load_arrays(
        path, expected=image_set.digest, remedy=f"run: dualgrad data {name} --data-dir {data_dir}"
    )


def synthetic_images(shape: tuple[int, int, int], classes: int, n_train: int, n_test: int) -> Arrays:
    """Stand-ins of a data set's shape (channels, height, width), to try things out: faint patterns in noise.

    The same arrays on every call. They are no data: a run reads them only where its task says `synthetic`.
    """
    state = np.random.RandomState(SPLIT_SEED + 2)
    patterns = state.randint(-24, 25, size=(classes, *shape)).astype(np.int16)
    arrays: Arrays = {}
    for split, n in (("train", n_train), ("test", n_test)):
        labels = np.arange(n, dtype=np.int64) % classes
        images = state.randint(0, 256, size=(n, *shape), dtype=np.uint8)
        images = np.clip(images + patterns[labels], 0, 255).astype(np.uint8)
        arrays |= {f"{split}_images": images, f"{split}_labels": labels}
    return arrays
