# SPDX-License-Identifier: Apache-2.0
"""The parts that every query to sock_diag(7) has in common."""

import os
import socket
import struct

HEADER = struct.Struct("=IHHII")
"""nlmsghdr: length, kind, flags, sequence number, port."""
BY_FAMILY, DESTROY = 20, 21
REQUEST, ACK, DUMP = 1, 4, 0x300
ERROR, DONE = 2, 3
_NETLINK_SOCK_DIAG = 4


def channel() -> socket.socket:
    """To the sockets of this network namespace. OSError when there is none."""
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    return socket.socket(socket.AF_NETLINK, kind, _NETLINK_SOCK_DIAG)


def message(kind: int, flags: int, body: bytes, sequence: int = 1) -> bytes:
    return HEADER.pack(HEADER.size + len(body), kind, flags, sequence, 0) + body


def check(answer: bytes, at: int = 0) -> None:
    """Raise the OSError that an ERROR message at that place carries; number 0 is none."""
    number = -int(struct.unpack_from("=i", answer, at + HEADER.size)[0])
    if number:
        raise OSError(number, os.strerror(number))
