"""Texts of the census, of claims and of records on every page: shown as they are written, never as markup.

The explorer's runs: test_explorer.py. Shells and paths: test_contract.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browser import open_page, wait
from playwright.sync_api import Browser, Page

from dualgrad.claims import report as claims
from dualgrad.claims.verdicts import TITLES, VERDICTS
from dualgrad.compare import conditions, page
from dualgrad.compare.build import _PHENOMENA
from dualgrad.report import content
from dualgrad.report.build import _index, _statistics

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = "'; touch pwned; echo $(id) {x} <script>pwned=1</script><img src=x onerror=pwned=1>\"'`<!--"


class Markup(HTMLParser):
    """What a page has beside text: elements that a hostile text would add, and the text itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.added: list[str] = []
        self.text: list[str] = []
        self.attributes: list[str] = []
        self._script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._script = tag == "script"
        values = {name: value or "" for name, value in attrs}
        self.attributes += values.values()
        if any(name.startswith("on") for name in values) or (tag == "img" and values.get("src") == "x"):
            self.added.append(self.get_starttag_text() or tag)

    def handle_data(self, data: str) -> None:
        (self.added if self._script and "pwned" in data else self.text).append(data)

    def handle_endtag(self, tag: str) -> None:
        self._script = False

    def handle_comment(self, data: str) -> None:
        if "pwned" in data:
            self.added.append(data)


def only_text(html: str) -> str:
    """The text of a page, which nothing hostile has become a part of."""
    found = Markup(html)
    assert found.added == []
    return "".join(found.text)


# Columns of a comparison that are texts; the rest are numbers.
TEXTS = (
    "series|experiment|condition|outcome|name|group|says|measure|unit|expected|caveat|result"
    "|(note|verdict|interval).*"
)


def poisoned(columns: Iterable[str], **others: Any) -> pd.DataFrame:
    """Two rows with a hostile text in every column that is one."""
    values = {
        name: [f"{HOSTILE}{name}"] * 2 if re.fullmatch(TEXTS, name) else [0.1, np.nan] for name in columns
    }
    return pd.DataFrame(values | others)


@pytest.fixture
def comparison() -> page.Comparison:
    counts = {f"{name}_{side}": [3, 3] for name in ("n", "constant") for side in ("first", "second")}
    ends = {"low": [0.1, 0.3], "high": [0.2, 0.4], "difference": [0.15, 0.35], "equivalent": [True, False]}
    first = poisoned(conditions.COLUMNS, **counts, **ends, field=["test_error"] * 2)
    second = poisoned(_PHENOMENA, n_first=[3, 3], n_second=[3, 3])
    return page.Comparison((f"{HOSTILE}1", f"{HOSTILE}2"), (HOSTILE, HOSTILE), 0.02, first, second)


def test_the_comparison(comparison: page.Comparison, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"")
    text = only_text(page.html(comparison, picture))
    shown = ("says", "measure", "caveat", "group", "result", "note_first", "verdict_second")
    for name in (*shown, "experiment", "condition"):
        assert f"{HOSTILE}{name}" in text, name


