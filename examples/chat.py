#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A chat server whose sessions survive the drain of their machine.

    python3 examples/chat.py --port 7000       on each server of the farm

Its service has `select = "connection"`, because the server speaks first.

Everybody who is at the same server sees what the others there write. A session is a name, the
number of lines that it has written, and what could not be sent yet; all of it goes along when it
moves. When a server drains, or somebody types `ipos migrate CLIENT --to s2`, its sessions go on at
other servers: no client reconnects, and nobody has to say the name again.

While a session moves it is in neither room: it sees the lines that were written before it left the
one, and those that are written after it has come to the other.
"""

import argparse
import asyncio
import json
import os
import socket
from dataclasses import dataclass, field

from ipos.endpoint import give, incoming, wishes
from ipos.errors import IposError

LINE_MAX = 4096
UNSENT_MAX = 64 << 10
"""A client that reads so little is sent no more lines until it does."""
AT_ONCE = 32
"""Sessions that move at once: each has a file open for its state meanwhile."""


@dataclass
class Session:
    """One client. wanted: the server that it is to go to, as soon as it says nothing; "" for any.
    moves: nobody may use its socket."""

    sock: socket.socket
    name: str = ""
    lines: int = 0
    unread: bytes = b""
    unsent: bytes = b""
    wanted: str | None = None
    moves: bool = False
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    def state(self) -> bytes:
        """What the next server must know."""
        pending = [each.decode("latin-1") for each in (self.unread, self.unsent)]
        return json.dumps([self.name, self.lines, *pending]).encode()

    def restore(self, state: bytes) -> None:
        self.name, self.lines, *pending = json.loads(state)
        self.unread, self.unsent = (each.encode("latin-1") for each in pending)

    def tell(self, text: str) -> None:
        """Whole lines only: a client that does not read misses some."""
        waits = bool(self.unsent)
        if len(self.unsent) < UNSENT_MAX:
            self.unsent += text.encode()
        self.flush()
        if self.unsent and not waits:
            self.woken.set()  # so that it waits until it can write

    def flush(self) -> None:
        if self.moves or not self.unsent:
            return
        try:
            sent = self.sock.send(self.unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # what is read next says so
        self.unsent = self.unsent[sent:]


class Room:
    """All sessions of this server."""

    def __init__(self) -> None:
        self._sessions: dict[tuple[str, int], Session] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._moving = asyncio.Semaphore(AT_ONCE)

    def enter(self, sock: socket.socket, client: tuple[str, int], state: bytes = b"") -> None:
        sock.setblocking(False)
        session = self._sessions[client] = Session(sock)
        if state:
            session.restore(state)
            session.flush()
        else:
            session.tell("Who are you?\n")
        task = asyncio.get_running_loop().create_task(self._talk(session, client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _talk(self, session: Session, client: tuple[str, int]) -> None:
        while True:
            if session.wanted is not None:
                if await self._gave(session):
                    break
                continue
            await self._ready(session)
            session.flush()
            if not self._read(session):
                session.sock.close()
                break
        if self._sessions.get(client) is session:
            del self._sessions[client]

    async def _gave(self, session: Session) -> bool:
        """Whether it goes on at another server."""
        async with self._moving:
            to, session.wanted = session.wanted or "", None
            session.moves = True
            try:
                await give(session.sock, to=to, state=session.state())
                return True
            except (IposError, OSError) as error:
                print(f"{session.name} stays: {error}", flush=True)
            session.moves = False
            session.flush()
            return False

    async def _ready(self, session: Session) -> None:
        """Until its socket is ready, or somebody wants it to move."""
        loop, fd = asyncio.get_running_loop(), session.sock.fileno()
        loop.add_reader(fd, session.woken.set)
        if session.unsent:
            loop.add_writer(fd, session.woken.set)
        await session.woken.wait()
        session.woken.clear()
        loop.remove_reader(fd)
        loop.remove_writer(fd)

    def _read(self, session: Session) -> bool:
        """Take what a client has said. False at its end."""
        try:
            data = session.sock.recv(LINE_MAX)
        except BlockingIOError:
            return True
        except OSError:
            return False
        *lines, session.unread = (session.unread + data).split(b"\n")
        for line in lines:
            self._say(session, line.decode(errors="replace").strip())
        return bool(data) and len(session.unread) < LINE_MAX

    def _say(self, session: Session, text: str) -> None:
        if not session.name:
            session.name = text or "somebody"
            session.tell(f"Welcome, {session.name}, at {os.environ.get('IPOS_NODE', '?')}\n")
            return
        session.lines += 1
        for other in self._sessions.values():
            other.tell(f"{session.name} ({session.lines}): {text}\n")

    def leave(self, client: tuple[str, int] | None, to: str) -> None:
        """Have one session go, or all of them."""
        for one, session in self._sessions.items():
            if client in (None, one):
                session.wanted = to
                session.woken.set()

    async def take(self, listener: socket.socket) -> None:
        async for endpoint in incoming(listener):
            self.enter(endpoint.socket, endpoint.client, endpoint.state)

    async def obey(self, listener: socket.socket) -> None:
        async for wish in wishes(listener):
            self.leave(wish.client, wish.to)

    async def accept(self, listener: socket.socket) -> None:
        while True:
            sock, client = await asyncio.get_running_loop().sock_accept(listener)
            self.enter(sock, client)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=7000)
    options = parser.parse_args()
    room = Room()
    with socket.create_server(("0.0.0.0", options.port), backlog=1024) as listener:
        listener.setblocking(False)
        await asyncio.gather(room.accept(listener), room.take(listener), room.obey(listener))


if __name__ == "__main__":
    asyncio.run(main())
