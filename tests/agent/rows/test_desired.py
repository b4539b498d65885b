# SPDX-License-Identifier: Apache-2.0
"""From configuration and members to rows: candidates, weights, addresses, ages."""

from ipaddress import IPv4Address
from typing import Any

import msgspec
import pytest

from ipos.abi import rows
from ipos.agent.heartbeat.membership import Members
from ipos.agent.heartbeat.message import Listening
from ipos.agent.host.listeners import Box
from ipos.agent.host.listeners import Listener as Socket
from ipos.agent.rows import desired, pools
from ipos.agent.rows.desired import Rows
from ipos.config.listener import Listener
from ipos.config.schema import Config, Pool, Route, Service, Session
from ipos.config.starting import Start
from ipos.handshake.keys import FarmKeys, KeyRing
from tests.agent.made_up_farm import (
    MS,
    NOW_NS,
    WALL_MS,
    back,
    config,
    datagram,
    front,
    members,
    server_rows,
    state,
)

ANY = IPv4Address(0)
TRAFFIC = {1: (5, 2), 2: ((3 << 32) + 7, (3 << 32) + 11)}


@pytest.fixture
def farm() -> Members:
    """s1 and what it heard of s2; s3 has not spoken."""
    made = members()
    made.hear_myself(state(1), NOW_NS)
    assert made.receive(datagram(2), int(back(2)), NOW_NS, WALL_MS)
    return made


def rows_of(wanted: Config, farm: Members, now_ns: int = NOW_NS) -> Rows:
    slots = pools.number_services(wanted, [])
    numbers = pools.number_pools(pools.definitions(wanted))
    return desired.plan(wanted, slots, numbers, farm, TRAFFIC, now_ns)


def servers(farm: Members, now_ns: int = NOW_NS) -> dict[int, rows.Server]:
    return server_rows(rows_of(config(), farm, now_ns).servers)


def candidates(found: Rows, pool: int = 0) -> list[tuple[int, int, int]]:
    return [(one.server, one.port, one.weight) for one in found.pools[pool].candidates]


def test_every_server_that_listens_is_a_candidate(farm: Members) -> None:
    found = rows_of(config(), farm)
    assert candidates(found) == [(1, 80, 1), (2, 80, 1)]
    assert found.services == {
        0: rows.Service(
            rows.PROTOCOL_TCP,
            used=True,
            port=80,
            application_ip=ANY,
            application_port=80,
            mode=rows.Mode.ANY,
        )
    }
    assert found.pools[0].policy is rows.Policy.LEAST_LOADED


def test_a_server_without_the_service_is_none(farm: Members) -> None:
    farm.hear_myself(state(1, services=[]), NOW_NS)
    assert candidates(rows_of(config(), farm)) == [(2, 80, 1)]


def test_the_applications_port_goes_with_the_candidate(farm: Members) -> None:
    service = Service(
        name="web", port=80, application=Listener.parse("127.0.0.1:8080"), select="connection",
        policy="round-robin",
    )  # fmt: skip
    found = rows_of(config(service), farm)
    assert candidates(found) == [(1, 8080, 1), (2, 8080, 1)]
    assert found.services[0].application_ip == IPv4Address("127.0.0.1")
    assert found.services[0].application_port == 8080
    assert found.services[0].select is rows.Select.CONNECTION
    assert found.pools[0].policy is rows.Policy.ROUND_ROBIN


def test_a_route_for_all_gives_a_pool_and_its_weights(farm: Members) -> None:
    wanted = config(
        pool=[Pool(name="some", servers={"s1": 0, "s2": 7, "s3": 9})],
        route=[Route(service="web", pool="some")],
    )
    assert candidates(rows_of(wanted, farm)) == [(2, 80, 7)]


def test_an_ordered_weight_counts_wherever_the_server_is_configured(farm: Members) -> None:
    assert farm.receive(datagram(2, weight=5, sequence=2), int(back(2)), NOW_NS, WALL_MS)
    assert candidates(rows_of(config(), farm)) == [(1, 80, 1), (2, 80, 5)]
    for weight, wanted in ((7, [(1, 80, 3), (2, 80, 5)]), (0, [(1, 80, 3)])):
        routed = config(
            pool=[Pool(name="some", servers={"s1": 3, "s2": weight})],
            route=[Route(service="web", pool="some")],
        )
        assert candidates(rows_of(routed, farm)) == wanted
    slots = rows_of(config(Service(name="web", port=80, policy="source-hash")), farm).slots[0]
    assert slots.count(2) == pytest.approx(rows.SLOTS * 5 / 6, abs=1)


