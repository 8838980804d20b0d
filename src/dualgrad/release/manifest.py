"""Which published files are read, and whether they are the published bytes."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dualgrad.records import write_atomically
from dualgrad.release.errors import ArchiveError

REPOSITORY = "HIDEKI-SQ/dual-gradient-learning"
COMMIT = "48b95f5"
#: Folder of the repository that holds ``results`` and ``archive``.
PAPER = Path("notebooks/Paper-A")
ENVIRONMENT = "DUALGRAD_RELEASED"
#: Which archive the tables beside it were read from.
MEMORY = "archive.json"
HOW = (
    "set the option released_archive (--config released_archive=PATH, dualgrad ingest --archive PATH) or "
    f"${ENVIRONMENT} to a clone of github.com/{REPOSITORY} at commit {COMMIT}, or run dualgrad ingest --fetch"
)


@dataclass(frozen=True)
class Entry:
    """One published file: path below ``notebooks/Paper-A``, size in bytes, SHA-256 (hex)."""

    path: str
    size: int
    sha256: str


def manifest_path(root: Path) -> Path:
    """Return where the manifest lies below the repository root."""
    return root / "config" / "released" / "manifest.csv"


def read_manifest(root: Path) -> dict[str, Entry]:
    """Read ``config/released/manifest.csv`` (columns path, bytes, sha256).

    Raises:
        ArchiveError: the manifest is missing or malformed.
    """
    path = manifest_path(root)

    def wrong(line: int, problem: str) -> ArchiveError:
        place = f"{path}: line {line}" if line else str(path)
        return ArchiveError(f"{place}: {problem}; restore it from the repository")

    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = csv.reader(file, strict=True)
            if next(lines, None) != list(_COLUMNS):
                raise wrong(1, f"expected the columns {','.join(_COLUMNS)}")
            entries: dict[str, Entry] = {}
            for row in lines:
                problem = _wrong_row(row) or ("the path is listed twice" if row[0] in entries else None)
                if problem:
                    raise wrong(lines.line_num, problem)
                entries[row[0]] = Entry(row[0], int(row[1]), row[2])
            return entries
    except UnicodeDecodeError as error:
        raise wrong(0, f"expected text in UTF-8 ({error.reason})") from None
    except csv.Error as error:
        raise wrong(lines.line_num, f"not readable as CSV ({error})") from None
    except OSError as error:
        raise wrong(0, f"cannot be read ({error.strerror})") from None


_COLUMNS = ("path", "bytes", "sha256")


def _wrong_row(row: list[str]) -> str | None:
    """Return what is wrong with a row of the manifest, or None."""
    if len(row) != len(_COLUMNS):
        return f"{len(row)} values, expected {','.join(_COLUMNS)}"
    path, size, sha256 = row
    inside = path.isprintable() and path and not {"..", "/"} & set(PurePosixPath(path).parts)
    if not inside:
        return f"path {path!r}, expected one below notebooks/Paper-A"
    if not re.fullmatch("[0-9]{1,15}", size):
        return f"bytes {size!r}, expected a whole number"
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        return f"sha256 {sha256!r}, expected 64 hexadecimal digits"
    return None


def paper_folder(archive: Path) -> Path | None:
    """Return the folder with ``results`` in a clone root, in ``notebooks/Paper-A`` itself, or beside ``results``."""
    for candidate in (archive / PAPER, archive, archive.parent if archive.name == "results" else archive):
        if (candidate / "results").is_dir():
            return candidate
    return None


def find_archive(option: str | Path | None, root: Path) -> Path:
    """Return the folder ``notebooks/Paper-A`` of the archive.

    Looked for in this order: the option, the environment variable, ``../shared/released`` and ``released_archive``
    beside and in the repository.

    Raises:
        ArchiveError: an option or variable points nowhere, or there is no archive at all.
    """
    for source, value in (("released_archive", option), (f"${ENVIRONMENT}", os.environ.get(ENVIRONMENT))):
        if value:
            found = paper_folder(Path(value).expanduser())
            if found is None:
                raise ArchiveError(f"{source}={value}: no folder {PAPER}/results there; {HOW}")
            return found
    for place in (root.parent / "shared" / "released", root / "released_archive"):
        found = paper_folder(place)
        if found is not None:
            return found
    raise ArchiveError(f"the published archive is not here; {HOW}")


def check_named(option: str | None) -> None:
    """Refuse an archive that was named and is not there, before anything is done.

    Raises:
        ArchiveError: as from :func:`find_archive`.
    """
    if option:
        find_archive(option, Path())


def remember_archive(parts: Path, paper: Path) -> None:
    """Write beside the parts which archive they were read from, for commands that need more of it than its rows."""
    text = json.dumps({"archive": str(paper.resolve())}, ensure_ascii=False)
    write_atomically(parts.parent / MEMORY, f"{text}\n".encode())


def remembered_archive(tables: Path) -> Path | None:
    """Return the folder ``notebooks/Paper-A`` that the tables were read from, or None where it is not there any more.

    Args:
        tables: the folder of the edition's tables.
    """
    try:
        known = json.loads((tables / MEMORY).read_text(encoding="utf-8"))["archive"]
        return paper_folder(Path(known))
    except (OSError, ValueError, LookupError, TypeError):
        return None


def archive_at_hand(option: str | None, root: Path, tables: Path) -> Path | None:
    """Return the archive that the settings name, or else the one that was ingested; None: neither is here.

    Args:
        option: the setting ``released_archive``.
        root: the project's folder.
        tables: the folder of the edition's tables.

    Raises:
        ArchiveError: the settings name one that is not there.
    """
    try:
        return find_archive(option, root)
    except ArchiveError:
        if option or os.environ.get(ENVIRONMENT):
            raise
    return remembered_archive(tables)


def listing(paper: Path | None) -> str | None:
    """Return a digest of an archive's files, by name and size: what can be said of the release depends on them.

    Beside the files of the manifest, which are checked, a clone has notebooks, pictures and folders.
    """
    if paper is None:
        return None
    found = sorted(
        (path.relative_to(paper).as_posix(), path.stat().st_size)
        for path in paper.rglob("*")
        if path.is_file()
    )
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16]


_CRLF = "its line ends were changed to CRLF"


def _as_published(content: bytes, entry: Entry) -> bool:
    return len(content) == entry.size and hashlib.sha256(content).hexdigest() == entry.sha256


def _problem(entry: Entry, path: Path) -> str | None:
    expected = f"expected {entry.size} bytes with SHA-256 {entry.sha256}"
    try:
        size = path.stat().st_size
        if size > entry.size and _as_published(path.read_bytes().replace(b"\r\n", b"\n"), entry):
            return f"{path}: {_CRLF}, as git does with core.autocrlf; {expected}"
        if size != entry.size:
            state = "truncated" if size < entry.size else "altered"
            return f"{path}: {state}, {size} bytes; {expected}"
        actual = hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return f"{path}: missing; {expected}"
    except OSError as error:
        return f"{path}: unreadable ({error}); {expected}"
    return None if actual == entry.sha256 else f"{path}: altered, SHA-256 {actual}; {expected}"


def verify(paper: Path, entries: dict[str, Entry]) -> None:
    """Check that every file of the manifest is there with the published bytes; other files do not matter.

    Raises:
        ArchiveError: names every missing, truncated or altered file and what it should be.
    """
    problems = [text for entry in entries.values() if (text := _problem(entry, paper / entry.path))]
    if problems:
        lines = "\n  ".join(problems)
        if any(_CRLF in problem for problem in problems):
            lines += "\nclone it again so that git leaves them alone: git clone -c core.autocrlf=false URL"
        raise ArchiveError(
            f"{len(problems)} of {len(entries)} published files are not as published:\n  {lines}\n"
            f"restore them from github.com/{REPOSITORY} at commit {COMMIT}, or {HOW}"
        )
