"""Fixtures that all tests share: the repository, the census, and the published archive where there is one."""

from __future__ import annotations

import csv
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A shell that starts the tests in the background has them ignore Ctrl-C, and with them all that they start and stop.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository: folder of config, workflow and src."""
    return ROOT


@pytest.fixture(scope="session")
def census():
    """The census as published (edition paper). Shared between tests: read-only."""
    from dualgrad.census import load_census

    return load_census(ROOT, {"edition": "paper"})


@pytest.fixture(scope="session")
def demo():
    """The census of the demo edition. Shared between tests: read-only."""
    from dualgrad.census import load_census

    return load_census(ROOT, {"edition": "demo"})


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Path]:
    """A copy of config that a test may change, with an empty Snakefile."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    (tmp_path / "Snakefile").touch()
    yield tmp_path


@pytest.fixture(scope="session")
def released_archive() -> Path:
    """Folder of the published archive's result files; the test is skipped where there is none."""
    from dualgrad.release.errors import ArchiveError
    from dualgrad.release.manifest import find_archive

    try:
        return find_archive(None, ROOT)
    except ArchiveError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def reference_census() -> list[dict[str, str]]:
    """Rows of the reference table of all counted runs; the test is skipped where there is none."""
    places = [ROOT.parent / "shared" / "reference", ROOT / "reference"]
    if "DUALGRAD_REFERENCE" in os.environ:
        places = [Path(os.environ["DUALGRAD_REFERENCE"])]
    for place in places:
        if (place / "census.csv").is_file():
            with (place / "census.csv").open(newline="", encoding="utf-8") as stream:
                return list(csv.DictReader(stream))
    pytest.skip("no reference/census.csv; set DUALGRAD_REFERENCE to the folder that holds it")
