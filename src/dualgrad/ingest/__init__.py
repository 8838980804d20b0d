"""The published archive's result files as the tables of edition ``released``.

``manifest`` says which files are read and checks their bytes, ``fetch`` gets them where there is no local copy,
``mapping`` is what the files' fields mean, as data (``config/released/*.yaml``), and ``rows`` applies it.
"""

from dualgrad.release.errors import ArchiveError
from dualgrad.release.manifest import find_archive, read_manifest, verify

__all__ = ["ArchiveError", "find_archive", "read_manifest", "verify"]
