# SPDX-License-Identifier: Apache-2.0
"""What the kernel must be told so that every server takes packets for every service address.

    addresses   our own service addresses are on front (as /32 when nobody has put them there)
    routes      everybody else's are local: `ip route add local A dev lo table local`
    settings    ARP answers and asks only for addresses that are on front; see `SYSCTLS`

What was changed is written to a file first, so that `restore` can take it back, whoever calls it.
"""

import fcntl
import json
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Self

from ipos.agent.places import write_whole
from ipos.agent.rtnetlink import RtNetlink
from ipos.errors import IposError

_SYS = Path("/proc/sys/net/ipv4")
_SIOCGIFHWADDR = 0x8927
_ETHERNET = 1
"""ARPHRD_ETHER: what kind of hardware address an interface has."""

SYSCTLS = {
    # A local route for another's address would make us answer ARP for it, and ask in its name.
    "conf/{front}/arp_ignore": "1",
    "conf/{front}/arp_announce": "2",
    # The iNIC ends TIME_WAIT sockets by a RST, which this setting would have ignored.
    "tcp_rfc1337": "0",
}
BACK_SYSCTLS = {
    # Packets of migrated connections come in here and their answers leave by front.
    "conf/{back}/rp_filter": "2",
}
SYNCOOKIES = "tcp_syncookies"


class NetworkError(IposError):
    """The kernel's network cannot be set up as the configuration says."""


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface. `addresses` are (address, prefix length)."""

    name: str
    index: int
    mac: bytes
    addresses: tuple[tuple[IPv4Address, int], ...]


@dataclass(slots=True)
class Changes:
    """What was changed on this machine, as the file in the run directory keeps it."""

    sysctls: dict[str, str] = field(default_factory=dict)
    addresses: list[tuple[str, str]] = field(default_factory=list)
    routes: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, file: Path) -> Self:
        """What the file says; nothing when there is none."""
        try:
            document = json.loads(file.read_text())
        except FileNotFoundError:
            return cls()
        return cls(
            document["sysctls"],
            [(ip, interface) for ip, interface in document["addresses"]],
            document["routes"],
        )

    def write(self, file: Path) -> None:
        document = {
            "sysctls": self.sysctls,
            "addresses": self.addresses,
            "routes": self.routes,
        }
        write_whole(file, json.dumps(document))


def interface(name: str) -> Interface:
    """An interface by name; NetworkError when there is none."""
    try:
        index = socket.if_nametoindex(name)
    except OSError:
        raise NetworkError(
            f"there is no network interface {name} on this server; `ip link`"
        ) from None
    with _netlink() as netlink:
        return Interface(name, index, _mac(name), tuple(netlink.addresses(index)))


def _mac(name: str) -> bytes:
    request = struct.pack("16s24x", name.encode())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as any_socket:
        answer = fcntl.ioctl(any_socket, _SIOCGIFHWADDR, request)
    kind, mac = struct.unpack_from("=H6s", answer, 16)
    if kind != _ETHERNET:
        raise NetworkError(f"the interface {name} has no Ethernet address")
    return bytes(mac)


class Network:
    """The changes of one agent; `file` remembers them."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._changes = Changes.read(file)
        self._routed: set[IPv4Address] = set()

    def prepare(self, front: Interface, back: Interface, own: Iterable[IPv4Address]) -> None:
        """Settings, and our own addresses. Repeatable."""
        for name, value in SYSCTLS.items():
            self._set(name.format(front=front.name.replace(".", "/")), value)
        if back.index != front.index:
            for name, value in BACK_SYSCTLS.items():
                self._set(name.format(back=back.name.replace(".", "/")), value)
        if _read_sysctl(SYNCOOKIES) == "0":  # without them the kernel adopts no endpoint
            self._set(SYNCOOKIES, "1")
        there = {address for address, _ in front.addresses}
        for address in own:
            if address not in there:
                self._add_address(address, front)

    def route(self, wanted: set[IPv4Address]) -> None:
        """Make exactly these addresses local. Those that were so by themselves are not ours.

        Only what differs from the last call is asked of the kernel.
        """
        ours = {IPv4Address(route) for route in self._changes.routes}
        missing = wanted - self._routed
        self._remember(ours | missing)  # first: an agent that dies here leaves none unknown
        foreign = set()
        with _netlink() as netlink:
            for address in missing:
                try:
                    netlink.add_local(address)
                except FileExistsError:
                    foreign.add(address)
            for address in ours - wanted:
                with suppress(ProcessLookupError):
                    netlink.delete_local(address)
        self._routed = set(wanted)
        self._remember((ours | (missing - foreign)) & wanted)

    def _remember(self, routes: set[IPv4Address]) -> None:
        said = sorted(map(str, routes))
        if said != self._changes.routes:
            self._changes.routes = said
            self._changes.write(self._file)

    def restore(self) -> None:
        """Take all changes back; what has gone by itself is no fault."""
        with _netlink() as netlink:
            for route in self._changes.routes:
                with suppress(OSError):
                    netlink.delete_local(IPv4Address(route))
            for address, name in self._changes.addresses:
                with suppress(OSError):
                    netlink.delete_address(socket.if_nametoindex(name), IPv4Address(address))
        for name, value in self._changes.sysctls.items():
            try:
                (_SYS / name).write_text(value)
            except FileNotFoundError:
                pass  # the interface has gone
        self._changes = Changes()
        self._file.unlink(missing_ok=True)

    def _set(self, name: str, value: str) -> None:
        before = _read_sysctl(name)
        if before == value:
            return
        self._changes.sysctls.setdefault(name, before)
        self._changes.write(self._file)
        try:
            (_SYS / name).write_text(value)
        except OSError as error:
            raise NetworkError(
                f"cannot set net.ipv4.{name.replace('/', '.')} to {value}: {error.strerror}; "
                "the agent must run as root"
            ) from None

    def _add_address(self, address: IPv4Address, front: Interface) -> None:
        self._changes.addresses.append((str(address), front.name))
        self._changes.write(self._file)
        with _netlink() as netlink:
            netlink.add_address(front.index, address)


def _read_sysctl(name: str) -> str:
    try:
        return (_SYS / name).read_text().strip()
    except OSError as error:
        raise NetworkError(
            f"cannot read net.ipv4.{name.replace('/', '.')}: {error.strerror}"
        ) from None


@contextmanager
def _netlink() -> Iterator[RtNetlink]:
    try:
        with RtNetlink() as netlink:
            yield netlink
    except OSError as error:
        raise NetworkError(
            f"the kernel refused a change of the network: {error.strerror}"
        ) from None
