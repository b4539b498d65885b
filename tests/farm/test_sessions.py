# SPDX-License-Identifier: Apache-2.0
"""Sessions that stick: every request of one is answered by its server, wherever it comes in."""

import asyncio
import json
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from ipos.abi.layout import constant
from ipos.abi.rows import ServerState
from ipos.kernel.decisions import reasons
from ipos.lab import faults
from tests.support.farm import SERVERS, Farm, read_answer, request, wait_until
from tests.support.shared import farm_with

INSERT, LEARN, SOURCE, EITHER = 8101, 8102, 8103, 8104
LEARNED = "SESSION"
CONFIG = f"""\
[[service]]
name = "insert"
port = {INSERT}
policy = "round-robin"
slow_start_ms = 0
session = {{ kind = "insert" }}

[[service]]
name = "learn"
port = {LEARN}
policy = "round-robin"
slow_start_ms = 0
session = {{ kind = "learn", cookie = "{LEARNED}" }}

[[service]]
name = "source"
port = {SOURCE}
session = {{ kind = "source" }}

[[service]]
name = "either"
port = {EITHER}
policy = "source-hash"
session = {{ kind = "insert" }}
"""

pytestmark = pytest.mark.farm


@dataclass
class Session:
    """One client: its cookie, and the server that its first answer came from."""

    cookie: str = ""
    server: str = ""
    wrong: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    with farm_with(CONFIG) as made:
        yield made


async def _ask(farm: Farm, port: int, server: str, session: Session) -> None:
    """One request on a connection of its own; what is wrong with its answer goes to `wrong`."""
    sock = farm.unconnected()
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    try:
        await asyncio.wait_for(loop.sock_connect(sock, (farm.address(server), port)), 20)
        path = "/login" if port == LEARN and not session.cookie else "/"
        cookie = f"Cookie: theme=dark; {session.cookie}\r\n" if session.cookie else ""
        head = f"GET {path} HTTP/1.1\r\nHost: farm.example\r\nConnection: close\r\n{cookie}\r\n"
        await loop.sock_sendall(sock, head.encode())
        data = b""
        while piece := await asyncio.wait_for(loop.sock_recv(sock, 65536), 20):
            data += piece
    except (OSError, TimeoutError) as error:
        session.wrong.append(f"{server}: {error!r}")
        return
    finally:
        sock.close()
    lines = data.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")
    by = next(line.split(": ")[1] for line in lines if line.startswith("X-Served-By: "))
    given = [line.split(": ")[1].split(";")[0] for line in lines if line.startswith("Set-Cookie: ")]
    if len(given) != (not session.cookie):
        session.wrong.append(f"{len(given)} cookies from {by}")
    if given:
        session.cookie = given[0]
        session.server = session.server or by
    if by != session.server:
        session.wrong.append(f"by {by} and not {session.server}, asked at {server}")
        session.server = by


async def _talk(
    farm: Farm,
    port: int,
    sessions: Sequence[Session],
    requests: int,
    servers: Sequence[str] = SERVERS,
) -> None:
    """That many requests of each session, fifty sessions at a time, each at any of `servers`."""
    gate = asyncio.Semaphore(50)

    async def one(session: Session) -> None:
        async with gate:
            for _ in range(requests):
                await _ask(farm, port, random.choice(servers), session)

    await asyncio.gather(*(one(session) for session in sessions))


def _order(farm: Farm, server: str, state: ServerState) -> None:
    farm.run("s1", "ipos", "server", "set", server, state.name.lower())

    def known() -> bool:
        rows = [tables.servers.get(int(server[1:])) for tables in farm.tables.values()]
        return all(row is not None and row.state is state for row in rows)

    wait_until(f"all know that {server} is {state.name}", known)


def _told(farm: Farm, port: int, servers: Sequence[str] = SERVERS) -> None:
    """Waits until these servers have the same rows for the port's learned sessions."""

    def rows(server: str) -> dict[int, str]:
        found = farm.tables[server].cookies.items()
        return {key.hash: str(row.server_ip) for key, row in found}

    def same() -> bool:
        first, *others = (rows(server) for server in servers)
        return all(each == first for each in others)

    if port == LEARN:
        wait_until("every server has every session", same, 30)


@contextmanager
def _without(farm: Farm, server: str) -> Iterator[list[str]]:
    """The power of a server is cut inside the block; yields the others, who know it by then."""
    others = [each for each in SERVERS if each != server]
    number = int(server[1:])

    def gone() -> bool:
        rows = [farm.tables[each].servers.get(number) for each in others]
        return all(row is None or row.state is not ServerState.READY for row in rows)

    faults.cut_power(farm.lab, server)
    try:
        wait_until(f"the others know that {server} is gone", gone, 30)
        yield others
    finally:
        faults.restore_power(farm.lab, server)
        wait_until("every server ready", farm.ready, 30)


def _wrong(sessions: Sequence[Session]) -> list[str]:
    return [text for session in sessions for text in session.wrong][:10]


