# SPDX-License-Identifier: Apache-2.0
"""The listening sockets of a network namespace, from sock_diag(7): TCP, and UDP of services.

The kernel filters by state, so thousands of connections cost nothing, and the query is small enough
to be made ten times a second. No netlink message says which process has a socket: it is found by
its inode among the open files in /proc, and remembered.
"""

import os
import socket
import struct
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

from ipos.agent.heartbeat.message import Listening
from ipos.agent.network import sockdiag
from ipos.agent.network.seen_sockets import SeenSockets
from ipos.config.schema import Service

_TCP_LISTEN = 1 << 10
_UDP_UNCONNECTED = 1 << 7
_SKV6ONLY = 11
_ULP_INFO = 19
_CGROUP_ID = 21
_ULP_NAME = 1
_ASK_INFO = 1 << 1  # the kernel tells the upper-layer protocol only beside INET_DIAG_INFO
_REQUEST = struct.Struct("=BBBxI48x")
_MESSAGE = struct.Struct("=BBBB2s2s16s16sIIIIIIII")
_ATTRIBUTE = struct.Struct("=HH")
_KIND = 0x3FFF  # without the flag of nested attributes
ANY = IPv4Address(0)
ANY6, LOOPBACK6 = IPv6Address("::"), IPv6Address("::1")


@dataclass(frozen=True, slots=True)
class Box:
    """A container, as far as the data plane and its users know it.

    index: of our end of the wire to it; namespace: the id that its network namespace has in ours;
    picks: what services say of which it is meant, such as `container:web`.
    """

    index: int
    namespace: int
    name: str
    picks: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket that takes IPv4; ip 0.0.0.0 is any address.

    mptcp: the kernel gives it no endpoint (`net/core/filter.c`: EINVAL). udp: it takes datagrams of
    any client. box: the container that it is in; None: in none. outside: of TCP, and not of the
    cgroup whose sockets the data plane sees to exist: that it took an endpoint would not be seen.
    cookie: SO_COOKIE, which no other socket of this machine ever has.
    """

    ip: IPv4Address
    port: int
    inode: int
    mptcp: bool = False
    udp: bool = False
    box: Box | None = None
    outside: bool = False
    cookie: int = 0


Place6 = tuple[IPv6Address, int]
"""Where a socket of TCP listens for IPv6: address, :: for any, and port."""


class Listeners:
    """Asks again and again: one netlink socket, and no parsing of an answer that is the last.

    seen: the sockets that the data plane sees to exist.
    """

    def __init__(self, seen: SeenSockets | None = None) -> None:
        self._seen = seen or SeenSockets()
        self._netlink: socket.socket | None = None
        self._answers: list[bytes] = []
        self._found: frozenset[Listener] = frozenset()
        self.six: frozenset[Place6] = frozenset()
        """Where IPv6 connections of the farm are taken, at the last look."""

    def now(self, udp_ports: Collection[int] = ()) -> frozenset[Listener]:
        """All of them, dual-stack IPv6 sockets included; of UDP those at these ports.

        OSError when the kernel cannot say.
        """
        families = [(socket.AF_INET, False), (socket.AF_INET6, False)]
        if udp_ports:
            families += [(socket.AF_INET, True), (socket.AF_INET6, True)]
        try:
            answers = [self._ask(*family) for family in families]
        except OSError:
            self.close()  # what is left of an answer must not be taken for the next
            raise
        if answers != self._answers:
            parsed = [
                _parse_all(family, answer, self._seen, udp=udp)
                for (family, udp), answer in zip(families, answers, strict=True)
            ]
            found = frozenset(
                one for each in parsed for one in each if not one.udp or one.port in udp_ports
            )
            # Lengths of queues are in the answers, too: the same sockets are the same object.
            self._answers, self._found = answers, self._found if found == self._found else found
            six = frozenset(_places6(answers[1]))
            self.six = self.six if six == self.six else six
        return self._found

    def _ask(self, family: int, udp: bool) -> bytes:
        """The messages of an answer end to end, without the last, which says so."""
        if self._netlink is None:
            self._netlink = sockdiag.channel()
        protocol = socket.IPPROTO_UDP if udp else socket.IPPROTO_TCP
        states = _UDP_UNCONNECTED if udp else _TCP_LISTEN
        body = _REQUEST.pack(family, protocol, _ASK_INFO, states)
        flags = sockdiag.REQUEST | sockdiag.DUMP
        self._netlink.send(sockdiag.message(sockdiag.BY_FAMILY, flags, body))
        found = b""
        while True:
            answer = self._netlink.recv(1 << 16)
            end = _end_of_dump(answer)
            found += answer[:end]
            if end < len(answer):
                return found

    def close(self) -> None:
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None


def listening() -> frozenset[Listener]:
    """All of them, once."""
    with closing(Listeners()) as listeners:
        return listeners.now()


def is_served(service: Service, found: Iterable[Listener], own: Iterable[IPv4Address]) -> bool:
    """Whether somebody listens where the service's application should.

    Without an address of its own, that is any address or one of the server's service addresses.
    What listens in a container counts where nothing outside of containers does.
    """
    found = list(found)
    if service.listener.box == "" and any(sockets_of(service, found, own)):
        return True
    return len(boxes(service, found, own)) == 1


def sockets_of(
    service: Service, found: Iterable[Listener], own: Iterable[IPv4Address], box: Box | None = None
) -> Iterator[Listener]:
    """The sockets in one place that are the service's application."""
    wanted = service.listener
    places = {ANY, wanted.ip} if wanted.ip != ANY else {ANY, *own}
    return (
        one
        for one in found
        if one.box == box
        and one.port == wanted.port
        and one.ip in places
        and not (one.mptcp or one.outside)
        and one.udp == (service.protocol == "udp")
    )


