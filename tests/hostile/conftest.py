"""A good folder, made once, and copies of it to break."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dualgrad.cli import COMMANDS, main

from . import archives, small
from .case import Case

_MOST_CHARACTERS, _MOST_LINES = 1500, 3


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder as it should be: settings, census, records, checkpoint, tables, archive."""
    return small.build(tmp_path_factory.mktemp("good") / "workflow")


@pytest.fixture
def root(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, beside an empty working folder; nothing outside is looked at."""
    for name in ("DUALGRAD_RELEASED", "DUALGRAD_SETTINGS", "DUALGRAD_WORKER"):
        monkeypatch.delenv(name, raising=False)
    shutil.copytree(good, tmp_path / "workflow")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "workflow"


@pytest.fixture
def refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[Case], str]:
    """Try a malformed input; return the message, once it is known to be a good one and all that happened."""

    def attempt(case: Case) -> str:
        case.change(root)
        archives.make_known(root, case, monkeypatch)
        before = small.tree(tmp_path)
        words = [word.replace("{root}", str(root)) for word in case.command]
        if words[0] in COMMANDS and "--root" not in words:
            words += ["--root", str(root)]
        try:
            status = main(words)
        except SystemExit as end:
            status = end.code
        message = capsys.readouterr().err
        assert status in (1, 2), message
        assert "Traceback" not in message
        assert len(message) <= _MOST_CHARACTERS and len(message.splitlines()) <= _MOST_LINES, message
        missing = [word for word in case.words if word not in message]
        assert not missing, f"{missing} not in: {message}"
        assert message.rstrip("\n").replace("\n", "").isprintable()
        assert small.tree(tmp_path) == before
        return message

    return attempt
