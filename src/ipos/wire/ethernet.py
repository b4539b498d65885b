# SPDX-License-Identifier: Apache-2.0
"""Figure 11a: ipOS packets as Ethernet frames. Everything about Ethernet is in this file.

A transport is a module with `encode` and `decode` of its own frame type around `ipos.wire.packets`;
a second one (UDP over IP, where there is no common LAN) needs nothing else changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ipos.wire import packets
from ipos.wire.cursor import Cursor
from ipos.wire.errors import WireError
from ipos.wire.fields import At, Layout

# The figure's type, the default. It lies below 0x0600, where IEEE 802.3 has lengths, and some
# physical NICs mind; 0x88b5 (for local experiments) is the usual other choice.
ETHERTYPE = 0x0007

# Without the frame check sequence, which no program sees. Shorter frames are padded on the wire.
MINIMUM_FRAME_SIZE = 60
MINIMUM_FRAME_SIZE6 = 72  # no kernel cuts a packet of IPv6 in front of its TCP checksum

VLAN_TAG_SIZE = 4  # type 0x8100 and two bytes of control information

_ETHERTYPE_VLAN = 0x8100
_ETHERTYPE_SIZE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class VlanTag:
    """The one IEEE 802.1Q tag a frame may have, behind its type 0x8100. ID 4095 is reserved."""

    id: int
    priority: int = 0
    drop_eligible: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.id <= 4094:
            raise ValueError(f"a VLAN id is 0 to 4094, not {self.id}")
        if not 0 <= self.priority <= 7:
            raise ValueError(f"a VLAN priority is 0 to 7, not {self.priority}")

    def to_bytes(self) -> bytes:
        control = self.priority << 13 | self.drop_eligible << 12 | self.id
        return control.to_bytes(VLAN_TAG_SIZE - _ETHERTYPE_SIZE, "big")

    @classmethod
    def from_bytes(cls, raw: bytes) -> VlanTag:
        control = int.from_bytes(raw, "big")
        return cls(
            priority=control >> 13, drop_eligible=bool(control >> 12 & 1), id=control & 0xFFF
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame on a back LAN. MAC addresses are 6 bytes."""

    destination_mac: Annotated[bytes, At(0, 6)]
    source_mac: Annotated[bytes, At(6, 6)]
    vlan: VlanTag | None = None
    ethertype: int = ETHERTYPE
    packet: packets.Packet

    def __post_init__(self) -> None:
        MAC_ADDRESSES.check(self)
        if not 0 <= self.ethertype <= 0xFFFF or self.ethertype == _ETHERTYPE_VLAN:
            raise ValueError(
                f"an ethertype is 0 to 0xffff and not 0x8100 (802.1Q), {self.ethertype:#06x} is not"
            )


MAC_ADDRESSES = Layout(Frame, 12)


def encode(frame: Frame, key: bytes | None = None) -> bytes:
    """The frame at its own length; the wire pads it (see `pad`). ``key``: `packets.encode`."""
    vlan = b"" if frame.vlan is None else _ethertype(_ETHERTYPE_VLAN) + frame.vlan.to_bytes()
    addresses = MAC_ADDRESSES.encode(frame)
    packet = packets.encode(frame.packet, key, addresses)
    return addresses + vlan + _ethertype(frame.ethertype) + packet


def decode(data: bytes, key: bytes | None = None, *, ethertype: int = ETHERTYPE) -> Frame:
    """The frame, padded or not. Raises `WireError` only; offsets count from the destination MAC.

    Padding is not looked at, but nothing may lie beyond it: a frame is over-long when it is longer
    than both its own length and the shortest frame of its family (4 bytes more where a switch put a
    VLAN tag into a frame already padded).
    """
    cursor = Cursor(data)
    addresses = MAC_ADDRESSES.take(cursor)
    vlan = None
    received = cursor.take("ethertype", _ETHERTYPE_SIZE)
    if received == _ethertype(_ETHERTYPE_VLAN):
        vlan = _take_vlan(cursor)
        received = cursor.take("ethertype", _ETHERTYPE_SIZE)
    if received != _ethertype(ethertype):
        raise WireError(
            "ethertype",
            cursor.offset - _ETHERTYPE_SIZE,
            f"must be {ethertype:#06x}, not 0x{received.hex()}",
        )
    packet = packets.decode(cursor, key, addresses)
    shortest = MINIMUM_FRAME_SIZE6 if packet.header.protocol.is_six else MINIMUM_FRAME_SIZE
    cursor.finish(shortest if vlan is None else shortest + VLAN_TAG_SIZE)
    return MAC_ADDRESSES.decode(addresses, 0, vlan=vlan, ethertype=ethertype, packet=packet)


def pad(frame: bytes) -> bytes:
    """The frame as it leaves a physical NIC: zeros up to 60 bytes."""
    return frame.ljust(MINIMUM_FRAME_SIZE, b"\0")


def _take_vlan(cursor: Cursor) -> VlanTag:
    offset = cursor.offset
    raw = cursor.take("vlan", VLAN_TAG_SIZE - _ETHERTYPE_SIZE)
    try:
        return VlanTag.from_bytes(raw)
    except ValueError as error:
        raise WireError("vlan", offset, str(error)) from None


def _ethertype(number: int) -> bytes:
    return number.to_bytes(_ETHERTYPE_SIZE, "big")
