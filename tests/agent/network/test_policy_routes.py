# SPDX-License-Identifier: Apache-2.0
"""Rules and tables for uplinks in a network namespace, and all of them taken back."""

import json
import os
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from ipos.agent.network.interfaces import Network
from ipos.agent.network.policy_routes import policy
from ipos.config.uplink import Uplink
from ipos.lab import namespaces

pytestmark = pytest.mark.farm
UPLINKS = [
    Uplink("isp1", IPv4Network("203.0.113.0/24"), IPv4Address("203.0.113.254"), "one"),
    Uplink("isp2", IPv4Network("192.0.2.0/24"), IPv4Address("192.0.2.254"), "two"),
]
CLIENT, ELSEWHERE = "10.99.0.11", "10.88.0.1"


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """Inside a namespace that is on both; where changes are remembered."""
    path = namespaces.path_of(f"pol{os.getpid()}", "s1")
    namespaces.create(path)
    try:
        with namespaces.entered(path):
            for name, address in (("one", "203.0.113.1/24"), ("two", "192.0.2.1/24")):
                ip("link", "add", name, "type", "bridge")
                ip("link", "set", name, "up")
                ip("address", "add", address, "dev", name)
            ip("route", "add", "default", "via", "203.0.113.254")
            yield tmp_path / "changes.json"
    finally:
        namespaces.remove(path)


def way(source: str, client: str = CLIENT) -> tuple[str, str]:
    """By which interface and router the kernel answers a client from one of our addresses."""
    (route,) = json.loads(ip("-json", "route", "get", client, "from", source))
    return route["dev"], route["gateway"]


def test_answers_leave_by_the_uplink_of_their_source(file: Path) -> None:
    assert way("192.0.2.1") == ("one", "203.0.113.254"), "what a kernel does by itself"
    network = Network(file)
    for _ in range(2):
        network.police(policy(UPLINKS, "source"))
        assert way("203.0.113.1") == ("one", "203.0.113.254")
        assert way("192.0.2.1") == ("two", "192.0.2.254")
        assert way("192.0.2.1", "203.0.113.7") == ("two", "192.0.2.254"), "a neighbour on the other"
    assert len(ip("rule").splitlines()) == 3 + 5


def test_a_route_of_the_site_that_says_more_counts_first(file: Path) -> None:
    ip("route", "add", "10.88.0.0/16", "via", "203.0.113.9")
    Network(file).police(policy(UPLINKS, "source"))
    assert way("192.0.2.1", ELSEWHERE) == ("one", "203.0.113.9")


def test_an_owner_has_its_own_way_for_all(file: Path) -> None:
    Network(file).police(policy([UPLINKS[1]], "owner"))
    own = [Uplink("isp1", UPLINKS[0].prefix, UPLINKS[0].gateway), UPLINKS[1]]
    Network(file).police(policy(own, "owner"))
    assert way("203.0.113.1") == way("192.0.2.1") == ("two", "192.0.2.254")


def test_what_the_kernel_has_removed_comes_back(file: Path) -> None:
    network = Network(file)
    network.police(policy(UPLINKS, "source"))
    ip("link", "set", "two", "down")
    ip("link", "set", "two", "up")
    assert way("192.0.2.1") != ("two", "192.0.2.254")
    network.police(policy(UPLINKS, "source"))
    assert way("192.0.2.1") == ("two", "192.0.2.254")


@pytest.mark.parametrize("damaged", [False, True])
def test_all_of_it_is_taken_back(file: Path, damaged: bool) -> None:
    """And nothing of the site's own."""
    ip("rule", "add", "from", "192.0.2.9", "lookup", "7709", "priority", "7702")
    ip("route", "add", "default", "via", "192.0.2.9", "table", "7709")
    before = ip("rule")
    Network(file).police(policy(UPLINKS, "source"))
    assert "rule 7702: from 192.0.2.0/24 lookup 7701" in file.read_text()
    if damaged:
        file.write_bytes(file.read_bytes()[:-20])
    Network(file, lambda _: None).restore()
    assert ip("rule") == before
    assert "proto 77" not in ip("route", "show", "table", "all")
    assert ip("route", "show", "table", "7709")
