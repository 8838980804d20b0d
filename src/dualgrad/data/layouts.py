"""How files become a data set's content: one reader for each layout.

A reader takes a place, the set's entry and its layout, and returns the content of ``dualgrad.data.content``. It reads
nothing but bytes: no pickled code, no path or link of an archive.
"""

from __future__ import annotations

import csv
import io
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from dualgrad.census.datasets import (
    COMMON,
    CifarBatches,
    DataSet,
    NpzFile,
    ParquetFiles,
    Pictures,
    Table,
)
from dualgrad.data.content import Arrays, expected_files, label_numbers, names_of, text_arrays
from dualgrad.data.errors import DataError
from dualgrad.data.pickled import load_batch
from dualgrad.data.places import Place
from dualgrad.progress import progress
from dualgrad.validation import clipped, did_you_mean

_PICTURES = (".png", ".jpg", ".jpeg")
_TABLES = (".tsv", ".csv")
# Usual names of columns, where the layout names none.
_COLUMNS = {
    "image": ("img", "image"),
    "text": ("sentence", "text"),
    "label": ("label", "labels", "fine_label"),
}


def read(place: Place, entry: DataSet, layout: Any) -> Arrays:
    """Return a set's content as decoded from its files.

    Raises:
        DataError: the files are not of this layout, or hold something else; says which file, and where in it.
    """
    return READERS[layout.format](place, entry, layout)


def layout_of(place: Place, entry: DataSet) -> Any:
    """Return the layout of files that somebody gives: the set's own, or another that they are seen to have.

    Raises:
        DataError: files of no known layout, of one for another kind of data, or of several.
    """
    names = place.names()
    endings = {name.suffix.lower() for name in names}
    bare = {name.name for name in names}
    batches = isinstance(entry.layout, CifarBatches) and any(
        file in bare for split in entry.splits.values() for file in split.files or ()
    )
    there = {
        "cifar_batches": batches
        or bool({"data_batch_1", "test_batch"} & bare)
        or {"train", "test", "meta"} <= bare,
        "parquet": ".parquet" in endings,
        "npz": ".npz" in endings,
        "pictures": bool(endings & set(_PICTURES)),
        "table": bool(endings & set(_TABLES)),
    }
    found = [layout for layout, is_there in there.items() if is_there]
    if entry.layout.format in found:
        return entry.layout
    if not found:
        seen = ", ".join(sorted(filter(None, endings))[:5]) or "nothing with an ending"
        known = ", ".join(sorted(COMMON))
        raise DataError(f"{place}: no files of a known layout ({known}); it holds {seen}")
    of_other_kind = ("table",) if entry.kind == "image" else ("cifar_batches", "npz", "pictures")
    fitting = [layout for layout in found if layout not in of_other_kind]
    if not fitting:
        raise DataError(
            f"{place}: files of the layout {' and '.join(found)}, but {entry.name} is a set of the kind {entry.kind}"
        )
    if len(fitting) > 1:
        raise DataError(
            f"{place}: files of the layouts {' and '.join(fitting)}, none of them that of {entry.name} "
            f"({entry.layout.format}); give those of one layout alone"
        )
    (one,) = fitting
    more = (
        {"labels": "fine_labels" if entry.number_of_classes == 100 else "labels"}
        if one == "cifar_batches"
        else {}
    )
    return COMMON[one].model_validate({"format": one, **more})


def _where_to_say(entry: DataSet, layout: Any) -> str:
    """Return where a person can say more of a layout that was read: another than the set's own is seen, not said."""
    if layout is entry.layout or any(layout is source.layout for source in entry.sources):
        return "in the layout"
    return f"in the `layout` of one of the entry's sources (its own is {entry.layout.format})"


def _belongs(name: PurePosixPath, to: str) -> bool:
    """Whether a file is, or lies in the folder, or is a numbered piece of what is called ``to``."""
    stem, to_stem = name.name.split(".")[0], to.split(".")[0]
    return (
        to in (name.name, *name.parts[:-1])
        or to_stem == stem
        or bool(re.match(rf"{re.escape(to_stem)}[-_]", stem))
    )


def _split_of(
    place: Place,
    entry: DataSet,
    endings: tuple[str, ...],
    belongs: Callable[[PurePosixPath, str], bool] = _belongs,
) -> dict[PurePosixPath, str]:
    """Return which split each file with one of these endings belongs to, in the order of a split's examples.

    Raises:
        DataError: a split has no file, or lacks one of those that hold it together.
    """
    files = [name for name in place.names() if name.suffix.lower() in endings]
    chosen: dict[PurePosixPath, str] = {}
    for split in entry.splits:
        for names in names_of(entry, split):
            own = {to: [name for name in files if belongs(name, to) and name not in chosen] for to in names}
            if any(own.values()):
                break
        else:
            raise DataError(f"{place}: the split '{split}' is missing; {expected_files(entry, split)}")
        for to, pieces in own.items():
            if not pieces:
                raise DataError(f"{place}: {to} is missing, which belongs to the split '{split}'")
            chosen |= dict.fromkeys(sorted(pieces, key=_by_number), split)
    return chosen


