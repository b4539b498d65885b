# SPDX-License-Identifier: Apache-2.0
"""A server whose firewall translates addresses, as that of every host with Docker does."""

import subprocess
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.support.farm import HERE, Farm

pytestmark = pytest.mark.farm

_CHAIN = "add table ip docker; add chain ip docker post { type nat hook postrouting priority 100; }"


def nft(farm: Farm, *arguments: str) -> None:
    farm.run("s1", "nft", *arguments)


_ATTEMPTS = 20
"""The kernel compares with memory that it does not set, where the right port may stand."""
_PATIENCE_S = 0.5


@pytest.fixture
def translated(farm: Farm) -> Iterator[None]:
    nft(farm, _CHAIN)
    yield
    for table in ("docker", "services"):
        nft(farm, f"add table ip {table}; delete table ip {table}")


def nat_finding(farm: Farm) -> str:
    """What `ipos doctor` says of address translation on s1."""
    shown = farm.lab.run("s1", ["ipos", "doctor"], stdout=subprocess.PIPE, text=True)
    return next((line for line in shown.stdout.splitlines() if "type nat" in line), "")


def test_an_empty_nat_chain_is_named_and_the_fix_helps(farm: Farm, translated: None) -> None:
    before = farm.counters("s1")
    for _ in range(_ATTEMPTS):
        with farm.connect(HERE) as connection, suppress(OSError):
            connection.settimeout(_PATIENCE_S)
            connection.sendall(b"GET / HTTP/1.1\r\nHost: farm.example\r\n\r\n")
            connection.recv(1)
        if farm.counters("s1")["drop_not_adopted"] > before["drop_not_adopted"]:
            break
    else:
        pytest.fail("this kernel lets adopted requests through address translation")
    message = nat_finding(farm)
    assert "Chain post has the type nat" in message
    fix = message.partition("nft '")[2].partition("'")[0]
    nft(farm, fix.replace("tcp dport 80", f"tcp dport {HERE}"))
    before = farm.counters("s1")
    for _ in range(5):
        assert farm.get(port=HERE).served_by == "s1"
    assert farm.counters("s1")["drop_not_adopted"] == before["drop_not_adopted"]
    assert farm.counters("s1")["adopted"] == before["adopted"] + 5
