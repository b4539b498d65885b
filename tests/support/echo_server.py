# SPDX-License-Identifier: Apache-2.0
"""An echo server whose connections migrate in mid-stream: `python -m tests.support.echo_server`.

What it has read and not written yet goes along as state. It moves each connection after a random
number of bytes, if it is told other servers, and whenever it is asked to. The end of a connection
prints the bytes that were echoed, and how often it moved.
"""

import argparse
import asyncio
import os
import random
import socket
import struct
import sys
from contextlib import suppress

from ipos.endpoint import Endpoint, NotGiven, give, incoming, wishes

_STATE = struct.Struct(">QII")
_PIECE = 1 << 16


class Session:
    """One connection. total: bytes that were echoed; moves: how often it has moved."""

    def __init__(self, sock: socket.socket, client: tuple[str, int], state: bytes = b"") -> None:
        self.sock, self.client = sock, client
        self.total, self.moves, self.kept = _STATE.unpack_from(state) if state else (0, 0, 0)
        self.pending = bytearray(state[_STATE.size :])
        self.next_at = self.total
        self.wanted = ""
        self._woken = asyncio.Event()

    def wake(self, to: str) -> None:
        self.wanted = to
        self._woken.set()

    @property
    def state(self) -> bytes:
        return _STATE.pack(self.total, self.moves + 1, self.kept) + bytes(self.pending)

    async def ready(self, *, write: bool) -> None:
        """Until the socket is ready, or somebody wants it to move."""
        loop, fd = asyncio.get_running_loop(), self.sock.fileno()
        add, remove = (
            (loop.add_writer, loop.remove_writer)
            if write
            else (loop.add_reader, loop.remove_reader)
        )
        add(fd, self._woken.set)
        try:
            await self._woken.wait()
        finally:
            remove(fd)
            self._woken.clear()


class Server:
    """One process. others: where connections go by themselves, every so many bytes on average."""

    def __init__(self, others: list[str], every: int, seed: int) -> None:
        self._others, self._every = others, every
        self._chance = random.Random(seed)
        self._sessions: dict[tuple[str, int], Session] = {}
        self._running: set[asyncio.Task[None]] = set()

    def begin(self, sock: socket.socket, client: tuple[str, int], state: bytes = b"") -> None:
        session = self._sessions[client] = Session(sock, client, state)
        self._next(session)
        task = asyncio.get_running_loop().create_task(self._serve(session))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _next(self, session: Session) -> None:
        session.next_at = session.total + 1 + self._chance.randrange(2 * self._every + 1)

    async def _serve(self, session: Session) -> None:
        try:
            while await self._turn(session):
                pass
        except OSError as error:
            print(f"lost {session.client} {error}", flush=True)
            session.sock.close()
        if self._sessions.get(session.client) is session:
            del self._sessions[session.client]

    async def _turn(self, session: Session) -> bool:
        """A read or a write. False when the connection is not ours any more."""
        if self._others and session.total >= session.next_at:
            session.wanted = session.wanted or self._chance.choice(self._others)
        if session.wanted:
            to, session.wanted = session.wanted, ""
            try:
                await give(session.sock, to=to, state=session.state)
                return False
            except NotGiven as error:
                session.kept += 1
                print(f"kept {session.client} {error}", flush=True)
                self._next(session)
        size = self._chance.randint(1, _PIECE)
        if session.pending:
            try:
                sent = session.sock.send(session.pending[:size])
            except BlockingIOError:
                await session.ready(write=True)
                return True
            del session.pending[:sent]
            session.total += sent
            return True
        try:
            data = session.sock.recv(size)
        except BlockingIOError:
            await session.ready(write=False)
            return True
        session.pending += data
        if not data:
            print(
                f"over {session.client} {session.total} {session.moves} {session.kept}", flush=True
            )
            session.sock.close()
        return bool(data)

    async def accept(self, listener: socket.socket) -> None:
        while True:
            sock, client = await asyncio.get_running_loop().sock_accept(listener)
            sock.setblocking(False)
            self.begin(sock, client)

    async def take(self, listener: socket.socket) -> None:
        endpoint: Endpoint
        async for endpoint in incoming(listener):
            self.begin(endpoint.socket, endpoint.client, endpoint.state)

    async def obey(self, listener: socket.socket) -> None:
        async for wish in wishes(listener):
            to = wish.to or (self._others or [""])[0]
            for client, session in list(self._sessions.items()):
                if wish.client in (None, client) and to:
                    session.wake(to)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--others", default="", help="names of servers, with commas")
    parser.add_argument("--every", type=int, default=0, help="bytes between two moves")
    parser.add_argument("--seed", type=int, default=os.getpid())
    options = parser.parse_args()
    others = [name for name in options.others.split(",") if name]
    server = Server(others, options.every, options.seed)
    with socket.create_server(("0.0.0.0", options.port), backlog=128) as listener:
        listener.setblocking(False)
        print("ready", flush=True)
        await asyncio.gather(server.accept(listener), server.take(listener), server.obey(listener))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(asyncio.run(main()))
