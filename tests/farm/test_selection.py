# SPDX-License-Identifier: Apache-2.0
"""Policies with real traffic: by weight, by the client's address, up to a limit, from the start."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import IPv4Address
from itertools import cycle, islice

import pytest

from ipos.abi.rows import RAMP_FULL, ServerState
from ipos.selection import source
from tests.support.farm import SERVERS, Farm, read_answer, request, wait_until
from tests.support.shared import farm_with

pytestmark = pytest.mark.farm

WEIGHTED, HASHED, LEAST, LIMITED = 80, 8001, 8002, 8003
CONFIG = """\
[[service]]
name = "weighted"
port = 80
policy = "weighted"
slow_start_ms = 0

[[service]]
name = "hashed"
port = 8001
policy = "source-hash"
slow_start_ms = 0

[[service]]
name = "least"
port = 8002
policy = "least-connections"
slow_start_ms = 3600000

[[service]]
name = "limited"
port = 8003
policy = "fixed"
slow_start_ms = 0

[[pool]]
name = "shares"
servers = { s1 = 1, s2 = 3, s3 = 4 }

[[route]]
service = "weighted"
pool = "shares"
"""
CLIENTS = [f"10.99.0.{number}" for number in range(100, 140)]


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    with farm_with(CONFIG) as made:
        for address in CLIENTS:
            made.run("client1", "ip", "address", "add", f"{address}/32", "dev", "front")
        yield made
        for address in CLIENTS:
            made.run("client1", "ip", "address", "del", f"{address}/32", "dev", "front")


@pytest.fixture(autouse=True)
def whole(farm: Farm) -> None:
    farm.wait_idle()


def answered(farm: Farm, port: int, count: int, servers: tuple[str, ...] = SERVERS) -> Counter[str]:
    return Counter(farm.get(port=port, server=s).served_by for s in islice(cycle(servers), count))


def get_from(farm: Farm, client: str, server: str) -> str:
    """Who answers this client of client1's when it asks this server."""
    made = farm.unconnected()
    made.bind((client, 0))
    with farm.connect(HASHED, server, made) as connection:
        connection.sendall(request())
        return read_answer(connection).served_by


def homes(farm: Farm) -> dict[str, str]:
    """Who answers each client; it asks another server each time."""
    return {
        client: get_from(farm, client, server)
        for client, server in zip(CLIENTS, cycle(SERVERS), strict=False)
    }


def order(farm: Farm, server: str, state: ServerState) -> None:
    farm.run("s1", "ipos", "server", "set", server, state.name.lower())
    index = int(server[1:])

    def known() -> bool:
        rows = [tables.servers.get(index) for tables in farm.tables.values()]
        return all(row is not None and row.state is state for row in rows)

    wait_until(f"all know that {server} is {state.name}", known)


def rewrite(farm: Farm, change: Callable[[str], str]) -> None:
    """Change every server's file and have it read again."""
    for place in farm.lab.places():
        file = place.config_file
        before = file.read_text()
        file.write_text(change(before))
        assert file.read_text() != before
        farm.run(place.node, "ipos", "reload")


def test_shares_are_the_weights(farm: Farm) -> None:
    found = answered(farm, WEIGHTED, 40, ("s1",))
    assert found == {"s1": pytest.approx(5, abs=2), "s2": pytest.approx(15, abs=2),
                     "s3": pytest.approx(20, abs=2)}  # fmt: skip


def test_weights_change_without_disturbing_a_connection(farm: Farm) -> None:
    with ExitStack() as stack:
        connections = [stack.enter_context(farm.connect(WEIGHTED)) for _ in range(16)]
        before = []
        for connection in connections:
            connection.sendall(request(close=False))
            before.append(read_answer(connection).served_by)
        assert set(before) == set(SERVERS)
        rewrite(farm, lambda text: text.replace("s1 = 1, s2 = 3, s3 = 4", "s1 = 1, s2 = 0, s3 = 1"))
        try:
            assert set(answered(farm, WEIGHTED, 12)) == {"s1", "s3"}
            for connection, server in zip(connections, before, strict=True):
                connection.sendall(request())
                assert read_answer(connection).served_by == server
        finally:
            rewrite(
                farm, lambda text: text.replace("s1 = 1, s2 = 0, s3 = 1", "s1 = 1, s2 = 3, s3 = 4")
            )
    assert set(answered(farm, WEIGHTED, 24, ("s2",))) == set(SERVERS)