def _by_number(name: PurePosixPath) -> list[tuple[int, str]]:
    """Return a key that puts numbered pieces in their order, train-2 before train-10."""
    return [
        (int(part) if part.isdecimal() else -1, part)
        for part in re.split(r"(\d+)", str(name), flags=re.ASCII)
    ]


# --------------------------------------------------------------------------------------------- CIFAR's batches


def _cifar_batches(place: Place, entry: DataSet, layout: CifarBatches) -> Arrays:
    files_of = {split: _batches_of(place, entry, split) for split in entry.splits}
    wanted = {file for files in files_of.values() for file in files}
    batches: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, content in place.read(lambda name: name.name in wanted):
        where = f"{place}: {name.name}"
        batch = load_batch(content, where)
        images, labels = np.asarray(batch.get("data")), batch.get(layout.labels)
        assert entry.shape is not None
        size = int(np.prod(entry.shape))
        if images.dtype != np.uint8 or images.ndim != 2 or images.shape[1] != size:
            raise DataError(
                f"{where}, data: {images.dtype} of shape {images.shape}, expected uint8 of shape (n, {size})"
            )
        if not isinstance(labels, list | np.ndarray) or len(labels) != len(images):
            raise DataError(
                f"{where}, {layout.labels}: expected a label for each of the {len(images)} images"
            )
        batches[name.name] = images, label_numbers(entry, list(labels), f"{where}, {layout.labels}")
    arrays: Arrays = {}
    for split, files in files_of.items():
        images = np.concatenate([batches[file][0] for file in files])
        arrays[f"{split}_images"] = images.reshape(len(images), *(entry.shape or ()))
        arrays[f"{split}_labels"] = np.concatenate([batches[file][1] for file in files])
    return arrays


def _batches_of(place: Place, entry: DataSet, split: str) -> list[str]:
    """Return the names of a split's batches, as the entry has them or as CIFAR was published.

    Raises:
        DataError: the split is missing, or one of its batches.
    """
    there = {name.name for name in place.names()}
    usual = {
        "train": sorted(name for name in there if re.fullmatch(r"data_batch_\d+", name)),
        "test": ["test_batch"],
    }
    for names in [*names_of(entry, split), usual.get(split, [])]:
        if there & set(names):
            if lacking := [name for name in names if name not in there]:
                raise DataError(
                    f"{place}: the file {lacking[0]} is missing, which belongs to the split '{split}'"
                )
            return names
    raise DataError(f"{place}: the split '{split}' is missing; {expected_files(entry, split)}")


# --------------------------------------------------------------------------------------------- pictures


