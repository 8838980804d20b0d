"""What the project's HTML pages share: one file each, with everything in it, for any browser and no server.

A page is a template with ``{{ name }}`` where a piece goes: a file of the template's folder or of this one, or a
value that is passed in. ``head.html`` holds what every head has, ``policy.html`` keeps a page from loading anything,
``scripts`` is the content policy's list of the page's own scripts, by hash: nothing else runs, no ``onclick`` either.
Data travel deflated, as base64 (``DecompressionStream`` unpacks it in the browser).
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dualgrad import __version__
from dualgrad.records import write_atomically

SHARED = Path(__file__).parent
_PLACE = re.compile(r"\{\{ *([\w.-]+) *\}\}")
_SCRIPTS = "{{ scripts }}"
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)  # one with a type holds data


def assemble(template: Path, values: Mapping[str, str]) -> str:
    """Fill a template.

    Args:
        template: an HTML file; pieces that are file names are sought beside it, then among the shared ones, where
            HTML may have places of its own. ``own.css`` is the template's style sheet, of its name.
        values: what goes where, beside the package's ``version``; already HTML.

    Raises:
        KeyError: the template names a piece that nobody has.
    """

    values = {"version": escape(__version__), "scripts": _SCRIPTS, **values}

    def piece(found: re.Match[str]) -> str:
        name = found[1]
        if name in values:
            return values[name]
        if name == "own.css":
            name = template.with_suffix(".css").name
        for folder in (template.parent, SHARED):
            if (folder / name).is_file():
                text = (folder / name).read_text(encoding="utf-8").rstrip("\n")
                return _PLACE.sub(piece, text) if name.endswith(".html") else text
        raise KeyError(f"{template.name}: nothing is called {name}")

    page = _PLACE.sub(piece, template.read_text(encoding="utf-8"))
    hashes = [hashlib.sha256(script.encode()).digest() for script in _SCRIPT.findall(page)]
    return page.replace(_SCRIPTS, " ".join(f"'sha256-{base64.b64encode(one).decode()}'" for one in hashes))


def linked(page: str, current: str, others: Mapping[str, str]) -> str:
    """Return a page with links to the pages that lie beside it.

    Args:
        page: its text; ``nav.html`` in its template is where the links go. A page that stands alone has none.
        current: the file name of this page.
        others: titles of all pages of the folder, by file name, in reading order; this one may be among them.
    """
    place = (SHARED / "nav.html").read_text(encoding="utf-8").strip()
    links = "".join(
        f'<a href="{escape(name)}"{" aria-current=page" if name == current else ""}>{escape(title)}</a>'
        for name, title in others.items()
    )
    return page.replace(place, f'<nav class="pages" aria-label="Pages of this report">{links}</nav>', 1)


def packed(data: Any) -> str:
    """Return JSON data as a page carries them: deflated, as base64. The same data give the same text."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def data_uri(path: Path, kind: str) -> str:
    """Return a file as a data URI of a media type."""
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def escape(text: object) -> str:
    """Return a text as HTML, for element content and attribute values."""
    return html.escape(str(text))


def in_markdown(text: object) -> str:
    """Return a text for Markdown, in which no HTML begins; plain texts, ``a < b`` too, stay as they are."""
    return _TAG.sub(r"\\<", str(text))


def write_page(path: Path, page: str) -> None:
    """Write a page, complete or not at all."""
    write_atomically(path, page.encode())
