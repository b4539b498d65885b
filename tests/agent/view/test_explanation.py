# SPDX-License-Identifier: Apache-2.0
"""What `explain` says of requests to a farm of three."""

import dataclasses
from ipaddress import IPv4Address

import msgspec
import pytest

from ipos.abi import rows
from ipos.agent.snapshot.snapshot import Held
from ipos.agent.view.explanation import Explanation, explain
from ipos.agent.view.rules_in_force import Unexplained
from ipos.config.schema import Pool, Route, Service
from tests.agent.running import Running

URL = "http://203.0.113.1/img/logo.png"
FARM = (Service(name="web", port=80), Service(name="images", port=8001))
ROUTED = {
    "pool": [Pool(name="two", servers={"s2": 1, "s3": 3})],
    "route": [Route(service="images", pool="two")],
}


NOT_READ = (
    "no route, session or decide of its service asks for anything that a request says, so its "
    "clients' bytes are not read, whatever they are"
)


@pytest.fixture
def running() -> Running:
    return Running(*FARM, **ROUTED)


def change(running: Running, index: int, **fields: object) -> None:
    row = running.tables.servers.get(index)
    assert row is not None
    running.tables.servers.put(index, dataclasses.replace(row, **fields))  # type: ignore[arg-type]


def reasons(found: Explanation) -> dict[str, str]:
    return {one.server: one.reason for one in found.servers}


def shares(found: Explanation) -> dict[str, float]:
    return {one.server: one.share for one in found.servers}


def test_one_that_gets_only_syns_is_named(running: Running) -> None:
    first, *others = running.snapshot.servers
    told = [msgspec.structs.replace(first, by_syn=["web"]), *others]
    running.snapshot = msgspec.structs.replace(running.snapshot, servers=told)
    note = explain(running.view(), URL).notes[0]
    assert "listens with MPTCP on s1, so until that application is restarted" in note


def test_a_service_for_all(running: Running) -> None:
    found = explain(running.view(), URL)
    assert (found.service, found.first_server, found.policy) == ("web", "s1", "least-loaded")
    assert (found.pool, found.select, found.notes) == (None, "request", [NOT_READ])
    assert found.service_address == "203.0.113.1:80"
    # connections + 1, times a price of 1: 10, 20, 30 of them, and 700 permille of CPU are left
    assert [one.score for one in found.servers] == [11, 21, 31]
    assert reasons(found) == dict.fromkeys(("s1", "s2", "s3"), "can take it")
    assert shares(found) == {"s1": 0.6667, "s2": 0.3333, "s3": 0}
    assert [(one.server, one.share) for one in found.decisions] == [
        ("s1", 0.3333),
        ("s1", 0.3333),
        ("s2", 0.3333),
    ]
    assert found.decisions[0].reason == (
        "least-loaded: server 1 (score 11, weight 1) against server 2 (score 21, weight 1)"
    )


@pytest.mark.parametrize(
    ("short", "of", "price"),
    [
        ({}, None, 1),
        ({"cpu_permille": 500}, "cpu", 2),
        ({"memory_short": 90}, "memory", 8),
        ({"bandwidth_short": 255}, "bandwidth", 64),
        ({"cpu_permille": 800, "memory_short": 75, "bandwidth_short": 76}, "cpu", 4),
    ],
)
def test_what_a_server_is_short_of(
    running: Running, short: dict[str, int], of: str | None, price: int
) -> None:
    change(running, 1, **{"cpu_permille": 0, **short})
    found = explain(running.view(), URL)
    assert (found.servers[0].short_of, found.servers[0].price) == (of, price)
    assert found.servers[0].score == 11 * price
    assert (shares(found)["s1"] == 0) == (price > 2)


def test_what_was_sent_since_counts(running: Running) -> None:
    running.tables.traffic.put(1, rows.Traffic(sent=100, closed=5))
    found = explain(running.view(), URL)
    assert found.servers[0].connections == 105
    assert shares(found)["s1"] == 0


def test_a_pool_by_route(running: Running) -> None:
    found = explain(running.view(), "http://203.0.113.3:8001/")
    assert (found.service, found.pool, found.first_server) == ("images", "two", "s3")
    assert found.rule == "route 1, */, gives it to two: the only one that fits"
    assert reasons(found)["s1"] == "is not in pool two"
    assert {one.server: one.weight for one in found.servers} == {"s2": 1, "s3": 3, "s1": 0}


def test_why_servers_are_not_usable(running: Running) -> None:
    change(running, 1, state=rows.ServerState.DRAIN)
    change(running, 2, limit=7)
    found = explain(running.view(), URL)
    assert reasons(found) == {
        "s1": "is drain",
        "s2": "is at its limit of 7",
        "s3": "can take it",
    }
    assert [one.usable for one in found.servers] == [False, False, True]
    change(running, 3, state=rows.ServerState.DOWN)
    (only,) = explain(running.view(), URL).decisions
    assert only.server is None
    assert only.reason == (
        "nobody can take it: server 1 is drain, server 2 is at its limit of 7, server 3 is down"
    )


def test_a_server_without_the_application_is_no_candidate(running: Running) -> None:
    pool = running.tables.pools.get(0)
    assert pool is not None
    running.tables.pools.put(0, dataclasses.replace(pool, candidates=pool.candidates[1:]))
    assert "does not listen or is not well" in reasons(explain(running.view(), URL))["s1"]


def test_a_name_is_any_server(running: Running) -> None:
    found = explain(running.view(), "shop.example.org:8001/x")
    assert (found.service, found.first_server, found.service_address) == ("images", None, None)


def test_client_and_cookie(running: Running) -> None:
    assert explain(running.view(), URL, client="10.99.0.11").notes == [NOT_READ]
    running.tables.deny.put(rows.Prefix(32, IPv4Address("10.99.0.11")), 1)
    denied, cookie, _ = explain(running.view(), URL, client="10.99.0.11", cookie="IPOS=1").notes
    assert denied.startswith("10.99.0.11 is denied")
    assert cookie == "the service keeps no sessions by cookie: it does not count"


@pytest.mark.parametrize(
    ("url", "client", "said"),
    [
        ("http://203.0.113.9/", "", "203.0.113.9:80 is no service address of this farm"),
        ("https://shop.example.org/", "", "203.0.113.1:80, 203.0.113.1:8001"),
        ("http://203.0.113.1:x/", "", "is no URL"),
        ("ftp://203.0.113.1/", "", "names no host and port"),
        ("http://", "", "names no host and port"),
        (URL, "me", "me is no address of a client"),
    ],
)
def test_what_is_no_request(running: Running, url: str, client: str, said: str) -> None:
    with pytest.raises(Unexplained, match=said):
        explain(running.view(), url, client)


@pytest.mark.parametrize("holder", ["s2", ""])
def test_the_first_server_is_who_holds_the_address_now(running: Running, holder: str) -> None:
    view = running.view()
    held = Held("203.0.113.1", "s1", holder, 0, "s1 is down")
    snapshot = msgspec.structs.replace(view.snapshot, addresses=[held])
    found = explain(dataclasses.replace(view, snapshot=snapshot), URL)
    assert found.first_server == (holder or None)