def test_who_starts_is_a_candidate_with_a_ramp(farm: Members) -> None:
    chosen = config(Service(name="web", port=80), Service(name="mail", port=25))
    farm.hear_myself(state(1, services=["web", "mail"]), NOW_NS)
    slots = pools.number_services(chosen, [])
    numbers = pools.number_pools(pools.definitions(chosen))
    ramps = {("web", 2): 40, ("mail", 1): 7}
    found = desired.plan(chosen, slots, numbers, farm, {}, NOW_NS, ramps)
    assert [one.ramp for one in found.pools[0].candidates] == [256, 40]
    assert [one.ramp for one in found.pools[1].candidates] == [7]


def test_every_server_that_is_not_down_decides_by_the_same_rows(farm: Members) -> None:
    drained = datagram(2, state=int(rows.ServerState.DRAIN), sequence=2)
    assert farm.receive(drained, int(back(2)), NOW_NS, WALL_MS)
    assert rows_of(config(), farm).pools[0].firsts == 2
    farm.hear_myself(state(1), NOW_NS + 1000 * MS)
    assert rows_of(config(), farm, NOW_NS + 1000 * MS).pools[0].firsts == 1


def test_a_servers_limit_is_what_it_says(farm: Members) -> None:
    assert farm.receive(datagram(2, limit=900, sequence=2), int(back(2)), NOW_NS, WALL_MS)
    assert [row.limit for row in servers(farm).values()] == [0, 900]


def test_only_pools_that_hash_have_a_table_of_all_servers_of_their_pool(farm: Members) -> None:
    hashing = Service(name="web", port=80, policy="source-hash")
    assert not rows_of(config(), farm).slots
    everyone = rows_of(config(hashing), farm).slots[0]
    assert len(everyone) == rows.SLOTS
    assert abs(everyone.count(1) - everyone.count(2)) <= 1
    assert set(everyone) == {1, 2}
    wanted = config(
        hashing,
        pool=[Pool(name="some", servers={"s1": 0, "s2": 1, "s3": 3})],
        route=[Route(service="web", pool="some")],
    )
    routed = rows_of(wanted, farm).slots[0]
    assert routed.count(0) == pytest.approx(rows.SLOTS * 3 / 4, abs=1), "s3 was not heard yet"
    assert farm.receive(datagram(3), int(back(3)), NOW_NS, WALL_MS)
    heard = rows_of(wanted, farm).slots[0]
    assert heard == tuple(one or 3 for one in routed)
    gone = datagram(2, sequence=2, services=[], state=int(rows.ServerState.MAINT))
    assert farm.receive(gone, int(back(2)), NOW_NS, WALL_MS)
    assert rows_of(wanted, farm).slots[0] == heard, "its clients are where they were"
    assert candidates(rows_of(wanted, farm)) == [(3, 80, 3)]


def test_every_service_has_every_address_that_is_known(farm: Members) -> None:
    found = rows_of(config(Service(name="a", port=80), Service(name="b", port=25)), farm)
    assert found.addresses == {
        rows.AddressKey(front(server), port, rows.PROTOCOL_TCP): rows.Address(service, server)
        for server in (1, 2)
        for service, port in ((0, 80), (1, 25))
    } | {rows.AddressKey(front(server), 0, 0): rows.Address(0, server) for server in (1, 2)}
    assert found.members == {bytes((2, 0, 0, 0, 0, n)): n for n in (1, 2)}
    assert desired.foreign_addresses(farm) == {front(2)}


def test_a_service_keeps_its_index_over_changes(farm: Members) -> None:
    a, b, c = (Service(name=name, port=port) for name, port in (("a", 1), ("b", 2), ("c", 3)))
    slots = pools.number_services(config(a, b), [])
    assert slots == ["a", "b"]
    slots = pools.number_services(config(b), slots)
    assert slots == ["", "b"]
    slots = pools.number_services(config(c, b), slots)
    assert slots == ["c", "b"]
    assert pools.number_services(config(c, b, a), slots) == ["c", "b", "a"]
    numbers = pools.number_pools(pools.definitions(config(b, c)))
    found = desired.plan(config(b, c), slots, numbers, farm, {}, NOW_NS)
    assert {index: service.port for index, service in found.services.items()} == {0: 3, 1: 2}
    key = rows.AddressKey(front(2), 2, rows.PROTOCOL_TCP)
    assert found.addresses[key] == rows.Address(1, 2)


