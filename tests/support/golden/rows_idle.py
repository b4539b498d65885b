# SPDX-License-Identifier: Apache-2.0
"""Connections that leave their application between two requests, and wait without one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ipos.abi.layout import constant
from ipos.agent.expiry.notices import MARK_LATE
from tests.support.golden import offers
from tests.support.golden import packets as p
from tests.support.golden.machine import Config, Out, network
from tests.support.golden.row import Row, Step, into_front, rx, to_back, to_front
from tests.support.golden.rows_close import SENT, local, mine
from tests.support.golden.rows_handshake import CLOSED, HANDSHAKE, KEY
from tests.support.golden.rows_migration import HEAD_END
from tests.support.golden.rows_move import (
    ANSWERED,
    AWAY,
    EVERY,
    FOLLOWED,
    LENGTH,
    MOVING,
    ROUTER,
    WAITING,
)
from tests.support.golden.rows_request import forward, piece

TUPLE_LIVE = constant("IPOS_REFUSE_TUPLE_LIVE")
TABLE_FULL = constant("IPOS_REFUSE_TABLE_FULL")
ALL_HEARD = replace(ANSWERED, snd_una=SENT, ts_recent=p.TS_LATER)
_UNKNOWN = constant("IPOS_ANSWER_UNKNOWN")
_NOBODY_LOOKS = "TEST_RUN sees no socket of the test's"
_GOES_ON = {**HANDSHAKE, "iss": SENT - 1, "irs": HEAD_END - 1}
BLANK = constant("HEAD_BLANK")
IDLE: dict[str, Any] = {
    "hs": _GOES_ON, "iss": p.ISS, "irs": p.IRS, "service": 1, "live": 1, "window": 502,
    "client_mac": ROUTER, "head_state": BLANK,
}  # fmt: skip
_ASKS = p.ip("PA", p.HEAD, seq=HEAD_END, ack=SENT)
_FIRST = network(p.S2)


def _agent(verdict: str, *sent: Out, **fields: Any) -> Step:
    """The agent names the connection to the data plane."""
    return Step(hook="tc", where="front", mark=MARK_LATE, frame=p.notice(3), verdict=verdict,
                sent=sent, **fields)  # fmt: skip


def _told_the_end(window: int = 502) -> Out:
    """Our own socket is: a FIN of the client's."""
    fin = piece(b"", len(p.HEAD), fin=True, ack=SENT, window=window)
    return into_front(p.from_router(fin, pad=False))


def offered(**fields: Any) -> bytes:
    """An endpoint between two requests, which no application is to take: to its first server."""
    told = {"migration": 8, "rcv_nxt": HEAD_END, "snd_nxt": SENT, "endpoint_port": 0, **fields}
    return offers.connection(**told)


def _stays(about: str, **fields: Any) -> Row:
    """The agent was wrong, and nothing changes."""
    before = {**local(**{**FOLLOWED, **fields.pop("row", {})}), **fields.pop("before", {})}
    return Row(about=f"the agent: idle, but {about}", config=EVERY, counts={}, before=before,
               steps=[_agent("shot")], **{"sockets": (ALL_HEARD,),
               "native_only": _NOBODY_LOOKS, **fields})  # fmt: skip


