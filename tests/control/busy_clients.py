# SPDX-License-Identifier: Apache-2.0
"""Clients of a whole farm: each says what happened to its connection, and how long it had to wait.

Every client's connection is addressed to one server, and owned by one: who answered first, for the
farm decides once for each connection.
"""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from ipos.lab import pattern
from tests.support.farm import SERVERS, Farm, read_answer, request

MEGABYTES = 60
PAUSE_S = 0.05
"""Between two megabytes of a download, which so takes some seconds."""
_ASK_S = 0.01
_AT_ONCE = 50
_BUFFER = 1 << 20


@dataclass(slots=True)
class Client:
    """One connection, of a kind: "keep-alive", "idle" or "download".

    `gap_s` is the longest time for which it waited for what it had asked for.
    """

    kind: str
    first: str
    connection: socket.socket
    owner: str = ""
    asked: int = 0
    error: str = ""
    gap_s: float = 0.0
    moves: bool = False
    """Whether its connection may have another owner after one of its requests."""

    def ask(self, path: str = "/") -> None:
        began = time.monotonic()
        self.connection.sendall(request(path, close=False))
        answer = read_answer(self.connection)
        self._waited(began)
        self.asked += 1
        assert answer.status == 200, answer.status
        self._served(answer.served_by)

    def _served(self, by: str) -> None:
        moved = self.owner not in ("", by)
        assert self.moves or not moved, f"{self.owner}, then {by}"
        self.owner = by

    def download(self) -> None:
        """All of a body, each byte of which is looked at."""
        self.connection.sendall(request(f"/bytes/{MEGABYTES * _BUFFER}", close=False))
        data = b""
        while b"\r\n\r\n" not in data:
            piece = self.connection.recv(1)
            assert piece, "the stream ended in a head"
            data += piece
        fields = dict(line.lower().split(b": ", 1) for line in data.split(b"\r\n") if b": " in line)
        self._served(fields[b"x-served-by"].decode())
        buffer, whole = memoryview(bytearray(_BUFFER)), bytes(range(pattern.PERIOD)) * 4200
        length = rested = 0
        while length < MEGABYTES * _BUFFER:
            began = time.monotonic()
            count = self.connection.recv_into(buffer)
            assert count, f"the stream ended after {length} bytes"
            self._waited(began)
            start = length % pattern.PERIOD
            assert buffer[:count] == whole[start : start + count], f"wrong bytes behind {length}"
            length += count
            if length - rested > _BUFFER:
                rested = length
                time.sleep(PAUSE_S)
        self.asked += 1

    def _waited(self, began: float) -> None:
        waited = time.monotonic() - began
        if waited > self.gap_s:
            self.gap_s = waited


@dataclass(slots=True)
class Clients:
    """All of them. `enough` ends those that ask on and on."""

    found: list[Client] = field(default_factory=list)
    enough: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def of(self, *owners: str) -> list[Client]:
        return [one for one in self.found if one.owner in owners]

    def begin(self, client: Client) -> None:
        client.ask()
        self.found.append(client)
        run = {"keep-alive": self._ask_on, "idle": None, "download": self._download}[client.kind]
        if run is not None:
            thread = threading.Thread(target=self._live, args=(client, run))
            self.threads.append(thread)

    def _live(self, client: Client, run: object) -> None:
        assert callable(run)
        try:
            run(client)
        except (OSError, AssertionError) as error:
            client.error = repr(error)

    def _ask_on(self, client: Client) -> None:
        while not self.enough.is_set():
            client.ask()
            time.sleep(_ASK_S)

    def _download(self, client: Client) -> None:
        while not self.enough.is_set():
            client.download()

    def ask_the_idle(self) -> None:
        """One more request on each connection that has been silent since.

        Some at a time: a client learns after seconds only that the owner of its connection is dead.
        """
        silent = [one for one in self.found if one.kind == "idle" and not one.error]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda client: self._live(client, Client.ask), silent))

    @contextmanager
    def moving(self) -> Iterator[None]:
        """Their owners may change in this time."""
        for client in self.found:
            client.moves = True
        yield
        for client in self.found:
            client.moves = False


@contextmanager
def clients(
    farm: Farm,
    keep_alive: int,
    idle: int,
    downloads: int,
    patience_s: float = 20,
    *,
    moves: bool = False,
) -> Iterator[Clients]:
    """So many of each kind at each server's address. moves: their owners may change."""
    all_of_them = Clients()
    with ExitStack() as stack:
        for first in SERVERS:
            # The many first: a server that has few connections gets all for a while.
            kinds = ["idle"] * idle + ["keep-alive"] * keep_alive
            for kind in [*kinds, *["download"] * downloads]:
                connection = stack.enter_context(farm.connect(server=first))
                connection.settimeout(patience_s)
                all_of_them.begin(Client(kind, first, connection, moves=moves))
        for thread in all_of_them.threads:
            thread.start()
        try:
            yield all_of_them
        finally:
            all_of_them.enough.set()
            for thread in all_of_them.threads:
                thread.join()


def told(found: list[Client]) -> str:
    """The longest wait of each kind, for who reads it."""
    longest = {}
    for kind in ("keep-alive", "idle", "download"):
        some = [one for one in found if one.kind == kind]
        if some:
            worst = max(some, key=lambda one: one.gap_s)
            longest[kind] = f"{worst.gap_s:.2f} s of {len(some)}"
    return ", ".join(f"{kind} {text}" for kind, text in longest.items())
