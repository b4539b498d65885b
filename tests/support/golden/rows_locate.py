# SPDX-License-Identifier: Apache-2.0
"""Packets of connections that this server knows nothing of, and other servers' questions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from native.values import Socket
from tests.support.golden import locates
from tests.support.golden import packets as p
from tests.support.golden.machine import LISTENER, Config, network
from tests.support.golden.row import Row, into_front, rx, to_back, to_front
from tests.support.golden.rows_close import HERE, SENT, local, mine
from tests.support.golden.rows_handshake import ENDED, HANDSHAKE, KEY, OPENED, WAS_RESET
from tests.support.golden.rows_migration import HEAD_END
from tests.support.golden.rows_owner import ours
from tests.support.golden.rows_request import HOLDING, PENDING, SOCKET, forward, offered

_MS = 1_000_000
LOCATES = Config(locates=8)
RESETS = Config(locates=8, all_answer=True)
OPENS = Config(locates=8, asks=True, candidates=(2,))
ACK = p.ip("A", seq=HEAD_END, ack=SENT)
DATA = p.ip("PA", b"more of it", seq=HEAD_END, ack=SENT)
FULL = p.ip("A", bytes(range(142)) * 10, seq=HEAD_END, ack=SENT)
RST = p.ip("R", seq=HEAD_END)
QUESTION = locates.question_of(locates.locate(ACK))
LOCATED = 128  # IPOS_OPT_LOCATED
SOCKET_HERE = replace(SOCKET, rcv_nxt=HEAD_END, snd_nxt=SENT)
"""A socket that has the whole request, and has answered it."""


def _question(inner: bytes = ACK, end: int = HEAD_END, **fields: Any) -> dict[str, Any]:
    question = locates.question_of(locates.locate(inner))
    return {"questions": [(KEY, {"count": 1, "question": question, "client_end": end,
                                 "client_ack": SENT, **fields})]}  # fmt: skip


def _before(asked_ms: int, first_ms: int | None = None, count: int = 1, **fields: Any) -> Any:
    first_ms = asked_ms if first_ms is None else first_ms
    return _question(count=count, asked_ns=-asked_ms * _MS, first_ns=-first_ms * _MS, **fields)


def _asks(about: str, inner: bytes, end: int = HEAD_END, config: Config = LOCATES,
          before: dict[str, Any] | None = None, count: int = 1, vlan: int = 0,
          **fields: Any) -> Row:  # fmt: skip
    after = {"count": count, "client_ack": SENT if inner != RST else 0}
    return Row(about=f"of an unknown connection, asked about: {about}",
               steps=[rx("front", p.from_router(inner), "redirect",
                         to_back(locates.locate(inner, vlan=vlan)))],
               counts={"LOCATE_ASKED": 1}, config=config, before=before or {},
               after=_question(inner, end, **after), **fields)  # fmt: skip


def _waits(about: str, reason: str, inner: bytes = ACK, **fields: Any) -> Row:
    return Row(about=f"of an unknown connection: {about}",
               steps=[rx("front", p.from_router(inner), "drop")], counts={reason: 1},
               **{"config": LOCATES, **fields})  # fmt: skip


_ENDED_BY_US = {"temporary": [(KEY, {"state": WAS_RESET["state"], "client_end": HEAD_END})]}


def _far(row: dict[str, Any]) -> dict[str, Any]:
    """A connection that has ended, on the same ports, long before in numbers."""
    return {"temporary": [(KEY, {**row, "client_end": HEAD_END - 65_536})]}


def _near(row: dict[str, Any]) -> dict[str, Any]:
    return {"temporary": [(KEY, {**row, "client_end": HEAD_END - 65_535})]}


ASKS = [
    _asks("an acknowledgement", ACK),
    _asks("data", DATA, HEAD_END + 10),
    _asks("a full segment", FULL, HEAD_END + 1420),
    _asks("a FIN", p.ip("FA", seq=HEAD_END, ack=SENT), HEAD_END + 1),
    _asks("a reset", RST),
    _asks("by a tagged back", ACK, config=Config(locates=8, back_vlan=p.VLAN), vlan=p.VLAN),
    Row(about="of an unknown connection, asked about with one interface",
        steps=[rx("front", p.from_router(ACK), "redirect", to_front(locates.locate(ACK)))],
        counts={"LOCATE_ASKED": 1}, config=Config(locates=8, one_lan=True), after=_question()),
    _asks("once more, when no answer came in 50 ms", ACK, before=_before(51), count=2),
    _asks("anew, after ten seconds", ACK, before=_before(10_001, 60_000, count=200),
          config=RESETS),
    _asks("three times in vain, but not yet for a second", ACK, config=RESETS,
          before=_before(100, 900, count=3), count=4),
    _asks("twice in vain, for more than a second", ACK, config=RESETS,
          before=_before(100, 2_000, count=2), count=3),
    _asks("in vain, when not all can have heard it", ACK,
          before=_before(100, 2_000, count=3), count=4),
    _asks("a reset, in vain", RST, config=RESETS, before=_before(100, 2_000, count=3), count=4),
    _asks("it is not the one that has ended", ACK, before=_far(ENDED)),
    _asks("it is not the one that was reset", ACK, before=_far(WAS_RESET)),
    _waits("another has shaken hands on its ports", "DROP_NO_COOKIE",
           before={"temporary": [(KEY, OPENED)]}),
    _waits("a second one, before an answer can be here", "DROP_LOCATING", before=_before(1)),
    _waits("locating is off", "DROP_NO_COOKIE", config=Config()),
    _waits("a reset, when locating is off", "DROP_NO_COOKIE", RST, config=Config()),
    _waits("a late one of a connection that has ended", "DROP_NO_COOKIE", before=_near(ENDED)),
    _waits("a late reset of a connection that has ended", "DROP_NO_COOKIE", RST,
           before=_near(ENDED)),
    _waits("its source has asked as often as it may", "DROP_LOCATE_SOURCE",
           config=Config(locates=8, locates_source=0)),
    Row(about="this server has asked as often as it may",
        steps=[rx("front", p.from_router(ACK), "redirect", to_back(locates.locate(ACK))),
               rx("front", p.client("A", seq=HEAD_END, ack=SENT, port=p.PORT + 1), "drop")],
        counts={"LOCATE_ASKED": 1, "DROP_LOCATE_LIMIT": 1}, config=Config(locates=1),
        after=_question()),
    Row(about="this source has asked as often as it may",
        steps=[rx("front", p.from_router(ACK), "redirect", to_back(locates.locate(ACK))),
               rx("front", p.client("A", seq=HEAD_END, ack=SENT, port=p.PORT + 1), "drop")],
        counts={"LOCATE_ASKED": 1, "DROP_LOCATE_SOURCE": 1},
        config=Config(locates=8, locates_source=1), after=_question()),
    Row(about="a late one of a connection that was reset: reset again",
        steps=[rx("front", p.from_router(ACK), "redirect", to_front(p.reset(SENT)))],
        counts={"DROP_COOKIE_USED": 1, "RST_SENT": 1}, config=LOCATES, before=_near(WAS_RESET)),
    Row(about="asked about in vain: reset at the number that it acknowledges",
        steps=[rx("front", p.from_router(ACK), "redirect", to_front(p.reset(SENT)))],
        counts={"LOCATE_NOBODY": 1, "RST_SENT": 1}, config=RESETS,
        before=_before(100, 1_000, count=3), after=_ENDED_BY_US),
    Row(about="such a reset counts as a question",
        steps=[rx("front", p.from_router(ACK), "redirect", to_front(p.reset(SENT))),
               rx("front", p.client("A", seq=HEAD_END, ack=SENT, port=p.PORT + 1), "drop")],
        counts={"LOCATE_NOBODY": 1, "RST_SENT": 1, "DROP_LOCATE_LIMIT": 1},
        config=replace(RESETS, locates=1), before=_before(100, 1_000, count=3), after=_ENDED_BY_US),
]  # fmt: skip


# ---- a cookie that may have an owner ------------------------------------------------------------

REQUEST = p.ip("PA", p.HEAD)
_REQUESTED: dict[str, Any] = {"end": HEAD_END, "client_ack": p.ISS + 1}

COOKIES = [
    Row(about="a request that is the first of its connection here: all are asked before it opens",
        steps=[rx("front", p.from_router(REQUEST), "redirect",
                  to_back(locates.locate(REQUEST)))],
        counts={"LOCATE_ASKED": 1}, config=OPENS, after=_question(REQUEST, **_REQUESTED)),
    Row(about="the same request, before an answer can be here",
        steps=[rx("front", p.from_router(REQUEST), "drop")],
        counts={"DROP_LOCATING": 1}, config=OPENS,
        before=_before(1, inner=REQUEST, **_REQUESTED)),
    Row(about="the same request, when nobody has answered: its cookie opens",
        steps=[rx("front", p.from_router(REQUEST), "shot", *offered(p.HEAD))],
        counts={"COOKIE_ACCEPTED": 1, "HELD": 1, "MIGRATED": 1, "FRAMES_SENT": 2}, config=OPENS,
        before=_before(50, inner=REQUEST, **_REQUESTED), traffic={2: (1, 0)},
        after={"forward": [(KEY, forward())],
               "holding": [(KEY, {**HOLDING, "held": len(p.HEAD), "complete": 1})]}),
    Row(about="the same request, long after a question: all are asked anew",
        steps=[rx("front", p.from_router(REQUEST), "redirect",
                  to_back(locates.locate(REQUEST)))],
        counts={"LOCATE_ASKED": 1}, config=OPENS,
        before=_before(10_000, inner=REQUEST, **_REQUESTED),
        after=_question(REQUEST, **_REQUESTED)),
    Row(about="a request that may not be asked about waits, and opens nothing",
        steps=[rx("front", p.from_router(REQUEST), "redirect", to_back(locates.locate(REQUEST))),
               rx("front", p.client("PA", p.HEAD, port=p.PORT + 1), "drop")],
        counts={"LOCATE_ASKED": 1, "DROP_LOCATE_LIMIT": 1}, config=replace(OPENS, locates=1),
        after=_question(REQUEST, **_REQUESTED)),
    Row(about="a handshake that ends here needs no question",
        steps=[rx("front", p.client("A"), "drop")],
        counts={"COOKIE_ACCEPTED": 1, "ABSORBED": 1}, config=OPENS,
        after={"temporary": [(KEY, OPENED)]}),
]  # fmt: skip


# ---- the answer ---------------------------------------------------------------------------------

_S2 = {"destination_ip": network(p.S2), "destination_port": p.APPLICATION, "server": 2, "first": 1,
       "iss": p.ISS, "irs": p.IRS, "acknowledged": 1, "client_end": HEAD_END,
       "client_ack": SENT}  # fmt: skip


def _vain(about: str, reason: str, frame: bytes, where: str = "back", received: bool = True,
          **fields: Any) -> Row:  # fmt: skip
    return Row(about=f"type 12 changes nothing: {about}", steps=[rx(where, frame, "drop")],
               counts={**({"FRAMES_RECEIVED": 1} if received else {}), reason: 1},
               **{"config": LOCATES, "before": _before(1), **fields})  # fmt: skip


ANSWERS = [
    Row(about="type 12: the owner is known, and gets what comes next",
        steps=[rx("back", locates.located(QUESTION, move=7), "drop"),
               rx("front", p.from_router(DATA), "redirect", to_back(p.sent_packet(DATA)))],
        counts={"FRAMES_RECEIVED": 1, "LOCATED": 1, "FORWARDED": 1}, config=LOCATES,
        before=_before(1), traffic={2: (1, 0)},
        after={"questions": [],
               "forward": [(KEY, {**_S2, "client_end": HEAD_END + 10, "packets": 1})]}),
    Row(about="type 12 twice: the second is none",
        steps=[rx("back", locates.located(QUESTION), "drop"),
               rx("back", locates.located(QUESTION, by=p.MAC3), "drop")],
        counts={"FRAMES_RECEIVED": 2, "LOCATED": 1, "DROP_FRAME_UNKNOWN": 1}, config=LOCATES,
        before=_before(1), traffic={2: (1, 0)},
        after={"questions": [], "forward": [(KEY, _S2)]}),
    Row(about="type 12 in back's VLAN",
        steps=[rx("back", locates.located(QUESTION, vlan=p.VLAN), "drop")],
        counts={"FRAMES_RECEIVED": 1, "LOCATED": 1}, before=_before(1),
        config=Config(locates=8, back_vlan=p.VLAN), traffic={2: (1, 0)},
        after={"questions": [], "forward": [(KEY, _S2)]}),
    _vain("nothing was asked", "DROP_FRAME_UNKNOWN", locates.located(QUESTION), before={}),
    _vain("another question was asked", "DROP_FRAME_UNKNOWN", locates.located(QUESTION ^ 1)),
    _vain("the question is old", "DROP_FRAME_UNKNOWN", locates.located(QUESTION),
          before=_before(1_001)),
    _vain("of another connection", "DROP_FRAME_UNKNOWN",
          locates.located(QUESTION, port=p.PORT + 1)),
    _vain("another connection is here by now", "DROP_FRAME_UNKNOWN", locates.located(QUESTION),
          before={**_before(1), **local()}),
    _vain("its owner is known by now", "DROP_FRAME_UNKNOWN", locates.located(QUESTION),
          before={**_before(1), "forward": [(KEY, {**_S2, "server": 3})]}),
    _vain("from the front side", "DROP_FRAME_ON_FRONT", locates.located(QUESTION), "front",
          received=False),
    _vain("from a foreign MAC", "DROP_FRAME_FOREIGN", locates.located(QUESTION, by=p.STRANGER),
          received=False),
    _vain("a wrong tag", "DROP_FRAME_TAG", locates.located(QUESTION, tag=b"no tag.."),
          received=False),
    _vain("made for another server", "DROP_FRAME_TAG",
          bytes.fromhex(p.BACK.replace(":", "")) + locates.located(QUESTION, to=p.MAC3)[6:],
          received=False),
    _vain("another server's, under this one's MAC", "DROP_FRAME_TAG",
          locates.located(QUESTION, by=p.MAC3)[:6] + bytes.fromhex(p.MAC2.replace(":", ""))
          + locates.located(QUESTION, by=p.MAC3)[12:], received=False),
    _vain("cut short", "DROP_FRAME_SHORT", locates.located(QUESTION, cut=43), received=False),
]  # fmt: skip


# ---- the owner ----------------------------------------------------------------------------------

SOCKETS = (LISTENER, SOCKET_HERE)


def _answers(about: str, inner: bytes, before: dict[str, Any], after: dict[str, Any],
             sockets: tuple[Socket, ...] = SOCKETS, vlan: int = 0, move: int = 0,
             **fields: Any) -> Row:  # fmt: skip
    question = locates.asked(inner, vlan=vlan)
    answer = locates.located(locates.question_of(question), to=p.MAC2, by=p.BACK, move=move,
                             endpoint=p.SERVICE, vlan=vlan)  # fmt: skip
    return Row(about=f"type 5, the owner: {about}",
               steps=[rx("back", question, "redirect",
                         into_front(p.ether(inner, p.FRONT, p.MAC2, 0, 0)), to_back(answer))],
               counts={"FRAMES_RECEIVED": 1, "DECAPSULATED": 1, "FRAMES_SENT": 1,
                       "LOCATE_ANSWERED": 1},
               before=before, after=after, sockets=sockets, **fields)  # fmt: skip


def _not_ours(about: str, reason: str, frame: bytes, where: str = "back", **fields: Any) -> Row:
    received = reason in ("DROP_FRAME_LOCATE",)
    return Row(about=f"type 5 changes nothing: {about}", steps=[rx(where, frame, "drop")],
               counts={**({"FRAMES_RECEIVED": 1} if received else {}), reason: 1},
               sockets=SOCKETS, **{"before": mine(), **fields})  # fmt: skip


def _unfit(about: str, inner: bytes) -> Row:
    """XDP takes it out of its frame, and tc finds that it is nobody's."""
    return Row(about=f"type 5 about a packet that cannot be the client's: {about}",
               steps=[rx("back", locates.asked(inner), "shot")],
               counts={"FRAMES_RECEIVED": 1, "DECAPSULATED": 1, "DROP_FRAME_LOCATE": 1},
               before=mine(), sockets=SOCKETS, after={"connect": [(KEY, {
                   "asker": 0, "first": 2, "hs": HANDSHAKE})]})  # fmt: skip


