# SPDX-License-Identifier: Apache-2.0
"""Hosts, addresses and names of a lab."""

import re

import pytest

from ipos.lab.errors import LabError
from ipos.lab.plan import BACK_LAN, FRONT_LAN, NODE_PATTERN, Settings, lans, nodes


def test_a_farm_of_three_has_the_documented_addresses() -> None:
    hosts = nodes(Settings())
    assert list(hosts) == ["client1", "router1", "s1", "s2", "s3"]
    assert [i.addresses for i in hosts["s2"].interfaces] == [("203.0.113.2",), ("10.77.0.2",)]
    assert [i.name for i in hosts["s2"].interfaces] == ["front", "back"]
    assert hosts["client1"].interface("front").addresses == ("10.99.0.11",)
    assert hosts["client1"].gateway == "10.99.0.254"
    assert hosts["s1"].gateway == "203.0.113.254"


def test_one_lan_puts_both_addresses_on_front() -> None:
    settings = Settings(topology="one-lan")
    server = nodes(settings)["s3"]
    assert [i.addresses for i in server.interfaces] == [("203.0.113.3", "10.77.0.3")]
    assert server.address(FRONT_LAN) == "203.0.113.3"
    assert server.address(BACK_LAN) == "10.77.0.3"
    assert BACK_LAN not in lans(settings)


def test_two_isps_have_a_router_and_a_lan_each() -> None:
    settings = Settings(topology="dual-isp", servers=2)
    hosts = nodes(settings)
    assert list(hosts) == ["client1", "router1", "router2", "s1", "s2"]
    assert [i.name for i in hosts["s2"].interfaces] == ["front", "front2", "back"]
    assert hosts["s2"].address("front2") == "192.0.2.2"
    assert hosts["router2"].address("front2") == "192.0.2.254"
    assert hosts["client1"].routes == (("192.0.2.0/24", "10.99.0.253"),)
    assert lans(settings) == ("clients", "front", "front2", "back")
    assert nodes(Settings(topology="back-lan")) == nodes(Settings(topology="single"))


def test_no_two_interfaces_share_a_mac_or_a_port_name() -> None:
    hosts = nodes(Settings(servers=200, clients=200)).values()
    interfaces = [(host, interface) for host in hosts for interface in host.interfaces]
    assert len({interface.mac for _, interface in interfaces}) == len(interfaces)
    ports = {host.port(interface) for host, interface in interfaces}
    assert len(ports) == len(interfaces)
    assert max(map(len, ports)) <= 15, "longer than an interface name may be"


def test_node_names_match_their_pattern() -> None:
    for name in nodes(Settings(servers=200, clients=200)):
        assert re.fullmatch(NODE_PATTERN, name)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "a/b"},
        {"name": "-a"},
        {"name": "x" * 33},
        {"servers": 0},
        {"servers": 201},
        {"clients": -1},
        {"topology": "ring"},
        {"app": " "},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(LabError):
        Settings(**wrong)
