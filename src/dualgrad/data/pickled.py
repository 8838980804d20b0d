"""CIFAR's pickled batches and files of torch.save, read without running what a pickle could ask for."""

from __future__ import annotations

import codecs
import functools
import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dualgrad.data.errors import DataError


def _array(*_: Any) -> np.ndarray:
    """What NumPy begins an array with, whatever is asked for; its size comes with its numbers."""
    return np.empty(0, "i1")


class _ArraysOnly(pickle.Unpickler):
    """Reads NumPy arrays and plain containers; refuses everything else a pickle could run."""

    def find_class(self, module: str, name: str) -> Any:
        if (module.replace("_core", "core"), name) == ("numpy.core.multiarray", "_reconstruct"):
            return _array
        if (module, name) == ("numpy", "ndarray"):
            return None  # a name that is passed on; called, it would make an array of any size
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        if (module, name) == ("_codecs", "encode"):
            return codecs.encode
        raise DataError(f"it asks for {module}.{name}, which no CIFAR file needs")


def load_batch(content: bytes, where: str) -> dict[str, Any]:
    """Return what a batch file holds.

    Raises:
        DataError: the file is no pickled dictionary of arrays, or would run code.
    """
    try:
        batch = _ArraysOnly(io.BytesIO(content), encoding="latin1").load()
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(f"{where}: no CIFAR file ({type(error).__name__}: {error})") from error
    if not isinstance(batch, dict):
        raise DataError(f"{where}: no CIFAR file (a {type(batch).__name__})")
    return batch


# ------------------------------------------------------------------------------------------ torch's files

_STORAGES = {
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
}


class _TorchFile(_ArraysOnly):
    """Reads a file of torch.save: plain containers, NumPy's plain arrays and tensors, and nothing else.

    Args:
        content: its pickle.
        storage: gives the numbers of a storage by its key.
        largest: most bytes of all tensors together.
    """

    def __init__(self, content: bytes, storage: Callable[[str], bytes], largest: int) -> None:
        super().__init__(io.BytesIO(content))
        self._storage, self._largest, self._left = storage, largest, largest

    def _tensor(
        self, storage: np.ndarray, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
    ) -> np.ndarray:
        """What torch builds a tensor from, as an array."""
        if len(size) > 2 or any(type(one) is not int or one < 0 for one in (offset, *size, *stride)):
            raise DataError("expected vectors; it holds a tensor of another shape")
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        if 0 not in size and last >= len(storage):
            raise DataError("a tensor claims more numbers than the file holds")
        # Strides of 0 make a few bytes any number of them, and so do many tensors of one storage.
        self._left -= math.prod(size) * storage.itemsize
        if self._left < 0:
            raise DataError(f"expected tensors of at most {self._largest >> 20} MB together")
        strides = tuple(step * storage.itemsize for step in stride)
        return np.lib.stride_tricks.as_strided(storage[offset:], size, strides, writeable=False).copy()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._tensor
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        try:
            return super().find_class(module, name)
        except DataError:
            raise DataError(
                f"it asks for {module}.{name}; expected NumPy's plain arrays and tensors"
            ) from None

    def persistent_load(self, pid: Any) -> np.ndarray:
        kind, dtype, key, _, count = pid
        if kind != "storage" or dtype not in _STORAGES.values() or type(count) is not int:
            raise DataError("expected NumPy's plain arrays and tensors")
        return np.frombuffer(self._storage(str(key)), dtype=f"<{dtype}")


def load_plain(path: Path, largest: int) -> Any:
    """Return what a file of ``torch.save`` holds, tensors as arrays, without running anything.

    Args:
        path: the file.
        largest: most bytes of it, and of the tensors that it is to become.

    Raises:
        DataError: another kind of file, or one that holds something else.
    """
    if not zipfile.is_zipfile(path):
        raise DataError("expected a file of torch.save (PyTorch 1.6 or newer)")
    with zipfile.ZipFile(path) as archive:
        names = {name.partition("/")[2]: name for name in archive.namelist()}
        if "data.pkl" not in names:
            raise DataError("expected a file of torch.save; it holds no data.pkl")
        if sum(one.file_size for one in archive.infolist()) > largest:
            raise DataError(f"expected at most {largest >> 20} MB, unpacked")
        if "byteorder" in names and archive.read(names["byteorder"]) != b"little":
            raise DataError("its numbers are big-endian")

        @functools.cache  # tensors may share one
        def storage(key: str) -> bytes:
            if f"data/{key}" not in names:
                raise DataError(f"the numbers of storage {key} are missing")
            return archive.read(names[f"data/{key}"])

        found = _TorchFile(archive.read(names["data.pkl"]), storage, largest).load()
    if isinstance(found, np.ndarray) and found.dtype.hasobject:
        raise DataError("expected numbers; it holds an array of objects")
    return found
