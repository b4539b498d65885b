# SPDX-License-Identifier: Apache-2.0
"""Endpoints that migrate with their application's state: what agents order, and what is frozen."""

from __future__ import annotations

import socket
import sys
from typing import Any

from ipos.abi.layout import constant, layout
from tests.support.golden import packets as p
from tests.support.golden.machine import Config, Out, network
from tests.support.golden.row import Row, Step, into_front, rx, to_back
from tests.support.golden.rows_close import SENT, local, mine
from tests.support.golden.rows_handshake import CLOSED, HANDSHAKE, KEY
from tests.support.golden.rows_migration import HEAD_END

MARK_ORDER, MARK_FROZEN = constant("IPOS_MARK_ORDER"), constant("IPOS_MARK_FROZEN")
FROZEN, LIVE = constant("IPOS_EP_FROZEN"), constant("IPOS_EP_LIVE")
ATTACHED, PREPARED = constant("IPOS_EP_ATTACHED"), constant("IPOS_EP_PREPARED")
_SHAPE = layout("ipos_order")
COOKIE, NUMBER = 77, 9
BOTH = Config(candidates=(1, 2))
AT = {"iss": p.ISS, "irs": p.IRS, "mss": 1460}
_HERE = {"cookie": COOKIE, "migration": NUMBER - 1}
_STILL = {**_HERE, "flags": FROZEN, "migration": NUMBER}
_COMING = {"cookie": COOKIE, "migration": NUMBER, "state": PREPARED, "flags": FROZEN | LIVE}


def order(kind: str, verdict: str, *sent: Out, **fields: Any) -> Step:
    """The agent's. Addresses and ports as they are on a wire."""
    values = {
        "service_ip": int.from_bytes(socket.inet_aton(p.SERVICE), sys.byteorder),
        "service_port": p.WEB, "kind": constant(f"IPOS_ORDER_{kind}"), "iss": p.ISS,
        "irs": p.IRS, "migration": NUMBER, "cookie": COOKIE, "snd_una": SENT, "snd_nxt": SENT,
        "rcv_nxt": HEAD_END, "server": 2, "first": 2, "mss": 1460, **fields,
    }  # fmt: skip
    frame = p.on_back(p.header(1) + _SHAPE.pack(values), p.BACK, p.BACK, shortest=0)
    return Step(hook="tc", where="back", mark=MARK_ORDER, frame=frame, verdict=verdict, sent=sent)


def _coming() -> dict[str, Any]:
    """Prepared, from s2 as first server."""
    ((key, row),) = mine()["connect"]
    return {"connect": [(key, {**row, **_COMING})]}


def _moved(first: str) -> Out:
    frame = p.notice(6, to=first, by=p.BACK, endpoint=p.S2, reason=NUMBER)
    return to_back(frame)


def _refused(about: str, kind: str, before: dict[str, Any], **fields: Any) -> Row:
    return Row(about=f"the agent: {kind}, but {about}", steps=[order(kind, "shot", **fields)],
               counts={}, config=BOTH, before=before)  # fmt: skip


GIVER = [
    Row(about="the agent freezes an endpoint: the attempt's number is its own",
        steps=[order("FREEZE", "stolen")], counts={}, config=BOTH, before=local(**_HERE),
        after={"local": [(KEY, {"flags": FROZEN})]}),
    Row(about="what the client sends to a frozen endpoint is dropped, whatever it is",
        steps=[rx("front", p.client("A", seq=HEAD_END, ack=SENT), "drop"),
               rx("front", p.client("PA", b"x", seq=HEAD_END, ack=SENT), "drop"),
               rx("front", p.client("R", seq=HEAD_END), "drop")],
        counts={"DROP_FROZEN": 3}, config=BOTH, before=local(**_STILL)),
    Row(about="and so is what its first server sends on",
        steps=[rx("back", p.packet(p.ip("PA", b"x", seq=HEAD_END, ack=SENT)), "drop")],
        counts={"DROP_FROZEN": 1, "FRAMES_RECEIVED": 1}, config=BOTH, before=mine(**_STILL)),
    Row(about="and what tc has already",
        steps=[Step(hook="tc", where="front", frame=p.client("A", seq=HEAD_END, ack=SENT),
                    verdict="shot")],
        counts={"DROP_FROZEN": 1}, config=BOTH, before=local(**_STILL)),
    Row(about="what a frozen socket says ends on our own ingress",
        steps=[Step(hook="out", where="front", mark=MARK_FROZEN, verdict="redirect",
                    frame=p.answer("PA", seq=SENT, ack=HEAD_END, window=500),
                    sent=(into_front(p.answer("PA", seq=SENT, ack=HEAD_END, window=500)),))],
        counts={"DROP_FROZEN": 1}, config=Config(answers_unread=True), before=local(**_STILL)),
    Row(about="the agent thaws it: it goes on here",
        steps=[order("THAW", "stolen")], counts={}, config=BOTH, before=local(**_STILL),
        after={"local": [(KEY, {"flags": 0})]}),
    Row(about="the agent gives it, at its first server: Forward leads to the taker",
        steps=[order("GIVE", "stolen")], counts={"GIVEN": 1}, config=BOTH,
        before=local(**_STILL), traffic={1: (0, 1), 2: (1, 0)},
        after={"local": [], "left_behind": [(KEY, {"server": 2, "first": 1, "iss": p.ISS,
                                                   "sent": SENT, "next": HEAD_END})],
               "forward": [(KEY, {"server": 2, "acknowledged": 1, "iss": p.ISS,
                                  "destination_ip": network(p.S2)})]}),
    Row(about="the agent gives it to another than its first server, which is told",
        steps=[order("GIVE", "stolen", _moved(p.MAC3))], counts={"GIVEN": 1, "FRAMES_SENT": 1},
        config=BOTH, before=mine(**_STILL, first=3),
        after={"connect": [], "left_behind": [(KEY, {"server": 2, "first": 3})]}),
    Row(about="the agent gives it to its first server, which knows",
        steps=[order("GIVE", "stolen")], counts={"GIVEN": 1}, config=BOTH, before=mine(**_STILL),
        after={"connect": [], "left_behind": [(KEY, {"server": 2, "first": 2})]}),
    _refused("it is another socket's", "FREEZE", local(**{**_HERE, "cookie": 5})),
    _refused("its number is used", "FREEZE", local(**_HERE), migration=NUMBER - 1),
    _refused("its requests are read", "FREEZE",
             local(**_HERE, follow=constant("IPOS_FOLLOW_LENGTH"))),
    _refused("a line of ours is in its stream", "FREEZE",
             local(**_HERE, line={"at": SENT, "length": 20})),
    _refused("its client has closed", "FREEZE", local(**_HERE, client_fin_seen=1)),
    _refused("it is another connection by now", "GIVE", local(**_STILL), iss=p.ISS + 1),
    _refused("it was given by another attempt", "GIVE", local(**_STILL), migration=NUMBER + 1),
    _refused("it was never frozen", "GIVE", local(**{**_HERE, "migration": NUMBER})),
    _refused("nobody has such a connection", "THAW", {}),
]  # fmt: skip

