"""Chromium without a screen, asked through its DevTools protocol over two pipes.

Messages are JSON objects that end with a NUL, written to the browser's descriptor 3 and read from
its 4 (chromium, --remote-debugging-pipe; https://chromedevtools.github.io/devtools-protocol/).
"""

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PROGRAM = "chromium"
_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--no-first-run", "--hide-scrollbars", "--disable-background-networking"),
)
_HAND_OVER = 'exec 3<&"$1" 4>&"$2"; shift 2; exec "$@"'


class BrowserError(Exception):
    """The browser ended, or refused what it was asked."""


class Browser:
    """A browser with one page. ``said`` is what its console and its log said of that page, and
    ``fetched`` what it has asked the network or the disk for."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.fetched: list[str] = []
        self._number = 0
        self._loaded, self._width = False, 0
        self._session: str | None = None

    def __enter__(self) -> Self:
        self._profile = tempfile.mkdtemp(prefix="browser-")
        inlet, self._to = os.pipe()
        got, outlet = os.pipe()
        self._process = subprocess.Popen(
            [
                *("bash", "-c", _HAND_OVER, "bash", str(inlet), str(outlet)),
                *(PROGRAM, *_OPTIONS, f"--user-data-dir={self._profile}"),
                *("--remote-debugging-pipe", "about:blank"),
            ],
            pass_fds=(inlet, outlet),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(inlet)
        os.close(outlet)
        self._from = open(got, "rb")
        self._attach()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._from.close()
        os.close(self._to)
        shutil.rmtree(self._profile, ignore_errors=True)

    def open(self, page: Path, width: int, scheme: str) -> None:
        """Show a file in a window so wide, ``scheme`` being light or dark, and wait for it."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        self.ask("Emulation.setEmulatedMedia", features=[feature])
        self._loaded, self._width = False, width
        self.ask("Page.navigate", url=page.resolve().as_uri())
        while not self._loaded:
            self._take()

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression on the page."""
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"][
            "value"
        ]

    def screenshot(self, height: int = 0) -> bytes:
        """Return the page as PNG, the whole of it or so many pixels from its top."""
        clip = {"clip": {"x": 0, "y": 0, "width": self._width, "height": height, "scale": 1}}
        shot = self.ask(
            "Page.captureScreenshot", captureBeyondViewport=True, **(clip if height else {})
        )
        return base64.b64decode(shot["data"])

    def printed(self) -> bytes:
        """Return the page as it is printed, as PDF."""
        pdf = self.ask("Page.printToPDF", printBackground=False, paperWidth=8.27, paperHeight=11.7)
        return base64.b64decode(pdf["data"])

    def ask(self, method: str, **params: Any) -> Any:
        """Return the result of a method of the protocol."""
        self._number += 1
        number, asked = self._number, {"id": self._number, "method": method, "params": params}
        if self._session:
            asked["sessionId"] = self._session
        os.write(self._to, json.dumps(asked).encode() + b"\0")
        while True:
            told = self._take()
            if told.get("id") == number:
                if "error" in told:
                    raise BrowserError(f"{method}: {told['error']['message']}")
                return told["result"]

    def _attach(self) -> None:
        """Take hold of the first page, and listen to what it says."""
        targets = self.ask("Target.getTargets")["targetInfos"]
        target = next(one["targetId"] for one in targets if one["type"] == "page")
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = session["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def _take(self) -> Any:
        """Read one message; note what it says of the page."""
        text = bytearray()
        while not text.endswith(b"\0"):
            byte = self._from.read(1)
            if not byte:
                raise BrowserError(f"{PROGRAM} has ended: {self._process.wait()}")
            text += byte
        told = json.loads(text[:-1])
        method, params = told.get("method"), told.get("params", {})
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Runtime.consoleAPICalled":
            self.said.append(f"console: {params['args']}")
        elif method == "Runtime.exceptionThrown":
            self.said.append(f"exception: {params['exceptionDetails']['text']}")
        elif method == "Log.entryAdded":
            self.said.append(f"{params['entry']['level']}: {params['entry']['text']}")
        elif method == "Network.requestWillBeSent":
            self.fetched.append(params["request"]["url"])
        return told
