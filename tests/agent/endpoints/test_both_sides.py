# SPDX-License-Identifier: Apache-2.0
"""Givers and takers of three servers with rows, sockets and a wire of the test's: datagrams are
lost, doubled and late, agents start anew, and each connection has one owner at every moment."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import Any

import pytest

from ipos.agent.endpoints import giver as giver_module
from ipos.agent.endpoints import row_orders, tcp_repair
from ipos.agent.endpoints import taker as taker_module
from ipos.agent.endpoints import transfer_message as t
from ipos.agent.endpoints.giver import Giver
from ipos.agent.endpoints.row_orders import ATTACHED, FROZEN, PREPARED, key_of
from ipos.agent.endpoints.shown import Ends, Shown
from ipos.agent.endpoints.taker import Place, Taker
from ipos.agent.heartbeat.member import Age
from ipos.endpoint import desk_message as m
from ipos.wire import ControlBlock

CLIENT, SERVICE = b"\x0a\x63\x00\x0b", b"\xcb\x00\x71\x01"
KEY = b"k" * 32
WALL_MS = 1_800_000_000_000
MS = 1_000_000
PORTS = range(1, 7)
EMPTY = bytes(row_orders.ENDPOINT._struct.size)


@dataclass
class Sock:
    """A connection's socket. seen: what its application has counted."""

    port: int
    cookie: int
    data: bytes = b""
    state: str = "live"
    mark: int = 0

    def fileno(self) -> int:
        return self.cookie

    def close(self) -> None:
        pass


@dataclass
class Application:
    """It counts: each time that it has the connection, the state grows by one."""

    said: list[Any] = field(default_factory=list)
    is_there: bool = True

    def say(self, what: Any, *fds: int) -> bool:
        self.said.append((what, fds))
        return self.is_there


@dataclass
class Rows:
    """As a data plane takes orders."""

    rows: dict[bytes, row_orders.Endpoint] = field(default_factory=dict)
    left: dict[bytes, tuple[int, int]] = field(default_factory=dict)

    def endpoint(self, key: bytes) -> row_orders.Endpoint | None:
        return self.rows.get(key)

    def went_to(self, attempt: t.Attempt, server: int) -> bool:
        return self.left.get(key_of(attempt)) == (attempt.migration, server)

    def frozen(self) -> list[tuple[bytes, row_orders.Endpoint]]:
        return [(key, row) for key, row in self.rows.items() if row.flags & FROZEN]

    def order(self, kind: int, attempt: t.Attempt, endpoint: Any = None, **fields: int) -> bool:
        key, row = key_of(attempt), self.rows.get(key_of(attempt))
        if kind == row_orders.TAKE:
            if row is not None or self.left.get(key, (0, 0))[0] >= attempt.migration:
                return False
            made = row_orders.ENDPOINT.read(EMPTY)
            self.rows[key] = made._replace(
                state=PREPARED, flags=FROZEN, cookie=fields["cookie"],
                migration=attempt.migration, giver=fields["server"],
            )  # fmt: skip
            return True
        if row is None:
            return False
        if kind == row_orders.FREEZE:
            if row.flags & FROZEN or row.cookie != fields["cookie"]:
                return False
            self.rows[key] = row._replace(flags=FROZEN, migration=attempt.migration)
            return True
        if not row.flags & FROZEN or row.migration != attempt.migration:
            return False
        if kind == row_orders.GIVE:
            self.left[key] = attempt.migration, fields["server"]
            del self.rows[key]
        elif kind == row_orders.DROP and row.state == PREPARED:
            del self.rows[key]
        elif kind == row_orders.LIVE and row.state == PREPARED:
            self.rows[key] = row._replace(state=ATTACHED, flags=0)
            self.left.pop(key, None)
        elif kind == row_orders.THAW and row.state == ATTACHED:
            self.rows[key] = row._replace(flags=0)
        else:
            return False
        return True


