"""Labels and index lists from files of one's own: read without running anything that a file could ask for.

Nothing here imports torch or pandas: the workflow checks such files before any job.
"""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dualgrad.data.errors import DataError
from dualgrad.data.pickled import load_plain
from dualgrad.validation import clipped, did_you_mean

LARGEST = 256 << 20  # bytes; ten million labels of eight bytes are 80 MB


def read_column(path: Path, column: str | None = None) -> np.ndarray:
    """Return one vector (n,) of numbers or words of a .npy, .npz, .csv, .tsv, .parquet, .pt or .pth file.

    Args:
        path: the file. Tables have a header; a torch file holds NumPy's plain arrays or tensors, by name or alone.
        column: its column, array or entry; needed where there are several.

    Raises:
        DataError: no such file or column, another kind of file, a damaged one, or no vector of numbers or words.
    """
    readers: dict[str, Callable[[Path], Mapping[str, Any]]] = {
        ".npy": _npy,
        ".npz": _npz,
        ".csv": lambda one: _table(one, ","),
        ".tsv": lambda one: _table(one, "\t"),
        ".parquet": _parquet,
        ".pt": _torch_file,
        ".pth": _torch_file,
    }
    ending = path.suffix.lower()
    if ending not in readers:
        hint = did_you_mean(ending, readers)
        raise DataError(f"{path}: expected a file that ends in {', '.join(readers)}; got '{ending}'{hint}")
    if path.is_dir():
        raise DataError(f"{path}: expected a file; this is a folder")
    if not path.is_file():
        near = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"{path}: there is no such file{did_you_mean(path.name, near)}")
    if path.stat().st_size > LARGEST:
        raise DataError(f"{path}: expected at most {LARGEST >> 20} MB; got {path.stat().st_size >> 20} MB")
    try:
        columns = readers[ending](path)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except Exception as error:  # a damaged file can raise anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{path}: cannot be read as a {ending} file ({reason})") from None
    known = ", ".join(clipped(name, 40) for name in columns)
    if not columns:
        raise DataError(f"{path}: holds nothing")
    if column is None and len(columns) != 1:
        raise DataError(f"{path}: the key column is needed: the file holds {known}")
    if column is not None and column not in columns:
        if list(columns) == [""]:
            raise DataError(f"{path}: expected no column: the file holds one array; got '{clipped(column)}'")
        hint = did_you_mean(column, columns)
        raise DataError(f"{path}: there is no column '{clipped(column)}'{hint} (known: {known})")
    return _vector(columns[next(iter(columns)) if column is None else column], path)


def _vector(found: Any, path: Path) -> np.ndarray:
    if not isinstance(found, np.ndarray | list | tuple):
        raise DataError(f"{path}: expected a vector of numbers or words; got a {type(found).__name__}")
    try:
        array = np.asarray(found)
    except ValueError:  # rows of different lengths
        raise DataError(f"{path}: expected a vector of numbers or words; got a list of lists") from None
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise DataError(
            f"{path}: expected one number or word per example; got an array of shape {array.shape}"
        )
    if array.dtype.kind not in "iufbUS":
        raise DataError(f"{path}: expected numbers or words; got values of the type {array.dtype}")
    if array.dtype.kind not in "US":
        return array
    try:
        words = np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array
    except UnicodeDecodeError:
        raise DataError(f"{path}: expected text in UTF-8") from None
    return _numbers(words.tolist())


def _npy(path: Path) -> dict[str, Any]:
    return {"": np.load(path, allow_pickle=False)}


class _Columns(Mapping[str, Any]):
    """Columns of a file by name, each read when it is asked for."""

    def __init__(self, path: Path, names: Sequence[str], read: Callable[[str], Any]) -> None:
        self._path, self._names, self._read = path, names, read

    def __getitem__(self, name: str) -> Any:
        try:
            return self._read(name)
        except DataError:
            raise
        except Exception as error:  # as in read_column
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise DataError(f"{self._path}: '{clipped(name)}' cannot be read ({reason})") from None

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Any:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _npz(path: Path) -> Mapping[str, Any]:
    with zipfile.ZipFile(path) as archive:
        if sum(one.file_size for one in archive.infolist()) > LARGEST:
            raise DataError(f"expected at most {LARGEST >> 20} MB, unpacked")

    def read(name: str) -> Any:
        with np.load(path, allow_pickle=False) as stored:
            return stored[name]

    with np.load(path, allow_pickle=False) as stored:
        return _Columns(path, stored.files, read)


