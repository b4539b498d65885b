# SPDX-License-Identifier: Apache-2.0
"""UDP services in a lab: a DNS server that nobody here wrote, and one with a wildcard socket."""

import os
import re
import socket
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

from ipos.lab import Lab, Settings
from tests.support.farm import SERVERS, Farm, wait_until

pytestmark = pytest.mark.farm

DNS, WILDCARD = 53, 5000
CONFIG = f"""\
[[service]]
name = "web"
port = 80

[[service]]
name = "dns"
port = {DNS}
protocol = "udp"
policy = "round-robin"

[[service]]
name = "wildcard"
port = {WILDCARD}
protocol = "udp"
policy = "round-robin"
"""
_APPLICATION = Path(__file__).parent / "clients" / "wildcard.py"
_QUERY = (
    struct.pack("!6H", 0x1234, 0x0100, 1, 0, 0, 0) + b"\3who\4test\0" + struct.pack("!2H", 1, 1)
)


def _commands(server: str) -> list[list[str]]:
    return [
        ["dnsmasq", "--no-daemon", "--no-resolv", "--no-hosts", "--pid-file=", "--user=root",
         f"--port={DNS}", f"--host-record=who.test,10.0.0.{server[1:]}"],
        [sys.executable, str(_APPLICATION), str(WILDCARD), server],
    ]  # fmt: skip


@pytest.fixture(scope="module")
def flows() -> Iterator[Farm]:
    """Three servers, each with both applications."""
    with ExitStack() as stack:
        lab = stack.enter_context(Lab(Settings(name=f"fl{os.getpid()}", config=CONFIG)))
        for server in SERVERS:
            for command in _commands(server):
                one = lab.popen(
                    server, command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
                stack.callback(one.wait)
                stack.callback(one.kill)
        made = Farm(lab)
        for name in ("dns", "wildcard"):
            wait_until(f"{name} is served by all", partial(_served_by_all, made, name))
        yield made


def _serving(farm: Farm, service: str) -> int:
    """How many servers s1 knows for it."""
    status = farm.run("s1", "ipos", "status")
    row = re.search(rf"^{service} .*$", status, re.MULTILINE)
    return len(re.findall(r"\bs\d\b", row.group())) if row else 0


def _served_by_all(farm: Farm, service: str) -> bool:
    return _serving(farm, service) == 3


@contextmanager
def _client(farm: Farm, port: int, server: str = "s1") -> Iterator[socket.socket]:
    """Connected: the kernel gives it nothing that comes from another address than it asked."""
    with farm.inside("client1"):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with made:
        made.settimeout(5)
        made.connect((farm.address(server), port))
        yield made


def _asks(farm: Farm, data: bytes, port: int = WILDCARD, server: str = "s1") -> bytes:
    with _client(farm, port, server) as client:
        client.send(data)
        return client.recv(65535)


def _before(farm: Farm) -> Counter[str]:
    return sum((Counter(farm.counters(server)) for server in SERVERS), Counter[str]())


def test_every_server_answers_dns_from_the_address_that_was_asked(flows: Farm) -> None:
    answers = Counter(_asks(flows, _QUERY, DNS)[-1] for _ in range(30))
    assert answers == {1: 10, 2: 10, 3: 10}


def test_a_wildcard_socket_answers_from_the_address_that_was_asked(flows: Farm) -> None:
    before = _before(flows)
    answers = Counter(_asks(flows, b"x", server=server) for server in SERVERS for _ in range(3))
    assert answers == {b"s1 x": 3, b"s2 x": 3, b"s3 x": 3}
    assert (_before(flows) - before)["flow_source"] >= 6


def test_a_flow_stays_with_its_server(flows: Farm) -> None:
    with _client(flows, WILDCARD) as client:
        answers = []
        for number in range(20):
            client.send(b"%d" % number)
            answers.append(client.recv(100).split())
    assert [one[1] for one in answers] == [b"%d" % number for number in range(20)]
    assert len({one[0] for one in answers}) == 1


@pytest.mark.parametrize("size", [1444, 1445, 1472, 1473, 4000, 20_000])
def test_long_datagrams_come_whole_both_ways(flows: Farm, size: int) -> None:
    data = os.urandom(size)
    for _ in range(3):
        with _client(flows, WILDCARD) as client:
            # The first may be one that may not be split: then the client's kernel is told.
            for _ in range(3):
                client.send(data)
                try:
                    client.settimeout(2)
                    answer = client.recv(65535)
                    break
                except (TimeoutError, OSError):
                    continue
        assert answer[3:] == data


def test_the_flow_goes_on_elsewhere_when_its_server_is_in_maintenance(flows: Farm) -> None:
    with _client(flows, WILDCARD) as client:
        client.send(b"a")
        owner = client.recv(100).split()[0].decode()
        flows.run("s1", "ipos", "server", "set", owner, "maint", "--force")
        try:

            def moved() -> bool:
                client.send(b"b")
                return client.recv(100).split()[0].decode() != owner

            wait_until("another server answers", moved)
        finally:
            flows.run("s1", "ipos", "server", "set", owner, "ready")
    wait_until("it is back", lambda: _serving(flows, "wildcard") == 3)


def test_frames_are_the_figures(flows: Farm) -> None:
    """Figure 11f has 36 bytes, 11h 14 + 16 + 28 + data; the tag comes behind them."""
    with flows.inside("s1"):
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    with tap:
        tap.settimeout(5)
        for _ in range(3):
            _asks(flows, b"figure")
        seen: dict[int, bytes] = {}
        while seen.keys() != {1, 2, 3}:
            frame = tap.recv(2048)
            if frame[12:14] == b"\x00\x07" and frame[27] == 2:
                seen.setdefault(frame[26], frame)
    assert len(seen[1]) == 60
    assert not any(seen[1][36 + 14 :]), "behind 36 bytes and the offer there is only padding"
    assert len(seen[2]) == 14 + 16 + 28 + len(b"figure") + 8
    assert not any(seen[3][14 + 16 + 20 :])


def test_an_icmp_error_goes_to_the_owner(flows: Farm) -> None:
    before = flows.counters("s1")["icmp_forwarded"]
    for _ in range(3):
        with _client(flows, WILDCARD) as client:
            client.send(b"later, when nobody is there any more")
    wait_until("two of three", lambda: flows.counters("s1")["icmp_forwarded"] >= before + 2)
