"""CIFAR's pickled batches, read without running what a pickle could ask for."""

from __future__ import annotations

import codecs
import io
import pickle
from typing import Any

import numpy as np

from dualgrad.data.errors import DataError


class _ArraysOnly(pickle.Unpickler):
    """Reads NumPy arrays and plain containers; refuses everything else a pickle could run."""

    def find_class(self, module: str, name: str) -> Any:
        if (module.replace("_core", "core"), name) == ("numpy.core.multiarray", "_reconstruct"):
            from numpy._core.multiarray import _reconstruct

            return _reconstruct
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
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