TAKER = [
    Row(about="the agent takes an endpoint: nothing reaches it yet",
        steps=[order("TAKE", "stolen")], counts={}, config=BOTH,
        after={"connect": [(KEY, {"state": PREPARED, "flags": FROZEN | LIVE, "first": 2,
                                  "giver": 2, "cookie": COOKIE, "rcv_nxt": HEAD_END,
                                  "snd_nxt": SENT, "follow": 0})]}),
    Row(about="the agent takes one whose first server we are, in place of an earlier attempt",
        steps=[order("TAKE", "stolen", first=1)], counts={}, config=BOTH,
        before={**local(**{**_COMING, "migration": NUMBER - 1}),
                "forward": [(KEY, {"server": 2, "first": 1, "acknowledged": 1, "iss": p.ISS,
                                   "migration": NUMBER - 1})]},
        traffic={1: (1, 1)},
        after={"local": [(KEY, {"state": PREPARED, "flags": FROZEN | LIVE})]}),
    Row(about="the agent takes one after an upgrade, where requests are read: no more is read",
        steps=[order("TAKE", "stolen")], counts={}, config=Config(decide="REQUEST"),
        after={"connect": [(KEY, {"follow": constant("IPOS_FOLLOW_OPAQUE")})]}),
    Row(about="what comes for it from its first server is dropped until it is ours",
        steps=[rx("back", p.packet(p.ip("PA", b"x", seq=HEAD_END, ack=SENT)), "drop")],
        counts={"DROP_FROZEN": 1, "FRAMES_RECEIVED": 1}, config=BOTH, before=_coming()),
    Row(about="the agent: it is ours, and what said otherwise goes",
        steps=[order("LIVE", "stolen", first=1)], counts={"TAKEN": 1}, config=BOTH,
        before={**local(**_COMING),
                "forward": [(KEY, {"server": 2, "first": 1, "acknowledged": 1, "iss": p.ISS,
                                   "migration": NUMBER - 1})],
                "left_behind": [(KEY, {"server": 2, "iss": p.ISS, "migration": 4})]},
        traffic={2: (0, 1)},
        after={"local": [(KEY, {"state": ATTACHED, "flags": LIVE})], "forward": [],
               "left_behind": []}),
    Row(about="the agent: it is ours, and its first server has changed meanwhile",
        steps=[order("LIVE", "stolen", first=3, options=128)], counts={"TAKEN": 1}, config=BOTH,
        before=_coming(),
        after={"connect": [(KEY, {"first": 3, "hs": {**HANDSHAKE, "options":
                                                    HANDSHAKE["options"] | 128}})]}),
    Row(about="the agent: it does not come",
        steps=[order("DROP", "stolen")], counts={}, config=BOTH, before=_coming(),
        after={"connect": []}),
    _refused("we have the connection", "TAKE", local(**_STILL)),
    _refused("it has gone on since", "TAKE",
             {"left_behind": [(KEY, {"server": 2, "iss": p.ISS, "migration": NUMBER})]}),
    _refused("it has ended", "TAKE",
             {"temporary": [(KEY, {"state": CLOSED, "hs": HANDSHAKE})]}),
    _refused("its packets are known to go elsewhere since", "TAKE",
             {"forward": [(KEY, {"server": 2, "first": 1, "acknowledged": 1, "iss": p.ISS,
                                 "migration": NUMBER})]}),
    _refused("it was dropped", "LIVE", {}),
    _refused("it is ours already", "LIVE", local(**_STILL)),
    _refused("it is ours", "DROP", local(**_STILL)),
]  # fmt: skip

ROWS = GIVER + TAKER
