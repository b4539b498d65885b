# SPDX-License-Identifier: Apache-2.0
"""Network namespaces behind pairs of interfaces: found by their ids, entered, and let go."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from ipos.agent.network.rtnetlink import LinkNews, RtNetlink, Wire
from ipos.agent.network.wired_namespaces import Seat, search
from ipos.lab import namespaces
from tests.support.farm import wait_until

pytestmark = pytest.mark.farm
NAMES = (f"wired{os.getpid()}-a", f"wired{os.getpid()}-b")


@pytest.fixture
def inside() -> Iterator[Path]:
    """This thread is in a namespace; a pair of interfaces, `wire` and `eth0`, leads to another."""
    here, there = (namespaces.DIRECTORY / name for name in NAMES)
    for path in (here, there):
        namespaces.create(path)
    try:
        with namespaces.entered(here):
            with IPRoute() as netlink:
                peer = {"ifname": "eth0", "net_ns_fd": there.name}
                netlink.link("add", ifname="wire", kind="veth", peer=peer)
                netlink.link("add", ifname="loose", kind="veth", peer={"ifname": "end"})
            yield there
    finally:
        for path in (here, there):
            namespaces.remove(path)


def _wire() -> Wire:
    with RtNetlink() as netlink:
        (wire,) = netlink.wires()
    return wire


def test_a_wire_leads_to_a_namespace_that_can_be_entered(inside: Path) -> None:
    wire = _wire()
    assert wire.index == socket.if_nametoindex("wire")
    seat = search({wire.namespace, wire.namespace + 1})[wire.namespace]
    assert seat.path == inside
    with seat.entered():
        assert socket.if_nametoindex("eth0") == wire.peer
    assert socket.if_nametoindex("wire"), "and we are back"


def test_it_is_found_by_its_processes_and_their_cgroup_too(inside: Path) -> None:
    """Engines that mount no namespace anywhere are found, too."""
    wire = _wire()
    process = subprocess.Popen(
        ["nsenter", f"--net={inside}", "--", "sh", "-c", "echo; exec sleep 60"],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"\n"
        namespaces.remove(inside)
        seat = search({wire.namespace})[wire.namespace]
        assert seat.path == Path(f"/proc/{process.pid}/ns/net")
        told = Path(f"/proc/{process.pid}/cgroup").read_text()
        assert f"0::{seat.cgroup}\n" in told
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    wait_until("the wire is gone with its namespace", lambda: not _wires())


def _wires() -> list[Wire]:
    with RtNetlink() as netlink:
        return netlink.wires()


def test_another_namespace_in_its_place_is_not_entered(inside: Path) -> None:
    seat = Seat(inside, inside.stat().st_ino + 1)
    with pytest.raises(FileNotFoundError), seat.entered():
        pytest.fail("it was entered")


def test_a_wire_that_comes_or_goes_is_heard(inside: Path) -> None:
    with LinkNews() as news:
        assert not news.any()
        with IPRoute() as netlink:
            netlink.link("del", index=_wire().index)
        wait_until("it is heard", news.any)
        assert not news.any()
    assert _wires() == []
