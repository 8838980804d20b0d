"""Getting the published archive where there is no local copy: one tarball of one commit, unpacked with care."""

from __future__ import annotations

import shutil
import tarfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from dualgrad.files import scratch
from dualgrad.ingest.errors import ArchiveError
from dualgrad.ingest.manifest import COMMIT, HOW, PAPER, REPOSITORY, Entry, verify

URL = f"https://github.com/{REPOSITORY}/archive/{COMMIT}.tar.gz"
_TIMEOUT_S = 60
_CHUNK = 1 << 20
# The release holds 18 MB of results beside notebooks and figures; a stream past this is not it.
_LARGEST_DOWNLOAD = 2 << 30


def download(url: str, target: Path) -> None:
    """Download a URL into a file.

    Raises:
        ArchiveError: no connection, an HTTP error, or an implausibly large answer.
    """
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer, target.open("wb") as file:
            size = 0
            while chunk := answer.read(_CHUNK):
                size += len(chunk)
                if size > _LARGEST_DOWNLOAD:
                    raise ArchiveError(f"{url}: more than {_LARGEST_DOWNLOAD} bytes; not the release")
                file.write(chunk)
    except (urllib.error.URLError, TimeoutError, ConnectionError, OSError) as error:
        raise ArchiveError(f"{url}: not fetched ({error}); {HOW}") from None


def unpack(tarball: Path, entries: Mapping[str, Entry], target: Path) -> None:
    """Unpack the manifest's files from a GitHub tarball of the repository into ``target``, whole or not at all.

    Only regular files that the manifest names (and the licence) are written, under names that we build ourselves:
    links, devices, absolute paths and ``..`` in the tarball have no effect. Bytes are checked before ``target``
    appears.

    Raises:
        ArchiveError: not a readable tarball, or files missing or altered.
    """
    wanted = {(PAPER / path).as_posix() for path in entries} | {"LICENSE"}
    with scratch(target.parent, target.name) as staging:
        try:
            with tarfile.open(tarball, "r:*") as archive:
                for member in archive:
                    # "<repository>-<commit>/notebooks/…": the first folder is GitHub's.
                    name = "/".join(PurePosixPath(member.name).parts[1:])
                    source = archive.extractfile(member) if name in wanted and member.isreg() else None
                    if source is None:
                        continue
                    path = staging / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with source, path.open("wb") as file:
                        shutil.copyfileobj(source, file, _CHUNK)
        except (tarfile.TarError, EOFError, OSError) as error:
            raise ArchiveError(f"{tarball}: not a complete tarball of the release ({error})") from None
        verify(staging / PAPER, dict(entries))
        if target.exists():
            shutil.rmtree(target)
        staging.chmod(0o755)
        staging.rename(target)


def fetch(entries: Mapping[str, Entry], target: Path, url: str = URL) -> Path:
    """Fetch the archive into ``target`` and return its ``notebooks/Paper-A`` folder.

    Raises:
        ArchiveError: it cannot be fetched, or is not what the manifest says.
    """
    with scratch(target.parent, "fetch") as folder:
        tarball = folder / "release.tar.gz"
        download(url, tarball)
        unpack(tarball, entries, target)
    return target / PAPER
