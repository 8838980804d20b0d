"""Reading .tar.gz archives that others made: within bounds, whatever they claim."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

# A header is read in one piece; those of honest archives are a few kilobytes.
_LARGEST_READ = 16 << 20


class ArchiveDamage(ValueError):
    """An archive is damaged, or swells beyond what it may; the text says how, without the archive's name."""


class _Bounded:
    """The decompressed stream of an archive, which ends in an error after *limit* bytes."""

    def __init__(self, stream: gzip.GzipFile, limit: int) -> None:
        self._stream, self._limit = stream, limit

    def read(self, size: int) -> bytes:
        """Read up to *size* bytes."""
        self._check(size if size > _LARGEST_READ else 0, _LARGEST_READ)
        data = self._stream.read(size)
        self._check(self._stream.tell(), self._limit)
        return data

    def seek(self, offset: int) -> int:
        """Go to a place, decompressing what lies before it."""
        self._check(offset, self._limit)
        return self._stream.seek(offset)

    def tell(self) -> int:
        """Return the place in the decompressed stream."""
        return self._stream.tell()

    def _check(self, size: int, limit: int) -> None:
        if size > limit:
            raise ArchiveDamage(f"it swells to more than the {limit:,} bytes expected at most")


@contextmanager
def open_tar(stream: IO[bytes], limit: int) -> Iterator[tarfile.TarFile]:
    """Open a .tar.gz archive for reading.

    Args:
        stream: the archive.
        limit: bytes that it may have when decompressed, headers and members that nobody wants included.

    Raises:
        ArchiveDamage: not such an archive, damaged, or larger; also while it is being read.
    """
    try:
        with gzip.GzipFile(fileobj=stream) as unzipped:
            bounded: Any = _Bounded(unzipped, limit)
            with tarfile.open(fileobj=bounded, mode="r:") as archive:
                yield archive
    except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError, ArithmeticError) as error:
        if isinstance(error, ValueError) and type(error) not in (ValueError, UnicodeDecodeError):
            raise  # of the reader's own, about what it found
        raise ArchiveDamage(" ".join(str(error).split()) or type(error).__name__) from None