_TOLD = {"first": 2, "hs": {**HANDSHAKE, "options": HANDSHAKE["options"] | LOCATED}, "asker": 0}

OWNER = [
    _answers("an acknowledgement", ACK, mine(first=3), {"connect": [(KEY, _TOLD)]}),
    _answers("data", DATA, mine(first=3), {"connect": [(KEY, _TOLD)]}),
    _answers("a full segment, whose tag is its headers'", FULL, mine(first=3),
             {"connect": [(KEY, _TOLD)]}),
    _answers("of a connection that came here directly", ACK, local(),
             {"local": [(KEY, {**_TOLD, "giver": 1})]}),
    _answers("of a connection that has moved", ACK, mine(first=3, migration=0x5_0307),
             {"connect": [(KEY, _TOLD)]}, move=0x0307),
    _answers("by a tagged back", ACK, mine(first=3), {"connect": [(KEY, _TOLD)]}, vlan=p.VLAN,
             config=Config(back_vlan=p.VLAN)),
    _answers("its client has acknowledged less than all", p.ip("A", seq=HEAD_END, ack=p.ISS + 1),
             mine(first=3), {"connect": [(KEY, _TOLD)]},
             native_only="a socket made without packets was never offered a window"),
    Row(about="type 5, the owner: a reset is taken, and needs no answer",
        steps=[rx("back", locates.asked(RST), "redirect",
                  into_front(p.ether(RST, p.FRONT, p.MAC2, 0, 0)))],
        counts={"FRAMES_RECEIVED": 1, "DECAPSULATED": 1}, before=mine(), sockets=SOCKETS,
        after={"connect": [(KEY, {"asker": 0, "first": 2})]}),
    _unfit("its acknowledgement is of what was not sent",
           p.ip("A", seq=HEAD_END, ack=SENT + 1)),
    _unfit("its acknowledgement is too old",
           p.ip("A", seq=HEAD_END, ack=SENT - 70_000 - HERE)),
    _unfit("its number is far ahead", p.ip("A", seq=HEAD_END + (1 << 24), ack=SENT)),
    _unfit("its number is far behind", p.ip("A", seq=HEAD_END - (1 << 24), ack=SENT)),
    _not_ours("there is no such connection", "DROP_FRAME_LOCATE", locates.asked(ACK), before={}),
    _not_ours("it has no socket yet", "DROP_FRAME_LOCATE", locates.asked(ACK),
              before=ours(PENDING)),
    _not_ours("another server has it, whose first server this one is", "DROP_FRAME_LOCATE",
              locates.asked(ACK), before={"forward": [(KEY, {**_S2, "server": 3})]}),
    _not_ours("a SYN", "DROP_FRAME_UNKNOWN", locates.asked(p.ip("S", options=[]))),
    _not_ours("from the front side", "DROP_FRAME_ON_FRONT", locates.asked(ACK), "front"),
    _not_ours("from a foreign MAC", "DROP_FRAME_FOREIGN", locates.asked(ACK, by=p.STRANGER)),
    _not_ours("a wrong checksum", "DROP_FRAME_CHECKSUM", locates.asked(ACK, chksum=0x1234)),
    _not_ours("a wrong tag", "DROP_FRAME_TAG", locates.asked(ACK, tag=b"no tag..")),
    _not_ours("another server's, under this one's MAC", "DROP_FRAME_RECEIVER",
              locates.asked(ACK, endpoint=p.S3)),
    _not_ours("another client's packet", "DROP_FRAME_UNKNOWN",
              locates.asked(ACK, port=p.PORT + 1)),
    _not_ours("cut within its packet", "DROP_FRAME_SHORT", locates.asked(ACK)[:70]),
    _not_ours("cut within its tag", "DROP_FRAME_SHORT", locates.locate(
        DATA, by=p.MAC2, endpoint=p.S2)[:-1]),
    *(
        _not_ours(f"it is {age} seconds old", "DROP_FRAME_TIME",
                  locates.asked(ACK, endpoint_port=p.SENT_S - age & 0xFFFF))
        for age in (8, 600, -8, 0x8000)
    ),
]  # fmt: skip


