"""A headless Chromium for tests, spoken to over a pipe in its own protocol (CDP); nothing else is needed for it."""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",  # as root, and in containers, its own sandbox can't start
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
SECONDS = 60.0


def browser_path() -> str | None:
    """The Chromium of this machine, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@dataclass
class Page:
    """What an opened page did.

    Attributes:
        requests: Addresses that it asked for, its own among them.
        messages: What it, or the browser about it, wrote to the console.
    """

    requests: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)


class Browser:
    """A Chromium with one page; a context manager."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._answers: Queue[dict[str, Any]] = Queue()
        self._page = Page()
        self._session: str | None = None
        self._loaded = threading.Event()

    def __enter__(self) -> Browser:
        self._profile = tempfile.mkdtemp(prefix="browser-of-tests-")
        theirs_in, self._to_write = os.pipe()
        ours_in, theirs_out = os.pipe()
        to_read, from_write = (fcntl.fcntl(one, fcntl.F_DUPFD, 10) for one in (theirs_in, theirs_out))
        # The protocol is spoken on the descriptors 3 and 4, so ours must be others.
        command = f'exec "$0" "$@" 3<&{to_read} 4>&{from_write}'
        self._process = subprocess.Popen(
            ["bash", "-c", command, browser_path() or "", *FLAGS, f"--user-data-dir={self._profile}", "about:blank"],
            pass_fds=(to_read, from_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for one in (theirs_in, theirs_out, to_read, from_write):
            os.close(one)
        self._from = os.fdopen(ours_in, "rb")
        threading.Thread(target=self._read, daemon=True).start()
        targets = self.send("Target.getTargets")["targetInfos"]
        target = next(found["targetId"] for found in targets if found["type"] == "page")
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._session = None
        try:
            self.send("Browser.close")
            self._process.wait(10)
        except (OSError, Empty, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._to_write)
        shutil.rmtree(self._profile, ignore_errors=True)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Do something, and return what came of it."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to_write, json.dumps(message).encode() + b"\0")
        while (answer := self._answers.get(timeout=SECONDS))["id"] != number:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, path: Path, *, width: int = 1100, height: int = 900, scheme: str = "light") -> Page:
        """Open a file in a window of a size, and wait until it is loaded."""
        self._page = page = Page()
        self._loaded.clear()
        mobile = width < 600
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.send("Page.navigate", url=path.as_uri())
        assert self._loaded.wait(SECONDS), f"{path} was not loaded"
        # What happens a moment later belongs to it too.
        self.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done, 100)))")
        return page

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page."""
        found = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def screenshot(self, element: str | None = None) -> bytes:
        """A picture, PNG, of what the window shows; of one element, by its selector, if that is named."""
        clip = {}
        if element:
            rectangle = f"document.querySelector({element!r}).getBoundingClientRect()"
            x, y, width, height = self.evaluate(f"(({{x, y, width, height}}) => [x, y, width, height])({rectangle})")
            clip = {"clip": {"x": x, "y": y, "width": width, "height": height, "scale": 1}}
        taken = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=bool(element), **clip)
        return base64.b64decode(taken["data"])

    def _read(self) -> None:
        buffer = b""
        while chunk := os.read(self._from.fileno(), 1 << 16):
            *messages, buffer = (buffer + chunk).split(b"\0")
            for message in messages:
                self._take(json.loads(message))

    def _take(self, message: dict[str, Any]) -> None:
        if "id" in message:
            self._answers.put(message)
            return
        method, told = message["method"], message.get("params", {})
        if method == "Network.requestWillBeSent":
            self._page.requests.append(told["request"]["url"])
        elif method == "Runtime.consoleAPICalled":
            self._page.messages.append(" ".join(str(one.get("value")) for one in told["args"]))
        elif method == "Runtime.exceptionThrown":
            self._page.messages.append(told["exceptionDetails"]["text"])
        elif method == "Log.entryAdded":
            self._page.messages.append(told["entry"]["text"])
        elif method == "Page.javascriptDialogOpening":
            self._page.messages.append(f"dialog: {told['message']}")
        elif method == "Page.loadEventFired":
            self._loaded.set()
