# SPDX-License-Identifier: Apache-2.0
"""What a process without any privilege may do at the socket for applications, and what not."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, suppress
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

import pytest

from ipos.agent.endpoints.desk import APPLICATIONS_MAX, USER_MAX, Application, Desk
from ipos.agent.endpoints.registration import KNOWN_NS, Registration
from ipos.agent.endpoints.shown import Shown
from ipos.agent.loop.let_go import LetGo
from ipos.config.listener import Listener
from ipos.config.schema import Config, Service
from ipos.endpoint import desk_message as m
from tests.agent.made_up_farm import config

_NEW_NETWORK: Final = 0x4000_0000
NOBODY: Final = 65534


async def hears(one: socket.socket) -> bytes:
    return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(one, 2048), 5)


class Here:
    """A desk that registers listeners, and keeps no other socket."""

    def __init__(self, folder: Path, port: int) -> None:
        self.path = folder / "endpoints.sock"
        self.desk = Desk(self.path, self._hear, lambda one: None, LetGo())
        self.registration = Registration(lambda: self.desk.applications, lambda: served(port))
        self.desk.start()

    def _hear(self, one: Application, said: m.Message, shown: Shown) -> bool:
        if isinstance(said, m.Register):
            self.registration.register(one, said, shown)
        elif isinstance(said, m.Give):
            one.say(m.Given(said.number, False, shown.why or "it is no connection of the farm"))
        return False

    def application(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            made.connect(str(self.path))
        except OSError:
            made.close()
            raise
        made.setblocking(False)
        return made

    async def told(self, one: socket.socket, said: m.Message, *fds: int) -> Any:
        """What the agent answers; None: it hangs up."""
        socket.send_fds(one, [m.encode(said)], fds)
        raw = await hears(one)
        return m.decode(raw) if raw else None

    async def looked(self) -> None:
        """Return when the agent has closed all that it was shown."""
        while self.desk._looked_at:
            await asyncio.sleep(0.01)


def served(port: int) -> Config:
    """A farm whose application listens there on any address, or on 127.0.0.1 at the port + 1."""
    local = Listener(IPv4Address("127.0.0.1"), port + 1)
    return config(
        Service(name="chat", port=port), Service(name="local", port=port + 1, application=local)
    )


Test = Callable[[Here], Awaitable[None]]


def at_desk(folder: Path, test: Test, port: int = 7000) -> None:
    async def whole() -> None:
        here = Here(folder, port)
        try:
            await test(here)
        finally:
            here.desk.close()

    asyncio.run(whole())


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def listens(address: str, port: int, *, only_ipv6: bool = False) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    if only_ipv6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.bind((address, port))
    made.listen()
    return made


def free_port() -> int:
    """A port that is free, and so is the next one."""
    while True:
        with socket.create_server(("", 0)) as first:
            port: int = first.getsockname()[1]
            try:
                socket.create_server(("", port + 1)).close()
            except OSError:
                continue
            return port


def in_another_network(make: Callable[[], socket.socket]) -> socket.socket:
    """What any user can have: a network namespace of its own, in which every port is free."""
    found: list[socket.socket] = []

    def run() -> None:
        assert ctypes.CDLL(None, use_errno=True).unshare(_NEW_NETWORK) == 0
        found.append(make())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


def test_who_has_the_listener_takes_its_connections_as_long_as_it_is_there(tmp_path: Path) -> None:
    port = free_port()

    async def test(here: Here) -> None:
        with here.application() as one:
            with listens("0.0.0.0", port) as listener:
                told = await here.told(one, m.Register(), listener.fileno())
                assert told == m.Registered(["chat"])
                assert [each.services for each in here.registration.there()] == [{"chat"}]
            await here.looked()
            here.registration._known_ns -= KNOWN_NS
            assert here.registration.there() == [], "another process may listen there by now"

    at_desk(tmp_path, test, port)


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_a_port_of_another_network_is_no_service(tmp_path: Path, address: str) -> None:
    port = free_port()

    async def test(here: Here) -> None:
        there = in_another_network(lambda: listens(address, port))
        with there, here.application() as one:
            told = await here.told(one, m.Register(), there.fileno())
            assert told.services == []
            assert told.why == "it is no TCP socket that listens on this server for IPv4"
            assert here.registration.there() == []

    at_desk(tmp_path, test, port)


def test_a_port_that_only_ipv6_reaches_is_no_service(tmp_path: Path) -> None:
    """Beside an application on 127.0.0.1, anybody may listen on the same port of ::."""
    port = free_port()

    async def test(here: Here) -> None:
        its, other = listens("127.0.0.1", port + 1), listens("::", port + 1, only_ipv6=True)
        with its, other, here.application() as one, here.application() as two:
            assert (await here.told(one, m.Register(), its.fileno())).services == ["local"]
            assert (await here.told(two, m.Register(), other.fileno())).services == []

    at_desk(tmp_path, test, port)


def test_what_is_no_socket_costs_no_descriptor(tmp_path: Path) -> None:
    async def test(here: Here) -> None:
        with open("/dev/null", "rb") as null:
            before = open_files()
            for said in (m.Register(), m.Give(7, "s2"), m.Register()):
                with here.application() as one:
                    await here.told(one, said, null.fileno(), null.fileno())
            await here.looked()
            while here.desk.applications:
                await asyncio.sleep(0.01)
            assert open_files() == before

    at_desk(tmp_path, test)


def lingering() -> tuple[socket.socket, socket.socket]:
    """A client, and a connection whose close takes a minute, because the client reads nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        made, _ = listener.accept()
    made.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            made.send(bytes(1 << 16))
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 60))
    return client, made


