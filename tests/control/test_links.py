# SPDX-License-Identifier: Apache-2.0
"""Half-dead links: a server that is heard and cannot serve is out within a second, and said so."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ipos.abi.rows import ServerState
from ipos.lab import faults
from tests.control.test_servers_die import asking
from tests.support.farm import SERVERS, Farm, wait_until

pytestmark = [pytest.mark.farm, pytest.mark.alone]
READY = ServerState.READY


def state_of(farm: Farm, server: str, by: str) -> ServerState:
    row = farm.tables[by].servers.get(int(server[1:]))
    assert row is not None
    return row.state


def is_out(farm: Farm, server: str, by: str) -> bool:
    return state_of(farm, server, by) is not READY


def said(farm: Farm, by: str) -> dict[str, dict[str, object]]:
    """A server's `ipos status`, by the servers' names."""
    document = json.loads(farm.run(by, "ipos", "status", "-o", "json"))
    return {row["server"]: row for row in document["servers"]}


def doctor(farm: Farm, on: str) -> list[str]:
    """What `ipos doctor` says of links and of the farm."""
    done = farm.lab.run(on, ["ipos", "doctor", "-o", "json"], capture_output=True, text=True)
    checks = json.loads(done.stdout)["checks"]
    return [each["message"] for each in checks if each["check"] in ("farm", "carrier")]


@contextmanager
def broken(farm: Farm, server: str, interface: str, directions: tuple[str, ...]) -> Iterator[None]:
    faults.set_loss(farm.lab, 100, [(server, interface)], directions)
    try:
        yield
    finally:
        faults.set_loss(farm.lab, 0)
        wait_until("all are well again", farm.ready, 30)


@contextmanager
def unplugged(farm: Farm, server: str, interface: str) -> Iterator[None]:
    faults.set_link(farm.lab, server, interface, up=False)
    try:
        yield
    finally:
        faults.set_link(farm.lab, server, interface, up=True)
        wait_until("all are well again", farm.ready, 30)


def out_for(farm: Farm, server: str, others: tuple[str, ...]) -> float:
    """When the last of the others knows."""
    begun = time.monotonic()
    wait_until(f"{server} is out for all", lambda: all(is_out(farm, server, by) for by in others))
    print(f"{server} was out after {time.monotonic() - begun:.2f} s")
    return time.monotonic()


def test_a_front_without_its_cable(farm: Farm) -> None:
    with asking(farm) as told:
        wait_until("requests", lambda: len(told) > 20)
        with unplugged(farm, "s2", "front"):
            known = out_for(farm, "s2", SERVERS)
            wait_until("more requests", lambda: told[-1].at > known + 1, 30)
            assert not [one for one in told if one.at > known and one.error is not None]
            for by in SERVERS:
                row = said(farm, by)["s2"]
                assert row["state"] in ("out", "down"), "s2 itself, too"
                assert row["fault"] == "its front interface has no carrier"
            assert any("s2 (10.77.0.2): its front interface" in one for one in doctor(farm, "s1"))
            assert any("front (front) has no carrier" in one for one in doctor(farm, "s2"))
            wait_until("who waits is told", lambda: state_of(farm, "s2", "s1") is ServerState.DOWN)
    assert said(farm, "s1")["s2"]["fault"] is None
    assert doctor(farm, "s1") == ["", ""]


def test_a_front_whose_router_does_not_answer(farm: Farm) -> None:
    with broken(farm, "s2", "front", faults.TO_NODE):
        out_for(farm, "s2", ("s1", "s3"))
        fault = said(farm, "s1")["s2"]["fault"]
        assert fault == "its next hop on front does not answer ARP"


def test_a_back_that_hears_nothing(farm: Farm) -> None:
    """s2 speaks and is heard, and nothing reaches it: what is migrated there would be lost."""
    with asking(farm) as told:
        wait_until("requests", lambda: len(told) > 20)
        with broken(farm, "s2", "back", faults.TO_NODE):
            known = out_for(farm, "s2", ("s1", "s3"))
            wait_until("more requests", lambda: told[-1].at > known + 1, 30)
            assert not [one for one in told if one.at > known and one.error is not None]
            assert said(farm, "s1")["s2"]["fault"] == "it does not hear us, though we hear it"
            wait_until("who waits is told", lambda: state_of(farm, "s2", "s1") is ServerState.DOWN)
            assert all(is_out(farm, server, "s2") for server in ("s1", "s3"))


def test_a_back_that_says_nothing(farm: Farm) -> None:
    """The others are down by s2's silence for them; s2 hears them, and is not heard."""
    with broken(farm, "s2", "back", faults.FROM_NODE):
        out_for(farm, "s2", ("s1", "s3"))
        wait_until("s2 uses nobody", lambda: is_out(farm, "s1", "s2") and is_out(farm, "s3", "s2"))
        assert said(farm, "s2")["s1"]["fault"] == "it does not hear us, though we hear it"
        for _ in range(10):
            assert farm.get(server="s2").served_by == "s2"


def test_a_switch_that_restarts_takes_nobody_out(farm: Farm) -> None:
    """All lose their fronts at once: connections outlive it, and none is better than another."""
    with farm.connect() as connection:
        for server in SERVERS:
            faults.set_link(farm.lab, server, "front", up=False)
        try:
            wait_until("s1 sees it", lambda: "front interface" in str(doctor(farm, "s1")), 20)
            wait_until("none is out any more", farm.ready)
        finally:
            for server in SERVERS:
                faults.set_link(farm.lab, server, "front", up=True)
        connection.settimeout(20)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: farm.example\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
    wait_until("all are well", lambda: doctor(farm, "s1") == ["", ""], 20)
