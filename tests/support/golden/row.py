# SPDX-License-Identifier: Apache-2.0
"""The shape of a golden row, and what it means to run one.

A row says what the farm is, what is in its tables, which frames come in one after the other, and
for each of them the verdict and every frame that goes out. Counters are exact. Tables named in
`after` hold exactly those keys, with at least those fields; every other table of connections is
as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ipos.abi.layout import constant, layout
from ipos.kernel.tallies import Tallies
from native import roles
from native.library import PASSIVE_ESTABLISHED
from native.values import Attributes, Socket
from tests.support.golden import flows, offers, packets
from tests.support.golden.machine import (
    CONNECTIONS,
    LISTENER,
    SERVERS,
    Config,
    Machine,
    NativeMachine,
    Out,
    Ran,
    configure,
)
from tests.support.golden.tallied import check_tallies

OTHER_CPU = 99
MARK_ROUND = 0x69704FA0  # on what goes round our own queue
THIS_CPU = -1  # in `adopting` of a row: the CPU that runs the programs
MARK = constant("IPOS_MARK")  # on what we put back on ingress ourselves
NOT_HERE = -22  # what the kernel answers an adoption under TEST_RUN

_TIMES = {
    "forward": {"last_seen_ns": 0, "offered_ms": 0},
    "holding": {"created_ns": 0, "last_seen_ns": 0},
}
Table = Sequence[tuple[Any, Any]]
"""Keys and rows: dicts of their fields, or integers."""
Tables = dict[str, dict[tuple[Any, ...], dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Exactly:
    """In place of a time: it is this, and not relative to now."""

    value: int


def to_front(frame: bytes) -> Out:
    return Out("front", frame)


def to_back(frame: bytes) -> Out:
    return Out("back", frame)


def into_front(frame: bytes) -> Out:
    return Out("front", frame, inward=True)


def into_box(frame: bytes, mark: int = 0) -> Out:
    """By the wire to it. mark: of a packet that its listener is to be given."""
    return Out("elsewhere", frame, mark=mark, way="peer")


def to_client(frame: bytes) -> Out:
    """By front, to whatever next hop it has."""
    return Out("front", frame, way="neighbour")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One frame. `hook`: "wire" is XDP and, what it passes, tc; "xdp" and "tc" are one of them,
    "inward" is tc with our mark and "out" tc on the way out. "into box" and "out of box" are tc at
    both ends of the wire to a container.

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
    """See the module. `native_only` says why the kernel cannot run it, if it cannot.

    Tables of other things named in `also` hold at least those fields in those rows.
    """

    about: str
    steps: Sequence[Step | Establishes]
    counts: Mapping[str, int]
    config: Config = field(default_factory=Config)
    before: Mapping[str, Table] = field(default_factory=dict)
    after: Mapping[str, Table] = field(default_factory=dict)
    also: Mapping[str, Table] = field(default_factory=dict)
    sockets: Sequence[Socket] = (LISTENER,)
    traffic: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    emit_fails: bool = False
    pieces: int | None = None  # of the hold pool that are left
    native_only: str = ""
    family: int = 4  # of addresses: whose programs run

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
            rows[key] = (
                value
                if isinstance(value, int)
                else {
                    field: _as_it_is(machine, field, number)
                    for field, number in {**_TIMES.get(name, {}), **value}.items()
                }
            )
    if row.pieces is not None:
        machine.leave_pieces(row.pieces)
    machine.set_wall()


def _as_it_is(machine: Machine, field: str, value: Any) -> Any:
    if isinstance(value, Exactly):
        return value.value
    if field.endswith("_ns"):
        return machine.now_ns() + value
    if field == "given_ms":
        return (machine.monotonic_ns() // 1_000_000 + value) % 2**32
    if field == "offered_ms":
        return (machine.now_ns() // 1_000_000 + value) % 2**32
    if field == "box" and isinstance(value, str):
        return machine.ifindex(value)
    return machine.cpu() + 1 if field == "adopting" and value == THIS_CPU else value


def run(machine: Machine, step: Step) -> Ran:
    """Through the programs that a frame at this place meets."""
    if step.hook == "inward":
        return machine.ingress(step.frame, step.where, step.mark or MARK)
    if step.hook == "tc":
        return machine.ingress(step.frame, step.where, step.mark)
    if step.hook == "out":
        return machine.egress(step.frame, step.where, step.mark)
    if step.hook in ("into box", "out of box"):
        return machine.box(step.frame, step.where, step.mark, out=step.hook == "out of box")
    ran = machine.xdp(step.frame, step.where)
    if ran.verdict != "pass" or step.hook == "xdp":
        return ran
    passed = machine.ingress(ran.frame, step.where)
    if passed.verdict not in ("ok", "unspec"):  # what IPv6's says nothing of, IPv4's lets pass
        return passed
    return Ran("to kernel", passed.frame, passed.clones, None, passed.assigned, passed.mark)


def check_step(ran: Ran, step: Step, machine: Machine) -> None:
    sent = list(ran.clones) + ([ran.redirected] if ran.redirected else [])
    told = [offers.without_migration(out.frame) for out in sent]
    expected = [offers.without_migration(out.frame) for out in step.sent]
    assert ran.verdict == step.verdict
    assert [frame.hex() for frame in told] == [frame.hex() for frame in expected]
    for out, wanted in zip(sent, step.sent, strict=True):
        if out.where:
            assert (out.where, out.inward, out.way) == (wanted.where, wanted.inward, wanted.way)
            assert out.way != "peer" or out.mark == wanted.mark
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


def snapshot(machine: Machine) -> Tables:
    """Every table of connections, without times."""
    names = [name for name in CONNECTIONS if machine.family == 4 or name not in flows.TABLES]
    return {
        name: {
            tuple(sorted(key.items())): {
                field: number
                for field, number in value.items()
                if not field.endswith(("_ns", "_ms", "_us"))
                and field not in ("migration", "given_by")
            }
            for key, value in machine.table(name).items()
        }
        for name in names
    }


def _plain(value: Any) -> Any:
    """The same with lists for tuples, which one of the machines answers."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def check_tables(before: Tables, after: Tables, expected: Mapping[str, Table]) -> None:
    for name in after:
        if name not in expected:
            assert after[name] == before[name], f"table {name} has changed"
            continue
        wanted = {tuple(sorted({"zero": b"\0\0\0", **key}.items())): value
                  for key, value in expected[name]}  # fmt: skip
        assert after[name].keys() == wanted.keys(), f"keys of table {name}"
        for key, value in wanted.items():
            told = {field: after[name][key][field] for field in value}
            assert _plain(told) == _plain(value), f"a row of table {name}"


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
    after = snapshot(machine)
    check_tables(before, after, row.after)
    for name, rows in row.also.items():
        for key, value in rows:
            told = machine.table(name)[key]
            assert {field: told[field] for field in value} == value, f"row {key} of {name}"
    check_traffic(machine, row)
    wanted = Counter(
        {key: one["sent"] - one["closed"] for key, one in row.before.get("traffic", ())}
    )
    wanted.update(gained(before, after, row.config.me))
    assert balance(machine) == wanted, "rows, as `traffic` has them"
    check_roles(machine, before, after)


