# SPDX-License-Identifier: Apache-2.0
"""The checks of `ipos doctor`: each is a pure function from facts to one sentence or none.

A check returns None when nothing is wrong, and else the sentence: what is wrong, why it matters,
how to fix it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from ipos.agent.network.nfnetlink import TABLE
from ipos.doctor import farm_checks
from ipos.doctor.address_translation import (
    is_kept_away_by_us,
    is_untracked,
    translating_chain,
)
from ipos.doctor.facts import TCP_OPTIONS, Facts, Interface
from ipos.doctor.firewall import Packet, swallowed_by

KERNEL_NEEDED: Final = (6, 9)
MTU_NEEDED: Final = 1500
OUR_XDP: Final = "ipos_xdp"


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer of one check; with `ok`, `message` is empty or something good to know.

    seen: whether it could be looked at.
    """

    check: str
    ok: bool
    message: str = ""
    seen: bool = True


def kernel(facts: Facts) -> str | None:
    found = re.match(r"(\d+)\.(\d+)", facts.kernel)
    version = (int(found[1]), int(found[2])) if found else (0, 0)
    if version >= KERNEL_NEEDED:
        return None
    return (
        f"Linux {facts.kernel} cannot turn a packet into an accepted socket "
        "(bpf_sk_assign_tcp_reqsk): install Linux 6.9 or newer."
    )


def root(facts: Facts) -> str | None:
    if facts.root:
        return None
    return "This is not root, so firewall and programs cannot be read: run `ipos doctor` as root."


def btf(facts: Facts) -> str | None:
    if facts.btf:
        return None
    return (
        "/sys/kernel/btf/vmlinux is missing, so programs cannot be fitted to this kernel: "
        "use a kernel built with CONFIG_DEBUG_INFO_BTF=y."
    )


def libbpf(facts: Facts) -> str | None:
    return None if facts.libbpf else "libbpf.so.1 is not installed: apt-get install libbpf1."


def bpffs(facts: Facts) -> str | None:
    if facts.bpffs:
        return None
    return (
        "No bpf file system is mounted, so nothing can be pinned: mount -t bpf bpf /sys/fs/bpf "
        "(the agent does it itself where it may)."
    )


def cgroup2(facts: Facts) -> str | None:
    if facts.cgroup2:
        return None
    return (
        "No cgroup2 hierarchy is mounted, so sockets cannot be seen to exist: "
        "mount -t cgroup2 none /sys/fs/cgroup/unified."
    )


def tcp_syncookies(facts: Facts) -> str | None:
    if facts.sysctls.get("net/ipv4/tcp_syncookies", 1) != 0:
        return None
    return (
        "net.ipv4.tcp_syncookies is 0, and the kernel then makes no socket of a finished "
        "handshake: sysctl -w net.ipv4.tcp_syncookies=1."
    )


def tcp_rfc1337(facts: Facts) -> str | None:
    if facts.sysctls.get("net/ipv4/tcp_rfc1337", 0) == 0:
        return None
    return (
        "net.ipv4.tcp_rfc1337 is 1, so TIME_WAIT sockets cannot be ended and a client that reuses "
        "its port is lost: sysctl -w net.ipv4.tcp_rfc1337=0."
    )


def tcp_options(facts: Facts) -> str | None:
    off = [name for name in TCP_OPTIONS if facts.sysctls.get(f"net/ipv4/{name}", 1) == 0]
    if not off:
        return None
    fix = " ".join(f"net.ipv4.{name}=1" for name in off)
    return (
        f"{' and '.join(off)} {'is' if len(off) == 1 else 'are'} 0, so no server of the farm "
        f"offers its clients what this one's kernel cannot take over: sysctl -w {fix}."
    )


def interfaces(facts: Facts) -> str | None:
    missing = [f"{each.name} ({side})" for side, each in _sides(facts) if not each.mtu]
    if not missing:
        return None
    return (
        f"There is no interface {' and no interface '.join(missing)}: name the right ones in "
        "[server], or with --front and --back."
    )


