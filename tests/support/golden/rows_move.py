# SPDX-License-Identifier: Apache-2.0
"""Connections that move between two requests: what each server does with each frame."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ipos.abi.layout import constant
from ipos.agent.expiry.notices import MARK_LATE
from native.values import Socket
from tests.support.golden import offers
from tests.support.golden import packets as p
from tests.support.golden.answer_bytes import acked, answered, response
from tests.support.golden.machine import Config, network
from tests.support.golden.row import Row, Step, into_front, rx, to_back, to_front
from tests.support.golden.rows_close import SENT, local, out
from tests.support.golden.rows_handshake import CLOSED, HANDSHAKE, KEY, RESET
from tests.support.golden.rows_migration import HEAD_END
from tests.support.golden.rows_request import SOCKET, forward, piece

LENGTH = constant("IPOS_FOLLOW_LENGTH")
OURS = 0x69704F54
MOVING, WAITING = constant("IPOS_EP_MOVING"), constant("IPOS_EP_WAITING")
ROUTER = bytes.fromhex(p.ROUTER.replace(":", ""))
EVERY = Config(decide="REQUEST")
AWAY = replace(EVERY, candidates=(2,))
FOLLOWED: dict[str, Any] = {
    "follow": LENGTH, "request_end": HEAD_END, "asked": 1, "answered": 1, "answer_next": SENT,
    "read_end": HEAD_END, "given": HEAD_END, "heard": SENT,
    "client_mac": ROUTER,
}  # fmt: skip
ROUND, PIECE = 0x69704FC0, 0x69704F5E
AHEAD = p.client("PA", b"rest", seq=HEAD_END + 9, ack=SENT)
NEXT = p.ip("PA", p.HEAD, seq=HEAD_END, ack=SENT)
ANSWERED: Socket = replace(SOCKET, rcv_nxt=HEAD_END, copied_seq=HEAD_END, snd_nxt=SENT,
                           write_seq=SENT)  # fmt: skip
ELSEWHERE = {"server": 3, "destination_ip": network(p.S3), "destination_port": p.APPLICATION,
             "first": 2, "iss": p.ISS, "migration": 7, "told_ns": 0}  # fmt: skip
LATE = -60_000_000
_LATER = p.answer("A", seq=SENT + 7, ack=HEAD_END, window=500)
_ALIVE = p.answer("A", seq=SENT - 1, ack=HEAD_END, window=500)


def _swallowed(frame: bytes) -> Step:
    return Step(hook="out", where="front", frame=frame, verdict="redirect",
                sent=(into_front(frame),))  # fmt: skip


WAITS: dict[str, Any] = {"holding": [(KEY, {
    "hs": {**HANDSHAKE, "iss": SENT - 1, "irs": HEAD_END - 1}, "iss": p.ISS, "irs": p.IRS,
    "moving": 1, "held": len(p.HEAD), "complete": 1, "looked": 1, "client_mac": ROUTER,
    "service": 1, "chunks": (1, *[0] * 14), "window": 502,
})]}  # fmt: skip
# Read again, it would be this server's: its routes have changed since it was read.
HEAD_HELD: dict[str, Any] = {"hold_pool": [(0, {"bytes": p.HEAD})]}


def _bounced(packet: bytes) -> bytes:
    """A type 2 to s3, with one hop less to live."""
    inner = bytearray(packet)
    inner[8] -= 1
    return p.sent_packet(p.ip_checksum_right(bytes(inner)), to=p.MAC3, endpoint=p.S3)


def _offer() -> list[Any]:
    """The second request with its endpoint, to s2."""
    told = offers.connection(
        migration=1,
        request=len(p.HEAD),
        acknowledged=len(p.HEAD),
        rcv_nxt=HEAD_END,
        snd_nxt=SENT,
        first=p.SERVICE,
    )
    inner = piece(p.HEAD, len(p.HEAD), ack=SENT)
    return [to_back(told), to_back(p.sent_packet(inner, to=p.MAC2, endpoint=p.S2))]


BEHIND_BODY = b"\r\n" * 2
NEXT_BEHIND = p.ip("PA", BEHIND_BODY + p.HEAD, seq=HEAD_END, ack=SENT)


def _offer_behind() -> list[Any]:
    """The request without the empty lines before it."""
    told = offers.connection(
        held=len(p.HEAD), migration=1, request=len(p.HEAD), rcv_nxt=HEAD_END, snd_nxt=SENT,
        acknowledged=len(BEHIND_BODY) + len(p.HEAD), skipped=len(BEHIND_BODY),
        first=p.SERVICE,
    )  # fmt: skip
    inner = piece(p.HEAD, len(p.HEAD) + len(BEHIND_BODY), ack=SENT)
    return [to_back(told), to_back(p.sent_packet(inner, to=p.MAC2, endpoint=p.S2))]


OWNER = [
    Row(about="empty lines before a request that moves do not travel",
        steps=[rx("front", p.from_router(NEXT_BEHIND), "shot", *_offer_behind())],
        counts={"HELD": 1, "MIGRATED": 1, "FRAMES_SENT": 2}, config=AWAY, traffic={2: (1, 0)},
        before=local(**FOLLOWED), sockets=(ANSWERED,),
        native_only="TEST_RUN sees no socket of the test's",
        after={"local": [(KEY, {"flags": MOVING | WAITING})],
               "forward": [(KEY, {"server": 2, "acknowledged": 0, "first": 1,
                                  "request_end": HEAD_END + len(BEHIND_BODY) + len(p.HEAD)})],
               "holding": [(KEY, {"held": len(BEHIND_BODY) + len(p.HEAD), "skip": 4})]}),
    Row(about="they are our own application's affair if the request stays",
        steps=[rx("front", p.from_router(NEXT_BEHIND), "to kernel")], counts={}, config=EVERY,
        before=local(**FOLLOWED), sockets=(ANSWERED,),
        after={"local": [(KEY, {"request_end": HEAD_END + len(BEHIND_BODY) + len(p.HEAD)})]}),
    Row(about="the next request stays: our kernel gets it, and what follows is looked at",
        steps=[rx("front", p.from_router(NEXT), "to kernel")], counts={}, config=EVERY,
        before=local(**FOLLOWED), sockets=(ANSWERED,),
        after={"local": [(KEY, {"request_end": HEAD_END + len(p.HEAD), "asked": 2,
                                "read_end": HEAD_END + len(p.HEAD), "marks_used": 1,
                                "given": HEAD_END + len(p.HEAD)})]}),
    Row(about="two pipelined requests stay",
        steps=[rx("front", p.client("PA", p.HEAD * 2, seq=HEAD_END, ack=SENT), "to kernel")],
        counts={}, config=EVERY, before=local(**FOLLOWED), sockets=(ANSWERED,),
        after={"local": [(KEY, {"request_end": HEAD_END + 2 * len(p.HEAD), "marks_used": 1})]}),
    Row(about="bytes ahead of the next head: what fills the gap may come by before them",
        steps=[rx("front", AHEAD, "redirect", into_front(AHEAD))],
        counts={"WENT_ROUND": 1}, config=EVERY, before=local(**FOLLOWED), sockets=(ANSWERED,)),
    Row(about="it does not: they come again",
        steps=[Step(hook="inward", where="front", frame=AHEAD, mark=ROUND + 8, verdict="shot")],
        counts={"DROP_AHEAD": 1}, config=EVERY, before=local(**FOLLOWED), sockets=(ANSWERED,)),
    Row(about="the next request is another server's, and all is quiet: types 1 and 2",
        steps=[rx("front", p.from_router(NEXT), "shot", *_offer())],
        counts={"HELD": 1, "MIGRATED": 1, "FRAMES_SENT": 2}, config=AWAY, traffic={2: (1, 0)},
        before=local(**FOLLOWED), sockets=(ANSWERED,),
        native_only="TEST_RUN sees no socket of the test's",
        after={"local": [(KEY, {"flags": MOVING | WAITING})],
               "forward": [(KEY, {"server": 2, "acknowledged": 0, "iss": p.ISS, "irs": p.IRS,
                                  "first": 1})],
               "holding": [(KEY, {"held": len(p.HEAD), "moving": 1, "complete": 1})]}),
    Row(about="the next request is another server's, and we have not answered: held",
        steps=[rx("front", p.from_router(NEXT), "shot")], counts={"HELD": 1}, config=AWAY,
        before=local(**{**FOLLOWED, "answered": 0}), sockets=(ANSWERED,),
        after={"local": [(KEY, {"flags": WAITING, "request_end": HEAD_END})],
               "holding": [(KEY, {"held": len(p.HEAD), "complete": 1, "looked": 1})]}),
    Row(about="a byte behind a request that waits: it is kept, and nothing is read again",
        steps=[rx("front", p.client("PA", b"x", seq=HEAD_END + len(p.HEAD), ack=SENT), "shot")],
        counts={"HELD": 1}, config=EVERY, sockets=(ANSWERED,),
        before={**local(**{**FOLLOWED, "answered": 0}, flags=WAITING), **WAITS, **HEAD_HELD},
        after={"holding": [(KEY, {"held": len(p.HEAD) + 1, "complete": 1})]}),
    Row(about="a FIN somewhere ahead is no reason to wait: our socket has not had it",
        steps=[rx("front", p.from_router(NEXT), "shot", *_offer())],
        counts={"HELD": 1, "MIGRATED": 1, "FRAMES_SENT": 2}, config=AWAY, traffic={2: (1, 0)},
        before=local(**FOLLOWED, client_fin_seen=1, client_fin=HEAD_END + 9999),
        sockets=(ANSWERED,), native_only="TEST_RUN sees no socket of the test's",
        after={"local": [(KEY, {"flags": MOVING | WAITING})],
               "forward": [(KEY, {"server": 2})], "holding": [(KEY, {"complete": 1})]}),
    *(Row(about=f"the agent: a later request has waited, {text}",
          steps=[Step(hook="tc", where="front", mark=MARK_LATE, frame=p.notice(4), verdict="shot",
                      sent=(into_front(p.from_router(piece(b"", at, fin=True, ack=SENT),
                                                     pad=False)),
                            to_front(p.reset(seq=SENT))) * expired)],
          counts={"WAITED": 1, "CLOSED": 1, "RST_SENT": 1} if expired else {},
          config=Config(decide="REQUEST", waiting_s=60), traffic={1: (0, 1)} if expired else {},
          before={**local(**FOLLOWED, flags=WAITING),
                  "holding": [(KEY, {**WAITS["holding"][0][1], "created_ns": -age})]},
          sockets=(replace(ANSWERED, rcv_nxt=p.IRS + 1 + at, write_seq=SENT + 1),),
          native_only="TEST_RUN sees no socket of the test's",
          after={"local": [], "holding": [], "left_behind": [(KEY, {"iss": p.ISS})],
                 "temporary": [(KEY, {"state": RESET})]} if expired else {})
      for text, at, age, expired in (
          ("for its turn: application and client are told the end", len(p.HEAD), 61 * 10**9, 1),
          ("for bytes that are missing: the end is where our kernel is", 9, 61 * 10**9, 1),
          ("but not long enough", len(p.HEAD), 59 * 10**9, 0))),
    Row(about="what the application says while it moves ends on our own ingress",
        steps=[Step(hook="out", where="front",
                    frame=p.answer("PA", seq=SENT, ack=HEAD_END, window=500), verdict="redirect",
                    sent=(into_front(p.answer("PA", seq=SENT, ack=HEAD_END, window=500)),))],
        counts={"DROP_MOVED": 1}, config=EVERY, before=local(**FOLLOWED, flags=MOVING)),
    Row(about="and there it is dropped",
        steps=[Step(hook="inward", where="front", mark=0x69704F55,
                    frame=p.answer("PA", seq=SENT, ack=HEAD_END, window=500), verdict="shot")],
        counts={}, config=EVERY),
    Row(about="what we made for our own kernel goes up as it is",
        steps=[Step(hook="inward", where="front", mark=0x69704F54, frame=p.client("FA", seq=9),
                    verdict="ok")],
        counts={}, config=EVERY, before={"left_behind": [(KEY, ELSEWHERE)]}),
    Row(about="what the iNIC says to a client leaves, though a socket was left behind",
        steps=[out(_LATER, mark=0x69704F54)], counts={}, config=EVERY,
        before={"left_behind": [(KEY, {**ELSEWHERE, "sent": SENT})]}),
    Row(about="what a socket left behind says ends here",
        steps=[_swallowed(_LATER)],
        counts={"DROP_MOVED": 1}, config=EVERY,
        before={"left_behind": [(KEY, {**ELSEWHERE, "sent": SENT})]}),
    Row(about="and so does its keepalive",
        steps=[_swallowed(_ALIVE)],
        counts={"DROP_MOVED": 1}, config=EVERY,
        before={"left_behind": [(KEY, {**ELSEWHERE, "sent": SENT})]}),
    Row(about="what is said on a successor of its ports leaves",
        steps=[out(_LATER)], counts={}, config=EVERY,
        before={"left_behind": [(KEY, {**ELSEWHERE, "sent": SENT + 0x1000_0000})]}),
    Row(about="the egress notes the way to the client",
        steps=[out(p.answer("A", seq=SENT, ack=HEAD_END, window=500))], counts={}, config=EVERY,
        before=local(**{**FOLLOWED, "client_mac": bytes(6)}),
        after={"local": [(KEY, {"client_mac": ROUTER})]}),
]  # fmt: skip

WRONG = b"GET / HTTP/1.1\r\nA : b\r\n\r\n"
WRONG_END = HEAD_END + len(WRONG)
TOLD = response("400 Bad Request", "white space between a header's name and the colon")
ANSWER_END = SENT + len(TOLD) + 1
LEFT = {"next": HEAD_END + 1, "iss": p.ISS}
ANSWERED_HERE: dict[str, Any] = {
    "hs": {**HANDSHAKE, "iss": SENT - 1, "irs": HEAD_END - 1}, "iss": p.ISS, "irs": p.IRS,
    "moving": 1,
    "held": len(WRONG), "acknowledged": len(WRONG), "complete": 1, "answer": len(TOLD),
    "client_end": WRONG_END, "client_mac": ROUTER, "server": 2, "port": p.APPLICATION,
}  # fmt: skip


def _wrong(flags: str = "PA", data: bytes = WRONG, **fields: Any) -> bytes:
    return p.ip(flags, data, **{"seq": HEAD_END, "ack": SENT, **fields})


CLOSING = _wrong("FA", b"", seq=WRONG_END, ack=ANSWER_END)

CLOSING_FRAME = p.ether(CLOSING, p.FRONT, p.MAC2, 0, 0)

REFUSED_LATER = [
    Row(about="a later head is refused, and all is quiet: FIN to our kernel, the answer out",
        steps=[rx("front", p.from_router(_wrong()), "shot",
                  into_front(p.from_router(piece(b"", len(p.HEAD), fin=True, ack=SENT), pad=False)),
                  to_front(answered(TOLD, seq=SENT, ack=WRONG_END)))],
        counts={"HELD": 1, "CLOSED": 1, "ANSWERED": 1, "AMBIGUOUS_SPACE_BEFORE_COLON": 1},
        config=EVERY, traffic={1: (0, 1)}, before=local(**FOLLOWED), sockets=(ANSWERED,),
        native_only="TEST_RUN sees no socket of the test's",
        after={"local": [], "left_behind": [(KEY, LEFT)],
               "holding": [(KEY, {"answer": len(TOLD), "client_end": WRONG_END, "server": 0})]}),
    Row(about="an answer before it is not over: the refused head waits",
        steps=[rx("front", p.from_router(_wrong()), "shot")], counts={"HELD": 1}, config=EVERY,
        before=local(**{**FOLLOWED, "answered": 0}), sockets=(ANSWERED,),
        after={"local": [(KEY, {"flags": WAITING})],
               "holding": [(KEY, {"held": len(WRONG), "complete": 1, "answer": 0})]}),
    Row(about="the answered client closes: its FIN out of a frame, to front's ingress first",
        steps=[rx("back", p.packet(CLOSING), "redirect", into_front(CLOSING_FRAME))],
        counts={"FRAMES_RECEIVED": 1, "DECAPSULATED": 1}, config=EVERY,
        before={"holding": [(KEY, ANSWERED_HERE)], "left_behind": [(KEY, LEFT)]}),
    Row(about="and from there: acknowledged, and the first server hears of the end",
        steps=[Step(hook="inward", where="front", frame=CLOSING_FRAME, verdict="redirect",
                    sent=(to_back(p.notice(4, to=p.MAC2, by=p.BACK, endpoint=p.SERVICE)),
                          to_front(acked(WRONG_END + 1, ANSWER_END))))],
        counts={"FRAMES_SENT": 1, "ANSWER_ACKED": 1}, config=EVERY,
        before={"holding": [(KEY, ANSWERED_HERE)], "left_behind": [(KEY, LEFT)]},
        after={"holding": [],
               "temporary": [(KEY, {"state": CLOSED, "hs": HANDSHAKE,
                                    "client_end": WRONG_END + 1})]}),
    Row(about="our answer passes egress, where a socket left behind would be silenced",
        steps=[Step(hook="out", where="front", mark=OURS, verdict="ok",
                    frame=answered(TOLD, seq=SENT, ack=WRONG_END))],
        counts={}, config=EVERY,
        before={"holding": [(KEY, ANSWERED_HERE)], "left_behind": [(KEY, LEFT)]}),
    Row(about="its client resets: the cookie opens nothing, and the first server hears of it",
        steps=[rx("back", p.packet(_wrong("RA", b"", seq=WRONG_END, ack=SENT)), "redirect",
                  to_back(p.notice(4, to=p.MAC2, by=p.BACK, endpoint=p.SERVICE)))],
        counts={"FRAMES_RECEIVED": 1, "FRAMES_SENT": 1}, config=EVERY,
        before={"holding": [(KEY, ANSWERED_HERE)], "left_behind": [(KEY, LEFT)]},
        after={"holding": [], "temporary": [(KEY, {"state": CLOSED, "client_end": WRONG_END})]}),
]  # fmt: skip

CONNECT, OPAQUE = constant("IPOS_FOLLOW_CONNECT"), constant("IPOS_FOLLOW_OPAQUE")
WRONG_CHUNK = constant("IPOS_CHUNK_WRONG")
UPGRADE, CHUNKED = constant("IPOS_FOLLOW_UPGRADE"), constant("IPOS_FOLLOW_CHUNKED")
ASKED, TAKEN = constant("IPOS_LEAVES_ASKED"), constant("IPOS_LEAVES_TAKEN")


def _answered(about: str, line: bytes, before: dict[str, Any], after: dict[str, Any]) -> Row:
    """What an answer to the request before makes of the connection."""
    data = line + b"\r\nContent-Length: 0\r\n\r\n"
    return Row(about=about, config=EVERY, counts={},
               before=local(**{**FOLLOWED, "answered": 0, **before}),
               steps=[out(p.answer("PA", seq=SENT, ack=HEAD_END, window=500, data=data))],
               after={"local": [(KEY, {"client_mac": ROUTER, **after})]})  # fmt: skip


def _came(
    about: str,
    data: bytes,
    verdict: str,
    before: dict[str, Any],
    *,
    left: bytes | None = None,
    again: bool = False,
    **fields: Any,
) -> Row:
    """What becomes of bytes behind the request before. again: they come by once more."""
    return Row(about=about, config=EVERY, before=local(**{**FOLLOWED, **before}),
               steps=[rx("front", p.client("PA", data, seq=HEAD_END, ack=SENT), verdict,
                         *([into_front(p.client("PA", data, seq=HEAD_END, ack=SENT))] * again),
                         left=left)],
               **{"counts": {"WENT_ROUND": 1} if again else {}, "sockets": (ANSWERED,),
                  **fields})  # fmt: skip


LEAVING = [
    _answered("CONNECT is taken: no HTTP from here on", b"HTTP/1.1 200 OK",
              {"follow": CONNECT}, {"follow": OPAQUE}),
    _answered("CONNECT is declined: an ordinary request", b"HTTP/1.1 403 No",
              {"follow": CONNECT}, {"follow": LENGTH, "answered": 1}),
    _answered("an upgrade is taken", b"HTTP/1.1 101 Yes", {"follow": UPGRADE}, {"follow": OPAQUE}),
    _answered("200 takes no upgrade", b"HTTP/1.1 200 OK", {"follow": UPGRADE},
              {"follow": LENGTH, "answered": 1}),
    _answered("taken before its chunks are all here: they are read on", b"HTTP/1.1 101 Yes",
              {"follow": CHUNKED, "leaves": ASKED}, {"follow": CHUNKED, "leaves": TAKEN}),
    _answered("declined before they are", b"HTTP/1.1 200 OK", {"follow": CHUNKED, "leaves": ASKED},
              {"follow": CHUNKED, "leaves": 0, "answered": 1}),
    _came("what follows CONNECT waits for the answer", p.HEAD, "shot",
          {"follow": CONNECT, "answered": 0}, counts={"DROP_AHEAD": 1},
          after={"local": [(KEY, {"marks_used": 0, "request_end": HEAD_END})]}),
    _came("what follows a tunnel's request goes up as it is", p.HEAD, "to kernel",
          {"follow": OPAQUE, "answered": 0}, after={"local": [(KEY, {"request_end": HEAD_END})]}),
    _came("the last chunk of a request to leave", b"0\r\n\r\n", "to kernel",
          {"follow": CHUNKED, "leaves": ASKED, "answered": 0},
          after={"local": [(KEY, {"follow": UPGRADE, "request_end": HEAD_END + 5})]}),
    _came("the last chunk, and it was taken before", b"0\r\n\r\n", "to kernel",
          {"follow": CHUNKED, "leaves": TAKEN, "answered": 0},
          after={"local": [(KEY, {"follow": OPAQUE, "request_end": HEAD_END + 5})]}),
    _came("the last chunk, and it was declined before", b"0\r\n\r\n" + p.HEAD, "to kernel",
          {"follow": CHUNKED},
          after={"local": [(KEY, {"follow": LENGTH, "request_end": HEAD_END + 5 + len(p.HEAD)})]}),
]  # fmt: skip


def _no_chunk(about: str, taken: bytes, behind: bytes) -> Row:
    """Chunks, and behind them what is none: our kernel gets the first, and nothing from there."""
    end = HEAD_END + len(taken)
    return _came(f"a trailer with {about}: nothing from there on is taken",
                 taken + behind + p.HEAD, "to kernel", {"follow": CHUNKED},
                 after={"local": [(KEY, {"follow": CHUNKED, "chunk": WRONG_CHUNK, "asked": 1,
                                         "request_end": end})]},
                 left=p.client("A", taken, seq=HEAD_END, ack=SENT), again=True)  # fmt: skip


LAST = b"00000000\r\n"
NO_CHUNKS = [
    _no_chunk("a bare LF where it ends", LAST, b"\n"),
    _no_chunk("a bare LF where a line begins", LAST, b"\nX: y\r\n\r\n"),
    _no_chunk("a CR that no LF follows", LAST + b"\r", b"\r\n"),
    _came("white space behind a chunk's size: read as nginx and HAProxy do",
          b"5  \r\nhello\r\n0\t;x\r\n\r\n" + p.HEAD, "to kernel", {"follow": CHUNKED},
          after={"local": [(KEY, {"follow": LENGTH, "request_end": HEAD_END + 20 + len(p.HEAD)})]}),
]  # fmt: skip

BEHIND = [
    Row(about="a packet for a connection we gave on: to its owner, with one hop less",
        steps=[rx("back", p.packet(NEXT), "redirect", to_back(_bounced(NEXT)))],
        counts={"FRAMES_RECEIVED": 1, "BOUNCED": 1}, config=EVERY,
        before={"left_behind": [(KEY, ELSEWHERE)]}),
    Row(about="it has gone round too often",
        steps=[rx("back", p.packet(p.ip("PA", p.HEAD, seq=HEAD_END, ttl=1)), "drop")],
        counts={"FRAMES_RECEIVED": 1, "DROP_LOOP": 1}, config=EVERY,
        before={"left_behind": [(KEY, ELSEWHERE)]}),
    Row(about="the first server still has not heard: type 6 once more",
        steps=[rx("back", p.packet(p.ip("A", seq=HEAD_END, ack=SENT)), "redirect",
                  to_back(p.notice(6, to=p.MAC2, by=p.BACK, reason=7, endpoint=p.S3)))],
        counts={"FRAMES_RECEIVED": 1, "FRAMES_SENT": 1}, config=EVERY,
        before={"left_behind": [(KEY, {**ELSEWHERE, "told_ns": LATE})]}),
]  # fmt: skip

FIRST_SERVER = [
    Row(about="type 6: the connection has another owner",
        steps=[rx("back", p.notice(6, reason=2, endpoint=p.S3), "drop")],
        counts={"FRAMES_RECEIVED": 1, "MOVE_TOLD": 1}, traffic={2: (0, 1), 3: (1, 0)},
        before={"forward": [(KEY, forward(acknowledged=1, migration=1))]},
        after={"forward": [(KEY, {"server": 3, "destination_ip": network(p.S3)})]}),
    Row(about="type 6 of a move before the last one",
        steps=[rx("back", p.notice(6, reason=1, endpoint=p.S3), "drop")],
        counts={"FRAMES_RECEIVED": 1, "DROP_FRAME_UNKNOWN": 1},
        before={"forward": [(KEY, forward(acknowledged=1, migration=1))]}),
    Row(about="type 6 of another incarnation",
        steps=[rx("back", p.notice(6, reason=2, iss=9, endpoint=p.S3), "drop")],
        counts={"FRAMES_RECEIVED": 1, "DROP_FRAME_ISS": 1},
        before={"forward": [(KEY, forward(acknowledged=1, migration=1))]}),
]  # fmt: skip

ROWS = [*OWNER, *REFUSED_LATER, *LEAVING, *NO_CHUNKS, *BEHIND, *FIRST_SERVER]
