# SPDX-License-Identifier: Apache-2.0
"""The native library against `spec.requests.idle`: connections that leave their application.

The agent names a connection whose socket is in any condition; and an endpoint without an
application comes back to a server that may know of it or not.
"""

from __future__ import annotations

import random
from dataclasses import replace

from fuzz.moves import HEADS
from ipos.abi.layout import constant
from ipos.agent.expiry.notices import MARK_LATE
from native.values import SocketState
from spec.requests import idle, moving
from spec.requests.idle import Answer, Fate, Known, Owned
from spec.requests.moving import Around, Head, Place
from tests.support.golden import packets as golden
from tests.support.golden.machine import SERVERS, SIZES, Config, NativeMachine, configure, network
from tests.support.golden.rows_close import LIVE, SENT
from tests.support.golden.rows_handshake import KEY
from tests.support.golden.rows_idle import ALL_HEARD, IDLE, UNREAD, offered
from tests.support.golden.rows_migration import HEAD_END
from tests.support.golden.rows_move import FOLLOWED, WAITING
from tests.support.golden.rows_request import forward

ME = 1
_UNKNOWN = constant("IPOS_ANSWER_UNKNOWN")


def run(seed: int, count: int) -> tuple[int, list[str]]:
    """So many connections; how many there were, and what differed."""
    rng = random.Random(seed)
    found: list[str] = []
    done = 0
    while done < count and len(found) < 20:
        judge = rng.choice((_named, _returns, _joins))
        machine = NativeMachine({**SIZES, "forward": 1, "holding": 1})
        try:
            told = judge(rng, machine)
        finally:
            machine.close()
        done += 1
        if told:
            found.append(f"connection {done} of seed {seed}: {told}")
    return done, found


def _named(rng: random.Random, machine: NativeMachine) -> str:
    def off() -> int:
        return int(rng.random() < 0.08)

    state = SocketState.CLOSE_WAIT if rng.random() < 0.05 else SocketState.ESTABLISHED
    socket = replace(
        ALL_HEARD, state=state, rcv_nxt=HEAD_END + off(), copied_seq=HEAD_END - off(),
        write_seq=SENT + off(), snd_nxt=SENT + off(),
    )  # fmt: skip
    there = rng.random() < 0.95
    kernel = moving.Socket(
        state is SocketState.ESTABLISHED, socket.rcv_nxt, socket.copied_seq, socket.snd_nxt,
        socket.write_seq,
    )  # fmt: skip
    owned = Owned(
        Around(
            head=Head.WHOLE, place=Place.ALLOWED, other=None, socket=kernel if there else None,
            next=HEAD_END, acknowledged=SENT, unanswered=rng.choice((0,) * 6 + (1, None)),
            room=rng.random() < 0.9,
        ),
        followed=rng.random() < 0.9, busy=rng.random() < 0.1, mine=rng.random() < 0.5,
        up=rng.random() < 0.9,
    )  # fmt: skip
    configure(machine, Config(decide="REQUEST", states=((2, "READY" if owned.up else "DOWN"),)))
    machine.table("local" if owned.mine else "connect")[KEY] = {
        **LIVE, **FOLLOWED, "first": ME if owned.mine else 2, "giver": ME if owned.mine else 2,
        "asked": 2, "answered": 2 - (owned.around.unanswered or 0),
        "answer": _UNKNOWN if owned.around.unanswered is None else 0,
        "flags": WAITING * owned.busy,
        **({} if owned.followed else rng.choice(({"follow": 0}, {"body_left": 9}))),
    }  # fmt: skip
    if not owned.around.room:
        machine.table("forward")[{**KEY, "client_port": 9}] = {"server": 2}
    machine.listen([socket] if there else [])
    machine.ingress(golden.notice(3), "front", MARK_LATE)
    wanted, said = idle.named(owned), _fate(machine)
    return "" if said == wanted else f"{owned}: oracle {wanted}, core {said}"


