# SPDX-License-Identifier: Apache-2.0
"""bpf(2) as Python functions: bytes and numbers in, bytes and numbers out.

Everything but loading objects uses the kernel's own interface and not libbpf's. It is stable, it
has tcx (Debian's libbpf 1.1 has not), and `ipos table` starts without a shared library. Layouts are
those of `union bpf_attr` in linux/bpf.h. Every function raises `OSError` with the kernel's errno;
callers turn it into a sentence, because they know what was done and why.
"""

import ctypes
import os
import platform
import struct
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

_NUMBER: Final = {"x86_64": 321, "aarch64": 280, "riscv64": 280}.get(platform.machine())

ANY: Final = 0
NOEXIST: Final = 1
EXIST: Final = 2
LOCK: Final = 4
"""BPF_F_LOCK: an element is read under the spin lock that is in it."""

ATTACH_CGROUP_SOCK_OPS: Final = 3
ATTACH_SK_LOOKUP: Final = 36
ATTACH_XDP: Final = 37
ATTACH_TCX_INGRESS: Final = 46
ATTACH_TCX_EGRESS: Final = 47

XDP_NATIVE: Final = 1 << 2
TCX_FIRST: Final = 1 << 3
"""BPF_F_BEFORE with nothing named: before all other tcx programs of the hook."""


class Command(IntEnum):
    """`enum bpf_cmd`, as far as it is used here."""

    MAP_CREATE = 0
    MAP_LOOKUP = 1
    MAP_UPDATE = 2
    MAP_DELETE = 3
    MAP_NEXT_KEY = 4
    OBJ_PIN = 6
    OBJ_GET = 7
    PROG_TEST_RUN = 10
    PROG_FD_BY_ID = 13
    MAP_FD_BY_ID = 14
    INFO_BY_FD = 15
    MAP_LOOKUP_AND_DELETE = 21
    MAP_LOOKUP_BATCH = 24
    MAP_UPDATE_BATCH = 26
    LINK_CREATE = 28
    LINK_UPDATE = 29
    LINK_DETACH = 34


class MapType(IntEnum):
    """`enum bpf_map_type`, as far as values are read or written through `Map`."""

    HASH = 1
    ARRAY = 2
    PROG_ARRAY = 3
    PERCPU_HASH = 5
    PERCPU_ARRAY = 6
    LRU_HASH = 9
    LRU_PERCPU_HASH = 10
    LPM_TRIE = 11
    ARRAY_OF_MAPS = 12
    HASH_OF_MAPS = 13
    DEVMAP = 14
    QUEUE = 22
    STACK = 23
    DEVMAP_HASH = 25
    RINGBUF = 27


class LinkType(IntEnum):
    """`enum bpf_link_type` of the links we make."""

    CGROUP = 3
    XDP = 6
    NETNS = 10
    TCX = 11


@dataclass(frozen=True, slots=True)
class MapInfo:
    """What the kernel says of a map. Sizes in bytes; `type` may be one `MapType` lacks."""

    type: int
    id: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    name: str


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """What the kernel says of a program. `tag` is the hash of its instructions, 16 hex digits.

    verified: how many instructions the verifier has followed, of a million that it may.
    """

    type: int
    id: int
    tag: str
    name: str
    verified: int


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """What the kernel says of a link.

    `target` is an ifindex (XDP, tcx), a cgroup's id or a namespace's; 0 when it has gone away.
    """

    type: int
    id: int
    program_id: int
    target: int
    attach_type: int


@dataclass(frozen=True, slots=True)
class TestRun:
    """What BPF_PROG_TEST_RUN answered: the return value, the packet after, the context after."""

    __test__ = False  # not a test class, whatever its name

    retval: int
    data: bytes
    context: bytes
    duration_ns: int


_libc = ctypes.CDLL(None, use_errno=True)
_bpf = ctypes.CDLL(None, use_errno=True).syscall
_bpf.argtypes = ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint
_bpf.restype = ctypes.c_long
ELEMENT = struct.Struct("=i4xQQQ")
BATCH = struct.Struct("=QQQQIIQQ")
FLAGS = struct.Struct("=Q")


