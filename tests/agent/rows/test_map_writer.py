# SPDX-License-Identifier: Apache-2.0
"""The agent's hand on the maps: only what changed is written, nothing vanishes before its time."""

import dataclasses
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network

import msgspec
import pytest

from ipos.abi import rows
from ipos.abi.layout import constant
from ipos.agent.heartbeat.membership import Members
from ipos.agent.rows import desired, pools
from ipos.agent.rows.cookie_keys import CookieKeys, SessionKeys
from ipos.agent.rows.desired import Rows
from ipos.agent.rows.map_writer import NotInForce, Writer
from ipos.agent.rows.url_rows import UrlMap, compile_urls
from ipos.config.schema import Route, Service
from ipos.handshake.keys import FarmKeys, KeyRing
from ipos.kernel.maps import Tables
from tests.agent.made_up_farm import (
    NOW_NS,
    WALL_MS,
    Memory,
    back,
    config,
    datagram,
    front,
    members,
    state,
)


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def tables(memory: Memory) -> Tables:
    return memory.tables()


@pytest.fixture
def farm() -> Members:
    made = members()
    made.hear_myself(state(1), NOW_NS)
    assert made.receive(datagram(2), int(back(2)), NOW_NS, WALL_MS)
    return made


def wanted(farm: Members, *services: Service) -> Rows:
    chosen = config(*services)
    numbers = pools.number_pools(pools.definitions(chosen))
    return desired.plan(chosen, pools.number_services(chosen, []), numbers, farm, {}, NOW_NS)


def test_what_is_planned_is_in_the_maps_and_written_once(
    tables: Tables, memory: Memory, farm: Members
) -> None:
    writer = Writer(tables)
    found = wanted(farm)
    writer.write(found, prune=True)
    assert dict(tables.server_rows.items()) == found.servers
    assert dict(tables.pools.items()) == found.pools
    assert dict(tables.services.items()) == found.services
    assert dict(tables.addresses.items()) == found.addresses
    assert dict(tables.members.items()) == found.members
    writes = memory.writes
    writer.write(found, prune=True)
    assert memory.writes == writes


def test_a_new_agent_keeps_what_it_finds_until_it_may_judge(tables: Tables, farm: Members) -> None:
    Writer(tables).write(wanted(farm), prune=True)
    alone = members()
    alone.hear_myself(state(1), NOW_NS)
    writer = Writer(tables)
    assert writer.known_servers() == {back(1): 1, back(2): 2}
    writer.write(wanted(alone), prune=False)
    key = rows.AddressKey(front(2), 80, rows.PROTOCOL_TCP)
    assert tables.servers.get(2) is not None
    assert tables.addresses.get(key) == rows.Address(0, 2)
    assert len(dict(tables.members.items())) == 2
    writer.write(wanted(alone), prune=True)
    gone = tables.servers.get(2)
    assert gone is not None
    assert gone.state is rows.ServerState.NONE
    assert tables.addresses.get(key) is None
    assert len(dict(tables.members.items())) == 1


def test_denied_networks_follow_the_file(tables: Tables, farm: Members) -> None:
    def write(writer: Writer, *networks: str, prune: bool = True) -> set[str]:
        chosen = config(Service(name="web", port=80))
        deny = [IPv4Network(network) for network in networks]
        chosen = msgspec.structs.replace(
            chosen, farm=msgspec.structs.replace(chosen.farm, deny=deny)
        )
        numbers = pools.number_pools(pools.definitions(chosen))
        writer.write(desired.plan(chosen, ["web"], numbers, farm, {}, NOW_NS), prune=prune)
        return {f"{row.ip}/{row.prefix_len}" for row, _ in tables.deny.items()}

    writer = Writer(tables)
    assert write(writer, "192.0.2.7/32", "10.0.0.0/8") == {"192.0.2.7/32", "10.0.0.0/8"}
    assert write(Writer(tables), "10.0.0.0/8", prune=False) == {"192.0.2.7/32", "10.0.0.0/8"}
    assert write(Writer(tables), "10.0.0.0/8") == {"10.0.0.0/8"}
    assert write(writer) == set()


def denying(farm: Members, *networks: str) -> Rows:
    deny = {
        rows.Prefix(one.prefixlen, one.network_address): 1 for one in map(IPv4Network, networks)
    }
    return dataclasses.replace(wanted(farm), deny=deny)


def denied(tables: Tables) -> set[str]:
    return {f"{row.ip}/{row.prefix_len}" for row, _ in tables.deny.items()}


def test_what_has_no_room_holds_back_nothing_else(
    tables: Tables, memory: Memory, farm: Members
) -> None:
    writer = Writer(tables)
    writer.write(denying(farm, "192.0.2.7/32"), prune=True)
    memory.store("deny").most = 2
    new = ("198.51.100.1/32", "198.51.100.2/32", "198.51.100.3/32")
    farm.hear_myself(state(1, services=[]), NOW_NS)
    with pytest.raises(
        NotInForce, match=r"denied networks \(198.51.100.3/32\), because map is full"
    ):
        writer.write(denying(farm, *new), prune=True)
    assert denied(tables) == set(new[:2]), "what is no longer wanted made room"
    pool = tables.pools.get(0)
    assert pool is not None
    assert [one.server for one in pool.candidates] == [2], "and a dead application is out"
    memory.store("deny").most = 3
    writer.write(denying(farm, *new), prune=True)
    assert denied(tables) == set(new)


