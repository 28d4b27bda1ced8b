"""A headless Chromium, driven over its DevTools protocol: real pages, keys, colours and requests."""

from __future__ import annotations

import base64
import json
import os
import shutil
import zlib
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import gevent
import websocket
from gevent import subprocess
from gevent.event import AsyncResult

from tests.support.servers import wait_for

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
)

# The keys that tests press: what the browser calls them, and their numbers.
_KEYS = {
    "Tab": ("Tab", 9),
    "Enter": ("Enter", 13),
    "Escape": ("Escape", 27),
    " ": ("Space", 32),
    "ArrowUp": ("ArrowUp", 38),
    "ArrowDown": ("ArrowDown", 40),
    "a": ("KeyA", 65),
    "/": ("Slash", 191),
}


def find_chromium() -> str | None:
    """Return the browser's program: the one that CHROMIUM names, or one on the PATH."""
    names = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if name and (found := shutil.which(name))), None)


class Browser:
    """A browser process with a profile of its own in `folder`."""

    def __init__(self, program: str, folder: Path) -> None:
        self._log = (folder / "chromium.log").open("wb")
        profile = folder / "profile"
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder)}
        self._process = subprocess.Popen(
            [program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=self._log, stderr=self._log, env=environment, cwd=folder,
        )  # fmt: skip
        try:
            port, path = self._endpoint(profile / "DevToolsActivePort", folder / "chromium.log")
            # Chromium refuses connections that carry an Origin.
            self._socket = websocket.create_connection(
                f"ws://127.0.0.1:{port}{path}", suppress_origin=True, timeout=60
            )
        except BaseException:
            self._process.kill()
            self._process.wait()
            self._log.close()
            raise
        self._socket.settimeout(None)
        self._answers: dict[int, AsyncResult[Any]] = {}
        self._pages: dict[str, Page] = {}
        self._last_id = 0
        self._reader = gevent.spawn(self._read)

    def _endpoint(self, file: Path, log: Path) -> tuple[str, str]:
        def lines() -> list[str]:
            if self._process.poll() is not None:
                raise AssertionError(f"the browser ended:\n{log.read_text(errors='replace')}")
            found = file.read_text().splitlines() if file.exists() else []
            return found if len(found) == 2 else []

        port, path = wait_for(lines, 60)
        return port, path

    def send(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result; raises AssertionError when it fails."""
        self._last_id += 1
        message: dict[str, Any] = {"id": self._last_id, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        answer = self._answers[self._last_id] = AsyncResult()
        self._socket.send(json.dumps(message))
        found: Any = answer.get(timeout=60)
        assert "error" not in found, f"{method}: {found['error']}"
        result: dict[str, Any] = found["result"]
        return result

    def _read(self) -> None:
        while True:
            try:
                text = self._socket.recv()
            except (OSError, websocket.WebSocketException):
                return
            if not text:
                return
            message = json.loads(text)
            if "id" in message:
                self._answers.pop(message["id"]).set(message)
            elif message.get("sessionId") in self._pages:
                self._pages[message["sessionId"]].took(message["method"], message["params"])

    def page(self) -> Page:
        """Open a page that shares no cookies and no cache with any other."""
        context = self.send("Target.createBrowserContext")["browserContextId"]
        target = self.send("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session, context)
        page.watch()
        return page

    def close(self) -> None:
        """End the process."""
        self._socket.close()
        self._reader.join(10)
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


class Page:
    """A tab: what it shows, what it asked for (`requests`), and what went wrong in it (`errors`)."""

    def __init__(self, browser: Browser, session: str, context: str) -> None:
        self._browser = browser
        self._session = session
        self._context = context
        self.requests: list[str] = []
        self.errors: list[str] = []

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol for this page."""
        return self._browser.send(method, self._session, **params)

    def watch(self) -> None:
        """Note requests, exceptions and what the console says from now on."""
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def took(self, method: str, params: dict[str, Any]) -> None:
        """Take in an event of the protocol."""
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.errors.append(str([part.get("value", part.get("description")) for part in params["args"]]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; fails when it throws."""
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def goto(self, url: str) -> None:
        """Open a URL and wait until it is loaded."""
        result = self.send("Page.navigate", url=url)
        assert not result.get("errorText"), f"{url}: {result['errorText']}"
        self.loaded()

    def loaded(self) -> None:
        """Wait until the present page and its scripts are loaded."""
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def wait(self, expression: str, seconds: float = 20.0) -> Any:
        """Return the first true value of an expression; a page that is just being left counts as false."""

        def value() -> Any:
            try:
                return self.evaluate(expression)
            except AssertionError:
                return None

        try:
            return wait_for(value, seconds)
        except TimeoutError:
            raise AssertionError(f"not within {seconds} s: {expression}\n{self.text('body')}") from None

    def text(self, selector: str) -> str:
        """Return the visible text of an element, or nothing when there is none."""
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def press(self, key: str, *, control: bool = False) -> None:
        """Press and release a key, with Control held where that is asked for."""
        code, number = _KEYS[key]
        event: dict[str, Any] = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        event["modifiers"] = 2 if control else 0
        text = {} if control or key not in ("Enter", " ") else {"text": "\r" if key == "Enter" else key}
        # What Control does with a letter is an editing command, which the system would add.
        commands = {"commands": ["selectAll"]} if control and key == "a" else {}
        self.send("Input.dispatchKeyEvent", type="keyDown", **event, **text, **commands)
        self.send("Input.dispatchKeyEvent", type="keyUp", **event)

    def write(self, text: str) -> None:
        """Type a text into what has the focus."""
        self.send("Input.insertText", text=text)

    def resize(self, width: int, height: int, *, mobile: bool = False) -> None:
        """Give the page another size."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=mobile,
        )

    def prefer(self, scheme: str) -> None:
        """Let the system prefer `light` or `dark`."""
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def pixel(self, x: int, y: int) -> tuple[int, ...]:
        """Return the colour that is really painted at a point."""
        clip = {"x": x, "y": y, "width": 1, "height": 1, "scale": 1}
        data = base64.b64decode(self.send("Page.captureScreenshot", format="png", clip=clip)["data"])
        return _only_pixel(data)

    def strangers(self, host: str) -> list[str]:
        """Return the URLs that were asked of any other host; data: and about: leave the browser for none."""
        return [
            url
            for url in self.requests
            if urlsplit(url).scheme not in ("data", "about", "blob") and urlsplit(url).netloc != host
        ]

    def close(self) -> None:
        """Close the page and forget its cookies."""
        self._browser.send("Target.disposeBrowserContext", browserContextId=self._context)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _only_pixel(png: bytes) -> tuple[int, ...]:
    """Return the colour of a PNG of one pixel, alpha left out."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at, packed = 8, b""
    while at < len(png):
        size, kind = int.from_bytes(png[at : at + 4], "big"), png[at + 4 : at + 8]
        if kind == b"IDAT":
            packed += png[at + 8 : at + 8 + size]
        at += size + 12
    return tuple(zlib.decompress(packed)[1:4])