class Server:
    """One agent with its application, and what stays when the agent starts anew."""

    def __init__(self, farm: Farm, index: int) -> None:
        self.farm, self.index = farm, index
        self.rows = Rows()
        self.application = Application()
        self.socks: dict[int, Sock] = {}
        """By client's port: what the application can use."""
        self.arriving: dict[bytes, tuple[Sock, bytes]] = {}
        self.member: Any = SimpleNamespace(
            index=index, back_ip=IPv4Address(f"10.77.0.{index}"), age=lambda now_ns: Age.FRESH,
            state=SimpleNamespace(server=f"s{index}", addresses=[index]),
        )  # fmt: skip

    def start(self) -> None:
        others = [one.member for one in self.farm.servers if one is not self]
        members: Any = SimpleNamespace(
            others=lambda: others, myself=self.member,
            by_ip={one.back_ip: one for one in (*others, self.member)},
        )  # fmt: skip
        send = lambda said, to: self.farm.sent(self, to.index, said)  # noqa: E731
        rows: Any = self.rows
        self.giver = Giver(rows, members, send, lambda index: index.to_bytes(4, "big"))
        application: Any = self.application
        place = Place(application, (bytes(4), 80))
        index_of = lambda raw: int.from_bytes(raw, "big")  # noqa: E731
        self.taker = Taker(rows, members, send, lambda attempt: place, index_of)
        self.taker.recover(self.rows.frozen(), self.farm.now_ns)


class Farm:
    """Three servers, and the datagrams between them. bad: the part of them that goes wrong."""

    def __init__(self, bad: float, seed: int) -> None:
        self.bad, self.chance = bad, random.Random(seed)
        self.now_ns = 10**12
        self.wire: list[tuple[int, int, int, bytes]] = []
        self.cookies = 0
        self.servers = [Server(self, index) for index in (1, 2, 3)]
        for one in self.servers:
            one.start()

    def sock(self, port: int, data: bytes) -> Sock:
        self.cookies += 1
        return Sock(port, self.cookies, data)

    def sent(self, by: Server, to: int, said: t.Message) -> None:
        raw = t.encode(said, WALL_MS, KEY)
        assert len(raw) <= t.SIZE_MAX
        for _ in range(2 if self.chance.random() < self.bad else 1):
            if self.chance.random() >= self.bad:
                late = self.chance.randrange(40) if self.chance.random() < self.bad else 0
                self.wire.append((self.now_ns + late * MS, by.index, to, raw))

    def step(self) -> None:
        self.now_ns += MS
        due = [one for one in self.wire if one[0] <= self.now_ns]
        self.wire = [one for one in self.wire if one[0] > self.now_ns]
        self.chance.shuffle(due)
        for _, by, to, raw in due:
            said = t.decode(raw, WALL_MS, KEY)
            assert said is not None
            there, member = self.servers[to - 1], self.servers[by - 1].member
            if isinstance(said, t.Got | t.Said):
                there.giver.hear(said, member, self.now_ns)
            else:
                there.taker.hear(said, member, self.now_ns)
            there.taker.flush()
            self.check()
        for one in self.servers:
            one.giver.tick(self.now_ns)
            one.taker.tick(self.now_ns)
            self.check()

    def check(self) -> None:
        owners: dict[bytes, int] = {}
        for one in self.servers:
            for key, row in one.rows.rows.items():
                if row.state == ATTACHED:
                    owners[key] = owners.get(key, 0) + 1
        assert max(owners.values(), default=0) <= 1, owners

    def owner(self, port: int) -> Server | None:
        key = key_of(t.Attempt(CLIENT, port, SERVICE, 80, 0, 0))
        for one in self.servers:
            row = one.rows.rows.get(key)
            if row is not None and row.state == ATTACHED and not row.flags:
                return one
        return None


FARM: list[Farm] = []


@pytest.fixture(autouse=True)
def _sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the kernel's: the image carries the bytes, as it would."""

    def dump(sock: Sock, known: ControlBlock, longest: int) -> tcp_repair.Image:
        assert sock.state == "repair"
        assert sock.mark
        block = replace(known, receive_queue_bytes=len(sock.data))
        return tcp_repair.Image(block, 0, sock.data, b"")

    def restore(sock: Sock, found: tcp_repair.Image, service: Any, client: Any) -> None:
        sock.port, sock.data = client[1], found.received

    def state(name: str) -> Callable[[Sock], None]:
        return lambda sock: setattr(sock, "state", name)

    def live(sock: Sock) -> None:
        sock.state, sock.mark = "live", 0

    fakes: dict[str, Any] = {
        "mark": lambda sock, value: setattr(sock, "mark", value), "marked": lambda sock: sock.mark,
        "cookie": lambda sock: sock.cookie, "freeze": state("repair"), "thaw": state("live"),
        "leave": state("left"), "dump": dump, "restore": restore, "go_live": live,
        "begin": lambda family, mark: replace(FARM[-1].sock(0, b""), state="repair", mark=mark),
    }  # fmt: skip
    for name, fake in fakes.items():
        monkeypatch.setattr(tcp_repair, name, fake)
    for module in (giver_module, taker_module):
        monkeypatch.setattr(module, "connection_of", _ends)
    monkeypatch.setattr(m, "memory_file", _kept)
    monkeypatch.setattr("ipos.agent.endpoints.taker.os.close", lambda fd: None)


