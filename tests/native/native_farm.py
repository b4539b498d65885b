# SPDX-License-Identifier: Apache-2.0
"""A farm of native nodes with the least of a kernel each: sockets that take bytes in order.

Frames go where their MAC address says, in order; a test may lose some, double some and let some
come late. Time stands still unless it is moved.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from ipos.handshake.segment import Flag, Segment, parse_packet
from native.values import Outcome, Socket, SocketState, Tc, Xdp
from tests.support.golden import packets
from tests.support.golden.machine import LISTENER, SERVERS, Config, NativeMachine, configure
from tests.support.golden.row import balance
from tests.support.six import IPV4, IPV6, six_frame

FARM_SIZES = {"forward": 64, "local": 64, "connect": 64, "temporary": 64, "holding": 64,
              "hold_pool": 64, "hold_free": 64, "deny": 4}  # fmt: skip
_MTU = 1500
_EVERYBODY = b"\xff" * 6


@dataclass
class Host:
    """One server: its node, and what its application has read by four-tuple."""

    index: int
    config: Config
    family: int = 4
    machine: NativeMachine = field(init=False)
    read: dict[tuple[int, int], bytearray] = field(default_factory=dict)
    accepted: int = 0
    answers: list[Segment] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.machine = NativeMachine(FARM_SIZES, self.family)
        configure(self.machine, self.config)
        self.machine.listen([LISTENER])

    @property
    def mac(self) -> bytes:
        return bytes.fromhex(SERVERS[self.index][1].replace(":", ""))

    def takes(self, frame: bytes, outcome: Outcome) -> None:
        """The kernel has a client's packet in its hands."""
        segment = parse_packet(frame[14:])
        key = (int(segment.source), segment.source_port)
        node = self.machine.node
        if outcome.assigned:
            self.accepted += 1
            self.read[key] = bytearray()
            made = Socket(
                SocketState.ESTABLISHED, segment.destination, segment.destination_port,
                segment.source, segment.source_port, segment.seq + len(segment.data),
                snd_nxt=segment.ack,
            )  # fmt: skip
            node.sockets = (*node.sockets, made)
            node.sockops(made, cookie=self.accepted, snd_nxt=segment.ack)
        sockets = [s for s in node.sockets if (int(s.client), s.client_port) == key]
        if not sockets:
            return
        (socket,) = sockets
        if Flag.RST in segment.flags:
            node.sockets = tuple(s for s in node.sockets if s is not socket)
            return
        if outcome.assigned:
            self.read[key] += segment.data
        elif 0 <= socket.rcv_nxt - segment.seq < len(segment.data):
            new = segment.data[socket.rcv_nxt - segment.seq :]
            self.read[key] += new
            grown = _grown(socket, len(new))
            node.sockets = tuple(grown if s is socket else s for s in node.sockets)
            socket = grown
        answer = packets.answer("A", seq=segment.ack, ack=socket.rcv_nxt, window=500,
                                port=segment.source_port,
                                by=str(IPv4Address(int(segment.destination))))  # fmt: skip
        self.machine.egress(answer if self.family == 4 else six_frame(answer), "front")


def _grown(socket: Socket, more: int) -> Socket:
    return Socket(socket.state, socket.service, socket.service_port, socket.client,
                  socket.client_port, socket.rcv_nxt + more, snd_nxt=socket.snd_nxt)  # fmt: skip


Wire = Callable[[int, bytes], Sequence[int]]
"""What becomes of the n-th frame on back: for each copy that arrives, how many others pass it."""


Arriving = tuple[Host, str, bytes, int | None]  # at an interface; a mark: on its ingress


