# SPDX-License-Identifier: Apache-2.0
"""A connection of ours that nobody looks at, beside the same one that is looked at throughout.

Two nodes have the same connection, a client and a socket in any condition. One of them leaves
alone what it may: packets that XDP calls settled never reach tc, and where no service reads answers
egress notes no segment in mid-stream. The other is shown everything. Both must send the same
frames, give the socket the same packets and end with the same rows, but for what is not noted: the
time, and how far the two streams are. An offer that is repeated must be acknowledged by both
exactly when the socket has received what the farm has acknowledged, whoever has seen it say so.
"""

from __future__ import annotations

import random
from contextlib import closing
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from typing import Any

from ipos.handshake.segment import Flag, Segment, parse_packet
from ipos.inic.layout import constant
from ipos.inic.native import Socket, SocketState, Xdp
from ipos.wire import PacketType, ethernet
from tests.golden import packets as golden
from tests.golden.machine import LISTENER, Config, NativeMachine, Ran, configure, mac
from tests.golden.row import MARK
from tests.golden.rows_close import LIVE, SENT
from tests.golden.rows_handshake import KEY
from tests.golden.rows_migration import HEAD_END, OURS
from tests.golden.rows_request import ATTACHED, SOCKET

EVENTS = 14
TABLES = ("local", "connect", "temporary")
UNNOTED = ("rcv_nxt", "snd_nxt")
_SETTLED = 4  # bytes of metadata; see tests/golden/test_settled.py
_HANDSHAKE = constant("IPOS_EP_HANDSHAKE")
_NOT, _OPAQUE, _LENGTH = (constant(f"IPOS_FOLLOW_{how}") for how in ("NOT", "OPAQUE", "LENGTH"))
_FRONT, _BACK, _ROUTER = (mac(text) for text in (golden.FRONT, golden.BACK, golden.ROUTER))
_IPV4 = b"\x08\x00"
_OFFER = golden.connection(to=golden.BACK, by=golden.MAC2, endpoint=golden.SERVICE)
_U32 = 0xFFFF_FFFF


@dataclass(slots=True)
class Kernel:
    """As much of a socket as the data plane asks about."""

    state: SocketState | None = SocketState.ESTABLISHED
    rcv_nxt: int = HEAD_END
    snd_nxt: int = SENT
    fin: int | None = None  # sequence number after ours
    reset: bool = False

    def sockets(self) -> list[Socket]:
        if self.state is None:
            return [LISTENER]
        return [LISTENER, Socket(self.state, SOCKET.service, golden.WEB, SOCKET.client,
                                 golden.PORT, self.rcv_nxt, copied_seq=self.rcv_nxt,
                                 snd_nxt=self.snd_nxt, write_seq=self.snd_nxt)]  # fmt: skip

    def takes(self, segment: Segment) -> bool:
        """What the client has sent, or what the iNIC has made of it; whether it is answered now."""
        if self.state is None or Flag.SYN in segment.flags:
            return False
        if Flag.RST in segment.flags:
            if segment.seq == self.rcv_nxt:
                self.state, self.reset = None, True
            return False
        end = segment.seq + len(segment.data)
        closing = self.fin is not None and Flag.FIN in segment.flags
        if segment.seq <= self.rcv_nxt <= end:
            self.rcv_nxt = end
            if Flag.FIN in segment.flags:
                self._closed_by_client()
        if self.fin is not None and segment.ack == self.fin:
            self._acknowledged()
        return closing  # tcp_fin() in net/ipv4/tcp_input.c; any other acknowledgement may wait

    def closes(self) -> None:
        self.snd_nxt += 1
        self.fin = self.snd_nxt
        late = self.state is SocketState.CLOSE_WAIT
        self.state = SocketState.LAST_ACK if late else SocketState.FIN_WAIT1

    def _closed_by_client(self) -> None:
        after = {SocketState.ESTABLISHED: SocketState.CLOSE_WAIT,
                 SocketState.FIN_WAIT1: SocketState.CLOSING,
                 SocketState.FIN_WAIT2: SocketState.TIME_WAIT}  # fmt: skip
        if self.state in after:
            self.rcv_nxt += 1
            self.state = after[self.state]

    def _acknowledged(self) -> None:
        match self.state:
            case SocketState.FIN_WAIT1:
                self.state = SocketState.FIN_WAIT2
            case SocketState.CLOSING:
                self.state = SocketState.TIME_WAIT
            case SocketState.LAST_ACK:
                self.state = None


