# SPDX-License-Identifier: Apache-2.0
"""The shape of a golden row, and what it means to run one.

A row says what the farm is, what is in its tables, which frames come in one after the other, and
for each of them the verdict and every frame that goes out. Counters are exact. Tables named in
`after` hold exactly those keys, with at least those fields; every other table of connections is
as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ipos.inic.native import PASSIVE_ESTABLISHED, Attributes, Socket
from tests.golden import packets
from tests.golden.machine import (
    CONNECTIONS,
    LISTENER,
    Config,
    Machine,
    NativeMachine,
    Out,
    Ran,
    configure,
)

MARK = 0x69704F53  # on what we put back on ingress ourselves
NOT_HERE = -22  # what the kernel answers an adoption under TEST_RUN

_TIMES = {
    "forward": {"last_seen_ns": 0, "offered_ns": 0},
    "holding": {"created_ns": 0, "last_seen_ns": 0},
}
Table = Sequence[tuple[dict[str, int], dict[str, Any]]]


def to_front(frame: bytes) -> Out:
    return Out("front", frame)


def to_back(frame: bytes) -> Out:
    return Out("back", frame)


def into_front(frame: bytes) -> Out:
    return Out("front", frame, inward=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One frame. `hook`: "wire" is XDP and, what it passes, tc; "xdp" and "tc" are one of them,
    "inward" is tc with our mark and "out" tc on the way out.

    `verdict` is the last program's: drop, redirect and pass are XDP's, the others tc's; a frame
    that both let through is "to kernel". `sent` are all frames that leave, in order, a redirected
    one last; frames to our own ingress stand behind those that leave. `left` is the packet that
    goes on, the one that came if None. `adopted`: what the listener's socket is made with; "SYN":
    the listener gets the packet as a SYN.
    """

    hook: str
    where: str
    frame: bytes
    verdict: str
    sent: tuple[Out, ...] = ()
    left: bytes | None = None
    adopted: Attributes | str | None = None
    mark: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Establishes:
    """sockops: the kernel has made this socket."""

    socket: Socket
    cookie: int = 77
    snd_nxt: int = packets.ISS + 1
    op: int = PASSIVE_ESTABLISHED


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """See the module. `native_only` says why the kernel cannot run it, if it cannot."""

    about: str
    steps: Sequence[Step | Establishes]
    counts: Mapping[str, int]
    config: Config = field(default_factory=Config)
    before: Mapping[str, Table] = field(default_factory=dict)
    after: Mapping[str, Table] = field(default_factory=dict)
    sockets: Sequence[Socket] = (LISTENER,)
    traffic: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    emit_fails: bool = False
    pieces: int | None = None  # of the hold pool that are left
    native_only: str = ""

    @property
    def only_native(self) -> str:
        """Why TEST_RUN cannot run it; empty if it can."""
        if any(isinstance(step, Establishes) for step in self.steps):
            return "sockops programs have no TEST_RUN"
        if self.emit_fails:
            return "the kernel's interfaces do not fail on request"
        return self.native_only

    @property
    def adopts(self) -> bool:
        return any(isinstance(step, Step) and step.adopted is not None for step in self.steps)


def rx(where: str, frame: bytes, verdict: str, *sent: Out, **fields: Any) -> Step:
    """A frame off the wire."""
    return Step(hook="wire", where=where, frame=frame, verdict=verdict, sent=sent, **fields)


def prepare(machine: Machine, row: Row) -> None:
    """The row's farm, sockets and tables; times in `before` are relative to now."""
    configure(machine, row.config)
    machine.listen(row.sockets)
    for name, table in row.before.items():
        rows = machine.table(name)
        for key, value in table:
            rows[key] = {
                field: machine.now_ns() + number if field.endswith("_ns") else number
                for field, number in {**_TIMES.get(name, {}), **value}.items()
            }
    if row.pieces is not None:
        machine.leave_pieces(row.pieces)
    machine.set_wall()