def decoded(content: bytes, shape: list[int], where: str) -> np.ndarray:
    """Return a PNG or JPEG as uint8 (channels, height, width).

    Raises:
        DataError: no readable picture, or of another size.
    """
    from PIL import Image, UnidentifiedImageError

    channels, height, width = shape
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as picture:
            if picture.size != (width, height):
                raise DataError(
                    f"{where} has {picture.size[0]} × {picture.size[1]} pixels, expected {width} × {height}"
                )
            # Of colours PIL takes the upper 8 bits of 16 and says nothing; a PNG's depth is its 25th byte.
            if picture.mode.startswith(("I", "F")) or (picture.format == "PNG" and content[24] > 8):
                raise DataError(f"{where} has more than 8 bits a channel, expected 8")
            pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    except DataError:
        raise
    except Exception as error:  # a damaged picture can raise anything
        # What PIL says of a file that it does not know names an object in memory.
        reason = (
            "" if isinstance(error, UnidentifiedImageError) else f" ({' '.join(str(error).split())[:120]})"
        )
        raise DataError(f"{where} is no readable PNG or JPEG{reason}") from None
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _pictures(place: Place, entry: DataSet, layout: Pictures) -> Arrays:
    assert entry.shape is not None
    normal = partial(unicodedata.normalize, "NFC")  # macOS takes letters and accents apart in names of files
    classes = (
        {normal(str(name)): number for number, name in enumerate(entry.classes)}
        if isinstance(entry.classes, list)
        else {str(number): number for number in range(entry.classes)}
    )

    def belongs(name: PurePosixPath, to: str) -> bool:
        """Whether a picture lies in the folder, other than as its class's own: classes may be called like splits."""
        of_class = len(name.parts) > 1 and normal(name.parts[-2]) in classes
        return to in name.parts[: -2 if of_class else -1]

    split_of = _split_of(place, entry, _PICTURES, belongs)
    keys: dict[PurePosixPath, tuple] = {}
    for name in split_of:
        folder = normal(name.parts[-2]) if len(name.parts) > 1 else ""
        if folder not in classes:
            known = clipped(", ".join(classes), 200)
            raise DataError(
                f"{place}: {name}: the folder '{clipped(folder)}' is no class of {entry.name}"
                f"{did_you_mean(folder, classes)} (known: {known})"
            )
        if layout.order == "name":
            keys[name] = (classes[folder], name.name)
        elif name.stem.isdecimal():
            keys[name] = (int(name.stem),)
        else:
            raise DataError(
                f"{place}: {name}: expected a number as the picture's name, by which the examples are ordered; with "
                f"`order: name` {_where_to_say(entry, layout)} they are ordered class by class, by name"
            )
    pixels: dict[PurePosixPath, np.ndarray] = {}
    files = place.read(lambda name: name in split_of)
    for name, content in progress(files, len(split_of), "picture", lambda one: str(one[0])):
        pixels[name] = decoded(content, entry.shape, f"{place}: {name}")
    arrays: Arrays = {}
    for split in entry.splits:
        names = sorted((name for name in split_of if split_of[name] == split), key=lambda name: keys[name])
        for one, other in zip(names, names[1:], strict=False):
            if keys[one] == keys[other]:
                raise DataError(
                    f"{place}: {one} and {other} have the same number, so they have no order; say `order: name` "
                    f"{_where_to_say(entry, layout)} if the pictures of each class are numbered by themselves"
                )
        arrays[f"{split}_images"] = np.stack([pixels[name] for name in names])
        arrays[f"{split}_labels"] = np.array(
            [classes[normal(name.parts[-2])] for name in names], dtype=np.int64
        )
    return arrays


# --------------------------------------------------------------------------------------------- Parquet, npz, tables


def _column(what: str, entry: DataSet, layout: Any, there: list[str], where: str) -> str:
    named = layout.columns.get(what)
    candidates = [named] if named else list(_COLUMNS[what])
    found = next((name for name in candidates if name in there), None)
    if found is None:
        hint = did_you_mean(candidates[0], there)
        raise DataError(
            f"{where}: no column {' or '.join(candidates)} for the {what}s{hint} "
            f"(there: {clipped(', '.join(there))}); `columns` {_where_to_say(entry, layout)} say which it is"
        )
    if there.count(found) > 1:
        raise DataError(f"{where}: the column '{clipped(found)}' occurs twice")
    return found


def _parquet(place: Place, entry: DataSet, layout: ParquetFiles) -> Arrays:
    import pyarrow as pa
    import pyarrow.parquet as pq

    split_of = _split_of(place, entry, (".parquet",))
    what = "image" if entry.kind == "image" else "text"
    parts: dict[PurePosixPath, tuple[list, np.ndarray]] = {}
    for name, content in place.read(lambda name: name in split_of):
        where = f"{place}: {name}"
        try:
            table = pq.read_table(pa.BufferReader(content))
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{where} is no readable Parquet file ({clipped(' '.join(str(error).split()))})"
            ) from None
        columns = [
            table[_column(one, entry, layout, table.column_names, where)].to_pylist()
            for one in (what, "label")
        ]
        items = [
            _item(value, entry, f"{where}, row {row}")
            for row, value in progress(enumerate(columns[0]), len(columns[0]), "row", lambda one: str(one[0]))
        ]
        parts[name] = items, label_numbers(entry, columns[1], where)
    arrays: Arrays = {}
    for split in entry.splits:
        names = [name for name in split_of if split_of[name] == split]
        items = [item for name in names for item in parts[name][0]]
        labels = np.concatenate([parts[name][1] for name in names])
        arrays |= _split_arrays(entry, split, items, labels)
    return arrays


def _item(value: Any, entry: DataSet, where: str) -> Any:
    """Return one image or sentence of a row."""
    if entry.kind == "text":
        if not isinstance(value, str):
            raise DataError(f"{where}: expected a sentence; got {clipped(repr(value))}")
        return value
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes):
        raise DataError(f"{where}: expected the bytes of a PNG or JPEG; got {clipped(repr(value))}")
    assert entry.shape is not None
    return decoded(content, entry.shape, f"{where}: the picture")


def _split_arrays(entry: DataSet, split: str, items: list, labels: np.ndarray) -> Arrays:
    if entry.kind == "text":
        return text_arrays(split, items, labels)
    assert entry.shape is not None
    images = np.stack(items) if items else np.zeros((0, *entry.shape), dtype=np.uint8)
    return {f"{split}_images": images, f"{split}_labels": labels}


