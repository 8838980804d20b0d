"""A re-trained run as one row: from its record, or from a kept file of rows where the record is gone."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from dualgrad.census.load import Census
from dualgrad.records import read_record, training
from dualgrad.validation import InputError

# What is compared epoch by epoch: name -> (block of the trajectory, its column).
MEASURES = {
    "error": ("evaluations", "test_error"),
    "loss": ("epochs", "loss_struct"),
    "cosine": ("epochs", "cos_mean"),
    "norm": ("epochs", "norm_mix"),
}


@dataclass(frozen=True)
class Row:
    """One finished run.

    Attributes:
        edition, experiment, run: which it is.
        dataset: data set that it was trained on.
        precision: its arithmetic.
        max_epochs: epochs that its stages were cut to; None: it is whole.
        digest: of its record.
        status: completed, dead or gate_failed.
        test_error: of its last evaluation, a fraction.
        seconds, threads, machine: what it took, where (model of the CPU or GPU).
        error, loss, cosine, norm: by epoch of its first stage, as far as it was measured: test error, training
            loss, mean cosine of the two gradients, mean norm of the mix.
    """

    edition: str
    experiment: str
    run: str
    dataset: str
    precision: str
    max_epochs: int | None
    digest: str
    status: str
    test_error: float | None
    seconds: float
    threads: int
    machine: str
    error: dict[int, float]
    loss: dict[int, float]
    cosine: dict[int, float]
    norm: dict[int, float]

    @property
    def name(self) -> str:
        """EXPERIMENT/RUN."""
        return f"{self.experiment}/{self.run}"

    @property
    def key(self) -> tuple[str, str, str]:
        """Name, data set and precision: what is one result."""
        return self.name, self.dataset, self.precision


def of_record(record: Mapping[str, Any]) -> Row:
    """Return a verified record as a row."""
    spec, outcome, provenance = record["spec"], record["outcome"], record["provenance"]
    return Row(
        edition=record["edition"],
        experiment=record["experiment"],
        run=record["run"],
        dataset=spec["task"]["dataset"],
        precision=spec["precision"],
        max_epochs=spec.get("max_epochs"),
        digest=record["digest"],
        status=outcome["status"],
        test_error=outcome.get("test_error"),
        seconds=round(float(provenance.get("seconds", math.nan)), 1),
        threads=int(provenance.get("threads", 1)),
        machine=_machine(provenance),
        **{name: by_epoch(record["trajectory"], *place) for name, place in MEASURES.items()},
    )


def by_epoch(trajectory: Mapping[str, Any], block: str, column: str) -> dict[int, float]:
    """Return a measure by epoch of the first stage; an epoch without one is absent."""
    rows = trajectory.get(block) or {}
    stages = rows.get("stage", [])
    values = zip(stages, rows.get("epoch", []), rows.get(column, []), strict=False)
    return {
        epoch: float(_digits(value))
        for stage, epoch, value in values
        if stage == stages[0] and epoch and value is not None
    }


def _digits(value: float) -> str:
    """Digits of a measure, the same in kept rows and from a record, so that either prints alike."""
    return f"{value:.6g}"


def _machine(provenance: Mapping[str, Any]) -> str:
    """Return the model of the GPU or CPU that trained a run."""
    device = provenance.get("device", "cpu")
    if device != "cpu":
        return device
    cpu = provenance.get("cpu")
    return str(cpu["model"]) if isinstance(cpu, Mapping) and cpu.get("model") else "CPU"


def of_records(folder: Path, edition: str, census: Census) -> tuple[list[Row], list[str]]:
    """Return the records below a folder as rows, in census order.

    Args:
        folder: ``results/<edition>/runs``.
        edition: edition that they must belong to.
        census: the edition's; a record whose run is defined otherwise by now is left out.

    Returns:
        The rows, and the names of the runs that are left out.

    Raises:
        RecordError: a record is damaged or of another edition.
    """
    rows, outdated = [], []
    for name, run in census.runs.items():
        path = folder / f"{name}.json"
        if run["series"] not in ("helper", "archived") and path.is_file():
            record = read_record(path, edition=edition, name=name)
            mine, now = (training(one) for one in (record["spec"], run))
            # Whatever arithmetic: it stands beside the numbers.
            if mine | {"precision": None} == now | {"precision": None}:
                rows.append(of_record(record))
            else:
                outdated.append(name)
    return rows, outdated


# --------------------------------------------------------------------------------------------- kept rows


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as CSV; what is measured by epoch as ``epoch:value`` with spaces between."""
    from dualgrad.records import write_atomically

    buffer = io.StringIO()
    names = [field.name for field in fields(Row)]
    lines = csv.DictWriter(buffer, names, lineterminator="\n")
    lines.writeheader()
    for row in rows:
        values = asdict(row)
        for name in MEASURES:
            values[name] = " ".join(f"{epoch}:{_digits(value)}" for epoch, value in values[name].items())
        lines.writerow({name: "" if value is None else value for name, value in values.items()})
    write_atomically(path, buffer.getvalue().encode())


def read_rows(path: Path) -> list[Row]:
    """Read kept rows.

    Raises:
        InputError: a line that is no row; names the file and the line.
    """
    rows = []
    with path.open(newline="", encoding="utf-8") as file:
        lines = csv.DictReader(file)
        expected = [field.name for field in fields(Row)]
        if lines.fieldnames != expected:
            raise InputError(path, "line 1", f"expected the columns {','.join(expected)}")
        for line in lines:
            try:
                rows.append(_row(line))
            except (ValueError, TypeError, AttributeError) as error:
                raise InputError(path, f"line {lines.line_num}", f"no row of a run ({error})") from None
    return rows


def _row(line: Mapping[str, str]) -> Row:
    values: dict[str, Any] = dict(line)
    for name in MEASURES:
        pairs = (pair.split(":") for pair in line[name].split())
        values[name] = {int(epoch): float(value) for epoch, value in pairs}
    values["max_epochs"] = int(line["max_epochs"]) if line["max_epochs"] else None
    values["test_error"] = float(line["test_error"]) if line["test_error"] else None
    values["seconds"], values["threads"] = float(line["seconds"]), int(line["threads"])
    return Row(**values)
