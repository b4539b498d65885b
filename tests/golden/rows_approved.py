# SPDX-License-Identifier: Apache-2.0
"""Bytes of later requests that our kernel must not be given, or not yet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ipos.abi.layout import constant
from native.values import Socket, SocketState
from tests.support.golden import packets as p
from tests.support.golden.machine import LISTENER
from tests.support.golden.row import Row, Step, into_front, rx, to_front
from tests.support.golden.rows_close import (
    CLIENT_CLOSED,
    FIN,
    SENT,
    SERVER_CLOSED,
    kernel_reset,
    local,
)
from tests.support.golden.rows_handshake import KEY
from tests.support.golden.rows_migration import HEAD_END
from tests.support.golden.rows_move import (
    ANSWERED,
    AWAY,
    CHUNKED,
    EVERY,
    FOLLOWED,
    LENGTH,
    PIECE,
    ROUND,
)

READ_END = HEAD_END + len(p.HEAD)
MARK: dict[str, Any] = {
    "request_end": HEAD_END, "read_end": HEAD_END, "asked": 1, "follow": LENGTH,
}  # fmt: skip
READ: dict[str, Any] = {
    **FOLLOWED, "request_end": READ_END, "read_end": READ_END, "given": READ_END, "asked": 2,
    "marks_used": 1, "marks": [MARK],
}  # fmt: skip
REST = p.HEAD + b"POST"
ANOTHER = 999  # a CPU that no machine of a test has


def _next(flags: str = "PA", data: bytes = p.HEAD, **fields: Any) -> bytes:
    return p.client(flags, data, **{"seq": HEAD_END, "ack": SENT, **fields})


def _refused(about: str, frame: bytes, counts: dict[str, int], **fields: Any) -> Row:
    """A head that is not looked at; the same in our kernel would be thrown away."""
    return Row(about=about, steps=[rx("front", frame, "shot")], counts=counts, config=EVERY,
               before=local(**FOLLOWED), **{"sockets": (ANSWERED,), **fields})  # fmt: skip


NEVER = [
    _refused("the next head with a wrong checksum", _next(damage=7), {"DROP_BAD_CHECKSUM": 1}),
    _refused("the next head with an acknowledgement of what we have not sent",
             _next(ack=SENT + 1), {"DROP_BAD_ACK": 1}),
    _refused("the next head with an acknowledgement from long ago", _next(ack=SENT - 100_000),
             {"DROP_BAD_ACK": 1}),
    _refused("the next head without an acknowledgement", _next("P"), {"DROP_BAD_ACK": 1}),
    _refused("the next head with a timestamp before the last one", _next(), {"DROP_OLD": 1},
             sockets=(replace(ANSWERED, ts_recent=p.TS_LATER + 1),),
             native_only="a socket's last timestamp needs a peer"),
]  # fmt: skip

NOT_YET = [
    Row(about="the next head again, and our kernel has it: it goes up as it is",
        steps=[rx("front", _next(), "to kernel")], counts={}, config=AWAY, before=local(**READ),
        sockets=(replace(ANSWERED, rcv_nxt=READ_END, copied_seq=READ_END),)),
    Row(about="a head in place of one that was read, and our kernel has not: once round first",
        steps=[rx("front", _next(), "redirect", into_front(_next()))], counts={"WENT_ROUND": 1},
        config=AWAY, before=local(**READ), sockets=(ANSWERED,)),
    Row(about="it still has not: it is read anew, and is another server's",
        steps=[Step(hook="inward", where="front", frame=_next(), mark=ROUND + 1, verdict="shot")],
        counts={"READ_AGAIN": 1, "HELD": 1}, config=AWAY,
        before=local(**{**READ, "answered": 0}), sockets=(ANSWERED,),
        after={"local": [(KEY, {"request_end": HEAD_END, "asked": 1, "marks_used": 0})],
               "holding": [(KEY, {"held": len(p.HEAD), "complete": 1})]}),
    Row(about="it still has not, and another CPU gave it just now: it may be on its way",
        steps=[Step(hook="inward", where="front", frame=_next(), mark=ROUND + 1,
                    verdict="redirect", sent=(into_front(_next()),))],
        counts={"WENT_ROUND": 1}, config=AWAY, sockets=(ANSWERED,),
        before=local(**READ, given_by=ANOTHER, given_ms=-50)),
    Row(about="another CPU gave it long ago: that is no proof that it is lost, so both are reset",
        steps=[Step(hook="inward", where="front", frame=_next(), mark=ROUND + 1, verdict="shot",
                    sent=(into_front(kernel_reset(p.ip("PA", p.HEAD, seq=HEAD_END, ack=SENT),
                                                  HEAD_END)),
                          to_front(p.reset(seq=SENT))))],
        counts={"READ_LOST": 1, "CLOSED": 1, "RST_SENT": 1, "TIME_WAIT_ENDED": 1}, config=AWAY,
        traffic={1: (0, 1)}, before=local(**READ, given_by=ANOTHER, given_ms=-1_001),
        sockets=(ANSWERED,), native_only="its frames leave in another order than they are told in",
        after={"local": [], "temporary": [(KEY, {"state": constant("IPOS_TEMP_RESET")})]}),
    Row(about="it waits for the process that has the socket: nothing may take its place",
        steps=[Step(hook="inward", where="front", frame=_next(), mark=ROUND + 1, verdict="shot")],
        counts={"DROP_AHEAD": 1}, config=AWAY, before=local(**READ),
        sockets=(replace(ANSWERED, waiting=500),),
        native_only="no process has a socket of the test's"),
    Row(about="but what follows it is read",
        steps=[Step(hook="inward", where="front", frame=_next(seq=READ_END), mark=ROUND + 1,
                    verdict="ok")],
        counts={}, config=EVERY, before=local(**READ),
        sockets=(replace(ANSWERED, waiting=500),),
        native_only="no process has a socket of the test's",
        after={"local": [(KEY, {"request_end": READ_END + len(p.HEAD), "asked": 3,
                                "marks_used": 2})]}),
    Row(about="a body whose head our kernel owes: once round first",
        steps=[rx("front", _next(data=b"body", seq=READ_END), "redirect",
                  into_front(_next(data=b"body", seq=READ_END)))],
        counts={"WENT_ROUND": 1}, config=EVERY,
        before=local(**{**READ, "request_end": READ_END + 4}), sockets=(ANSWERED,)),
    Row(about="a body ahead of a gap goes up, and nothing behind the body",
        steps=[Step(hook="inward", where="front", mark=ROUND + 8, verdict="ok",
                    frame=_next(data=b"body" + p.HEAD, seq=HEAD_END + 9),
                    left=_next("A", b"body", seq=HEAD_END + 9))],
        counts={}, config=EVERY, before=local(**{**FOLLOWED, "request_end": HEAD_END + 13}),
        after={"local": [(KEY, {"marks_used": 0, "request_end": HEAD_END + 13})]},
        sockets=(ANSWERED,)),
    Row(about="data of a chunk is not looked at, nor waited for",
        steps=[rx("front", _next(data=b"data", seq=HEAD_END + 9), "to kernel")], counts={},
        config=EVERY, before=local(**{**FOLLOWED, "follow": CHUNKED, "chunk": 3,
                                      "request_end": HEAD_END + 20}),
        after={"local": [(KEY, {"request_end": HEAD_END + 20})]}, sockets=(ANSWERED,)),
    Row(about="a piece of a held request: what follows it comes by once more",
        steps=[Step(hook="tc", where="front", frame=_next(data=REST), mark=PIECE, verdict="ok",
                    sent=(into_front(_next(data=REST)),), left=_next("A", p.HEAD))],
        counts={"WENT_ROUND": 1}, config=EVERY, before=local(**READ),
        after={"local": [(KEY, {"request_end": READ_END, "given": READ_END})]},
        sockets=(ANSWERED,)),
    Row(about="a packet that went round, and its endpoint has gone",
        steps=[Step(hook="tc", where="front", frame=_next(), mark=ROUND + 1, verdict="shot")],
        counts={"DROP_OUT_OF_ORDER": 1}, config=EVERY, sockets=(LISTENER,)),
]  # fmt: skip

CLOSED_HERE: dict[str, Any] = {**SERVER_CLOSED, "server_fin_acked": 1}
WAITS_FOR_FIN: Socket = replace(ANSWERED, state=SocketState.TIME_WAIT)

BLIND = [
    Row(about="a stranger's FIN at a number long past: it tells nothing",
        steps=[rx("front", p.client("FA", seq=HEAD_END - 100_000, ack=SENT), "to kernel")],
        counts={}, before=local(), sockets=(ANSWERED,)),
    Row(about="a stranger's FIN right before what our kernel expects",
        steps=[rx("front", p.client("FA", seq=HEAD_END - 1, ack=SENT), "to kernel")],
        counts={}, before=local(), sockets=(ANSWERED,)),
    Row(about="a stranger's FIN with an acknowledgement of what we have not sent",
        steps=[rx("front", p.client("FA", seq=HEAD_END, ack=SENT + 1000), "to kernel")],
        counts={}, before=local(), sockets=(ANSWERED,)),
    Row(about="the client's FIN where our kernel expects it",
        steps=[rx("front", p.client("FA", seq=HEAD_END, ack=SENT), "to kernel")], counts={},
        before=local(), sockets=(ANSWERED,),
        after=local(client_fin=HEAD_END + 1, client_fin_seen=1)),
    *(Row(about=f"a FIN {text}, of a closed socket that waits for the client's",
          steps=[rx("front", p.client("FA", seq=HEAD_END + at, ack=SENT + 1), "to kernel")],
          counts={}, before=local(**CLOSED_HERE), sockets=(LISTENER, WAITS_FOR_FIN),
          native_only="a socket in TIME_WAIT needs a peer")
      for text, at in (("at a number long past", -100_000), ("a byte ahead", 1),
                       ("a byte behind", -2))),
    Row(about="and the one it waits for: a RST of ours ends TIME_WAIT",
        steps=[rx("front", p.from_router(FIN), "to kernel",
                  into_front(kernel_reset(FIN, HEAD_END + 1)))],
        counts={"TIME_WAIT_ENDED": 1}, before=local(**CLOSED_HERE),
        sockets=(LISTENER, WAITS_FOR_FIN),
        after=local(**CLOSED_HERE, client_fin=HEAD_END + 1, client_fin_seen=1),
        native_only="a socket in TIME_WAIT needs a peer"),
    *(Row(about=f"a second FIN {text} the one that our socket has had",
          steps=[rx("front", p.client("FA", seq=HEAD_END + at, ack=SENT), "to kernel")],
          counts={}, before=local(**CLIENT_CLOSED),
          sockets=(replace(ANSWERED, state=SocketState.CLOSE_WAIT, rcv_nxt=HEAD_END + 1),),
          native_only="a socket in CLOSE_WAIT needs a peer")
      for text, at in (("behind", 1000), ("like", 0))),
    Row(about="an acknowledgement beyond our FIN ends nothing",
        steps=[rx("front", p.client("A", seq=HEAD_END + 1, ack=SENT + 5), "to kernel")], counts={},
        before=local(client_fin=HEAD_END + 1, client_fin_seen=1, server_fin=SENT + 1,
                     server_fin_seen=1, snd_nxt=SENT + 1)),
]  # fmt: skip

ROWS = [*NEVER, *NOT_YET, *BLIND]
