# SPDX-License-Identifier: Apache-2.0
"""Columns of Figure 12 that are worked out of several members of a row."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from ipos.abi import rows
from ipos.agent.heartbeat.message import Listening
from ipos.agent.snapshot.snapshot import Advertised
from ipos.agent.view.listening_view import sockets
from ipos.agent.view.table_views import next_request, service_list
from ipos.tables import Health
from tests.agent.running import Running

HANDSHAKE = rows.Handshake(1000, 2000, 1460, 7, rows.Options(0), 0, 0)


@pytest.mark.parametrize(
    ("follow", "row", "expected"),
    [
        (rows.Follow.NOT, {"rcv_nxt": 2500}, 2500),
        (rows.Follow.NOT, {}, 2001),
        (rows.Follow.LENGTH, {"request_end": 2100, "rcv_nxt": 2050}, 2100),
        (rows.Follow.LENGTH, {"request_end": 2100, "body_left": 5000}, 7100),
        (rows.Follow.LENGTH, {"request_end": 0xFFFF_FFF0, "body_left": 0x20}, 0x10),
        (rows.Follow.CHUNKED, {"request_end": 2100, "body_left": 7}, 2107),
        (rows.Follow.OPAQUE, {"request_end": 2100, "rcv_nxt": 9000}, 9000),
    ],
)
def test_the_next_request_is_never_unknown(
    follow: rows.Follow, row: dict[str, int], expected: int
) -> None:
    endpoint = rows.Endpoint(
        hs=HANDSHAKE,
        follow=follow,
        rcv_nxt=row.get("rcv_nxt", 0),
        request_end=row.get("request_end", 0),
        body_left=row.get("body_left", 0),
    )
    assert next_request(endpoint) == expected


def test_a_socket_has_the_port_that_is_advertised_and_its_own() -> None:
    server = Advertised(
        *(1, "s1", "10.77.0.1", [int(IPv4Address("203.0.113.1"))], ["web"]),
        listening=[
            Listening(0, 80, 700, "other"),
            Listening(0, 22, 600, "sshd"),
            Listening(0x7F000001, 8080, 800, "nginx"),
        ],
    )
    found = {
        row.tcp_port: (row.application_port, row.process, row.health)
        for row in sockets(server, {8080: [(80, "web"), (81, "admin")]})
    }
    assert found == {
        80: (8080, 800, Health.UP),
        81: (8080, 800, Health.DOWN),
        22: (22, 600, Health.UP),
    }


def test_a_socket_that_takes_only_syns_or_nothing_is_named() -> None:
    server = Advertised(
        *(1, "s1", "10.77.0.1", [int(IPv4Address("203.0.113.1"))], ["go"]),
        listening=[
            Listening(0, 80, 700, mptcp=True),
            Listening(0, 81, 700, mptcp=True),
            Listening(0, 82, 701, outside=True),
        ],
        by_syn=["go"],
    )
    names = {80: [(80, "go")], 81: [(81, "read")], 82: [(82, "away")]}
    assert {row.tcp_port: row.health for row in sockets(server, names)} == {
        80: Health.SYN,
        81: Health.MPTCP,
        82: Health.OUTSIDE,
    }


def test_a_server_that_is_gone_may_serve_nothing() -> None:
    running = Running()
    gone, row = next(one for one in running.view().servers() if str(one[1].address)[-1] == "3")
    for state, left in ((rows.ServerState.DRAIN, 3), (rows.ServerState.DOWN, 2)):
        running.tables.servers.put(gone, replace(row, state=state))
        (service,) = service_list(running.view())
        assert len(service["servers"]) == left