# ---- the end of a connection that was located ---------------------------------------------------

_GONE = {"hs": {"iss": p.ISS}, "state": ENDED["state"]}
_LOCATED_HS = {"hs": _TOLD["hs"]}

ENDS = [
    Row(about="a connection that was located ends: type 4 to all",
        steps=[rx("front", p.client("R", seq=HEAD_END), "to kernel",
                  to_back(p.notice(4, to=locates.ALL, by=p.BACK, endpoint=p.SERVICE)),
                  into_front(p.client("R", seq=HEAD_END)))],
        counts={"CLOSED": 1, "FRAMES_SENT": 1}, before=mine(**_LOCATED_HS), sockets=SOCKETS,
        after={"connect": [], "temporary": [(KEY, {"state": ENDED["state"]})]}),
    Row(about="one that came here directly, too",
        steps=[rx("front", p.client("R", seq=HEAD_END), "to kernel",
                  to_back(p.notice(4, to=locates.ALL, by=p.BACK, endpoint=p.SERVICE)),
                  into_front(p.client("R", seq=HEAD_END)))],
        counts={"CLOSED": 1, "FRAMES_SENT": 1}, before=local(first=2, **_LOCATED_HS),
        sockets=SOCKETS, traffic={1: (0, 1)},
        after={"local": [], "temporary": [(KEY, {"state": ENDED["state"]})]}),
    Row(about="type 4 to all: we have forwarded it",
        steps=[rx("back", p.notice(4, to=locates.ALL), "drop")], counts={"FRAMES_RECEIVED": 1},
        before={"forward": [(KEY, _S2)]}, traffic={2: (0, 1)},
        after={"forward": [], "temporary": [(KEY, {"state": ENDED["state"],
                                                   "client_end": HEAD_END})]}),
    Row(about="type 4 to all about a connection that is not here",
        steps=[rx("back", p.notice(4, to=locates.ALL), "drop")],
        counts={"FRAMES_RECEIVED": 1, "DROP_FRAME_UNKNOWN": 1}),
    Row(about="type 4 to all of another incarnation",
        steps=[rx("back", p.notice(4, to=locates.ALL, iss=1), "drop")],
        counts={"FRAMES_RECEIVED": 1, "DROP_FRAME_ISS": 1}, before={"forward": [(KEY, _S2)]}),
    Row(about="type 4 to all of another owner",
        steps=[rx("back", p.notice(4, to=locates.ALL, by=p.MAC3), "drop")],
        counts={"FRAMES_RECEIVED": 1, "DROP_FRAME_ISS": 1}, before={"forward": [(KEY, _S2)]}),
    Row(about="type 4 that was made for us, sent to all",
        steps=[rx("back", b"\xff" * 6 + p.notice(4)[6:], "drop")],
        counts={"DROP_FRAME_TAG": 1}, before={"forward": [(KEY, _S2)]}),
    Row(about="type 6 to all: it lives at s3 now",
        steps=[rx("back", p.notice(6, to=locates.ALL, reason=8, endpoint=p.S3), "drop")],
        counts={"FRAMES_RECEIVED": 1, "MOVE_TOLD": 1}, traffic={2: (0, 1), 3: (1, 0)},
        before={"forward": [(KEY, {**_S2, "migration": 7})]},
        after={"forward": [(KEY, {**_S2, "server": 3, "destination_ip": network(p.S3)})]}),
    *(
        Row(about=f"type {kind} to all: nobody says that to all",
            steps=[rx("back", p.notice(kind, to=locates.ALL), "drop")],
            counts={"DROP_FRAME_TYPE": 1}, before={"forward": [(KEY, _S2)]})
        for kind in (3, 7)
    ),
]  # fmt: skip

ROWS = [*ASKS, *COOKIES, *ANSWERS, *OWNER, *ENDS]
