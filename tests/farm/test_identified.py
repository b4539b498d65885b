# SPDX-License-Identifier: Apache-2.0
"""Identified sessions: listed, counted, moved and revoked, and known before an answer leaves."""

import asyncio
import json
import random
import secrets
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from ipos.abi.rows import ServerState
from ipos.agent.view.session_list import identifier
from ipos.handshake.keys import FarmKeys
from ipos.lab import faults
from ipos.selection.sessions import DAY_S
from spec.requests import identified
from tests.farm.wire import ETHERTYPE
from tests.support.farm import SERVERS, Farm, read_answer, request, wait_until
from tests.support.farm_secret import change, secret_file, steps
from tests.support.shared import farm_with

PORT, MOVING = 8111, 8112
COMMON = (
    'policy = "round-robin"\nslow_start_ms = 0\nsession = { kind = "identify", expire_s = 600 }'
)
CONFIG = f"""\
[[service]]
name = "identify"
port = {PORT}
{COMMON}

[[service]]
name = "each"
port = {MOVING}
decide = "request"
{COMMON}
"""
LEARNED = 10  # the type of the frame that tells a session

pytestmark = pytest.mark.farm


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    with farm_with(CONFIG) as made:
        yield made


@dataclass
class Client:
    """Its cookie's value, the server of its last answer, how often that has changed, and faults."""

    value: str = ""
    server: str = ""
    moves: int = 0
    given: int = 0
    wrong: list[str] = field(default_factory=list)


def ask(farm: Farm, at: str, value: str = "", port: int = PORT) -> tuple[str, str]:
    """(who answers, the value that the client is given, "" for none)."""
    cookie = [f"Cookie: theme=dark; IPOS={value}"] if value else []
    with farm.connect(port, at) as connection:
        connection.sendall(request("/", *cookie))
        answer = read_answer(connection)
    given = answer.headers.get("set-cookie", "")
    return answer.served_by, given.partition(";")[0].removeprefix("IPOS=")


async def _ask(farm: Farm, client: Client, at: str) -> None:
    sock = farm.unconnected()
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    try:
        await asyncio.wait_for(loop.sock_connect(sock, (farm.address(at), PORT)), 20)
        cookie = [f"Cookie: IPOS={client.value}"] if client.value else []
        await loop.sock_sendall(sock, request("/", *cookie))
        data = b""
        while piece := await asyncio.wait_for(loop.sock_recv(sock, 65536), 20):
            data += piece
    except (OSError, TimeoutError) as error:
        client.wrong.append(f"{at}: {error!r}")
        return
    finally:
        sock.close()
    fields = dict(
        line.split(": ", 1) for line in data.decode().split("\r\n\r\n")[0].split("\r\n")[1:]
    )
    by, given = fields["X-Served-By"], fields.get("Set-Cookie", "")
    if given:
        client.given += 1
        client.value = given.partition(";")[0].removeprefix("IPOS=")
    client.moves += client.server not in ("", by)
    client.server = by


def talk(farm: Farm, clients: Sequence[Client], at: Sequence[str] = SERVERS) -> None:
    """One request of each, fifty at a time."""

    async def all_of_them() -> None:
        gate = asyncio.Semaphore(50)

        async def one(client: Client) -> None:
            async with gate:
                await _ask(farm, client, random.choice(at))

        await asyncio.gather(*map(one, clients))

    asyncio.run(all_of_them())
    assert [text for client in clients for text in client.wrong][:5] == []


def rows(farm: Farm, server: str, port: int = PORT) -> dict[str, str]:
    """The sessions that a server's data plane knows, and the first address of who has each."""
    found = farm.tables[server].cookies.items()
    return {identifier(key): str(row.server_ip) for key, row in found if key.service_port == port}


def order(farm: Farm, server: str, state: ServerState) -> None:
    farm.run("s1", "ipos", "server", "set", server, state.name.lower())

    def known() -> bool:
        found = [tables.servers.get(int(server[1:])) for tables in farm.tables.values()]
        return all(row is not None and row.state is state for row in found)

    wait_until(f"all know that {server} is {state.name}", known)


def listed(farm: Farm, at: str, clients: Sequence[Client], *options: str) -> list[dict[str, Any]]:
    """The rows of `ipos session list` that are these clients'."""
    found = json.loads(farm.run(at, "ipos", "session", "list", "-o", "json", *options))
    own = {client.value[:16] for client in clients}
    return [each for each in found if each["session"] in own]