class Farm:
    """Three servers and one client, who talks to the first."""

    def __init__(
        self, candidates: Sequence[int], servers: Sequence[int] = (1, 2, 3), family: int = 4
    ) -> None:
        self.family = family
        self.hosts = {
            index: Host(index, Config(me=index, candidates=tuple(candidates)), family)
            for index in servers
        }
        self.told: list[Segment] = []
        self.frames: list[bytes] = []
        self.silent: list[bytes] = []
        self.holder = 1
        """The server that the client's packets come to. Those in `dead` hear nothing."""
        self.dead: set[int] = set()
        self.wire: Wire = lambda number, frame: (0,)

    def close(self) -> None:
        """Whatever has happened, every server's `traffic` says what its rows say."""
        for host in self.hosts.values():
            forward, local = map(host.machine.table, ("forward", "local"))
            held = Counter(row["server"] for _, row in forward.items())
            held[host.index] += len(list(local.items()))
            assert balance(host.machine) == held
            host.machine.close()

    def wait(self, nanoseconds: int) -> None:
        for host in self.hosts.values():
            host.machine.moment += nanoseconds
            host.machine.node.clock(host.machine.moment)

    def client(self, packet: bytes) -> list[Segment]:
        """The client sends; what it hears until nothing moves any more."""
        host = self.hosts[self.holder]
        if self.family == 6:
            frame = six_frame(packets.from_router(packet))
            return self._settle((host, "front", frame, None))
        return self._settle((host, "front", packets.from_router(packet), None))

    def agent(self, frame: bytes, mark: int) -> list[Segment]:
        """The first server's agent runs a frame through its program; what the client hears."""
        return self._settle((self.hosts[1], "back", frame, mark))

    def _settle(self, first: Arriving) -> list[Segment]:
        heard = len(self.told)
        waiting = [(0, 0, first)]
        order = 1
        while waiting:
            due, _, (host, where, frame, mark) = heapq.heappop(waiting)
            for later, arriving in self._arrives(host, where, frame, mark):
                heapq.heappush(waiting, (max(due, order * (later > 0)) + later, order, arriving))
                order += 1
        return self.told[heard:]

    def _arrives(
        self, host: Host, where: str, frame: bytes, mark: int | None
    ) -> list[tuple[int, Arriving]]:
        node, index = host.machine.node, host.machine.ifindex(where)
        if mark is None:
            outcome = node.xdp(frame, index)
            if outcome.verdict == Xdp.PASS:
                outcome = node.ingress(outcome.frame, index)
        else:
            outcome = node.ingress(frame, index, mark)
        self.silent += outcome.silent
        # IPv4's program has the last word of what IPv6's says nothing of: it passes.
        if outcome.verdict in (Tc.OK, Tc.UNSPEC) and outcome.frame[12:14] in (IPV4, IPV6):
            host.takes(outcome.frame, outcome)
        going: list[tuple[int, Arriving]] = []
        for sent in outcome.sent:
            if sent.inward:
                going.append((0, (host, "front", sent.frame, sent.mark)))
            elif sent.ifindex == host.machine.ifindex("front"):
                self.told.append(parse_packet(sent.frame[14:]))
            else:
                going += self._over_back(sent.frame)
        return going

    def _over_back(self, frame: bytes) -> list[tuple[int, Arriving]]:
        assert len(frame) - 14 <= _MTU, "a frame is longer than the LAN takes"
        self.frames.append(frame)
        return [
            (later, (other, "back", frame, None))
            for later in self.wire(len(self.frames), frame)
            for other in self.hosts.values()
            if frame[:6] in (other.mac, _EVERYBODY)
            and frame[6:12] != other.mac
            and other.index not in self.dead
        ]


class Client:
    """Shakes hands with the farm and remembers what was told."""

    def __init__(
        self, farm: Farm, port: int = packets.PORT, mss: int = 1460, isn: int = packets.IRS
    ) -> None:
        self.farm = farm
        self.port = port
        self.isn = isn
        (answer,) = farm.client(packets.ip("S", seq=isn, port=port,
                                           options=packets.syn_options(mss)))  # fmt: skip
        assert Flag.SYN in answer.flags
        self.iss = answer.seq
        at = answer.options.find(b"\x08\x0a")
        self.echoed = int.from_bytes(answer.options[at + 2 : at + 6], "big")
        self.send("A")

    def send(self, flags: str, offset: int = 0, data: bytes = b"") -> list[Segment]:
        return self.farm.client(
            packets.ip(flags, data, seq=self.isn + 1 + offset, ack=self.iss + 1,
                       port=self.port, options=packets.echo(echoed=self.echoed))
        )  # fmt: skip

    @property
    def key(self) -> tuple[int, int]:
        return int(IPv4Address(packets.CLIENT)), self.port
