# SPDX-License-Identifier: Apache-2.0
"""What is decided once, and opaque from then on: gRPC and WebSocket by their own libraries, CONNECT
and other upgrades by an application that answers as it is told.
"""

import asyncio
import base64
import socket
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations

import grpc
import grpc.aio
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.farm.applied import EVERY, GRPC, ONCE, RAW, RAW_EVERY
from tests.support.farm import SERVERS, Farm

pytestmark = pytest.mark.farm

CONNECTIONS, CALLS = 60, 5
MEGABYTE = bytes(range(256)) * 4096


@pytest.fixture
def farm(applications: Farm) -> Farm:
    applications.wait_idle()
    return applications


# ---- gRPC ----------------------------------------------------------------------------------------


async def _calls(target: str, number: int) -> set[bytes]:
    """Who answers the calls of one connection."""
    # Channels of the same options share their connections, unless told otherwise.
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        say = channel.unary_unary("/farm.Echo/Say")
        chat = channel.stream_stream("/farm.Echo/Chat")
        message = f"{number}".encode() * 1000
        answers = [await say(message, timeout=30) for _ in range(CALLS)]

        async def messages() -> AsyncIterator[bytes]:
            for _ in range(CALLS):
                yield message

        answers += [answer async for answer in chat(messages(), timeout=30)]
    assert len(answers) == 2 * CALLS
    who = {answer.partition(b" ") for answer in answers}
    assert {said for _, _, said in who} == {message}
    return {server for server, _, _ in who}


def test_grpc_is_spread_by_connection(farm: Farm) -> None:
    """Every call of every connection is answered; those of one connection by one server."""

    async def all_of_them() -> list[set[bytes]]:
        targets = [f"{farm.address(server)}:{GRPC}" for server in SERVERS]
        return await asyncio.gather(
            *(_calls(targets[number % 3], number) for number in range(CONNECTIONS))
        )

    before = farm.all_counters()
    with farm.inside("client1"):
        found = asyncio.run(all_of_them())
    after = farm.all_counters()
    let_in = sum(after[one]["silence_ended"] - before[one]["silence_ended"] for one in SERVERS)
    assert not let_in, "nothing asks for a request, so nobody is to wait for the end of one"
    assert {len(servers) for servers in found} == {1}
    spread = Counter(server.decode() for servers in found for server in servers)
    assert spread.keys() == set(SERVERS)
    assert min(spread.values()) >= CONNECTIONS / 6, spread


# ---- WebSocket ----------------------------------------------------------------------------------


async def _talk(connection: ClientConnection) -> str:
    """Frames of all kinds, both ways; who answers."""
    name = await connection.recv()
    for message in ("a", b"b", "\u00fc" * 1000, MEGABYTE):
        await connection.send(message)
        assert await connection.recv() == message
    await (await connection.ping(b"are you there"))
    # What looks like a request of another server's is none here.
    for server in SERVERS:
        await connection.send(f"GET /{server}/ HTTP/1.1\r\nHost: a\r\n\r\n")
        assert await connection.recv() == f"GET /{server}/ HTTP/1.1\r\nHost: a\r\n\r\n"
    assert isinstance(name, str)
    return name


@pytest.mark.parametrize("port", [ONCE, EVERY], ids=["once", "every request"])
@pytest.mark.parametrize("first", SERVERS)
def test_websocket_is_decided_by_the_upgrade_and_left_alone(
    farm: Farm, port: int, first: str
) -> None:
    async def talk(path: str) -> str:
        url = f"ws://{farm.address(first)}:{port}{path}"
        async with connect(url, max_size=None, compression=None, proxy=None) as connection:
            return await _talk(connection)

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*(talk(f"/{server}/chat") for server in SERVERS))

    with farm.inside("client1"):
        assert asyncio.run(all_of_them()) == list(SERVERS)


# ---- CONNECT, and upgrades behind a body --------------------------------------------------------

OPAQUE = b"".join(b"GET / HTTP/1.1\r\nHost: %s.example\r\n\r\n" % s.encode() for s in SERVERS)
CHUNKS = b"5\r\nright\r\n3000\r\n" + bytes(0x3000) + b"\r\n0\r\n\r\n"
TAKEN = {"CONNECT": b"HTTP/1.1 200 OK\r\n\r\n", "POST": b"HTTP/1.1 101 Switching\r\n\r\n"}
DECLINED = b"HTTP/1.1 403 Forbidden\r\nX-Served-By: %%\r\nContent-Length: 0\r\n\r\n"


def asks(method: str, server: str, answer: bytes, *headers: str) -> bytes:
    """A request to leave HTTP, for this server alone and answered by these bytes. A POST has a
    body in chunks.
    """
    target = f"{server}.example:443" if method == "CONNECT" else "/"
    lines = [f"{method} {target} HTTP/1.1", f"Host: {server}.example", *headers]
    lines.append(f"X-Answer: {base64.b64encode(answer).decode()}")
    if method == "POST":
        lines += ["Connection: upgrade", "Upgrade: x", "Transfer-Encoding: chunked"]
    head = ("\r\n".join(lines) + "\r\n\r\n").encode()
    return head + CHUNKS if method == "POST" else head


def read(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += (piece := connection.recv(count - len(data)))
        assert piece, data
    return data


def echo(connection: socket.socket, data: bytes) -> bytes:
    """What comes back, read while it is sent: the sockets' buffers need not hold all of it."""
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(connection.sendall, data)
        back = read(connection, len(data))
        sent.result()
    return back


@pytest.mark.parametrize("method", ["CONNECT", "POST"])
@pytest.mark.parametrize("when", ["X-Early: 1", "X-Late: 1"])
@pytest.mark.parametrize("port", [RAW, RAW_EVERY], ids=["once", "every request"])
def test_a_tunnel_is_opaque(farm: Farm, method: str, when: str, port: int) -> None:
    """Decided by the request; what then looks like requests of other servers' is none."""
    answer = TAKEN[method]
    for first, server in permutations(SERVERS, 2):
        with farm.connect(port, first) as connection:
            connection.sendall(asks(method, server, answer, when, "X-Tunnel: 1"))
            told = answer + server.encode()
            assert read(connection, len(told)) == told
            for data in (OPAQUE, b"\0\r\n", MEGABYTE, OPAQUE * 20):
                assert echo(connection, data) == data
    farm.wait_idle()


@pytest.mark.parametrize("method", ["CONNECT", "POST"])
def test_what_comes_with_a_request_to_leave_waits_for_the_answer(farm: Farm, method: str) -> None:
    answer = TAKEN[method]
    with farm.connect(RAW_EVERY) as connection:
        connection.sendall(asks(method, "s2", answer, "X-Tunnel: 1") + OPAQUE)
        told = answer + b"s2" + OPAQUE
        assert read(connection, len(told)) == told


@pytest.mark.parametrize("method", ["CONNECT", "POST"])
@pytest.mark.parametrize("when", ["X-Early: 1", "X-Late: 1"])
def test_one_that_is_declined_is_an_ordinary_request(farm: Farm, method: str, when: str) -> None:
    with farm.connect(RAW_EVERY) as connection:
        for number in range(9):
            server = SERVERS[number % 3]
            connection.sendall(asks(method, server, DECLINED, when))
            told = DECLINED.replace(b"%%", server.encode())
            assert read(connection, len(told)) == told