@dataclass(slots=True)
class Node:
    """One of the two. `sent` and `given`: the frames that left, what its kernel got."""

    machine: NativeMachine
    looks: bool
    kernel: Kernel = field(default_factory=Kernel)
    sent: list[bytes] = field(default_factory=list)
    given: list[bytes] = field(default_factory=list)

    def receive(self, frame: bytes, where: str) -> None:
        self.machine.listen(self.kernel.sockets())
        outcome = self.machine.node.xdp(frame, self.machine.ifindex(where))
        if outcome.verdict != Xdp.PASS:
            self.sent += [out.frame for out in outcome.sent]
            return
        frame = outcome.frame
        if not self.looks and outcome.metadata == _SETTLED:
            self._takes(frame)
            return
        if self.looks and frame[:6] == _BACK and frame[12:14] == _IPV4:
            frame = _FRONT + frame[6:]  # tc would leave alone what is not to front's address
        self._goes_on(self.machine.ingress(frame, where))

    def send(self, frame: bytes) -> None:
        self.machine.listen(self.kernel.sockets())
        ran = self.machine.egress(frame, "front")
        if ran.verdict == "ok":
            self.sent.append(ran.frame)
        self._goes_on(replace(ran, verdict="out"))

    def rows(self) -> dict[str, dict[str, Any]]:
        found = {}
        for name in TABLES:
            row = self.machine.table(name).get(KEY)
            unnoted = (*UNNOTED, "client_end") if self.kernel.reset else UNNOTED
            if row is not None:
                found[name] = {field: value for field, value in row.items()
                               if not field.endswith("_ns") and field not in unnoted}  # fmt: skip
        return found

    def _goes_on(self, ran: Ran) -> None:
        """What leaves, what goes up; then what was put on ingress behind it."""
        outs = [*ran.clones, *([ran.redirected] if ran.redirected else [])]
        self.sent += [out.frame for out in outs if not out.inward]
        if ran.verdict == "ok":
            self._takes(ran.frame)
        for out in outs:
            if out.inward:
                self.machine.listen(self.kernel.sockets())
                self._goes_on(self.machine.ingress(out.frame, out.where, MARK))

    def _takes(self, frame: bytes) -> None:
        packet = frame[14:]
        if self.given[-1:] != [packet]:  # a reset that is looked at again behind itself
            self.given.append(packet)
        if self.kernel.takes(parse_packet(packet)):
            self.send(_leaves(answer_now(self.kernel)))


@dataclass(slots=True)
class Client:
    """What the client has sent, lost or not."""

    nxt: int = HEAD_END
    fin: bool = False

    def segment(self, rng: random.Random, kernel: Kernel) -> Segment:
        ack = rng.choice((kernel.snd_nxt, kernel.snd_nxt, SENT, kernel.snd_nxt - 1))
        kind = rng.randrange(20)
        flags, seq, data = Flag.ACK, self.nxt, b""
        if kind < 7 and not self.fin:
            data = rng.randbytes(rng.choice((1, 5, 700)))
            self.nxt += len(data)
        elif kind < 9 and not self.fin:  # a segment before this one is lost
            self.nxt += 100
            seq, data = self.nxt, b"later"
            self.nxt += len(data)
        elif kind < 11:  # again, what is missing or what is not
            seq = rng.choice((kernel.rcv_nxt, HEAD_END))
            data = bytes(min(max(0, self.nxt - self.fin - seq), 1400))
        elif kind < 14 or self.fin:
            flags |= Flag.FIN
            seq, data = self.nxt - self.fin, b""
            self.nxt += not self.fin
            self.fin = True
        elif kind == 14:
            flags = rng.choice((Flag.RST, Flag.RST | Flag.ACK))
            seq = kernel.rcv_nxt
            seq = rng.choice((seq, seq, seq - 1, self.nxt, HEAD_END))
        elif kind == 15:
            flags, seq = Flag.SYN, rng.getrandbits(32)
        return _segment(SOCKET.client, golden.PORT, SOCKET.service, golden.WEB,
                        seq, ack, flags, data)  # fmt: skip


def answer_now(kernel: Kernel) -> Segment:
    return _ours(kernel, kernel.snd_nxt, Flag.ACK, b"")


def answer(rng: random.Random, kernel: Kernel) -> Segment:
    """What our kernel says: the same again, its end, or more."""
    kind = rng.randrange(10)
    flags, seq, data = Flag.ACK, kernel.snd_nxt, b""
    if kind < 4 and kernel.fin is None:
        data = rng.randbytes(rng.choice((1, 100, 1400)))
        kernel.snd_nxt += len(data)
    elif kind < 5:
        seq, data = SENT - 100, bytes(100)
    elif kind < 7 and kernel.fin is None:
        flags |= Flag.FIN
        data = rng.choice((b"", b"last"))
        kernel.snd_nxt += len(data)
        kernel.closes()
    elif kind == 7 and rng.random() < 0.3:
        flags |= Flag.RST
        kernel.state, kernel.reset = None, True
    return _ours(kernel, seq, flags, data)


