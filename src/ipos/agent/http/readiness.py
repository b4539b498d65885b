# SPDX-License-Identifier: Apache-2.0
"""Whether this server is to get new connections, for orchestrators that probe a file or HTTP.

The file exists while it is. `GET /v1/ready` is answered with 200 then, else with 503 and why: on
the API's socket, and on a TCP port of the back address where the configuration names one.
"""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ipos.abi import rows
from ipos.agent.loop.undone import Undone
from ipos.agent.view.table_views import View

PATH = "/v1/ready"
_PATIENCE_S = 1.0
_LINE_MAX = 1024
_WHY = {
    rows.ServerState.DRAIN: "it drains",
    rows.ServerState.MAINT: "it is in maintenance",
    rows.ServerState.DOWN: "it is down",
}


def unready(view: View) -> str:
    """Why this server is to get no new connections, empty when it is to get them."""
    said = next((one for one in view.snapshot.servers if one.server == view.snapshot.me), None)
    row = None if said is None else view.tables.servers.get(said.index)
    if said is None or row is None:
        return "it has just begun"
    if said.fault:
        return said.fault
    return _WHY.get(row.state, "")


def document(why: str) -> dict[str, object]:
    """The answer's body."""
    return {"ready": not why, "why": why or None}


class Readiness:
    """Keeps the file and the port up to date. `why` says why the server is not ready."""

    def __init__(self, file: Path, address: str, why: Callable[[], str], undone: Undone) -> None:
        self._file = file
        self._address = address
        self._why = why
        self._undone = undone
        self._port = 0
        self._server: asyncio.Server | None = None
        self._opening = asyncio.Lock()

    async def keep(self, port: int) -> None:
        """Bring both up to date; port 0: none. What cannot be done is tried again."""
        try:
            if self._why():
                self._file.unlink(missing_ok=True)
            else:
                self._file.touch()
            self._undone.note("ready file", "")
        except OSError as error:
            self._undone.note("ready file", f"cannot keep {self._file}: {error.strerror}")
        async with self._opening:
            if port != self._port or (port and self._server is None):
                await self._listen(port)

    async def _listen(self, port: int) -> None:
        if self._server is not None:
            self._server.close()
        self._server, self._port = None, port
        if not port:
            return
        try:
            self._server = await asyncio.start_server(
                self._answer, self._address, port, limit=_LINE_MAX
            )
            self._undone.note("ready port", "")
        except OSError as error:
            where = f"{self._address}:{port}"
            self._undone.note("ready port", f"cannot listen on {where}: {error.strerror}")

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, ValueError, TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                line = await reader.readline()
                while (await reader.readline()).strip():
                    pass
            method, path, *_ = [*line.split(), b"", b""]
            writer.write(self._response(method, path))
            async with asyncio.timeout(_PATIENCE_S):
                await writer.drain()
        writer.close()

    def _response(self, method: bytes, path: bytes) -> bytes:
        if path != PATH.encode() or method not in (b"GET", b"HEAD"):
            return b"HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        why = self._why()
        body = json.dumps(document(why)).encode()
        status = b"503 Service Unavailable" if why else b"200 OK"
        head = b"HTTP/1.0 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        return head % (status, len(body)) + body * (method == b"GET")

    def close(self) -> None:
        """The agent ends: remove the file, because no process keeps it up to date any more."""
        if self._server is not None:
            self._server.close()
        with suppress(OSError):
            self._file.unlink(missing_ok=True)
