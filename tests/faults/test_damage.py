"""Files damaged in every way are refused by name before anything comes of them; doing as told repairs it.

``python -m tests.faults --damage`` does the same through Snakemake, as far as the figure.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from dualgrad.cli import main

from .damage import KINDS, WAYS, damage, prepare_others, told_to_delete
from .pipeline import EDITION, SAVING, Pipeline

# Of these the whole chain from the file to the figure runs; data are read once per process, and have a test below.
HERE = [kind for kind in KINDS if kind != "data"]
REMAKES = {"record": ["train", KINDS["data"].reads[1]], "table": ["tables", "S1"]}


@pytest.fixture(scope="module")
def made(unhurt: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished pipeline, with files of others to put in the place of its own. Read-only."""
    folder = tmp_path_factory.mktemp("made") / "pipeline"
    shutil.copytree(unhurt.folder, folder, symlinks=True)
    prepare_others(Pipeline(folder))
    return folder


def dualgrad(folder: Path, *words: str) -> int:
    """Run a command in this process, in the folder of a pipeline."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        return main([*words, "--root", ".", "--edition", EDITION])
    finally:
        os.chdir(before)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", HERE)
def test_damage_is_refused_by_name(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, way: str
) -> None:
    folder, one = tmp_path / "pipeline", KINDS[kind]
    shutil.copytree(made, folder, symlinks=True)
    result = folder / one.makes
    expected, refused = result.read_bytes(), 0
    for seed in range(6 if way in ("flipped", "truncated") else 1):
        result.unlink(missing_ok=True)
        damage(folder, one, way, random.Random(seed))
        capsys.readouterr()
        if dualgrad(folder, *one.reads) == 0:
            # A checkpoint is a zip file: a bit of its directory may change, and not one of its weights.
            assert (kind, way) == ("checkpoint", "flipped")
        else:
            refused += 1
            (said,) = capsys.readouterr().err.splitlines()
            assert Path(one.path).name in said
            assert told_to_delete(said, folder) == [folder / one.path]
            assert not result.exists()
        shutil.copy(made / one.path, folder / one.path)
        if result.exists():
            assert Pipeline(folder).digests() == Pipeline(made).digests()
    assert refused
    if kind in REMAKES:
        (folder / one.path).unlink()
        assert dualgrad(folder, *REMAKES[kind]) == 0
    else:
        (folder / one.path).unlink()
        assert dualgrad(folder, "train", SAVING) == 0
    assert dualgrad(folder, *one.reads) == 0
    if kind == "table":
        assert result.read_bytes() == expected
    assert Pipeline(folder).digests() == Pipeline(made).digests()


def test_data_of_another_set_are_refused_though_their_note_fits(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Truncated and altered ones: test_data.py."""
    folder, one = tmp_path / "pipeline", KINDS["data"]
    shutil.copytree(made, folder, symlinks=True)
    damage(folder, one, "replaced", random.Random(0))
    (folder / one.makes).unlink()
    # By its whole path: a process reads data once, and those of "data" were read by other tests.
    assert main([*one.reads, "--root", str(folder), "--edition", EDITION]) == 1
    said = capsys.readouterr().err
    assert "digits.npz is altered" in said and "delete it and run" in said
    assert "Traceback" not in said and not (folder / one.makes).exists()
