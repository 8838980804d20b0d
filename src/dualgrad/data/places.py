"""Where files of a data set lie: a folder, an archive or a single file, read the same way.

Archives are read in memory, member by member, within bounds: no path, link or mode in one can touch the disk.
"""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from dualgrad.archives import ArchiveDamage, open_tar
from dualgrad.data.errors import DataError
from dualgrad.data.store import bounded, file_hash

# Of one file, and of all that an archive holds; the largest file here is one of CIFAR-100's, 156 MB.
LARGEST_FILE, LARGEST_ARCHIVE = 256 << 20, 2 << 30

File = tuple[PurePosixPath, bytes]
Member = tuple[PurePosixPath, Callable[[], bytes]]


class Place:
    """The regular files below a folder, in a .tar, .tar.gz or .zip archive, or one file by itself.

    Raises:
        DataError: there is no such file or folder.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise DataError(f"{path} does not exist")
        self.path = path
        name = path.name.lower()
        self.is_tar = path.is_file() and name.endswith((".tar", ".tar.gz", ".tgz"))
        self.is_zip = path.is_file() and name.endswith(".zip")
        self._names: list[PurePosixPath] | None = None

    def __str__(self) -> str:
        return str(self.path)

    @property
    def is_archive(self) -> bool:
        """Whether it is an archive."""
        return self.is_tar or self.is_zip

    def names(self) -> list[PurePosixPath]:
        """Return the files' names, in the place's own order.

        Raises:
            DataError: a damaged archive.
        """
        if self._names is None:
            self._names = [name for name, _ in self._members()]
        return self._names

    def read(self, wanted: Callable[[PurePosixPath], bool]) -> Iterator[File]:
        """Yield name and content of the files that are wanted, in the place's own order.

        Raises:
            DataError: a damaged archive, or a file of more than :data:`LARGEST_FILE` bytes.
        """
        for name, content in self._members():
            if wanted(name):
                with self._damage():
                    got = content()
                yield name, got

    def sha256(self) -> str | None:
        """Return the hash of a single file or archive, None of a folder."""
        return file_hash(self.path) if self.path.is_file() else None

    def _members(self) -> Iterator[Member]:
        members = self._in_tar if self.is_tar else self._in_zip if self.is_zip else self._in_folder
        for name, content in members():
            # Finder and the like leave files of their own in folders and archives.
            if not any(part.startswith(".") or part == "__MACOSX" for part in name.parts):
                yield name, content

    def _in_folder(self) -> Iterator[Member]:
        single = self.path.is_file()
        files = [self.path] if single else sorted(one for one in self.path.rglob("*") if one.is_file())
        for path in files:
            name = path.name if single else path.relative_to(self.path).as_posix()
            yield (
                PurePosixPath(name),
                partial(self._bounded, name, path.stat().st_size, partial(path.open, "rb")),
            )

    def _in_zip(self) -> Iterator[Member]:
        with self._damage(), zipfile.ZipFile(self.path) as archive:
            for entry in archive.infolist():
                if not entry.is_dir():
                    opened = partial(archive.open, entry)
                    yield (
                        PurePosixPath(entry.filename),
                        partial(self._bounded, entry.filename, entry.file_size, opened),
                    )

    def _in_tar(self) -> Iterator[Member]:
        with self._damage(), self.path.open("rb") as stream, self._tar(stream) as archive:
            for entry in archive:
                if entry.isreg():
                    opened = partial(archive.extractfile, entry)
                    yield PurePosixPath(entry.name), partial(self._bounded, entry.name, entry.size, opened)

    @contextmanager
    def _tar(self, stream: Any) -> Iterator[tarfile.TarFile]:
        if self.path.name.lower().endswith(".tar"):
            with tarfile.open(fileobj=stream, mode="r:") as archive:
                yield archive
        else:
            with open_tar(stream, LARGEST_ARCHIVE) as archive:
                yield archive

    @contextmanager
    def _damage(self) -> Iterator[None]:
        """Say of a damaged archive that it is one, and of an unreadable file what the system says of it."""
        try:
            yield
        except (DataError, GeneratorExit):
            raise
        except (
            ArchiveDamage,
            tarfile.TarError,
            zipfile.BadZipFile,
            EOFError,
            OSError,
            ValueError,
            RuntimeError,
            NotImplementedError,
            zlib.error,
        ) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            problem = "the archive is damaged or of another kind" if self.is_archive else "not readable"
            raise DataError(f"{self.path}: {problem} ({reason})") from None

    def _bounded(self, name: str, size: int, opened: Callable[[], Any]) -> bytes:
        return bounded(self.path, name, opened(), size, LARGEST_FILE)
