"""Malformed records, tables, checkpoints and published rows."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from . import small
from .case import Case, Change, put, recode, rejson, write

RECORD = "results/demo/runs/A/lam0.1_eta0.4_seed0.json"
TABLES = ("tables", "A", "--output", "{root}/new")


def with_checksum(made: Callable[[dict], Any]) -> Change:
    """Change a record and give it the digest and the checksum that fit, as somebody would who means harm."""

    def change(root: Path) -> None:
        from dualgrad.records import digest, write_record

        data = json.loads((root / RECORD).read_bytes())
        other = made(data)
        data = data if other is None else other
        data.pop("seal")
        write_record(root / RECORD, data | {"digest": digest(data)})

    return change


def record(name: str, change: Change, *words: str) -> Case:
    """The tables of A, with one of its records changed."""
    return Case("records", name, TABLES, ("lam0.1_eta0.4_seed0", *words), change)


_EVALUATIONS = ("trajectory", "evaluations")
RECORDS = [
    record("nothing", write(RECORD, ""), "not a complete JSON record"),
    record("half of it", recode(RECORD, lambda old: old[: len(old) // 2]), "not a complete JSON record"),
    record("zeros", recode(RECORD, lambda old: bytes(len(old))), "not a complete JSON record"),
    record("bytes that are no text", write(RECORD, b"\x80\xff{}"), "not a complete JSON record"),
    record("two records", recode(RECORD, lambda old: old + old), "not a complete JSON record"),
    record("a list", write(RECORD, "[]"), "not a dualgrad record", "missing format"),
    record("a number", write(RECORD, "7"), "not a dualgrad record"),
    record("ten thousand brackets", write(RECORD, "[" * 100_000), "not a complete JSON record", "nested"),
    record("a number of five thousand digits", write(RECORD, "9" * 5000), "not a complete JSON record"),
    record("without its outcome", rejson(RECORD, lambda one: one.pop("outcome") and None), "missing outcome"),
    record(
        "of another format", rejson(RECORD, lambda one: put(one, 9, "format")), "record format 9, expected"
    ),
    record(
        "with a better error",
        rejson(RECORD, lambda one: put(one, 0.01, "outcome", "test_error")),
        "does not match its digest",
    ),
    record(
        "with another seed",
        rejson(RECORD, lambda one: put(one, 5, "spec", "seed")),
        "does not match its digest",
    ),
    record(
        "with NaN",
        rejson(RECORD, lambda one: put(one, float("nan"), "outcome", "test_error")),
        "NaN where a number is expected",
    ),
    record(
        "with a number beyond floats",
        recode(RECORD, lambda old: old.replace(b'"test_error":0', b'"test_error":1e999,"x":0', 1)),
        "finite number",
    ),
    record(
        "with a lone surrogate",
        rejson(RECORD, lambda one: put(one, "\ud800", "outcome", "status")),
        "malformed",
    ),
    record("a spec that is a list", rejson(RECORD, lambda one: put(one, [], "spec")), "malformed"),
    record(
        "an identity that is another's",
        rejson(RECORD, lambda one: put(one, "B", "experiment")),
        "does not match its digest",
    ),
    record(
        "of another run",
        lambda root: (root / RECORD).write_bytes((root / RECORD.replace("seed0", "seed1")).read_bytes()),
        "holds the run A/lam0.1_eta0.4_seed1",
    ),
    record(
        "of another edition",
        with_checksum(lambda one: {**one, "edition": "paper", "spec": {**one["spec"], "edition": "paper"}}),
        "edition 'paper'",
        "expected 'demo'",
    ),
    record(
        "of another definition",
        with_checksum(lambda one: put(one, 7, "spec", "protocol")),
        "another definition",
    ),
    record("a folder", lambda root: ((root / RECORD).unlink(), (root / RECORD).mkdir()), "cannot be read"),
    record(
        "checksum fits, but its outcome is a list",
        with_checksum(lambda one: put(one, [], "outcome")),
        "outcome",
        "object",
    ),
    record(
        "checksum fits, but its trajectory is a text",
        with_checksum(lambda one: put(one, "up", "trajectory")),
        "trajectory",
        "object",
    ),
    record(
        "checksum fits, but a block is a list",
        with_checksum(lambda one: put(one, [1], *_EVALUATIONS)),
        "evaluations",
    ),
    record(
        "checksum fits, but a column is a number",
        with_checksum(lambda one: put(one, 3, *_EVALUATIONS, "epoch")),
        "evaluations",
    ),
    record(
        "checksum fits, but columns differ in length",
        with_checksum(lambda one: put(one, [1], *_EVALUATIONS, "epoch")),
        "differ in length",
    ),
    record(
        "checksum fits, but an error is a text",
        with_checksum(lambda one: put(one, "low", *_EVALUATIONS, "test_error", 0)),
        "evaluations.test_error[0]",
        "'low'",
        "a number",
    ),
    record(
        "checksum fits, but an error is a flag",
        with_checksum(lambda one: put(one, True, *_EVALUATIONS, "test_error", 0)),
        "test_error[0]",
        "a number",
    ),
    record(
        "checksum fits, but an error is above one",
        with_checksum(lambda one: put(one, 1.5, *_EVALUATIONS, "test_error", 0)),
        "test_error[0]",
        "at most 1",
    ),
    record(
        "checksum fits, but an error is missing",
        with_checksum(lambda one: put(one, None, *_EVALUATIONS, "test_error", 0)),
        "test_error[0]",
        "nothing there",
    ),
    record(
        "checksum fits, but an epoch is enormous",
        with_checksum(lambda one: put(one, 10**400, *_EVALUATIONS, "epoch", 0)),
        "epoch[0]",
        "whole number",
    ),
    record(
        "checksum fits, but a column is unknown",
        with_checksum(lambda one: put(one, [1, 2], *_EVALUATIONS, "colour")),
        "'colour'",
    ),
    record(
        "checksum fits, but evaluations have no errors",
        with_checksum(lambda one: one["trajectory"]["evaluations"].pop("test_error") and None),
        "test_error",
        "nothing there",
    ),
    record(
        "checksum fits, but an outcome is unknown",
        with_checksum(lambda one: put(one, 1, "outcome", "colour")),
        "'colour'",
    ),
    record(
        "checksum fits, but the status is a number",
        with_checksum(lambda one: put(one, 1, "outcome", "status")),
        "status",
        "text",
    ),
    record(
        "checksum fits, but the status is missing",
        with_checksum(lambda one: one["outcome"].pop("status") and None),
        "status",
    ),
    record(
        "checksum fits, but an outcome is nested",
        with_checksum(lambda one: put(one, {"a": 1}, "outcome", "test_error")),
        "test_error",
        "a number",
    ),
    record(
        "checksum fits, but its provenance is a number",
        with_checksum(lambda one: put(one, 5, "provenance")),
        "provenance",
        "object",
    ),
    record(
        "checksum fits, but its seconds are a text",
        with_checksum(lambda one: put(one, "long", "provenance", "seconds")),
        "seconds",
        "a number",
    ),
    Case(
        "records",
        "one is missing",
        TABLES,
        ("lam0.1_eta0.4_seed0.json", "no such record"),
        lambda root: (root / RECORD).unlink(),
    ),
]

PART = "results/demo/tables/parts/A/runs.parquet"
STATISTIC = "results/demo/statistics/boundaries.parquet"


def retabled(made: Callable[[pa.Table], pa.Table], file: str = PART) -> Change:
    """Change a table."""

    def change(root: Path) -> None:
        pq.write_table(made(pq.read_table(root / file)), root / file)

    return change


def table(name: str, change: Change, *words: str) -> Case:
    """The merge of all parts with one of them changed."""
    command = ("tables", "--merge", "--output", "{root}/new")
    return Case("tables", name, command, ("parts/A/runs.parquet", *words), change)


def _column(name: str, values: Callable[[pa.Table], pa.Array]) -> Callable[[pa.Table], pa.Table]:
    def made(old: pa.Table) -> pa.Table:
        place = old.schema.get_field_index(name)
        array = values(old)
        return old.set_column(place, pa.field(name, array.type), array)

    return made


def _spoilt(old: bytes) -> bytes:
    """The first pages overwritten; the footer stays."""
    return old[:4] + b"\xff" * 400 + old[404:]


def _folder_for_part(root: Path) -> None:
    (root / PART).unlink()
    (root / PART).mkdir()


TABLES_ = [
    table("nothing", write(PART, b""), "not a complete Parquet file"),
    table("half of it", recode(PART, lambda old: old[: len(old) // 2]), "not a complete Parquet file"),
    table("a text", write(PART, b"run,test_error\n" * 20), "not a complete Parquet file"),
    table("no footer", recode(PART, lambda old: old[:-8] + b"\xff" * 4 + b"PAR1"), "delete"),
    table("spoilt pages", recode(PART, _spoilt), "delete"),
    table("a folder", _folder_for_part, "cannot be read"),
    Case("tables", "an explorer of a spoilt part", ("explorer",), (PART, "delete"), recode(PART, _spoilt)),
    Case("tables", "a report of a spoilt part", ("report",), (PART, "delete"), recode(PART, _spoilt)),
    Case(
        "tables",
        "a statistic of a spoilt part",
        ("statistics", "variance_peaks", "--partial"),
        (PART, "delete"),
        recode(PART, _spoilt),
    ),
    Case(
        "tables",
        "a comparison with a spoilt part",
        ("compare", "released", "demo"),
        (PART, "delete"),
        recode(PART, _spoilt),
    ),
    Case(
        "tables",
        "a report of a spoilt statistic",
        ("report",),
        (STATISTIC, "delete"),
        write(STATISTIC, b"PAR1" * 50),
    ),
    table("a column less", retabled(lambda old: old.drop_columns(["digest"])), "delete"),
    table("a column more", retabled(lambda old: old.append_column("x", old["run"])), "delete"),
    table(
        "a column of another type",
        retabled(_column("test_error", lambda old: old["test_error"].cast(pa.float32()))),
        "delete",
    ),
    table(
        "of two editions",
        retabled(lambda old: pa.concat_tables([old, pq.read_table(io.BytesIO(_other(old)))])),
    ),
    table("gone", lambda root: (root / PART).unlink(), "no such table"),
    Case(
        "tables",
        "a merged table cut",
        ("claims",),
        ("tables/runs.parquet", "not a complete Parquet file"),
        recode("results/demo/tables/runs.parquet", lambda old: old[:100]),
    ),
]


def _other(old: pa.Table) -> bytes:
    place = old.schema.get_field_index("edition")
    other = old.set_column(place, old.schema.field(place), pa.array(["smoke"] * len(old)))
    buffer = io.BytesIO()
    pq.write_table(other, buffer)
    return buffer.getvalue()


CHECKPOINT = "results/demo/checkpoints/Prep/seed0.pt"


class Bomb:
    """A pickle that makes a folder when it is read."""

    def __reduce__(self) -> tuple:
        return os.mkdir, ("crater",)


def retorched(made: Callable[[dict], Any]) -> Change:
    """Change what a checkpoint holds."""

    def change(root: Path) -> None:
        content = torch.load(root / CHECKPOINT, weights_only=True)
        other = made(content)
        torch.save(content if other is None else other, root / CHECKPOINT)

    return change


def _weights(made: Callable[[dict], Any]) -> Change:
    def change(content: dict) -> None:
        weights = content["stages"]["main"]
        other = made(weights)
        content["stages"]["main"] = weights if other is None else other

    return retorched(change)


def _first(made: Callable[[torch.Tensor], Any]) -> Change:
    def change(weights: dict) -> None:
        name = next(iter(weights))
        weights[name] = made(weights[name])

    return _weights(change)


def _deflated(old: bytes) -> bytes:
    """The same archive with its members compressed, among them one that swells to 200 MB."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(old)) as source,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, bytes(200_000_000) if name.endswith("/data/0") else source.read(name))
    return buffer.getvalue()


