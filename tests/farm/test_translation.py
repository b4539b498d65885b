# SPDX-License-Identifier: Apache-2.0
"""A server whose firewall translates addresses, as that of every host with Docker does."""

import subprocess
from collections.abc import Iterator
from contextlib import suppress

import pytest

from ipos.lab import faults
from tests.support.farm import HERE, Farm, wait_until

pytestmark = pytest.mark.farm

_CHAIN = "add table ip docker; add chain ip docker post { type nat hook postrouting priority 100; }"


def nft(farm: Farm, *arguments: str) -> str:
    return farm.run("s1", "nft", *arguments)


_ATTEMPTS = 20
"""The kernel compares with memory that it does not set, where the right port may stand."""
_PATIENCE_S = 0.5


@pytest.fixture
def translated(farm: Farm) -> Iterator[None]:
    nft(farm, _CHAIN)
    yield
    for table in ("docker", "services"):
        nft(farm, f"add table ip {table}; delete table ip {table}")
    wait_until("the agent's table has gone", lambda: not is_kept_away(farm))


@pytest.fixture
def left(farm: Farm) -> Iterator[None]:
    """An agent that is to leave the firewall alone."""
    file = farm.lab.place("s1").config_file
    text = file.read_text()
    file.write_text(text.replace("[server]", '[server]\nnotrack = "leave"', 1))
    farm.run("s1", "ipos", "reload")
    yield
    file.write_text(text)
    farm.run("s1", "ipos", "reload")


def is_kept_away(farm: Farm) -> bool:
    """Whether the agent has its table in the firewall."""
    return "table ip ipos\n" in nft(farm, "list", "tables")


def nat_finding(farm: Farm) -> str:
    """What `ipos doctor` says of address translation on s1."""
    shown = farm.lab.run("s1", ["ipos", "doctor"], stdout=subprocess.PIPE, text=True)
    return next((line for line in shown.stdout.splitlines() if "type nat" in line), "")


def expect_adopted(farm: Farm, requests: int) -> None:
    """By s1, each at once: its own, and those that s2 gives it."""
    before = farm.counters("s1")
    for nth in range(requests):
        assert farm.get(port=HERE, server=("s1", "s2")[nth % 2]).served_by == "s1"
    now = farm.counters("s1")
    assert now["drop_not_adopted"] == before["drop_not_adopted"]
    assert now["adopted"] == before["adopted"] + requests


def test_an_empty_nat_chain_is_named_and_the_fix_helps(
    farm: Farm, left: None, translated: None
) -> None:
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
    assert not is_kept_away(farm)
    fix = message.partition("nft '")[2].partition("'")[0]
    nft(farm, fix.replace("tcp dport 80", f"tcp dport {HERE}"))
    expect_adopted(farm, 6)


def test_the_agent_keeps_connection_tracking_away(farm: Farm, translated: None) -> None:
    wait_until("the agent has heard of the chain", lambda: is_kept_away(farm))
    expect_adopted(farm, _ATTEMPTS)
    assert "by the table ip ipos of nftables" in nat_finding(farm)
    nft(farm, "delete table ip ipos")
    wait_until("the agent has made it again", lambda: is_kept_away(farm))
    expect_adopted(farm, 6)


def test_the_table_follows_the_configuration(farm: Farm, translated: None, left: None) -> None:
    wait_until("it is left alone", lambda: not is_kept_away(farm))
    file = farm.lab.place("s1").config_file
    text = file.read_text()
    file.write_text(text.replace('"leave"', '"auto"', 1))
    farm.run("s1", "ipos", "reload")
    assert is_kept_away(farm)
    nft(farm, "delete table ip docker")
    wait_until("it goes with the last chain of nat", lambda: not is_kept_away(farm))


def test_it_stays_while_there_is_no_agent(farm: Farm, translated: None) -> None:
    wait_until("the agent has heard of the chain", lambda: is_kept_away(farm))
    faults.kill_agent(farm.lab, "s1")
    assert is_kept_away(farm)
    expect_adopted(farm, 6)
    farm.lab.start_agent("s1")
    assert is_kept_away(farm)
    wait_until("every server ready", farm.ready, 30)
