"""Headless Chromium, controlled through its debugging pipe, for tests of HTML pages."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


_CONTRAST = """(names) => {
  const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {  // also of color-mix, which has no rgb()
    paint.clearRect(0, 0, 1, 1); paint.fillStyle = colour; paint.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = paint.getImageData(0, 0, 1, 1).data;
    return [[r, g, b], a / 255];
  };
  const over = ([colour, alpha], under) => colour.map((value, at) => value * alpha + under[at] * (1 - alpha));
  const linear = (v) => (v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  const light = (colour) => {
    const [r, g, b] = colour.map((value) => linear(value / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const behind = (e) => {
    if (!e) return [255, 255, 255];
    const layer = rgba(getComputedStyle(e).backgroundColor);
    return layer[1] === 1 ? layer[0] : over(layer, behind(e.parentElement));
  };
  return Math.min(...names.flatMap((name) => {
    const found = [...document.querySelectorAll(name)].filter((e) => e.checkVisibility());
    if (!found.length) throw new Error(`nothing visible matches ${name}`);
    return found.map((e) => {
      const back = behind(e), [a, b] = [light(over(rgba(getComputedStyle(e).color), back)), light(back)];
      return (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    });
  }));
}"""


class Tab:
    """A browser tab, controlled with the DevTools protocol."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back, self._rest = to, back, b""
        self._numbers, self._session = itertools.count(1), None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.messages: list[str] = []
        self.requests: list[str] = []
        self.dialogs: list[str] = []  # kinds of the dialogs that were opened, and accepted
        self._call("Page.enable")
        self._call("Emulation.setFocusEmulationEnabled", enabled=True)
        self._call("Log.enable")
        self._call("Runtime.enable")

    def open(self, page: Path | str) -> None:
        """Open a file or an address and wait until it is loaded."""
        self._call("Page.navigate", url=page if isinstance(page, str) else page.as_uri())
        self.wait_for_load()

    def wait_for_load(self) -> None:
        """Wait until a page has been loaded."""
        while self._next().get("method") != "Page.loadEventFired":
            pass

    def ask(self, code: str) -> Any:
        """Evaluate a JavaScript expression."""
        found = self._call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise AssertionError(found["exceptionDetails"])
        return found["result"].get("value")

    def wait(self, condition: str, seconds: float = 60) -> None:
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + seconds
        while not self.ask(f"!!({condition})"):
            if time.monotonic() > end:
                raise AssertionError(f"still false: {condition}")
            time.sleep(0.1)

    def hover(self, selector: str) -> None:
        """Move the mouse to the middle of the first matching element."""
        x, y = self._middle(selector)
        self._call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, selector: str) -> None:
        """Click on the middle of the first matching element."""
        x, y = self._middle(selector)
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the mouse button at a point of the viewport, move, and release it at another one."""
        self.drag_on(start, end)
        self.release(end)

    def drag_on(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the mouse button at a point of the viewport and move to another one, without releasing it."""
        self._call("Input.dispatchMouseEvent", type="mouseMoved", x=start[0], y=start[1])
        self._call("Input.dispatchMouseEvent", type="mousePressed", x=start[0], y=start[1], button="left", clickCount=1)
        for part in (0.3, 0.7, 1):
            x, y = (a + (b - a) * part for a, b in zip(start, end, strict=True))
            self._call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, button="left", buttons=1)

    def release(self, end: tuple[float, float]) -> None:
        """Release the mouse button at a point of the viewport."""
        self._call("Input.dispatchMouseEvent", type="mouseReleased", x=end[0], y=end[1], button="left", clickCount=1)

    def type(self, text: str) -> None:
        """Insert a text where the focus is."""
        self._call("Input.insertText", text=text)

    def upload(self, selector: str, *files: Path) -> None:
        """Choose files in the first matching file input."""
        root = self._call("DOM.getDocument")["root"]["nodeId"]
        node = self._call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self._call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def screenshot(self, path: Path) -> None:
        """Write the visible part of the page as PNG."""
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"]))

    def watch_requests(self) -> None:
        """Collect the addresses of all requests from now on in `requests`."""
        self._call("Network.enable")

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press a key: a letter, an arrow such as `ArrowUp`, `Tab`, `Escape`, `Enter`, `Delete`, `Home`, `End`."""
        codes = {"Tab": 9, "Escape": 27, "Enter": 13, "Delete": 46, "End": 35, "Home": 36}
        codes |= {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
        code = codes.get(key) or ord(key.upper())
        text = {"text": "\r"} if key == "Enter" else {} if key in codes else {"text": key}
        for kind in ("keyDown" if text else "rawKeyDown", "keyUp"):
            extra = text if kind == "keyDown" else {}
            named = {"key": key, "code": key if key in codes else f"Key{key.upper()}", "windowsVirtualKeyCode": code}
            self._call("Input.dispatchKeyEvent", type=kind, modifiers=8 if shift else 0, **named, **extra)

    def slide(self, selector: str, value: int) -> None:
        """Move a slider."""
        self.ask(f"(s => (s.value = {value}, s.dispatchEvent(new Event('input'))))"
                 f"(document.querySelector({json.dumps(selector)}))")  # fmt: skip

    def prefer(self, scheme: str) -> None:
        """Set the preferred color scheme: `light` or `dark`."""
        self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def contrast(self, *selectors: str) -> float:
        """The lowest contrast of text with its background by WCAG 2.1, 1 to 21, once colours are at rest."""
        code = f"({_CONTRAST})({json.dumps(selectors)})"
        before, now = None, self.ask(code)
        while now != before:
            time.sleep(0.3)
            before, now = now, self.ask(code)
        return now

    def choose(self, selector: str, value: str) -> None:
        """Choose an option of a select element and send its change event."""
        self.ask(f"(s => (s.value = {json.dumps(value)}, s.dispatchEvent(new Event('change'))))"
                 f"(document.querySelector({json.dumps(selector)}))")  # fmt: skip

    def resize(self, width: int, height: int) -> None:
        """Set the size of the viewport in pixels."""
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def _middle(self, selector: str) -> tuple[float, float]:
        found = self.ask(
            f"(e => (e.scrollIntoView({{block: 'center'}}), (r => [r.x + r.width / 2, r.y + r.height / 2])"
            f"(e.getBoundingClientRect())))(document.querySelector({json.dumps(selector)}))"
        )
        return found[0], found[1]

    def _send(self, method: str, **params: Any) -> int:
        number = next(self._numbers)
        session = {} if self._session is None else {"sessionId": self._session}
        os.write(self._to, json.dumps({"id": number, "method": method, "params": params, **session}).encode() + b"\0")
        return number

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        number = self._send(method, **params)
        while (message := self._next()).get("id") != number:
            pass
        if "error" in message:
            raise AssertionError(f"{method}: {message['error']}")
        return message["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            data = os.read(self._back, 1 << 16)
            if not data:
                raise AssertionError("Chromium has ended")
            self._rest += data
        first, _, self._rest = self._rest.partition(b"\0")
        message = json.loads(first)
        if message.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
            self.messages.append(json.dumps(message["params"]))
        if message.get("method") == "Page.javascriptDialogOpening":
            self.dialogs.append(message["params"]["type"])
            self._send("Page.handleJavaScriptDialog", accept=True)
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])
        return message


@contextmanager
def chromium() -> Iterator[Tab]:
    """A tab of a new browser process, with the settings that tests in a container need."""
    assert BROWSER is not None
    theirs, to = os.pipe()
    back, ours = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # its processes end later
        command = [
            BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
            f"--user-data-dir={folder}", "--remote-debugging-pipe", "--window-size=1280,900", "about:blank",
        ]  # fmt: skip
        # The browser reads from file descriptor 3 and writes to 4.
        shell = ["bash", "-c", f'exec 3<&{theirs} 4>&{ours}; exec "$@"', "chromium", *command]
        process = subprocess.Popen(shell, pass_fds=(theirs, ours), stderr=subprocess.DEVNULL)
        os.close(theirs)
        os.close(ours)
        try:
            yield Tab(to, back)
        finally:
            process.terminate()
            process.wait(10)
            os.close(to)
            os.close(back)
