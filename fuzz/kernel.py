# SPDX-License-Identifier: Apache-2.0
"""eBPF by BPF_PROG_TEST_RUN against the native library: same verdict, same bytes, same tables.

Random clients, and golden rows whose frames are damaged. Adoption is refused by the kernel under
TEST_RUN, so the library is told to refuse it too.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from fuzz.endpoints import Mismatch
from ipos.handshake.segment import parse_packet
from tests.golden.test_golden import ROWS as ALL_ROWS
from tests.support.clients import Session, frame
from tests.support.golden import offers
from tests.support.golden.kernel_machine import KernelMachine
from tests.support.golden.machine import LISTENER, Config, Machine, NativeMachine
from tests.support.golden.row import NOT_HERE, Row, Step, Tables, prepare, snapshot
from tests.support.golden.row import run as run_step

TRIALS = 5
"""Of a difference: on a full machine one pause is likely, and five in the same places are not."""
ROWS = [row for row in ALL_ROWS if not row.only_native]


def run(machine: KernelMachine, seed: int, count: int) -> tuple[int, list[str]]:
    """At least `count` packets; how many there were, and what differed.

    A pause of the whole process can fall between the two judges' clocks, so what differs is tried
    again from its seed; only what differs every time is told.
    """
    rng = random.Random(seed)
    done = 0
    found: list[str] = []
    while done < count and len(found) < 20:
        trial = rng.choice((_clients, _rows))
        number = rng.getrandbits(48)
        for left in reversed(range(TRIALS)):
            try:
                done += trial(machine, number)
                break
            except Mismatch as mismatch:
                if not left:
                    found.append(f"{trial.__name__[1:]} of seed {number}: {mismatch}")
    return done, found


def _clients(machine: KernelMachine, seed: int) -> int:
    rng = random.Random(seed)
    config = Config(candidates=rng.choice(((1,), (2,), (1, 2))), answers_unread=rng.random() < 0.5)
    row = Row(about="a random client", steps=(), counts={}, config=config, sockets=[LISTENER])
    client = Session.begin(rng, rng.randrange(1, 65_536))
    return _both(machine, row, lambda: ("wire", "front", frame(client.next_packet())),
                 rng.randrange(3, 60), client)  # fmt: skip


def _rows(machine: KernelMachine, seed: int) -> int:
    rng = random.Random(seed)
    row = rng.choice(ROWS)
    row = replace(row, config=replace(row.config, answers_unread=rng.random() < 0.5))
    steps = [step for step in row.steps if isinstance(step, Step)]

    def following() -> tuple[str, str, bytes]:
        step = rng.choice(steps)
        raw = bytearray(step.frame)
        for _ in range(rng.choice((0, 1, 1, 2))):
            kind = rng.randrange(3)
            if kind == 0:
                raw[rng.randrange(12, len(raw))] ^= 1 << rng.randrange(8)
            elif kind == 1:
                raw = raw[: rng.randrange(20, len(raw) + 1)]
            else:
                raw += rng.randbytes(rng.randrange(1, 30))
        return step.hook, step.where, bytes(raw)

    return _both(machine, row, following, 8)


def _both(
    machine: KernelMachine,
    row: Row,
    following: Callable[[], tuple[str, str, bytes]],
    length: int,
    client: Session | None = None,
) -> int:
    """One farm on both machines, packet by packet."""
    machine.reset()
    native = NativeMachine()
    try:
        native.node.assign_answers(NOT_HERE)
        prepare(machine, row)
        native.node.clock(machine.now_ns())
        native.moment = machine.now_ns()
        prepare(native, row)
        wall = machine.table("settings")[0]["wall_offset_ns"]
        settings = native.table("settings")
        settings[0] = {**settings[0], "wall_offset_ns": wall}
        for number in range(length):
            hook, where, raw = following()
            native.node.clock(machine.now_ns())
            try:
                told = _told(machine, hook, where, raw)
            except OSError:  # tc's TEST_RUN takes no IPv4 frame that is cut within its header
                told = None
            same = _told(native, hook, where, raw)
            if told is None and not same[2]:
                continue
            if told != same:
                raise Mismatch(
                    f"{row.about}, packet {number} ({hook} {where} {raw.hex()}): eBPF {told}, "
                    f"native {same}"
                )
            if client is not None:
                _heard(client, same)
        if machine.counters() != native.counters():
            raise Mismatch(f"{row.about}: {machine.counters()} and {native.counters()}")
        tables, others = _tables(machine), _tables(native)
        if tables != others:
            raise Mismatch(f"{row.about}: {tables} and {others}")
        return length
    finally:
        native.close()


def _tables(machine: Machine) -> Tables:
    """Every table of connections, with names for interfaces, which have other numbers there."""
    names = {machine.ifindex(where): where for where in ("front", "back", "elsewhere")}
    return {
        name: {
            key: {
                field: names.get(one, one) if field == "box" else one for field, one in row.items()
            }
            for key, row in rows.items()
        }
        for name, rows in snapshot(machine).items()
    }


def _told(machine: Machine, hook: str, where: str, raw: bytes) -> tuple[str, str, tuple[str, ...]]:
    """The verdict, the packet that goes on, every frame that leaves."""
    step = Step(hook=hook, where=where, frame=raw, verdict="")
    ran = run_step(machine, step)
    left = offers.without_migration(ran.frame).hex() if ran.verdict not in ("shot", "drop") else ""
    sent = [offers.without_migration(out.frame).hex() for out in ran.clones]
    return ran.verdict, left, tuple(sent)


def _heard(client: Session, told: tuple[str, str, tuple[str, ...]]) -> None:
    verdict, left, _ = told
    if verdict != "redirect":
        return
    try:
        segment = parse_packet(bytes.fromhex(left)[14:])
    except ValueError:
        return
    if segment.flags & 0x12 == 0x12:
        at = segment.options.find(b"\x08\x0a")
        client.heard(segment.seq, int.from_bytes(segment.options[at + 2 : at + 6], "big"))
