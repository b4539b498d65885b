# SPDX-License-Identifier: Apache-2.0
"""Rulesets as administrators write them, and whether they swallow an adopted request.

The nft ones go through the real `nft` in a namespace, so its JSON is the kernel's own; the
iptables ones are text as iptables-save prints it.
"""

import json
import subprocess
from collections.abc import Iterator

import pytest

from ipos.doctor.address_translation import translating_chain
from ipos.doctor.firewall import Packet, Swallowed, parse_iptables, parse_nft, swallowed_by
from tests.support.plane import inside_namespace

PACKET = Packet("front", 80, "203.0.113.1")

STATEFUL = """
table inet filter {
  chain input {
    type filter hook input priority 0; policy drop;
    iifname "lo" accept
    ct state vmap { established : accept, related : accept, invalid : drop }
    ip protocol icmp accept
    tcp dport { 22, 80, 443 } accept
    %s
  }
}
"""
NO_SYN = "tcp flags & (fin|syn|rst|ack) != syn ct state new"


INPUT = "type filter hook input priority 0;"
PREROUTING = "type nat hook prerouting priority -100;"


def block(head: str, *lines: str) -> str:
    return "\n".join([f"{head} {{", *lines, "}"])


def rules(*lines: str) -> str:
    return block("table inet filter", block("chain input", INPUT, *lines))


def nat(*lines: str) -> str:
    return block("table ip nat", block("chain prerouting", PREROUTING, *lines))


def guarded(jump: str, *guard: str) -> str:
    """An input chain with one rule, and the chain of its own that the rule jumps to."""
    return block(
        "table inet filter", block("chain guard", *guard), block("chain input", INPUT, jump)
    )


@pytest.fixture
def namespace() -> Iterator[None]:
    with inside_namespace():
        yield


def judge(ruleset: str, packet: Packet = PACKET) -> Swallowed | None:
    subprocess.run(["nft", "-f", "-"], input=ruleset, text=True, check=True)
    shown = subprocess.run(
        ["nft", "-j", "list", "ruleset"], capture_output=True, text=True, check=True
    )
    return swallowed_by(parse_nft(json.loads(shown.stdout)), packet)


INNOCENT = {
    "nothing": "",
    "stateful default-drop": STATEFUL % "",
    "the drop comes after the accept": STATEFUL % f"{NO_SYN} drop",
    "another port": rules(f"tcp dport 8443 {NO_SYN} drop"),
    "another interface": rules(f'iifname "back" {NO_SYN} drop'),
    "another protocol": rules("udp dport 80 drop", "ip protocol udp drop", "icmp type 8 drop"),
    "SYN only": rules("tcp flags & (fin|syn|rst|ack) == syn drop", "tcp flags syn drop"),
    "old connections": rules("ct state established drop", "ct state invalid drop"),
    "some clients": rules("ip saddr 198.51.100.0/24 drop"),
    "too many": rules("limit rate over 10/second drop"),
    "a client set": block(
        "table inet filter",
        block("set bad", "type ipv4_addr;"),
        block("chain input", INPUT, "ip saddr @bad drop"),
    ),
    "outbound": block(
        "table inet filter",
        block("chain output", "type filter hook output priority 0; policy drop;"),
    ),
    "IPv6": block("table ip6 filter", block("chain input", f"{INPUT} policy drop;")),
    "an unhooked chain": block("table inet filter", block("chain spare", "drop")),
    "DNAT of another port": nat("tcp dport 8080 dnat to 172.17.0.2:80"),
    "DNAT of another address": nat("ip daddr 192.0.2.9 tcp dport 80 dnat to 172.17.0.2:80"),
    "returned before": guarded("jump guard", "tcp dport 80 return", "drop"),
    "gone to a chain that ends": guarded("goto guard", "tcp dport 22 drop"),
}

GUILTY = {
    "new and not SYN": (rules(f"{NO_SYN} drop"), "drop"),
    "new and not SYN, shorter": (rules("tcp flags != syn ct state new counter drop"), "drop"),
    "rejected": (rules(f'{NO_SYN} log prefix "odd " reject with tcp reset'), "reject"),
    "of one port": (rules(f"tcp dport 80 {NO_SYN} drop"), "drop"),
    "of a range of ports": (rules(f"tcp dport 1-1023 {NO_SYN} drop"), "drop"),
    "of some addresses": (rules(f"ip daddr 203.0.113.0/24 {NO_SYN} drop"), "drop"),
    "in a chain of its own": (guarded("jump guard", f"{NO_SYN} drop"), "drop"),
    "by verdict map": (
        guarded("ct state vmap { new : jump guard }", "tcp flags != syn drop"),
        "drop",
    ),
    "before routing": (
        block(
            "table inet raw",
            block("chain early", "type filter hook prerouting priority -150;", f"{NO_SYN} drop"),
        ),
        "drop",
    ),
    "default drop without the port": (
        rules("policy drop;", "ct state established,related accept", "tcp dport 22 accept"),
        "drop",
    ),
    "DNAT": (nat("tcp dport 80 dnat to 172.17.0.2:8080"), "dnat"),
    "a container's published port": (
        block(
            "table ip nat",
            block("chain DOCKER", 'iifname != "docker0" tcp dport 80 dnat to 172.17.0.2:80'),
            block("chain prerouting", PREROUTING, "fib daddr type local jump DOCKER"),
        ),
        "dnat",
    ),
    "redirect": (nat("tcp dport 80 redirect to :8080"), "redirect"),
}


