# SPDX-License-Identifier: Apache-2.0
"""What outsiders send in bulk: nothing is stored for it, nothing is believed."""

from __future__ import annotations

import random
import struct
from ipaddress import IPv4Address

from ipos.handshake.segment import Flag, Segment
from tests.support.clients import frame
from tests.support.golden import packets
from tests.support.golden.machine import CONNECTIONS, Config, NativeMachine, configure

_STAMPS = b"\x01\x01\x08\x0a"


def flood(seed: int, count: int, flags: Flag) -> NativeMachine:
    """A node after so many segments with random sources, numbers and timestamps."""
    rng = random.Random(seed)
    machine = NativeMachine()
    configure(machine, Config())
    for _ in range(count):
        options = _STAMPS + struct.pack("!Q", rng.getrandbits(64)) if rng.random() < 0.5 else b""
        segment = Segment(
            source=IPv4Address(rng.getrandbits(32)),
            source_port=rng.getrandbits(16),
            destination=IPv4Address(packets.SERVICE),
            destination_port=packets.WEB,
            seq=rng.getrandbits(32),
            ack=rng.getrandbits(32) if flags & Flag.ACK else 0,
            flags=flags,
            options=options,
        )
        machine.xdp(frame(segment.packet()), "front")
    return machine


def test_a_hundred_thousand_random_acks_prove_nothing() -> None:
    machine = flood(1, 100_000, Flag.ACK)
    assert machine.counters() == {"DROP_NO_COOKIE": 100_000}
    assert not any(len(machine.table(name)) for name in CONNECTIONS)
    machine.close()


def test_a_syn_flood_leaves_no_row() -> None:
    machine = flood(2, 20_000, Flag.SYN)
    assert machine.counters() == {"SYN_ACK": 20_000}
    assert not any(len(machine.table(name)) for name in CONNECTIONS)
    machine.close()
