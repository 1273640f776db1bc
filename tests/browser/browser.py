"""Chromium without a window, driven over its DevTools: what the page shows and what it asks for."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from websocket import create_connection

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # nothing leaves this machine
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
]


def chromium() -> str | None:
    """Return the program, by the environment variable CHROMIUM or on the PATH."""
    names = [os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"]
    return next((path for name in names if name and (path := shutil.which(name))), None)


_NAVIGATED = "Inspected target navigated or closed"
"""How DevTools answers a script that was running in a page that led to another one."""


class NavigatedError(Exception):
    """The page in which a script ran has been left."""


class Browser:
    """One page of a browser of its own profile."""

    def __init__(self, *, webgl: bool = True, width: int = 1280, height: int = 720) -> None:
        program = chromium()
        assert program, "No Chromium is installed: apt-get install chromium, or set CHROMIUM."
        self._profile = tempfile.TemporaryDirectory(prefix="lamella-browser-", ignore_cleanup_errors=True)
        flags = [*FLAGS, f"--user-data-dir={self._profile.name}", f"--window-size={width},{height}"]
        flags += [] if webgl else ["--disable-3d-apis"]
        self._process = subprocess.Popen(
            [program, *flags, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._socket = create_connection(self._page_address(), timeout=60, suppress_origin=True)
        self._number = 0
        self.events: list[dict] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    @property
    def pid(self) -> int:
        """The id of the browser's first process."""
        return self._process.pid

    def _page_address(self) -> str:
        from urllib.request import urlopen

        file = Path(self._profile.name) / "DevToolsActivePort"
        until = time.monotonic() + 60
        while not (file.exists() and len(file.read_text().splitlines()) == 2):
            assert self._process.poll() is None, "Chromium ended at its start."
            assert time.monotonic() < until, "Chromium did not open its DevTools within 60 s."
            time.sleep(0.02)
        port = file.read_text().splitlines()[0]
        with urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
            pages = json.load(answer)
        return next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")

    def call(self, method: str, **parameters: object) -> dict:
        """Call a method of DevTools and return its result; events that come meanwhile are kept."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == self._number:
                if _NAVIGATED in str(message.get("error")):
                    raise NavigatedError(f"{method}: the page went to another address meanwhile")
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]
            self.events.append(message)

    def run(self, script: str):
        """Run JavaScript in the page and return its value; promises are awaited."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, condition: str, seconds: float = 60) -> None:
        """Wait until a condition in JavaScript holds."""
        until = time.monotonic() + seconds
        while True:
            with suppress(NavigatedError):  # a page may lead to another one, of which nothing holds yet
                if self.run(f"Boolean({condition})"):
                    return
                self.run("new Promise(requestAnimationFrame)")
            assert time.monotonic() < until, f"{condition} did not become true; page says {self.problems()}"

    def open(self, url: str) -> None:
        """Open a viewer and wait until all its tiles are drawn."""
        self.call("Page.navigate", url=url)
        self.drawn()

    def leave(self) -> None:
        """Leave the page, and forget what was logged and asked for until now."""
        self.call("Page.navigate", url="about:blank")
        self.wait("location.href === 'about:blank'")
        self.events.clear()

    def drawn(self) -> None:
        """Wait until the picture is complete after a change."""
        self.wait("window.lamella && document.body.dataset.complete")
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        self.wait("document.body.dataset.complete === 'true'")

    def problems(self) -> list[str]:
        """Return errors of the page: exceptions, and the lines of its list of problems."""
        thrown = [
            event["params"]["exceptionDetails"].get("exception", {}).get("description", "")
            for event in self.events
            if event["method"] == "Runtime.exceptionThrown"
        ]
        logged = [
            event["params"]["entry"]["text"]
            for event in self.events
            if event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] == "error"
        ]
        return thrown + logged

    def requests(self) -> list[str]:
        """Return the URLs that the page asked for."""
        return [
            e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"
        ]

    def key(self, key: str, *, modifiers: int = 0) -> None:
        """Press a key; 1 is the modifier Alt."""
        text = {"text": key} if len(key) == 1 and not modifiers else {}
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                modifiers=modifiers,
                **(text if kind == "keyDown" else {}),
            )

    def mouse(self, kind: str, x: float, y: float, **options: object) -> None:
        """Move, press or release the mouse at a point of the page."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **options)

    def double_click(self, x: float, y: float) -> None:
        """Click twice at a point."""
        for count in (1, 2):
            for kind in ("mousePressed", "mouseReleased"):
                self.mouse(kind, x, y, button="left", clickCount=count)

    def screenshot(self) -> bytes:
        """Return the page as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def close(self) -> None:
        """End the browser."""
        self._socket.close()
        self._process.kill()
        self._process.wait()
        self._profile.cleanup()