def test_a_list_that_fits_only_without_the_old_one_is_taken(
    tables: Tables, memory: Memory, farm: Members
) -> None:
    writer = Writer(tables)
    old, new = ([f"192.0.{part}.{n}/32" for n in range(100)] for part in (2, 3))
    memory.store("deny").most = 100
    writer.write(denying(farm, *old), prune=True)
    writer.write(denying(farm, *new), prune=True)
    assert denied(tables) == set(new)


def test_a_network_that_stays_denied_is_so_at_every_moment(farm: Members) -> None:
    """A wider network goes only when all that it covered is there, however little room there is."""
    before = ["10.0.0.0/8", "192.0.2.0/24", "198.51.100.0/24"]
    after = ["10.0.0.0/9", "10.128.0.0/9", "192.0.2.0/25", "203.0.113.0/24"]
    stay = {"10.1.2.3", "10.200.0.1", "192.0.2.5"}
    for most in range(3, 8):
        watched = WatchedMemory(stay)
        writer = Writer(watched.tables())
        writer.write(denying(farm, *before), prune=True)
        watched.store("deny").most = most
        watched.watching = True
        for _ in range(3):
            with suppress(NotInForce):
                writer.write(denying(farm, *after), prune=True)
        assert watched.seen, "something was written"
        assert not watched.undenied
        if most >= 6:
            assert denied(watched.tables()) == set(after)


class WatchedMemory(Memory):
    """Looks after each write whether some addresses are denied."""

    def __init__(self, stay: set[str]) -> None:
        self.stay = stay
        self.watching, self.seen = False, 0
        self.undenied: list[tuple[int, str]] = []
        super().__init__()

    @property
    def writes(self) -> int:
        return self.seen

    @writes.setter
    def writes(self, number: int) -> None:
        """After this write: what the one before it left."""
        self.seen = number
        if self.watching:
            networks = [IPv4Network(one) for one in denied(self.tables())]
            for address in self.stay:
                if not any(IPv4Address(address) in network for network in networks):
                    self.undenied.append((number, address))


def test_rules_stay_until_a_new_agent_may_judge(tables: Tables, farm: Members) -> None:
    def planned(members: Members, *servers: str) -> tuple[Rows, UrlMap]:
        service = Service(name="web", port=80)
        routes = [Route(service="web", path="/a", servers=list(servers))]
        chosen = config(service, route=routes)
        numbers = pools.number_pools(pools.definitions(chosen), ["web least-loaded *"], [])
        return (
            desired.plan(chosen, ["web"], numbers, members, {}, NOW_NS),
            compile_urls(chosen, ["web"], numbers),
        )

    def write(writer: Writer, found: tuple[Rows, UrlMap], *, prune: bool) -> None:
        writer.prepare(found[1])
        writer.write(found[0], prune=prune)

    write(Writer(tables), planned(farm, "s1", "s2"), prune=True)
    bank, pool = tables.url_bank.get(0), tables.pools.get(1)
    assert pool is not None
    assert [one.server for one in pool.candidates] == [1, 2]
    alone = members()
    alone.hear_myself(state(1), NOW_NS)
    writer = Writer(tables)
    write(writer, planned(alone, "s1", "s2"), prune=False)
    pool = tables.pools.get(1)
    assert pool is not None
    assert [one.server for one in pool.candidates] == [1, 2], "who has not spoken is not forgotten"
    assert tables.url_bank.get(0) == bank
    writer.write(planned(alone, "s1", "s2")[0], prune=True)
    assert tables.url_bank.get(0) != bank
    pool = tables.pools.get(1)
    assert pool is not None
    assert [one.server for one in pool.candidates] == [1]


def test_a_pool_outlives_the_rules_that_led_to_it(tables: Tables, farm: Members) -> None:
    writer = Writer(tables)
    web, mail = Service(name="web", port=80), Service(name="mail", port=25)
    farm.hear_myself(state(1, services=["web", "mail"]), NOW_NS)
    writer.write(wanted(farm, web, mail), prune=True)
    writer.write(wanted(farm, web), prune=True)
    pool = tables.pools.get(1)
    assert pool is not None
    assert pool.candidates, "a request may be on its way to it"
    writer.tidy()
    pool = tables.pools.get(1)
    assert pool is not None
    assert pool.candidates == ()