OWNER = [
    Row(about="the agent: an idle connection that came to us leaves its application, and waits",
        steps=[_agent("shot", _told_the_end(63))], config=EVERY,
        counts={"HANDED_BACK": 1, "UNATTACHED": 1}, traffic={1: (0, 1)},
        before=local(**FOLLOWED, migration=4), sockets=(ALL_HEARD,), native_only=_NOBODY_LOOKS,
        after={"local": [], "left_behind": [(KEY, {"iss": p.ISS, "next": HEAD_END + 1})],
               "holding": [(KEY, {"live": 1, "moving": 0, "complete": 0, "fin": 0, "held": 0,
                                  "iss": p.ISS, "irs": p.IRS,
                                  "hs": {**_GOES_ON, "ts_recent": p.TS_LATER}})]}),
    Row(about="the agent: an idle connection leaves its application in a container",
        steps=[_agent("shot", _told_the_end(63))],
        config=replace(EVERY, box="elsewhere", box_netns=6),
        counts={"HANDED_BACK": 1, "UNATTACHED": 1}, traffic={1: (0, 1)},
        before=local(**FOLLOWED, migration=4, flags=constant("IPOS_EP_BOXED"), box="elsewhere",
                     box_netns=6),
        sockets=(replace(ALL_HEARD, netns=5),), native_only=_NOBODY_LOOKS,
        after={"local": [], "holding": [(KEY, {"live": 1, "held": 0, "iss": p.ISS})]}),
    Row(about="the agent: one that came to another server is offered to that one",
        steps=[_agent("shot", to_back(offered(
            to=p.MAC2, endpoint=p.S2, first=p.S2, window=63)))],
        config=EVERY, counts={"FRAMES_SENT": 1}, traffic={2: (1, 0)},
        before={"connect": [(KEY, {**mine(**FOLLOWED)["connect"][0][1], "migration": 7})]},
        sockets=(ALL_HEARD,), native_only=_NOBODY_LOOKS,
        after={"connect": [(KEY, {"flags": MOVING})],
               "forward": [(KEY, {"server": 2, "first": 2, "destination_port": 0,
                                  "acknowledged": 0})],
               "holding": [(KEY, {"live": 1, "moving": 1, "complete": 1, "held": 0})]}),
    Row(about="its type 3: our application is told the end",
        steps=[rx("back", p.notice(3, reason=8, endpoint=p.S2, endpoint_port=0), "shot",
                  _told_the_end())],
        config=EVERY, counts={"FRAMES_RECEIVED": 1, "ACKNOWLEDGED": 1, "HANDED_BACK": 1},
        traffic={2: (0, 1)},
        before={"connect": [(KEY, {**mine(**FOLLOWED)["connect"][0][1], "flags": MOVING})],
                "forward": [(KEY, forward(first=2, destination_port=0, migration=8))],
                "holding": [(KEY, {**IDLE, "moving": 1, "complete": 1})]},
        after={"connect": [], "forward": [], "holding": [],
               "left_behind": [(KEY, {"server": 2, "first": 2, "iss": p.ISS})]}),
    Row(about="its type 7: it stays, as if nothing had been asked",
        steps=[rx("back", p.notice(7, reason=TABLE_FULL, offer=8, endpoint=p.S2, endpoint_port=0),
                  "shot")],
        config=EVERY, counts={"FRAMES_RECEIVED": 1, "CHOSEN_AGAIN": 1}, traffic={2: (0, 1)},
        before={"connect": [(KEY, {**mine(**FOLLOWED)["connect"][0][1], "flags": MOVING})],
                "forward": [(KEY, forward(first=2, destination_port=0, migration=8))],
                "holding": [(KEY, {**IDLE, "moving": 1, "complete": 1})]},
        after={"connect": [(KEY, {"flags": 0})], "forward": [], "holding": []}),
    Row(about="the agent asks again, and no answer has come: the offer is repeated",
        steps=[_agent("shot", to_back(offered(to=p.MAC2, endpoint=p.S2, first=p.S2)))],
        config=EVERY, counts={"FRAMES_SENT": 1},
        before={"connect": [(KEY, {**mine(**FOLLOWED)["connect"][0][1], "flags": MOVING})],
                "forward": [(KEY, forward(first=2, destination_port=0, migration=8,
                                          offered_ms=-60))],
                "holding": [(KEY, {**IDLE, "moving": 1, "complete": 1})]}),
    _stays("it is not answered", row={"answered": 0}),
    _stays("where its answer ends is not known", row={"answer": _UNKNOWN}),
    _stays("its request is held", row={"flags": WAITING}),
    _stays("its body is not all here", row={"body_left": 9}),
    _stays("its socket has bytes to read", sockets=(replace(ALL_HEARD, copied_seq=HEAD_END - 1),)),
    _stays("its answer is not all acknowledged",
           sockets=(replace(ALL_HEARD, write_seq=SENT + 9, snd_nxt=SENT + 9),)),
    _stays("it has more than was read", sockets=(replace(ALL_HEARD, rcv_nxt=HEAD_END + 3,
                                                         copied_seq=HEAD_END + 3),)),
    _stays("nobody looks at its requests", row={"follow": 0}),
]  # fmt: skip