def as_for_syns(found: Iterable[Listener]) -> frozenset[Listener]:
    """The sockets as a SYN meets them: the kernel shakes hands, so one with MPTCP is as others."""
    return frozenset(replace(one, mptcp=False) if one.mptcp else one for one in found)


def only_by_syn(
    service: Service, found: Collection[Listener], own: Collection[IPv4Address]
) -> bool:
    """Whether the service's application could only serve clients whose SYNs it gets."""
    if is_served(service, found, own) or boxes(service, found, own):
        return False
    return any(one.mptcp for one in found) and is_served(service, as_for_syns(found), own)


def boxes(
    service: Service, found: Iterable[Listener], own: Iterable[IPv4Address]
) -> dict[Box, Listener]:
    """The containers that have the service's application, and its socket in each."""
    found = list(found)
    wanted = service.listener.box
    there = {one.box for one in found if one.box and (wanted in one.box.picks if wanted else True)}
    sockets = {box: sorted(sockets_of(service, found, own, box), key=_by_address) for box in there}
    return {box: listed[0] for box, listed in sockets.items() if listed}


def _by_address(one: Listener) -> int:
    return int(one.ip)


def chosen(
    service: Service, found: Iterable[Listener], own: Iterable[IPv4Address]
) -> Listener | None:
    """The socket in a container that serves the service; None: it is in none, or in several."""
    found = list(found)
    if service.listener.box == "" and any(sockets_of(service, found, own)):
        return None
    several = list(boxes(service, found, own).values())
    return several[0] if len(several) == 1 else None


def elsewhere(
    service: Service, found: Iterable[Listener], own: Iterable[IPv4Address]
) -> str | None:
    """Why a service is not served although somebody listens on its application's port."""
    found = list(found)
    if is_served(service, found, own):
        return None
    port = service.listener.port
    several = sorted(box.name for box in boxes(service, found, own))
    if several:
        return (
            f"service {service.name} is not served here: the containers {' and '.join(several)} "
            f"all listen on port {port}; say which is meant, as "
            f'application = "container:{several[0]}"'
        )
    for one in found:
        if one.port == port and (one.mptcp or one.outside) and _may_be(service, one):
            return f"service {service.name} is not served here: {_unfit(one)}"
    if service.listener.box:
        return (
            f"service {service.name} is not served here: no {service.listener.box} that a pair of "
            f"interfaces leads to listens on port {port}; start it, or correct `application`"
        )
    found = [one for one in found if one.udp == (service.protocol == "udp") and not one.box]
    there = sorted({one.ip for one in found if one.port == port})
    if not there:
        return None
    listed = ", ".join(f"{ip}:{service.listener.port}" for ip in there)
    return (
        f"service {service.name} is not served here: its application listens on {listed}, not on "
        f"{service.listener.ip}:{service.listener.port} or an address of this server; let it "
        f'listen there, or set application = "{there[0]}:{service.listener.port}"'
    )


def _may_be(service: Service, one: Listener) -> bool:
    """Whether a socket on the right port could be meant, by the container that it is in."""
    wanted = service.listener.box
    return one.udp == (service.protocol == "udp") and (
        not wanted or (one.box is not None and wanted in one.box.picks)
    )


def _unfit(one: Listener) -> str:
    """Why a socket can be given no connection of the farm."""
    where = f" in the container {one.box.name}" if one.box else ""
    if one.outside:
        return (
            f"its application{where} listens on port {one.port} with a socket that was made "
            "outside of the cgroup IPOS_CGROUP, so the data plane would not see that it has taken "
            "a connection; start it in that cgroup, or the agent without IPOS_CGROUP"
        )
    remedy = (
        "start it with GODEBUG=multipathtcp=0, or the container with net.mptcp.enabled=0"
        if one.box
        else "restart the application now that net.mptcp.enabled is 0, or start it with "
        "GODEBUG=multipathtcp=0"
    )
    return (
        f"its application{where} listens on port {one.port} with MPTCP, and the kernel gives such "
        "a socket no connection of the farm but by its SYN, while routes, session, mode, decide or "
        f"start of the service need the request; {remedy}"
    )


