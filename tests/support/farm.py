# SPDX-License-Identifier: Apache-2.0
"""What farm tests need of a lab: sockets in its client, tables and counters of its servers.

Sockets are made inside a node's network namespace and used outside of it: they stay where they
were made. So a test drives a client of the farm without a process of its own.
"""

import errno
import json
import select
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from ipos.abi.rows import AddressKey, AddressKey6, Arp, ServerState
from ipos.kernel.maps import Tables
from ipos.kernel.pins import directory_name
from ipos.lab import Lab, namespaces

CLIENT = "10.99.0.11"
SERVERS = ("s1", "s2", "s3")
SPEAK_FIRST = 25

# Ports of the test farm's services: where the requests of each may go.
ANY, HERE, ELSEWHERE, THIRD, MAPPED = 80, 8001, 8002, 8003, 8081
SPEAK_FIRST_ELSEWHERE = 2525

# A host that nobody asks for: with a route for it, the heads of a service's requests are read.
READ = "".join(
    f'\n[[route]]\nservice = "{service}"\nhost = "nobody.example"\npool = "{pool}"\n'
    for service, pool in (
        ("web", "last"),
        ("here", "first"),
        ("elsewhere", "second"),
        ("third", "last"),
        ("mapped", "second"),
    )
)
CONFIG = f"""\
[[service]]
name = "web"
port = 80

[[service]]
name = "greeting"
port = 25
select = "connection"

[[service]]
name = "here"
port = 8001

[[service]]
name = "elsewhere"
port = 8002

[[service]]
name = "third"
port = 8003

[[service]]
name = "mapped"
port = 8081
application = "127.0.0.1:8080"

[[service]]
name = "greeting-elsewhere"
port = 2525
select = "connection"

[[pool]]
name = "first"
servers = {{ s1 = 1 }}

[[pool]]
name = "second"
servers = {{ s2 = 1 }}

[[pool]]
name = "last"
servers = {{ s3 = 1 }}

[[route]]
service = "here"
pool = "first"

[[route]]
service = "elsewhere"
pool = "second"

[[route]]
service = "third"
pool = "last"

[[route]]
service = "mapped"
pool = "second"

[[route]]
service = "greeting-elsewhere"
pool = "second"
{READ}"""

_TABLES = ("forward", "local", "connect", "holding")
Counts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer. headers: names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def served_by(self) -> str:
        return self.headers["x-served-by"]


def read_answer(connection: socket.socket) -> Answer:
    """The next answer on a connection, whose body has a Content-Length."""
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0:
        piece = connection.recv(65536)
        assert piece, f"the connection ended inside an answer's head: {data!r}"
        data += piece
    first, *lines = data[:end].decode("latin-1").split("\r\n")
    pairs = (line.split(":", 1) for line in lines)
    headers = {name.lower(): value.strip() for name, value in pairs}
    body = bytearray(data[end + 4 :])
    length = int(headers["content-length"])
    while len(body) < length:
        piece = connection.recv(1 << 20)
        assert piece, f"the connection ended after {len(body)} of {length} bytes"
        body += piece
    return Answer(int(first.split()[1]), headers, bytes(body))