def address_of(buffer: bytearray | None) -> int:
    """The address of a buffer's first byte; it must outlive the call it is passed to."""
    if not buffer:
        return 0
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def bpf(command: Command, attributes: bytearray) -> int:
    """The system call. `attributes` is written back by commands that answer in it."""
    if _NUMBER is None:
        raise OSError(0, f"bpf(2) has no known number on {platform.machine()}")
    return call(command, address_of(attributes), len(attributes))


def call(command: Command, where: int, size: int) -> int:
    result: int = _bpf(_NUMBER, command, where, size)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def _name(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("ascii", "replace")


def mount_bpffs(path: Path) -> None:
    if _libc.mount(b"bpf", bytes(path), b"bpf", ctypes.c_ulong(0), None) < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def map_create(kind: MapType, key_size: int, value_size: int, max_entries: int, name: str) -> int:
    attributes = bytearray(
        struct.pack("=5I8x16s", kind, key_size, value_size, max_entries, 0, name.encode()[:15])
    )
    return bpf(Command.MAP_CREATE, attributes)


def _element(command: Command, fd: int, key: bytes, value: bytearray | None, flags: int) -> None:
    key_buffer = bytearray(key)
    bpf(
        command,
        bytearray(ELEMENT.pack(fd, address_of(key_buffer), address_of(value), flags)),
    )


def map_lookup_and_delete(fd: int, key: bytes, value_size: int) -> bytes:
    """Also the pop of a queue or stack, with an empty key."""
    value = bytearray(value_size)
    _element(Command.MAP_LOOKUP_AND_DELETE, fd, key, value, 0)
    return bytes(value)


def map_update(fd: int, key: bytes, value: bytes, flags: int = ANY) -> None:
    _element(Command.MAP_UPDATE, fd, key, bytearray(value), flags)


def map_delete(fd: int, key: bytes) -> None:
    _element(Command.MAP_DELETE, fd, key, None, 0)


def map_next_key(fd: int, key: bytes | None, key_size: int) -> bytes:
    """The key after `key`, the first one for None; raises ENOENT after the last."""
    before = None if key is None else bytearray(key)
    after = bytearray(key_size)
    bpf(
        Command.MAP_NEXT_KEY,
        bytearray(struct.pack("=I4xQQQ", fd, address_of(before), address_of(after), 0)),
    )
    return bytes(after)


def map_lookup_block(
    fd: int, position: bytes | None, count: int, key_size: int, value_size: int
) -> tuple[bytes, bytes, bytes, bool]:
    """Up to `count` pairs from `position` on (None: the start), all keys and all values end to end.

    Answers (position to go on from, keys, values, whether that was the end). Raises ENOSPC when
    one bucket holds more than `count` pairs: ask again for more.
    """
    into = None if position is None else bytearray(position)
    out = bytearray(max(8, key_size))
    keys = bytearray(key_size * count)
    values = bytearray(value_size * count)
    places = address_of(into), address_of(out), address_of(keys), address_of(values)
    attributes = bytearray(BATCH.pack(*places, count, fd, 0, 0))
    ended = False
    try:
        bpf(Command.MAP_LOOKUP_BATCH, attributes)
    except FileNotFoundError:
        ended = True
    (filled,) = struct.unpack_from("=I", attributes, 32)
    return bytes(out), bytes(keys[: filled * key_size]), bytes(values[: filled * value_size]), ended


def map_lookup_batch(
    fd: int, position: bytes | None, count: int, key_size: int, value_size: int
) -> tuple[bytes, list[tuple[bytes, bytes]], bool]:
    """`map_lookup_block` with its pairs taken apart."""
    position, keys, values, ended = map_lookup_block(fd, position, count, key_size, value_size)
    pairs = [
        (keys[i * key_size : (i + 1) * key_size], values[i * value_size : (i + 1) * value_size])
        for i in range(len(keys) // key_size)
    ]
    return position, pairs, ended


def pin(fd: int, path: Path) -> None:
    name = bytearray(os.fsencode(path) + b"\0")
    bpf(Command.OBJ_PIN, bytearray(struct.pack("=QII", address_of(name), fd, 0)))


def open_pinned(path: Path) -> int:
    name = bytearray(os.fsencode(path) + b"\0")
    return bpf(Command.OBJ_GET, bytearray(struct.pack("=QII", address_of(name), 0, 0)))


def _info(fd: int, size: int) -> bytes:
    buffer = bytearray(size)
    bpf(Command.INFO_BY_FD, bytearray(struct.pack("=IIQ", fd, size, address_of(buffer))))
    return bytes(buffer)


def map_info(fd: int) -> MapInfo:
    kind, number, key_size, value_size, entries, flags, name = struct.unpack(
        "=6I16s", _info(fd, 40)
    )
    return MapInfo(kind, number, key_size, value_size, entries, flags, _name(name))


def program_info(fd: int) -> ProgramInfo:
    raw = _info(fd, 220)
    kind, number, tag = struct.unpack_from("=II8s", raw)
    (verified,) = struct.unpack_from("=I", raw, 216)
    return ProgramInfo(kind, number, tag.hex(), _name(raw[64:80]), verified)


def link_info(fd: int) -> LinkInfo:
    raw = _info(fd, 32)
    kind, number, program_id = struct.unpack_from("=III", raw)
    target, attach_type = struct.unpack_from("=II", raw, 16)
    if kind == LinkType.XDP:
        attach_type = ATTACH_XDP
    elif kind == LinkType.CGROUP:
        target, attach_type = struct.unpack_from("=QI", raw, 16)
    return LinkInfo(kind, number, program_id, target, attach_type)


def program_map_ids(fd: int) -> list[int]:
    """The ids of all maps a program uses, .rodata and the like among them."""
    (count,) = struct.unpack_from("=I", _info(fd, 80), 52)
    if not count:
        return []
    ids = bytearray(4 * count)
    info = bytearray(80)
    struct.pack_into("=IQ", info, 52, count, address_of(ids))
    bpf(Command.INFO_BY_FD, bytearray(struct.pack("=IIQ", fd, len(info), address_of(info))))
    return list(struct.unpack(f"={count}I", ids))


def map_fd_by_id(number: int) -> int:
    return bpf(Command.MAP_FD_BY_ID, bytearray(struct.pack("=III", number, 0, 0)))


def program_fd_by_id(number: int) -> int:
    return bpf(Command.PROG_FD_BY_ID, bytearray(struct.pack("=III", number, 0, 0)))


def link_create(program_fd: int, target: int, attach_type: int, flags: int) -> int:
    """Put a program on a hook. `target` is an ifindex, or a descriptor: cgroup, namespace."""
    attributes = bytearray(struct.pack("=IIII16x", program_fd, target, attach_type, flags))
    return bpf(Command.LINK_CREATE, attributes)


def link_update(link_fd: int, program_fd: int) -> None:
    bpf(Command.LINK_UPDATE, bytearray(struct.pack("=IIII", link_fd, program_fd, 0, 0)))


def link_detach(link_fd: int) -> None:
    """Take the program off its hook now; closing the last reference would do so a little later."""
    bpf(Command.LINK_DETACH, bytearray(struct.pack("=I", link_fd)))


def prog_test_run(
    program_fd: int,
    data: bytes,
    context: bytes = b"",
    *,
    repeat: int = 0,
    flags: int = 0,
    data_out_size: int = 0,
) -> TestRun:
    """Run a program once over `data` in the kernel, on no interface.

    `context` is its `struct xdp_md` or `struct __sk_buff`, empty for the kernel's default.
    `data_out_size` bytes are kept for the packet after; 0 means room for 65,536.
    """
    data_in = bytearray(data)
    data_out = bytearray(data_out_size or 65_536)
    context_in = bytearray(context)
    context_out = bytearray(len(context))
    attributes = bytearray(
        struct.pack(
            "=IIIIQQIIIIQQIII4x",
            program_fd, 0, len(data_in), len(data_out), address_of(data_in), address_of(data_out),
            repeat, 0, len(context_in), len(context_out), address_of(context_in),
            address_of(context_out), flags, 0, 0,
        )
    )  # fmt: skip
    bpf(Command.PROG_TEST_RUN, attributes)
    retval, _, data_size = struct.unpack_from("=III", attributes, 4)
    _, duration, _, context_size = struct.unpack_from("=IIII", attributes, 32)
    return TestRun(retval, bytes(data_out[:data_size]), bytes(context_out[:context_size]), duration)
