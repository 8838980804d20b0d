"""Pages in headless Chromium, for tests: open, look at, type and click, and hear what went wrong.

Talks to Chromium by its DevTools protocol over a pipe, so there is no port to find and nothing to install but the
browser. Where there is none, tests are skipped; $CHROMIUM names one in an unusual place.

    with Browser() as browser, browser.open(path.as_uri()) as page:
        page.wait("document.readyState === 'complete'")
        page.click("#filter"); page.type("lam0.35"); page.press("Enter")
        assert page.evaluate("document.querySelectorAll('tr').length") == 7
        page.screenshot(tmp_path / "filtered.png")
        page.check()  # no error in the console, no request to a network
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

# Nothing that talks to a network by itself, nothing that needs a display, a GPU or a kernel sandbox.
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic"),
    *("--no-first-run", "--no-default-browser-check", "--disable-sync", "--disable-extensions"),
    *("--disable-background-networking", "--disable-component-update", "--disable-default-apps"),
    *(
        "--disable-features=Translate,OptimizationHints,MediaRouter",
        "--metrics-recording-only",
        "--mute-audio",
    ),
    *("--hide-scrollbars", "--force-color-profile=srgb", "--font-render-hinting=none"),
)
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# Keys that are no characters: (code, virtual key code, text).
_KEYS = {
    "Enter": ("Enter", 13, "\r"),
    "Escape": ("Escape", 27, None),
    "Tab": ("Tab", 9, None),
    "Backspace": ("Backspace", 8, None),
    "ArrowUp": ("ArrowUp", 38, None),
    "ArrowDown": ("ArrowDown", 40, None),
    "ArrowLeft": ("ArrowLeft", 37, None),
    "ArrowRight": ("ArrowRight", 39, None),
    "Home": ("Home", 36, None),
    "End": ("End", 35, None),
    "PageDown": ("PageDown", 34, None),
    "PageUp": ("PageUp", 33, None),
    " ": ("Space", 32, " "),
}

# Chromium reads commands from descriptor 3 and answers on 4.
_AT_3_AND_4 = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3]]
for number, end in zip((3, 4), ends):
    os.dup2(end, number)
    os.close(end)
os.execv(sys.argv[3], sys.argv[3:])
"""


class BrowserError(RuntimeError):
    """The browser said no, or said nothing."""


def find() -> str | None:
    """Return the path of a Chromium, or None."""
    named = os.environ.get("CHROMIUM")
    return named or next((path for name in NAMES if (path := shutil.which(name))), None)


def needed() -> str:
    """Return the path of a Chromium; skip the test where there is none."""
    path = find()
    if path is None:
        pytest.skip("no Chromium (Debian: apt install chromium; or set CHROMIUM to its path)")
    return path


class Browser:
    """A headless Chromium with a profile of its own. A context manager: ended with the block."""

    def __init__(self, timeout: float = 60.0) -> None:
        self.timeout = timeout
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        here_in, there_out = os.pipe()
        there_in, here_out = os.pipe()
        self._said = Path(self._profile.name) / "said"
        command = [
            *(sys.executable, "-S", "-c", _AT_3_AND_4, str(there_in), str(there_out)),
            *(needed(), *OPTIONS, f"--user-data-dir={self._profile.name}", "--remote-debugging-pipe"),
            "about:blank",
        ]
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                pass_fds=(there_in, there_out),
                start_new_session=True,
            )
        os.close(there_in)
        os.close(there_out)
        self._in, self._out = here_in, here_out
        self._buffer = b""
        self._number = 0
        self._answers: dict[int, dict[str, Any]] = {}
        self._pages: dict[str, Page] = {}

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    def close(self) -> None:
        """End the browser and remove its profile."""
        try:
            self.call("Browser.close")
            self._process.wait(10)
        except (BrowserError, OSError, subprocess.TimeoutExpired):
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
        finally:
            os.close(self._in)
            os.close(self._out)
            self._profile.cleanup()

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result.

        Raises:
            BrowserError: the browser refuses, ends or takes too long.
        """
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        try:
            while data:
                data = data[os.write(self._out, data) :]
        except BrokenPipeError:
            raise BrowserError(f"{method}: {self._ended()}") from None
        deadline = time.monotonic() + self.timeout
        while number not in self._answers:
            self.listen(deadline - time.monotonic(), method)
        answer = self._answers.pop(number)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error'].get('message')}")
        return answer["result"]

    def listen(self, seconds: float, why: str = "") -> None:
        """Take in what the browser says next; raises BrowserError if it says nothing in time."""
        ready, _, _ = select.select([self._in], [], [], max(seconds, 0))
        if not ready:
            raise BrowserError(f"{why}: nothing heard from the browser in time")
        heard = os.read(self._in, 1 << 20)
        if not heard:
            raise BrowserError(f"{why}: {self._ended()}")
        *messages, self._buffer = (self._buffer + heard).split(b"\0")
        for text in messages:
            message = json.loads(text)
            if "id" in message:
                self._answers[message["id"]] = message
            elif page := self._pages.get(message.get("sessionId", "")):
                page.hear(message["method"], message["params"])

    def _ended(self) -> str:
        """The last words of a browser that is gone."""
        return f"the browser has ended: {self._said.read_text(errors='replace')[-2000:]}"

    def open(
        self, url: str, width: int = 1440, height: int = 900, dark: bool = False, before: str = ""
    ) -> Page:
        """Open a page in a window of that size, light or dark; the script `before` runs before its own."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, target, session)
        self._pages[session] = page
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.resize(width, height)
        page.scheme("dark" if dark else "light")
        if before:
            page.call("Page.addScriptToEvaluateOnNewDocument", source=before)
        page.call("Page.navigate", url=url)
        return page


