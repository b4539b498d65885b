# SPDX-License-Identifier: Apache-2.0
"""Neighbour discovery on one interface (RFC 4861), for service addresses: what ARP is for IPv4.

A question is a neighbour solicitation, an announcement an unsolicited neighbour advertisement, and
both are sent as whole frames, because our kernel may not send in the name of an address that it
does not have. What is heard are advertisements of others.
"""

import ctypes
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address

from ipos.agent.network.interfaces import Interface, NetworkError
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
_SO_ATTACH_FILTER = 26
_FRAMES_MAX = 256
"""Frames that one call of `heard` reads, because anybody on the LAN can send them."""


@dataclass(frozen=True, slots=True)
class Advertised6:
    """One advertisement: its target, the MAC address in it, and the frame's source."""

    address: int
    mac: bytes
    source_mac: bytes


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


def read(frame: bytes) -> Advertised6 | None:
    """The advertisement in a frame; None for any other, and for one that a router has passed on."""
    at = 14 if frame[12:14] == _ETH_P_IPV6.to_bytes(2, "big") else 18
    if len(frame) < at + _IP.size + _MESSAGE.size:
        return None
    _, _, protocol, hops, _, _ = _IP.unpack_from(frame, at)
    kind, _, _, _, target = _MESSAGE.unpack_from(frame, at + _IP.size)
    if (protocol, hops, kind) != (_ICMPV6, _HOP_LIMIT, ADVERTISEMENT):
        return None
    mac = _target_mac(frame[at + _IP.size + _MESSAGE.size :])
    return Advertised6(int.from_bytes(target, "big"), mac, frame[6:12])


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
    """Sends and receives on one interface, in one VLAN or none (0). NetworkError if it cannot."""

    def __init__(self, interface: Interface, vlan: int) -> None:
        self._interface, self._vlan = interface, vlan
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        try:
            self._socket = socket.socket(socket.AF_PACKET, kind, 0)
            _only_advertisements(self._socket)
            self._socket.bind((interface.name, _ETH_P_IPV6))
        except OSError as error:
            raise NetworkError(
                f"cannot use neighbour discovery on {interface.name}: {error.strerror}"
            ) from None

    def fileno(self) -> int:
        return self._socket.fileno()

    def ask(self, address: int) -> None:
        """Ask all neighbours who has an address. A question may be lost, as on any LAN."""
        self._send(question(self._interface.mac, address, self._vlan))

    def announce(self, address: int) -> None:
        """Tell all neighbours that an address is here."""
        self._send(announcement(self._interface.mac, address, self._vlan))

    def _send(self, frame: bytes) -> None:
        try:
            self._socket.sendto(frame, (self._interface.name, 0))
        except OSError:
            pass  # an interface that is down has no neighbours

    def heard(self) -> Iterator[Advertised6]:
        """The advertisements that wait, `_FRAMES_MAX` at most."""
        for _ in range(_FRAMES_MAX):
            try:
                raw = self._socket.recv(256)
            except BlockingIOError:
                return
            except OSError:  # the interface went down: said once
                continue
            found = read(raw)
            if found is not None:
                yield found

    def close(self) -> None:
        self._socket.close()


def _only_advertisements(ndp: socket.socket) -> None:
    """Let the kernel drop all else that comes by IPv6, so that it wakes nobody.

    The filter begins at the Ethernet header; in a frame with a VLAN tag all is four bytes further.
    """
    untagged = (
        (0x30, 0, 0, 14 + 6),  # the next header
        (0x15, 0, 3, _ICMPV6),
        (0x30, 0, 0, 14 + _IP.size),  # the type
        (0x15, 0, 1, ADVERTISEMENT),
        (0x06, 0, 0, 256),
        (0x06, 0, 0, 0),
    )
    tagged = tuple((code, yes, no, k + 4 if code == 0x30 else k) for code, yes, no, k in untagged)
    head = ((0x28, 0, 0, 12), (0x15, 0, len(tagged), _ETH_P_VLAN))
    program = b"".join(
        struct.pack("=HBBI", *instruction) for instruction in (*head, *tagged, *untagged)
    )
    code = ctypes.create_string_buffer(program)
    fprog = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    ndp.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