def _fate(machine: NativeMachine) -> Fate:
    held = machine.table("holding").get(KEY)
    if held is None:
        return Fate.STAYS
    return Fate.OFFERED if KEY in machine.table("forward") else Fate.WAITS


def _returns(rng: random.Random, machine: NativeMachine) -> str:
    holds = rng.random() < 0.4
    configure(machine, Config(decide="REQUEST", arp="ANSWER" if holds else "SILENT"))
    number = rng.choice((1, 8, 0x1_0000))
    known = None
    if rng.random() < 0.9:
        known = Known(
            iss=golden.ISS if rng.random() < 0.85 else 9,
            migration=number + rng.choice((-1, -1, 0, 1)),
            owner=rng.choice((None, 2, 2, 2, 3)),
            acknowledged=rng.random() < 0.85,
        )
    room = rng.random() < 0.9 or (known is not None and known.owner is None)
    if known is not None and known.owner is None:
        machine.table("holding")[KEY] = {**IDLE, "iss": known.iss, "migration": known.migration}
    elif known is not None:
        address, _ = SERVERS[known.owner or 0]
        machine.table("forward")[KEY] = forward(
            server=known.owner, destination_ip=network(address), iss=known.iss,
            acknowledged=int(known.acknowledged), migration=known.migration,
        )  # fmt: skip
    if not room:
        machine.table("holding")[{**KEY, "client_port": 9}] = IDLE
    ran = machine.xdp(
        offered(to=golden.BACK, by=golden.MAC2, endpoint=golden.SERVICE, migration=number), "back"
    )
    wanted = idle.returns(known, golden.ISS, number, room=room, holds=holds)
    kind = ran.redirected.frame[26] if ran.redirected else 0
    waits = kind == 3 and KEY in machine.table("holding")
    waits &= known is None or known.owner is not None
    said = Answer.WAITS if waits else {3: Answer.TAKEN, 7: Answer.REFUSED}.get(kind)
    return "" if said == wanted else f"{known}, {number}, {room}: oracle {wanted}, core {said}"


def _joins(rng: random.Random, machine: NativeMachine) -> str:
    """A segment of a connection that is decided once, at a server that drains."""

    def off(share: float = 0.07) -> int:
        return int(rng.random() < share)

    head = rng.choice((Head.WHOLE,) * 4 + (Head.PART, Head.UNFIT))
    state = SocketState.CLOSE_WAIT if rng.random() < 0.05 else SocketState.ESTABLISHED
    heard = rng.choice((3, 0xFFFF_FFFF))
    socket = replace(
        UNREAD, state=state, rcv_nxt=HEAD_END + off(), copied_seq=HEAD_END - off(),
        write_seq=SENT + off(), snd_nxt=SENT + off(), sent=rng.choice((0, 1, 5, 5, 5)),
        spoke=heard + rng.choice((-1, 0, 0, 1, 9)) & 0xFFFF_FFFF, heard=heard,
    )  # fmt: skip
    there = rng.random() < 0.95
    kernel = moving.Socket(
        state is SocketState.ESTABLISHED, socket.rcv_nxt, socket.copied_seq, socket.snd_nxt,
        socket.write_seq,
    )  # fmt: skip
    last = (socket.spoke - heard + 1 & 0xFFFF_FFFF) > 0
    unread = moving.Unread(
        kernel if there else None,
        last=last,
        ever=socket.sent > 0,
        head=head,
        next=HEAD_END,
        acknowledged=SENT,
    )
    configure(machine, Config(drains=True, candidates=(1, 2), states=((1, "DRAIN"),)))
    machine.table("local")[KEY] = LIVE
    machine.listen([socket] if there else [])
    ran = machine.xdp(golden.client("PA", HEADS[head], seq=HEAD_END, ack=SENT), "front")
    machine.ingress(ran.frame, "front")
    row = machine.table("local").get(KEY)
    said, wanted = bool(row and row["follow"]), moving.joins(unread)
    return "" if said == wanted else f"{unread}: oracle {wanted}, core {said}"
