"""One pipeline that nobody hurts, for all tests here."""

from __future__ import annotations

import pytest

from .kills import undisturbed
from .pipeline import Pipeline


@pytest.fixture(scope="session")
def unhurt(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A pipeline that has been run to its end. Read-only."""
    folder = tmp_path_factory.mktemp("faults") / "unhurt"
    undisturbed(folder)
    return Pipeline(folder)