def test_a_socket_that_lingers_keeps_nobody_waiting(tmp_path: Path) -> None:
    """The agent has it last, and waits in a thread."""
    port = free_port()

    async def test(here: Here) -> None:
        client, slow = lingering()
        with client, listens("0.0.0.0", port) as listener:
            with here.application() as one, here.application() as two:
                socket.send_fds(one, [m.encode(m.Register())], [slow.fileno()])
                slow.close()  # the one in the message is the last
                begun = time.monotonic()
                assert (await here.told(two, m.Register(), listener.fileno())).services == ["chat"]
                assert time.monotonic() - begun < 5
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    at_desk(tmp_path, test, port)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that every user may enter, and all above it."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        yield folder


def test_one_user_has_a_part_of_the_places(open_folder: Path) -> None:
    async def test(here: Here) -> None:
        with ExitStack() as stack:
            all_ = []
            for _ in range(USER_MAX + 8):
                os.seteuid(NOBODY)
                try:
                    all_.append(stack.enter_context(here.application()))
                finally:
                    os.seteuid(0)
                await asyncio.sleep(0)
            for one in all_[USER_MAX:]:
                assert await hears(one) == b"", "it is refused"
            assert len(here.desk.applications) == USER_MAX

    at_desk(open_folder, test)


def test_the_oldest_that_has_shown_nothing_makes_room(tmp_path: Path) -> None:
    port = free_port()

    async def test(here: Here) -> None:
        with ExitStack() as stack:
            listener = stack.enter_context(listens("0.0.0.0", port))
            proven = stack.enter_context(here.application())
            assert (await here.told(proven, m.Register(), listener.fileno())).services
            idle = []
            for _ in range(APPLICATIONS_MAX - 1):
                idle.append(stack.enter_context(here.application()))
                await asyncio.sleep(0)
            late = stack.enter_context(here.application())
            assert (await here.told(late, m.Register(), listener.fileno())).services
            assert await hears(idle[0]) == b"", "the first of those is sent away"
            assert len(here.registration.there()) == 2

    at_desk(tmp_path, test, port)
