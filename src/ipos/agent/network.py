# SPDX-License-Identifier: Apache-2.0
"""What the kernel must be told so that every server takes packets for every service address.

    addresses   our own service addresses are on front (as /32 when nobody has put them there)
    routes      everybody else's are local: `ip route add local A dev lo table local`
    settings    ARP answers and asks only for addresses that are on front; see `SYSCTLS`

What was changed is written to a file first, so that `restore` can take it back, whoever calls it.
"""

import json
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Self

from pyroute2 import IPRoute

from ipos.agent.places import write_whole
from ipos.errors import IposError

_SYS = Path("/proc/sys/net/ipv4")
_TABLE_LOCAL = 255
_SCOPE_HOST = 254

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
    with _netlink() as netlink:
        found = netlink.link_lookup(ifname=name)
        if not found:
            raise NetworkError(f"there is no network interface {name} on this server; `ip link`")
        link = netlink.get_links(found[0])[0]
        addresses = tuple(
            (IPv4Address(entry.get_attr("IFA_LOCAL")), int(entry["prefixlen"]))
            for entry in netlink.get_addr(family=socket.AF_INET, index=found[0])
        )
        mac = bytes.fromhex(str(link.get_attr("IFLA_ADDRESS") or "").replace(":", ""))
        if len(mac) != 6:
            raise NetworkError(f"the interface {name} has no Ethernet address")
        return Interface(name, int(found[0]), mac, addresses)


class Network:
    """The changes of one agent; `file` remembers them."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._changes = Changes.read(file)

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
        """Make exactly these addresses local, of those that were not so by themselves."""
        ours = {IPv4Address(route) for route in self._changes.routes}
        with _netlink() as netlink:
            present = {
                IPv4Address(route.get_attr("RTA_DST"))
                for route in netlink.get_routes(
                    family=socket.AF_INET, table=_TABLE_LOCAL, type="local"
                )
                if route["dst_len"] == 32
            }
            for address in sorted(wanted - present):
                self._changes.routes = sorted({*self._changes.routes, str(address)})
                self._changes.write(self._file)
                _route(netlink, "replace", address)
            for address in sorted((ours & present) - wanted):
                _route(netlink, "del", address)
        kept = sorted(str(address) for address in (ours | (wanted - present)) & wanted)
        if kept != self._changes.routes:
            self._changes.routes = kept
            self._changes.write(self._file)

    def restore(self) -> None:
        """Take all changes back; what has gone by itself is no fault."""
        with _netlink() as netlink:
            for route in self._changes.routes:
                _forgiving(_route, netlink, "del", IPv4Address(route))
            for address, name in self._changes.addresses:
                for index in netlink.link_lookup(ifname=name):
                    _forgiving(netlink.addr, "del", index=index, address=address, prefixlen=32)
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
            netlink.addr("add", index=front.index, address=str(address), prefixlen=32)


def _read_sysctl(name: str) -> str:
    try:
        return (_SYS / name).read_text().strip()
    except OSError as error:
        raise NetworkError(
            f"cannot read net.ipv4.{name.replace('/', '.')}: {error.strerror}"
        ) from None


def _route(netlink: Any, action: str, address: IPv4Address) -> None:
    netlink.route(
        action,
        dst=f"{address}/32",
        oif=socket.if_nametoindex("lo"),
        table=_TABLE_LOCAL,
        type="local",
        scope=_SCOPE_HOST,
    )


def _forgiving(action: Any, *arguments: Any, **options: Any) -> None:
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        action(*arguments, **options)
    except NetlinkError:
        pass


@contextmanager
def _netlink() -> Iterator[Any]:
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        with IPRoute() as netlink:
            yield netlink
    except NetlinkError as error:
        raise NetworkError(f"the kernel refused a change of the network: {error}") from None
