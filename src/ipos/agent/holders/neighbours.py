# SPDX-License-Identifier: Apache-2.0
"""ARP on front, for service addresses (RFC 826, RFC 5227): who answers for one, and announcing.

Questions have no sender's address, so that nobody learns from them who has it.
"""

import ctypes
import socket
import struct
from ipaddress import IPv4Address

from ipos.agent.host.interfaces import Interface, NetworkError
from ipos.closing import Closing

_ETH_P_ARP, _ETH_P_VLAN = 0x0806, 0x8100
_ARP = struct.Struct("!HHBBH6sI6sI")
_REQUEST, _REPLY = 1, 2
_BROADCAST = b"\xff" * 6
_SO_ATTACH_FILTER = 26
_FRAMES_MAX = 256
"""Frames that one look reads: whoever is on front can send them."""


class Neighbours(Closing):
    """Speaks on one interface. NetworkError when it cannot."""

    def __init__(self, front: Interface, vlan: int) -> None:
        self._front, self._vlan = front, vlan
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        try:
            self._socket = socket.socket(socket.AF_PACKET, kind, 0)
            _only_claims(self._socket)
            self._socket.bind((front.name, _ETH_P_ARP))
        except OSError as error:
            raise NetworkError(f"cannot speak ARP on {front.name}: {error.strerror}") from None

    def ask(self, address: int) -> None:
        """Ask all neighbours whether one of them answers for an address."""
        self._send(address, 0)

    def announce(self, address: int) -> None:
        """Tell all neighbours that the address is here: gratuitous ARP."""
        self._send(address, address)

    def _send(self, address: int, sender: int) -> None:
        own = self._front.mac
        tag = struct.pack("!HH", _ETH_P_VLAN, self._vlan) if self._vlan else b""
        head = _BROADCAST + own + tag + _ETH_P_ARP.to_bytes(2, "big")
        body = _ARP.pack(1, 0x0800, 6, 4, _REQUEST, own, sender, bytes(6), address)
        try:
            self._socket.sendto((head + body).ljust(60, b"\0"), (self._front.name, 0))
        except OSError:
            pass  # an interface that is down has no neighbours

    def answered(self) -> set[int]:
        """Addresses that other machines have answered for, or announced, since the last call."""
        found = set()
        for _ in range(_FRAMES_MAX):
            try:
                raw = self._socket.recv(128)
            except BlockingIOError:
                break
            except OSError:  # the interface went down: said once
                continue
            at = 14 if raw[12:14] == _ETH_P_ARP.to_bytes(2, "big") else 18
            if len(raw) >= at + _ARP.size:
                *_, mac, sender, _, _ = _ARP.unpack_from(raw, at)
                if mac != self._front.mac and raw[6:12] != self._front.mac:
                    found.add(sender)
        return found - {int(IPv4Address("0.0.0.0"))}

    def close(self) -> None:
        self._socket.close()


def _only_claims(arp: socket.socket) -> None:
    """Replies and announcements. Of what others ask each other the kernel wakes nobody.

    Its filter begins at the Ethernet header; behind the type of a VLAN tag all is four bytes on.
    """
    untagged = (
        (0x28, 0, 0, 20),  # the operation
        (0x15, 5, 0, _REPLY),
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
