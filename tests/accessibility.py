"""What every page must be: quiet in the console, alone, as wide as its window, legible, reachable by keyboard.

The rules of contrast, names and roles are those of axe-core (https://github.com/dequelabs/axe-core), which is taken
from $AXE, or from where `npm install --prefix .venv/node axe-core` puts it in the environment of the tests.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from browser import DESKTOP, PHONE, open_page, wait
from playwright.sync_api import Browser, Page

# What can be clicked and is neither a control nor in one nor holds one: a keyboard does not get there.
_OUT_OF_REACH = """[...document.querySelectorAll('body *')].filter(one => {
    const controls = 'a[href], button, input, select, textarea, summary, label, [tabindex]';
    return one.checkVisibility() && getComputedStyle(one).cursor === 'pointer' && !one.closest(controls)
        && !one.querySelector(controls) && !one.closest('tr')?.querySelector(controls);
}).map(one => one.outerHTML.slice(0, 100))"""
_AXE = """axe.run(PART, {resultTypes: ['violations'], preload: false}).then(found => found.violations
    .filter(one => ['serious', 'critical'].includes(one.impact))
    .map(one => `${one.id}: ` + one.nodes.slice(0, 3).map(node => node.target.join(' ')).join(', ')))"""


def axe() -> str | None:
    """Return axe-core's script, or None where it is not installed."""
    places = [os.environ.get("AXE"), f"{sys.prefix}/node/node_modules/axe-core/axe.min.js"]
    return next((Path(path).read_text("utf-8") for path in places if path and Path(path).is_file()), None)


def problems(page: Page, rules: str | None = "html") -> list[str]:
    """Return what is wrong with an open page that is ready; by the rules of axe-core too for a part, or for none."""
    found = []
    wide, width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    if wide > width:
        found.append(f"{wide} pixels wide")
    found += [f"out of reach: {one}" for one in page.evaluate(_OUT_OF_REACH)]
    if rules and (script := axe()):
        page.evaluate(f"{script};0")
        found += page.evaluate(_AXE.replace("PART", f"document.querySelector({rules!r})"))
    return found


def all_problems(browser: Browser, url: str, ready: str, part: str = "html") -> dict[str, list[str]]:
    """Return what is wrong with a page on a desktop in light and on a phone in dark; empty where nothing is.

    Each width and each scheme once: the other two views have the same colours and the same widths, and axe-core's
    rules are most of what these tests cost.

    Args:
        browser: where to open it.
        url: its address.
        ready: a script's condition that it is set up.
        part: a selector of what the rules of axe-core are applied to.
    """
    found = {}
    for size, dark in ((DESKTOP, False), (PHONE, True)):
        with open_page(browser, url, size, dark=dark) as page:
            wait(page, ready)
            if wrong := problems(page, part):
                found[f"{size[0]} {'dark' if dark else 'light'}"] = wrong
    return found
