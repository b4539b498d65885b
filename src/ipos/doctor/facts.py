# SPDX-License-Identifier: Apache-2.0
"""What `ipos doctor` reads from the host, in the network namespace it is called in."""

import fcntl
import json
import os
import platform
import re
import shutil
import socket
import struct
import subprocess
from array import array
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from ipos.doctor import firewall
from ipos.doctor.netdev import XdpFeature, xdp_features
from ipos.doctor.open_sockets import Listener, tcp_listeners
from ipos.doctor.site import Site
from ipos.kernel.hooks import xdp_occupant
from ipos.kernel.libbpf.errors import KernelError
from ipos.kernel.pins import bpffs_mounts

_SIOCGIFMTU: Final = 0x8921
_SIOCGIFFLAGS: Final = 0x8913
_RUNNING: Final = 0x40
_SIOCETHTOOL: Final = 0x8946
_ETHTOOL_GFLAGS: Final = 0x25
_RX_VLAN: Final = 1 << 8  # ETH_FLAG_RXVLAN of linux/ethtool.h
TCP_OPTIONS: Final = ("tcp_timestamps", "tcp_sack", "tcp_window_scaling")
_SYSCTLS: Final = (
    "net/ipv4/tcp_syncookies",
    "net/ipv4/tcp_rfc1337",
    *(f"net/ipv4/{name}" for name in TCP_OPTIONS),
    "net/ipv4/conf/all/arp_ignore",
    "net/ipv4/conf/all/arp_announce",
    "net/ipv4/conf/all/rp_filter",
    "net/netfilter/nf_conntrack_tcp_loose",
)
_PER_INTERFACE: Final = ("arp_ignore", "arp_announce", "rp_filter")
_COMMAND_S: Final = 10
_SYS_ADMIN: Final = 21  # CAP_SYS_ADMIN of linux/capability.h
UNNAMED = "id "
"""How an XDP program is called whose name may not be read; its number follows."""