def test_a_service_that_goes_takes_all_of_itself_away(tables: Tables, farm: Members) -> None:
    writer = Writer(tables)
    web, mail = Service(name="web", port=80), Service(name="mail", port=25)
    writer.write(wanted(farm, web, mail), prune=True)
    writer.write(wanted(farm, web), prune=True)
    service, pool = tables.services.get(1), tables.pools.get(1)
    assert service is not None
    assert pool is not None
    assert not service.used
    assert pool.candidates == ()
    assert {key.port for key, _ in tables.addresses.items() if key.protocol} == {80}


def test_the_turn_of_a_pool_is_the_data_planes(tables: Tables, farm: Members) -> None:
    writer = Writer(tables)
    found = wanted(farm)
    writer.write(found, prune=True)
    pool = found.pools[0]
    tables.pools.put(0, rows.Pool(pool.policy, turn=41, candidates=pool.candidates))
    farm.hear_myself(state(1, services=[]), NOW_NS)
    writer.write(wanted(farm), prune=True)
    written = tables.pools.get(0)
    assert written is not None
    assert (written.turn, len(written.candidates)) == (41, 1)


def test_cookie_keys_are_a_day_ahead_and_written_once(tables: Tables, memory: Memory) -> None:
    keys = KeyRing(FarmKeys(b"0123456789abcdef", "shop"))
    filled = CookieKeys(tables, keys)
    filled.fill(1_700_000_000.0)
    now = 1_700_000_000 // 16
    slots = constant("IPOS_EPOCHS")
    for epoch in (now - 1, now, now + 5400):
        row = tables.cookie_keys.get(epoch % slots)
        assert row is not None
        assert (row.epoch, row.valid) == (epoch, 1)
        assert b"".join(word.to_bytes(8, "little") for word in row.key) == keys.main.cookie(epoch)
    writes = memory.writes
    filled.fill(1_700_000_001.0)
    assert memory.writes == writes
    filled.fill(1_700_000_000.0 + 3700)
    assert 0 < memory.writes - writes < 300
    row = tables.cookie_keys.get((now + 5400 + 231) % slots)
    assert row is not None
    assert row.epoch == now + 5400 + 231


def test_both_keys_of_an_epoch_are_there_while_the_secret_changes(tables: Tables) -> None:
    old, new = (FarmKeys(bytes([number] * 16), "shop") for number in (1, 2))
    CookieKeys(tables, KeyRing(new, old)).fill(1_700_000_000.0)
    SessionKeys(tables, KeyRing(new, old)).fill(1_700_000_000.0)
    epoch, day = 1_700_000_000 // 16, 1_700_000_000 // 86_400
    for table, at, main, other in (
        (tables.cookie_keys, epoch % constant("IPOS_EPOCHS"), new.cookie(epoch), old.cookie(epoch)),
        (tables.session_keys, day % 64, new.session(day), old.session(day)),
    ):
        row = table.get(at)
        assert row is not None
        assert (row.key, row.other, row.valid) == (
            desired.key_words(main),
            desired.key_words(other),
            3,
        )
    CookieKeys(tables, KeyRing(new)).fill(1_700_000_000.0)
    row = tables.cookie_keys.get(epoch % constant("IPOS_EPOCHS"))
    assert row is not None
    assert (row.other, row.valid) == ((0, 0), 1)


def test_cookie_keys_follow_a_clock_that_steps(tables: Tables) -> None:
    filled = CookieKeys(tables, KeyRing(FarmKeys(b"0123456789abcdef", "shop")))
    for wall_s in (1_700_000_000.0, 1_600_000_000.0, 1_800_000_000.0):
        filled.fill(wall_s)
        epoch = int(wall_s) // 16
        row = tables.cookie_keys.get(epoch % constant("IPOS_EPOCHS"))
        assert row is not None
        assert row.epoch == epoch


def test_a_table_is_written_once_and_goes_when_nobody_hashes(
    tables: Tables, memory: Memory, farm: Members
) -> None:
    writer = Writer(tables)
    hashing = wanted(farm, Service(name="web", port=80, policy="source-hash"))
    writer.write(hashing, prune=True)
    assert tables.slots_of(0) == hashing.slots[0]
    assert tables.slots_of(1) == ()
    writes = memory.writes
    writer.write(hashing, prune=True)
    assert memory.writes == writes
    Writer(tables).write(wanted(farm), prune=False)
    assert tables.slots_of(0) == hashing.slots[0], "too early to judge"
    writer = Writer(tables)
    writer.write(wanted(farm), prune=True)
    assert tables.slots_of(0) == hashing.slots[0], "requests may still be looking at it"
    writer.tidy()
    assert tables.slots.count() == 0


def test_the_turn_is_the_data_planes(tables: Tables, farm: Members) -> None:
    writer = Writer(tables)
    writer.write(wanted(farm), prune=True)
    pool = tables.pools.get(0)
    assert pool is not None
    tables.pools.put(0, dataclasses.replace(pool, turn=41))
    writer.write(wanted(farm, Service(name="web", port=80, policy="weighted")), prune=True)
    pool = tables.pools.get(0)
    assert pool is not None
    assert (pool.policy, pool.turn) == (rows.Policy.WEIGHTED, 41)