def carrier(facts: Facts) -> str | None:
    for side, interface in _sides(facts):
        if interface.mtu and not interface.carrier:
            return (
                f"{interface.name} ({side}) has no carrier, so this server is out: "
                f"ip link set dev {interface.name} up, and look at its cable and switch port."
            )
    return None


def mtu(facts: Facts) -> str | None:
    for side, interface in _sides(facts):
        if 0 < interface.mtu < MTU_NEEDED:
            return (
                f"The MTU of {interface.name} ({side}) is {interface.mtu}, too small for the "
                f"farm's frames: ip link set dev {interface.name} mtu {MTU_NEEDED}."
            )
    return None


def arp(facts: Facts) -> str | None:
    if facts.front.xdp != OUR_XDP:  # the agent sees to it when it takes the addresses in
        return None
    name = facts.front.name
    ignore = _effective(facts, "arp_ignore", name)
    announce = _effective(facts, "arp_announce", name)
    wrong = []
    if ignore not in (1, 2):
        wrong.append(f"net.ipv4.conf.{name}.arp_ignore=1")
    if announce != 2:
        wrong.append(f"net.ipv4.conf.{name}.arp_announce=2")
    if not wrong:
        return None
    return f"{name} answers ARP for addresses that other servers own: sysctl -w {' '.join(wrong)}."


def rp_filter(facts: Facts) -> str | None:
    name = facts.front.name
    if _effective(facts, "rp_filter", name) != 1 or facts.route_out in ("", name):
        return None
    return (
        f"rp_filter is strict on {name} but the default route leaves by {facts.route_out}, so "
        f"clients' packets are dropped as spoofed: route clients by {name}, or sysctl -w "
        f"net.ipv4.conf.{name}.rp_filter=2."
    )


def back_rp_filter(facts: Facts) -> str | None:
    name = facts.back.name
    if name == facts.front.name or facts.back.xdp != OUR_XDP:  # the agent sees to it at its start
        return None
    if _effective(facts, "rp_filter", name) != 1:
        return None
    return (
        f"rp_filter is strict on {name}, where packets of migrated connections come in whose "
        f"answers leave by {facts.front.name}: sysctl -w net.ipv4.conf.{name}.rp_filter=2."
    )


def rps(facts: Facts) -> str | None:
    if not facts.front.rps:
        return None
    name = facts.front.name
    return (
        f"Receive packet steering is on for {name} and may let the iNIC's notice overtake the "
        f"packet it follows: write 0 to /sys/class/net/{name}/queues/rx-*/rps_cpus."
    )


def rx_vlan(facts: Facts) -> str | None:
    for _, interface in _sides(facts):
        name = interface.name
        if interface.untags and (interface.vlans or name in facts.site.tagged):
            return (
                f"rx-vlan-offload is on for {name}: its NIC takes VLAN tags off before XDP sees a "
                "frame, so that frames of every VLAN look untagged, and none is in the farm's: "
                f"ethtool -K {name} rxvlan off."
            )
    return None


def xdp_slot(facts: Facts) -> str | None:
    for _, interface in _sides(facts):
        if interface.xdp and interface.xdp != OUR_XDP:
            return (
                f"The XDP slot of {interface.name} is taken by program {interface.xdp}: "
                f"ip link set dev {interface.name} xdp off, or end what holds its link."
            )
    return None


def firewall(facts: Facts) -> str | None:
    loose = facts.sysctls.get("net/netfilter/nf_conntrack_tcp_loose", 1)
    for port in facts.ports:
        for address in facts.site.addresses or (None,):
            packet = Packet(facts.front.name, port, address, "new" if loose else "invalid")
            untracked = is_untracked(facts.ruleset, packet)
            if untracked is not False:
                packet = replace(packet, state="untracked" if untracked else None)
            found = swallowed_by(facts.ruleset, packet)
            if found is None:
                continue
            if found.verdict in ("dnat", "redirect"):
                return (
                    f"{found.rule} sends port {port} elsewhere before the application sees it: "
                    f"{found.fix}, and let the service's `application` name the target."
                )
            why = "a request whose handshake the iNIC did is a new connection without SYN"
            if untracked:
                why = "connection tracking does not see it, so that it is neither new nor known"
            elif not loose:
                why += " (and nf_conntrack_tcp_loose is 0, which makes it invalid: set it to 1)"
            return (
                f"{found.rule} ({found.verdict}) drops what clients send to port {port}, because "
                f"{why}: {found.fix}."
            )
    return None