@dataclass(frozen=True, slots=True)
class Interface:
    """`xdp` is the name of the XDP program on it, or UNNAMED and its number; empty for none.

    `mtu` 0: no such interface.

    rps: receive packet steering spreads its packets over processors. untags: the NIC takes VLAN
    tags off before XDP sees a frame. vlans: there are VLAN devices on it. carrier:
    it is up, and a cable connects it with something. kind: "veth" and the like, empty for hardware.
    """

    name: str
    mtu: int = 0
    xdp: str = ""
    rps: bool = False
    untags: bool = False
    vlans: bool = False
    carrier: bool = True
    kind: str = ""
    xdp_features: XdpFeature | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """One look at a host. `ports`: of services, or what listens where no configuration names any.
    `sysctls`: keyed by path below /proc/sys. `site`: what the configuration says.

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
    listeners: tuple[Listener, ...] = ()
    ruleset: tuple[firewall.Table, ...] = ()
    route_out: str = ""
    """The interface of the default route, empty when there is none."""
    site: Site = field(default_factory=Site)
    back_addresses: tuple[str, ...] = ()
    bad_checksums: int = 0
    """Packets that the data plane has dropped because of their checksum."""
    contained: tuple[Listener, ...] = ()
    """What listens in containers that a pair of interfaces leads to."""
    containers: int = 0
    """How many there are."""
    sealed: bool = False
    """Whether the agent may enter none of them."""
    bird: str | None = None
    """What BIRD says of its protocol `ipos`, empty where it does not answer; None: nobody asked."""


def collect(site: Site, front: str, back: str, ports: Iterable[int] = ()) -> Facts:
    """Read everything. Without `ports`, those of all listening TCP sockets are taken."""
    listeners = _listeners()
    contained, containers, sealed = _contained((front, back))
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
        listeners=listeners,
        ruleset=tuple(_nft() + _iptables()),
        route_out=_default_route(),
        site=site,
        back_addresses=_addresses(back),
        bad_checksums=_bad_checksums(),
        contained=contained,
        containers=containers,
        sealed=sealed or not _agent_enters(),
        bird=_bird(site.announcer),
    )


def _bird(announcer: tuple[str, ...]) -> str | None:
    """Only where the command is birdc: another one is not known to do no harm."""
    if not announcer or Path(announcer[0]).name != "birdc" or os.geteuid() != 0:
        return None
    return _output(*announcer[:-1], "show", "protocols")


def _bad_checksums() -> int:
    from ipos.errors import IposError
    from ipos.kernel.maps import Tables
    from ipos.kernel.pins import find_pin_directory

    try:
        counted = Tables(find_pin_directory() / "maps").counters()
    except (IposError, OSError):
        return 0
    return sum(n for counter, n in counted if counter.name == "DROP_BAD_CHECKSUM")


def _has_libbpf() -> bool:
    from ipos.kernel.libbpf.objects import library

    try:
        library()
    except KernelError:
        return False
    return True


def _listeners() -> tuple[Listener, ...]:
    try:
        return _judged(tcp_listeners())
    except OSError:  # a kernel without inet_diag: then nothing is known of listeners
        return ()


def _judged(found: tuple[Listener, ...]) -> tuple[Listener, ...]:
    """With what is outside of the cgroup whose sockets the data plane sees."""
    from ipos.agent.host.paths import sockops_cgroup
    from ipos.agent.network.seen_sockets import SeenSockets
    from ipos.errors import IposError

    try:
        seen = SeenSockets(sockops_cgroup())
    except IposError:  # no cgroup v2, which another check is about
        return found
    return tuple(replace(one, outside=not seen.has(one.group)) for one in found)


def _contained(own: Iterable[str]) -> tuple[tuple[Listener, ...], int, bool]:
    """What listens in containers, how many there are, and whether we may not enter them.

    own: interfaces that lead to no container.
    """
    from ipos.agent.network.rtnetlink import RtNetlink
    from ipos.agent.network.wired_namespaces import search

    found: list[Listener] = []
    seats: Iterable[Any] = ()
    denied = False
    with suppress(OSError):
        indices = {index for index, name in socket.if_nameindex() if name in own}
        with RtNetlink() as netlink:
            wires = [wire for wire in netlink.wires() if wire.index not in indices]
        seats = search({wire.namespace for wire in wires}).values() if wires else ()
        for seat in seats:
            try:
                with seat.entered():
                    found += _judged(tcp_listeners())
            except PermissionError:
                denied = True
            except OSError:  # it has gone meanwhile
                continue
    return tuple(found), len(tuple(seats)), denied


def _agent_enters() -> bool:
    """Whether the agent that runs here may enter containers; yes where none runs."""
    from ipos.agent.host.paths import agent_pid

    number = agent_pid()
    try:
        status = Path(f"/proc/{number}/status").read_text() if number else ""
    except OSError:
        return True
    held = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return held is None or bool(int(held[1], 16) >> _SYS_ADMIN & 1)


def _interface(name: str) -> Interface:
    try:
        index = socket.if_nametoindex(name)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            answer = fcntl.ioctl(asker, _SIOCGIFMTU, struct.pack("16s16x", name.encode()))
            flags = fcntl.ioctl(asker, _SIOCGIFFLAGS, struct.pack("16s16x", name.encode()))
    except OSError:
        return Interface(name)
    (mtu,) = struct.unpack_from("=i", answer, 16)
    try:
        number, program = xdp_occupant(index)
    except (OSError, KernelError):
        number, program = 0, ""
    return Interface(
        name,
        mtu,
        program or (f"{UNNAMED}{number}" if number else ""),
        _steers_packets(name),
        _untags(name),
        _has_vlans(name),
        bool(struct.unpack_from("=H", flags, 16)[0] & _RUNNING),
        _kind(name),
        xdp_features(index),
    )


def _kind(interface: str) -> str:
    """The kind of a virtual interface, as rtnetlink calls it."""
    found = _json("ip", "-json", "-details", "link", "show", "dev", interface)
    kind = found[0].get("linkinfo", {}).get("info_kind", "") if found else ""
    return str(kind)


def _addresses(interface: str) -> tuple[str, ...]:
    found = _json("ip", "-json", "-4", "address", "show", "dev", interface)
    return tuple(one["local"] for link in found for one in link.get("addr_info", ()))


def _json(*command: str) -> Any:
    text = _output(*command)
    return json.loads(text) if text.strip() else []


def _untags(interface: str) -> bool:
    """Whether rx-vlan-offload is on (`ethtool -k`)."""
    value = struct.pack("=II", _ETHTOOL_GFLAGS, 0)
    question = array("B", value)
    request = struct.pack("16sQ16x", interface.encode(), question.buffer_info()[0])
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            fcntl.ioctl(asker, _SIOCETHTOOL, request)
    except OSError:  # a driver without offloads
        return False
    _, flags = struct.unpack("=II", question.tobytes())
    return bool(flags & _RX_VLAN)


def _has_vlans(interface: str) -> bool:
    above = Path("/sys/class/net", interface).glob("upper_*/uevent")
    return any("DEVTYPE=vlan" in each.read_text() for each in above)


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
