"""The decoded content of a data set: plain arrays whose digest says which data they are, whatever file they came in.

Images: ``<split>_images`` uint8 (n, channels, height, width). Text: ``<split>_text``, the sentences' UTF-8 one after
another as uint8, with ``<split>_ends`` int64 (n,), where each ends. Both: ``<split>_labels`` int64 (n,). A set whose
splits were drawn from one list also has ``<split>_order`` int64 (n,): places in that list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dualgrad.census.datasets import DataSet
from dualgrad.data.errors import DataError
from dualgrad.validation import clipped, did_you_mean

Arrays = dict[str, np.ndarray]


def text_arrays(split: str, sentences: Sequence[str], labels: np.ndarray) -> Arrays:
    """Return a split of sentences as arrays."""
    coded = [sentence.encode() for sentence in sentences]
    return {
        f"{split}_text": np.frombuffer(b"".join(coded), dtype=np.uint8),
        f"{split}_ends": np.cumsum([len(one) for one in coded], dtype=np.int64),
        f"{split}_labels": labels,
    }


def sentences_of(arrays: Mapping[str, np.ndarray], split: str) -> list[str]:
    """Return the sentences of a split."""
    text, ends = arrays[f"{split}_text"].tobytes(), arrays[f"{split}_ends"].tolist()
    return [text[start:end].decode() for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def label_numbers(entry: DataSet, given: Iterable[Any], where: str) -> np.ndarray:
    """Return labels as class numbers, int64 (n,).

    Args:
        entry: the data set; labels are numbers, or names of its classes.
        given: the labels as read, numbers or text.
        where: what they are labels of, for messages.

    Raises:
        DataError: a label outside the classes; says which, and of which example.
    """
    names = (
        {name: number for number, name in enumerate(entry.classes)} if isinstance(entry.classes, list) else {}
    )
    most, numbers = entry.number_of_classes, []
    for place, label in enumerate(given):
        try:
            number = names.get(label)
            if number is None:
                number = int(label) if float(label) == int(label) else -1
        except (TypeError, ValueError, OverflowError):  # of a list: it cannot be a name
            number = -1
        if not 0 <= number < most:
            known = ", ".join(names) if 0 < len(names) <= 10 else ""
            expected = f"a number below {most}" + (f" or one of {known}" if known else "")
            hint = did_you_mean(label, names) if isinstance(label, str) and names else ""
            raise DataError(
                f"{where}, example {place}: the label {clipped(repr(label))} is no class; expected {expected}{hint}"
            )
        numbers.append(number)
    return np.array(numbers, dtype=np.int64)


def check_content(entry: DataSet, arrays: Mapping[str, np.ndarray], where: str) -> None:
    """Check that decoded content is what its entry says.

    Raises:
        DataError: a split is missing or of another size, a class has another number of examples.
    """
    names = _names_of_classes(entry)
    for split, expected in entry.splits.items():
        labels = arrays.get(f"{split}_labels")
        if labels is None or not len(labels):
            raise DataError(f"{where}: the split '{split}' is missing; {expected_files(entry, split)}")
        size = entry.examples(split)
        counts = np.bincount(labels, minlength=entry.number_of_classes).tolist()
        if size is not None and len(labels) != size:
            c = counts.index(min(counts))
            raise DataError(
                f"{where}: the split '{split}' has {len(labels):,} examples, expected {size:,}; "
                f"of class {names[c]} it has {counts[c]:,}, the fewest"
            )
        if split == "train" and 0 in counts:
            raise DataError(f"{where}: the split 'train' has no example of class {names[counts.index(0)]}")
        if expected.per_class is not None:
            given = expected.per_class
            wanted = list(given) if isinstance(given, list) else [given] * entry.number_of_classes
            if counts != wanted:
                c = next(c for c, pair in enumerate(zip(counts, wanted, strict=True)) if pair[0] != pair[1])
                raise DataError(
                    f"{where}: the split '{split}' has {counts[c]:,} examples of class {names[c]}, "
                    f"expected {wanted[c]:,}"
                )


def _names_of_classes(entry: DataSet) -> list[str]:
    return entry.classes if isinstance(entry.classes, list) else list(map(str, range(entry.classes)))


def summary(entry: DataSet, arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Say in a line for each split how many examples it has, of which shape, and how they divide over the classes."""
    lines, names = [], _names_of_classes(entry)
    for split in entry.splits:
        counts = np.bincount(arrays[f"{split}_labels"], minlength=entry.number_of_classes)
        images = arrays.get(f"{split}_images")
        what = "texts" if images is None else f"pictures of {' × '.join(map(str, images.shape[1:]))}"
        least, most = counts.min(), counts.max()
        divided = f"{least:,} of each class"
        if not least:
            none = [name for name, count in zip(names, counts, strict=True) if not count]
            more = f" and {len(none) - 5} more" if len(none) > 5 else ""
            divided = f"none of class {', '.join(none[:5])}{more}, about which its error says nothing"
        elif least < most:
            divided = (
                f"{least:,} ({names[counts.argmin()]}) to {most:,} ({names[counts.argmax()]}) of a class"
            )
        lines.append(f"{split}: {counts.sum():,} {what}, {divided}")
    return lines


def expected_files(entry: DataSet, split: str) -> str:
    """Say by which names a split's files are looked for."""
    called = [" and ".join(names[:6]) + " …" * (len(names) > 6) for names in names_of(entry, split)]
    return f"expected files or a folder called {' or '.join(called)}"


def names_of(entry: DataSet, split: str) -> list[list[str]]:
    """Return what may hold a split, in the order in which it is looked for: names of files or folders, all needed."""
    given = entry.splits[split]
    candidates = [given.files or [split], *([name] for name in given.aliases), [split]]
    return [names for place, names in enumerate(candidates) if names not in candidates[:place]]
