"""Pages in the system's headless Chromium, by Playwright: opened in a context of their own and watched.

    with open_page(browser, path.as_uri()) as page:  # a page of Playwright; `browser` is a fixture of conftest.py
        page.click("#filter")
        page.keyboard.insert_text("lam0.35")
        assert page.evaluate("document.querySelectorAll('tr').length") == 7

At the end of the block nothing may have gone wrong in the page. Where there is no Chromium, tests are skipped;
$CHROMIUM names one in an unusual place. Playwright downloads no browser.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Error, Page, sync_playwright

# The shell without windows, as Playwright's own browsers are, takes half of the processor time.
NAMES = (
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
)
# No display, no GPU, no kernel sandbox, and the same pixels everywhere.
OPTIONS = (
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--force-color-profile=srgb",
    "--font-render-hinting=none",
)
DESKTOP, PHONE = (1440, 900), (390, 844)


def chromium() -> str:
    """Return the path of a Chromium; skip the test where there is none."""
    path = os.environ.get("CHROMIUM") or next((path for name in NAMES if (path := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium (Debian: apt install chromium-headless-shell; or set CHROMIUM to its path)")
    return path


@contextmanager
def launched() -> Iterator[Browser]:
    """A browser, which is ended with the block."""
    path = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(OPTIONS), chromium_sandbox=False)
        yield browser
        browser.close()


@contextmanager
def open_page(
    browser: Browser,
    url: str,
    size: tuple[int, int] = DESKTOP,
    *,
    dark: bool = False,
    before: str = "",
    faultless: bool = True,
) -> Iterator[Page]:
    """A page in a window of that size, light or dark, with nothing stored.

    Args:
        browser: where to open it.
        url: its address.
        size: width and height of the window.
        dark: the colour scheme that the person prefers.
        before: a script that runs before the page's own.
        faultless: assert at the end that the console got no error or warning, that no exception was left uncaught,
            and that nothing was asked for from anywhere but the disk.
    """
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if dark else "light"
    )
    try:
        page = context.new_page()
        faults = _watch(page)
        if before:
            page.add_init_script(before)
        page.goto(url)
        yield page
        if faultless:
            page.wait_for_timeout(50)  # what is on its way arrives
            assert not faults, faults
    finally:
        context.close()


def _watch(page: Page) -> list[str]:
    """Take note of all that goes wrong in a page."""
    faults: list[str] = []
    page.on(
        "console",
        lambda one: (
            faults.append(f"{one.type}: {one.text}") if one.type in ("error", "warning", "assert") else None
        ),
    )
    page.on("pageerror", lambda one: faults.append(str(one)))
    page.on("requestfailed", lambda one: faults.append(f"not loaded: {one.url}: {one.failure}"))
    page.on(
        "request",
        lambda one: (
            None
            if one.url.startswith(("file:", "data:", "blob:", "about:"))
            else faults.append(f"asks for {one.url}")
        ),
    )
    return faults


def wait(page: Page, script: str, seconds: float = 30.0) -> Any:
    """Wait until a script's expression is true, of this page or of the next one; return its value.

    Playwright's own ``wait_for_function`` calls ``eval`` in the page, which the pages' policy forbids.
    """
    deadline = time.monotonic() + seconds
    while not (value := _value(page, script)):
        assert time.monotonic() < deadline, f"not true within {seconds:g} s: {script}"
        page.wait_for_timeout(20)
    return value


def _value(page: Page, script: str) -> Any:
    try:
        return page.evaluate(script)
    except Error as error:
        if "Execution context was destroyed" not in error.message:
            raise
        return None


def drawn(page: Page) -> None:
    """Wait until a page shows what the last key or click asked for: it draws in the next frame, not at once."""
    _value(page, "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def painted(page: Page) -> float:
    """Return the time of the first contentful paint, in seconds after the page was asked for."""
    times = "performance.getEntriesByName('first-contentful-paint')"
    wait(page, f"{times}.length")
    return page.evaluate(f"{times}[0].startTime") / 1000