def check_roles(machine: Machine, before: Tables, after: Tables) -> None:
    """Where rows were and are, the map `roles` counts those that are."""
    shape = layout("ipos_tuple" if machine.family == 4 else "ipos_tuple6")
    slots = {
        name: {key: roles.slot(shape.pack(dict(key))) for key in before[name] | after[name]}
        for name in roles.ROLES
    }
    there = Counter(
        (slots[name][key], roles.ROLES[name]) for name in roles.ROLES for key in after[name]
    )
    table = machine.table("roles")
    for name, places in slots.items():
        for place in places.values():
            told = roles.count(table[place], name)
            assert told == there[place, roles.ROLES[name]], f"rows of {name}, as `roles` has them"


def check_native(row: Row) -> None:
    machine = NativeMachine(family=row.family)
    try:
        machine.node.emit_fails(row.emit_fails)
        check(machine, row)
        on_connection = row.config.select == "CONNECTION"
        tallies = Tallies(machine.node.store)
        check_tallies(tallies, machine.counters(), on_connection=on_connection)
    finally:
        machine.close()


def check_alike(machine: Machine, row: Row) -> None:
    """A row that adopts, on a kernel that refuses to: the library does the same then."""
    native = NativeMachine(family=row.family)
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
        offers.without_migration(ran.frame).hex() if ran.verdict != "shot" else "",
        [offers.without_migration(out.frame).hex() for out in ran.clones],
        offers.without_migration(ran.redirected.frame).hex() if ran.redirected else "",
    )


def balance(machine: Machine) -> Counter[int]:
    """How many endpoints each server has, by index: what it was given less what has ended."""
    entries = machine.table("traffic")
    return Counter({index: entries[index]["sent"] - entries[index]["closed"] for index in SERVERS})


def gained(before: Tables, after: Tables, me: int) -> Counter[int]:
    """The same from the rows themselves: those of Forward by owner, and those of Local."""
    found = Counter[int]()
    for tables, sign in ((after, 1), (before, -1)):
        for row in tables["forward"].values():
            found[row["server"]] += sign
        found[me] += sign * len(tables["local"])
    return found


def check_traffic(machine: Machine, row: Row) -> None:
    told = {}
    for index in range(1, 4):
        entry = machine.table("traffic")[index]
        if entry["sent"] or entry["closed"]:
            told[index] = (entry["sent"], entry["closed"])
    assert told == dict(row.traffic)
