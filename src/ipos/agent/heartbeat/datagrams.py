# SPDX-License-Identifier: Apache-2.0
"""Reads all the datagrams that wait in a UDP socket with one recvmmsg(2).

A farm of 64 has about six hundred datagrams a second, and a system call for each would cost as much
as checking it.
"""

import ctypes
import errno
import os
import socket
import struct
from functools import lru_cache
from typing import Any, NamedTuple

_MSG_DONTWAIT = 0x40
_NAME = 16
"""sockaddr_in: family, port, address, eight bytes of nothing."""


class Source(NamedTuple):
    """Who sent a datagram. `number` is its address as a number."""

    host: str
    port: int
    number: int


class _Part(ctypes.Structure):
    """iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """msghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_size", ctypes.c_uint32),
        ("parts", ctypes.c_void_p),
        ("part_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """mmsghdr: where a datagram goes, and how long it was."""

    _fields_ = (("header", _Header), ("length", ctypes.c_uint32))


@lru_cache(maxsize=512)
def _source(name: bytes) -> Source:
    """Names of senders, kept because to write an address takes longer than to check a datagram."""
    return Source(
        socket.inet_ntoa(name[4:8]),
        int.from_bytes(name[2:4], "big"),
        int.from_bytes(name[4:8], "big"),
    )


class Inbox:
    """Room for so many datagrams of so many bytes; longer ones are cut."""

    def __init__(self, count: int, size: int) -> None:
        self._size = size
        self._data = (ctypes.c_char * (count * size))()
        self._names = (ctypes.c_char * (count * _NAME))()
        self._views = memoryview(self._data), memoryview(self._names)
        self._parts = (_Part * count)()
        self._messages: Any = (_Message * count)()
        data, names = ctypes.addressof(self._data), ctypes.addressof(self._names)
        parts = ctypes.addressof(self._parts)
        for nth in range(count):
            self._parts[nth] = _Part(data + nth * size, size)
            self._messages[nth].header = _Header(
                names + nth * _NAME, _NAME, parts + nth * ctypes.sizeof(_Part), 1
            )
        self._headers = memoryview(self._messages).cast("B")
        self._where = ctypes.addressof(self._messages)
        self._receive = ctypes.CDLL(None, use_errno=True).recvmmsg
        number, where_at = ctypes.c_int, ctypes.c_void_p
        self._receive.argtypes = [number, where_at, ctypes.c_uint, number, where_at]
        where: Any = _Message.length
        rest = ctypes.sizeof(_Message) - where.offset - where.size
        self._lengths = struct.Struct(f"={where.offset}xI{rest}x")

    def take(self, fd: int, most: int) -> list[tuple[bytes, Source]]:
        """What waits, with its senders. OSError from the kernel; nothing waits: an empty list."""
        count = self._receive(fd, self._where, most, _MSG_DONTWAIT, None)
        if count < 0:
            number = ctypes.get_errno()
            if number == errno.EAGAIN:
                return []
            raise OSError(number, os.strerror(number))
        lengths = self._lengths.iter_unpack(self._headers[: count * ctypes.sizeof(_Message)])
        (data, names), size = self._views, self._size
        return [
            (
                bytes(data[nth * size : nth * size + length]),
                _source(bytes(names[nth * _NAME : nth * _NAME + 8])),
            )
            for nth, (length,) in enumerate(lengths)
        ]
