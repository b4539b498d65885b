# SPDX-License-Identifier: Apache-2.0
"""Frames of Figure 11, sound and damaged, against `ipos.wire`: which are believed.

The oracle says what `ipos.wire.ethernet.decode` makes of a frame. What it refuses, the core must
drop with a counter of unsound frames and without a change to any table; what it accepts, the core
must receive and, where it is about no connection here, say so.
"""

from __future__ import annotations

import random
import struct

from fuzz.endpoints import SIZES, Mismatch
from ipos.handshake.segment import checksum
from ipos.wire import ConnectionPacket, DataPacket, ProbePacket, WireError, ethernet
from ipos.wire.header import PacketType, Protocol
from tests.support.golden import icmp, offers, packets, probes
from tests.support.golden.machine import CONNECTIONS, Config, NativeMachine, configure

UNSOUND = {"DROP_FRAME_SHORT", "DROP_FRAME_CHECKSUM", "DROP_FRAME_TAG", "DROP_FRAME_TYPE",
           "DROP_FRAME_VERSION", "DROP_FRAME_UNKNOWN", "DROP_FRAME_LOCATE", "PASSED",
           "DROP_FRAME_FOREIGN", "DROP_FRAME_ON_FRONT", "DROP_FRAME_ELSEWHERE",
           "DROP_BACK_DIRECT"}  # fmt: skip


def run(seed: int, count: int) -> tuple[int, list[str]]:
    """So many frames; how many there were, and what differed."""
    rng = random.Random(seed)
    machine = NativeMachine(SIZES)
    configure(machine, Config())
    examples = _examples()
    found: list[str] = []
    for number in range(count):
        frame = _damaged(rng, rng.choice(examples))
        try:
            _judge(machine, frame)
        except Mismatch as mismatch:
            found.append(f"frame {number} of seed {seed} ({frame.hex()}): {mismatch}")
            if len(found) == 20:
                break
        for name in CONNECTIONS:
            for key, _ in list(machine.node.store(name).items()):
                machine.node.store(name).delete(key)
    return number + 1, found


def _examples() -> list[bytes]:
    request = packets.ip("PA", packets.HEAD)
    return [
        offers.connection(to=packets.BACK, by=packets.MAC2, endpoint=packets.SERVICE),
        packets.packet(request),
        packets.packet(packets.ip("A", options=[])),
        packets.packet(icmp.fragmentation_needed()),
        *(packets.notice(kind) for kind in (3, 4, 7)),
        probes.probe(8),
        probes.probe(9, asker=packets.SERVICE, asked=packets.S2),
    ]


def _damaged(rng: random.Random, frame: bytes) -> bytes:
    raw = bytearray(frame)
    for _ in range(rng.choice((0, 1, 1, 1, 2))):
        kind = rng.randrange(4)
        if kind == 0:
            raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        elif kind == 1:
            raw[min(14 + rng.randrange(16), len(raw) - 1)] = rng.getrandbits(8)
        elif kind == 2:
            raw = raw[: rng.randrange(14, len(raw) + 1)]
        else:
            raw += rng.randbytes(rng.randrange(1, 30))
    if rng.random() < 0.6 and len(raw) >= 30:
        raw[28:30] = b"\0\0"
        struct.pack_into("!H", raw, 28, checksum(bytes(raw[14:30])))
    return bytes(raw)


def _judge(machine: NativeMachine, frame: bytes) -> None:
    before = machine.counters()
    ran = machine.xdp(frame, "back")
    after = machine.counters()
    counters = {name: n - before.get(name, 0) for name, n in after.items()
                if n != before.get(name, 0)}  # fmt: skip
    received = "FRAMES_RECEIVED" in counters
    try:
        decoded = _decoded(frame)
    except WireError as error:
        if received or (set(counters) - UNSOUND and ran.verdict != "pass"):
            raise Mismatch(f"the oracle says {error}; the core {counters}") from None
        if any(len(machine.table(name)) for name in CONNECTIONS):
            raise Mismatch(f"the oracle says {error}; the core has a row") from None
        return
    packet = decoded.packet
    ours = (
        decoded.destination_mac == _mac(packets.BACK)
        and decoded.source_mac in (_mac(packets.MAC2), _mac(packets.MAC3))
        and decoded.vlan is None
        and decoded.ethertype == 7
        and packet.header.protocol is Protocol.TCP
        and packet.header.type not in (5, 6, 10, 11)  # to one of us, these are of no type
    )
    if counters == {"DROP_FRAME_UNKNOWN": 1} and isinstance(packet, DataPacket):
        return  # an inner packet of another client than the header's
    if ours != received:
        raise Mismatch(f"the oracle decodes {packet}; the core {counters}")
    if not received:
        return
    if isinstance(packet, ConnectionPacket):
        block = packet.control_block
        rows = list(machine.table("connect").items())
        if rows and block:
            (_, row) = rows[0]
            told = (row["hs"]["iss"], row["hs"]["irs"], row["hs"]["mss"], row["rcv_need"],
                    row["migration"])  # fmt: skip
            wanted = (block.iss, block.irs, block.peer_mss, block.rcv_nxt, block.migration_number)
            if told != wanted:
                raise Mismatch(f"the row has {told}, the block {wanted}")
    elif isinstance(packet, ProbePacket):
        _judge_probe(packet, counters, ran.verdict)
    elif not isinstance(packet, DataPacket) and "DROP_FRAME_UNKNOWN" not in counters:
        raise Mismatch(f"a notice about nothing, and the core {counters}")


def _judge_probe(packet: ProbePacket, counters: dict[str, int], verdict: str) -> None:
    answers = packet.header.type is PacketType.PROBE
    ours = packet.header.destination_ip if answers else packet.header.source_ip
    if str(ours) != packets.SERVICE:
        wanted = ("drop", {"FRAMES_RECEIVED": 1, "DROP_FRAME_UNKNOWN": 1})
    elif answers:
        wanted = ("redirect", {"FRAMES_RECEIVED": 1, "PROBE_ANSWERED": 1, "FRAMES_SENT": 1})
    else:
        wanted = ("pass", {"FRAMES_RECEIVED": 1})
    if (verdict, counters) != wanted:
        raise Mismatch(f"{packet} should be {wanted}, the core has {(verdict, counters)}")


def _decoded(frame: bytes) -> ethernet.Frame:
    """Strict about what follows a packet, which is the codec's concern; the core does not look."""
    try:
        return ethernet.decode(frame, packets.FRAME_KEY)
    except WireError as error:
        if error.field != "end":
            raise
        return ethernet.decode(frame[: error.offset], packets.FRAME_KEY)


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))