def test_server_rows_say_what_was_said_and_how_old_it_is(farm: Members) -> None:
    found = servers(farm)
    assert set(found) == {1, 2}
    assert found[2] == rows.Server(
        address=front(2), back_ip=back(2), mac=bytes((2, 0, 0, 0, 0, 2)),
        state=rows.ServerState.READY, stale=False, tcp_connections=20, cpu_permille=200,
        memory_available=2 << 30, bandwidth_available=1_000_000_000, updated_ns=NOW_NS,
        base=-4, sent=7,
    )  # fmt: skip
    stale = servers(farm, NOW_NS + 500 * MS)[2]
    assert (stale.state, stale.stale) == (rows.ServerState.READY, True)
    down = rows_of(config(), farm, NOW_NS + 1000 * MS)
    gone = server_rows(down.servers)[2]
    assert (gone.state, gone.stale) == (rows.ServerState.DOWN, True)
    assert candidates(down) == [(1, 80, 1), (2, 80, 1)], "its row keeps it from being chosen"


def test_what_a_server_says_of_its_state_is_its_row(farm: Members) -> None:
    drained = datagram(2, state=int(rows.ServerState.DRAIN), sequence=2)
    assert farm.receive(drained, int(back(2)), NOW_NS, WALL_MS)
    assert servers(farm)[2].state is rows.ServerState.DRAIN


@pytest.mark.parametrize(
    ("parts", "unread"),
    [
        ({}, True),
        ({"session": Session(kind="source")}, True),
        ({"session": Session(kind="insert", cookie="IPOS")}, False),
        ({"session": Session(kind="learn", cookie="SID")}, False),
        ({"decide": "request"}, False),
    ],
)
def test_who_needs_what_applications_say_has_it_read(parts: dict[str, Any], unread: bool) -> None:
    """And for good: a connection begun under this configuration may outlive it."""
    port = desired.Interface(2, 0, b"\2\0\0\0\0\1")
    keys, flag = KeyRing(FarmKeys(bytes(16), "shop")), rows.SettingsFlags.ANSWERS_UNREAD
    service = Service(name="web", port=80, **parts)
    found = desired.settings(config(service), port, port, 1, keys, 0, flag)
    assert bool(found.flags & flag) is unread
    later = desired.settings(config(), port, port, 1, keys, 0, found.flags)
    assert bool(later.flags & flag) is unread


def test_settings_are_the_configurations() -> None:
    front_port = desired.Interface(2, 0, b"\2\0\0\0\0\1")
    back_port = desired.Interface(3, 7, b"\2\0\0\0\0\2")
    keys = KeyRing(FarmKeys(bytes(range(16)), "shop"))
    found = desired.settings(
        config(), front_port, back_port, 1, keys, 5, rows.SettingsFlags.CAPTURE
    )
    assert found.flags == rows.SettingsFlags.AUTHENTICATE | rows.SettingsFlags.CAPTURE
    assert (found.back_ifindex, found.back_vlan, found.self_ip) == (3, 7, front(1))
    assert b"".join(word.to_bytes(8, "little") for word in found.frame_key) == keys.main.frame
    assert b"".join(word.to_bytes(8, "little") for word in found.learn_key) == keys.main.learn
    assert rows.SettingsFlags.KEYS_CHANGE not in found.flags


def test_settings_while_the_secret_changes() -> None:
    port = desired.Interface(2, 0, b"\2\0\0\0\0\1")
    old, new = (FarmKeys(bytes([number] * 16), "shop") for number in (1, 2))
    kept = rows.SettingsFlags.CAPTURE
    found = desired.settings(config(), port, port, 1, KeyRing(new, old), 5, kept)
    assert rows.SettingsFlags.KEYS_CHANGE in found.flags
    assert found.frame_key == desired.key_words(new.frame)
    assert found.other_frame_key == desired.key_words(old.frame)
    assert found.other_learn_key == desired.key_words(old.learn)