@pytest.mark.farm
@pytest.mark.parametrize("ruleset", INNOCENT.values(), ids=INNOCENT.keys())
def test_nft_ruleset_that_lets_requests_in(namespace: None, ruleset: str) -> None:
    assert judge(ruleset) is None


@pytest.mark.farm
@pytest.mark.parametrize(("ruleset", "verdict"), GUILTY.values(), ids=GUILTY.keys())
def test_nft_ruleset_that_swallows_requests(namespace: None, ruleset: str, verdict: str) -> None:
    found = judge(ruleset)
    assert found is not None
    assert found.verdict == verdict


@pytest.mark.farm
def test_the_named_rule_can_be_deleted_as_told(namespace: None) -> None:
    found = judge(rules("ct state established accept", f"{NO_SYN} drop"))
    assert found is not None
    subprocess.run(found.fix.split(), check=True)
    assert judge("") is None


@pytest.mark.farm
def test_invalid_is_what_a_strict_conntrack_calls_it(namespace: None) -> None:
    assert judge(STATEFUL % "", Packet("front", 80, state="invalid")) is not None


def iptables(*lines: str) -> Swallowed | None:
    saved = "\n".join(["*filter", ":INPUT ACCEPT [0:0]", ":GUARD - [0:0]", *lines, "COMMIT"])
    return swallowed_by(parse_iptables(saved), PACKET)


IPTABLES_NO_SYN = "-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN"


@pytest.mark.parametrize(
    "line",
    [
        f"-A INPUT {IPTABLES_NO_SYN} -m conntrack --ctstate NEW -j DROP",
        f"-A INPUT {IPTABLES_NO_SYN} -m state --state NEW -j REJECT --reject-with tcp-reset",
        f"-A INPUT -i front -p tcp -m multiport --dports 22,80,8000:8010 {IPTABLES_NO_SYN} -j DROP",
        f'-A INPUT -d 203.0.113.0/24 {IPTABLES_NO_SYN} -m comment --comment "no scans" -j DROP',
    ],
)
def test_iptables_rule_that_swallows_requests(line: str) -> None:
    found = iptables(line)
    assert found is not None
    assert found.fix == "iptables -t filter -D " + line.removeprefix("-A ")


@pytest.mark.parametrize(
    "line",
    [
        "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-A INPUT -m conntrack --ctstate INVALID -j DROP",
        f"-A INPUT -i back {IPTABLES_NO_SYN} -j DROP",
        "-A INPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j DROP",
        "-A INPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE -j DROP",
        "-A INPUT -s 198.51.100.0/24 -j DROP",
        "-A INPUT -p udp -m udp --dport 80 -j DROP",
        "-A INPUT -m recent --name scan --update --seconds 60 -j DROP",
        '-A INPUT -j LOG --log-prefix "seen "',
    ],
)
def test_iptables_rule_that_lets_requests_in(line: str) -> None:
    assert iptables(line) is None


def test_iptables_chains_are_followed() -> None:
    found = iptables("-A INPUT -p tcp -j GUARD", f"-A GUARD {IPTABLES_NO_SYN} -j DROP")
    assert found is not None
    assert found.rule.startswith("iptables -t filter -A GUARD ")
    assert iptables("-A INPUT -p udp -j GUARD", "-A GUARD -j DROP") is None


def test_docker_published_port_is_found_in_iptables() -> None:
    saved = """*nat
:PREROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 80 -j DNAT --to-destination 172.17.0.2:80
COMMIT
"""
    found = swallowed_by(parse_iptables(saved), PACKET)
    assert found is not None
    assert found.verdict == "dnat"
    assert found.fix.startswith("iptables -t nat -D DOCKER ")
    assert swallowed_by(parse_iptables(saved), Packet("front", 8080)) is None


TRANSLATES = """*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
COMMIT
*raw
:PREROUTING ACCEPT [0:0]
%s
COMMIT
"""


@pytest.mark.parametrize(
    ("rule", "chain"),
    [
        ("", "PREROUTING"),
        ("-A PREROUTING -p tcp -m tcp --dport 80 -j CT --notrack", None),
        ("-A PREROUTING -p tcp -m tcp --dport 80 -j NOTRACK", None),
        ("-A PREROUTING -p tcp -m tcp --dport 81 -j CT --notrack", "PREROUTING"),
        ("-A PREROUTING -d 203.0.113.0/24 -j CT --notrack", None),
        ("-A PREROUTING -d 192.0.2.0/24 -j CT --notrack", "PREROUTING"),
        ("-A PREROUTING -p tcp -m tcp --dport 80 -j CT --zone 1", "PREROUTING"),
    ],
)
def test_address_translation_is_found_unless_requests_are_not_tracked(
    rule: str, chain: str | None
) -> None:
    assert translating_chain(parse_iptables(TRANSLATES % rule), PACKET) == chain