def _ends(sock: Any) -> Ends:
    return CLIENT, sock.port, SERVICE, 80


_FILES: dict[int, bytes] = {}


def _kept(*contents: bytes) -> int:
    _FILES[len(_FILES)] = b"".join(contents)
    return len(_FILES) - 1


def made(bad: float, seed: int, ports: int) -> Farm:
    farm = Farm(bad, seed)
    FARM.append(farm)
    first = farm.servers[0]
    for port in range(1, ports + 1):
        sock = farm.sock(port, bytes([port]) * (port * 700))
        first.socks[port] = sock
        key = key_of(t.Attempt(CLIENT, port, SERVICE, 80, 0, 0))
        row = row_orders.ENDPOINT.read(EMPTY)
        first.rows.rows[key] = row._replace(state=ATTACHED, cookie=sock.cookie)
    return farm


def shown(sock: Any, state: bytes = b"") -> Shown:
    """What an application shows."""
    return Shown(sock, sock.cookie, ends=_ends(sock), content=state)


@dataclass
class Run:
    """Applications that give their connections away all the time."""

    farm: Farm
    counts: dict[int, int]
    under_way: dict[int, tuple[int, int]] = field(default_factory=dict)
    """By number: the client's port, and the server that gives."""
    given: int = 0
    kept: int = 0
    numbers: int = 0

    def applications(self) -> None:
        for server in self.farm.servers:
            said, server.application.said = server.application.said, []
            for what, fds in said:
                self._hear(server, what, fds)

    def _hear(self, server: Server, what: Any, fds: tuple[int, ...]) -> None:
        if isinstance(what, m.Given):
            port, _ = self.under_way.pop(what.number)
            self.given += what.is_given
            self.kept += not what.is_given
            if what.is_given:
                assert server.socks.pop(port).state in ("left", "repair")
            else:
                assert server.socks[port].state == "live"
        elif isinstance(what, m.Coming):
            state = _FILES[fds[1]]
            arrivals: list[Any] = list(server.taker._arrivals.values())
            sock = next(one.sock for one in arrivals if one.key == what.key)
            server.arriving[what.key] = (sock, state)
        elif isinstance(what, m.Live):
            sock, state = server.arriving.pop(what.key)
            port, count = state[0], int.from_bytes(state[1:9], "big")
            assert sock.data == bytes([port]) * (port * 700), "the bytes are those of the client"
            assert count == self.counts[port], "and the state is the last one"
            assert len(state) == 9 + 3000 * (port % 2)
            server.socks[port] = sock
        elif isinstance(what, m.Dropped):
            server.arriving.pop(what.key, None)

    def give(self) -> None:
        chance = self.farm.chance
        busy = {port for port, _ in self.under_way.values()}
        for server in self.farm.servers:
            for port, sock in list(server.socks.items()):
                if port in busy or sock.state != "live" or chance.random() < 0.9:
                    continue
                others = [one.index for one in self.farm.servers if one is not server]
                self.numbers += 1
                self.counts[port] += 1
                state = bytes([port]) + self.counts[port].to_bytes(8, "big")
                state += bytes(3000 * (port % 2))
                self.under_way[self.numbers] = port, server.index
                application: Any = server.application
                server.giver.begin(
                    application, self.numbers, f"s{chance.choice(others)}", shown(sock, state),
                    self.farm.now_ns,
                )  # fmt: skip


@pytest.mark.parametrize("bad", [0.0, 0.1, 0.3])
def test_connections_move_all_the_time(bad: float) -> None:
    farm = made(bad, 7, 6)
    run = Run(farm, dict.fromkeys(PORTS, 0))
    for _ in range(600):
        run.give()
        farm.step()
        run.applications()
    for _ in range(25_000):
        if not run.under_way and not any(s.taker.is_busy for s in farm.servers):
            break
        farm.step()
        run.applications()
    assert not run.under_way
    assert sorted(port for server in farm.servers for port in server.socks) == list(PORTS)
    for port in PORTS:
        owner = farm.owner(port)
        assert owner is not None, port
        assert owner.socks[port].state == "live"
        assert owner.socks[port].mark == 0
    assert run.given > (20 if bad else 100)
    if not bad:
        assert run.kept == 0