FIRST_SERVER = [
    Row(about="an endpoint comes back without an application: it waits here",
        steps=[rx("back", offered(to=p.BACK, by=p.MAC2, endpoint=p.SERVICE), "redirect",
                  to_back(p.notice(3, to=p.MAC2, by=p.BACK, reason=8, endpoint=p.SERVICE,
                                   endpoint_port=0)))],
        config=EVERY, counts={"FRAMES_RECEIVED": 1, "FRAMES_SENT": 1, "UNATTACHED": 1},
        traffic={2: (0, 1)}, before={"forward": [(KEY, forward(acknowledged=1, migration=7))]},
        after={"forward": [],
               "holding": [(KEY, {"live": 1, "hs": _GOES_ON, "iss": p.ISS, "irs": p.IRS,
                                  "held": 0, "acknowledged": 0, "moving": 0,
                                  "window": 502})]}),
    Row(about="from another server than we know it at: it has gone on since",
        steps=[rx("back", offered(to=p.BACK, by=p.MAC2, endpoint=p.SERVICE), "redirect",
                  to_back(p.notice(3, to=p.MAC2, by=p.BACK, reason=8, endpoint=p.SERVICE,
                                   endpoint_port=0)))],
        config=EVERY, counts={"FRAMES_RECEIVED": 1, "FRAMES_SENT": 1, "UNATTACHED": 1},
        traffic={3: (0, 1)},
        before={"forward": [(KEY, forward(acknowledged=1, migration=7, server=3))]},
        after={"forward": [], "holding": [(KEY, {"live": 1})]}),
    Row(about="an owner denies a connection, and owners are asked for: its next packet finds it",
        steps=[rx("back", p.notice(7, reason=constant("IPOS_REFUSE_UNKNOWN"), iss=p.ISS + 1),
                  "drop")],
        config=replace(EVERY, locates=100), counts={"FRAMES_RECEIVED": 1}, traffic={2: (0, 1)},
        before={"forward": [(KEY, forward(acknowledged=1, offered_ms=-2000))]},
        after={"forward": []}),
    Row(about="the same offer again: the same answer",
        steps=[rx("back", offered(to=p.BACK, by=p.MAC2, endpoint=p.SERVICE), "redirect",
                  to_back(p.notice(3, to=p.MAC2, by=p.BACK, reason=8, endpoint=p.SERVICE,
                                   endpoint_port=0)))],
        config=EVERY, counts={"FRAMES_RECEIVED": 1, "FRAMES_SENT": 1},
        before={"holding": [(KEY, {**IDLE, "migration": 8})]}),
    Row(about="and when it has gone on since",
        steps=[rx("back", offered(to=p.BACK, by=p.MAC2, endpoint=p.SERVICE), "redirect",
                  to_back(p.notice(3, to=p.MAC2, by=p.BACK, reason=8, endpoint=p.SERVICE,
                                   endpoint_port=0)))],
        config=EVERY, counts={"FRAMES_RECEIVED": 1, "FRAMES_SENT": 1},
        before={"forward": [(KEY, forward(server=3, migration=9))]}),
    *(Row(about=f"an endpoint that comes back, {text}: refused",
          steps=[rx("back", offered(to=p.BACK, by=p.MAC2, endpoint=p.SERVICE), "redirect",
                    to_back(p.notice(7, to=p.MAC2, by=p.BACK, reason=TUPLE_LIVE, offer=8,
                                     endpoint=p.SERVICE, endpoint_port=0)))],
          config=EVERY, counts={"FRAMES_RECEIVED": 1, "FRAMES_SENT": 1, "REFUSED": 1},
          before=before)
      for text, before in (
          ("of which nothing is known", {}),
          ("that has not gone on", {"forward": [(KEY, forward(acknowledged=1, migration=8))]}),
          ("whose owner has not taken it yet", {"forward": [(KEY, forward())]}),
          ("of another incarnation", {"forward": [(KEY, forward(acknowledged=1, iss=9))]}))),
]  # fmt: skip


def _agent_gives(verdict: str, *sent: Out, to: int = 2) -> Step:
    """The agent names a connection that waits here, and the server that has its address."""
    frame = p.notice(3, endpoint=f"0.0.0.{to}")
    return Step(hook="tc", where="front", mark=MARK_LATE, frame=frame, verdict=verdict, sent=sent)


