# SPDX-License-Identifier: Apache-2.0
"""ARP over a real pair of virtual interfaces."""

import os
import select
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from ipos.agent.network.arp import REPLY, ArpSocket, Heard
from ipos.agent.network.interfaces import interface
from ipos.lab import namespaces

pytestmark = pytest.mark.farm

OURS, THEIRS, ABSENT = (int(IPv4Address(f"10.9.0.{n}")) for n in (1, 2, 3))


@pytest.fixture
def wire() -> Iterator[None]:
    """In a namespace with `one` and `two`, each other's wire; `two` has the address THEIRS."""
    path = namespaces.path_of(f"arp{os.getpid()}", "s1")
    namespaces.create(path)
    try:
        with namespaces.entered(path):
            for command in (
                "link add one type veth peer name two",
                "link set one up",
                "link set two up",
                "address add 10.9.0.2/24 dev two",
            ):
                subprocess.run(["ip", *command.split()], check=True)
            yield
    finally:
        namespaces.remove(path)


def heard(arp: ArpSocket) -> list[Heard]:
    readable, _, _ = select.select([arp], [], [], 5)
    return list(arp.heard()) if readable else []


def test_a_neighbour_answers_a_question(wire: None) -> None:
    with ArpSocket(interface("one"), 0) as arp:
        arp.ask(ABSENT, OURS)
        arp.ask(THEIRS, OURS)
        (answer,) = heard(arp)
    assert (answer.operation, answer.address) == (REPLY, THEIRS)
    assert answer.mac == answer.source_mac == interface("two").mac


def test_a_question_to_one_neighbour_without_a_sender(wire: None) -> None:
    with ArpSocket(interface("one"), 0) as arp:
        arp.ask(THEIRS, 0, interface("two").mac)
        assert [answer.address for answer in heard(arp)] == [THEIRS]


@pytest.mark.parametrize("vlan", [0, 7])
def test_announcements_are_heard_and_questions_are_not(wire: None, vlan: int) -> None:
    with ArpSocket(interface("one"), vlan) as arp, ArpSocket(interface("two"), 0) as other:
        arp.ask(ABSENT, OURS)
        arp.ask(OURS, OURS)
        assert [one.address for one in heard(other)] == [OURS]
