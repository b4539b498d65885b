# SPDX-License-Identifier: Apache-2.0
"""States in frames: the data plane believes what the oracle believes, whatever comes and in what
order."""

import random
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest

from ipos.abi.layout import constant, layout
from spec.server_state import Edition, ServerStates
from tests.support.golden import packets as p
from tests.support.golden import probes
from tests.support.golden.machine import Config, NativeMachine, configure, mac
from tests.support.golden.server_states import BOOT, EDITION, SEQUENCE, numbers

BACKS = {p.MAC2: "10.77.0.2", p.MAC3: "10.77.0.3"}
INDICES = {"10.77.0.2": 2, "10.77.0.3": 3}
PAUSE_NS = constant("IPOS_PAUSE_NS")


def compare(seed: int) -> set[str]:
    """A few hundred frames, most of them believable or nearly; what became of them."""
    rng = random.Random(seed)
    machine = NativeMachine()
    try:
        configure(machine, Config())
        known = {
            IPv4Address(back): Edition(BOOT, SEQUENCE, EDITION + index)
            for back, index in INDICES.items()
        }
        tell(machine, known)
        members = {mac(address): IPv4Address(back) for address, back in BACKS.items()}
        oracle = ServerStates(p.FRAME_KEY, members, known)
        found, counted = set(), machine.counters()
        for _ in range(300):
            if rng.random() < 0.05:  # the agent has read a new edition
                back = rng.choice(list(known))
                edition = known[back]
                known[back] = replace(edition, edition=edition.edition + 1,
                                      sequence=edition.sequence + rng.randrange(40))  # fmt: skip
                tell(machine, known)
            frame = drawn(rng, known)
            machine.xdp(frame, "back")
            now = machine.counters()
            new = {name for name, count in now.items() if count != counted.get(name, 0)}
            counted = now
            told = oracle.take(frame, p.SENT_S)
            assert new == {told}, f"seed {seed}, frame {frame.hex()}"
            found.add(told)
        for back, packet in oracle.heard.items():
            row = machine.table("heard")[INDICES[str(back)]]
            server = machine.table("servers")[INDICES[str(back)]]
            assert (row["boot"], row["sequence"]) == (packet.boot, packet.sequence)
            for field in ("tcp_connections", "cpu_permille", "memory_available",
                          "bandwidth_available", "memory_short", "bandwidth_short"):  # fmt: skip
                assert row[field] == server[field] == getattr(packet, field)
        return found
    finally:
        machine.close()


def tell(machine: NativeMachine, known: dict[IPv4Address, Edition]) -> None:
    for back, one in known.items():
        machine.table("editions")[INDICES[str(back)]] = {
            "boot": one.boot, "sequence": one.sequence, "edition": one.edition,
        }  # fmt: skip


def drawn(rng: random.Random, known: dict[IPv4Address, Edition]) -> bytes:
    """A frame of s2 or s3, or one with something wrong."""
    address, back = rng.choice(list(BACKS.items()))
    one = known[IPv4Address(back)]
    fields: dict[str, Any] = {
        "by": address, "back": back, "sequence": one.sequence + rng.randrange(-3, 60),
        "edition": one.edition + rng.choice([0, 0, 0, 0, 0, 0, 1, -1]),
        "connections": rng.randrange(1 << 32), "cpu": rng.randrange(1001),
        "short": (rng.randrange(101), rng.randrange(101)),
        "memory": rng.randrange(1 << 64), "bandwidth": rng.randrange(1 << 64),
    }  # fmt: skip
    wrong: dict[str, Any] = rng.choice([
        {}, {}, {}, {}, {"boot": BOOT + rng.randrange(-1, 2)},
        {"sent_s": p.SENT_S + rng.randrange(-9, 9)},
        {"by": rng.choice([p.STRANGER, p.MAC2, p.MAC3])}, {"tag": rng.randbytes(8)},
        {"key": p.OTHER_FRAME_KEY}, {"chksum": rng.randrange(1 << 16)}, {"kind": 200},
    ])  # fmt: skip
    frame = bytearray(numbers(**{**fields, **wrong}))
    if rng.random() < 0.1:
        frame[rng.randrange(12, len(frame))] ^= 1 << rng.randrange(8)
        if frame[12:14] != b"\x00\x07":  # of another protocol: not ours
            frame[12:14] = b"\x00\x07"
    return bytes(frame)


@pytest.mark.parametrize("seed", range(6))
def test_what_is_believed(seed: int) -> None:
    wanted = {"STATE_HEARD", "DROP_STATE_OLD", "DROP_STATE_UNKNOWN", "DROP_FRAME_TAG"}
    assert wanted <= compare(seed)


def test_the_row_says_what_had_been_sent_by_then() -> None:
    """A choice adds what was sent to the server since, so both must be of the same moment."""
    machine = NativeMachine()
    try:
        configure(machine, Config())
        tell(machine, {IPv4Address("10.77.0.2"): Edition(BOOT, SEQUENCE, EDITION)})
        machine.table("traffic")[2] = {"sent": (1 << 32) + 5, "closed": 3}
        machine.xdp(numbers(), "back")
        row = machine.table("servers")[2]
        assert (row["base"], row["sent"]) == ((1 << 32) + 2, 5)
        assert row["updated_ns"] == machine.now_ns()
        assert machine.table("heard")[2]["sent"] == (1 << 32) + 5
        assert (row["state"], row["stale"]) == (1, 0), "these are the agent's to write"
        assert layout("ipos_heard").field("lock").offset == 0, "where the kernel wants it"
    finally:
        machine.close()


def test_the_row_says_since_when_there_was_no_pause() -> None:
    """Whatever the numbers are: an agent without CPU reads no new edition."""
    machine = NativeMachine()

    def times() -> tuple[int, int]:
        row = machine.table("heard")[2]
        return row["since_ns"], row["last_ns"]

    try:
        configure(machine, Config())
        tell(machine, {IPv4Address("10.77.0.2"): Edition(BOOT, SEQUENCE, EDITION)})
        machine.xdp(numbers(), "back")
        begun = machine.now_ns()
        assert times() == (begun, begun)
        machine.node.clock(begun + PAUSE_NS)
        machine.xdp(numbers(edition=EDITION + 1), "back")
        assert times() == (begun, begun + PAUSE_NS)
        machine.node.clock(begun + 2 * PAUSE_NS)
        machine.xdp(probes.probe(8), "back")
        assert times() == (begun, begun + 2 * PAUSE_NS)
        machine.xdp(numbers(tag=bytes(8)), "back")
        machine.xdp(probes.probe(8, tag=b"no tag.."), "back")
        machine.xdp(numbers(key=p.OTHER_FRAME_KEY), "back")
        machine.node.clock(later := begun + 3 * PAUSE_NS + 1)
        machine.xdp(numbers(sent_s=p.SENT_S + 1), "back")
        assert times() == (later, later)
    finally:
        machine.close()
