# SPDX-License-Identifier: Apache-2.0
"""A connection whose packets pass tc quickly, beside the same one with every packet looked at.

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
from typing import Any

from fuzz.peers import Client, Kernel, answer, answer_now
from ipos.abi.layout import constant
from ipos.handshake.segment import Segment, parse_packet
from ipos.wire import PacketType, ethernet
from native.values import Xdp
from tests.support.golden import offers
from tests.support.golden import packets as golden
from tests.support.golden.machine import Config, NativeMachine, Ran, configure, mac
from tests.support.golden.rows_close import LIVE, SENT
from tests.support.golden.rows_handshake import KEY
from tests.support.golden.rows_migration import HEAD_END
from tests.support.golden.rows_owner import OURS
from tests.support.golden.rows_request import ATTACHED

EVENTS = 14
TABLES = ("local", "connect", "temporary")
UNNOTED = ("rcv_nxt", "snd_nxt")
_SETTLED = 4  # bytes of metadata; see tests/golden/test_settled.py
_HANDSHAKE = constant("IPOS_EP_HANDSHAKE")
_NOT, _OPAQUE, _LENGTH = (constant(f"IPOS_FOLLOW_{how}") for how in ("NOT", "OPAQUE", "LENGTH"))
_FRONT, _BACK, _ROUTER = (mac(text) for text in (golden.FRONT, golden.BACK, golden.ROUTER))
_IPV4 = b"\x08\x00"
_OFFER = offers.connection(to=golden.BACK, by=golden.MAC2, endpoint=golden.SERVICE)


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
                self._goes_on(self.machine.ingress(out.frame, out.where, out.mark))

    def _takes(self, frame: bytes) -> None:
        packet = frame[14:]
        if self.given[-1:] != [packet]:  # a reset that is looked at again behind itself
            self.given.append(packet)
        if self.kernel.takes(parse_packet(packet)):
            self.send(_leaves(answer_now(self.kernel)))


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
