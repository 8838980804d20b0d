"""Every page on desktop and phone, light and dark: no error, no request, nothing too wide, contrast, keyboard."""

from __future__ import annotations

from pathlib import Path

import pytest
from accessibility import all_problems, axe
from browser import PHONE, open_page, wait
from synthetic import write_results

from dualgrad.census import Census, load_census
from dualgrad.claims import report as claims
from dualgrad.claims.data import Tables
from dualgrad.claims.evaluate import measure_all
from dualgrad.claims.load import load_ledger
from dualgrad.compare import build as compare_build
from dualgrad.compare.editions import Edition
from dualgrad.explorer import build as build_explorer
from dualgrad.figures.sources import FIGURE_EXPERIMENTS
from dualgrad.project import load_settings
from dualgrad.release.contents import Release
from dualgrad.report import build
from dualgrad.statistics import build as statistics_build
from dualgrad.tables.read import merge_parts

ROOT = Path(__file__).resolve().parents[1]
MADE = ("A", "C", "K", "M2", "T1a", "V1")
# Address within the report, and when it is set up.
PAGES = {
    "index.html": "document.readyState === 'complete'",
    "index.html#audited": "document.getElementById('audit')?.hidden === false",
    "explorer.html": "document.querySelectorAll('.row').length > 0",
    "explorer.html#exp=A": "document.querySelector('.means') !== null",
    "explorer.html#run=V1/seed1": "document.getElementById('trajectory') !== null",
    "claims.html": "document.querySelectorAll('.row').length > 0",
    "claims.html#ce-eta04": "document.querySelectorAll('.detail').length === 1",
    "statistics.html": "document.querySelectorAll('tbody tr').length > 3",
    "comparison.html": "document.querySelectorAll('tr[id]').length > 0",
    "replication.html": "document.querySelectorAll('table').length > 0",
}
# What such an address opens; the rest of the page is looked at under the page's own address.
OPENED = {
    "explorer.html#exp=A": "#content",
    "explorer.html#run=V1/seed1": "#content",
    "claims.html#ce-eta04": ".detail",
}


@pytest.fixture(scope="module")
def pages(demo, shared) -> Path:
    """A report of made-up results with all pages that one can have. Shared between workers too: read-only."""
    return shared("pages", lambda results: write_pages(results, demo)) / "demo" / "report"


def write_pages(results: Path, demo: Census) -> None:
    from dualgrad.project import load_project
    from dualgrad.replicate import build as replicate_build

    folder = write_results(results, demo, MADE)
    merge_parts(folder / "tables" / "parts", MADE, folder / "tables")
    for name in ("summaries", "boundaries"):
        statistics_build.make(name, folder, folder / "statistics" / f"{name}.parquet", MADE, partial=True)
    build_explorer(demo, load_settings(ROOT), folder, folder / "explorer.html")
    tables = Tables.read(folder)
    measured = measure_all(load_ledger(ROOT, demo.experiments), tables, Release(None, [], demo.runs))
    claims.write(measured, tables, folder)
    write_results(results, load_census(ROOT, {"edition": "paper"}), MADE[:3])
    editions = [Edition(results / name, list(MADE)) for name in ("paper", "demo")]
    compare_build.make(*editions, ("as published", "in miniature"), results / "compare" / "paper_demo", 0.02)
    kept = replicate_build.kept_editions(ROOT)[:1]
    made = replicate_build.gather(load_project(ROOT, {}), kept, results / "released", results)
    replicate_build.make(made, folder / "replication")
    for figure in FIGURE_EXPERIMENTS:
        for variant in ("published", "audited"):
            (folder / "figures" / variant).mkdir(parents=True, exist_ok=True)
            source = ROOT / "docs" / "images" / "gallery" / f"{figure}.png"
            (folder / "figures" / variant / f"{figure}.png").write_bytes(source.read_bytes())
    build(demo, load_settings(ROOT), folder, folder / "report")


def test_axe_is_there() -> None:
    if axe() is None:
        pytest.skip("no axe-core: npm install --prefix .venv/node axe-core (or set AXE to its axe.min.js)")


@pytest.mark.parametrize("place", PAGES)
def test_a_page_serves_everybody(browser, pages: Path, place: str) -> None:
    name, mark, rest = place.partition("#")
    url = (pages / name).as_uri() + mark + rest
    assert all_problems(browser, url, PAGES[place], OPENED.get(place, "html")) == {}