def _table(path: Path, separator: str) -> dict[str, Any]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError("expected text in UTF-8") from None
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    header = [name.strip() for name in next(rows, [])]
    if not header:
        raise DataError("the first line is empty; expected the names of the columns")
    if all(_is_number(name) for name in header):
        raise DataError(f"the first line holds numbers ({clipped(','.join(header), 40)}); expected a header")
    if len(header) == 1 and any(other in header[0] for other in ";,\t"):
        kind = {",": "commas", "\t": "tabs"}[separator]
        raise DataError(
            f"the first line holds one name ('{clipped(header[0], 40)}'); expected {kind} between columns"
        )
    _once(header)
    columns: list[list[str]] = [[] for _ in header]
    for row in rows:
        if not row:
            continue
        if len(row) != len(header):
            raise DataError(f"line {rows.line_num}: expected {len(header)} value(s); got {len(row)}")
        for kept, value in zip(columns, row, strict=True):
            kept.append(value.strip())
    return {name: _numbers(values) for name, values in zip(header, columns, strict=True)}


def _once(names: Sequence[str]) -> None:
    """Raise a DataError if two columns have one name."""
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"the column '{clipped(twice)}' occurs twice")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers(values: list[str]) -> np.ndarray:
    """Values of a column as numbers, where all of them are."""
    try:
        return np.array([int(value) for value in values], dtype=np.int64)
    except (ValueError, OverflowError):
        pass
    try:
        return np.array([float(value) for value in values])
    except ValueError:
        return np.array(values)


