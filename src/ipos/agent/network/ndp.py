# SPDX-License-Identifier: Apache-2.0
"""Neighbour discovery on one interface (RFC 4861), for service addresses: what ARP is for IPv4.

A question is a neighbour solicitation, an announcement an unsolicited neighbour advertisement, and
both are sent as whole frames, because our kernel may not send in the name of an address that it
does not have. What is heard are advertisements of others.
"""

import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address

from ipos.agent.network.interfaces import Interface, NetworkError, vlan_index
from ipos.closing import Closing
from ipos.wire.checksum import checksum

SOLICITATION, ADVERTISEMENT = 135, 136
_ETH_P_IPV6, _ETH_P_VLAN = 0x86DD, 0x8100
_ICMPV6 = 58
_HOP_LIMIT = 255
"""Of every message: so none has come through a router."""
_OVERRIDE = 1 << 29
_TARGET_MAC = 2
_IP = struct.Struct("!IHBB16s16s")
_MESSAGE = struct.Struct("!BBHI16s")
"""Type, code, checksum, flags, target; options follow."""
_ALL_NODES = IPv6Address("ff02::1").packed
_SOLICITED_NODE = IPv6Address("ff02::1:ff00:0").packed[:13]
_NOBODY = bytes(16)
_ICMP6_FILTER = 1
_MESSAGES_MAX = 256
"""Messages that one call of `heard` reads, because anybody on the LAN can send them."""


@dataclass(frozen=True, slots=True)
class Advertised6:
    """One advertisement: its target, and the MAC address in it; empty where it names none."""

    address: int
    mac: bytes


def question(own_mac: bytes, address: int, vlan: int = 0) -> bytes:
    """A frame that asks all neighbours who has an address; no neighbour learns from it who asks.

    It is one of duplicate address detection (RFC 4862): its source is no address, so the answer
    goes to all nodes.
    """
    target = address.to_bytes(16, "big")
    group = _SOLICITED_NODE + target[13:]
    return _frame(own_mac, vlan, _NOBODY, group, SOLICITATION, 0, target, b"")


def announcement(own_mac: bytes, address: int, vlan: int = 0) -> bytes:
    """A frame that tells all neighbours that an address is here."""
    target = address.to_bytes(16, "big")
    option = bytes((_TARGET_MAC, 1)) + own_mac
    return _frame(own_mac, vlan, target, _ALL_NODES, ADVERTISEMENT, _OVERRIDE, target, option)


def _frame(
    own_mac: bytes, vlan: int, source: bytes, group: bytes, kind: int, flags: int, target: bytes,
    option: bytes,
) -> bytes:  # fmt: skip
    body = _MESSAGE.pack(kind, 0, 0, flags, target) + option
    pseudo = source + group + struct.pack("!II", len(body), _ICMPV6)
    summed = checksum(pseudo + body)
    body = _MESSAGE.pack(kind, 0, summed, flags, target) + option
    tag = struct.pack("!HH", _ETH_P_VLAN, vlan) if vlan else b""
    head = b"\x33\x33" + group[12:] + own_mac + tag + _ETH_P_IPV6.to_bytes(2, "big")
    return head + _IP.pack(6 << 28, len(body), _ICMPV6, _HOP_LIMIT, source, group) + body


def read(message: bytes) -> Advertised6 | None:
    """The advertisement in an ICMPv6 message; None for any other."""
    if len(message) < _MESSAGE.size:
        return None
    kind, _, _, _, target = _MESSAGE.unpack_from(message)
    if kind != ADVERTISEMENT:
        return None
    return Advertised6(int.from_bytes(target, "big"), _target_mac(message[_MESSAGE.size :]))


def _target_mac(options: bytes) -> bytes:
    """The MAC address that the options name; empty where they name none."""
    while len(options) >= 8:
        size = options[1] * 8
        if not size:
            break
        if options[0] == _TARGET_MAC:
            return options[2:8]
        options = options[size:]
    return b""


class NdpSocket(Closing):
    """Sends and receives on one interface, in one VLAN or none (0). NetworkError if it cannot.

    It hears by a socket of ICMPv6 and not by one of frames: a socket that takes IPv6 frames of an
    interface makes the kernel clone each of them, and a clone has lost the socket that the data
    plane gave it (skb_share_check() in ip6_rcv_core()), so no request would be adopted.
    """

    def __init__(self, interface: Interface, vlan: int) -> None:
        self._interface, self._vlan = interface, vlan
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        try:
            self._frames = socket.socket(socket.AF_PACKET, kind, 0)  # 0: it hears nothing
        except OSError as error:
            raise self._failure(error) from None
        try:
            self._heard = socket.socket(socket.AF_INET6, kind, _ICMPV6)
        except OSError as error:
            self._frames.close()
            raise self._failure(error) from None
        try:
            self._heard.setsockopt(_ICMPV6, _ICMP6_FILTER, _only(ADVERTISEMENT))
            self._heard.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
            index = vlan_index(interface.name, vlan) or interface.index
            name = socket.if_indextoname(index).encode()
            self._heard.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
        except OSError as error:
            self.close()
            raise self._failure(error) from None

    def _failure(self, error: OSError) -> NetworkError:
        name = self._interface.name
        return NetworkError(f"cannot use neighbour discovery on {name}: {error.strerror}")

    def fileno(self) -> int:
        return self._heard.fileno()

    def ask(self, address: int) -> None:
        """Ask all neighbours who has an address. A question may be lost, as on any LAN."""
        self._send(question(self._interface.mac, address, self._vlan))

    def announce(self, address: int) -> None:
        """Tell all neighbours that an address is here."""
        self._send(announcement(self._interface.mac, address, self._vlan))

    def _send(self, frame: bytes) -> None:
        try:
            self._frames.sendto(frame, (self._interface.name, 0))
        except OSError:
            pass  # an interface that is down has no neighbours

    def heard(self) -> Iterator[Advertised6]:
        """The advertisements that wait, `_MESSAGES_MAX` at most; none that came by a router."""
        for _ in range(_MESSAGES_MAX):
            try:
                raw, told, _, _ = self._heard.recvmsg(256, socket.CMSG_SPACE(4))
            except BlockingIOError:
                return
            except OSError:  # the interface went down: said once
                continue
            found = read(raw) if _hop_limit(told) == _HOP_LIMIT else None
            if found is not None:
                yield found

    def close(self) -> None:
        self._frames.close()
        self._heard.close()


def _hop_limit(told: list[tuple[int, int, bytes]]) -> int:
    for level, kind, value in told:
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT) and len(value) >= 4:
            return int.from_bytes(value[:4], sys.byteorder)
    return 0


def _only(kind: int) -> bytes:
    """A filter that blocks all types but one (RFC 3542 section 3.2): a bit blocks."""
    words = [0xFFFF_FFFF] * 8
    words[kind >> 5] &= ~(1 << (kind & 31))
    return struct.pack("=8I", *words)
