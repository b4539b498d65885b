# SPDX-License-Identifier: Apache-2.0
"""Events from rows that appear in the connection tables."""

from ipaddress import IPv4Address

import pytest

from ipos.agent import events
from ipos.agent.events import Watcher
from ipos.inic import rows
from tests.agent.farm import NOW_NS
from tests.agent.running import Running

SERVICE = IPv4Address("203.0.113.1")


def key(port: int) -> rows.Tuple:
    return rows.Tuple(IPv4Address("10.99.0.11"), SERVICE, port, 80)


def forward(iss: int, server: int = 2) -> rows.Forward:
    return rows.Forward(IPv4Address("203.0.113.2"), 80, server, iss, False, 0, 1, NOW_NS)


def endpoint(first: int) -> rows.Endpoint:
    handshake = rows.Handshake(7, 8, 1460, 7, rows.Option.SACK, 0, 0)
    return rows.Endpoint(SERVICE, 80, first, 0, handshake, rows.EndpointState.PENDING, 0, 0, NOW_NS)


def test_only_what_is_new_is_told_and_once() -> None:
    running = Running()
    running.tables.forward.put(key(1), forward(1))
    watcher = Watcher(running.connection_maps())
    assert list(watcher.look(running.snapshot)) == []
    running.tables.forward.put(key(2), forward(1))
    running.tables.local.put(key(3), endpoint(1))
    running.tables.connect.put(key(4), endpoint(3))
    told = list(watcher.look(running.snapshot))
    assert [{k: v for k, v in event.items() if k != "time"} for event in told] == [
        {
            "event": "forwarded",
            "client": "10.99.0.11:2",
            "service_address": "203.0.113.1:80",
            "service": "web",
            "first_server": "s1",
            "server": "s2",
        },
        {
            "event": "served here",
            "client": "10.99.0.11:3",
            "service_address": "203.0.113.1:80",
            "service": "web",
            "first_server": "s1",
            "server": "s1",
        },
        {
            "event": "taken over",
            "client": "10.99.0.11:4",
            "service_address": "203.0.113.1:80",
            "service": "web",
            "first_server": "s3",
            "server": "s1",
        },
    ]
    assert list(watcher.look(running.snapshot)) == []


def test_a_port_used_again_is_another_connection() -> None:
    running = Running()
    watcher = Watcher(running.connection_maps())
    for iss in (1, 2):
        running.tables.forward.put(key(1), forward(iss))
        assert len(list(watcher.look(running.snapshot))) == 1


def ended(iss: int, state: rows.TemporaryState) -> rows.Temporary:
    handshake = rows.Handshake(iss, 8, 1460, 7, rows.Option.SACK, 0, 0)
    return rows.Temporary(handshake, state, 0, NOW_NS, NOW_NS)


def test_what_came_and_went_between_two_looks_leaves_its_end() -> None:
    running = Running()
    watcher = Watcher(running.connection_maps())
    running.tables.temporary.put(key(1), ended(5, rows.TemporaryState.CLOSED))
    running.tables.temporary.put(key(2), ended(5, rows.TemporaryState.OPEN))
    (event,) = watcher.look(running.snapshot)
    assert (event["event"], event["client"], event["server"]) == ("ended", "10.99.0.11:1", None)
    running.tables.forward.put(key(3), forward(9))
    assert [event["event"] for event in watcher.look(running.snapshot)] == ["forwarded"]
    running.tables.forward.delete(key(3))
    running.tables.temporary.put(key(3), ended(9, rows.TemporaryState.RESET))
    assert list(watcher.look(running.snapshot)) == []


def test_a_flood_is_counted_and_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "EVENTS", 3)
    running = Running()
    watcher = Watcher(running.connection_maps())
    for port in range(1, 6):
        running.tables.forward.put(key(port), forward(port))
        running.tables.local.put(key(100 + port), endpoint(1))
    *told, last = watcher.look(running.snapshot)
    assert [event["event"] for event in told] == ["forwarded"] * 3
    assert (last["event"], last["count"]) == ("more", 7)