@contextmanager
def everything_of(farm: Farm, node: str) -> Iterator[list[tuple[str, bytes]]]:
    """What all interfaces of a server send inside the block, in the order in which they do."""
    with farm.inside(node):
        seen = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    seen.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
    seen.setblocking(False)
    found: list[tuple[str, bytes]] = []
    try:
        yield found
        while True:
            try:
                frame, (interface, _, kind, *_) = seen.recvfrom(65536)
            except BlockingIOError:
                return
            if kind == 4:  # PACKET_OUTGOING
                found.append((interface, frame))
    finally:
        seen.close()


def test_each_client_has_an_identifier_that_only_the_farm_can_make(farm: Farm) -> None:
    found = [ask(farm, SERVERS[number % 3]) for number in range(30)]
    values = {value for _, value in found}
    assert len(values) == len({value[:16] for value in values}) == 30
    assert {server for server, _ in found} == set(SERVERS)
    today = int(time.time()) // DAY_S
    key = FarmKeys(secret_file(farm).read_bytes().split(b"\n")[0], farm.lab.name).session(today)
    for server, value in found:
        assert identified.decode(value, {today: key}) == (bytes.fromhex(value[:16]), today)
        for at in SERVERS:
            assert rows(farm, at)[value[:16]] == farm.address(server)
            assert ask(farm, at, value) == (server, "")


def test_all_servers_hear_of_a_session_before_the_answer_leaves(farm: Farm) -> None:
    with everything_of(farm, "s2") as sent:
        server, value = "", ""
        while server != "s2":
            server, value = ask(farm, "s2")
    told = [
        number
        for number, (_, frame) in enumerate(sent)
        if frame[12:14] == ETHERTYPE and frame[26] == LEARNED
        and frame[30:38] == bytes.fromhex(value[:16])
    ]  # fmt: skip
    answered = [number for number, (_, frame) in enumerate(sent) if value.encode() in frame]
    assert len(told) == 1
    assert told[0] < answered[0]


@pytest.mark.parametrize("count", [60, pytest.param(10_000, marks=pytest.mark.slow)])
def test_sessions_stay_while_agents_start_again(farm: Farm, count: int) -> None:
    clients = [Client() for _ in range(count)]
    talk(farm, clients)
    assert Counter(client.given for client in clients) == {1: count}
    for server in SERVERS:
        faults.kill_agent(farm.lab, server)
        talk(farm, clients)
        farm.lab.start_agent(server)
        talk(farm, clients)
    assert sum(client.moves for client in clients) == 0
    assert Counter(client.given for client in clients) == {1: count}
    wait_until("every server ready", farm.ready, 30)
    for server in SERVERS:
        assert len(listed(farm, server, clients)) == count


