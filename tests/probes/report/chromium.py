"""A headless Chromium driven over its debugging pipe: no driver, no socket, no package."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

PATH = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
]


class Browser:
    """One page in one Chromium, with everything it said and asked for."""

    def __init__(self, profile: Path) -> None:
        assert PATH is not None
        down_read, self._down = os.pipe()
        self._up, up_write = os.pipe()
        redirect = f'exec "$@" 3<&{down_read} 4>&{up_write}'
        command = ["bash", "-c", redirect, "chromium", PATH, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(command, pass_fds=(down_read, up_write), stdout=quiet, stderr=quiet)
        os.close(down_read)
        os.close(up_write)
        self._buffer, self._count, self._session = b"", 0, None
        self.events: list[dict[str, Any]] = []
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._down)
        os.close(self._up)

    def call(self, method: str, **params: Any) -> Any:
        """One command of the DevTools protocol; events that arrive meanwhile are kept."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._down, data) :]
        while True:
            answer = self._read(180)
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def open(
        self, path: Path, *, width: int = 1280, height: int = 900, dark: bool = False, phone: bool = False
    ) -> None:
        """Open a file at a width, in light or dark, and wait until every visible figure is drawn."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.media(dark=dark)
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.until(lambda: self.value("document.readyState") == "complete")
        drawn = (
            "[...document.querySelectorAll('[data-figure]')].every(b => !b.offsetWidth || b.querySelector('.main-svg'))"
        )
        self.until(lambda: bool(self.value(drawn)))

    def media(self, *, dark: bool = False, medium: str = "") -> None:
        """Pretend to prefer a colour scheme, or to be printed."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", media=medium, features=features)

    def value(self, expression: str) -> Any:
        """The value of a JavaScript expression; promises are waited for."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"]["exception"].get("description", expression))
        return found["result"].get("value")

    def key(self, name: str) -> None:
        """Press and release a key."""
        # Keys that do something by themselves are known by their number.
        number = {"Tab": 9, "Enter": 13}.get(name, 0)
        text = {"text": "\r"} if name == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=number, **text)

    def until(self, ready: Callable[[], bool], *, seconds: float = 120) -> None:
        """Wait for something that takes a moment."""
        end = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > end:
                raise TimeoutError("The page did not get there in time.")
            time.sleep(0.05)

    def complaints(self) -> list[str]:
        """Everything that the console would show in red, and uncaught exceptions."""
        found = []
        for event in self.events:
            params = event.get("params", {})
            if event.get("method") == "Runtime.exceptionThrown":
                found.append(json.dumps(params["exceptionDetails"])[:600])
            if event.get("method") == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
                found.append(json.dumps(params["args"])[:600])
            if event.get("method") == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                found.append(params["entry"]["text"])
        return found

    def requests(self) -> list[str]:
        """Addresses that the page asked for, besides itself and data inside it."""
        asked = [e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return [url for url in asked if not url.startswith(("file:", "data:", "blob:", "about:"))]

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """A PNG of the page, whole or what is in view."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def pdf(self, path: Path) -> None:
        """The page as it prints."""
        path.write_bytes(base64.b64decode(self.call("Page.printToPDF", printBackground=False)["data"]))

    def _read(self, seconds: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._up], [], [], seconds)[0]:
                raise TimeoutError("Chromium said nothing for three minutes.")
            data = os.read(self._up, 1 << 20)
            if not data:
                raise ConnectionError("Chromium went away.")
            self._buffer += data
        message, self._buffer = self._buffer.split(b"\0", 1)
        found: dict[str, Any] = json.loads(message)
        return found