_GIVEN = forward(destination_port=0, migration=8, first=1)
GIVEN_ON = [
    Row(about="the agent: an idle connection that waits here goes where its address is",
        steps=[_agent_gives("shot", to_back(offered(to=p.MAC2, endpoint=p.S2, first=p.SERVICE)))],
        config=EVERY, counts={"FRAMES_SENT": 1}, traffic={2: (1, 0)},
        before={"holding": [(KEY, {**IDLE, "migration": 7})]},
        after={"forward": [(KEY, {"server": 2, "destination_port": 0, "acknowledged": 0})],
               "holding": [(KEY, {"complete": 1, "live": 1})]}),
    Row(about="the agent: not to ourselves", steps=[_agent_gives("shot", to=1)], config=EVERY,
        counts={}, before={"holding": [(KEY, IDLE)]}),
    Row(about="the agent: not when bytes of its next request are here",
        steps=[_agent_gives("shot")], config=EVERY, counts={},
        before={"holding": [(KEY, {**IDLE, "held": 3, "chunks": [16]})]}),
    Row(about="the server that has its address has taken it: nothing is left here",
        steps=[rx("back", p.notice(3, reason=8, endpoint=p.S2, endpoint_port=0), "drop")],
        config=EVERY, counts={"FRAMES_RECEIVED": 1, "ACKNOWLEDGED": 1, "HANDED_ON": 1},
        traffic={2: (0, 1)},
        before={"forward": [(KEY, _GIVEN)], "holding": [(KEY, {**IDLE, "complete": 1})]},
        after={"forward": [], "holding": []}),
    Row(about="it does not take it: it waits on here",
        steps=[rx("back", p.notice(7, reason=TUPLE_LIVE, offer=8, endpoint=p.S2,
                                   endpoint_port=0), "shot")],
        config=EVERY, counts={"FRAMES_RECEIVED": 1, "CHOSEN_AGAIN": 1}, traffic={2: (0, 1)},
        before={"forward": [(KEY, _GIVEN)], "holding": [(KEY, {**IDLE, "complete": 1})]},
        after={"forward": [], "holding": [(KEY, {"complete": 0, "live": 1})]}),
    Row(about="an endpoint without an application comes where its address is held now",
        steps=[rx("back", offered(to=p.BACK, by=p.MAC2, endpoint=p.SERVICE), "redirect",
                  to_back(p.notice(3, to=p.MAC2, by=p.BACK, reason=8, endpoint=p.SERVICE,
                                   endpoint_port=0)))],
        config=replace(EVERY, arp="ANSWER"),
        counts={"FRAMES_RECEIVED": 1, "FRAMES_SENT": 1, "UNATTACHED": 1},
        after={"holding": [(KEY, {"live": 1, "hs": _GOES_ON, "iss": p.ISS, "irs": p.IRS})]}),
]  # fmt: skip


def _waits(about: str, step: Step, counts: dict[str, int], **fields: Any) -> Row:
    """What the client of an idle connection sends."""
    return Row(about=f"an idle connection without an application: {about}", steps=[step],
               counts=counts, **{"config": AWAY, "before": {"holding": [(KEY, IDLE)]},
                                 **fields})  # fmt: skip


WAITS = [
    _waits("its next request is decided, and goes on from its numbers",
           rx("front", p.from_router(_ASKS), "shot",
              to_back(offers.connection(migration=1, request=len(p.HEAD), rcv_nxt=HEAD_END,
                                        acknowledged=len(p.HEAD), snd_nxt=SENT,
                                        first=p.SERVICE)),
              to_back(p.sent_packet(piece(p.HEAD, len(p.HEAD), ack=SENT), to=p.MAC2,
                                    endpoint=p.S2))),
           {"HELD": 1, "MIGRATED": 1, "FRAMES_SENT": 2}, traffic={2: (1, 0)},
           after={"forward": [(KEY, {"server": 2, "iss": p.ISS, "irs": p.IRS, "first": 1})],
                  "holding": [(KEY, {"held": len(p.HEAD), "complete": 1, "live": 1})]}),
    _waits("a SYN on its ports is answered by an ACK", rx(
        "front", p.syn(), "redirect", to_front(p.answer(
            "A", seq=SENT, ack=HEAD_END, window=-(-p.WINDOW >> p.OUR_SCALE),
            options=p.echo(0, p.TS)))), {"ACK_REPEATED": 1}),
    _waits("a keepalive", rx("front", p.client("A", seq=HEAD_END - 1, ack=SENT), "redirect",
                             to_front(p.answer("A", seq=SENT, ack=HEAD_END,
                                               window=-(-p.WINDOW >> p.OUR_SCALE),
                                               options=p.echo(p.OUR_TS, p.TS_LATER)))),
           {"KEEPALIVE_ANSWERED": 1}),
    _waits("the cookie of its handshake opens nothing", rx("front", p.client("A"), "drop"),
           {"DROP_NO_COOKIE": 1}),
    _waits("its client closes", rx(
        "front", p.client("FA", seq=HEAD_END, ack=SENT), "redirect", to_front(p.answer(
            "FA", seq=SENT, ack=HEAD_END + 1, window=-(-p.WINDOW >> p.OUR_SCALE),
            options=p.echo(p.OUR_TS, p.TS_LATER)))), {"FIN_ANSWERED": 1},
           after={"holding": [], "temporary": [(KEY, {
               "state": CLOSED, "reason": constant("IPOS_CLOSED_IDLE"), "hs": _GOES_ON | {
                   "iss": p.ISS, "irs": p.IRS}, "client_end": HEAD_END + 1})]}),
    _waits("its client has closed, and our FIN was lost", rx(
        "front", p.client("FA", seq=HEAD_END, ack=SENT), "redirect", to_front(p.answer(
            "FA", seq=SENT, ack=HEAD_END + 1, window=-(-p.WINDOW >> p.OUR_SCALE),
            options=p.echo(p.OUR_TS, p.TS_LATER)))), {"FIN_REPEATED": 1},
           before={"temporary": [(KEY, {
               "state": CLOSED, "reason": constant("IPOS_CLOSED_IDLE"), "hs": HANDSHAKE,
               "client_end": HEAD_END + 1})]}),
    _waits("its client resets", rx("front", p.client("R", seq=HEAD_END), "drop"), {"ABSORBED": 1},
           after={"holding": [], "temporary": [(KEY, {"state": CLOSED, "hs": HANDSHAKE})]}),
    _waits("anybody else resets", rx("front", p.client("R", seq=HEAD_END + 9), "drop"),
           {"DROP_BAD_SEQUENCE": 1}),
    _waits("no room for what comes: it waits on", rx(
        "front", p.client("A", b"GET", seq=HEAD_END, ack=SENT), "shot"), {"DROP_HOLD_FULL": 1},
           pieces=0),
]  # fmt: skip

