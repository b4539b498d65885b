# SPDX-License-Identifier: Apache-2.0
"""gRPC and WebSocket by their own libraries: what is decided once, and opaque from then on."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.farm.applied import EVERY, GRPC, ONCE
from tests.farm.support import SERVERS, Farm

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

    with farm.inside("client1"):
        found = asyncio.run(all_of_them())
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