def _ours(kernel: Kernel, seq: int, flags: Flag, data: bytes) -> Segment:
    return _segment(SOCKET.service, golden.WEB, SOCKET.client, golden.PORT,
                    seq, kernel.rcv_nxt, flags, data)  # fmt: skip


def _segment(
    source: IPv4Address, source_port: int, destination: IPv4Address, destination_port: int,
    seq: int, ack: int, flags: Flag, data: bytes,
) -> Segment:  # fmt: skip
    return Segment(
        source=source, source_port=source_port, destination=destination,
        destination_port=destination_port, seq=seq & _U32,
        ack=ack & _U32 if Flag.ACK in flags else 0, flags=flags, window=500, data=data,
    )  # fmt: skip


def run(seed: int, count: int) -> tuple[int, list[str]]:
    """So many events; how many there were, and what differed."""
    rng = random.Random(seed)
    found: list[str] = []
    done = 0
    while done < count and len(found) < 20:
        number = rng.getrandbits(48)
        with closing(NativeMachine()) as looking, closing(NativeMachine()) as leaving:
            events, told = _session(number, Node(looking, True), Node(leaving, False))
        done += events
        if told:
            found.append(f"connection of seed {number}, event {events}: {told}")
    return done, found


def _session(seed: int, looking: Node, leaving: Node) -> tuple[int, str]:
    """One connection until it has ended; how many events, and the difference if there is one."""
    rng = random.Random(seed)
    nodes, client = (looking, leaving), Client()
    where, table = rng.choice((("front", "local"), ("back", "connect")))
    if rng.random() < 0.1:  # it has come home, or is routed another way than it was
        where = "back" if where == "front" else "front"
    unread = rng.random() < 0.6
    need = HEAD_END + rng.choice((0, 0, 5, 700))
    shook_hands = rng.random() < 0.1  # our kernel did: there was no offer
    row = {**LIVE} if table == "local" else {**OURS, "rcv_nxt": HEAD_END, "snd_nxt": SENT}
    row |= {
        "state": ATTACHED, "rcv_need": need,
        "flags": _HANDSHAKE * shook_hands,
        "follow": _NOT if unread else rng.choice((_NOT, _OPAQUE, _LENGTH)),
        "request_end": HEAD_END + rng.choice((0, 5, 5000)), "answer_next": SENT,
    }  # fmt: skip
    for node in nodes:
        configure(node.machine, Config(answers_unread=unread and not node.looks))
        node.machine.table(table)[KEY] = row
    for number in range(1, EVENTS + 1):
        kind = rng.random()
        offered = kind < 0.1 and table == "connect" and not shook_hands
        if offered:
            for node in nodes:
                node.receive(_OFFER, "back")
        elif kind < 0.6 or looking.kernel.state is None:
            frame = _arrives(client.segment(rng, looking.kernel).packet(), where)
            for node in nodes:
                node.receive(frame, where)
        else:
            frame = _leaves(answer(rng, looking.kernel))
            leaving.kernel = replace(looking.kernel)
            for node in nodes:
                node.send(frame)
        told = _compared(looking, leaving)
        if not told and offered and table in looking.rows():
            told = _offered(looking, looking.kernel.rcv_nxt >= need)
        if told or not looking.rows().get(table):
            return number, told
        for node in nodes:
            node.sent, node.given = [], []
    return EVENTS, ""


def _arrives(packet: bytes, where: str) -> bytes:
    if where == "back":
        return golden.packet(packet)
    return (_FRONT + _ROUTER + _IPV4 + packet).ljust(60, b"\0")


def _leaves(segment: Segment) -> bytes:
    return _ROUTER + _FRONT + _IPV4 + segment.packet()


def _compared(looking: Node, leaving: Node) -> str:
    for what, one, other in (
        ("sent", sorted(looking.sent), sorted(leaving.sent)),
        ("given to the kernel", looking.given, leaving.given),
        ("the socket", looking.kernel, leaving.kernel),
        ("rows", looking.rows(), leaving.rows()),
    ):
        if one != other:
            return f"{what}: looked at {one}, left alone {other}"
    return ""


def _offered(node: Node, received: bool) -> str:
    """Whether the offer was acknowledged as it should be."""
    kinds = [ethernet.decode(frame, golden.FRAME_KEY).packet.header.type for frame in node.sent]
    wanted = [PacketType.ACKNOWLEDGEMENT] if received else []
    return "" if kinds == wanted else f"an offer again: {wanted} is due, not {kinds}"
