"""What can be wrong with tables."""

from __future__ import annotations


class TableError(ValueError):
    """Rows that do not fit the schema, or tables that are missing, damaged or of another version."""


class MissingError(LookupError):
    """An edition does not hold what a measure needs; the text says what."""
