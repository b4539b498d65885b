# SPDX-License-Identifier: Apache-2.0
"""Listening TCP sockets of this network namespace, from sock_diag (linux/inet_diag.h)."""

import ipaddress
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_REQUEST_DUMP: Final = 0x301
_DONE: Final = 3
_ERROR: Final = 2
_LISTEN: Final = 1 << 10
_ULP_INFO: Final = 19
_CGROUP_ID: Final = 21
_ASK_INFO: Final = 1 << 1  # the upper-layer protocol comes only with INET_DIAG_INFO
_ULP_NAME: Final = 1
_MESSAGE: Final = struct.Struct("=IHHII")
_DIAG_BYTES: Final = 72
_RECEIVE_BYTES: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket. `mptcp`: the kernel gives it no endpoint (-EINVAL from the kfunc).

    `group` is the id of its cgroup, 0 where the kernel does not say. `outside`: the data plane does
    not see its connections.
    """

    address: str
    port: int
    mptcp: bool = False
    group: int = 0
    outside: bool = False


def tcp_listeners() -> tuple[Listener, ...]:
    """All listening TCP sockets, IPv4 and IPv6; raises OSError where sock_diag is refused."""
    found: list[Listener] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as link:
        for family in (socket.AF_INET, socket.AF_INET6):
            link.send(_request(family))
            found += _answers(link)
    return tuple(sorted(found, key=lambda each: (each.port, each.address)))


def _request(family: int) -> bytes:
    body = struct.pack("=BBBxI48x", family, socket.IPPROTO_TCP, _ASK_INFO, _LISTEN)
    return (
        _MESSAGE.pack(_MESSAGE.size + len(body), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0) + body
    )


def _answers(link: socket.socket) -> Iterator[Listener]:
    while True:
        data = link.recv(_RECEIVE_BYTES)
        while data:
            length, kind, _, _, _ = _MESSAGE.unpack_from(data)
            if kind == _DONE:
                return
            body, data = data[_MESSAGE.size : length], data[(length + 3) & ~3 :]
            if kind == _ERROR:
                (number,) = struct.unpack_from("=i", body)
                raise OSError(-number, "sock_diag refused the question")
            yield _listener(body)


def _listener(body: bytes) -> Listener:
    family = body[0]
    (port,) = struct.unpack_from("!H", body, 4)
    raw = body[8:12] if family == socket.AF_INET else body[8:24]
    mptcp = any(
        kind == _ULP_INFO
        and any(k == _ULP_NAME and v.rstrip(b"\0") == b"mptcp" for k, v in _attributes(value))
        for kind, value in _attributes(body[_DIAG_BYTES:])
    )
    told = dict(_attributes(body[_DIAG_BYTES:]))
    group = int.from_bytes(told.get(_CGROUP_ID, b""), sys.byteorder)
    return Listener(str(ipaddress.ip_address(raw)), port, mptcp, group)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            return
        yield kind & 0x3FFF, data[4:length]
        data = data[(length + 3) & ~3 :]