@pytest.mark.parametrize("port", [INSERT, LEARN])
@pytest.mark.parametrize(
    ("count", "requests"),
    [(60, 6), pytest.param(10_000, 10, marks=pytest.mark.slow)],
)
def test_a_session_has_its_server_while_servers_come_and_go(
    farm: Farm, port: int, count: int, requests: int
) -> None:
    """The third server is added to two, new sessions begin, and then the second is killed."""
    half, part = count // 2, requests // 3
    early, late = [Session() for _ in range(half)], [Session() for _ in range(count - half)]
    with _without(farm, "s3") as two:
        asyncio.run(_talk(farm, port, early, part, two))
        assert {session.server for session in early} == set(two)
    _told(farm, port)
    asyncio.run(_talk(farm, port, [*early, *late], part))
    assert _wrong([*early, *late]) == []
    assert {session.server for session in late} == set(SERVERS)

    own = [session for session in (*early, *late) if session.server == "s2"]
    others = [session for session in (*early, *late) if session.server != "s2"]
    with _without(farm, "s2") as two:
        asyncio.run(_talk(farm, port, others, requests - 2 * part, two))
        assert _wrong(others) == []
        asyncio.run(_talk(farm, port, own, 1, two))
        assert {session.server for session in own} <= set(two)
        _told(farm, port, two)
        for session in own:
            session.wrong.clear()
        asyncio.run(_talk(farm, port, own, requests - 2 * part - 1, two))
        assert _wrong(own) == []


@pytest.mark.parametrize("port", [SOURCE, EITHER])
def test_a_client_comes_back_by_its_address(farm: Farm, port: int) -> None:
    """Without a cookie, also where a cookie would count."""

    def served() -> set[str]:
        return {farm.get("/", port, server).served_by for server in SERVERS * 2}

    # A farm that has just begun knows its servers one after the other.
    wait_until("one server for the client", lambda: len(served()) == 1)
    assert len(served()) == 1


def test_a_cookie_is_inserted_once_in_a_connection(farm: Farm) -> None:
    with farm.connect(INSERT) as connection:
        given = []
        for path in ("/", "/again", "/"):
            connection.sendall(request(path, close=False))
            answer = read_answer(connection)
            given.append(answer.headers.get("set-cookie", ""))
            assert b"Set-Cookie" not in answer.body
    assert given[0].startswith("IPOS=")
    assert given[1:] == ["", ""]


def test_a_cookie_is_inserted_into_the_answer_to_head(farm: Farm) -> None:
    with farm.connect(INSERT) as connection:
        connection.sendall(b"HEAD / HTTP/1.1\r\nHost: farm.example\r\nConnection: close\r\n\r\n")
        data = b""
        while piece := connection.recv(65536):
            data += piece
    assert data.count(b"\r\nSet-Cookie: IPOS=") == 1
    assert data.endswith(b"\r\n\r\n")


def test_a_row_is_everywhere_when_the_answer_is(farm: Farm) -> None:
    session = Session()
    before = {server: farm.tables[server].cookies.count() for server in SERVERS}
    asyncio.run(_ask(farm, LEARN, "s2", session))
    assert {s: farm.tables[s].cookies.count() - n for s, n in before.items()} == dict.fromkeys(
        SERVERS, 1
    )


@pytest.mark.parametrize("port", [INSERT, LEARN])
def test_explain_reads_a_session_as_the_data_plane_does(farm: Farm, port: int) -> None:
    session = Session()
    asyncio.run(_ask(farm, port, "s1", session))
    url = f"http://{farm.address('s2')}:{port}/"
    text = farm.run("s2", "ipos", "explain", url, "--cookie", session.cookie, "-o", "json")
    (decision,) = json.loads(text)["decisions"]
    assert (decision["server"], decision["share"]) == (session.server, 1.0)
    assert decision["reason"] == reasons()[constant("IPOS_REASON_SESSION")]


@pytest.mark.parametrize("port", [INSERT, LEARN])
def test_a_server_in_maintenance_moves_only_its_own_sessions(farm: Farm, port: int) -> None:
    sessions = [Session() for _ in range(60)]
    asyncio.run(_talk(farm, port, sessions, 1))
    before = [session.server for session in sessions]
    _order(farm, "s3", ServerState.MAINT)
    try:
        for session, server in zip(sessions, before, strict=True):
            if server != "s3":
                asyncio.run(_ask(farm, port, random.choice(("s1", "s2")), session))
                assert session.wrong == []
        own = [one for one, server in zip(sessions, before, strict=True) if server == "s3"]
        with farm.watching("s1", len(own)) as events:
            for session in own:
                asyncio.run(_ask(farm, port, "s1", session))
                assert session.server in ("s1", "s2")
        moved = reasons()[constant("IPOS_REASON_SESSION_MOVED")]
        assert [(event["reason"], event["server"]) for event in events] == [
            (moved, session.server) for session in own
        ]
    finally:
        _order(farm, "s3", ServerState.READY)


@pytest.mark.parametrize("port", [INSERT, LEARN])
def test_a_server_that_drains_keeps_its_sessions(farm: Farm, port: int) -> None:
    sessions = [Session() for _ in range(60)]
    asyncio.run(_talk(farm, port, sessions, 1))
    _order(farm, "s2", ServerState.DRAIN)
    try:
        asyncio.run(_talk(farm, port, sessions, 2))
        assert _wrong(sessions) == []
        late = [Session() for _ in range(10)]
        asyncio.run(_talk(farm, port, late, 1))
        assert "s2" not in {session.server for session in late}
    finally:
        _order(farm, "s2", ServerState.READY)