def test_summaries_in_markdown(comparison: page.Comparison) -> None:
    """Editors and hosts render them, with the HTML that they find."""
    text = page.markdown(comparison, "compare.png")
    assert "touch pwned" in text and not re.search(r"(?<!\\)<(?!br>)[a-zA-Z/!]", text)
    claim = SimpleNamespace(id="one", topic="t", says=HOSTILE, caveat=HOSTILE)
    result = SimpleNamespace(
        claim=claim, printed=HOSTILE, measured=HOSTILE, reason=HOSTILE, verdict=VERDICTS[0], note=HOSTILE
    )
    ledger = SimpleNamespace(documents={"paper": HOSTILE}, topics={"t": HOSTILE})
    counts = dict.fromkeys(VERDICTS, 1)
    made = SimpleNamespace(
        ledger=ledger,
        edition=HOSTILE,
        results={"one": result},
        conclusions=[
            SimpleNamespace(title=HOSTILE, question=HOSTILE, text=HOSTILE, numbers=[(HOSTILE, HOSTILE)])
        ],
        counts=lambda: counts,
        counts_by_document=lambda: {"paper": counts},
        composition=lambda: HOSTILE,
    )
    text = claims.markdown(made)
    assert text.count("touch pwned") > 10 and not re.search(r"(?<!\\)<[a-zA-Z/!]", text)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A census and what a report finds of it, hostile in every text."""
    figure = {"figure": "Figure1", "name": HOSTILE, "title": HOSTILE, "panels": {HOSTILE: HOSTILE}}
    figure |= {"note": HOSTILE, "spread": HOSTILE}
    figure |= {"experiments": {"published": [HOSTILE]}, "variants": ["published"], "numbers": [HOSTILE]}
    for name, found in (
        ("figures", [figure]),
        ("record_counts", {HOSTILE: 3}),
        ("verdict_counts", {HOSTILE: 2}),
    ):
        monkeypatch.setattr(content, name, lambda *given, found=found: found)
    monkeypatch.setitem(_index.__globals__, "differing", lambda *given: {HOSTILE: [HOSTILE]})
    experiments = {HOSTILE: {"title": HOSTILE, "counted": True, "runs": [f"{HOSTILE}/run"]}}
    edition = {"name": HOSTILE, "title": HOSTILE}
    return SimpleNamespace(edition=edition, experiments=experiments, runs={}, root=ROOT)


@pytest.mark.parametrize("pages", [["explorer", "claims"], []])
def test_the_reports_index(drawn: SimpleNamespace, tmp_path: Path, pages: list[str]) -> None:
    figures = content.figures(tmp_path)
    numbers = {f"figure_data/{HOSTILE}"}
    condition = {"levels": {HOSTILE: HOSTILE}, "n": 1, **dict.fromkeys(("mean", "sd", "low", "high"))}
    own = {"experiment": HOSTILE, "title": HOSTILE, "of": HOSTILE, "by": [HOSTILE], "made": 1, "planned": 1}
    own |= {"says": [HOSTILE], "advice": [HOSTILE], "conditions": [condition]}
    text = _index(drawn, "", tmp_path, figures, pages, numbers, [], {HOSTILE: [own]}, bool(pages))
    shown = only_text(text)
    assert shown.count(HOSTILE) > 14
    links = [one for one in Markup(text).attributes if one.startswith(("explorer.html#", "figure_data/"))]
    assert links and not any("<" in one or '"' in one for one in links)


# ---------------------------------------------------------------------------------------------- in a browser


# What a text has become that should have stayed one.
ADDED = """[...document.querySelectorAll('*')].filter(one =>
    [...one.attributes].some(at => at.name.startsWith('on'))
    || one.matches('img[src=x], a[href^="javascript:"]')
    || (one.tagName === 'SCRIPT' && one.textContent.includes('pwned'))).map(one => one.outerHTML)"""


def look(one: Page, *, ready: str) -> str:
    """All of a page, with everything opened; its text, in which nothing has run."""
    wait(one, ready)
    one.evaluate("document.querySelectorAll('button.open, th button, #every').forEach(one => one.click())")
    for _ in range(2):  # what is opened has more to open
        one.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        one.evaluate("new Promise(done => setTimeout(done, 100))")
    assert one.evaluate(ADDED) == []
    assert one.evaluate("window.pwned === undefined")
    return one.evaluate("document.body.textContent")


def test_the_claims(browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("says", "printed", "measured", "difference", "caveat", "note", "reason", "words")
    texts = dict.fromkeys(names, HOSTILE)
    one = {
        "id": HOSTILE,
        "topic": "t",
        "places": [["paper", HOSTILE]],
        "units": 1.0,
        "verdict": VERDICTS[0],
        **texts,
    }
    two = {**one, "id": "two", "verdict": VERDICTS[1], "readings": [[HOSTILE, HOSTILE, True, HOSTILE]]}
    data = {
        "edition": HOSTILE,
        "published": True,
        "verdicts": {verdict: f"{HOSTILE}{TITLES[verdict]}" for verdict in VERDICTS},
        "documents": {"paper": HOSTILE},
        "topics": {"t": HOSTILE},
        "byDocument": {"paper": [1] * len(VERDICTS)},
        "claims": [{**one, "selections": [0]}, {**two, "selections": [0]}],
        "conclusions": [{"title": HOSTILE, "text": HOSTILE, "numbers": [[HOSTILE, HOSTILE]], "claims": [HOSTILE]}],
        "selections": [{"words": HOSTILE, "runs": [0], "several": True, "field": HOSTILE, "values": [1]}],
        "runs": [[HOSTILE, [HOSTILE]]],
        "sources": {"base": "https://example.org", "files": {HOSTILE: [HOSTILE]}},
    }  # fmt: skip
    monkeypatch.setattr(claims, "page_data", lambda *given: data)
    monkeypatch.setattr(claims, "_about", lambda made: HOSTILE)
    text = claims.html(SimpleNamespace(edition=HOSTILE), None)
    only_text(text)
    path = tmp_path / "claims.html"
    path.write_text(text, encoding="utf-8")
    with open_page(browser, path.as_uri()) as opened:
        shown = look(opened, ready="document.querySelectorAll('.row').length === 2")
        assert shown.count(HOSTILE) > 30


def test_the_statistics(browser: Browser, tmp_path: Path) -> None:
    def column(name: str, *levels: Any) -> dict[str, Any]:
        return {"name": name, "unit": HOSTILE, "meaning": HOSTILE, "levels": list(levels), "of": [0, 1]}

    sheet = {
        "name": HOSTILE,
        "title": HOSTILE,
        "about": f"{HOSTILE}`{HOSTILE}",
        "rows": 2,
        "all_rows": 3,
        "quantities": {HOSTILE: {"unit": HOSTILE, "meaning": HOSTILE}},
    }
    texts = ("experiment", "group", "quantity", "unit")
    sheet["columns"] = [column(name, HOSTILE, f"{HOSTILE}2") for name in texts]
    sheet["columns"] += [
        column(name, 0.25, 0.5) for name in ("value", "low", "high", "level", "n", "p_value")
    ]
    sheet["columns"] += [column(name, HOSTILE, f"{HOSTILE}2") for name in ("interval", "note")]
    census = SimpleNamespace(
        edition={"name": HOSTILE}, experiments={HOSTILE: {"counted": True}, f"{HOSTILE}2": {"counted": True}}
    )
    for explorer in (True, False):
        text = _statistics(census, [sheet], explorer=explorer)
        only_text(text)
        path = tmp_path / "statistics.html"
        path.write_text(text, encoding="utf-8")
        address = f"{path.as_uri()}#table={json.dumps(HOSTILE)}"
        with open_page(browser, address) as opened:
            shown = look(opened, ready="document.querySelectorAll('td').length > 3")
            assert shown.count(HOSTILE.replace("`", "")) + shown.count(HOSTILE) > 8
