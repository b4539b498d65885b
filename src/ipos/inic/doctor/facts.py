# SPDX-License-Identifier: Apache-2.0
"""What `ipos doctor` reads from the host, in the network namespace it is called in."""

import fcntl
import json
import os
import platform
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ipos.inic.doctor import firewall
from ipos.inic.doctor.sockets import Listener, tcp_listeners
from ipos.inic.hooks import xdp_occupant
from ipos.inic.libbpf.errors import KernelError
from ipos.inic.pins import bpffs_mounts

_SIOCGIFMTU: Final = 0x8921
_SYSCTLS: Final = (
    "net/ipv4/tcp_syncookies",
    "net/ipv4/tcp_rfc1337",
    "net/ipv4/conf/all/arp_ignore",
    "net/ipv4/conf/all/arp_announce",
    "net/ipv4/conf/all/rp_filter",
    "net/netfilter/nf_conntrack_tcp_loose",
)
_PER_INTERFACE: Final = ("arp_ignore", "arp_announce", "rp_filter")
_COMMAND_S: Final = 10


@dataclass(frozen=True, slots=True)
class Interface:
    """`xdp` is the name of the XDP program on it, empty for none; `mtu` 0: no such interface.

    rps: receive packet steering spreads its packets over processors.
    """

    name: str
    mtu: int = 0
    xdp: str = ""
    rps: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """One look at a host. `ports`: of services. `sysctls`: keyed by path below /proc/sys.

    A sysctl that the kernel does not have is absent.
    """

    root: bool
    kernel: str
    btf: bool
    libbpf: bool
    bpffs: bool
    cgroup2: bool
    front: Interface
    back: Interface
    sysctls: dict[str, int] = field(default_factory=dict)
    ports: tuple[int, ...] = ()
    addresses: tuple[str, ...] = ()
    listeners: tuple[Listener, ...] = ()
    ruleset: tuple[firewall.Table, ...] = ()
    route_out: str = ""
    """The interface of the default route, empty when there is none."""


def collect(
    front: str, back: str, ports: Iterable[int] = (), addresses: Iterable[str] = ()
) -> Facts:
    """Read everything. Without `ports`, those of all listening TCP sockets are taken."""
    listeners = _listeners()
    wanted = tuple(ports) or tuple(sorted({each.port for each in listeners}))
    return Facts(
        root=os.geteuid() == 0,
        kernel=platform.release(),
        btf=Path("/sys/kernel/btf/vmlinux").exists(),
        libbpf=_has_libbpf(),
        bpffs=bool(bpffs_mounts()),
        cgroup2=" - cgroup2 " in Path("/proc/self/mountinfo").read_text(),
        front=_interface(front),
        back=_interface(back),
        sysctls=_sysctls({front, back}),
        ports=wanted,
        addresses=tuple(addresses),
        listeners=listeners,
        ruleset=tuple(_nft() + _iptables()),
        route_out=_default_route(),
    )


def _has_libbpf() -> bool:
    from ipos.inic.libbpf.objects import library

    try:
        library()
    except KernelError:
        return False
    return True


def _listeners() -> tuple[Listener, ...]:
    try:
        return tcp_listeners()
    except OSError:  # a kernel without inet_diag: then nothing is known of listeners
        return ()


def _interface(name: str) -> Interface:
    try:
        index = socket.if_nametoindex(name)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            answer = fcntl.ioctl(asker, _SIOCGIFMTU, struct.pack("16s16x", name.encode()))
    except OSError:
        return Interface(name)
    (mtu,) = struct.unpack_from("=i", answer, 16)
    try:
        number, program = xdp_occupant(index)
    except (OSError, KernelError):
        number, program = 0, ""
    return Interface(
        name, mtu, program or (f"id {number}" if number else ""), _steers_packets(name)
    )


def _steers_packets(interface: str) -> bool:
    """Whether a queue has processors in its mask, which is a hexadecimal number with commas."""
    masks = Path("/sys/class/net", interface, "queues").glob("rx-*/rps_cpus")
    return any(mask.read_text().strip("0,\n") for mask in masks)


def _sysctls(interfaces: Iterable[str]) -> dict[str, int]:
    names = [*_SYSCTLS]
    names += [f"net/ipv4/conf/{each}/{key}" for each in interfaces for key in _PER_INTERFACE]
    found = {}
    for name in names:
        try:
            found[name] = int(Path("/proc/sys", name).read_text())
        except (OSError, ValueError):
            continue
    return found


def _output(*command: str) -> str:
    """A command's output; nothing when it is not installed, or is refused."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_COMMAND_S
        )
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout if done.returncode == 0 else ""


def _nft() -> list[firewall.Table]:
    text = _output("nft", "-j", "list", "ruleset")
    return firewall.parse_nft(json.loads(text)) if text else []


def _iptables() -> list[firewall.Table]:
    saved = [_output(command) for command in ("iptables-save", "iptables-legacy-save")]
    return [table for text in dict.fromkeys(saved) for table in firewall.parse_iptables(text)]


def _default_route() -> str:
    for line in Path("/proc/thread-self/net/route").read_text().splitlines()[1:]:
        interface, destination, _, _, _, _, _, mask = line.split()[:8]
        if destination == mask == "00000000":
            return interface
    return ""
