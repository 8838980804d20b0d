"""What would wait for ever or ask for any amount of memory is refused before it does."""

from __future__ import annotations

import io
import os
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from dualgrad.data.errors import DataError
from dualgrad.data.store import load_arrays, save_arrays
from dualgrad.project import load_settings
from dualgrad.records import RecordError, read_record
from dualgrad.training import checkpoints
from dualgrad.validation import InputError, read_yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Path]:
    """A pipe that nobody writes to; what waits for it is ended."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    signal.alarm(20)
    yield path
    signal.alarm(0)


def test_a_pipe_is_no_record_no_checkpoint_and_no_settings(pipe: Path) -> None:
    with pytest.raises(RecordError, match="not a regular file"):
        read_record(pipe)
    with pytest.raises(checkpoints.CheckpointError, match="not a regular file"):
        checkpoints.load_with_checksum(pipe)
    with pytest.raises(checkpoints.CheckpointError, match="not a regular file"):
        checkpoints.load(pipe)
    with pytest.raises(InputError, match="not a regular file"):
        read_yaml(pipe)


def test_a_name_does_not_end_in_a_line_end() -> None:
    with pytest.raises(InputError, match="compare"):
        load_settings(ROOT, {"compare": "demo,paper\n"})


def _npz(path: Path, shape: tuple[int, ...], method: int = zipfile.ZIP_STORED) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"shape": shape, "fortran_order": False, "descr": "|u1"})
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("images.npy", header.getvalue() + bytes(100))


@pytest.mark.parametrize(
    ("shape", "method", "message"),
    [((1 << 40,), zipfile.ZIP_STORED, "larger than it is"), ((100,), zipfile.ZIP_DEFLATED, "compressed")],
)
def test_arrays_that_claim_more_than_their_file(
    tmp_path: Path, shape: tuple, method: int, message: str
) -> None:
    path = tmp_path / "digits.npz"
    save_arrays(path, {"images": np.zeros(100, dtype=np.uint8)}, {})
    assert len(load_arrays(path, remedy="x")["images"]) == 100
    _npz(path, shape, method)
    with pytest.raises(DataError, match=message):
        load_arrays(path, remedy="make it again")


def test_weights_that_are_few_bytes_many_times(tmp_path: Path) -> None:
    path = tmp_path / "seed0.pt"
    vast = torch.zeros(1).expand(1 << 20, 1 << 20)
    checkpoints.save(path, {"stages": {"main": {"weight": vast}}})
    record = {"experiment": "A", "run": "seed0", "checkpoint": {"main": "0" * 64}}
    with pytest.raises(checkpoints.CheckpointError, match="holds no weights of stage 'main'"):
        checkpoints.load_stage(path, record, "main")
