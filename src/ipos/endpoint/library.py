# SPDX-License-Identifier: Apache-2.0
"""The application's side: give endpoints away, take those that come, hear what is wanted.

There is one connection to the agent for each listener that takes, and one for all that is given. If
the agent ends, its successor is asked about what was under way, so nothing is lost with it.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

from ipos.endpoint import desk_message as m
from ipos.endpoint.line import Line
from ipos.errors import IposError


class NotGiven(IposError):
    """The connection stays here, and its socket is as it was. The sentence says why."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A connection that has come with its state. client: address and port."""

    socket: socket.socket
    state: bytes
    client: tuple[str, int]


@dataclass(frozen=True, slots=True)
class Wish:
    """A connection is to go to the server `to`. client None: all connections, as this server
    drains; that wish comes again every few seconds. to "": wherever its application likes, or its
    agent (`give` without `to`)."""

    client: tuple[str, int] | None
    to: str


@dataclass(slots=True)
class _Arrival:
    """A socket that is not live yet."""

    socket: socket.socket
    unsent: bytes
    state: bytes
    client: tuple[str, int]


class _Giver:
    """What one event loop gives away."""

    def __init__(self) -> None:
        self._line = Line(self._hear, self._again)
        self._number = 0
        self._given: dict[int, tuple[socket.socket, asyncio.Future[m.Given]]] = {}

    async def give(self, sock: socket.socket, to: str, state: bytes) -> None:
        self._number += 1
        number = self._number
        outcome = asyncio.get_running_loop().create_future()
        file = m.memory_file(state)
        self._given[number] = sock, outcome
        try:
            await self._line.say(m.Give(number, to), sock.fileno(), file)
            told = await outcome
        finally:
            os.close(file)
            del self._given[number]
        if not told.is_given:
            raise NotGiven(told.why)
        sock.close()

    def _hear(self, said: m.Message, fds: list[int]) -> None:
        if isinstance(said, m.Given) and said.number in self._given:
            _, outcome = self._given[said.number]
            if not outcome.done():
                outcome.set_result(said)

    async def _again(self) -> None:
        for number, (sock, outcome) in list(self._given.items()):
            if not outcome.done():
                await self._line.say(m.Again(number), sock.fileno())


_givers: dict[asyncio.AbstractEventLoop, _Giver] = {}


async def give(sock: socket.socket, *, to: str = "", state: bytes = b"") -> None:
    """Give an accepted TCP connection and its state to the application on the server `to`.

    Without `to`, the agent draws one of the servers that are ready and have such an application.
    Nothing else may use the socket meanwhile. It is closed when this returns: the connection goes
    on there. NotGiven: it goes on here, and the socket is as it was, even if the other server died.
    """
    loop = asyncio.get_running_loop()
    for old in [each for each in _givers if each.is_closed()]:
        del _givers[old]
    if loop not in _givers:
        _givers[loop] = _Giver()
    await _givers[loop].give(sock, to, state)


class _Taker:
    """What comes for one listener."""

    def __init__(self, listener: socket.socket, *, takes: bool) -> None:
        self._listener, self._takes = listener, takes
        self._line = Line(self._hear, self._again)
        self._arrivals: dict[bytes, _Arrival] = {}
        self._arriving: set[asyncio.Task[None]] = set()
        self.there: asyncio.Queue[_Arrival] = asyncio.Queue()
        self.wanted: asyncio.Queue[Wish] = asyncio.Queue()
        self._registered: asyncio.Future[m.Registered] | None = None

    async def begin(self) -> None:
        """IposError with the agent's sentence when the listener is no service's."""
        self._registered = asyncio.get_running_loop().create_future()
        await self._again()
        told = await self._registered
        if not told.services:
            self.close()
            raise IposError(told.why)

    async def _again(self) -> None:
        await self._line.say(m.Register(self._takes), self._listener.fileno())
        for key, one in list(self._arrivals.items()):
            await self._line.say(m.Back(key), one.socket.fileno())

    def _hear(self, said: m.Message, fds: list[int]) -> None:
        if isinstance(said, m.Registered):
            if self._registered is not None and not self._registered.done():
                self._registered.set_result(said)
        elif isinstance(said, m.Coming) and len(fds) == m.FDS_MAX:
            whole = m.read_file(fds[1], 1 << 30)
            made = socket.socket(fileno=os.dup(fds[0]))
            client = said.client_ip, said.client_port
            unsent, state = whole[: said.unsent], whole[said.unsent :]
            self._arrivals[said.key] = _Arrival(made, unsent, state, client)
        elif isinstance(said, m.Live) and said.key in self._arrivals:
            task = asyncio.get_running_loop().create_task(
                self._arrive(self._arrivals.pop(said.key))
            )
            self._arriving.add(task)
            task.add_done_callback(self._arriving.discard)
        elif isinstance(said, m.Dropped) and said.key in self._arrivals:
            self._arrivals.pop(said.key).socket.close()
        elif isinstance(said, m.Wanted):
            client_ = (said.client_ip, said.client_port) if said.client_ip else None
            self.wanted.put_nowait(Wish(client_, said.to))

    async def _arrive(self, one: _Arrival) -> None:
        """What the application there has written last goes before anything new."""
        one.socket.setblocking(False)
        if one.unsent:
            with suppress(OSError):  # the application notices when it uses the socket
                await asyncio.get_running_loop().sock_sendall(one.socket, one.unsent)
        self.there.put_nowait(one)

    def close(self) -> None:
        self._line.close()
        for task in self._arriving:
            task.cancel()
        for one in self._arrivals.values():
            one.socket.close()
        self._arrivals.clear()
        while not self.there.empty():
            self.there.get_nowait().socket.close()


async def incoming(listener: socket.socket) -> AsyncIterator[Endpoint]:
    """The endpoints that come for the service that `listener` is the application of, without end.

    Their sockets do not block. IposError when the farm gives that listener no connections.
    """
    taker = _Taker(listener, takes=True)
    try:
        await taker.begin()
        while True:
            one = await taker.there.get()
            yield Endpoint(one.socket, one.state, one.client)
    finally:
        taker.close()


async def wishes(listener: socket.socket) -> AsyncIterator[Wish]:
    """What `ipos migrate` and a drain ask of the application of a service, without end."""
    taker = _Taker(listener, takes=False)
    try:
        await taker.begin()
        while True:
            yield await taker.wanted.get()
    finally:
        taker.close()
