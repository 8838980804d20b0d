"""One pipeline that nobody hurts, for all tests here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .kills import undisturbed
from .pipeline import Pipeline


@pytest.fixture(scope="session")
def unhurt(shared: Callable[[str, Callable[[Path], object]], Path]) -> Pipeline:
    """A pipeline that has been run to its end. Shared between workers too: read-only."""
    return Pipeline(shared("unhurt", lambda folder: undisturbed(folder / "pipeline")) / "pipeline")
