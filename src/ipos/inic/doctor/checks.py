# SPDX-License-Identifier: Apache-2.0
"""Facts in, findings out: one pure function per check, each answering in one sentence.

A check answers None when all is well, else the sentence: what is wrong, why it matters, the fix.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ipos.inic.doctor.facts import Facts, Interface
from ipos.inic.doctor.firewall import Packet, swallowed_by

KERNEL_NEEDED: Final = (6, 9)
MTU_NEEDED: Final = 1500
OUR_XDP: Final = "ipos_xdp"


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer of one check; `message` is empty when `ok`."""

    check: str
    ok: bool
    message: str = ""


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


def interfaces(facts: Facts) -> str | None:
    missing = [f"{each.name} ({side})" for side, each in _sides(facts) if not each.mtu]
    if not missing:
        return None
    return (
        f"There is no interface {' and no interface '.join(missing)}: name the right ones in "
        "[server], or with --front and --back."
    )


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


def xdp_slot(facts: Facts) -> str | None:
    for _, interface in _sides(facts):
        if interface.xdp and interface.xdp != OUR_XDP:
            return (
                f"The XDP slot of {interface.name} is taken by program {interface.xdp}: "
                f"ip link set dev {interface.name} xdp off, or end what holds its link."
            )
    return None


def mptcp(facts: Facts) -> str | None:
    ports = sorted({each.port for each in facts.listeners if each.mptcp} & set(facts.ports))
    if not ports:
        return None
    listed = ", ".join(map(str, ports))
    return (
        f"The application on port {listed} listens with MPTCP, which the kernel gives no "
        "connection of ours: start it with GODEBUG=multipathtcp=0 (Go), or sysctl -w "
        "net.mptcp.enabled=0 and restart it."
    )


def firewall(facts: Facts) -> str | None:
    loose = facts.sysctls.get("net/netfilter/nf_conntrack_tcp_loose", 1)
    for port in facts.ports:
        for address in facts.addresses or (None,):
            packet = Packet(facts.front.name, port, address, "new" if loose else "invalid")
            found = swallowed_by(facts.ruleset, packet)
            if found is None:
                continue
            if found.verdict in ("dnat", "redirect"):
                return (
                    f"{found.rule} sends port {port} elsewhere before the application sees it: "
                    f"{found.fix}, and let the service's `application` name the target."
                )
            why = "a request whose handshake the iNIC did is a new connection without SYN"
            if not loose:
                why += " (and nf_conntrack_tcp_loose is 0, which makes it invalid: set it to 1)"
            return (
                f"{found.rule} ({found.verdict}) swallows what clients send to port {port}, for "
                f"{why}: {found.fix}."
            )
    return None


def _sides(facts: Facts) -> tuple[tuple[str, Interface], ...]:
    return ("front", facts.front), ("back", facts.back)


def _effective(facts: Facts, key: str, interface: str) -> int:
    """The kernel takes the larger of `all` and the interface's own for these keys."""
    return max(facts.sysctls.get(f"net/ipv4/conf/{each}/{key}", 0) for each in ("all", interface))


CHECKS: Final[tuple[Callable[[Facts], str | None], ...]] = (
    root, kernel, btf, libbpf, bpffs, cgroup2, tcp_syncookies, tcp_rfc1337, interfaces, mtu,
    arp, rp_filter, back_rp_filter, rps, xdp_slot, mptcp, firewall,
)  # fmt: skip


def examine(facts: Facts) -> list[Finding]:
    """Every check's answer, in the order a person would fix things."""
    findings = []
    for check in CHECKS:
        message = check(facts)
        findings.append(Finding(check.__name__, message is None, message or ""))
    return findings