def run(machine: Machine, step: Step) -> Ran:
    """Through the programs that a frame at this place meets."""
    if step.hook == "inward":
        return machine.ingress(step.frame, step.where, step.mark or MARK)
    if step.hook == "tc":
        return machine.ingress(step.frame, step.where, step.mark)
    if step.hook == "out":
        return machine.egress(step.frame, step.where, step.mark)
    ran = machine.xdp(step.frame, step.where)
    if ran.verdict != "pass" or step.hook == "xdp":
        return ran
    passed = machine.ingress(ran.frame, step.where)
    if passed.verdict != "ok":
        return passed
    return Ran("to kernel", passed.frame, passed.clones, None, passed.assigned, passed.mark)


def check_step(ran: Ran, step: Step, machine: Machine) -> None:
    sent = list(ran.clones) + ([ran.redirected] if ran.redirected else [])
    told = [packets.without_migration(out.frame) for out in sent]
    expected = [packets.without_migration(out.frame) for out in step.sent]
    assert ran.verdict == step.verdict
    assert [frame.hex() for frame in told] == [frame.hex() for frame in expected]
    for out, wanted in zip(sent, step.sent, strict=True):
        if out.where:
            assert (out.where, out.inward) == (wanted.where, wanted.inward)
    if ran.verdict in ("pass", "ok", "to kernel"):
        left = step.frame if step.left is None else step.left
        assert ran.frame.hex() == left.hex()
    if not machine.kernel:
        check_assignment(ran, step)


def check_assignment(ran: Ran, step: Step) -> None:
    if step.adopted is None:
        assert ran.assigned == ()
    else:
        (assignment,) = ran.assigned
        wanted = None if isinstance(step.adopted, str) else step.adopted
        assert assignment.attributes == wanted


def snapshot(machine: Machine) -> dict[str, dict[tuple[Any, ...], dict[str, Any]]]:
    """Every table of connections, without times."""
    return {
        name: {
            tuple(sorted(key.items())): {
                field: number
                for field, number in value.items()
                if not field.endswith("_ns") and field != "migration"
            }
            for key, value in machine.table(name).items()
        }
        for name in CONNECTIONS
    }


def check_tables(
    before: dict[str, Any], after: dict[str, Any], expected: Mapping[str, Table]
) -> None:
    for name in CONNECTIONS:
        if name not in expected:
            assert after[name] == before[name], f"table {name} has changed"
            continue
        wanted = {tuple(sorted({"zero": b"\0\0\0", **key}.items())): value
                  for key, value in expected[name]}  # fmt: skip
        assert after[name].keys() == wanted.keys(), f"keys of table {name}"
        for key, value in wanted.items():
            told = {field: after[name][key][field] for field in value}
            assert told == value, f"a row of table {name}"


def check(machine: Machine, row: Row) -> None:
    """The row as it is written."""
    prepare(machine, row)
    before = snapshot(machine)
    for step in row.steps:
        if isinstance(step, Establishes):
            machine.establish(step.socket, step.cookie, step.snd_nxt, step.op)
        else:
            check_step(run(machine, step), step, machine)
    assert machine.counters() == dict(row.counts)
    check_tables(before, snapshot(machine), row.after)
    check_traffic(machine, row)


def check_native(row: Row) -> None:
    machine = NativeMachine()
    try:
        machine.node.emit_fails(row.emit_fails)
        check(machine, row)
    finally:
        machine.close()


def check_alike(machine: Machine, row: Row) -> None:
    """A row that adopts, on a kernel that refuses to: the library does the same then."""
    native = NativeMachine()
    try:
        native.node.assign_answers(NOT_HERE)
        prepare(machine, row)
        prepare(native, row)
        for step in row.steps:
            assert isinstance(step, Step)
            assert _told(run(machine, step)) == _told(run(native, step))
        assert machine.counters() == native.counters()
        assert snapshot(machine) == snapshot(native)
    finally:
        native.close()


def _told(ran: Ran) -> tuple[str, str, list[str], str]:
    return (
        ran.verdict,
        packets.without_migration(ran.frame).hex() if ran.verdict != "shot" else "",
        [packets.without_migration(out.frame).hex() for out in ran.clones],
        packets.without_migration(ran.redirected.frame).hex() if ran.redirected else "",
    )


def check_traffic(machine: Machine, row: Row) -> None:
    told = {}
    for index in range(1, 4):
        entry = machine.table("traffic")[index]
        if entry["sent"] or entry["closed"]:
            told[index] = (entry["sent"], entry["closed"])
    assert told == dict(row.traffic)
