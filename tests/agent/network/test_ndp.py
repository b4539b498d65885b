# SPDX-License-Identifier: Apache-2.0
"""Neighbour discovery: frames as values, and over a real pair of virtual interfaces."""

import os
import select
import subprocess
from collections.abc import Iterator
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import Ether

from ipos.agent.network import ndp
from ipos.agent.network.interfaces import interface
from ipos.agent.network.ndp import Advertised6, NdpSocket
from ipos.lab import namespaces

OURS, THEIRS, ABSENT = (int(IPv6Address(f"2001:db8::{n}")) for n in (1, 2, 3))
MAC, OTHER_MAC = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")


def test_a_question_names_nobody() -> None:
    frame = Ether(ndp.question(MAC, THEIRS))
    assert (frame.dst, frame.src) == ("33:33:ff:00:00:02", "02:00:00:00:00:01")
    assert (frame[IPv6].src, frame[IPv6].dst, frame[IPv6].hlim) == ("::", "ff02::1:ff00:2", 255)
    assert frame[ICMPv6ND_NS].tgt == "2001:db8::2"
    assert checksum_is_right(frame)


def test_an_announcement_is_for_all_nodes_and_overrides() -> None:
    frame = Ether(ndp.announcement(MAC, OURS))
    assert (frame.dst, frame[IPv6].dst, frame[IPv6].hlim) == ("33:33:00:00:00:01", "ff02::1", 255)
    assert frame[IPv6].src == frame[ICMPv6ND_NA].tgt == "2001:db8::1"
    said = frame[ICMPv6ND_NA]
    assert (said.R, said.S, said.O) == (0, 0, 1)
    assert frame[ICMPv6NDOptDstLLAddr].lladdr == "02:00:00:00:00:01"
    assert checksum_is_right(frame)


def checksum_is_right(frame: Ether) -> bool:
    told = bytes(frame)
    layer = frame[IPv6].payload
    del layer.cksum
    return bytes(Ether(bytes(frame))) == told


MESSAGE = ndp.announcement(MAC, OURS)[14 + 40 :]


def test_an_advertisement_is_read() -> None:
    assert ndp.read(MESSAGE) == Advertised6(OURS, MAC)


def test_what_is_none_is_not_read() -> None:
    assert ndp.read(ndp.question(MAC, OURS)[14 + 40 :]) is None
    assert ndp.read(MESSAGE[:20]) is None


def test_options_without_a_length_end_it() -> None:
    assert ndp.read(MESSAGE[:-8] + bytes(8)) == Advertised6(OURS, b"")


@pytest.fixture
def wire() -> Iterator[None]:
    """In a namespace with `one`, whose wire `two` is in another, and has the address THEIRS."""
    path, other = (namespaces.path_of(f"ndp{os.getpid()}", name) for name in ("s1", "s2"))
    for place in (path, other):
        namespaces.create(place)
    try:
        with namespaces.entered(path):
            run(f"link add one type veth peer name two netns {other.name}")
            Path("/proc/sys/net/ipv6/conf/one/accept_dad").write_text("0")
            run("link set one up")
        with namespaces.entered(other):
            run("link set two up")
            run("-6 address add 2001:db8::2/64 dev two nodad")
        with namespaces.entered(path):
            yield
    finally:
        for place in (path, other):
            namespaces.remove(place)


def run(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


def heard(sockets: NdpSocket) -> list[Advertised6]:
    readable, _, _ = select.select([sockets.fileno()], [], [], 5)
    return list(sockets.heard()) if readable else []


@pytest.mark.farm
def test_a_neighbour_answers_a_question(wire: None) -> None:
    with NdpSocket(interface("one"), 0) as discovery:
        discovery.ask(ABSENT)
        discovery.ask(THEIRS)
        (answer,) = heard(discovery)
    assert answer.address == THEIRS
    assert len(answer.mac) == 6
    assert answer.mac != interface("one").mac


@pytest.mark.farm
def test_what_a_router_has_passed_on_is_not_believed(wire: None) -> None:
    frames = [ndp.announcement(interface("one").mac, THEIRS) for _ in range(2)]
    passed_on = bytearray(frames[0])
    passed_on[14 + 7] = 254
    other = namespaces.path_of(f"ndp{os.getpid()}", "s2")
    with namespaces.entered(other), NdpSocket(interface("two"), 0) as discovery:
        with namespaces.entered(namespaces.path_of(f"ndp{os.getpid()}", "s1")):
            sender = NdpSocket(interface("one"), 0)
        with sender:
            sender._send(bytes(passed_on))
            sender.announce(OURS)
        assert [one.address for one in heard(discovery)] == [OURS]


@pytest.mark.farm
def test_an_announcement_changes_what_a_neighbour_knows(wire: None) -> None:
    other = namespaces.path_of(f"ndp{os.getpid()}", "s2")
    known = "-6 neigh replace 2001:db8::1 lladdr 02:00:00:00:00:99 dev two nud stale"
    with namespaces.entered(other):
        run(known)
    with NdpSocket(interface("one"), 0) as discovery:
        discovery.announce(OURS)
        discovery.ask(THEIRS)
        assert heard(discovery)  # so the announcement before it has been handled
    with namespaces.entered(other):
        shown = subprocess.run(
            ["ip", "-6", "neigh", "show", "2001:db8::1", "dev", "two"],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
    assert interface("one").mac.hex(":") in shown
