"""Parquet files: one way to write them, with a checksum, and one way to read them that heeds it.

Parquet's own checksums leave out its page headers and its footer, where one flipped bit can pass for other numbers.
It is the SHA-256 of the whole file, with zeros in its own place; it stands in the footer as metadata, so any
reader of Parquet can read the file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from dualgrad.files import replacing
from dualgrad.tables.errors import TableError

if TYPE_CHECKING:
    import pandas as pd

_KEY, _BLANK = "dualgrad-sha256", "0" * 64
# As Thrift's compact protocol writes the pair: the key, type and length of the value, the value.
_CHECKSUM = re.compile(_KEY.encode() + rb"\x18\x40([0-9a-f]{64})")


@contextmanager
def writer(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """Write a Parquet file that appears under its name when it is complete; same rows, same bytes."""
    with replacing(path) as temporary:
        # The Arrow schema travels in the file, so that units and meanings can be read back.
        options = {"compression": "zstd", "version": "2.6", "store_schema": True}
        # Opened here: Arrow takes no path that is no UTF-8, as any name beyond ASCII is in an ASCII locale.
        with temporary.open("wb") as stream, pq.ParquetWriter(stream, schema, **options) as opened:
            yield opened
            opened.add_key_value_metadata({_KEY: _BLANK})
        content = temporary.read_bytes()
        found = _CHECKSUM.search(content)
        assert found is not None  # just added
        with temporary.open("r+b") as file:
            file.seek(found.start(1))
            file.write(hashlib.sha256(content).hexdigest().encode())


def write(path: Path, table: pa.Table) -> None:
    """Write a table as :func:`writer` does."""
    with writer(path, table.schema) as opened:
        opened.write_table(table)


def write_frame(path: Path, frame: pd.DataFrame, meanings: Mapping[str, str]) -> None:
    """Write a frame's columns with what they mean as field metadata; counts and flags stay so with some missing."""
    table = pa.Table.from_pandas(frame[list(meanings)].convert_dtypes(), preserve_index=False)
    fields = [field.with_metadata({"meaning": meanings[field.name]}) for field in table.schema]
    write(path, table.replace_schema_metadata(None).cast(pa.schema(fields)))


def write_as_is(path: Path, frame: pd.DataFrame) -> None:
    """Write a frame's columns, without its index."""
    write(path, pa.Table.from_pandas(frame, preserve_index=False))


def read(path: Path, schema: pa.Schema | None = None, names: Sequence[str] | None = None) -> pa.Table:
    """Read what :func:`writer` wrote, or some of its columns.

    Args:
        path: the file.
        schema: the schema that it must have, or None for any.
        names: columns to read, default all.

    Raises:
        TableError: missing, truncated, altered, or of another schema; the message names the file and what to do.
    """
    remedy = f"delete {path} and run the same target again"
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise TableError(
            f"{path}: no such table; the workflow makes it on its way to `snakemake claims`, say"
        ) from None
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror})") from None
    if not (content.startswith(b"PAR1") and content.endswith(b"PAR1")):
        raise TableError(f"{path}: not a complete Parquet file; {remedy}")
    found = _CHECKSUM.search(content)
    blank = content[: found.start(1)] + _BLANK.encode() + content[found.end(1) :] if found else b""
    if not found or hashlib.sha256(blank).hexdigest().encode() != found[1]:
        raise TableError(f"{path}: content does not match its checksum; {remedy}")
    with pq.ParquetFile(pa.BufferReader(content)) as file:
        if schema is not None and not file.schema_arrow.equals(schema):
            raise TableError(f"{path}: has the columns of another version; {remedy}")
        # Arrow's threads gain nothing here, and may still be starting when a short command ends: it would be aborted.
        table = file.read(columns=list(names) if names is not None else None, use_threads=False)
    return table.replace_schema_metadata(None)
