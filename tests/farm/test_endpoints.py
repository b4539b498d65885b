# SPDX-License-Identifier: Apache-2.0
"""Endpoints that migrate in mid-stream with their application's state."""

import hashlib
import random
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pytest

from ipos.abi.rows import EndpointFlags, EndpointState
from ipos.lab import Lab, Settings
from tests.farm.alternation import asked
from tests.support.farm import SERVERS, Farm, read_answer, wait_until
from tests.support.hosts import by_host
from tests.support.unruly import unruly_back

pytestmark = pytest.mark.farm
PORT = 4007
_STILL = EndpointFlags.FROZEN | EndpointFlags.MOVING
CONFIG = f"""\
[[service]]
name = "echo"
port = {PORT}
"""


@dataclass
class Application:
    """An echo server in a node, and what it has printed."""

    process: "subprocess.Popen[str]"
    lines: list[str] = field(default_factory=list)

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))


@contextmanager
def echoing(farm: Farm, server: str, *options: str) -> Iterator[Application]:
    place = farm.lab.place(server)
    argv = [sys.executable, "-m", "tests.support.echo_server", "--port", str(PORT), *options]
    process = place.popen(argv, cgroup=place.app_cgroup, stdout=subprocess.PIPE, text=True)
    made = Application(process)
    reader = threading.Thread(target=made.read)
    reader.start()
    try:
        wait_until(f"{server} listens", lambda: "ready" in made.lines, 30)
        yield made
    finally:
        process.kill()
        process.wait()
        reader.join()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    lab = Lab(Settings(name="ftstate", config=CONFIG, app="none"))
    with lab:
        for server in SERVERS:
            place = lab.place(server)
            place.app_cgroup.mkdir(parents=True, exist_ok=True)
        yield Farm(lab)


def given(farm: Farm) -> int:
    return sum(counts["given"] for counts in farm.all_counters().values())


def taken(farm: Farm) -> int:
    return sum(counts["taken"] for counts in farm.all_counters().values())


def connected(farm: Farm, server: str = "s1") -> socket.socket:
    """A connection that has been echoed once: its application may be at any server."""
    deadline = time.monotonic() + 20
    while True:
        try:
            made = farm.connect(PORT, server)
            made.sendall(b"hello")
            assert made.recv(5, socket.MSG_WAITALL) == b"hello"
            return made
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def exchange(
    connection: socket.socket, length: int, seed: int, timeout_s: float
) -> tuple[str, str]:
    """Send so many bytes in random pieces, and read as many: the hashes of both."""
    chance = random.Random(seed)
    out, back = hashlib.sha256(), hashlib.sha256()
    sent = got = 0
    block = chance.randbytes(1 << 20)
    pending = memoryview(b"")
    deadline = time.monotonic() + timeout_s
    connection.setblocking(False)
    while got < length:
        assert time.monotonic() < deadline, f"{sent} sent, {got} came back"
        if not pending and sent < length:
            size = min(chance.randint(1, 65536), length - sent)
            at = chance.randrange(len(block) - size + 1)
            pending = memoryview(block)[at : at + size]
        writers = [connection] if pending else []
        readable, writable, _ = select.select([connection], writers, [], 1)
        if writable:
            count = connection.send(pending)
            out.update(pending[:count])
            sent += count
            pending = pending[count:]
        if readable:
            data = connection.recv(chance.randint(1, 1 << 17))
            assert data, f"the end after {got} bytes"
            back.update(data)
            got += len(data)
    return out.hexdigest(), back.hexdigest()


def test_an_endpoint_moves_once_and_goes_on(farm: Farm) -> None:
    with ExitStack() as stack:
        apps = {server: stack.enter_context(echoing(farm, server)) for server in SERVERS}
        connection = stack.enter_context(connected(farm))
        client = "{}:{}".format(*connection.getsockname())
        before = given(farm)
        owner = next(s for s in SERVERS if farm.rows(s)["local"] + farm.rows(s)["connect"])
        other = next(s for s in SERVERS if s not in (owner, "s1"))
        print(farm.run(owner, "ipos", "migrate", client, "--to", other))
        assert given(farm) == before + 1
        connection.sendall(b"after")
        assert connection.recv(5, socket.MSG_WAITALL) == b"after"
        assert farm.rows(other)["connect"] == 1
        assert farm.rows(owner)["local"] + farm.rows(owner)["connect"] == 0
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
        wait_until("it ends there", lambda: any(" 1 0" in line for line in apps[other].lines))


