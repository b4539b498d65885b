# SPDX-License-Identifier: Apache-2.0
"""Signs of life of a silent server: its kernel answers ARP (RFC 826) whatever its agent does.

ARP and not ICMP: no firewall of a server is asked, and the answer names the back interface's own
MAC address, which that server's authenticated state named before.
"""

import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address
from types import TracebackType
from typing import Self

from ipos.agent.network import NetworkError

_ETHERTYPE_ARP = 0x0806
_REQUEST, _REPLY = 1, 2
_HARDWARE_ETHERNET = 1
_MESSAGE = struct.Struct("!HHBBH6s4s6s4s")


def request(mac: bytes, own: IPv4Address, asked: IPv4Address) -> bytes:
    """The ARP request: who has `asked`? Tell `own` at `mac`."""
    return _MESSAGE.pack(
        _HARDWARE_ETHERNET, 0x0800, 6, 4, _REQUEST, mac, own.packed, bytes(6), asked.packed
    )


def parse_reply(raw: bytes) -> tuple[IPv4Address, bytes] | None:
    """(address, MAC) of an ARP reply; None for anything else."""
    if len(raw) < _MESSAGE.size:
        return None
    kind, protocol, mac_size, ip_size, operation, mac, ip, _, _ = _MESSAGE.unpack_from(raw)
    if (kind, protocol, mac_size, ip_size) != (_HARDWARE_ETHERNET, 0x0800, 6, 4):
        return None
    return (IPv4Address(ip), mac) if operation == _REPLY else None


class Prober:
    """Asks by ARP on one interface. Its socket sees ARP alone, so it costs traffic nothing."""

    def __init__(self, interface: str, mac: bytes) -> None:
        self._interface = interface
        self._mac = mac
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        try:
            self._socket = socket.socket(socket.AF_PACKET, kind, socket.htons(_ETHERTYPE_ARP))
            self._socket.bind((interface, _ETHERTYPE_ARP))
        except OSError as error:
            raise NetworkError(f"cannot ask by ARP on {interface}: {error.strerror}") from None

    def fileno(self) -> int:
        return self._socket.fileno()

    def ask(self, own: IPv4Address, asked: IPv4Address, mac: bytes) -> None:
        """Send a request to the address that has said this MAC address was its own."""
        where = (self._interface, _ETHERTYPE_ARP, 0, _HARDWARE_ETHERNET, mac)
        try:
            self._socket.sendto(request(self._mac, own, asked), where)
        except OSError:
            pass  # an interface that is down gives no sign of life either

    def answers(self) -> Iterator[tuple[IPv4Address, bytes]]:
        """All replies that wait."""
        while True:
            try:
                raw = self._socket.recv(256)
            except BlockingIOError:
                return
            except OSError:  # the interface went down: said once, and it may come back
                continue
            found = parse_reply(raw)
            if found is not None:
                yield found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()