def _parquet(path: Path) -> Mapping[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Opened here: Arrow takes no path beyond ASCII in an ASCII locale.
    file = pq.ParquetFile(path.open("rb"))
    if file.metadata.num_rows > LARGEST // 8:
        raise DataError(f"expected at most {LARGEST // 8:,} rows; got {file.metadata.num_rows:,}")
    names = file.schema_arrow.names
    _once(names)

    def read(name: str) -> Any:
        # A dot in a name would lead into a column of columns.
        found = file.read([name]).column(0) if "." not in name else file.read().column(name)
        if found.null_count:
            raise DataError(f"{path}: column '{clipped(name)}' has {found.null_count} empty value(s)")
        if pa.types.is_dictionary(found.type):  # what others call a categorical
            found = found.cast(found.type.value_type)
        words = pa.types.is_string(found.type) or pa.types.is_large_string(found.type)
        return np.array(found.to_pylist()) if words else found.to_numpy()

    return _Columns(path, names, read)


def _torch_file(path: Path) -> Mapping[str, Any]:
    found = load_plain(path, LARGEST)
    if isinstance(found, Mapping):
        if not all(isinstance(name, str) for name in found):
            raise DataError("expected entries with a name")
        return found
    return {"": found}


# ------------------------------------------------------------------------------------------ what they must be


def as_labels(found: np.ndarray, n: int, classes: int, names: Sequence[str], where: str) -> np.ndarray:
    """Return labels (n,) as class numbers, int64.

    Args:
        found: numbers, or names of classes.
        n: number of training examples.
        classes: number of classes.
        names: their names, where the data set has some.
        where: file and data set, for messages.

    Raises:
        DataError: another number of labels, or a value that is no class.
    """
    if len(found) != n:
        raise DataError(f"{where}: expected {n:,} labels, one for each training example; got {len(found):,}")
    if found.dtype.kind in "US":
        words = found.astype(str).tolist()
        number = {name: place for place, name in enumerate(names)}
        if unknown := [place for place, word in enumerate(words) if word not in number]:
            # Words among numbers are what is amiss with these, not numbers among words.
            place = min(unknown, key=lambda one: (_is_number(words[one]), one))
            if not names:
                raise DataError(
                    f"{where}: label {place} (from 0) is '{clipped(words[place], 40)}'; expected class numbers, as "
                    "the data set names no classes"
                )
            hint = did_you_mean(words[place], names)
            known = clipped(", ".join(names), 200)
            raise DataError(
                f"{where}: label {place} (from 0): '{clipped(words[place])}' is no class{hint} (known: {known})"
            )
        return np.array([number[word] for word in words], dtype=np.int64)
    labels = _whole(found, "label", where)
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        hint = "; counted from 1?" if labels.min() == 1 and labels.max() == classes else ""
        place = wrong[0]
        raise DataError(
            f"{where}: label {place} (from 0) is {labels[place]}; expected classes 0 to {classes - 1}{hint}"
        )
    return labels


def as_indices(found: np.ndarray, n: int, where: str) -> np.ndarray:
    """Return indices of training examples (from 0), int64, in the file's order; flags (n,) of true and false will do.

    Raises:
        DataError: none, one twice, or one that is no example.
    """
    if found.dtype.kind in "US":  # as text files have flags
        words = np.char.lower(found.astype(str))
        found = words == "true" if np.isin(words, ("true", "false")).all() else found
    if found.dtype.kind == "b":
        if len(found) != n:
            raise DataError(
                f"{where}: expected {n:,} flags, one for each training example; got {len(found):,}"
            )
        found = np.flatnonzero(found)
    indices = _whole(found, "index", where)
    if not len(indices):
        raise DataError(f"{where}: expected at least one index; got none")
    wrong = np.flatnonzero((indices < 0) | (indices >= n))
    if len(wrong):
        problem = f"index {wrong[0]} (from 0) is {indices[wrong[0]]}; expected 0 to {n - 1:,}"
        raise DataError(f"{where}: {problem}")
    values, counts = np.unique(indices, return_counts=True)
    if counts.max() > 1 and len(indices) == n and values[-1] == 1:
        raise DataError(f"{where}: expected indices from 0, or true and false for each example; got 1 and 0")
    if counts.max() > 1:
        raise DataError(f"{where}: the index {values[counts.argmax()]} occurs {counts.max()} times")
    return indices


def _whole(found: np.ndarray, what: str, where: str) -> np.ndarray:
    if found.dtype.kind in "US":
        word = min(found.astype(str).tolist(), key=_is_number)
        raise DataError(f"{where}: expected whole numbers; got '{clipped(word, 40)}'")
    if found.dtype.kind == "b":
        raise DataError(f"{where}: expected whole numbers; got true and false")
    if found.dtype.kind == "u":
        found = np.minimum(found, np.iinfo(np.int64).max)
    with np.errstate(invalid="ignore"):
        whole = found.astype(np.int64)
    wrong = np.flatnonzero(whole != found) if found.dtype.kind == "f" else np.array([], dtype=np.int64)
    if len(wrong):
        raise DataError(f"{where}: {what} {wrong[0]} (from 0) is {found[wrong[0]]}; expected a whole number")
    return whole


def digest(values: np.ndarray) -> str:
    """Return the SHA-256 (hex) of class numbers or indices, whatever file holds them."""
    return hashlib.sha256(np.ascontiguousarray(values, dtype="<i8").tobytes()).hexdigest()


def measured(noisy: np.ndarray, true: np.ndarray, classes: int) -> dict[str, Any]:
    """Return the share of wrong labels, and the transition matrix.

    ``noise_rate``: share of the labels that are not the true ones. ``transition``: (classes, classes), row: true
    class, column: share of its examples with that label; null where a class has no example.
    """
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (true, noisy), 1)
    rows = counts.sum(1)
    shares = [
        None if not total else [round(float(share), 6) for share in row / total]
        for row, total in zip(counts, rows, strict=True)
    ]
    return {"noise_rate": float((noisy != true).mean()), "transition": shares}