def test_a_client_has_one_server_whichever_it_asks(farm: Farm) -> None:
    table = source.table([(name, 1) for name in SERVERS])
    expected = {
        client: SERVERS[table[next(source.way(int(IPv4Address(client))))]] for client in CLIENTS
    }
    assert homes(farm) == expected
    assert set(expected.values()) == set(SERVERS)
    client = CLIENTS[0]
    assert {get_from(farm, client, server) for server in SERVERS} == {expected[client]}
    told = farm.run(
        "s2", "ipos", "explain", f"http://{farm.address('s2')}:8001/", "--client", client
    )
    index = expected[client][1:]
    assert f"100.0%  {expected[client]}  source-hash: it is server {index}'s client" in told


def test_only_the_clients_of_a_drained_server_move_and_they_come_back(farm: Farm) -> None:
    before = homes(farm)
    order(farm, "s2", ServerState.DRAIN)
    try:
        without = homes(farm)
        moved = {client for client in CLIENTS if without[client] != before[client]}
        assert moved == {client for client, server in before.items() if server == "s2"}
        assert {without[client] for client in moved} == {"s1", "s3"}
        assert homes(farm) == without, "and stay where they are put"
    finally:
        order(farm, "s2", ServerState.READY)
    assert homes(farm) == before


def test_a_server_that_comes_back_is_offered_little_at_first(farm: Farm) -> None:
    """By least-connections, which would give it everything: the others have connections."""
    order(farm, "s3", ServerState.MAINT)
    order(farm, "s3", ServerState.READY)

    def ramp() -> int:
        tables = farm.tables["s1"]
        service = next(row for _, row in tables.services.items() if row.port == LEAST)
        pool = tables.pools.get(service.pool)
        assert pool is not None
        return next((one.ramp for one in pool.candidates if one.server == 3), RAMP_FULL)

    wait_until("s1 knows that s3 starts", lambda: ramp() < RAMP_FULL / 8)
    with ExitStack() as stack:
        served = []
        for _ in range(40):
            connection = stack.enter_context(farm.connect(LEAST))
            connection.sendall(request(close=False))
            served.append(read_answer(connection).served_by)
    assert served.count("s3") < 14, "1 in 16 is offered to it, and 14 would be its part"
    told = farm.run("s1", "ipos", "explain", f"http://{farm.address('s1')}:8002/")
    assert "can take it, and is offered 6%: it has just started" in told


def connections_of_s1(farm: Farm) -> int:
    """As s2 has heard."""
    row = farm.tables["s2"].servers.get(1)
    assert row is not None
    return row.tcp_connections


def test_a_server_that_is_full_gets_no_more(farm: Farm) -> None:
    limit = 'addresses = ["203.0.113.1"]\nmax_connections = 4'
    file = farm.lab.place("s1").config_file
    whole_text = file.read_text()
    file.write_text(re.sub(r"^addresses = .*$", limit, whole_text, flags=re.MULTILINE))
    farm.run("s1", "ipos", "reload")

    def known() -> bool:
        rows = [tables.servers.get(1) for tables in farm.tables.values()]
        return all(row is not None and row.limit == 4 for row in rows)

    try:
        wait_until("all know the limit", known)
        with ExitStack() as stack:
            served = []
            for _ in range(7):
                connection = stack.enter_context(farm.connect(LIMITED, "s2"))
                connection.sendall(request(close=False))
                served.append(read_answer(connection).served_by)
                # Between two rows a limit may be passed, and on a busy machine that is long.
                wait_until("its row says so", lambda: connections_of_s1(farm) == served.count("s1"))
        assert served == ["s1"] * 4 + ["s2"] * 3
    finally:
        file.write_text(whole_text)
        farm.run("s1", "ipos", "reload")