# A connection that is decided once, whose socket is at rest, and whose application spoke last.
UNREAD = replace(ALL_HEARD, sent=2, spoke=7, heard=7)
_DRAINS = Config(
    drains=True, candidates=(1, 2), states=((1, "DRAIN"), (2, "READY"), (3, "READY"))
)  # fmt: skip


def _unread(about: str, *sent: Out, data: bytes = p.HEAD, seq: int = HEAD_END,
            **fields: Any) -> Row:  # fmt: skip
    """The next segment of such a connection."""
    frame = p.from_router(p.ip("PA", data, seq=seq, ack=SENT))
    return Row(about=f"a server drains that decides once: {about}",
               steps=[rx("front", frame, "shot" if sent else "to kernel", *sent)],
               **{"counts": {}, "config": _DRAINS, "before": local(), "sockets": (UNREAD,),
                  "native_only": _NOBODY_LOOKS, **fields})  # fmt: skip


JOINS = [
    _unread("a whole head is the next request, which moves",
            to_back(offers.connection(migration=1, request=len(p.HEAD), rcv_nxt=HEAD_END,
                                      acknowledged=len(p.HEAD), snd_nxt=SENT, first=p.SERVICE)),
            to_back(p.sent_packet(piece(p.HEAD, len(p.HEAD), ack=SENT), to=p.MAC2,
                                  endpoint=p.S2)),
            counts={"JOINED": 1, "HELD": 1, "MIGRATED": 1, "FRAMES_SENT": 2}, traffic={2: (1, 0)},
            after={"local": [(KEY, {"flags": MOVING | WAITING, "follow": LENGTH,
                                    "request_end": HEAD_END, "read_end": HEAD_END,
                                    "given": HEAD_END, "answer_next": SENT, "heard": SENT,
                                    "client_mac": ROUTER})],
                   "forward": [(KEY, {"server": 2})], "holding": [(KEY, {"moving": 1})]}),
    _unread("part of a head may be anything", data=p.HEAD[:-1]),
    _unread("a frame of WebSocket", data=b"\x81\x85abcdhello"),
    _unread("its application has not answered", sockets=(replace(UNREAD, spoke=6),)),
    _unread("its application has said nothing yet", sockets=(replace(UNREAD, sent=0),)),
    _unread("its answer is not all acknowledged",
            sockets=(replace(UNREAD, write_seq=SENT + 1, snd_nxt=SENT + 1),)),
    _unread("its application has not read all",
            sockets=(replace(UNREAD, copied_seq=HEAD_END - 1),)),
    _unread("a server that does not drain looks at nothing", config=replace(_DRAINS, drains=False)),
    _unread("what is opaque by its configuration is not read",
            config=replace(_DRAINS, mode="TCP")),
    _unread("nor what is TLS", config=replace(_DRAINS, mode="TLS")),
]  # fmt: skip

ROWS = [*OWNER, *FIRST_SERVER, *WAITS, *JOINS, *GIVEN_ON]
