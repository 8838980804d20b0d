"""Getting the published archive where there is no local copy: one tarball of one commit, unpacked with care."""

from __future__ import annotations

import contextlib
import posixpath
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from dualgrad.archives import ArchiveDamage, open_tar
from dualgrad.downloads import DownloadError, download, pause
from dualgrad.files import scratch
from dualgrad.release.errors import ArchiveError
from dualgrad.release.manifest import COMMIT, HOW, PAPER, REPOSITORY, Entry, verify
from dualgrad.validation import clipped

URL = f"https://github.com/{REPOSITORY}/archive/{COMMIT}.tar.gz"
_CHUNK = 1 << 20
# The release holds 18 MB of results beside notebooks and figures; a stream past this is not it.
_LARGEST_DOWNLOAD = _LARGEST_CONTENT = 2 << 30
_LARGEST_LICENCE = 1 << 20


def _download(url: str, target: Path) -> None:
    """Download a URL into a file.

    Raises:
        ArchiveError: no connection, an answer that breaks off, or an implausibly large one.
    """
    problem = ""
    for attempt in range(3):
        pause(attempt)
        try:
            with target.open("wb") as file:
                download(url, file, _LARGEST_DOWNLOAD)
            return
        except DownloadError as error:
            problem = str(error)
    raise ArchiveError(f"{url}: not fetched ({problem}); {HOW}")


def unpack(tarball: Path, entries: Mapping[str, Entry], target: Path) -> None:
    """Unpack the manifest's files from a GitHub tarball of the repository into ``target``, whole or not at all.

    Only regular files that the manifest names (and the licence) are written, under names that we build ourselves. A
    tarball with devices, or with members that lead out of its folder, is not the release.
    Bytes are checked before ``target`` appears.

    Raises:
        ArchiveError: not a readable tarball, or files missing, altered or not what a release holds.
    """
    wanted: dict[str, int | None] = {(PAPER / path).as_posix(): entry.size for path, entry in entries.items()}
    wanted["LICENSE"] = None
    with scratch(target.parent, target.name) as staging:
        try:
            with tarball.open("rb") as stream, open_tar(stream, _LARGEST_CONTENT) as archive:
                for member in archive:
                    _unpack_member(archive, member, wanted, staging, str(tarball))
        except (ArchiveDamage, OSError) as error:
            raise ArchiveError(f"{tarball}: not a complete tarball of the release ({error})") from None
        verify(staging / PAPER, dict(entries))
        if target.exists():
            shutil.rmtree(target)
        with contextlib.suppress(OSError):  # a courtesy, as in dualgrad.files
            staging.chmod(0o755)
        staging.rename(target)


def _problem_of(member: tarfile.TarInfo) -> str | None:
    """Return what no release has, or None. (Python's own filter for this came with 3.11.4; Debian 12 has 3.11.2.)"""
    if member.name.startswith("/"):
        return "an absolute path"
    if member.isdev():
        return "a special file"
    inside = [member.name]
    if member.issym() or member.islnk():
        if member.linkname.startswith("/"):
            return "a link to an absolute path"
        # A symbolic link is read from where it lies, a hard link from the top.
        inside.append(posixpath.join(posixpath.dirname(member.name) * member.issym(), member.linkname))
    if any(posixpath.normpath(path).split("/")[0] == ".." for path in inside):
        return "outside of the archive"
    return None


def _unpack_member(
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    wanted: Mapping[str, int | None],
    staging: Path,
    shown: str,
) -> None:
    """Write a member if it is wanted. Raises ArchiveError if no release has such a member."""

    def refuse(problem: str) -> ArchiveError:
        return ArchiveError(f"{shown}: member {clipped(repr(member.name))}: {problem}; not the release")

    if problem := _problem_of(member):
        raise refuse(problem)
    # "<repository>-<commit>/notebooks/…": the first folder is GitHub's.
    name = "/".join(PurePosixPath(member.name).parts[1:])
    if name not in wanted:
        return
    size = wanted[name]
    if not member.isreg():
        raise refuse("expected a regular file")
    if member.size > _LARGEST_LICENCE if size is None else member.size != size:
        expected = f"at most {_LARGEST_LICENCE}" if size is None else str(size)
        raise refuse(f"{member.size} bytes, expected {expected}")
    path = staging / name
    if path.exists():
        raise refuse("it is there twice")
    path.parent.mkdir(parents=True, exist_ok=True)
    source = archive.extractfile(member)
    if source is not None:
        with source, path.open("wb") as file:
            shutil.copyfileobj(source, file, _CHUNK)


def fetch(entries: Mapping[str, Entry], target: Path, url: str | None = None) -> Path:
    """Fetch the archive into ``target`` and return its ``notebooks/Paper-A`` folder.

    Raises:
        ArchiveError: it cannot be fetched, or is not what the manifest says.
    """
    with scratch(target.parent, "fetch") as folder:
        tarball = folder / "release.tar.gz"
        _download(url or URL, tarball)
        unpack(tarball, entries, target)
    return target / PAPER
