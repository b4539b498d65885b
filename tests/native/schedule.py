# SPDX-License-Identifier: Apache-2.0
"""A farm whose servers have two CPUs each, and a scheduler that says which of them goes on.

What takes one call in `tests.native.native_farm` takes several steps here: a frame comes in on a
CPU, by XDP, goes through tc there, then through TCP, which makes a socket or does not, then sockops
hears of the socket, then the socket acknowledges. A CPU that has a packet in its hands finishes it
before it takes another one; what programs put back on ingress waits in that CPU's queue. Between
any two steps of one CPU any other CPU may take any number of its own.

A schedule is a list of choices: at each step the first of what can go on is taken unless the
schedule says otherwise; who is passed over stands still for as long as anybody else can go on.
`schedules` enumerates all with at most so many deviations.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ipos.abi.layout import constant, layout
from ipos.handshake.segment import Flag, Segment, parse_packet
from native import roles
from native.values import Outcome, Socket, SocketState, Tc, Xdp
from tests.support.golden import packets
from tests.support.golden.machine import (
    CONNECTIONS,
    LISTENER,
    SERVERS,
    Config,
    NativeMachine,
    configure,
    connection_key,
)

CPUS = (0, 1)
SIZES = {"forward": 8, "local": 8, "connect": 8, "temporary": 16, "holding": 8, "hold_pool": 32,
         "hold_free": 32, "deny": 4, "left_behind": 8}  # fmt: skip
MARK_LATE = 0x69704F5C
ATTACHED = constant("IPOS_EP_ATTACHED")
_SLOT = roles.slot(layout("ipos_tuple").pack(connection_key()))
STEPS_MAX = 4000


@dataclass
class Kernel:
    """What one CPU has in its hands, and what waits for it."""

    hand: Callable[[], None] | None = None
    backlog: deque[tuple[bytes, int]] = field(default_factory=deque)


@dataclass
class Host:
    """One server with its sockets. fails: how many packets TCP makes no socket of."""

    index: int
    machine: NativeMachine
    fails: int = 0
    accepted: int = 0
    read: bytearray = field(default_factory=bytearray)
    cpus: tuple[Kernel, ...] = ()

    @property
    def mac(self) -> bytes:
        return bytes.fromhex(SERVERS[self.index][1].replace(":", ""))

    @property
    def socket(self) -> Socket | None:
        found = [s for s in self.machine.node.sockets if s.state is not SocketState.LISTEN]
        return found[0] if found else None

    @socket.setter
    def socket(self, socket: Socket | None) -> None:
        others = [s for s in self.machine.node.sockets if s.state is SocketState.LISTEN]
        self.machine.node.sockets = (*others, *([socket] if socket else []))


class Ready(NamedTuple):
    """A step that a CPU can take next."""

    at: tuple[int, int]
    what: str
    step: Callable[[], None]


class Cluster:
    """Three servers and one client, whose packets may come in on any CPU of the first one."""

    def __init__(self) -> None:
        self.hosts = {index: Host(index, NativeMachine(SIZES)) for index in SERVERS}

    def close(self) -> None:
        for host in self.hosts.values():
            host.machine.close()

    def begin(self, candidates: Sequence[int], decide: str = "CONNECTION") -> None:
        """Empty tables, no sockets, nothing on any wire."""
        for host in self.hosts.values():
            node = host.machine.node
            for name in (*CONNECTIONS, "left_behind"):
                store = node.store(name)
                for key in [key for key, _ in store.items()]:
                    store.delete(key)
            assert not node.table("roles")[_SLOT], "rows were counted that are not there"
            free = node.store("hold_free")
            while free.pop() is not None:
                pass
            for index in range(SIZES["hold_pool"]):
                free.push(index.to_bytes(4, "little"))
            config = Config(me=host.index, candidates=tuple(candidates), decide=decide)
            configure(host.machine, config)
            host.machine.listen([LISTENER])
            host.fails = host.accepted = 0
            host.read = bytearray()
            host.cpus = tuple(Kernel() for _ in CPUS)
        self.client: deque[bytes] = deque()
        self.wires: dict[tuple[int, int, int], deque[bytes]] = {}
        self.told: list[Segment] = []
        self.steps: list[str] = []
        self.order = [(index, cpu) for index in self.hosts for cpu in CPUS]

    def wait(self, nanoseconds: int) -> None:
        for host in self.hosts.values():
            host.machine.moment += nanoseconds
            host.machine.node.clock(host.machine.moment)

    # ---- what can go on ---------------------------------------------------------------------

    def ready(self) -> list[Ready]:
        """All next steps, by the order of the CPUs; of one CPU first what it has begun."""
        found: list[Ready] = []
        for index, cpu in self.order:
            host = self.hosts[index]
            kernel, at = host.cpus[cpu], (index, cpu)
            if kernel.hand is not None:
                found.append(Ready(at, "goes on", self._go_on(kernel)))
                continue
            if kernel.backlog:
                found.append(Ready(at, "takes its backlog", self._queued(host, cpu)))
            for way, frames in self.wires.items():
                if frames and way[2] == index:
                    found.append(Ready(at, f"takes a frame of s{way[0]}/{way[1]}",
                                       self._from_wire(host, cpu, frames)))  # fmt: skip
            if self.client and index == 1:
                found.append(Ready(at, "hears the client", self._from_client(host, cpu)))
        return found

    def _go_on(self, kernel: Kernel) -> Callable[[], None]:
        def step() -> None:
            hand, kernel.hand = kernel.hand, None
            assert hand is not None
            hand()

        return step

    def _queued(self, host: Host, cpu: int) -> Callable[[], None]:
        def step() -> None:
            frame, mark = host.cpus[cpu].backlog.popleft()
            self._tc(host, cpu, frame, "front", mark)

        return step

    def _from_wire(self, host: Host, cpu: int, frames: deque[bytes]) -> Callable[[], None]:
        return lambda: self._xdp(host, cpu, frames.popleft(), "back")

    def _from_client(self, host: Host, cpu: int) -> Callable[[], None]:
        return lambda: self._xdp(host, cpu, self.client.popleft(), "front")

    # ---- steps ------------------------------------------------------------------------------

    def _xdp(self, host: Host, cpu: int, frame: bytes, where: str) -> None:
        host.machine.node.cpu(cpu)
        outcome = host.machine.node.xdp(frame, host.machine.ifindex(where))
        self._sent(host, cpu, outcome)
        if outcome.verdict == Xdp.PASS:
            host.cpus[cpu].hand = lambda: self._tc(host, cpu, outcome.frame, where, 0)

    def _tc(self, host: Host, cpu: int, frame: bytes, where: str, mark: int) -> None:
        host.machine.node.cpu(cpu)
        outcome = host.machine.node.ingress(frame, host.machine.ifindex(where), mark)
        self._sent(host, cpu, outcome)
        if outcome.verdict == Tc.OK and outcome.frame[12:14] == b"\x08\x00":
            host.cpus[cpu].hand = lambda: self._tcp(host, cpu, outcome)

    def _sent(self, host: Host, cpu: int, outcome: Outcome) -> None:
        for sent in outcome.sent:
            if sent.inward:
                host.cpus[cpu].backlog.append((sent.frame, sent.mark))
            elif sent.ifindex == host.machine.ifindex("front"):
                self.told.append(parse_packet(sent.frame[14:]))
            else:
                for other in self.hosts.values():
                    if sent.frame[:6] == other.mac:
                        way = (host.index, cpu, other.index)
                        self.wires.setdefault(way, deque()).append(sent.frame)

    def _tcp(self, host: Host, cpu: int, outcome: Outcome) -> None:
        segment = parse_packet(outcome.frame[14:])
        if host.socket is None and outcome.assigned and not host.fails:
            made = Socket(
                SocketState.SYN_RECV, segment.destination, segment.destination_port,
                segment.source, segment.source_port, segment.seq + len(segment.data),
                snd_nxt=segment.ack,
            )  # fmt: skip
            host.socket = made
            host.accepted += 1
            host.read += segment.data
            host.cpus[cpu].hand = lambda: self._sockops(host, cpu, made, segment)
        elif host.socket is None and outcome.assigned:
            host.fails -= 1  # a firewall, or an accept queue that filled up meanwhile
        elif host.socket is None:
            if Flag.RST not in segment.flags:
                self._egress(host, cpu, "R", segment, segment.ack, 0)
        elif Flag.RST in segment.flags:
            host.socket = None
        else:
            self._takes(host, cpu, segment)

    def _sockops(self, host: Host, cpu: int, made: Socket, segment: Segment) -> None:
        host.machine.node.cpu(cpu)
        host.socket = replace(made, state=SocketState.ESTABLISHED)
        host.machine.node.sockops(made, cookie=77, snd_nxt=segment.ack)
        self._egress(host, cpu, "A", segment, segment.ack, made.rcv_nxt)

    def _takes(self, host: Host, cpu: int, segment: Segment) -> None:
        socket = host.socket
        assert socket is not None
        if 0 <= socket.rcv_nxt - segment.seq < len(segment.data):
            new = segment.data[socket.rcv_nxt - segment.seq :]
            host.read += new
            host.socket = socket = replace(socket, rcv_nxt=socket.rcv_nxt + len(new))
        if segment.data:
            self._egress(host, cpu, "A", segment, segment.ack, socket.rcv_nxt)

    def _egress(
        self, host: Host, cpu: int, flags: str, segment: Segment, seq: int, ack: int
    ) -> None:
        host.machine.node.cpu(cpu)
        frame = packets.answer(flags, seq=seq, ack=ack, window=500, port=segment.source_port,
                               by=str(segment.destination))  # fmt: skip
        outcome = host.machine.node.egress(frame, host.machine.ifindex("front"))
        self._sent(host, cpu, outcome)
        if outcome.verdict == Tc.OK:
            self.told.append(parse_packet(outcome.frame[14:]))

    # ---- running ----------------------------------------------------------------------------

    def run(self, choose: Callable[[int], int]) -> None:
        """Until nothing can go on. `choose` is told how many steps there are to choose from.

        A CPU that was passed over comes last from then on: it stands still while any other can go.
        """
        while found := self.ready():
            nth = choose(len(found))
            chosen = found[nth]
            for passed in found[:nth]:
                if passed.at != chosen.at and passed.at in self.order:
                    self.order.remove(passed.at)
                    self.order.append(passed.at)
            self.steps.append(f"s{chosen.at[0]}/{chosen.at[1]} {chosen.what}")
            assert len(self.steps) < STEPS_MAX, "it goes on for ever"
            chosen.step()

    def settle(self) -> None:
        self.run(lambda count: 0)

    def reap(self) -> None:
        """Ten seconds later the agents find endpoints without a socket; no CPU has any packet."""
        assert all(kernel.hand is None for host in self.hosts.values() for kernel in host.cpus)
        self.wait(10_000_000_001)
        for host in self.hosts.values():
            frame = packets.notice(7, endpoint="0.0.39.16")
            host.machine.node.ingress(frame, host.machine.ifindex("back"), MARK_LATE)

    def rows(self, name: str) -> dict[int, dict[str, Any]]:
        """The row of each server that has one; there is one connection."""
        return {
            index: row
            for index, host in self.hosts.items()
            for _, row in host.machine.table(name).items()
        }


@dataclass
class Connection:
    """The client's side: its handshake is done; the request is what `pieces` are, in order."""

    cluster: Cluster
    pieces: Sequence[bytes]
    iss: int = 0
    echoed: int = 0

    def open(self) -> None:
        cluster = self.cluster
        cluster.client.append(
            packets.from_router(packets.ip("S", seq=packets.IRS, options=packets.syn_options()))
        )
        cluster.settle()
        answer = cluster.told.pop()
        assert Flag.SYN in answer.flags
        self.iss = answer.seq
        at = answer.options.find(b"\x08\x0a")
        self.echoed = int.from_bytes(answer.options[at + 2 : at + 6], "big")
        cluster.client.append(self._packet("A", 0, b""))
        cluster.settle()
        cluster.told.clear()

    @property
    def request(self) -> bytes:
        return b"".join(self.pieces)

    def say(self, *which: int) -> None:
        """Send these pieces, in this order."""
        for nth in which:
            offset = len(b"".join(self.pieces[:nth]))
            self.cluster.client.append(self._packet("PA", offset, self.pieces[nth]))

    def repeat(self) -> None:
        """Send again all that nobody has acknowledged."""
        known = [t.ack for t in self.cluster.told if Flag.ACK in t.flags]
        have = max(known, default=packets.IRS + 1) - (packets.IRS + 1)
        ends = [len(b"".join(self.pieces[: nth + 1])) for nth in range(len(self.pieces))]
        self.say(*(nth for nth, end in enumerate(ends) if end > have))

    @property
    def is_reset(self) -> bool:
        return any(Flag.RST in told.flags for told in self.cluster.told)

    @property
    def is_closed(self) -> bool:
        """The iNIC has answered, and closed its side."""
        return any(Flag.FIN in told.flags for told in self.cluster.told)

    def _packet(self, flags: str, offset: int, data: bytes) -> bytes:
        return packets.from_router(
            packets.ip(flags, data, seq=packets.IRS + 1 + offset, ack=self.iss + 1,
                       options=packets.echo(echoed=self.echoed))
        )  # fmt: skip


class Schedule:
    """These choices first, then always the first; and what there was to choose from."""

    def __init__(self, prefix: tuple[int, ...]) -> None:
        self.prefix = prefix
        self.widths: list[int] = []

    def __call__(self, count: int) -> int:
        nth = len(self.widths)
        self.widths.append(count)
        return self.prefix[nth] if nth < len(self.prefix) else 0


def schedules(deviations: int) -> Iterator[Schedule]:
    """Every schedule with at most so many choices other than the first. Each must be run."""
    pending: list[tuple[int, ...]] = [()]
    while pending:
        schedule = Schedule(pending.pop())
        yield schedule
        prefix, widths = schedule.prefix, schedule.widths
        if sum(1 for choice in prefix if choice) == deviations:
            continue
        for nth in range(len(prefix), len(widths)):
            firsts = (0,) * (nth - len(prefix))
            pending += [(*prefix, *firsts, other) for other in range(1, widths[nth])]


def at_random(seed: int) -> Callable[[int], int]:
    rng = random.Random(seed)
    return rng.randrange
