"""The pages by keyboard alone: Tab reaches every control, the focus is seen, and keys do what a mouse does."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import PHONE, drawn, open_page, wait
from playwright.sync_api import Error
from test_pages import PAGES, pages  # noqa: F401  (a fixture)

# Notes what gets the focus, and whether that can be seen: by an outline or a shadow, and within the window.
_NOTE = """
globalThis.reached = new Map();
globalThis.placeOf = one => one.closest('tr[data-row]') ? `row ${one.closest('tr').dataset.row}` : one;  // drawn anew
document.addEventListener('focusin', ({ target: one }) => {
  const style = getComputedStyle(one), box = one.getBoundingClientRect();
  const marked = (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== 'none';
  const inside = box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < innerHeight && box.right > 0
    && box.left < innerWidth;
  reached.set(placeOf(one), { html: one.outerHTML.slice(0, 120), marked, inside });
});
"""
_CONTROLS = """[...document.querySelectorAll('a[href], button, input, select, summary, [tabindex]')]
    .filter(one => one.tabIndex >= 0 && !one.disabled && one.checkVisibility())"""
# What leaves few rows, so that there are not thousands of controls to go through.
FEW = {
    "index.html": "#audited",
    "explorer.html": "#exp=A",
    "claims.html": "#q=coexistence width",
    "statistics.html": "#table=boundaries&q=crossing",
    "comparison.html": "",
    "replication.html": "",
}


@pytest.mark.parametrize("size", [None, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("name", FEW)
def test_tab_reaches_every_control_and_the_focus_is_seen(browser, pages: Path, name: str, size) -> None:  # noqa: F811
    with open_page(
        browser, (pages / name).as_uri() + FEW[name], *([size] if size else []), before=_NOTE
    ) as page:
        wait(page, PAGES[name] if name != "explorer.html" else PAGES["explorer.html#exp=A"])
        before = -1
        while (
            before < (before := page.evaluate("reached.size")) < 500
        ):  # a table shows more where it is scrolled
            for _ in range(60):
                page.keyboard.press("Tab")
        missed = (
            f"{_CONTROLS}.filter(one => !reached.has(placeOf(one))).map(one => one.outerHTML.slice(0, 120))"
        )
        assert page.evaluate(missed) == []
        for what in ("marked", "inside"):
            lost = f"[...reached.values()].filter(how => !how.{what}).map(how => how.html)"
            assert page.evaluate(lost) == [], what
        if name == "statistics.html":
            assert page.evaluate("rows.every(row => reached.has(`row ${row}`))")


def press(page, selector: str, *keys: str, stays: bool = False) -> None:
    """Press keys on a control, which may have to keep the focus, and see what they do; Tab's way there is above."""
    page.focus(selector)
    for key in keys:
        page.keyboard.press(key)
    drawn(page)
    if stays:
        assert page.evaluate(f"document.activeElement === document.querySelector({selector!r})"), selector


def text(page, selector: str) -> str:
    return page.evaluate(f"document.querySelector({selector!r}).textContent")


def test_the_explorer(browser, pages: Path) -> None:  # noqa: F811
    with open_page(browser, (pages / "explorer.html").as_uri()) as page:
        wait(page, PAGES["explorer.html"])

        def count() -> str:
            return text(page, "#count")

        everything = count()
        for key in ("Space", "Enter"):  # on, and off again
            press(page, ".chip[data-eta='0.4']", key, stays=True)
            assert (page.get_attribute(".chip[data-eta='0.4']", "aria-pressed") == "true") == (key == "Space")
        assert count() == everything
        for name, key in (("lam", "ArrowRight"), ("error", "ArrowLeft")):
            side = "first" if key == "ArrowRight" else "last"
            press(page, f"#{name} input:{side}-of-type", key, key)
            assert text(page, f"#{name}-range") != "" and count() != everything
            press(page, "#reset", "Enter")
            assert text(page, f"#{name}-range") == "" and count() == everything
            wait(page, "document.activeElement.id === 'search'")
        press(page, "#status", "ArrowDown", stays=True)
        assert page.input_value("#status") != "" and count() != everything
        press(page, "#reset", "Space")
        press(page, "#seed", "3")
        wait(page, "location.hash.includes('seed=3')")
        press(page, "#seed", "Backspace")
        assert count() == everything
        press(page, "#heads button[data-key=error]", "Enter", stays=True)
        wait(page, "order.key === 'error'")
        press(page, ".experiment", "Enter")
        wait(page, PAGES["explorer.html#exp=A"])
        press(page, "#rows", "ArrowDown", "ArrowDown", "Enter")
        wait(page, "document.querySelector('.runhead')")
        page.keyboard.press("Escape")
        wait(page, "!document.querySelector('.runhead')")
        press(page, "#home", "Enter")
        wait(page, "document.querySelectorAll('.panel').length > 60")
        press(page, ".panel", "Enter")
        wait(page, PAGES["explorer.html#exp=A"])
        press(page, "#help", "Enter")
        wait(page, "document.getElementById('manual').contains(document.activeElement)")
        page.keyboard.press("Escape")
        wait(page, "document.activeElement.id === 'help'")


def test_the_claims(browser, pages: Path) -> None:  # noqa: F811
    with open_page(browser, (pages / "claims.html").as_uri()) as page:
        wait(page, PAGES["claims.html"])
        rows = "document.querySelectorAll('.row').length"
        everything = page.evaluate(rows)
        press(page, "#tiles button", "Enter")
        wait(page, f"{rows} > 0 && {rows} < {everything}")
        press(page, "#tiles button", "Space")
        wait(page, f"{rows} === {everything}")
        for name in ("verdict", "document", "topic", "caveat"):
            press(page, f"#{name}", "ArrowDown", stays=True)
            wait(page, f"{rows} < {everything}")
            press(page, "#reset", "Enter")
            wait(page, f"{rows} === {everything}")
            wait(page, "document.activeElement.id === 'search'")
        press(page, "th[data-sort=printed] button", "Space", stays=True)
        assert page.get_attribute("th[data-sort=printed]", "aria-sort") == "ascending"
        press(page, "#ce-eta04 .open", "Enter", stays=True)
        assert page.get_attribute("#ce-eta04 .open", "aria-expanded") == "true"
        press(page, ".detail .runs summary", "Space")
        wait(page, "document.querySelectorAll('.detail .runs li').length > 0")
        press(page, "#documents summary", "Enter")
        wait(page, "document.getElementById('documents').open")
        press(page, "#every", "Enter")
        wait(page, "[...document.querySelectorAll('#conclusions details')].every(one => one.open)")
        page.keyboard.press("/")
        wait(page, "document.activeElement.id === 'search'")
        page.keyboard.insert_text("no claim says this")
        press(page, "#again", "Enter")
        wait(page, f"{rows} === {everything}")
        wait(page, "document.activeElement.id === 'search'")


def test_the_statistics(browser, pages: Path) -> None:  # noqa: F811
    with open_page(browser, (pages / "statistics.html").as_uri()) as page:
        wait(page, PAGES["statistics.html"])
        press(page, "#sheets button:nth-child(2)", "Enter")
        wait(page, "state.sheet.name === 'boundaries'")
        everything = page.evaluate("rows.length")
        press(page, "#choices select", "ArrowDown", stays=True)
        wait(page, f"rows.length > 0 && rows.length < {everything}")
        press(page, "#choices select", "ArrowUp")
        press(page, "#choices .button", "Enter")
        wait(page, "document.querySelectorAll('#choices label:not([hidden])').length > 3")
        press(page, "th:nth-child(2) button", "Space", stays=True)
        wait(page, "document.querySelector('th:nth-child(2)').hasAttribute('aria-sort')")
        page.keyboard.press("/")
        page.keyboard.insert_text("experiment=K")
        wait(page, f"rows.length > 0 && rows.length < {everything}")
        press(page, "#frame", "End")
        wait(page, "document.querySelector('#frame').scrollTop > 0 || scrollY > 0"
                               " || document.querySelector('#frame').scrollHeight <= innerHeight")  # fmt: skip
        theme = page.evaluate("document.documentElement.dataset.theme")
        press(page, "#theme", "Enter")
        wait(page, f"document.documentElement.dataset.theme !== {theme!r}")


def test_the_report(browser, pages: Path) -> None:  # noqa: F811
    with open_page(browser, (pages / "index.html").as_uri()) as page:
        shown = "[...document.querySelectorAll('.picture:not([hidden])')].map(one => one.dataset.variant)"
        assert set(page.evaluate(shown)) == {"published"}
        press(page, ".switch [data-variant=audited]", "Space")
        assert set(page.evaluate(shown)) == {"audited"} and page.evaluate("location.hash") == "#audited"
        copy = ".about div:not([hidden]) [data-copy]"
        press(page, copy, "Enter")
        wait(page, f"document.querySelector({copy!r}).textContent === 'Copied'")
        press(page, ".pages a[href='claims.html']", "Enter")
        wait(page, PAGES["claims.html"])


def test_waiting_outlasts_a_page(browser, tmp_path: Path) -> None:
    """Where a link was followed, the script may be running as the old page goes."""
    (tmp_path / "old.html").write_text("<script>setTimeout(() => location.assign('new.html'), 100)</script>")
    (tmp_path / "new.html").write_text("<title>arrived</title>")
    slow = "new Promise(done => setTimeout(() => done(document.title), 400))"
    with open_page(browser, (tmp_path / "old.html").as_uri()) as page:
        assert wait(page, slow) == "arrived"
        with pytest.raises(Error, match="nowhere is not defined"):
            wait(page, "nowhere")
