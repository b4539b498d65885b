# SPDX-License-Identifier: Apache-2.0
"""Describes captured frames in words: who sent what to whom. Pure.

A frame between two servers is captured twice, where it leaves and where it arrives; it is described
once.
"""

import struct
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

from ipos.kernel.capture import Frame
from ipos.ladder.ladder import Rung
from ipos.wire import DataPacket, PacketType, WireError, ethernet

_ETHERNET = 14
_ETHERTYPE_IP = 0x0800
_IP_PROTOCOL_TCP = 6
_TCP = struct.Struct(">HHIIBBH")
_FLAGS = {2: "SYN", 1: "FIN", 4: "RST", 16: "ACK"}
_LINE_MAX = 24


@dataclass(frozen=True, slots=True)
class Told:
    """What a frame is. port: the client's; identity: equal for two sights of one frame."""

    port: int
    label: str
    identity: Hashable
    closes: bool = False


def rungs(
    seen: Iterable[Frame], port: int, hosts: Mapping[bytes, str], ethertype: int
) -> list[Rung]:
    """The frames of the connection from the client's `port`, in order, each one once.

    hosts: MAC address -> host; a frame of any other is left out.
    """
    found: list[Rung] = []
    waiting: Counter[tuple[Hashable, bool]] = Counter()
    first_ns = None
    for frame in sorted(seen, key=lambda frame: frame.when_ns):
        told = tell(frame.data, ethertype)
        sender, receiver = hosts.get(frame.data[6:12]), hosts.get(frame.data[0:6])
        if told is None or told.port != port or sender is None or receiver is None:
            continue
        identity = (sender, receiver, told.identity)
        other = (identity, not frame.outbound)
        if waiting[other]:
            waiting[other] -= 1
            continue
        waiting[identity, frame.outbound] += 1
        first_ns = frame.when_ns if first_ns is None else first_ns
        found.append(Rung((frame.when_ns - first_ns) / 1e6, sender, receiver, told.label))
    return found


def tell(data: bytes, ethertype: int) -> Told | None:
    """An ipOS frame, or TCP over IPv4; None for any other."""
    kind = int.from_bytes(data[12:14], "big")
    if kind == ethertype:
        return _ipos(data, ethertype)
    if kind == _ETHERTYPE_IP:
        return _tcp(data[_ETHERNET:])
    return None


def _ipos(data: bytes, ethertype: int) -> Told | None:
    try:
        packet = ethernet.decode(data, ethertype=ethertype).packet
    except WireError:
        return None  # cut short by the capture
    kind = packet.header.type
    label = f"type {kind.value} {kind.name.lower()}"
    if isinstance(packet, DataPacket):
        inner = _tcp(packet.inner)
        label = f"type {kind.value}: {inner.label}" if inner else label
    return Told(packet.header.source_port, label, packet, closes=kind is PacketType.CLOSED)


def _tcp(packet: bytes) -> Told | None:
    header = (packet[0] & 15) * 4 if packet else 0
    if len(packet) < header + _TCP.size or packet[9] != _IP_PROTOCOL_TCP:
        return None
    end = int.from_bytes(packet[2:4], "big")
    source, destination, seq, ack, offset, flags, _ = _TCP.unpack_from(packet, header)
    payload = packet[header + (offset >> 4) * 4 : end]
    names = [name for bit, name in _FLAGS.items() if flags & bit]
    label = _words(payload) if payload else "-".join(names)
    if payload and flags & 1:
        label += ", FIN"
    # A client's port is above a service's: which of the two is whose is not ours to know here.
    return Told(max(source, destination), label, (source, seq, ack, flags, payload))


def _words(payload: bytes) -> str:
    """A payload's first line if it is HTTP's, else how long it is."""
    line = payload.split(b"\r\n", 1)[0]
    if b"HTTP/1." in line and len(line) <= _LINE_MAX and line.isascii():
        return line.decode()
    return f"{len(payload)} bytes"