@pytest.mark.parametrize(
    ("parts", "routes", "mode"),
    [
        ({}, [], rows.Mode.ANY),
        ({"session": Session(kind="source")}, [], rows.Mode.ANY),
        ({"access_log": 1.0}, [], rows.Mode.ANY),
        ({}, [Route(service="web", pool="p")], rows.Mode.ANY),
        ({}, [Route(service="other", pool="p", path="/a")], rows.Mode.ANY),
        ({}, [Route(service="web", pool="p", path="/a")], rows.Mode.AUTO),
        ({}, [Route(service="web", pool="p", host="a.example")], rows.Mode.AUTO),
        ({"session": Session(kind="insert")}, [], rows.Mode.AUTO),
        ({"decide": "request"}, [], rows.Mode.AUTO),
        ({"mode": "http"}, [], rows.Mode.HTTP),
        ({"mode": "tcp"}, [], rows.Mode.TCP),
        ({"mode": "tls"}, [Route(service="web", pool="p", host="a.example")], rows.Mode.TLS),
    ],
)
def test_what_is_read_is_what_something_asks_for(
    parts: dict[str, Any], routes: list[Route], mode: rows.Mode
) -> None:
    service = Service(name="web", port=80, **parts)
    whole = msgspec.structs.replace(config(service), route=routes)
    assert desired.mode(whole, service) is mode


@pytest.mark.parametrize(
    ("listening", "address"),
    [
        ([Listening(0, 80)], ANY),
        ([Listening(0, 80, mptcp=True), Listening(int(front(1)), 80)], front(1)),
        ([Listening(0, 80, outside=True), Listening(int(front(1)), 80)], front(1)),
        ([Listening(int(front(1)), 80)], front(1)),
        ([Listening(int(front(1)), 80), Listening(0, 80)], ANY),
        ([Listening(int(front(1)), 8080)], ANY),
        ([Listening(int(front(2)), 80)], ANY),
    ],
)
def test_where_an_application_listens_if_not_everywhere(
    farm: Members, listening: list[Listening], address: IPv4Address
) -> None:
    farm.hear_myself(state(1, listening=listening), NOW_NS)
    assert rows_of(config(), farm).services[0].listener_ip == address


@pytest.mark.parametrize(
    ("parts", "routes", "able"),
    [
        ({}, [], True),
        ({"mode": "tcp"}, [], True),
        ({"mode": "http"}, [], False),
        ({"decide": "request"}, [], False),
        ({"session": Session(kind="insert")}, [], False),
        ({"session": Session(kind="source")}, [], True),
        ({"start": Start(command=["/shop"])}, [], False),
        ({}, [Route(service="web", pool="some")], True),
        ({}, [Route(service="web", pool="some", path="/img/")], False),
    ],
)
def test_one_that_takes_only_syns_gets_them_where_nothing_is_read(
    farm: Members, parts: dict[str, Any], routes: list[Route], able: bool
) -> None:
    """All servers choose at the SYN then, as long as it lasts; where that can not be, it is out."""
    some = Pool(name="some", servers={"s1": 1, "s2": 1})
    whole = config(Service(name="web", port=80, **parts), pool=[some], route=routes)
    select = rows.Select.REQUEST, rows.Select.CONNECTION
    said = datagram(2, sequence=2, by_syn=["web"])
    assert farm.receive(said, int(back(2)), NOW_NS, WALL_MS)
    found = rows_of(whole, farm)
    assert found.services[0].select is select[able]
    assert [one for one, *_ in candidates(found)] == ([1, 2] if able else [1])
    down = rows_of(whole, farm, NOW_NS + 1000 * MS)
    assert down.services[0].select is rows.Select.REQUEST
    assert farm.receive(datagram(2, sequence=3), int(back(2)), NOW_NS, WALL_MS)
    assert rows_of(whole, farm).services[0].select is rows.Select.REQUEST
    assert [one for one, *_ in candidates(rows_of(whole, farm))] == [1, 2]


def test_what_one_server_cannot_take_is_offered_by_none(farm: Members) -> None:
    assert desired.withheld(farm, NOW_NS) == rows.Options(0)
    said = datagram(2, sequence=2, withheld=int(rows.Options.SACK))
    assert farm.receive(said, int(back(2)), NOW_NS, WALL_MS)
    assert desired.withheld(farm, NOW_NS) == rows.Options.SACK
    assert desired.withheld(farm, NOW_NS + 1000 * MS) == rows.Options(0)  # it is down


def test_an_application_in_a_container_is_named_in_its_service(farm: Members) -> None:
    chosen = config(Service(name="web", port=80), Service(name="mail", port=25))
    slots = pools.number_services(chosen, [])
    numbers = pools.number_pools(pools.definitions(chosen))
    socket = Socket(ANY, 80, 7, box=Box(index=9, namespace=0, name="shop"))
    found = desired.plan(chosen, slots, numbers, farm, {}, NOW_NS, boxed={"web": socket})
    assert [(row.box, row.box_netns) for row in found.services.values()] == [(9, 1), (0, 0)]
