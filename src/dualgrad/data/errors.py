"""The one exception of this package."""


class DataError(Exception):
    """Data are missing, altered or do not fit the run. The message names the file and says what to do."""