def _npz(place: Place, entry: DataSet, layout: NpzFile) -> Arrays:
    assert entry.shape is not None
    files = list(place.read(lambda name: name.suffix.lower() == ".npz"))
    if len(files) != 1:
        raise DataError(f"{place}: expected one .npz file; got {len(files)}")
    where = f"{place}: {files[0][0]}" if len(place.names()) > 1 else str(place)
    arrays: Arrays = {}
    try:
        with np.load(io.BytesIO(files[0][1]), allow_pickle=False) as stored:
            held = {name: stored[name] for name in stored.files}
    except Exception as error:  # a damaged archive of arrays can raise anything
        raise DataError(
            f"{where} is no readable .npz of plain arrays ({clipped(' '.join(str(error).split()))})"
        ) from None
    channels, height, width = entry.shape
    for split in entry.splits:
        names = {
            part: layout.columns.get(f"{split}_{part}", f"{split}_{part}") for part in ("images", "labels")
        }
        for name in names.values():
            if name not in held:
                hint = did_you_mean(name, held)
                raise DataError(
                    f"{where}: the array '{name}' is missing{hint} (there: {clipped(', '.join(held))})"
                )
        images, labels = held[names["images"]], held[names["labels"]]
        if images.shape[1:] == (height, width, channels):
            images = images.transpose(0, 3, 1, 2)
        elif channels == 1 and images.shape[1:] == (height, width):
            images = images[:, None]
        if images.dtype != np.uint8 or images.shape[1:] != tuple(entry.shape):
            raise DataError(
                f"{where}, {names['images']}: {images.dtype} of shape {images.shape}, expected uint8 of shape "
                f"(n, {channels}, {height}, {width}) or (n, {height}, {width}, {channels})"
            )
        if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
            raise DataError(
                f"{where}, {names['labels']}: expected a whole number for each of the {len(images)} images"
            )
        arrays[f"{split}_images"] = np.ascontiguousarray(images)
        arrays[f"{split}_labels"] = label_numbers(entry, labels.tolist(), f"{where}, {names['labels']}")
    return arrays


def _table(place: Place, entry: DataSet, layout: Table) -> Arrays:
    split_of = _split_of(place, entry, _TABLES)
    rows: dict[PurePosixPath, tuple[list[str], np.ndarray]] = {}
    for split in entry.splits:
        names = [name for name in split_of if split_of[name] == split]
        if len(names) > len(entry.splits[split].files or [split]):
            raise DataError(
                f"{place}: {names[0]} and {names[1]} may both be the split '{split}'; list them as its `files` if "
                "they hold it together"
            )
    for name, content in place.read(lambda name: name in split_of):
        where = f"{place}: {name}" if place.path.is_dir() or place.is_archive else str(place)
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise DataError(f"{where}, line {line}: expected text in UTF-8 ({error.reason})") from None
        lines = (_tsv if name.suffix.lower() == ".tsv" else _csv)(text, where)
        _, header = next(lines, (1, []))
        text_at, label_at = (
            header.index(_column(what, entry, layout, header, where)) for what in ("text", "label")
        )
        sentences: list[str] = []
        labels: list[str] = []
        for line, row in lines:
            if len(row) != len(header):
                raise DataError(
                    f"{where}, line {line}: {len(row)} fields, expected {len(header)} ({', '.join(header)})"
                )
            sentences.append(row[text_at])
            labels.append(row[label_at])
        rows[name] = sentences, label_numbers(entry, labels, where)
    arrays: Arrays = {}
    for split in entry.splits:
        parts = [rows[name] for name in split_of if split_of[name] == split]
        sentences = [sentence for part, _ in parts for sentence in part]
        arrays |= text_arrays(split, sentences, np.concatenate([part for _, part in parts]))
    return arrays


def _tsv(text: str, where: str) -> Iterator[tuple[int, list[str]]]:
    """Lines with tabs between fields; quotation marks are part of a sentence, as in GLUE's files."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line:
            yield number, line.removesuffix("\r").split("\t")


def _csv(text: str, where: str) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(min(sys.maxsize, 1 << 30))
    lines = csv.reader(io.StringIO(text), strict=True)
    try:
        for row in lines:
            if row:
                yield lines.line_num, row
    except csv.Error as error:
        raise DataError(f"{where}, line {lines.line_num}: not readable as CSV ({error})") from None


READERS: dict[str, Callable[[Place, DataSet, Any], Arrays]] = {
    "cifar_batches": _cifar_batches,
    "pictures": _pictures,
    "parquet": _parquet,
    "npz": _npz,
    "table": _table,
}
