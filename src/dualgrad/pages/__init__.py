"""What the project's HTML pages and Markdown documents share: how their templates are filled.

Templates are Jinja's, and lie beside the code that fills them. ``base.html`` is every page's layout: one file with
everything in it, for any browser and no server. In HTML all values are escaped, in Markdown those that would begin a
tag; a name that a template does not get is an error. The page's policy keeps it from loading anything and lets its
own scripts run, known by their hash, and no others, no ``onclick`` either. Data travel deflated, as base64
(``DecompressionStream`` unpacks it in the browser).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_eval_context
from jinja2.nodes import EvalContext
from markupsafe import Markup

from dualgrad import __version__
from dualgrad.records import write_atomically

SHARED = Path(__file__).parent
_TAG = re.compile(r"<(?=[A-Za-z/!?])")


def render(template: Path, **values: Any) -> str:
    """Fill a template.

    Args:
        template: a file that ends in .html or .md; what it extends, includes and imports, and the style sheets and
            scripts that it names, are sought beside it, then among the shared ones.
        values: what it asks for.

    Raises:
        jinja2.UndefinedError: the template asks for what it does not get.
        jinja2.TemplateNotFound: a file that it names is in neither folder.
    """
    return _environment(template.parent).get_template(template.name).render(**values)


@cache
def _environment(folder: Path) -> Environment:
    loader = FileSystemLoader([folder, SHARED])
    made = Environment(
        loader=loader,
        autoescape=lambda name: name is not None and name.endswith(".html"),
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.globals |= {"version": __version__, "source": partial(_source, made, loader), "hashes": _hashes}
    made.filters |= {"cell": cell, "cells": cells}
    return made


@pass_eval_context
def _finalize(context: EvalContext, value: Any) -> Any:
    """What a template inserts, as it stands in the text: HTML is escaped later, by Jinja itself."""
    return value if context.autoescape else in_markdown(value)


def _source(environment: Environment, loader: FileSystemLoader, name: str) -> Markup:
    """A style sheet or script as it is, braces and all."""
    return Markup(loader.get_source(environment, name)[0].rstrip("\n"))


def _hashes(scripts: Iterable[str]) -> Markup:
    """The content policy's list of scripts: what stands between their tags, by hash."""
    digests = (base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts)
    return Markup(" ".join(f"'sha256-{digest}'" for digest in digests))


def linked(page: str, current: str, others: Mapping[str, str]) -> str:
    """Return a page with links to the pages that lie beside it.

    Args:
        page: its text; ``nav.html`` in its template is where the links go. A page that stands alone has none.
        current: the file name of this page.
        others: titles of all pages of the folder, by file name, in reading order; this one may be among them.
    """
    empty, full = (render(SHARED / "nav.html", beside=one, current=current).strip() for one in ({}, others))
    return page.replace(empty, full, 1)


def packed(data: Any) -> str:
    """Return JSON data as a page carries them: deflated, as base64. The same data give the same text."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def data_uri(path: Path) -> str:
    """Return a picture (PNG) as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def in_markdown(text: object) -> str:
    """Return a text for Markdown, in which no HTML begins; plain texts, ``a < b`` too, stay as they are."""
    return _TAG.sub(r"\\<", str(text))


def cell(text: object) -> str:
    """Return a text for a cell of a Markdown table; templates have it as a filter."""
    return str(text).replace("|", "\\|")


def cells(row: Sequence[object]) -> str:
    """Return a row of a Markdown table; templates have it as a filter."""
    return " | ".join(["", *map(cell, row), ""]).strip()


def write_page(path: Path, page: str) -> None:
    """Write a page, complete or not at all."""
    write_atomically(path, page.encode())