def test_the_claims_address_survives_a_reload(browser, pages: Path) -> None:
    address = (pages / "claims.html").as_uri()
    shown = "[...document.querySelectorAll('.row')].map(one => one.id)"
    strange = (
        "document.getElementById('strange').hidden ? '' : document.getElementById('strange').textContent"
    )
    with open_page(browser, address) as page:
        wait(page, "document.querySelectorAll('.row').length > 20")
        verdict = page.evaluate("D.claims[0].verdict")
        page.click(f"#tiles button[data-verdict={verdict}]")
        page.click("th[data-sort=units] button")
        page.keyboard.press("/")
        page.keyboard.insert_text("0.4")
        rows, there = page.evaluate(shown), page.evaluate("location.hash")
        assert there == f"#q=0.4&verdict={verdict}&sort=units" and 0 < len(rows) < 400
        page.reload()
        wait(page, f"document.querySelectorAll('.row').length === {len(rows)}")
        assert page.evaluate(shown) == rows and page.evaluate("$('search').value") == "0.4"
        assert page.evaluate(strange) == ""
        page.click("#reset")
        page.click("th[data-sort=order] button")
        assert page.evaluate("location.hash") == ""
    for parts in (["no-such-claim"], ["verdict=excellent", "colour=red"], ["50%"]):
        with open_page(browser, f"{address}#{'&'.join(parts)}") as page:
            wait(page, "document.querySelectorAll('.row').length > 20")
            assert all(f"“{part}”" in page.evaluate(strange) for part in parts)
            page.fill("#search", "0.4")
            wait(page, "document.getElementById('strange').hidden")


def test_verdicts_are_in_view_on_a_phone_and_headings_are_questions(browser, pages: Path) -> None:
    with open_page(browser, (pages / "claims.html").as_uri(), PHONE) as page:
        wait(page, "document.querySelectorAll('.row').length > 20")
        edges = page.evaluate(
            "[...document.querySelectorAll('.row .mark')].map(one => one.getBoundingClientRect().right)"
        )
        assert min(edges) > 0 and max(edges) <= 390
        heads = page.evaluate(
            "[...document.querySelectorAll('#conclusions summary')].map(one => one.textContent)"
        )
        assert len(heads) == 20 and all(head.endswith("?") for head in heads)
        order = page.evaluate(
            "[...document.querySelectorAll('#conclusions li')].map(one => "
            "[...one.querySelectorAll('.chip')].map(chip => order.indexOf(byId.get(chip.textContent).verdict)))"
        )
        assert all(one == sorted(one) for one in order)


# What a sheet of A4 between margins shows of a page as wide as a screen.
SHEET = (680, 960)


@pytest.mark.parametrize("dark", [False, True])
def test_pages_print_light_and_whole(browser, pages: Path, dark: bool) -> None:
    """On paper nothing is cut off at the right, conclusions are open, dark pages light; then all is as before."""
    for name, ready in (
        ("claims.html", "document.querySelectorAll('.row').length > 20"),
        ("statistics.html", PAGES["statistics.html"]),
        ("index.html", PAGES["index.html"]),
        ("explorer.html", PAGES["explorer.html"]),
        ("comparison.html", PAGES["comparison.html"]),
        ("replication.html", PAGES["replication.html"]),
    ):
        with open_page(browser, (pages / name).as_uri(), SHEET, dark=dark) as page:
            wait(page, ready)
            rows = page.evaluate("document.querySelectorAll('tbody tr').length")
            page.emulate_media(media="print")
            page.evaluate("dispatchEvent(new Event('beforeprint'))")
            assert page.evaluate("document.documentElement.dataset.theme") == "light"
            cut = """[...document.querySelectorAll('body, main, #frame, #table, .wide, td, th')].filter(one =>
                one.checkVisibility() && getComputedStyle(one).overflowX !== 'visible'
                && one.scrollWidth > one.clientWidth + 1).map(one => one.outerHTML.slice(0, 90))"""
            assert page.evaluate(cut) == [], name
            assert page.evaluate("document.documentElement.scrollWidth") <= SHEET[0], name
            useless = "[...document.querySelectorAll('.search, .pages, [data-theme-toggle], [data-copy]')]"
            assert not page.evaluate(f"{useless}.some(one => one.checkVisibility())")
            if name == "comparison.html":
                lists = "[...document.querySelectorAll('details > ul')]"
                assert all(page.evaluate(f"{lists}.map(one => one.offsetHeight > 0)"))
            if name == "claims.html":
                columns = "[...document.querySelectorAll('#table thead th')].map(one => one.offsetWidth > 0)"
                assert page.evaluate(columns) == [True] * 6
                texts = "[...document.querySelectorAll('#conclusions details > div')]"
                assert all(page.evaluate(f"{texts}.map(one => one.offsetHeight > 0)"))
            if name == "statistics.html":
                total = page.evaluate("rows.length")
                printed = page.evaluate("document.querySelectorAll('tbody tr').length")
                assert rows < printed == min(1000, total) + (total > 1000)
            page.emulate_media(media="screen")
            page.evaluate("dispatchEvent(new Event('afterprint'))")
            assert page.evaluate("document.documentElement.dataset.theme") == ("dark" if dark else "light")
            assert page.evaluate("document.querySelectorAll('tbody tr').length") == rows
