# SPDX-License-Identifier: Apache-2.0
"""Tomcat behind `session = insert`: heads and bodies of any length, here and migrated.

Both of its connectors, which read a socket in different ways. They must be told of all that is
there to read before the response as after it, so a session's line must not change the socket.
"""

import os
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from sys import executable
from typing import Final

import pytest

from ipos.lab import Lab, Settings, pattern
from tests.farm.clients import tomcat
from tests.support.farm import SERVERS, Answer, Farm, grown, read_answer

NEEDED: Final = (tomcat.JAVA, tomcat.HOME / "bin" / "bootstrap.jar")
pytestmark = [
    pytest.mark.farm,
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(file.exists() for file in NEEDED),
        reason="Tomcat is not installed: apt-get install --no-install-recommends"
        " tomcat10-common openjdk-17-jre-headless",
    ),
]

NIO, NIO2 = 8090, 8091
SIZES: Final = (100, 500, 1024, 1025, 1100, 1500, 2900, 4000, 8192, 14_000)
BODY: Final = 10_000_000
CONFIG: Final = "".join(
    f"""\
[[service]]
name = "{name}"
port = {port}
session = {{ kind = "insert" }}
""" + "".join(f"""
[[route]]
service = "{name}"
host = "{server}.example"
servers = ["{server}"]
""" for server in SERVERS)
    for name, port in (("nio", NIO), ("nio2", NIO2))
)  # fmt: skip
_APPLICATION: Final = Path(__file__).parent / "clients" / "tomcat.py"
COMMAND: Final = f"exec {executable} {_APPLICATION} {NIO} {NIO2}"

PLACES: Final = [*product((NIO, NIO2), SERVERS, ("s1", "s2"))]
"""A connector, the server that answers, and the one that the client connects to."""


@pytest.fixture(scope="module")
def _lab() -> Iterator[Farm]:
    settings = Settings(name=f"tm{os.getpid()}", config=CONFIG, app=COMMAND)
    with Lab(settings) as lab:
        yield Farm(lab)


@pytest.fixture
def farm(_lab: Farm) -> Farm:
    _lab.wait_idle()
    return _lab


def _request(method: str, path: str, owner: str, *headers: str, length: int = 0) -> bytes:
    """A head. length: how long it is, filled with a header of its own; 0: as it comes."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {owner}.example", *headers]
    head = ("\r\n".join(lines) + "\r\n\r\n").encode()
    if not length:
        return head
    return head[:-2] + b"X-Long: " + b"l" * (length - len(head) - 10) + b"\r\n\r\n"


def _served(farm: Farm, owner: str, before: dict[str, dict[str, int]]) -> bool:
    """Whether one connection was accepted since, and by this server."""
    after = farm.all_counters()
    return [server for server in SERVERS
            if grown(before[server], after[server]).get("adopted")] == [owner]  # fmt: skip


def _exchange(farm: Farm, port: int, first: str, *data: bytes) -> list[Answer]:
    """The answers to these requests on one connection. The first one begins a session."""
    answers = []
    client = farm.unconnected()
    client.settimeout(60)
    with farm.connect(port, first, client) as connection:
        for each in data:
            connection.sendall(each)
            answers.append(read_answer(connection))
    assert answers[0].headers["set-cookie"].startswith("IPOS=")
    assert not any("set-cookie" in answer.headers for answer in answers[1:])
    assert {answer.status for answer in answers} == {200}
    return answers


@pytest.mark.parametrize(("port", "owner", "first"), PLACES)
def test_tomcat_reads_heads_of_any_length(farm: Farm, port: int, owner: str, first: str) -> None:
    """Each size first on a connection of its own, and behind another request."""
    for size in SIZES:
        head = _request("GET", "/count.jsp", owner, length=size)
        assert len(head) == size
        length = len(head.partition(b"X-Long: ")[2]) - 4
        before = farm.all_counters()
        for answer in _exchange(farm, port, first, head, head):
            assert answer.body == b"%d of 0" % length
        assert _served(farm, owner, before)


@pytest.mark.parametrize(("port", "owner", "first"), PLACES)
def test_tomcat_reads_ten_megabytes(farm: Farm, port: int, owner: str, first: str) -> None:
    """Behind a short head and a long one, and as many bytes of it down again."""
    content = b"".join(pattern.chunks(BODY))
    length = f"Content-Length: {BODY}"
    short = _request("POST", "/count.jsp", owner, length)
    long = _request("POST", "/count.jsp", owner, length, length=14_000)
    through = _request("POST", "/through.jsp", owner, length)
    for data in ((short, long), (long, short)):
        for answer in _exchange(farm, port, first, *(head + content for head in data)):
            assert answer.body.endswith(b" of %d" % BODY)
    [answer] = _exchange(farm, port, first, through + content)
    assert answer.body == content


@pytest.mark.parametrize(("port", "owner", "first"), PLACES)
def test_tomcat_sends_files(farm: Farm, port: int, owner: str, first: str) -> None:
    for size in (0, 1, 1000, 100_000, BODY):
        head = _request("GET", f"/files/{size}", owner)
        content = b"".join(pattern.chunks(size))
        for answer in _exchange(farm, port, first, head, head):
            assert answer.body == content
