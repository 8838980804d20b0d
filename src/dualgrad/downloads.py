"""Downloads: within bounds, tried again, and every way in which a network can fail told in one sentence."""

from __future__ import annotations

import hashlib
import time
from typing import BinaryIO

_BLOCK = 1 << 20


class DownloadError(ValueError):
    """The network, or what came of it; never a file of this machine. The text says what happened."""


def download(url: str, stream: BinaryIO, largest: int, *, timeout: float = 60.0) -> str:
    """Copy what a URL holds to a stream, and return its SHA-256 (hex).

    Args:
        url: where from.
        stream: where to; what was written before an error stays in it.
        largest: bytes that are plausible; the transfer ends there.
        timeout: seconds in which something must come.

    Raises:
        DownloadError: no connection, an answer that is no HTTP, is cut short or larger than that, or no such URL.
        OSError: the stream cannot be written to.
    """
    import http.client  # bring much along that no training job needs
    import urllib.request

    total, size = hashlib.sha256(), 0
    try:
        source = urllib.request.urlopen(url, timeout=timeout)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise DownloadError(_reason(error)) from None
    with source:
        length = source.headers.get("Content-Length", "") if source.headers else ""
        while True:
            try:
                block = source.read(_BLOCK)
            except (OSError, ValueError, http.client.HTTPException) as error:
                raise DownloadError(f"broken off after {size} bytes: {_reason(error)}") from None
            if not block:
                break
            size += len(block)
            if size > largest:
                raise DownloadError(f"more than the {largest} bytes expected at most")
            total.update(block)
            stream.write(block)
    if length.isdigit() and size < int(length):
        raise DownloadError(f"broken off after {size} of {length} bytes")
    return total.hexdigest()


def pause(attempt: int) -> None:
    """Wait before another attempt: not before the first (0), then longer each time."""
    if attempt:
        time.sleep(2**attempt)


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error  # URLError wraps the cause
    text = " ".join(str(reason).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:197]}..."
