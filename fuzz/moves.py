# SPDX-License-Identifier: Apache-2.0
"""The native library against `spec.requests.moving`: the next request of a connection we own.

A connection that is decided at every request, with a socket of our kernel's in any condition, meets
its next request, and then what may come: an acknowledgement, type 3 or type 7 of who was offered
it. After each the same state, the same offers, and the request at the same place.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from ipos.abi.layout import constant
from ipos.handshake.segment import Flag, parse_packet
from ipos.wire import ethernet, packets
from native.values import Socket, SocketState
from spec.requests import moving
from spec.requests.moving import Around, Event, Head, Place, State, Step
from tests.support.golden import packets as golden
from tests.support.golden.machine import SERVERS, SIZES, Config, NativeMachine, Ran, configure
from tests.support.golden.rows_close import LIVE, SENT
from tests.support.golden.rows_handshake import KEY
from tests.support.golden.rows_migration import HEAD_END
from tests.support.golden.rows_move import ANSWERED, FOLLOWED

ME = 1
HEADS = {
    Head.WHOLE: golden.HEAD,
    Head.PART: golden.HEAD[:-2],
    Head.UNFIT: b"GET / HTTP/1.1\r\n\r\n",
}
_UNKNOWN = constant("IPOS_ANSWER_UNKNOWN")


@dataclass(slots=True)
class Farm:
    """What is drawn: the servers that may have the request, and the state of our socket."""

    candidates: tuple[int, ...]
    states: dict[int, str]
    around: Around
    socket: Socket | None

    @classmethod
    def drawn(cls, rng: random.Random) -> Farm:
        candidates = tuple(sorted(rng.sample(sorted(SERVERS), rng.randrange(1, len(SERVERS) + 1))))
        states = {index: rng.choice(("READY",) * 4 + ("DRAIN", "DOWN")) for index in SERVERS}
        states[ME] = rng.choice(("READY", "DRAIN"))
        place = Place.HERE if states[ME] == "READY" else Place.ALLOWED
        around = Around(
            head=rng.choice((Head.WHOLE,) * 4 + (Head.PART, Head.UNFIT)),
            place=place if ME in candidates else Place.ELSEWHERE,
            other=None,
            socket=None,
            next=HEAD_END,
            acknowledged=SENT,
            unanswered=rng.choice((0, 0, 0, 0, 1, None)),
            room=rng.random() < 0.9,
        )
        farm = cls(candidates, states, around, None)
        farm.draw_first(rng)
        return farm

    def draw_socket(self, rng: random.Random, busy: float = 0.1) -> None:
        """Our socket: each of its numbers is seldom another than where all is quiet."""

        def off() -> int:
            return int(rng.random() < busy)

        state = SocketState.CLOSE_WAIT if rng.random() < busy / 2 else SocketState.ESTABLISHED
        self.socket = replace(
            ANSWERED, state=state, rcv_nxt=HEAD_END - off(), copied_seq=HEAD_END - off(),
            snd_nxt=SENT + off(), write_seq=SENT + off(), snd_una=SENT,
        )  # fmt: skip
        if rng.random() < busy / 2:
            self.socket = None

    def draw_first(self, rng: random.Random) -> None:
        """As it is when the request comes: in order, for a socket that reads."""
        self.draw_socket(rng)
        self.socket = replace(self.socket or ANSWERED, rcv_nxt=HEAD_END)

    def now(self, refused: set[int]) -> Around:
        """As the oracle has it, when these have refused the request."""
        others = (index for index in self.candidates if index not in {ME, *refused})
        usable = [index for index in others if self.states[index] == "READY"]
        kernel = None
        if self.socket is not None:
            kernel = moving.Socket(
                self.socket.state is SocketState.ESTABLISHED, self.socket.rcv_nxt,
                self.socket.copied_seq, self.socket.snd_nxt, self.socket.write_seq,
            )  # fmt: skip
        return replace(self.around, other=usable[0] if usable else None, socket=kernel)


def begin(farm: Farm) -> NativeMachine:
    """A node that owns the connection."""
    machine = NativeMachine({**SIZES, "forward": 1})
    configure(machine, Config(
        decide="REQUEST", candidates=farm.candidates, states=tuple(farm.states.items()),
    ))  # fmt: skip
    around = farm.around
    machine.table("local")[KEY] = {
        **LIVE, **FOLLOWED, "first": ME,
        "client_fin_seen": around.room,  # anybody can send a FIN: only the socket is believed
        "asked": 2, "answered": 2 - (around.unanswered or 0),
        "answer": _UNKNOWN if around.unanswered is None else 0,
    }  # fmt: skip
    if not around.room:
        machine.table("forward")[{**KEY, "client_port": 9}] = {"server": 2}
    return machine


def seen(machine: NativeMachine, ran: Ran) -> Step:
    """What has become of the connection, and of the request."""
    local, held = KEY in machine.table("local"), KEY in machine.table("holding")
    given = machine.table("forward").get(KEY)
    offered = None
    served = ran.verdict == "ok" and bool(parse_packet(ran.frame[14:]).data)
    for out in ran.clones:
        if out.where == "front" and out.inward:
            segment = parse_packet(out.frame[14:])
            served |= bool(segment.data) and Flag.RST not in segment.flags
        elif out.where == "back":
            packet = ethernet.decode(out.frame, golden.FRAME_KEY).packet
            if isinstance(packet, packets.ConnectionPacket):
                (offered,) = (index for index, (_, mac) in SERVERS.items()
                              if bytes.fromhex(mac.replace(":", "")) == out.frame[:6])  # fmt: skip
    if local and held:
        return Step(State.OFFERED if given else State.WAITING, offered, served)
    if local:
        return Step(State.FOLLOWED, offered, served)
    return Step(State.LEFT if given and given["acknowledged"] else State.RESET, offered, served)


def send(machine: NativeMachine, frame: bytes, where: str) -> Ran:
    ran = machine.xdp(frame, where)
    return machine.ingress(ran.frame, where) if ran.verdict == "pass" else ran


def run(seed: int, count: int) -> tuple[int, list[str]]:
    """So many requests; how many there were, and what differed."""
    rng = random.Random(seed)
    found: list[str] = []
    done = 0
    while done < count and len(found) < 20:
        farm = Farm.drawn(rng)
        machine = begin(farm)
        try:
            told = _session(rng, farm, machine)
        finally:
            machine.close()
        done += 1
        if told:
            found.append(f"request {done} of seed {seed}, {farm}: {told}")
    return done, found


def _session(rng: random.Random, farm: Farm, machine: NativeMachine) -> str:
    """One request until it is somewhere for good; the difference, if there is one."""
    refused: set[int] = set()
    state, event = State.FOLLOWED, Event.REQUEST
    frame, where = golden.client("PA", HEADS[farm.around.head], seq=HEAD_END, ack=SENT), "front"
    for _ in range(6):
        machine.listen([farm.socket] if farm.socket is not None else [])
        wanted = moving.step(state, event, farm.now(refused))
        said = seen(machine, send(machine, frame, where))
        if said != wanted:
            return f"{event.value}: oracle {wanted}, core {said}"
        state = wanted.state
        if state is State.WAITING:
            farm.draw_socket(rng, busy=0.05)
            event, where = Event.HEARD, "front"
            frame = golden.client("A", seq=HEAD_END + len(HEADS[farm.around.head]), ack=SENT)
        elif state is State.OFFERED:
            assert wanted.offered_to is not None
            event, where = rng.choice((Event.TAKEN, Event.REFUSED)), "back"
            address, mac = SERVERS[wanted.offered_to]
            offer = machine.table("forward")[KEY]["migration"]
            kind, reason, offer = (3, offer & 0xFFFF, 0) if event is Event.TAKEN else (7, 2, offer)
            frame = golden.notice(kind, by=mac, endpoint=address, reason=reason, offer=offer)
            if event is Event.REFUSED:
                refused.add(wanted.offered_to)
        else:
            return ""
    return ""
