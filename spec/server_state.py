# SPDX-License-Identifier: Apache-2.0
"""What a data plane does with another server's frame of type 13. Pure; `xdp/server_state.h` is it
in C.

    the frame                                                        what becomes of it
    from no member, or cut, or with a wrong checksum or tag          nothing; its own reason to drop
    made more than five seconds before or after now                  DROP_FRAME_TIME
    of another back address than that of the member who sent it, or  DROP_STATE_UNKNOWN
    of another agent's life or edition than our agent has read
    no newer than what our agent has read, or than the last of them  DROP_STATE_OLD
    any other                                                        STATE_HEARD: its numbers count

Without the farm's tag nobody is believed, so where frames have no tags there is no type 13.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from ipos.wire import Frame, StatePacket, WireError, ethernet

LIFE_S = 5
_REASONS = {"checksum": "DROP_FRAME_CHECKSUM", "tag": "DROP_FRAME_TAG", "type": "DROP_FRAME_TYPE"}


@dataclass(frozen=True, slots=True)
class Edition:
    """The newest state that our agent has read whole."""

    boot: int
    sequence: int
    edition: int


@dataclass(slots=True)
class ServerStates:
    """`members`: back MAC address to back address. `known`, and `heard`, by back address."""

    key: bytes
    members: Mapping[bytes, IPv4Address]
    known: Mapping[IPv4Address, Edition]
    heard: dict[IPv4Address, StatePacket] = field(default_factory=dict)

    def take(self, raw: bytes, now_s: int) -> str:
        """The counter that a frame to everybody on back counts."""
        sender = self.members.get(raw[6:12])
        if sender is None:
            return "DROP_FRAME_FOREIGN"
        try:
            frame: Frame = ethernet.decode(raw, self.key)
        except WireError as error:
            return _REASONS.get(error.field, "DROP_FRAME_SHORT")
        packet = frame.packet
        if not isinstance(packet, StatePacket):
            return "DROP_FRAME_TYPE"
        if abs(now_s - packet.sent_s) > LIFE_S:
            return "DROP_FRAME_TIME"
        known, last = self.known.get(sender), self.heard.get(sender)
        if (
            known is None
            or packet.header.source_ip != sender
            or (packet.boot, packet.edition) != (known.boot, known.edition)
        ):
            return "DROP_STATE_UNKNOWN"
        newest = known.sequence
        if last is not None and last.boot == packet.boot:
            newest = max(newest, last.sequence)
        if packet.sequence <= newest:
            return "DROP_STATE_OLD"
        self.heard[sender] = packet
        return "STATE_HEARD"
