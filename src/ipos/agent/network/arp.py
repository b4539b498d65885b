# SPDX-License-Identifier: Apache-2.0
"""ARP on one interface (RFC 826, RFC 5227): questions, announcements, and what is heard."""

import ctypes
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from ipos.agent.network.interfaces import Interface, NetworkError
from ipos.closing import Closing

REPLY = 2
_REQUEST = 1
_ETH_P_ARP, _ETH_P_VLAN = 0x0806, 0x8100
_ARP = struct.Struct("!HHBBH6sI6sI")
_BROADCAST = b"\xff" * 6
_SO_ATTACH_FILTER = 26
_FRAMES_MAX = 256
"""Frames that one call of `heard` reads, because anybody on the LAN can send them."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One packet: the sender's MAC and address as they are in it, and the frame's source."""

    operation: int
    mac: bytes
    address: int
    source_mac: bytes


class ArpSocket(Closing):
    """Sends and receives on one interface, in one VLAN or none (0). NetworkError if it cannot."""

    def __init__(self, interface: Interface, vlan: int) -> None:
        self._interface, self._vlan = interface, vlan
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        try:
            self._socket = socket.socket(socket.AF_PACKET, kind, 0)
            _only_claims(self._socket)
            self._socket.bind((interface.name, _ETH_P_ARP))
        except OSError as error:
            raise NetworkError(f"cannot speak ARP on {interface.name}: {error.strerror}") from None

    def fileno(self) -> int:
        return self._socket.fileno()

    def ask(self, address: int, sender: int, mac: bytes | None = None) -> None:
        """Ask who has an address: all neighbours, or the one with this MAC address.

        `sender` is our own address in the question, 0 for none. With `sender` equal to `address`
        it is an announcement (gratuitous ARP). A question may be lost, as on any LAN.
        """
        own = self._interface.mac
        tag = struct.pack("!HH", _ETH_P_VLAN, self._vlan) if self._vlan else b""
        head = (mac or _BROADCAST) + own + tag + _ETH_P_ARP.to_bytes(2, "big")
        body = _ARP.pack(1, 0x0800, 6, 4, _REQUEST, own, sender, bytes(6), address)
        try:
            self._socket.sendto((head + body).ljust(60, b"\0"), (self._interface.name, 0))
        except OSError:
            pass  # an interface that is down has no neighbours

    def heard(self) -> Iterator[Heard]:
        """The replies and announcements that wait, `_FRAMES_MAX` at most."""
        for _ in range(_FRAMES_MAX):
            try:
                raw = self._socket.recv(128)
            except BlockingIOError:
                return
            except OSError:  # the interface went down: said once
                continue
            at = 14 if raw[12:14] == _ETH_P_ARP.to_bytes(2, "big") else 18
            if len(raw) >= at + _ARP.size:
                *_, operation, mac, address, _, _ = _ARP.unpack_from(raw, at)
                yield Heard(operation, mac, address, raw[6:12])

    def close(self) -> None:
        self._socket.close()


def _only_claims(arp: socket.socket) -> None:
    """Let the kernel drop what others ask each other, so that it wakes nobody.

    Replies and announcements pass. The filter begins at the Ethernet header; in a frame with a
    VLAN tag everything after the type is four bytes further on.
    """
    untagged = (
        (0x28, 0, 0, 20),  # the operation
        (0x15, 5, 0, REPLY),
        (0x20, 0, 0, 38),  # the target's address
        (0x07, 0, 0, 0),  # into X
        (0x20, 0, 0, 28),  # the sender's
        (0x1D, 1, 0, 0),  # both the same
        (0x06, 0, 0, 0),
        (0x06, 0, 0, 128),
    )
    tagged = tuple(
        (code, yes, no, k + 4 if code in (0x28, 0x20) else k) for code, yes, no, k in untagged
    )
    head = ((0x28, 0, 0, 12), (0x15, 0, len(tagged), _ETH_P_VLAN))
    program = b"".join(
        struct.pack("=HBBI", *instruction) for instruction in (*head, *tagged, *untagged)
    )
    code = ctypes.create_string_buffer(program)
    fprog = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    arp.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