def test_bytes_are_the_same_after_moves_between_three_servers(farm: Farm) -> None:
    length, moves = 3_000_000, 60
    with ExitStack() as stack:
        for server in SERVERS:
            others = ",".join(one for one in SERVERS if one != server)
            every = str(length // moves)
            stack.enter_context(echoing(farm, server, "--others", others, "--every", every))
        connection = stack.enter_context(connected(farm))
        before = given(farm), taken(farm)
        out, back = exchange(connection, length, 1, 120)
        assert out == back
        made = given(farm) - before[0]
        assert made >= moves // 2, made
        wait_until("all have come", lambda: taken(farm) - before[1] == given(farm) - before[0])


MOVED = """\
[[service]]
name = "web"
port = 80
decide = "request"
""" + by_host(SERVERS)
STEPS = ((0, 0, 0), (10, 5, 10), (30, 0, 0), (0, 30, 30), (20, 30, 20), (30, 30, 30))
"""Percent of the frames on back that are lost, doubled and late."""


@contextmanager
def answering(farm: Farm, server: str) -> Iterator[None]:
    """An HTTP application, which says which server it is at."""
    place = farm.lab.place(server)
    argv = [sys.executable, "-m", "ipos.lab.application", "--name", server]
    process = place.popen([*argv, "--listen", "0.0.0.0:80"], cgroup=place.app_cgroup)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def owners(farm: Farm) -> dict[bytes, set[tuple[str, int]]]:
    """Who could say something to each client: endpoints that do not stand still."""
    found: dict[bytes, set[tuple[str, int]]] = {}
    for server, tables in farm.tables.items():
        for table in (tables.local, tables.connect):
            for key, row in table.items():
                if row.state == EndpointState.ATTACHED and not row.flags & _STILL:
                    found.setdefault(repr(key).encode(), set()).add((server, row.migration))
    return found


def watch(farm: Farm, over: threading.Event) -> list[str]:
    """Connections that had two owners for longer than it takes to look."""
    wrong = []
    while not over.wait(0.05):
        first = {key: each for key, each in owners(farm).items() if len(each) > 1}
        if first:
            time.sleep(0.02)
            again = owners(farm)
            wrong += [f"{key!r} {each}" for key, each in first.items() if again.get(key) == each]
    return wrong


def browse(farm: Farm, server: str, over: threading.Event) -> int:
    """One connection whose requests go to one server after the other. How many were answered."""
    count = 0
    with farm.connect(80, server) as connection:
        connection.settimeout(60)
        while not over.is_set():
            wanted = SERVERS[count % 3]
            connection.sendall(asked(wanted))
            answer = read_answer(connection)
            assert (answer.status, answer.served_by) == (200, wanted), count
            count += 1
    return count


def served(farm: Farm) -> bool:
    """Whether every server gives each route's requests to its server."""
    for first in SERVERS:
        for wanted in SERVERS:
            with farm.connect(80, first) as connection:
                connection.sendall(asked(wanted))
                if read_answer(connection).status != 200:
                    return False
    return True


def moved(farm: Farm) -> tuple[int, int]:
    """Migrations of both kinds: with state, and between two requests."""
    counts = farm.all_counters().values()
    return sum(one["given"] for one in counts), sum(one["moved"] for one in counts)


def unruly(moves: int, steps: Sequence[tuple[int, int, int]], connections: int) -> None:
    """So many migrations in all, the same number at each step; nothing of them goes wrong."""
    lab = Lab(Settings(name="ftchaos", config=CONFIG + MOVED, app="none"))
    with ExitStack() as stack:
        stack.enter_context(lab)
        farm = Farm(lab)
        for server in SERVERS:
            lab.place(server).app_cgroup.mkdir(parents=True, exist_ok=True)
            others = ",".join(one for one in SERVERS if one != server)
            stack.enter_context(answering(farm, server))
            stack.enter_context(
                echoing(farm, server, "--others", others, "--every", "2000", "--seed", "1")
            )
        for seed, step in enumerate(steps):
            for server in SERVERS:
                connected(farm, server).close()
                wait_until("its application is known everywhere", lambda: served(farm), 30)
            over = threading.Event()
            begin = sum(moved(farm))
            with ThreadPoolExecutor(connections + 5) as pool, ExitStack() as at_end:
                at_end.callback(over.set)
                watching = pool.submit(watch, farm, over)
                browsing = [pool.submit(browse, farm, server, over) for server in SERVERS]
                with unruly_back(lab, *step, seed):
                    echoes = [
                        pool.submit(echo, farm, SERVERS[nth % 3], over, nth)
                        for nth in range(connections)
                    ]
                    deadline = time.monotonic() + 600
                    while sum(moved(farm)) - begin < moves // len(steps):
                        assert time.monotonic() < deadline, moved(farm)
                        failed = [one for one in (*echoes, *browsing) if one.done()]
                        assert not failed, failed[0].result()
                        time.sleep(0.2)
                over.set()
                print(
                    step,
                    moved(farm),
                    "bytes",
                    sum(one.result() for one in echoes),
                    "requests",
                    [one.result() for one in browsing],
                    flush=True,
                )
                assert watching.result() == []


def echo(farm: Farm, server: str, over: threading.Event, seed: int) -> int:
    """Blocks of random bytes there and back, until it is over. How many bytes."""
    chance, count = random.Random(seed), 0
    with farm.connect(PORT, server) as connection:
        connection.settimeout(120)
        while not over.is_set():
            block = chance.randbytes(chance.randint(1, 20_000))
            connection.sendall(block)
            back = b""
            while len(back) < len(block):
                data = connection.recv(len(block) - len(back))
                assert data, f"the end after {count} bytes"
                back += data
            assert back == block, f"a wrong byte in {len(block)} after {count}"
            count += len(block)
    return count


def test_a_back_lan_that_loses_doubles_and_delays_frames() -> None:
    unruly(200, STEPS[1:2], 4)


@pytest.mark.slow
def test_ten_thousand_migrations_of_both_kinds_on_an_unruly_back_lan() -> None:
    unruly(10_000, STEPS, 12)


@pytest.mark.slow
def test_100_mb_are_the_same_after_2000_migrations() -> None:
    length, moves = 100_000_000, 2000
    with ExitStack() as stack:
        lab = stack.enter_context(Lab(Settings(name="ftmany", config=CONFIG, app="none")))
        farm = Farm(lab)
        for server in SERVERS:
            lab.place(server).app_cgroup.mkdir(parents=True, exist_ok=True)
            others = ",".join(one for one in SERVERS if one != server)
            every = str(length // (moves * 3 // 2))
            stack.enter_context(echoing(farm, server, "--others", others, "--every", every))
        connection = stack.enter_context(connected(farm))
        before = given(farm)
        out, back = exchange(connection, length, 2, 1200)
        assert out == back
        assert given(farm) - before >= moves
