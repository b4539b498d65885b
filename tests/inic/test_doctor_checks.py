# SPDX-License-Identifier: Apache-2.0
"""Each check alone: silent on a healthy host, one sentence with the fix on a broken one."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from ipos.inic.doctor import CHECKS, Facts, Interface, Listener, checks, examine
from ipos.inic.doctor.firewall import parse_iptables

HEALTHY = Facts(
    root=True,
    kernel="6.9.0-1-amd64",
    btf=True,
    libbpf=True,
    bpffs=True,
    cgroup2=True,
    front=Interface("front", 1500, "ipos_xdp"),
    back=Interface("back", 1500, "ipos_xdp"),
    sysctls={
        "net/ipv4/tcp_syncookies": 1,
        "net/ipv4/tcp_rfc1337": 0,
        "net/ipv4/conf/all/arp_ignore": 0,
        "net/ipv4/conf/front/arp_ignore": 1,
        "net/ipv4/conf/front/arp_announce": 2,
        "net/ipv4/conf/front/rp_filter": 1,
    },
    ports=(80,),
    listeners=(Listener("0.0.0.0", 80), Listener("::", 9000, mptcp=True)),
    route_out="front",
)


def sysctl(name: str, value: int) -> Facts:
    return replace(HEALTHY, sysctls={**HEALTHY.sysctls, name: value})


BROKEN: list[tuple[Callable[[Facts], str | None], Facts, str]] = [
    (checks.root, replace(HEALTHY, root=False), "run `ipos doctor` as root"),
    (checks.kernel, replace(HEALTHY, kernel="6.8.12"), "install Linux 6.9 or newer"),
    (checks.kernel, replace(HEALTHY, kernel="5.10.0-28"), "install Linux 6.9 or newer"),
    (checks.kernel, replace(HEALTHY, kernel="strange"), "install Linux 6.9 or newer"),
    (checks.btf, replace(HEALTHY, btf=False), "CONFIG_DEBUG_INFO_BTF=y"),
    (checks.libbpf, replace(HEALTHY, libbpf=False), "apt-get install libbpf1"),
    (checks.bpffs, replace(HEALTHY, bpffs=False), "mount -t bpf bpf /sys/fs/bpf"),
    (checks.cgroup2, replace(HEALTHY, cgroup2=False), "mount -t cgroup2"),
    (
        checks.tcp_syncookies,
        sysctl("net/ipv4/tcp_syncookies", 0),
        "sysctl -w net.ipv4.tcp_syncookies=1",
    ),
    (checks.tcp_rfc1337, sysctl("net/ipv4/tcp_rfc1337", 1), "sysctl -w net.ipv4.tcp_rfc1337=0"),
    (
        checks.interfaces,
        replace(HEALTHY, back=Interface("eth7")),
        "There is no interface eth7 (back)",
    ),
    (
        checks.mtu,
        replace(HEALTHY, back=Interface("back", 1450)),
        "ip link set dev back mtu 1500",
    ),
    (
        checks.arp,
        sysctl("net/ipv4/conf/front/arp_ignore", 0),
        "sysctl -w net.ipv4.conf.front.arp_ignore=1.",
    ),
    (
        checks.arp,
        sysctl("net/ipv4/conf/all/arp_ignore", 8),
        "sysctl -w net.ipv4.conf.front.arp_ignore=1.",
    ),
    (
        checks.arp,
        sysctl("net/ipv4/conf/front/arp_announce", 0),
        "sysctl -w net.ipv4.conf.front.arp_announce=2.",
    ),
    (
        checks.rp_filter,
        replace(HEALTHY, route_out="eth2"),
        "sysctl -w net.ipv4.conf.front.rp_filter=2",
    ),
    (
        checks.back_rp_filter,
        replace(
            sysctl("net/ipv4/conf/back/rp_filter", 1), back=Interface("back", 1500, "ipos_xdp")
        ),
        "sysctl -w net.ipv4.conf.back.rp_filter=2",
    ),
    (
        checks.rps,
        replace(HEALTHY, front=Interface("front", 1500, rps=True)),
        "write 0 to /sys/class/net/front/queues/rx-*/rps_cpus",
    ),
    (
        checks.xdp_slot,
        replace(HEALTHY, front=Interface("front", 1500, "katran")),
        "The XDP slot of front is taken by program katran",
    ),
    (checks.mptcp, replace(HEALTHY, ports=(80, 9000)), "GODEBUG=multipathtcp=0"),
    (
        checks.firewall,
        replace(
            HEALTHY,
            ruleset=tuple(parse_iptables("*filter\n:INPUT DROP [0:0]\nCOMMIT\n")),
        ),
        "let tcp port 80 in there",
    ),
]


@pytest.mark.parametrize(
    ("check", "facts", "fix"), BROKEN, ids=[f"{b[0].__name__}-{i}" for i, b in enumerate(BROKEN)]
)
def test_fault_is_one_sentence_with_its_fix(
    check: Callable[[Facts], str | None], facts: Facts, fix: str
) -> None:
    message = check(facts)
    assert message is not None
    assert fix in message
    assert message.endswith(".")
    assert "\n" not in message


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_healthy_host_has_no_fault(check: Callable[[Facts], str | None]) -> None:
    assert check(HEALTHY) is None


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_check_has_a_broken_host(check: Callable[[Facts], str | None]) -> None:
    assert any(check is tried for tried, _, _ in BROKEN)


def test_one_fault_does_not_hide_another() -> None:
    findings = examine(replace(sysctl("net/ipv4/tcp_rfc1337", 1), btf=False))
    assert [each.check for each in findings if not each.ok] == ["btf", "tcp_rfc1337"]
    assert len(findings) == len(CHECKS)


def test_arp_is_the_agents_affair_before_it_has_started() -> None:
    idle = replace(sysctl("net/ipv4/conf/front/arp_ignore", 0), front=Interface("front", 1500))
    assert checks.arp(idle) is None


def test_strict_loose_setting_is_named() -> None:
    saved = (
        "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -m conntrack --ctstate INVALID -j DROP\nCOMMIT\n"
    )
    facts = replace(
        HEALTHY,
        ruleset=tuple(parse_iptables(saved)),
        sysctls={"net/netfilter/nf_conntrack_tcp_loose": 0},
    )
    assert "nf_conntrack_tcp_loose is 0" in (checks.firewall(facts) or "")
    assert checks.firewall(replace(facts, sysctls={})) is None
