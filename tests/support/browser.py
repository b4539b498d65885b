# SPDX-License-Identifier: Apache-2.0
"""Chromium without a screen, driven by its DevTools protocol, in a node of a lab."""

import base64
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.support.farm import Farm, wait_until

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--remote-debugging-port=0", "--disable-dev-shm-usage",
    "--hide-scrollbars",  # they would be missing from the width of a whole page's picture
)  # fmt: skip


class Browser:
    """One page."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._number = 0

    def call(self, method: str, **parameters: object) -> Any:
        self._number += 1
        asked = {"id": self._number, "method": method, "params": parameters}
        self._connection.send(json.dumps(asked))
        while True:
            said = json.loads(self._connection.recv(timeout=30))
            if said.get("id") == self._number:
                assert "error" not in said, said
                return said["result"]

    def open(self, url: str) -> None:
        self.call("Page.enable")
        self.call("Page.navigate", url=url)
        wait_until(f"{url} is there", lambda: self.run("document.readyState") == "complete", 30)

    def run(self, script: str) -> Any:
        """The value of a script, whose promise is waited for."""
        said = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    def text(self) -> str:
        found: str = self.run("document.body.innerText")
        return found

    def resize(self, width: int, height: int, *, dark: bool = False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def key(self, name: str, code: int, text: str = "") -> None:
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=name, windowsVirtualKeyCode=code,
                text=text if kind == "keyDown" else "",
            )  # fmt: skip

    def picture(self, file: Path) -> None:
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def _profile() -> Iterator[str]:
    """Its folder.  Processes of Chromium write there for a moment after the first one has ended."""
    profile = tempfile.mkdtemp()

    def is_removed() -> bool:
        shutil.rmtree(profile, ignore_errors=True)
        return not Path(profile).exists()

    try:
        yield profile
    finally:
        wait_until("Chromium is gone", is_removed)


@contextmanager
def browsing(farm: Farm, node: str) -> Iterator[Browser]:
    with _profile() as profile:
        argv = [shutil.which("chromium") or "chromium", *_FLAGS, f"--user-data-dir={profile}"]
        process = farm.lab.popen(
            node, argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            told = Path(profile, "DevToolsActivePort")
            wait_until("Chromium listens", lambda: told.exists() and told.read_text(), 60)
            port = int(told.read_text().split()[0])
            address = _page(farm, node, port)
            with farm.inside(node):
                connection = connect(address, max_size=1 << 26, proxy=None)
            with connection:
                yield Browser(connection)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()


def _page(farm: Farm, node: str, port: int) -> str:
    def found() -> str | None:
        listed = json.loads(farm.run(node, "curl", "-s", f"http://127.0.0.1:{port}/json/list"))
        pages = [each for each in listed if each["type"] == "page"]
        return pages[0]["webSocketDebuggerUrl"] if pages else None

    address: str = wait_until("Chromium has a page", found, 30)
    return address
