"""The one error that the ingest raises for the archive's content."""


class ArchiveError(ValueError):
    """A published file is missing, altered or not what the mapping says; the message names it and what to do."""


class MappingError(ValueError):
    """``config/released/*.yaml`` is wrong; the message names the file and the key."""
