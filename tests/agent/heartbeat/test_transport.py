# SPDX-License-Identifier: Apache-2.0
"""Whom our state goes to, and what waits for us."""

import socket
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from ipos.agent.heartbeat.message import PORT
from ipos.agent.heartbeat.transport import Port, audience
from ipos.agent.network.interfaces import Interface, NetworkError
from ipos.lab import namespaces

ME = IPv4Address("10.77.0.1")
NEAR, FAR = IPv4Address("10.77.0.9"), IPv4Address("10.78.0.9")


def back(prefix: int = 24) -> Interface:
    return Interface("back", 3, bytes(6), ((IPv4Address("192.0.2.1"), 24), (ME, prefix)))


@pytest.mark.parametrize(
    ("prefix", "others", "all_there", "lan", "told"),
    [
        (24, [NEAR], False, True, ["10.77.0.255"]),
        (24, [NEAR, FAR], False, True, ["10.77.0.255", "10.78.0.9"]),
        (24, [FAR], False, True, ["10.78.0.9"]),
        (24, [NEAR, FAR], False, False, ["10.77.0.9", "10.78.0.9"]),
        (24, [], True, True, ["10.77.0.255"]),
        (24, [NEAR], True, False, ["10.77.0.255"]),
        (8, [NEAR, FAR], False, True, ["10.255.255.255"]),
        (31, [IPv4Address("10.77.0.0")], False, True, ["10.77.0.0"]),
        (32, [NEAR], False, True, ["10.77.0.9"]),
        (32, [], True, True, ["255.255.255.255"]),
        (24, [], False, True, []),
    ],
)
def test_a_lan_of_servers_is_told_at_once_and_everybody_else_one_by_one(
    prefix: int, others: list[IPv4Address], all_there: bool, lan: bool, told: list[str]
) -> None:
    assert audience(back(prefix), ME, others, all_there=all_there, lan=lan) == told


@pytest.fixture
def loopback() -> Iterator[None]:
    """A network of our own with nothing but lo."""
    path = namespaces.DIRECTORY / "ipos-test-port"
    namespaces.create(path)
    try:
        with namespaces.entered(path):
            from pyroute2 import IPRoute

            with IPRoute() as netlink:
                netlink.link("set", index=1, state="up")
            yield
    finally:
        namespaces.remove(path)


@pytest.mark.farm
@pytest.mark.usefixtures("loopback")
def test_what_waits_is_taken_in_pieces_without_our_own() -> None:
    with Port("lo") as port, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        port.address(["127.0.0.1"])
        port.tell([b"ours"])
        for number in range(5):
            other.sendto(b"%d" % number, ("127.0.0.1", PORT))
        assert [data for data, _ in port.take(3)] == [b"0", b"1"]
        assert [data for data, _ in port.take(100)] == [b"2", b"3", b"4"]
        assert list(port.take(100)) == []
        with pytest.raises(NetworkError, match="is another agent running"):
            Port("lo")


@pytest.mark.farm
@pytest.mark.usefixtures("loopback")
def test_a_large_farm_that_speaks_at_once_has_room() -> None:
    with Port("lo") as port, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        for _ in range(255):
            other.sendto(bytes(1400), ("127.0.0.1", PORT))
        assert len(list(port.take(256))) == 255


@pytest.mark.farm
@pytest.mark.usefixtures("loopback")
def test_who_cannot_be_reached_is_no_fault() -> None:
    with Port("lo") as port:
        port.address(["192.0.2.1", "127.0.0.1"])
        port.tell([b"x"])
