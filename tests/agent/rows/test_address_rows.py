# SPDX-License-Identifier: Apache-2.0
"""IPv6 service addresses and denied networks as rows, and how they get into the maps."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

import msgspec
import pytest

from ipos.abi import rows
from ipos.agent.heartbeat.membership import Members
from ipos.agent.rows import address_rows, desired, pools
from ipos.agent.rows.gates import kind_of
from ipos.agent.rows.map_writer import Writer
from ipos.config.listener import Listener
from ipos.config.schema import Service
from ipos.kernel import loading
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

SIX1, SIX2 = IPv6Address("2001:db8::1"), IPv6Address("2001:db8:0:1::2")
WEB, DNS = Service(name="web", port=80), Service(name="dns", port=53, protocol="udp")
TCP = rows.PROTOCOL_TCP


def heard() -> Members:
    """s1 lists an address of IPv4, s2 one of each family, s3 one of IPv6 only."""
    made = members()
    made.hear_myself(state(1), NOW_NS)
    both = datagram(2, addresses=[int(front(2)), int(SIX1)])
    assert made.receive(both, int(back(2)), NOW_NS, WALL_MS)
    assert made.receive(datagram(3, addresses=[int(SIX2)]), int(back(3)), NOW_NS, WALL_MS)
    return made


def planned(*services: Service, deny: tuple[str, ...] = ()) -> desired.Rows:
    chosen = config(*services)
    networks = [IPv6Network(one) if ":" in one else IPv4Network(one) for one in deny]
    farm = msgspec.structs.replace(chosen.farm, deny=networks)
    chosen = msgspec.structs.replace(chosen, farm=farm)
    numbers = pools.number_pools(pools.definitions(chosen))
    names = pools.number_services(chosen, [])
    return desired.plan(chosen, names, numbers, heard(), {}, NOW_NS)


def test_services_of_tcp_are_at_ipv6_addresses_and_those_of_udp_are_not() -> None:
    made = planned(WEB, DNS)
    index = {one.back_ip: one.index for one in heard().by_ip.values()}
    assert made.addresses6 == {
        rows.AddressKey6(SIX1, 0, 0): rows.Address(0, index[back(2)]),
        rows.AddressKey6(SIX1, 80, TCP): rows.Address(0, index[back(2)]),
        rows.AddressKey6(SIX2, 0, 0): rows.Address(0, index[back(3)]),
        rows.AddressKey6(SIX2, 80, TCP): rows.Address(0, index[back(3)]),
    }
    assert {key.ip for key in made.addresses} == {front(1), front(2)}


def test_a_server_without_an_ipv4_address_is_named_by_its_back_address() -> None:
    servers = {one.back_ip: one for one in map(rows_of, planned(WEB).servers.values())}
    assert servers[back(2)].address == front(2)
    assert servers[back(3)].address == back(3)


def test_each_server_is_found_by_its_name() -> None:
    index = {one.back_ip: one.index for one in heard().by_ip.values()}
    assert planned(WEB).identities == {
        rows.Identity(front(1)): index[back(1)],
        rows.Identity(front(2)): index[back(2)],
        rows.Identity(back(3)): index[back(3)],
    }


def rows_of(raw: bytes) -> rows.Server:
    from ipos.abi.codec import Codec

    return Codec(rows.Server).decode(raw)


def test_addresses_of_others_are_local_here_in_both_families() -> None:
    assert desired.foreign_addresses(heard()) == {front(2), SIX1, SIX2}


def test_denied_networks_go_to_their_family() -> None:
    made = planned(WEB, deny=("198.51.100.0/24", "2001:db8:7::/48"))
    assert made.deny == {rows.Prefix(24, IPv4Network("198.51.100.0/24").network_address): 1}
    assert made.deny6 == {rows.Prefix6(48, IPv6Address("2001:db8:7::")): 1}


@pytest.mark.parametrize(
    ("application", "expected"),
    [("0.0.0.0:80", "::"), ("127.0.0.1:8080", "::1"), ("10.1.2.3:8080", "::")],
)
def test_an_application_on_loopback_is_on_loopback_of_both(application: str, expected: str) -> None:
    service = Service(name="web", port=80, application=Listener.parse(application))
    assert str(address_rows.application6(service)) == expected
    assert str(planned(service).services[0].application_ip6) == expected


@pytest.fixture
def six(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """The pin directories in which the programs of IPv6 are loaded."""
    loaded: set[Path] = set()
    monkeypatch.setattr(loading, "has_six", lambda place: Path(place) in loaded)
    return loaded


def test_rows_of_ipv6_are_written_once_its_programs_are_there(six: set[Path]) -> None:
    tables = Memory().tables()
    writer, wanted = Writer(tables), planned(WEB, deny=("2001:db8:7::/48",))
    assert not writer.find_six()
    writer.write(wanted, prune=True)
    assert not list(tables.six.addresses.items())
    six.add(Path("."))
    assert writer.find_six()
    writer.write(wanted, prune=True)
    assert dict(tables.six.addresses.items()) == wanted.addresses6
    assert dict(tables.six.deny.items()) == wanted.deny6
    assert dict(tables.six.identities.items()) == wanted.identities
    gates = tables.gates.get(0)
    assert gates is not None
    kind = kind_of(SIX2)
    assert not gates.foreign_addresses[kind >> 3] >> (kind & 7) & 1
    assert gates.deny_empty
    assert not gates.deny6_empty
    writer.write(planned(WEB), prune=True)
    assert not list(tables.six.deny.items())
    after = tables.gates.get(0)
    assert after is not None
    assert after.deny6_empty


def test_an_agent_that_starts_again_removes_what_is_not_wanted_any_more(six: set[Path]) -> None:
    six.add(Path("."))
    tables = Memory().tables()
    Writer(tables).write(planned(WEB, deny=("2001:db8:7::/48",)), prune=True)
    Writer(tables).write(desired.Rows(), prune=True)
    assert not list(tables.six.addresses.items())
    assert not list(tables.six.deny.items())


def test_a_network_that_is_denied_before_and_after_is_so_between(six: set[Path]) -> None:
    six.add(Path("."))
    tables = Memory().tables()
    writer = Writer(tables)
    writer.write(planned(WEB, deny=("2001:db8::/32",)), prune=True)
    writer.write(planned(WEB, deny=("2001:db8:7::/48",)), prune=True)
    kept = {rows.Prefix6(48, IPv6Address("2001:db8:7::")): 1}
    assert dict(tables.six.deny.items()) == kept


def test_the_kind_of_an_ipv6_address_is_that_of_its_words() -> None:
    words = 0x20010DB8 ^ 0x00000001 ^ 0x0 ^ 0x2
    assert kind_of(SIX2) == kind_of(IPv4Address(words))
