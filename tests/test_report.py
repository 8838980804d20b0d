"""The report: its folder, its links and its pages in a browser; the captions of figures; Snakemake's own report."""

from __future__ import annotations

import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import jinja2
import pytest
from browser import open_page, painted, wait
from docutils.core import publish_string
from synthetic import write_results

from dualgrad.cli import main
from dualgrad.compare.pair import newest_comparison
from dualgrad.explorer import build as build_explorer
from dualgrad.figures.captions import CAPTIONS, figure_name
from dualgrad.figures.sources import FIGURE_EXPERIMENTS, FIGURE_PANELS
from dualgrad.project import load_settings
from dualgrad.report import build, content
from dualgrad.report.build import _figure
from dualgrad.statistics import build as statistics_build

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = load_settings(ROOT)
MADE = ("A", "K", "M2", "T1a")
STATISTICS = ("summaries", "boundaries", "convergence")
# The smallest PNG: one white pixel.
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c63f80f000101010018dd8db00000000049454e44ae426082"
)


@pytest.fixture(scope="module")
def results(demo, tmp_path_factory) -> Path:
    """``results/demo`` with some tables and statistics, the explorer, and stand-ins for two figures."""
    folder = write_results(tmp_path_factory.mktemp("results"), demo, MADE)
    for name in STATISTICS:
        statistics_build.make(name, folder, folder / "statistics" / f"{name}.parquet", MADE, partial=True)
    build_explorer(demo, SETTINGS, folder, folder / "explorer.html")
    for figure, variants in (("Figure1", ("published", "audited")), ("ED_Fig4", ("published",))):
        for variant in variants:
            (folder / "figures" / variant).mkdir(parents=True, exist_ok=True)
            (folder / "figures" / variant / f"{figure}.png").write_bytes(PIXEL)
            (folder / "figures" / variant / f"{figure}.pdf").write_bytes(b"%PDF-1.4\n")
    return folder


@pytest.fixture(scope="module")
def report(demo, results) -> Path:
    """The folder of the report."""
    made = build(demo, SETTINGS, results, results / "report")
    assert made == {"figures": 2, "statistics": 3, "pages": 2}
    return results / "report"


