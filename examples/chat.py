#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A chat server whose sessions survive the drain of their machine.

    python3 examples/chat.py --port 7000 --servers s1,s2,s3       on each server of the farm

Everybody who is at the same server sees what the others there write. A session is a name, and the
number of lines that it has written; both go along when it moves. When a server drains, or somebody
types `ipos migrate CLIENT --to s2`, its sessions go on at other servers: no client reconnects, and
nobody has to say the name again.
"""

import argparse
import asyncio
import json
import os
import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field

from ipos.endpoint import NotGiven, give, incoming, wishes

LINE_MAX = 4096


@dataclass
class Session:
    """One client. wanted: the server that it is to go to, as soon as it says nothing."""

    sock: socket.socket
    name: str = ""
    lines: int = 0
    unread: bytes = b""
    wanted: str = ""
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    def state(self) -> bytes:
        """What the next server must know."""
        return json.dumps([self.name, self.lines, self.unread.decode("latin-1")]).encode()


class Room:
    """All sessions of this server."""

    def __init__(self, servers: Sequence[str]) -> None:
        self._servers = servers
        self._sessions: dict[tuple[str, int], Session] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def enter(self, sock: socket.socket, client: tuple[str, int], state: bytes = b"") -> None:
        sock.setblocking(False)
        session = self._sessions[client] = Session(sock)
        if state:
            session.name, session.lines, unread = json.loads(state)
            session.unread = unread.encode("latin-1")
        else:
            self.tell(session, "Who are you?\n")
        task = asyncio.get_running_loop().create_task(self._talk(session, client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def tell(self, session: Session, text: str) -> None:
        try:
            session.sock.send(text.encode())
        except OSError:
            pass  # a client that does not read misses a line

    async def _talk(self, session: Session, client: tuple[str, int]) -> None:
        loop, fd = asyncio.get_running_loop(), session.sock.fileno()
        while True:
            if session.wanted:
                to, session.wanted = session.wanted, ""
                try:
                    await give(session.sock, to=to, state=session.state())
                    break
                except NotGiven as error:
                    print(f"{session.name} stays: {error}", flush=True)
            loop.add_reader(fd, session.woken.set)
            await session.woken.wait()
            session.woken.clear()
            loop.remove_reader(fd)
            if not self._read(session):
                session.sock.close()
                break
        if self._sessions.get(client) is session:
            del self._sessions[client]

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
            self.tell(session, f"Welcome, {session.name}, at {os.environ.get('IPOS_NODE', '?')}\n")
            return
        session.lines += 1
        for other in self._sessions.values():
            self.tell(other, f"{session.name} ({session.lines}): {text}\n")

    def leave(self, client: tuple[str, int] | None, to: str) -> None:
        """Have one session go, or all of them."""
        for one, session in self._sessions.items():
            if client in (None, one):
                session.wanted = to or random.choice(self._servers)
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
    parser.add_argument("--servers", required=True, help="names of the servers, with commas")
    options = parser.parse_args()
    me = os.environ.get("IPOS_NODE", socket.gethostname())
    room = Room([name for name in options.servers.split(",") if name != me])
    with socket.create_server(("0.0.0.0", options.port)) as listener:
        listener.setblocking(False)
        await asyncio.gather(room.accept(listener), room.take(listener), room.obey(listener))


if __name__ == "__main__":
    asyncio.run(main())
