# SPDX-License-Identifier: Apache-2.0
"""Protocols that are no HTTP: served at once where nothing asks for a request, refused at once
where something does; and FTP with its data connections.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from ipos.lab import Lab, Settings
from tests.support.farm import SERVERS, Farm, grown, readable, wait_until

pytestmark = pytest.mark.farm

ANYTHING, OPAQUE, ROUTED, EVERY, FTP = 6379, 6380, 6381, 6382, 21
COMMANDS, CONTROL = 7000, 7021  # where the applications listen
CONFIG: Final = f"""\
[[service]]
name = "anything"
port = {ANYTHING}
application = "0.0.0.0:{COMMANDS}"
policy = "round-robin"
slow_start_ms = 0

[[service]]
name = "opaque"
port = {OPAQUE}
application = "0.0.0.0:{COMMANDS}"
policy = "round-robin"
slow_start_ms = 0
mode = "tcp"

[[service]]
name = "routed"
port = {ROUTED}
application = "0.0.0.0:{COMMANDS}"

[[service]]
name = "every"
port = {EVERY}
application = "0.0.0.0:{COMMANDS}"
decide = "request"
mode = "http"

# Else the lab would greet on that port itself.
[[service]]
name = "control"
port = {CONTROL}

[[service]]
name = "ftp"
port = {FTP}
application = "0.0.0.0:{CONTROL}"
select = "connection"
policy = "round-robin"
slow_start_ms = 0

[[route]]
service = "routed"
path = "/admin"
servers = ["s3"]

[[route]]
service = "every"
path = "/admin"
servers = ["s3"]
"""
_SPEAKING = Path(__file__).parent / "clients" / "speaking.py"
_APPLICATION = f"exec {sys.executable} {_SPEAKING} {COMMANDS} {CONTROL}"
AT_ONCE_S = 2.0
"""Far below the header timeout of five seconds, on a busy machine too."""

BEGINNINGS = {
    "Redis, inline": b"PING\r\n",
    "Redis, RESP": b"*1\r\n$4\r\nPING\r\n",
    "AMQP": b"AMQP\0\0\x09\1",
    "STOMP": b"CONNECT\naccept-version:1.2\nhost:a\n\n\0",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "RTSP": b"OPTIONS rtsp://a/b RTSP/1.0\r\nCSeq: 1\r\n\r\n",
    "SIP": b"REGISTER sip:a.example SIP/2.0\r\nVia: SIP/2.0/TCP b\r\n\r\n",
    "PROXY v1": b"PROXY TCP4 192.0.2.1 203.0.113.1 5000 80\r\n",
    "PROXY v2": b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
    "MQTT": b"\x10\x0c\0\4MQTT\4\2\0\x3c\0\0",
    "PostgreSQL": b"\0\0\0\x08\x04\xd2\x16\x2f",
    "memcached": b"get a\r\n",
}


_METHOD = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ-_"


@pytest.fixture(scope="module")
def _module_farm() -> Iterator[Farm]:
    settings = Settings(name=f"cf{os.getpid()}", config=CONFIG, app=_APPLICATION)
    with Lab(settings) as lab:
        yield Farm(lab)


@pytest.fixture
def speaking(_module_farm: Farm) -> Farm:
    _module_farm.wait_idle()
    return _module_farm


@pytest.mark.parametrize("port", [ANYTHING, OPAQUE])
@pytest.mark.parametrize("about", BEGINNINGS)
def test_served_at_once_where_nothing_asks_for_a_request(
    speaking: Farm, about: str, port: int
) -> None:
    """By each server, whichever is addressed: two of three connections migrate."""
    served = set()
    for _ in range(3):
        with speaking.connect(port) as connection:
            connection.sendall(BEGINNINGS[about])
            assert readable(connection, AT_ONCE_S), "nobody answers"
            served.add(connection.recv(4096).split(b"\r\n")[0].decode())
    assert served == {f"+{server}" for server in SERVERS}


@pytest.mark.parametrize("port", [ROUTED, EVERY])
@pytest.mark.parametrize("about", BEGINNINGS)
def test_refused_at_once_where_something_does(speaking: Farm, about: str, port: int) -> None:
    before = speaking.counters("s1")
    with speaking.connect(port) as connection:
        connection.sendall(BEGINNINGS[about])
        assert readable(connection, AT_ONCE_S), "no word until the header timeout"
        assert connection.makefile("rb").read().startswith(b"HTTP/1.1 400 ")
    changed = grown(before, speaking.counters("s1"))
    assert changed["answered"] == 1
    assert not {"served_here", "migrated"} & changed.keys()


@pytest.mark.parametrize("port", [ROUTED, EVERY])
def test_no_first_byte_is_a_way_round_a_route(speaking: Farm, port: int) -> None:
    """Whatever a method begins with: the request goes where its path goes, or nowhere."""
    rest = b"GET /admin HTTP/1.1\r\nHost: a.example\r\n\r\n"
    for byte in range(256):
        with speaking.connect(port) as connection:
            connection.sendall(bytes([byte]) + rest)
            told = connection.makefile("rb").readline()
        expected = b"+s3" if byte in _METHOD else b"HTTP/1.1 400 "
        assert told.startswith(expected), byte


def test_many_commands_in_one_go(speaking: Farm) -> None:
    """As `redis-cli --pipe` writes them: more than fits into the window of a handshake."""
    count = 2_000
    commands = b"".join(
        b"*2\r\n$4\r\nECHO\r\n$%d\r\n%d\r\n" % (len(str(n)), n) for n in range(count)
    )
    for _ in range(3):
        with speaking.connect(ANYTHING) as connection:
            connection.sendall(commands)
            lines = connection.makefile("rb")
            assert lines.readline()[:2] == b"+s"
            assert [lines.readline() for _ in range(count)] == [b"%d\r\n" % n for n in range(count)]


@pytest.mark.parametrize("server", SERVERS)
def test_ftp_fetches_from_the_server_that_has_it(speaking: Farm, server: str) -> None:
    """The server tells its own address for the data, which is no service's port: untouched."""
    for node in SERVERS:  # what an administrator opens for passive ports
        rule = "nft insert rule inet filter input tcp dport 32768-60999 accept"
        speaking.lab.run(node, rule.split(), stderr=subprocess.DEVNULL)
    served = set()
    for _ in range(3):
        with speaking.connect(FTP, server) as control:
            lines = control.makefile("rwb", buffering=0)
            greeted = lines.readline().split()[1].decode()
            lines.write(b"PASV\r\n")
            numbers = re.findall(rb"\d+", lines.readline().partition(b"(")[2])
            address = b".".join(numbers[:4]).decode()
            assert address == speaking.address(greeted)
            with speaking.unconnected() as data:
                data.connect((address, int(numbers[4]) << 8 | int(numbers[5])))
                lines.write(b"RETR a\r\n")
                assert lines.readline().startswith(b"150")
                assert data.recv(64).decode() == greeted
            assert lines.readline().startswith(b"226")
            served.add(greeted)
    assert served == set(SERVERS)


def test_nothing_waits_for_the_rest_of_a_preface(speaking: Farm) -> None:
    """A client of HTTP/2 that waits for the server's SETTINGS is let in without a wait of ours."""
    before = speaking.counters("s1")
    with speaking.connect(ANYTHING) as connection:
        started = time.monotonic()
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
        assert readable(connection, AT_ONCE_S)
        assert time.monotonic() - started < AT_ONCE_S
    wait_until("it is over", lambda: not speaking.rows("s1")["holding"])
    assert "silence_ended" not in grown(before, speaking.counters("s1"))
