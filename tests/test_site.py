"""The documents as a site: built strictly, complete, and without a request to anywhere when opened from the disk."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from accessibility import problems
from browser import DESKTOP, PHONE, open_page, wait

ROOT = Path(__file__).resolve().parents[1]


class Addresses(HTMLParser):
    """What a page loads by itself, where it leads, and the places that can be led to."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.leads: list[str] = []
        self.places: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value for name, value in attrs if value}
        if "id" in found:
            self.places.add(found["id"])
        if tag == "a" and "href" in found:
            self.leads.append(found["href"])
        elif tag in ("script", "img", "source") and "src" in found:
            self.loads.append(found["src"])
        elif tag == "link" and found.get("rel") in ("stylesheet", "icon", "preconnect", "preload"):
            self.loads.append(found["href"])


def read(page: Path) -> Addresses:
    found = Addresses()
    found.feed(page.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder))
    config.plugins.on_startup(command="build", dirty=False)
    build(config)
    return folder


def test_every_document_is_on_it(site: Path) -> None:
    documents = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")]
    for document in documents:
        page = (
            document.with_name("index.html")
            if document.name == "README.md"
            else document.with_suffix(".html")
        )
        assert (site / page).is_file(), document
    for page in ("index", "contributing", "changelog", "configuration", "gallery", "reference"):
        assert (site / f"{page}.html").is_file()


def test_it_loads_nothing_from_elsewhere_and_no_link_is_dead(site: Path) -> None:
    pages = {page: read(page) for page in site.rglob("*.html") if page.name != "404.html"}
    for page, found in pages.items():
        assert not [url for url in found.loads if urlsplit(url).netloc], page
        for link in found.leads:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            there = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            assert there.exists(), f"{page.name}: {link}"
            if parts.fragment and there in pages:
                assert unquote(parts.fragment) in pages[there].places, f"{page.name}: {link}"


def test_the_gallery_shows_all_figures(site: Path) -> None:
    text = (site / "gallery.html").read_text(encoding="utf-8")
    assert len(re.findall(r'<img [^>]*src="images/gallery/', text)) == 13
    assert text.count("figures/audited/") == 13


def test_the_reference_has_what_people_import(site: Path) -> None:
    places = read(site / "reference.html").places
    for name in (
        "method.dual_gradient.DualGradient.step",
        "torchjd.NormalizedMix",
        "tables.read.read_tables",
        "training.trainer.train",
    ):
        assert f"dualgrad.{name}" in places, name


def test_it_works_from_the_disk(browser, site: Path) -> None:
    """Every kind of page on a phone, where its content is the most likely not to fit; one on a desktop, too."""
    pages = ("index", "gallery", "specification/A-G", "reference")
    for size, dark, names in ((DESKTOP, False, pages[:1]), (PHONE, True, pages)):
        for name in names:
            with open_page(browser, (site / f"{name}.html").as_uri(), size, dark=dark) as page:
                wait(page, "document.readyState === 'complete'")
                assert page.evaluate("getComputedStyle(document.body).backgroundColor") == (
                    "rgb(30, 33, 41)" if dark else "rgb(255, 255, 255)"
                )
                assert problems(page, "html" if name == "index" else None) == [], name
    plain = """[...document.querySelectorAll('.md-content :is(p, li, td, th, h2, h3) > a[href]:not(.headerlink)')]
        .filter(one => getComputedStyle(one).textDecorationLine !== 'underline').length"""
    for name in (
        "specification/A-G",
        "specification/Td-W",
    ):  # links in heads of tables and in headings as well
        with open_page(browser, (site / f"{name}.html").as_uri()) as page:
            assert page.evaluate(plain) == 0, name
    with open_page(browser, (site / "index.html").as_uri()) as page:
        page.click(".md-search__input")
        page.keyboard.type("spinodal")
        wait(page, "document.querySelectorAll('.md-search-result__item').length > 1")