class Page:
    """An open page.

    Attributes:
        errors: what the console got as an error or a warning, uncaught exceptions, and resources that failed to load.
        requests: what was asked for from anywhere but the page's own file, in order.
    """

    def __init__(self, browser: Browser, target: str, session: str) -> None:
        self._browser, self._target, self._session = browser, target, session
        self.errors: list[str] = []
        self.requests: list[str] = []

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the page."""
        self._browser.call("Target.closeTarget", targetId=self._target)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command of the DevTools protocol to this page."""
        return self._browser.call(method, self._session, **parameters)

    def hear(self, method: str, event: dict[str, Any]) -> None:
        """Take note of an event."""
        if method == "Runtime.consoleAPICalled" and event["type"] in ("error", "warning", "assert"):
            words = [str(one.get("value", one.get("description", ""))) for one in event["args"]]
            self.errors.append(f"console: {' '.join(words)}")
        elif method == "Runtime.exceptionThrown":
            details = event["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Log.entryAdded" and event["entry"]["level"] in ("error", "warning"):
            self.errors.append(f"{event['entry']['source']}: {event['entry']['text']}")
        elif method == "Network.loadingFailed" and not event.get("canceled"):
            self.errors.append(f"not loaded: {event['errorText']}")
        elif method == "Network.requestWillBeSent":
            url = event["request"]["url"]
            if not url.startswith(("file:", "data:", "blob:", "about:")):
                self.requests.append(url)

    def check(self) -> None:
        """Assert that nothing went wrong and that no network was asked for anything."""
        self.evaluate("new Promise(done => setTimeout(done, 50))")  # what is on its way arrives
        assert not self.errors, self.errors
        assert not self.requests, self.requests

    def evaluate(self, script: str) -> Any:
        """Return the value of a JavaScript expression; promises are awaited."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get("description") or details["text"])
        return answer["result"].get("value")

    def wait(self, script: str, seconds: float = 30.0) -> Any:
        """Wait until a JavaScript expression is true; return its value."""
        deadline = time.monotonic() + seconds
        while not (value := self.evaluate(script)):
            if time.monotonic() > deadline:
                raise BrowserError(f"not true within {seconds:g} s: {script} {self.errors or ''}")
            time.sleep(0.02)
        return value

    def resize(self, width: int, height: int, scale: float = 1) -> None:
        """Give the window a size in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=False,
        )

    def scheme(self, name: str) -> None:
        """Set the colour scheme that the person prefers: light or dark."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def place(self, selector: str) -> tuple[float, float]:
        """Scroll an element into view and return the middle of it."""
        box = self.evaluate(
            f"""(() => {{
                const one = document.querySelector({json.dumps(selector)});
                if (!one) return null;
                one.scrollIntoView({{block: 'nearest', inline: 'nearest'}});
                const box = one.getBoundingClientRect();
                return [box.x + box.width / 2, box.y + box.height / 2];
            }})()"""
        )
        if box is None:
            raise BrowserError(f"there is no {selector}")
        return box[0], box[1]

    def click(self, selector: str) -> None:
        """Click in the middle of the first element that fits."""
        self.click_at(*self.place(selector))

    def click_at(self, x: float, y: float) -> None:
        """Click at a point of the window."""
        self.hover_at(x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def hover_at(self, x: float, y: float) -> None:
        """Move the mouse to a point of the window."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def type(self, text: str) -> None:
        """Type a text into what has the focus."""
        self.call("Input.insertText", text=text)

    def press(self, key: str, shift: bool = False) -> None:
        """Press a key by its name, e.g. Enter, ArrowDown or /."""
        code, number, text = _KEYS.get(key, ("", 0, key))
        pressed = {"key": key, "code": code, "windowsVirtualKeyCode": number, "modifiers": 8 if shift else 0}
        said = {"text": text} if text else {}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **pressed, **said)
        self.call("Input.dispatchKeyEvent", type="keyUp", **pressed)

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """Write what the window shows, or the whole page, as PNG."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def paint(self) -> float:
        """Return the time of the first contentful paint, in seconds after the page was asked for."""
        times = "performance.getEntriesByName('first-contentful-paint')"
        self.wait(f"{times}.length")
        return self.evaluate(f"{times}[0].startTime") / 1000
