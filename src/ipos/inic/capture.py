# SPDX-License-Identifier: Apache-2.0
"""Frames as the iNIC saw and sent them, in the classic pcap format.

tcpdump sees no handshake that XDP answers. While a capture runs, the programs copy every frame of
ours, in and out, into the ring `captured`; a flag in `settings` says so. The ring has one reader.
"""

import fcntl
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from ipos.errors import IposError
from ipos.inic import kernel
from ipos.inic.layout import constant, layout
from ipos.inic.libbpf import Map, RingBuffer
from ipos.inic.maps import Tables, switch
from ipos.inic.rows import SettingsFlag

_MAGIC_MICROSECONDS: Final = 0xA1B2C3D4
_LINKTYPE_ETHERNET: Final = 1
_SNAPSHOT_BYTES: Final = 65_535


@dataclass(frozen=True, slots=True)
class Frame:
    """One captured frame. `length` is the frame's own; `data` may be shorter."""

    when_ns: int
    """Boottime clock."""
    ifindex: int
    outbound: bool
    length: int
    data: bytes


class CaptureBusy(IposError):
    """Another capture of this data plane runs; the ring has one reader."""


def decode(record: bytes) -> Frame:
    """A record of the ring: `struct ipos_captured`, then the bytes."""
    shape = layout("ipos_captured")
    head = shape.unpack(record[: shape.size])
    return Frame(
        when_ns=head["when_ns"],
        ifindex=head["ifindex"],
        outbound=bool(head["outbound"]),
        length=head["length"],
        data=record[shape.size : shape.size + head["captured"]],
    )


class PcapWriter:
    """Writes frames to a binary stream as they come; a reader at a pipe sees each at once."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._to_unix_ns = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        stream.write(
            struct.pack(
                "=IHHiIII", _MAGIC_MICROSECONDS, 2, 4, 0, 0, _SNAPSHOT_BYTES, _LINKTYPE_ETHERNET
            )
        )
        stream.flush()

    def write(self, frame: Frame) -> None:
        seconds, rest = divmod(frame.when_ns + self._to_unix_ns, 1_000_000_000)
        header = struct.pack("=IIII", seconds, rest // 1000, len(frame.data), frame.length)
        self._stream.write(header + frame.data)
        self._stream.flush()


@contextmanager
def capturing(pin_dir: Path) -> Iterator[Iterator[Frame | None]]:
    """Frames while the block lasts; None whenever a tenth of a second has passed without one."""
    kernel.expect(pin_dir, constant("IPOS_ABI"))
    maps = pin_dir / "maps"
    lock = os.open(maps, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CaptureBusy(
                f"another `ipos capture` reads the data plane at {pin_dir}: end it first"
            ) from None
        tables = Tables(maps)
        records: list[bytes] = []
        with Map.open(maps / "captured") as ring, RingBuffer(ring.fd, records.append) as reader:
            reader.consume()
            records.clear()  # what an earlier capture left unread
            switch(tables, SettingsFlag.CAPTURE, on=True)
            try:
                yield _frames(reader, records)
            finally:
                switch(tables, SettingsFlag.CAPTURE, on=False)
    finally:
        os.close(lock)


def _frames(reader: RingBuffer, records: list[bytes]) -> Iterator[Frame | None]:
    while True:
        reader.poll(100)
        found = [decode(record) for record in records]
        records.clear()
        if found:
            yield from found
        else:
            yield None
