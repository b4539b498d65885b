# SPDX-License-Identifier: Apache-2.0
"""`examples/chat.py`: sessions that survive the drain of their machine, and its end."""

import os
import re
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ipos.lab import Lab, Settings, faults
from tests.support.farm import SERVERS, Farm, wait_until

pytestmark = pytest.mark.farm
PORT = 7000
CHAT = Path(__file__).parents[2] / "examples" / "chat.py"
CONFIG = f"""\
[[service]]
name = "chat"
port = {PORT}
select = "connection"
"""
_LINE = re.compile(rb"(\w+) \((\d+)\): (\d+)")
_PATIENCE_S = 180
_FILES = 8192


@dataclass
class Client:
    """One session. said, heard: its own lines. others: the last number of each other session."""

    sock: socket.socket
    name: bytes
    said: int = 0
    heard: int = 0
    is_known: bool = False
    unread: bytes = b""
    others: dict[bytes, int] = field(default_factory=dict)

    def say(self) -> None:
        self.said += 1
        self.sock.sendall(b"%d\n" % self.said)

    def read(self) -> None:
        """Its own lines come once each and in order, and nobody's line comes twice."""
        data = self.sock.recv(1 << 16)
        assert data, f"the end of {self.name!r} after {self.heard} lines"
        *lines, self.unread = (self.unread + data).split(b"\n")
        for line in lines:
            if not self.is_known:
                self.is_known = line.startswith(b"Welcome, ")
                assert self.is_known or line == b"Who are you?", line
                continue
            found = _LINE.fullmatch(line)
            assert found, line
            name, count, text = found[1], int(found[2]), int(found[3])
            assert count == text, line
            if name == self.name:
                assert count == self.heard + 1, (line, self.heard)
                self.heard = count
            else:
                assert count > self.others.get(name, 0), (line, self.others[name])
                self.others[name] = count


class Clients:
    def __init__(self, made: list[Client]) -> None:
        self._made = made
        self._ready = selectors.DefaultSelector()
        for one in made:
            self._ready.register(one.sock, selectors.EVENT_READ, one)

    def read_until_all(self) -> None:
        """Until each has been greeted, and has heard all that it has said."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            for key, _ in self._ready.select(1):
                key.data.read()
            late = [one for one in self._made if not one.is_known or one.heard < one.said]
            if not late:
                return
            assert time.monotonic() < deadline, f"{len(late)} wait, such as {late[0]}"

    def talk(self) -> None:
        """Each says one line and hears it."""
        for one in self._made:
            one.say()
        self.read_until_all()

    def close(self) -> None:
        self._ready.close()


@contextmanager
def chatting(farm: Farm, server: str) -> Iterator["subprocess.Popen[bytes]"]:
    place = farm.lab.place(server)
    place.app_cgroup.mkdir(parents=True, exist_ok=True)
    argv = ["prlimit", f"--nofile={_FILES}", sys.executable, str(CHAT), "--port", str(PORT)]
    with (farm.lab.run_dir / f"chat-{server}.log").open("wb") as log:
        process = place.popen(argv, cgroup=place.app_cgroup, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def entered(farm: Farm, stack: ExitStack, count: int) -> Clients:
    """So many sessions, with the same number of first packets to each server."""
    made = []
    for nth in range(count):
        sock = stack.enter_context(farm.connect(PORT, SERVERS[nth % len(SERVERS)]))
        sock.sendall(b"n%d\n" % nth)
        made.append(Client(sock, b"n%d" % nth))
    clients = Clients(made)
    stack.callback(clients.close)
    clients.read_until_all()
    return clients


def resets(farm: Farm) -> int:
    return sum(
        counts["rst_sent"] + counts["drain_reset"] for counts in farm.all_counters().values()
    )


def answers(farm: Farm) -> bool:
    """Whether the chat is there behind each server's address."""
    for server in SERVERS:
        try:
            with farm.connect(PORT, server) as one:
                if not one.recv(1):
                    return False
        except OSError:
            return False
    return True


def endpoints(farm: Farm, server: str) -> int:
    rows = farm.rows(server, ("local", "connect"))
    return rows["local"] + rows["connect"]


def survive(count: int) -> None:
    """Sessions talk while one server after the other drains, and after the first has lost power."""
    with ExitStack() as stack:
        lab = stack.enter_context(
            Lab(Settings(name=f"ft{os.getpid()}-chat", config=CONFIG, app="none"))
        )
        farm = Farm(lab)
        for server in SERVERS:
            stack.enter_context(chatting(farm, server))
        wait_until("the chat is everywhere", lambda: answers(farm), 120)
        clients = entered(farm, stack, count)
        clients.talk()
        before = resets(farm)
        for server in ("s2", "s1"):
            had = endpoints(farm, server)
            assert had, f"the test needs some at {server}"
            with ThreadPoolExecutor(1) as pool:
                began = time.monotonic()
                argv = ("ipos", "drain", server, "--force", "--wait")
                draining = pool.submit(farm.run, "s3", *argv, timeout_s=_PATIENCE_S)
                rounds = 0
                while not draining.done():
                    clients.talk()
                    rounds += 1
                draining.result()
            print(f"{server}: {had} sessions left in {time.monotonic() - began:.1f} s, "
                  f"{rounds} lines of each meanwhile", flush=True)  # fmt: skip
            assert endpoints(farm, server) == 0
            clients.talk()
            if server == "s2":
                farm.run("s3", "ipos", "server", "set", server, "ready")
                wait_until(f"{server} is ready again", farm.ready, 30)
        assert resets(farm) == before
        faults.cut_power(lab, "s1")
        for _ in range(3):
            clients.talk()


def test_a_hundred_sessions_survive_the_drain_of_their_machine() -> None:
    survive(99)


@pytest.mark.slow
def test_a_thousand_sessions_survive_the_drain_of_their_machine() -> None:
    survive(1000)
