# SPDX-License-Identifier: Apache-2.0
"""A server's application that answers requests and remembers every byte that its sockets received.

    python recording.py PORT SEED

Its reading is uneven: few bytes or many, at once or after a pause, some by a small buffer. Who
connects to `recorded.sock` in the node's directory gets, as JSON, what each connection has read
since the last time, in the order of accepting, and ends those that are still open; `broken` says
what one read and could not take for HTTP.
"""

from __future__ import annotations

import json
import os
import random
import re
import selectors
import socket
import struct
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

SMALL_BUFFER = 4_096
_PAUSE_S = 0.004
_AT_ONCE = struct.pack("=ii", 1, 0)
_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ (\S+) HTTP/1\.1")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request in a stream: what it says, and where it ends."""

    host: bytes
    path: bytes
    end: int


class NoRequestError(ValueError):
    """Bytes that are no request."""


def requests_in(data: bytes) -> list[Asked]:
    """The whole requests that a stream begins with. NoRequestError if there is anything else."""
    found: list[Asked] = []
    at = 0
    while (end := data.find(b"\r\n\r\n", at)) >= 0:
        first, *lines = data[at:end].lstrip(b"\r\n").split(b"\r\n")
        said = _LINE.fullmatch(first)
        if not said:
            raise NoRequestError(f"{first!r} is no request line")
        fields = dict(line.lower().split(b": ", 1) for line in lines if b": " in line)
        at = end + 4
        if b"content-length" in fields:
            at += int(fields[b"content-length"])
        elif b"transfer-encoding" in fields:
            at = _behind_chunks(data, at)
        if not 0 <= at <= len(data):
            break
        found.append(Asked(fields.get(b"host", b""), said[1], at))
    return found


def _behind_chunks(data: bytes, at: int) -> int:
    """Where the chunks end; -1 if they are not all here."""
    while (end := data.find(b"\r\n", at)) >= 0:
        try:
            size = int(data[at:end].partition(b";")[0], 16)
        except ValueError:
            raise NoRequestError(f"{data[at:end]!r} is no size of a chunk") from None
        if not size:
            over = data.find(b"\r\n\r\n", end)  # behind trailers, if there are any
            return over + 4 if over >= 0 else -1
        at = end + 2 + size + 2
    return -1


@dataclass(slots=True)
class Connection:
    """What one socket received, and what is still to be sent by it."""

    accepted: socket.socket
    client: str
    data: bytearray = field(default_factory=bytearray)
    whole: int = 0
    unsent: bytearray = field(default_factory=bytearray)
    broken: str = ""
    over: bool = False


class Application:
    """One thread, all sockets."""

    def __init__(self, port: int, control: Path, seed: int) -> None:
        self._rng = random.Random(seed)
        self._events = selectors.DefaultSelector()
        self._connections: list[Connection] = []
        self._paused: list[tuple[float, Connection]] = []
        self._listener = socket.create_server(("0.0.0.0", port), backlog=128)
        self._control = socket.socket(socket.AF_UNIX)
        self._control.bind(str(control))
        self._control.listen()
        for one in (self._listener, self._control):
            one.setblocking(False)
            self._events.register(one, selectors.EVENT_READ)

    def run(self) -> None:
        while True:
            for key, mask in self._events.select(_PAUSE_S if self._paused else None):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is self._control:
                    self._tell()
                elif mask & selectors.EVENT_READ:
                    self._read(key.data)
                else:
                    self._write(key.data)
            now = time.monotonic()
            due = [one for until, one in self._paused if until <= now]
            self._paused = [(until, one) for until, one in self._paused if until > now]
            for one in due:
                self._watch(one)

    def _accept(self) -> None:
        accepted, (address, port) = self._listener.accept()
        accepted.setblocking(False)
        if self._rng.random() < 0.3:
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        made = Connection(accepted, f"{address}:{port}")
        self._connections.append(made)
        self._watch(made)

    def _watch(self, one: Connection) -> None:
        """Wait for what may be done with it next."""
        if one.over:
            return
        mask = selectors.EVENT_WRITE if one.unsent else selectors.EVENT_READ
        try:
            self._events.modify(one.accepted, mask, one)
        except KeyError:
            self._events.register(one.accepted, mask, one)

    def _read(self, one: Connection, at_most: int = 0) -> None:
        size = at_most or self._rng.choice((1, 7, 100, 1_000, 65_536, 65_536, 65_536))
        try:
            data = one.accepted.recv(size)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        one.data += data
        try:
            answered = requests_in(bytes(one.data[one.whole :]))
        except NoRequestError as error:
            one.broken, answered, data = str(error), [], b""
        for _ in answered:
            size = self._rng.choice((0, 5, 100, 1_500))
            one.unsent += b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
        one.whole += answered[-1].end if answered else 0
        if not data:
            self._end(one)
        elif one.unsent:
            self._write(one)
        if not one.over and self._rng.random() < 0.1:
            self._events.unregister(one.accepted)
            self._paused.append((time.monotonic() + _PAUSE_S, one))

    def _write(self, one: Connection) -> None:
        try:
            del one.unsent[: one.accepted.send(one.unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._end(one)
            return
        self._watch(one)

    def _end(self, one: Connection) -> None:
        one.over = True
        self._paused = [each for each in self._paused if each[1] is not one]
        try:
            self._events.unregister(one.accepted)
        except KeyError:
            pass
        one.accepted.close()

    def _tell(self) -> None:
        """Everything that has come, whether it would have been read now or not."""
        asking, _ = self._control.accept()
        for one in self._connections:
            while not one.over:
                before = len(one.data)
                self._read(one, 65_536)
                if len(one.data) == before:
                    break
        told = [
            {"client": one.client, "data": one.data.hex(), "broken": one.broken}
            for one in self._connections
        ]
        for one in self._connections:
            if not one.over:  # by a reset, for its client answers nothing any more
                one.accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
                self._end(one)
        self._connections = []
        with asking:
            asking.setblocking(True)
            asking.sendall(json.dumps(told).encode())


if __name__ == "__main__":
    directory = Path(os.environ["IPOS_RUN_DIR"])
    Application(int(sys.argv[1]), directory / "recorded.sock", int(sys.argv[2])).run()