def checkpoint(name: str, change: Change, *words: str) -> Case:
    """The run that starts from a checkpoint which is changed."""
    command = ("train", "Sweep/seed0", "--output", "{root}/new/x.json")
    return Case("checkpoints", name, command, ("Prep/seed0", *words), change)


CHECKPOINTS = [
    checkpoint("nothing", write(CHECKPOINT, b""), "damaged or unsafe"),
    checkpoint("a text", write(CHECKPOINT, b"weights"), "damaged or unsafe"),
    checkpoint("half of it", recode(CHECKPOINT, lambda old: old[: len(old) // 2]), "damaged or unsafe"),
    checkpoint(
        "a pickle that runs code", write(CHECKPOINT, pickle.dumps({"stages": Bomb()})), "damaged or unsafe"
    ),
    checkpoint(
        "a torch file that runs code",
        retorched(lambda one: {"stages": {"main": Bomb()}}),
        "damaged or unsafe",
    ),
    checkpoint("members that swell", recode(CHECKPOINT, _deflated), "compressed"),
    checkpoint("a list", retorched(lambda one: [one]), "no weights of stage 'main'"),
    checkpoint("no stages", retorched(lambda one: {}), "no weights of stage 'main'"),
    checkpoint(
        "stages that are a list", retorched(lambda one: put(one, [1], "stages")), "no weights of stage 'main'"
    ),
    checkpoint(
        "another stage",
        retorched(lambda one: put(one, {"other": {}}, "stages")),
        "no weights of stage 'main'",
    ),
    checkpoint("a stage that is a number", _weights(lambda one: 5), "'main'", "weights"),
    checkpoint("a stage that is a tensor", _weights(lambda one: torch.zeros(3)), "'main'", "weights"),
    checkpoint("weights that are numbers", _first(lambda one: 0.5), "'main'", "weights"),
    checkpoint("weights by number", _weights(lambda one: dict(enumerate(one.values()))), "'main'", "weights"),
    checkpoint(
        "no weights at all",
        retorched(lambda one: put(one, {"main": {}}, "stages")),
        "do not match the record",
    ),
    checkpoint("a weight less", _weights(lambda one: one.popitem() and None), "do not match the record"),
    checkpoint(
        "a weight more", _weights(lambda one: put(one, torch.zeros(2), "extra")), "do not match the record"
    ),
    checkpoint("a weight of another shape", _first(lambda one: one.reshape(-1)), "do not match the record"),
    checkpoint("a weight of another type", _first(lambda one: one.float()), "do not match the record"),
    checkpoint(
        "a weight that is no number", _first(lambda one: one * float("nan")), "do not match the record"
    ),
    checkpoint("a weight without values", _first(lambda one: one.to("meta")), "Prep/seed0"),
    checkpoint("a sparse weight", _first(lambda one: one.to_sparse()), "Prep/seed0"),
    checkpoint(
        "a folder", lambda root: ((root / CHECKPOINT).unlink(), (root / CHECKPOINT).mkdir()), "checkpoint"
    ),
    checkpoint("gone", lambda root: (root / CHECKPOINT).unlink(), "no such checkpoint"),
]

PREPARED = "data/digits/digits.npz"


def _npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _enormous() -> bytes:
    """An array file that says it holds 2^60 numbers."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1152921504606846976,), }"
        header += b" " * (118 - len(header)) + b"\n"
        archive.writestr(
            "train_images.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
        )
    return buffer.getvalue()


def prepared(name: str, change: Change) -> Case:
    """A run with its prepared data changed."""
    command = ("train", "Prep/seed0", "--output", "{root}/new/x.json")
    return Case("prepared data", name, command, ("digits", "run: dualgrad data digits"), change)


PREPARED_DATA = [
    prepared("nothing", write(PREPARED, b"")),
    prepared("half of it", recode(PREPARED, lambda old: old[: len(old) // 2])),
    prepared("a flipped bit", recode(PREPARED, lambda old: old[:3000] + bytes([old[3000] ^ 1]) + old[3001:])),
    prepared("a pickle that runs code", write(PREPARED, pickle.dumps(Bomb()))),
    prepared(
        "an object array that runs code", write(PREPARED, _npz(train_images=np.array([Bomb()], dtype=object)))
    ),
    prepared("an enormous array", write(PREPARED, _enormous())),
    prepared("other arrays", write(PREPARED, _npz(x=np.zeros(3)))),
    prepared("a note that is no JSON", write("data/digits/digits.json", "{")),
    prepared("a note that is a list", write("data/digits/digits.json", "[]")),
    prepared("a note of brackets", write("data/digits/digits.json", "[" * 100_000)),
    prepared("a note about something else", write("data/digits/digits.json", '{"content_sha256": 5}')),
]

ROW = "results/a.json"


def published(name: str, made: Callable[[list], Any] | bytes, *words: str) -> Case:
    """Published rows that are malformed, although the manifest says that they are right."""

    def change(root: Path) -> None:
        rows = small.rows()
        if isinstance(made, bytes):
            small.write_archive(root, made)
            return
        other = made(rows)
        small.write_archive(root, json.dumps(rows if other is None else other).encode())

    return Case("published rows", name, ("ingest", "A", "--output", "{root}/new"), (ROW, *words), change)


def _text(old: str, new: str) -> bytes:
    text = json.dumps(small.rows())
    assert old in text
    return text.replace(old, new, 1).encode()


def altered(name: str, made: Callable[[bytes], bytes], *words: str) -> Case:
    """A published file that is not as the manifest says."""
    file = f"released_archive/notebooks/Paper-A/{ROW}"
    return Case("published files", name, ("ingest", "A"), (ROW, *words), recode(file, made))


PUBLISHED = [
    altered("cut", lambda old: old[:-1], "truncated", "expected"),
    altered("longer", lambda old: old + b"\n", "altered", "expected"),
    altered("a digit changed", lambda old: old.replace(b"0.25", b"0.24", 1), "altered", "SHA-256"),
    altered("nothing", lambda old: b"", "truncated"),
    published("nothing", b"", "JSON"),
    published("half of it", _text("0.25", "0.2")[:200], "JSON"),
    published("a BOM of UTF-16 alone", b"\xff\xfe", "JSON"),
    published("Latin-1", _text('"x"', '"\xe9"').decode().encode("latin-1"), "JSON"),
    published("a NUL", _text('"x"', '"\0"'), "JSON"),
    published("a comma too many", _text("}]}]", "}]},]"), "JSON"),
    published("brackets without end", b"[" * 100_000, "JSON", "nested"),
    published("a number of five thousand digits", _text('"seed": 0', '"seed": ' + "1" * 5000), "JSON"),
    published("NaN", _text("0.25", "NaN"), "NaN", "number"),
    published("an infinity", _text("0.25", "-Infinity"), "Infinity", "number"),
    published(
        "a number beyond floats",
        _text('"test_error": 0.25', '"test_error": 1e999'),
        "JSON",
        "finite",
    ),
    published(
        "a whole number beyond floats",
        _text('"test_error": 0.25', '"test_error": 1' + "0" * 400),
        "row 0",
        "test_error",
    ),
    published(
        "a whole number beyond 64 bits",
        lambda rows: put(rows, 2**70, 0, "history", 0, "epoch"),
        "row 0",
        "epoch",
    ),
    published("a field twice", _text('"seed": 0', '"seed": 0, "seed": 1'), "'seed'", "twice"),
    published("an object", lambda rows: {"rows": rows}, "list of rows"),
    published("a number", lambda rows: 5, "list of rows"),
    published("a row that is a list", lambda rows: put(rows, [], 1), "list of rows"),
    published("no rows", lambda rows: [], "no row for 4 of 4"),
    published("a row less", lambda rows: rows[1:], "no row for 1 of 4", "lam0.1_eta0.4_seed0"),
    published("a row twice", lambda rows: [*rows, rows[0]], "row 4", "second row"),
    published("a row of no run", lambda rows: [*rows, {**rows[0], "seed": 7}], "row 4", "seed=7"),
    published("a field more", lambda rows: put(rows, 1, 2, "colour"), "row 2", "colour", "not expected"),
    published(
        "a field less", lambda rows: rows[2].pop("test_error") and None, "row 2", "test_error", "missing"
    ),
    published("a list less", lambda rows: rows[2].pop("history") and None, "row 2", "history", "missing"),
    published(
        "an error as a text",
        lambda rows: put(rows, "0.25", 1, "test_error"),
        "row 1",
        "test_error",
        "a number",
    ),
    published(
        "an error as a flag", lambda rows: put(rows, True, 1, "test_error"), "row 1", "test_error", "a number"
    ),
    published(
        "an error as a list",
        lambda rows: put(rows, [0.25], 1, "test_error"),
        "row 1",
        "test_error",
        "a number",
    ),
    published(
        "an error as nothing", lambda rows: put(rows, None, 1, "test_error"), "row 1", "test_error", "a value"
    ),
    published(
        "an error above one",
        lambda rows: put(rows, 25.0, 1, "test_error"),
        "row 1",
        "test_error",
        "at most 1",
    ),
    published(
        "an error that its accuracy denies",
        lambda rows: put(rows, 0.5, 1, "test_acc"),
        "row 1",
        "test_acc",
        "1 - test_error",
    ),
    published(
        "an accuracy as a text",
        lambda rows: put(rows, "0.75", 1, "test_acc"),
        "row 1",
        "test_acc",
        "a number",
    ),
    published(
        "seconds below zero",
        lambda rows: put(rows, -1, 1, "time_seconds"),
        "row 1",
        "time_seconds",
        "at least 0",
    ),
    published("a seed with a point", lambda rows: put(rows, 0.5, 1, "seed"), "row 1", "seed", "whole number"),
    published("a seed as an object", lambda rows: put(rows, {}, 1, "seed"), "row 1", "seed", "whole number"),
    published("λ that no run has", lambda rows: put(rows, 0.11, 1, "lambda"), "row 1", "lambda=0.11"),
    published(
        "a list that is an object", lambda rows: put(rows, {}, 3, "history"), "row 3", "history", "a list"
    ),
    published(
        "an item that is a number",
        lambda rows: put(rows, 5, 3, "history", 0),
        "row 3",
        "history[0]",
        "object",
    ),
    published(
        "an item with a field more",
        lambda rows: put(rows, 1, 3, "history", 1, "x"),
        "row 3",
        "history[1]",
        "object",
    ),
    published(
        "an item's error as a text",
        lambda rows: put(rows, "x", 3, "history", 1, "error"),
        "row 3",
        "history[1].error",
        "a number",
    ),
    published(
        "an item's epoch as nothing",
        lambda rows: put(rows, None, 3, "history", 1, "epoch"),
        "row 3",
        "history[1].epoch",
    ),
    published(
        "an item's epoch below zero",
        lambda rows: put(rows, -1, 3, "history", 1, "epoch"),
        "row 3",
        "history[1].epoch",
        "at least 0",
    ),
]