def nat(facts: Facts) -> str | None:
    if facts.site.notrack != "leave" and facts.front.xdp != OUR_XDP:
        return None  # the agent sees to it when it starts
    for port in facts.ports:
        for address in facts.site.addresses or (None,):
            chain = translating_chain(facts.ruleset, Packet(facts.front.name, port, address))
            if chain is not None:
                rule = f"tcp dport {port} notrack"
                return (
                    f"Chain {chain} has the type nat. Address translation takes the socket away "
                    f"from each request to port {port} that this server adopts, so it serves none: "
                    'keep connection tracking away, by notrack = "auto" in [server] or by '
                    "nft 'add table ip services; "
                    "add chain ip services early { type filter hook prerouting priority raw; }; "
                    f"add rule ip services early {rule}'."
                )
    return None


def _untracked_note(facts: Facts) -> str:
    if not is_kept_away_by_us(facts.ruleset):
        return ""
    return (
        "A chain of type nat is here, so the agent keeps connection tracking away from the "
        f"services by the table ip {TABLE} of nftables."
    )


def _sides(facts: Facts) -> tuple[tuple[str, Interface], ...]:
    return ("front", facts.front), ("back", facts.back)


def _effective(facts: Facts, key: str, interface: str) -> int:
    """The kernel takes the larger of `all` and the interface's own for these keys."""
    return max(facts.sysctls.get(f"net/ipv4/conf/{each}/{key}", 0) for each in ("all", interface))


CHECKS: Final[tuple[Callable[[Facts], str | None], ...]] = (
    root, kernel, btf, libbpf, bpffs, cgroup2, tcp_syncookies, tcp_rfc1337, tcp_options,
    farm_checks.configuration, interfaces, carrier, farm_checks.back_address, mtu,
    farm_checks.native_xdp, farm_checks.checksums, arp, rp_filter, back_rp_filter, rps, rx_vlan,
    xdp_slot, farm_checks.listening, farm_checks.containers, farm_checks.mptcp, farm_checks.outside,
    firewall, nat, farm_checks.state_port, farm_checks.announcements, farm_checks.udp_services,
)  # fmt: skip
NEED_ROOT: Final = frozenset((xdp_slot, firewall, nat, farm_checks.state_port,
                            farm_checks.checksums, farm_checks.udp_services))  # fmt: skip
"""What nobody else may look at."""
_NOT_SEEN: Final = "This needs root, and was not looked at."
NEED_INTERFACES: Final = frozenset((carrier, mtu, arp, rp_filter, back_rp_filter, rps, rx_vlan,
    xdp_slot, farm_checks.back_address, farm_checks.native_xdp))  # fmt: skip
"""What cannot be known of an interface that is not there."""
NOTES: Final[dict[Callable[[Facts], str | None], Callable[[Facts], str]]] = {nat: _untracked_note}
"""What is good to know where a check finds nothing wrong."""
_NOT_THERE: Final = "An interface is missing, so this was not looked at."


def examine(facts: Facts) -> list[Finding]:
    """Every check's answer, in the order a person would fix things."""
    findings = []
    has_both = bool(facts.front.mtu and facts.back.mtu)
    for check in CHECKS:
        if check in NEED_ROOT and not facts.root:
            findings.append(Finding(check.__name__, False, _NOT_SEEN, seen=False))
            continue
        message = check(facts)
        if message is None and check in NEED_INTERFACES and not has_both:
            findings.append(Finding(check.__name__, False, _NOT_THERE, seen=False))
            continue
        note = NOTES[check](facts) if message is None and check in NOTES else ""
        findings.append(Finding(check.__name__, message is None, message or note))
    return findings