@pytest.mark.parametrize("count", [60, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_server_that_drains_gives_each_session_away_once(farm: Farm, count: int) -> None:
    clients = [Client() for _ in range(count)]
    talk(farm, clients)
    own = [client for client in clients if client.server == "s2"]
    others = [client for client in clients if client.server != "s2"]
    values = {id(client): client.value for client in clients}
    assert own
    assert others
    order(farm, "s2", ServerState.DRAIN)
    try:
        for _ in range(3):
            talk(farm, clients)
        assert {client.moves for client in own} == {1}
        assert {client.moves for client in others} == {0}
        assert {client.server for client in clients} == {"s1", "s3"}
        assert {id(client): client.value for client in clients} == values, "they keep their cookies"
        assert listed(farm, "s1", clients, "--server", "s2") == []
        assert {each["moves"] for each in listed(farm, "s3", clients)} == {0, 1}
    finally:
        order(farm, "s2", ServerState.READY)
    talk(farm, clients)
    assert sum(client.moves for client in clients) == len(own)


def test_sessions_of_a_dead_server_go_on_elsewhere_and_it_learns_that(farm: Farm) -> None:
    clients = [Client() for _ in range(30)]
    talk(farm, clients)
    own = [client for client in clients if client.server == "s3"]
    assert own

    def gone() -> bool:
        found = [farm.tables[at].servers.get(3) for at in ("s1", "s2")]
        return all(row is None or row.state is not ServerState.READY for row in found)

    faults.cut_power(farm.lab, "s3")
    try:
        wait_until("the others know", gone, 30)
        talk(farm, own, ("s1", "s2"))
        assert {client.server for client in own} <= {"s1", "s2"}
        assert {client.given for client in own} == {2}, "in the same value"
    finally:
        faults.restore_power(farm.lab, "s3")
    wait_until("every server ready", farm.ready, 30)
    wait_until(
        "s3 knows what it has missed",
        lambda: rows(farm, "s3").items() >= rows(farm, "s1").items(),
        30,
    )
    talk(farm, clients)
    assert sum(client.moves for client in clients) == len(own)


def test_what_is_forged_or_revoked_is_chosen_anew(farm: Farm) -> None:
    _, value = ask(farm, "s1")
    last = "0" if value[20] != "0" else "1"
    before = farm.counters("s2")
    for forged in (value[:20] + last + value[21:], secrets.token_hex(20), "0" * 40):
        _, given = ask(farm, "s2", forged)
        assert given not in ("", value)
        assert given[:16] != forged[:16]
    assert farm.counters("s2")["session_forged"] == before["session_forged"] + 3

    farm.run("s3", "ipos", "session", "revoke", value)
    for number, at in enumerate(SERVERS):
        assert rows(farm, at)[value[:16]] == "0.0.0.0"
        before = farm.counters(at)
        _, given = ask(farm, at, value)
        assert given[:16] != value[:16], number
        assert farm.counters(at)["session_unknown"] == before["session_unknown"] + 1
    (row,) = listed(farm, "s1", [Client(value)])
    assert row["state"] == "revoked"


def test_an_operator_moves_one_session_or_all_of_a_server(farm: Farm) -> None:
    clients = [Client() for _ in range(30)]
    talk(farm, clients)
    moved = clients[0]
    to = "s1" if moved.server != "s1" else "s2"
    text = farm.run("s2", "ipos", "session", "move", moved.value[:16], "--to", to)
    assert text == f"1 session moved to {to}\n"
    talk(farm, clients)
    assert (moved.server, moved.moves) == (to, 1)
    assert sum(client.moves for client in clients) == 1

    of_s3 = [client for client in clients if client.server == "s3"]
    assert len(listed(farm, "s1", clients, "--server", "s3")) == len(of_s3)
    farm.run("s1", "ipos", "session", "move", "--from", "s3", "--to", "s2")
    talk(farm, clients)
    assert {client.server for client in of_s3} == {"s2"}
    assert sum(client.moves for client in clients) == 1 + len(of_s3)


def test_a_kept_connection_follows_its_session(farm: Farm) -> None:
    server, value = ask(farm, "s1", port=MOVING)
    to = next(each for each in SERVERS if each not in (server, "s1"))
    cookie = f"Cookie: IPOS={value}"
    with farm.connect(MOVING, "s1") as connection:
        for wanted in (server, to, to):
            connection.sendall(request("/", cookie, close=False))
            answer = read_answer(connection)
            assert answer.served_by == wanted
            farm.run("s2", "ipos", "session", "move", value, "--to", to)
    farm.wait_idle()


def test_the_secret_changes_and_each_client_keeps_its_identifier(farm: Farm) -> None:
    old = secret_file(farm).read_bytes().strip()
    found = [ask(farm, SERVERS[number % 3]) for number in range(9)]
    sessions = {value: server for server, value in found}
    believed, used, new = steps(old, secrets.token_hex(32).encode())
    try:
        change(farm, believed)
        assert all(ask(farm, "s1", value) == (server, "") for value, server in sessions.items())
        change(farm, used)
        changed = {}
        for value, server in sessions.items():
            by, given = ask(farm, "s2", value)
            assert (by, given[:16]) == (server, value[:16])
            assert given != value
            changed[given] = server
        change(farm, new)
        assert all(ask(farm, "s3", value) == (server, "") for value, server in changed.items())
    finally:
        held = secret_file(farm).read_bytes().split()[0]
        for content in steps(held, old) if held != old else (old,):
            change(farm, content)


def test_the_list_has_the_sessions_of_each_server(farm: Farm) -> None:
    clients = [Client() for _ in range(12)]
    talk(farm, clients)
    for at in SERVERS:
        found = {each["session"]: each["server"] for each in listed(farm, at, clients)}
        assert found == {client.value[:16]: client.server for client in clients}
