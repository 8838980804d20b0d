"""Fixtures that all tests share: the repository, the census, and the published archive where there is one."""

from __future__ import annotations

import csv
import fcntl
import gc
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from workflows import copy_workflow, snakemake

ROOT = Path(__file__).resolve().parents[1]

# A shell that starts the tests in the background has them ignore Ctrl-C, and with them all that they start and stop.
signal.signal(signal.SIGINT, signal.default_int_handler)


# What a test file is about, where its folder does not say so: `pytest -m unit`, `pytest -m "not faults"`.
WORKFLOW = (
    "environments",
    "launcher",
    "made_again",
    "new_experiment",
    "paper",
    "plan",
    "repeat",
    "storage",
    "worker",
    "workflow",
)


# Files that take or wait longest begin first, so that no process of the tests is left alone with one at the end.
FIRST = ("slurm", "faults", "workflow", "surroundings", "hostile", "unit")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the kind that it is of; kinds are described in pyproject.toml."""
    for item in items:
        place = item.path.relative_to(ROOT / "tests")
        name = place.stem.removeprefix("test_")
        if len(place.parts) > 1 and place.parts[0] in ("hostile", "faults", "surroundings"):
            kind = place.parts[0]
        else:
            kind = "slurm" if name == "slurm" else "workflow" if name in WORKFLOW else "unit"
        item.add_marker(kind)
    items.sort(
        key=lambda item: min(FIRST.index(mark.name) for mark in item.iter_markers() if mark.name in FIRST)
    )


def pytest_collection_finish() -> None:
    """Keep the garbage collector from looking through modules and thousands of collected tests, which all stay."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """A Chromium for all tests of a worker, driven by Playwright; they are skipped where there is none."""
    from browser import launched

    with launched() as one:
        yield one


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
def released_results(released_archive, shared) -> Path:
    """``results/released`` with the tables of the archive, parts and whole. Shared between workers too: read-only."""

    def ingest(folder: Path) -> None:
        from dualgrad.census import load_census
        from dualgrad.ingest.mapping import load_mapping
        from dualgrad.ingest.rows import build_all
        from dualgrad.tables.read import merge_parts

        census = load_census(ROOT, {"edition": "released"})
        mapping = load_mapping(ROOT / "config" / "released")
        parts = folder / "released" / "tables" / "parts"

        def runs_of(name: str) -> list[dict]:
            return [census.runs[target] for target in census.experiments[name]["runs"]]

        names = [name for name in census.experiments if name in mapping]
        for name, tables in build_all(mapping, runs_of, released_archive, names):
            tables.write(parts / name)
        counted = [name for name in names if census.experiments[name]["counted"]]
        merge_parts(parts, counted, parts.parent)

    return shared("released", ingest) / "released"


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Make a folder once for all workers of a test run (pytest-xdist): the first one makes it, the others wait."""
    base = tmp_path_factory.getbasetemp()
    place = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def get(name: str, make: Callable[[Path], None]) -> Path:
        folder = place / f"shared-{name}"
        with (place / f"shared-{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / "done").exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                (folder / "done").touch()
        return folder

    return get


@pytest.fixture(scope="session")
def smoke_figures(shared) -> Path:
    """A copy of the workflow in which the main figures of edition smoke have been made, with messages.txt.

    Shared between workers too: nothing may change in it, and only test_workflow.py runs Snakemake there.
    """

    def draw(folder: Path) -> None:
        copy_workflow(folder)
        done = snakemake(folder, "figures/main", "--config", "edition=smoke")
        assert done.returncode == 0, done.stdout
        (folder / "messages.txt").write_text(done.stdout)

    return shared("smoke-figures", draw)


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
