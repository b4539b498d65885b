# SPDX-License-Identifier: Apache-2.0
"""Connection tracking and the services, in a network namespace with and without chains of nat."""

import os
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from ipos.agent.network import nfnetlink
from ipos.agent.network.interfaces import Network, interface
from ipos.agent.network.nfnetlink import ChainNews, Seen
from ipos.agent.network.untracked import Services, Untracked
from ipos.lab import namespaces

pytestmark = pytest.mark.farm
OWN, OTHER = (IPv4Address(f"203.0.113.{n}") for n in (1, 2))
SERVICES = Services(frozenset((OWN,)), frozenset((80, 443)))
CHAIN = "add table {0} t; add chain {0} t c {{ type nat hook postrouting priority 100; }}"


def nft(text: str) -> str:
    done = subprocess.run(["nft", text], check=True, capture_output=True)
    return done.stdout.decode()


def listed() -> list[str]:
    """The lines of our table, in nft's own words."""
    if not nfnetlink.look().ours:
        return []
    return [line.strip() for line in nft("list table ip ipos").splitlines()]


@pytest.fixture(autouse=True)
def _inside() -> Iterator[None]:
    path = namespaces.path_of(f"nft{os.getpid()}", "s1")
    namespaces.create(path)
    try:
        with namespaces.entered(path):
            yield
    finally:
        namespaces.remove(path)


def test_the_table_is_there_as_long_as_a_chain_translates() -> None:
    noted: list[bool] = []
    kept = Untracked(noted.append)
    kept.keep(SERVICES)
    assert listed() == []
    nft(CHAIN.format("ip"))
    kept.keep(SERVICES)
    lines = listed()
    assert "ip daddr @addresses tcp dport @ports notrack" in lines
    assert "ip saddr @addresses tcp sport @ports notrack" in lines
    assert "elements = { 203.0.113.1 }" in lines
    assert "elements = { 80, 443 }" in lines
    assert [line for line in lines if "hook" in line] == [
        f"type filter hook {hook} priority raw; policy accept;" for hook in ("prerouting", "output")
    ]
    assert noted == [False, True]
    kept.keep(Services(frozenset((OWN, OTHER)), frozenset((80,))))
    assert "elements = { 203.0.113.1, 203.0.113.2 }" in listed()
    assert "elements = { 80 }" in listed()
    nft("delete table ip t")
    kept.keep(SERVICES)
    assert (listed(), noted[-1]) == ([], False)


@pytest.mark.parametrize(
    ("family", "counts"), [("ip", True), ("inet", True), ("ip6", False), ("arp", False)]
)
def test_which_chains_translate(family: str, counts: bool) -> None:
    nft(CHAIN.format(family) if family != "arp" else "add table arp t; add chain arp t nat")
    assert nfnetlink.look() == Seen(translates=counts, ours=False)


def test_what_a_flush_took_comes_back_and_who_wants_nothing_has_nothing() -> None:
    kept = Untracked()
    nft(CHAIN.format("ip"))
    kept.keep(SERVICES)
    nft("flush ruleset; " + CHAIN.format("ip"))
    assert listed() == []
    kept.keep(SERVICES)
    assert listed()
    Untracked().keep(None)
    assert listed() == []


def test_iptables_from_before_nftables_translates_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = tmp_path / "names"
    monkeypatch.setattr(nfnetlink, "LEGACY", names)
    for text, translates in (("filter\n", False), ("filter\nnat\n", True)):
        names.write_text(text)
        assert nfnetlink.look().translates == translates


def test_news_are_of_chains_and_tables_alone() -> None:
    with ChainNews() as news:
        assert not news.any()
        nft(CHAIN.format("ip"))
        assert news.any()
        nft("add rule ip t c counter")
        assert not news.any()
        nft("delete table ip t")
        assert news.any()


def test_more_services_than_one_message_holds() -> None:
    addresses = frozenset(IPv4Address(0x0A00_0000 + n) for n in range(5000))
    nfnetlink.write(addresses, [80])
    assert nft("list table ip ipos").count("10.0.") == 5000


def test_what_the_kernel_refuses_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    nft(CHAIN.format("ip"))
    monkeypatch.setattr(nfnetlink, "write", refuse)
    kept = Untracked()
    kept.keep(SERVICES)
    assert "cannot be made: Operation not permitted" in kept.trouble
    monkeypatch.undo()
    kept.keep(SERVICES)
    assert kept.trouble == ""


def test_it_is_written_down_follows_the_farm_and_is_taken_back(tmp_path: Path) -> None:
    file = tmp_path / "changes.json"
    for name in ("front", "back"):
        subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True)
    nft(CHAIN.format("ip"))
    both = interface("front"), interface("back")
    network = Network(file)
    network.prepare(*both, [], services=SERVICES)
    assert '"notrack":true' in file.read_text()
    network.route({OTHER})
    assert "elements = { 203.0.113.1, 203.0.113.2 }" in listed()
    again = Network(file)  # another agent, which has heard of nobody yet
    again.prepare(*both, [], services=SERVICES)
    assert "elements = { 203.0.113.1, 203.0.113.2 }" in listed()
    again.prepare(*both, [], services=None)
    assert listed() == []
    assert '"notrack":false' in file.read_text()
    again.prepare(*both, [], services=SERVICES)
    file.write_text("damaged")
    said: list[str] = []
    Network(file, said.append).restore("front", "back")
    assert listed() == []
    assert len(said) == 1
    assert nfnetlink.look().translates, "what was not ours is there"
