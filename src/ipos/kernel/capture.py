# SPDX-License-Identifier: Apache-2.0
"""Writes frames as the data plane saw and sent them, in the classic pcap format.

tcpdump sees no handshake that XDP answers. While a capture runs, the programs copy every frame of
ours, in both directions, into the ring `captured`; a flag in `settings` says so. The ring has one
reader, which says every few seconds that it still reads. When a reader has been killed, the agent
clears the flag soon after.
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

from ipos.abi.layout import constant, layout
from ipos.abi.rows import SettingsFlags
from ipos.errors import IposError
from ipos.kernel import data_plane
from ipos.kernel.libbpf import Map, RingBuffer
from ipos.kernel.maps import Tables, switch

_MAGIC_MICROSECONDS: Final = 0xA1B2C3D4
_LINKTYPE_ETHERNET: Final = 1
_SNAPSHOT_BYTES: Final = 65_535
LEASE_NS: Final = 10_000_000_000
"""How long a reader that says nothing more is believed to read."""


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
    data_plane.expect(pin_dir, constant("IPOS_ABI"))
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
            lease = _Lease(tables)
            try:
                yield _frames(reader, records, lease)
            finally:
                lease.end()
    finally:
        os.close(lock)


class _Lease:
    """Keeps the programs copying, as long as `renew` is called."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._until_ns = 0
        self.renew()

    def renew(self) -> None:
        """The flag, too: an agent that found an earlier capture's may have cleared it just now."""
        now_ns = _boottime_ns()
        if self._until_ns - now_ns < LEASE_NS // 2:
            self._until_ns = now_ns + LEASE_NS
            self._tables.capture_until.put(0, self._until_ns)
            switch(self._tables, SettingsFlags.CAPTURE, on=True)

    def end(self) -> None:
        switch(self._tables, SettingsFlags.CAPTURE, on=False)
        self._tables.capture_until.put(0, 0)


def end_unread(tables: Tables) -> None:
    """Clear the flag of a capture that was killed."""
    settings = tables.settings.get(0)
    is_on = settings is not None and SettingsFlags.CAPTURE in settings.flags
    if is_on and (tables.capture_until.get(0) or 0) < _boottime_ns():
        switch(tables, SettingsFlags.CAPTURE, on=False)


def _boottime_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _frames(reader: RingBuffer, records: list[bytes], lease: _Lease) -> Iterator[Frame | None]:
    while True:
        lease.renew()
        reader.poll(100)
        found = [decode(record) for record in records]
        records.clear()
        if found:
            yield from found
        else:
            yield None