def by_syn_said(service: Service) -> str | None:
    """What an operator should know of a service that is served only by SYN forwarding."""
    if service.select == "connection":  # it always is
        return None
    return (
        f"service {service.name} is served here by SYN forwarding, and all servers choose at the "
        f"SYN for it: its application listens on port {service.listener.port} with MPTCP; restart "
        "it now that net.mptcp.enabled is 0, or start it with GODEBUG=multipathtcp=0"
    )


def listener_address(
    service: Service, own: Iterable[int], listening: Iterable[Listening], *, by_syn: bool = False
) -> IPv4Address:
    """The address of ours where the application listens, if it does not on any; 0.0.0.0: it does.

    `own` are our service addresses in the order of the configuration. by_syn: it gets SYNs, so it
    may listen with MPTCP.
    """
    if service.listener.ip != ANY:
        return ANY
    udp = service.protocol == "udp"
    outside = [one for one in listening if not one.container]
    port = service.listener.port
    places = {one.ip for one in outside if one.takes_at(port, udp=udp, by_syn=by_syn)}
    if int(ANY) in places:
        return ANY
    return IPv4Address(next((address for address in own if address in places), 0))


def listener_address6(
    service: Service, own: Iterable[IPv6Address], places: Collection[Place6]
) -> IPv6Address | None:
    """As `listener_address`, of IPv6: :: where it is any, or as of IPv4; None: it takes none.

    An application on 127.0.0.1 takes IPv6 connections on ::1.
    """
    port, loopback = service.listener.port, service.listener.ip.is_loopback
    if (ANY6, port) in places or (loopback and (LOOPBACK6, port) in places):
        return ANY6
    return None if loopback else next((one for one in own if (one, port) in places), None)


def _end_of_dump(answer: bytes) -> int:
    """Where the message that ends a dump begins; the answer's length when there is none."""
    position = 0
    while position < len(answer):
        size, kind, *_ = sockdiag.HEADER.unpack_from(answer, position)
        if kind == sockdiag.DONE:
            return position
        if kind == sockdiag.ERROR:
            number = -int(struct.unpack_from("=i", answer, position + sockdiag.HEADER.size)[0])
            raise OSError(number, os.strerror(number))
        position += (size + 3) & ~3
    return position


def _parse_all(family: int, messages: bytes, seen: SeenSockets, *, udp: bool) -> Iterator[Listener]:
    position = 0
    while position < len(messages):
        size, *_ = sockdiag.HEADER.unpack_from(messages, position)
        found = _parse(family, messages[position + sockdiag.HEADER.size : position + size], seen)
        if found is not None:
            yield replace(found, udp=True, outside=False) if udp else found
        position += (size + 3) & ~3


def _places6(messages: bytes) -> Iterator[Place6]:
    """The sockets of an answer about IPv6 that take IPv6 connections of the farm."""
    position = 0
    while position < len(messages):
        size, *_ = sockdiag.HEADER.unpack_from(messages, position)
        raw = messages[position + sockdiag.HEADER.size : position + size]
        _, _, _, _, port, _, source, *_ = _MESSAGE.unpack_from(raw)
        address = IPv6Address(source)
        if address.ipv4_mapped is None and not _has_mptcp(dict(_attributes(raw[_MESSAGE.size :]))):
            yield address, int.from_bytes(port, "big")
        position += (size + 3) & ~3


def _has_mptcp(told: Mapping[int, bytes]) -> bool:
    protocol = dict(_attributes(told.get(_ULP_INFO, b""))).get(_ULP_NAME, b"")
    return protocol.rstrip(b"\0") == b"mptcp"


def _parse(family: int, raw: bytes, seen: SeenSockets) -> Listener | None:
    """One socket; None for one that takes no IPv4."""
    _, _, _, _, port, _, source, _, _, low, high, *_, inode = _MESSAGE.unpack_from(raw)
    number = int.from_bytes(port, "big")
    told = dict(_attributes(raw[_MESSAGE.size :]))
    outside = not seen.has(int.from_bytes(told.get(_CGROUP_ID, b""), sys.byteorder))
    ip = _ip_of(family, source, only_ipv6=any(told.get(_SKV6ONLY, b"")))
    if ip is None:
        return None
    mptcp, cookie = _has_mptcp(told), low | high << 32
    return Listener(ip, number, inode, mptcp, outside=outside, cookie=cookie)


def _ip_of(family: int, source: bytes, *, only_ipv6: bool) -> IPv4Address | None:
    """The IPv4 address that a socket takes; None for one that takes none."""
    if family == socket.AF_INET:
        return IPv4Address(source[:4])
    if source[:10] == bytes(10) and source[10:12] == b"\xff\xff":
        return IPv4Address(source[12:])
    return None if any(source) or only_ipv6 else ANY


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The kind and the bytes of each attribute (linux/netlink.h, struct nlattr)."""
    while len(data) >= _ATTRIBUTE.size:
        size, kind = _ATTRIBUTE.unpack_from(data)
        if size < _ATTRIBUTE.size:
            return
        yield kind & _KIND, data[_ATTRIBUTE.size : size]
        data = data[(size + 3) & ~3 :]