def request(path: str = "/", *headers: str, close: bool = True) -> bytes:
    """A GET request."""
    lines = [f"GET {path} HTTP/1.1", "Host: farm.example", *headers]
    if close:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def wait_until(what: str, true: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    """Ask again until it is true: maps and sockets have no event to wait for."""
    deadline = time.monotonic() + timeout_s
    while not (value := true()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.005)
    return value


class Farm:
    """A lab that is up, and its servers' maps.

    six: clients, addresses and tables are those of IPv6; the lab must have it.
    """

    def __init__(self, lab: Lab, *, six: bool = False) -> None:
        self.lab = lab
        self.six = six

    @cached_property
    def tables(self) -> dict[str, Tables]:
        """The maps of each server's data plane."""
        found = {}
        for place in self.lab.places():
            name = directory_name(self.lab.name, place.node)
            found[place.node] = Tables(place.pin_dir / name / "maps")
        return found

    def address(self, server: str) -> str:
        return self.lab.front6(server) if self.six else self.lab.front(server)

    # ---- maps ------------------------------------------------------------------------------

    def counters(self, server: str) -> dict[str, int]:
        return {counter.name.lower(): n for counter, n in self.tables[server].counters()}

    def all_counters(self) -> dict[str, dict[str, int]]:
        return {server: self.counters(server) for server in self.tables}

    def rows(self, server: str, tables: Iterable[str] = _TABLES) -> dict[str, int]:
        """How many rows each connection table of a server has."""
        found = self.tables[server]
        of = found.six if self.six else found
        return {name: getattr(of, name).count() for name in tables}

    def all_rows(self) -> dict[str, dict[str, int]]:
        return {server: self.rows(server) for server in self.tables}

    def ready(self) -> bool:
        """Whether every server knows every other as ready, and holds its own address."""
        for server, tables in self.tables.items():
            if not self.holds(server, self.address(server)):
                return False
            states = [row.state for _, row in tables.servers.items() if row.state]
            if states != [ServerState.READY] * len(self.tables):
                return False
        return True

    def holds(self, server: str, address: str) -> bool:
        """Whether a server answers on front for a service address."""
        tables, row = self.tables[server], None
        if not self.six:
            row = tables.addresses.get(AddressKey(IPv4Address(address)))
        elif tables.has_six:
            row = tables.six.addresses.get(AddressKey6(IPv6Address(address)))
        return row is not None and row.arp is Arp.ANSWER

    def wait_idle(self) -> None:
        """Until all servers are ready and no connection is left anywhere."""
        wait_until("every server ready", self.ready)
        try:
            wait_until("no connection left", lambda: not any(self._busy()), 15)
        except AssertionError:
            raise AssertionError(f"rows of connections stay:\n{self._left()}") from None

    def _left(self) -> str:
        """The rows that stay, a few of each table, and what their kernels have of them."""
        told = []
        for server, tables in self.tables.items():
            for name in _TABLES:
                rows = list(getattr(tables.six if self.six else tables, name).items())
                told += [f"{server} {name}: {len(rows)}"] if rows else []
                for key, row in rows[:4]:
                    port = f"sport = :{key.service_port} and dport = :{key.client_port}"
                    sockets = self.run(server, "ss", "-Htnioa", port)
                    told += [f"  {key}", f"  {row}", f"  {sockets or 'no socket'}"]
        return "\n".join(told)

    def _busy(self) -> Iterator[int]:
        for server in self.tables:
            yield from self.rows(server).values()

    # ---- clients ----------------------------------------------------------------------------

    @contextmanager
    def inside(self, node: str) -> Iterator[None]:
        """This thread's new sockets are the node's."""
        with namespaces.entered(self.lab.place(node).namespace):
            yield

    def unconnected(
        self, node: str = "client1", kind: socket.SocketKind = socket.SOCK_STREAM
    ) -> socket.socket:
        with self.inside(node):
            made = socket.socket(socket.AF_INET6 if self.six else socket.AF_INET, kind)
        made.settimeout(10)
        return made

    def connect(
        self, port: int = ANY, server: str = "s1", client: socket.socket | None = None
    ) -> socket.socket:
        """A connection from client1."""
        made = client or self.unconnected()
        try:
            made.connect((self.address(server), port))
        except BaseException:
            made.close()
            raise
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def get(self, path: str = "/", port: int = ANY, server: str = "s1") -> Answer:
        with self.connect(port, server) as connection:
            connection.sendall(request(path))
            return read_answer(connection)

    @contextmanager
    def watching(self, server: str, count: int) -> Iterator[list[dict[str, Any]]]:
        """What `ipos watch` of a server tells of the next so many decisions, after the block."""
        events: list[dict[str, Any]] = []
        watcher = self.lab.popen(
            server, ["ipos", "watch", "-c", f"{count}", "-o", "json"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert watcher.stderr is not None
            assert watcher.stderr.readline().startswith("watching")
            yield events
            told, _ = watcher.communicate(timeout=20)
        finally:
            watcher.kill()
            watcher.wait()
        events += map(json.loads, told.splitlines())

    def run(self, node: str, *argv: str, timeout_s: float = 60) -> str:
        """A command's output. It must succeed in time. `ss` runs where applications do."""
        sockets = argv[0] == "ss" and node in self.tables
        place = self.lab.app_place(node) if sockets else self.lab.place(node)
        try:
            done = place.run(argv, capture_output=True, text=True, timeout=timeout_s)
        except subprocess.TimeoutExpired as late:
            told = (late.output or b"").decode()
            raise AssertionError(f"{argv} takes more than {timeout_s} s: {told[-4000:]}") from None
        assert done.returncode == 0, (argv, done.returncode, done.stdout, done.stderr)
        output: str = done.stdout
        return output


def grown(before: Counts, after: Counts) -> dict[str, int]:
    """The counters that have changed, and by how much."""
    return {name: after[name] - n for name, n in before.items() if after[name] != n}


def is_reset(error: OSError) -> bool:
    return error.errno in (errno.ECONNRESET, errno.EPIPE, errno.ECONNREFUSED)


def retransmissions(connection: socket.socket) -> int:
    """Segments that our kernel has sent again on a connection (tcpi_total_retrans)."""
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return int(struct.unpack_from("=I", info, 100)[0])


def readable(connection: socket.socket, timeout_s: float) -> bool:
    return bool(select.select([connection], [], [], timeout_s)[0])
