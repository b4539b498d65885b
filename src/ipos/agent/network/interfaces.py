# SPDX-License-Identifier: Apache-2.0
"""Addresses, routes and settings of the kernel, so that every server accepts packets for every
service address.

    addresses   our own service addresses of IPv4 are on front (as /32 unless they are there)
    routes      all others are local: `ip route add local A dev lo table local`
    settings    ARP answers and asks only for addresses that are on front; see `sysctls`
    firewall    connection tracking does not see the services where it must not; see `untracked`

What was changed is written to a file first, so that `restore` can take it back, whoever calls it.
The kernel keeps our mark with each address and route of ours, so both are found without the file;
settings then go back to what the machine gives a new interface.
"""

import errno
import fcntl
import socket
import struct
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import msgspec

from ipos import state_file
from ipos.agent.network import nfnetlink, own_pair, policy_routes, sysctls
from ipos.agent.network.change_record import Changes
from ipos.agent.network.errors import NetworkError as NetworkError
from ipos.agent.network.policy_routes import Policy
from ipos.agent.network.rtnetlink import RtNetlink
from ipos.agent.network.sysctls import MPTCP
from ipos.agent.network.untracked import Services, Untracked
from ipos.ip_family import Address, fours, parse_address, sixes

_SIOCGIFHWADDR = 0x8927
_ETHERNET = 1
"""ARPHRD_ETHER: what kind of hardware address an interface has."""


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface. `addresses` are (address, prefix length) of IPv4, `sixes` IPv6
    addresses."""

    name: str
    index: int
    mac: bytes
    addresses: tuple[tuple[IPv4Address, int], ...]
    sixes: tuple[IPv6Address, ...] = ()


def interface(name: str) -> Interface:
    """An interface by name; NetworkError when there is none."""
    try:
        index = socket.if_nametoindex(name)
    except OSError:
        raise NetworkError(
            f"there is no network interface {name} on this server; `ip link`"
        ) from None
    with _netlink() as netlink:
        own, six = tuple(netlink.addresses(index)), tuple(netlink.addresses6(index))
        return Interface(name, index, _mac(name), own, six)


def _mac(name: str) -> bytes:
    request = struct.pack("16s24x", name.encode())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as any_socket:
        answer = fcntl.ioctl(any_socket, _SIOCGIFHWADDR, request)
    kind, mac = struct.unpack_from("=H6s", answer, 16)
    if kind != _ETHERNET:
        raise NetworkError(f"the interface {name} has no Ethernet address")
    return bytes(mac)


def vlan_index(name: str, vlan: int, table: Path = Path("/proc/net/vlan/config")) -> int:
    """The index of the interface that has this VLAN of that one; 0: there is none."""
    if not vlan:
        return 0
    with suppress(OSError):  # a kernel without VLANs, or an interface that has gone
        for line in table.read_text().splitlines()[2:]:
            fields = [field.strip() for field in line.split("|")]
            if fields[1:] == [str(vlan), name]:
                return socket.if_nametoindex(fields[0])
    return 0


class Network:
    """The changes of one agent; `file` remembers them. One thread at a time does each method."""

    def __init__(self, file: Path, say: state_file.Say = state_file.tell) -> None:
        """`say` is told of a damaged file, which is set aside."""
        self._file = file
        self._lock = threading.Lock()
        self._routed: set[Address] = set()
        self._interfaces: tuple[str, str] | None = None
        self._source: IPv4Address | None = None
        self.is_stale = False
        """Whether routes that were made name another source than `prepare` was told last."""
        self._damage: list[str] = []
        found = state_file.take(file, Changes, self._damage.append)
        if found is not None and not found.is_sensible():
            self._damage.append(f"{file} names settings or addresses that no agent changes")
            found = None
        for text in self._damage:
            say(text)
        self._changes = found or Changes()
        self._services: Services | None = None
        self._foreign = {parse_address(route) for route in self._changes.routes}
        self._untracked = Untracked(self._note_notrack)

    def _recover(self, front: str, back: str) -> bool:
        """After a damaged file: what can be seen on the machine itself. False: there was none."""
        if not self._damage:
            return False
        with _netlink() as netlink:
            self._changes.routes = sorted(map(str, netlink.marked_routes()))
            for index, address in netlink.marked_addresses():
                with suppress(OSError):  # the interface has gone meanwhile
                    self._changes.addresses.append((str(address), socket.if_indextoname(index)))
        with suppress(OSError):
            self._changes.notrack = nfnetlink.look().ours
        own = any(own_pair.indices())
        for name, value in sysctls.wanted(front, back, own=own).items() if front and back else ():
            usual = "/".join(("conf/default", name.rpartition("/")[2]))
            with suppress(NetworkError):
                if name.startswith("conf/") and sysctls.read(name) == value:
                    self._changes.sysctls.setdefault(name, sysctls.read(usual))
        self._damage.clear()
        return True

    def prepare(
        self,
        front: Interface,
        back: Interface,
        own: Iterable[Address],
        source: IPv4Address | None = None,
        *,
        mptcp: bool = True,
        services: Services | None = None,
    ) -> None:
        """Settings, and our own addresses. Repeatable.

        source: what own programs call the addresses from that are made local, as clients. mptcp:
        leave MPTCP as it was; else no new socket gets it, because a listener with MPTCP is given no
        endpoint. services: those of which connection tracking need not know; see `Untracked`.
        """
        own = list(own)
        with self._lock:
            self._interfaces = front.name, back.name
            if source != self._source:
                self._routed, self._source, self.is_stale = set(), source, True
            if self._recover(front.name, back.name):
                state_file.write(self._file, self._changes)
            for name, value in sysctls.wanted(
                front.name, back.name, own=source is not None
            ).items():
                self._set(name, value)
            if source is not None:
                _make_pair(front.mac)
            if (
                sysctls.read(sysctls.SYNCOOKIES) == "0"
            ):  # without them the kernel adopts no endpoint
                self._set(sysctls.SYNCOOKIES, "1")
            self._let_mptcp(mptcp)
            self._services = services
            self._untrack()
            self._let_ipv6(own)
            there = {*(address for address, _ in front.addresses), *front.sixes}
            for address in own:
                if address not in there:
                    self._add_address(address, front)

    def police(self, wanted: Policy) -> None:
        """Have the rules and tables by which answers leave by the right uplink. Repeatable."""
        with self._lock:
            if not wanted.rules and not self._changes.policy:
                return
            said = wanted.spoken()
            if said != self._changes.policy:
                state_file.write(self._file, msgspec.structs.replace(self._changes, policy=said))
                self._changes.policy = said
            with _netlink() as netlink:
                policy_routes.converge(netlink, wanted)

    def release(self, own: Collection[Address]) -> None:
        """Take those addresses away again that an agent has added and that are no longer ours."""
        with self._lock:
            gone = [one for one in self._changes.addresses if parse_address(one[0]) not in own]
            if not gone:
                return
            with _netlink() as netlink:
                for address, name in gone:
                    _delete_address(netlink, address, name)
                    # Who has it now is reached by a route, which the address itself stood for.
                    self._routed.discard(parse_address(address))
            self._changes.addresses = [one for one in self._changes.addresses if one not in gone]
            state_file.write(self._file, self._changes)

    def route(self, wanted: set[Address]) -> None:
        """Make exactly these addresses local. Those that were so by themselves are not ours.

        Only what differs from the last call is asked of the kernel.
        """
        with self._lock:
            self._route(wanted)

    def untrack(self) -> str:
        """Look again whether connection tracking sees what it must not. Returns what is wrong."""
        with self._lock:
            return self._untrack()

    def _untrack(self) -> str:
        services = self._services
        if services is not None:
            services = Services(services.addresses | set(fours(self._foreign)), services.ports)
        self._untracked.keep(services)
        return self._untracked.trouble

    def _note_notrack(self, is_set: bool) -> None:
        if is_set != self._changes.notrack:
            state_file.write(self._file, msgspec.structs.replace(self._changes, notrack=is_set))
            self._changes.notrack = is_set

    def _route(self, wanted: set[Address]) -> None:
        if wanted != self._foreign:
            self._foreign = set(wanted)
            self._untrack()
        ours = {parse_address(route) for route in self._changes.routes}
        self._let_ipv6(wanted)
        missing = wanted - self._routed
        self._remember(ours | missing)  # first: an agent that dies here leaves none unknown
        foreign = set()
        with _netlink() as netlink:
            for address in missing:
                try:
                    netlink.add_local(address, self._source)
                except FileExistsError:
                    if address in ours:
                        netlink.add_local(address, self._source, replace=True)
                    else:
                        foreign.add(address)
            for address in ours - wanted:
                with suppress(ProcessLookupError):
                    netlink.delete_local(address)
        self._routed, self.is_stale = set(wanted), False
        self._remember((ours | (missing - foreign)) & wanted)

    def _remember(self, routes: set[Address]) -> None:
        said = sorted(map(str, routes))
        if said != self._changes.routes:
            state_file.write(self._file, msgspec.structs.replace(self._changes, routes=said))
            self._changes.routes = said

    def restore(self, front: str = "", back: str = "") -> None:
        """Take all changes back; what has gone by itself is no fault.

        front, back: the interfaces' names, of which nothing need be known unless the file is
        damaged. NetworkError names what could not be taken back, and the file stays.
        """
        left = []
        with self._lock:
            self._recover(front, back)
            with _netlink() as netlink:
                policy_routes.remove(netlink)
                for route in self._changes.routes:
                    with suppress(OSError):
                        netlink.delete_local(parse_address(route))
                for address, name in self._changes.addresses:
                    with suppress(OSError):
                        _delete_address(netlink, address, name)
            if self._changes.notrack:
                self._untracked.keep(None)
                left += [f"the table ip {nfnetlink.TABLE} of nftables"] * self._changes.notrack
            own_pair.remove()
            for name, value in self._changes.sysctls.items():
                try:
                    sysctls.place(name).write_text(value)
                except FileNotFoundError:
                    pass  # the interface has gone
                except OSError as error:
                    left.append(f"{sysctls.spoken(name)} to {value} ({error.strerror})")
            if left:
                raise NetworkError(f"could not set back {', '.join(left)}; do so with sysctl -w")
            self._changes = Changes()
            self._file.unlink(missing_ok=True)

    def _let_ipv6(self, addresses: Iterable[Address]) -> None:
        """Have IPv6 on both interfaces, if one of the addresses needs it."""
        if self._interfaces is not None and sixes(addresses):
            for name, value in sysctls.wanted6(*self._interfaces).items():
                self._set(name, value)

    def _let_mptcp(self, wanted: bool) -> None:
        if not sysctls.place(MPTCP).exists():
            return
        if not wanted:
            self._set(MPTCP, "0")
        elif MPTCP in self._changes.sysctls:
            self._set(MPTCP, self._changes.sysctls[MPTCP])

    def _set(self, name: str, value: str) -> None:
        before = sysctls.read(name)
        if before == value:
            return
        known = {name: before} | self._changes.sysctls
        state_file.write(self._file, msgspec.structs.replace(self._changes, sysctls=known))
        self._changes.sysctls = known
        try:
            sysctls.place(name).write_text(value)
        except OSError as error:
            raise NetworkError(
                f"cannot set {sysctls.spoken(name)} to {value}: {error.strerror}; "
                "the agent must run as root"
            ) from None

    def _add_address(self, address: Address, front: Interface) -> None:
        added = (str(address), front.name)
        if added not in self._changes.addresses:
            addresses = [*self._changes.addresses, added]
            state_file.write(
                self._file, msgspec.structs.replace(self._changes, addresses=addresses)
            )
            self._changes.addresses = addresses
        with _netlink() as netlink:
            netlink.add_address(front.index, address)


def _make_pair(mac: bytes) -> None:
    try:
        own_pair.make(mac)
    except OSError as error:
        raise NetworkError(
            f"cannot make the pair of interfaces {own_pair.PROGRAMS} and {own_pair.FRONT} that "
            f'own_programs = "farm" needs: {error.strerror}; it takes a kernel with veth, and root'
        ) from None


def _delete_address(netlink: RtNetlink, address: str, name: str) -> None:
    """What has gone by itself is no fault."""
    try:
        netlink.delete_address(socket.if_nametoindex(name), parse_address(address))
    except OSError as error:
        if error.errno not in (errno.EADDRNOTAVAIL, errno.ENODEV, errno.ENXIO):
            raise


@contextmanager
def _netlink() -> Iterator[RtNetlink]:
    try:
        with RtNetlink() as netlink:
            yield netlink
    except OSError as error:
        raise NetworkError(
            f"the kernel refused a change of the network: {error.strerror}"
        ) from None