class Links(HTMLParser):
    """The addresses that a page names."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in ("href", "src") and value]


def test_every_figure_has_a_caption_for_every_panel() -> None:
    assert list(CAPTIONS) == list(FIGURE_EXPERIMENTS)
    for figure, caption in CAPTIONS.items():
        drawn = set(FIGURE_PANELS[figure]) | ({"a"} if figure == "Figure1" else set())
        assert set(caption.panels) == drawn
        named = set(
            re.findall(r"\b[A-Z]+\d*[a-z]?\d?(?:-\w+)?(?:_\w+)?\b", " ".join(caption.panels.values()))
        ) - {"A"}  # also a word
        experiments = " ".join(FIGURE_EXPERIMENTS[figure])
        for name in named & {
            "A",
            "M2",
            "M3",
            "M3b",
            "S1",
            "S2",
            "K",
            "W1",
            "W2",
            "X2",
            "X4",
            "Q1",
            "Q3",
            "Q4",
            "T1a",
        }:
            assert name in experiments.split(), (figure, name)
        text = " ".join([*caption.panels.values(), caption.spread])
        assert ("± SD" in text) == ("standard deviation over runs" in text), figure
    # Curves with a band, and bars with an error bar: what they are is said.
    silent = {name for name, one in CAPTIONS.items() if not one.spread}
    assert silent == {"ED_Fig2", "ED_Fig3", "ED_Fig8"}
    assert [figure_name(name) for name in ("Figure2", "ED_Fig8")] == ["Figure 2", "Extended Data Figure 8"]


def test_every_link_leads_somewhere(report) -> None:
    pages = list(report.glob("*.html"))
    assert sorted(page.name for page in pages) == ["explorer.html", "index.html", "statistics.html"]
    for page in pages:
        links = Links()
        links.feed(page.read_text(encoding="utf-8"))
        for link in links.found:
            parts = urlsplit(link)
            if parts.scheme == "data" or not parts.path:
                continue
            assert not parts.scheme and not parts.netloc, link
            assert (report / unquote(parts.path)).is_file(), link


def test_figures_lead_back_to_their_runs(report) -> None:
    text = (report / "index.html").read_text(encoding="utf-8")
    assert 'href="explorer.html#exp=A,K,M2,S2"' in text and "686 runs" in text
    assert "snakemake figures/main/Figure1.pdf<" in text  # the default edition needs no setting
    assert "snakemake figures/extended_data/ED_Fig4.pdf<" in text
    assert "It is not evidence for the published results." in text


def test_a_figure_may_draw_experiments_that_are_not_counted(demo) -> None:
    one = {"figure": "Mine", "variants": ["published"], "numbers": []}
    one["experiments"] = {"published": ["A", "Control-period"]}
    found = _figure(one, "main", demo.experiments, "", set())
    assert found["runs"] == {"published": len(demo.experiment("A")["runs"]) + 400}


def test_without_anything_there_is_a_report_that_says_so(demo, tmp_path) -> None:
    (tmp_path / "demo").mkdir()
    assert build(demo, SETTINGS, tmp_path / "demo", tmp_path / "report")["figures"] == 0
    assert "No figure has been drawn yet." in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")


def test_statistics_of_no_tables_are_shown(tmp_path) -> None:
    statistics_build.make("summaries", tmp_path, tmp_path / "statistics" / "summaries.parquet", [])
    assert [sheet["rows"] for sheet in content.sheets(tmp_path)] == [0]


def test_the_command(results, tmp_path, capsys) -> None:
    words = [
        "report",
        "--root",
        str(ROOT),
        "--results",
        str(results),
        "--output",
        str(tmp_path / "r"),
        "--json",
    ]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["figures"] == 2
    assert (tmp_path / "r" / "index.html").is_file()


def test_the_index_in_a_browser(browser, report) -> None:
    with open_page(browser, (report / "index.html").as_uri()) as page:
        wait(page, "document.readyState === 'complete'")
        assert painted(page) < 10
        shown = "[...document.querySelectorAll('.picture:not([hidden])')].map(one => one.dataset.variant)"
        assert page.evaluate(shown) == ["published", "published"]
        page.click(".switch [data-variant=audited]")
        assert page.evaluate(shown) == [
            "audited",
            "published",
        ]  # where there is no audited one, the published stays
        codes = "document.querySelectorAll('.about div:not([hidden]) .copyable code')"
        commands = f"[...{codes}].map(one => one.innerText)"
        assert page.evaluate(commands) == [
            "snakemake figures/audited/Figure1.pdf",
            "snakemake figures/extended_data/ED_Fig4.pdf",
        ]
        assert not page.evaluate("document.getElementById('audit').hidden")
        assert page.evaluate("location.hash") == "#audited"
    with open_page(browser, (report / "index.html").as_uri() + "#ED_Fig4/audited") as page:
        wait(page, "document.readyState === 'complete'")
        assert page.evaluate(shown) == ["audited", "published"]
        assert page.evaluate("document.getElementById('strange').hidden")
    with open_page(browser, (report / "index.html").as_uri() + "#Figure9") as page:
        wait(page, "document.readyState === 'complete'")
        assert "Figure9" in page.evaluate("document.getElementById('strange').textContent")


def test_pages_of_other_commands_come_along(demo, results, tmp_path, capsys) -> None:
    """A comparison with this edition on a side, the newest; a replication; what a workflow names."""
    page = '<!doctype html><title>a page</title><nav class="pages" aria-label="Pages of this report" hidden></nav>'
    made = ("compare/smoke_paper", "compare/released_demo", "compare/demo_paper-sst2_tsv", "demo/replication")
    for age, place in enumerate(reversed(made)):
        name = "replication.html" if place.endswith("replication") else "summary.html"
        path = results.parent / place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{page}{place}")
        os.utime(path, (1e9 - age, 1e9 - age))
    try:
        assert newest_comparison(results.parent, "demo").parent.name == "demo_paper-sst2_tsv"
        assert newest_comparison(results.parent, "paper-sst2_tsv").parent.name == "demo_paper-sst2_tsv"
        assert newest_comparison(results.parent, "sst2") is None
        build(demo, SETTINGS, results, tmp_path / "r")
        for name in ("index", "comparison", "replication"):
            text = (tmp_path / "r" / f"{name}.html").read_text(encoding="utf-8")
            assert 'href="comparison.html"' in text and 'href="replication.html"' in text, name
        assert "demo_paper-sst2_tsv" in (tmp_path / "r" / "comparison.html").read_text(encoding="utf-8")
        words = [
            "report",
            "--root",
            str(ROOT),
            "--results",
            str(results),
            "--output",
            str(tmp_path / "named"),
        ]
        chosen = results.parent / "compare" / "released_demo" / "summary.html"
        assert main([*words, "--pages", str(chosen)]) == 0
        assert sorted(one.name for one in (tmp_path / "named").glob("*.html")) == [
            "comparison.html", "index.html", "statistics.html",
        ]  # fmt: skip
        assert main([*words, "--pages", str(results / "explorr.html")]) == 2
        assert "did you mean 'explorer.html'?" in capsys.readouterr().err
    finally:
        shutil.rmtree(results.parent / "compare")
        shutil.rmtree(results / "replication")


def test_every_page_leads_back(report) -> None:
    for page in report.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        bar = re.search(r'<nav class="pages"[^>]*>(.*?)</nav>', text)
        assert bar is not None, page
        assert re.findall(r'href="([^"]+)"', bar[1]) == ["index.html", "explorer.html", "statistics.html"]
        assert f'href="{page.name}" aria-current=page' in bar[1]


def test_the_folder_holds_what_it_shows(report, results) -> None:
    import pandas as pd

    runs = pd.read_parquet(report / "tables" / "runs.parquet")
    again = pd.read_csv(report / "tables" / "runs.csv")
    assert len(runs) == len(again) > 100 and list(runs.columns) == list(again.columns)
    outside = str(results.parent)
    for page in report.glob("*.html"):
        assert outside not in page.read_text(encoding="utf-8")


def test_the_statistics_in_a_browser(browser, report) -> None:
    with open_page(browser, (report / "statistics.html").as_uri()) as page:
        wait(page, "document.querySelectorAll('tbody tr').length > 3")
        assert painted(page) < 10
        assert page.evaluate("[...document.querySelectorAll('#sheets button')].map(b => b.dataset.name)") == [
            *STATISTICS
        ]
        page.click("#sheets button:nth-child(2)")
        page.keyboard.press("/")
        page.keyboard.insert_text("crossing experiment=K η=0.4")
        count = page.evaluate("document.getElementById('count').textContent")
        fits = "state.sheet.columns.find(c => c.name === 'experiment')"
        assert int(count.split()[0]) > 0
        assert page.evaluate(f"rows.every(row => valueAt({fits}, row) === 'K')")
        assert page.evaluate("document.querySelector('td a').getAttribute('href')") == "explorer.html#exp=K"
        for words in ("experiment=K", "experiment = K"):
            page.evaluate(f"$('search').value = '{words}'; $('search').oninput({{target: $('search')}})")
            assert page.evaluate("rows.length") == 26, words
        page.evaluate("$('search').value = ''; $('search').oninput({target: $('search')})")
        page.evaluate("document.querySelector('th:nth-child(2) button').click()")
        assert page.evaluate("document.querySelector('th[aria-sort]').innerText.trim()").startswith(
            "noise rate"
        )
        address = page.evaluate("location.hash")
        heads = page.evaluate("[...document.querySelectorAll('th')].map(one => one.innerText.trim())")
        assert any(head.startswith("95 % interval") for head in heads)
        assert page.evaluate("$('about').textContent.includes('`')") is False
        assert page.evaluate("document.querySelectorAll('#choices label:not([hidden])').length") <= 3
        page.evaluate("document.querySelector('#choices .button').click()")
        assert page.evaluate("document.querySelectorAll('#choices label:not([hidden])').length") > 3
    with open_page(
        browser, (report / "statistics.html").as_uri() + "#table=convergence&quantity=%22nothing%22"
    ) as page:
        wait(page, "document.querySelectorAll('tbody tr').length > 3")
        assert "quantity=" in page.evaluate("$('strange').textContent")
        page.evaluate("location.hash = '#table=boundaries&quantity=%22crossing%22&q=K'")
        wait(page, "state.sheet.name === 'boundaries' && $('strange').hidden && state.q === 'K'")
        kept = page.evaluate("[location.hash, $('count').textContent]")
        page.reload()
        wait(page, "typeof state === 'object' && state.q === 'K' && rows.length > 0")
        assert page.evaluate("[location.hash, $('count').textContent]") == kept
        page.evaluate("$('search').value = 'zzz'; $('search').oninput({target: $('search')})")
        assert page.evaluate("document.querySelector('td.note').innerText") == "No row fits."
    assert address == "#table=boundaries"
    with open_page(browser, (report / "statistics.html").as_uri() + "#table=nonsense") as page:
        wait(page, "document.querySelectorAll('tbody tr').length > 3")
        assert "nonsense" in page.evaluate("$('strange').textContent")


@pytest.mark.parametrize("folder", ["main", "audited"])
def test_captions_are_clean_text(folder: str) -> None:
    """Snakemake shows what docutils finds wrong in a caption inside the caption."""
    from types import SimpleNamespace as Space

    caption = CAPTIONS["Figure2"]
    job = Space(
        params=Space(
            edition="demo",
            caption={**caption._asdict(), "experiments": {"R1a": 10, "R3a": 40}},
        ),
        wildcards=Space(folder=folder, figure="Figure2"),
        output=Space(pdf=f"figures/{folder}/Figure2.pdf"),
    )
    for file in (ROOT / "workflow" / "report").glob("*.rst"):
        text = jinja2.Environment().from_string(file.read_text(encoding="utf-8")).render(snakemake=job)
        assert "{" not in text
        html = publish_string(text, writer="html5", settings_overrides={"halt_level": 2}).decode()
        if file.stem == "figure":
            assert "standard deviation over runs" in html
            assert "Drawn from 50 runs" in html and ("artefacts" in html) == (folder == "audited")
