# SPDX-License-Identifier: Apache-2.0
"""An address that several servers have at once: routers send a connection's packets now here, now
there, and what has no application yet must have one owner all the same.
"""

from __future__ import annotations

from typing import Any

from tests.support.golden import locates
from tests.support.golden import packets as p
from tests.support.golden.machine import Config
from tests.support.golden.row import Row, into_front, rx, to_back
from tests.support.golden.rows_close import SENT
from tests.support.golden.rows_handshake import KEY, OPENED
from tests.support.golden.rows_idle import IDLE
from tests.support.golden.rows_locate import ACK, DATA, LOCATED, REQUEST, RST
from tests.support.golden.rows_migration import HEAD_END
from tests.support.golden.rows_request import HOLDING, forward

SHARED = Config(locates=8, asks=True)
_OPEN = {"temporary": [(KEY, OPENED)]}
_WAITS = {"holding": [(KEY, IDLE)]}
_FIN = p.ip("FA", seq=HEAD_END, ack=SENT)
_NEXT = p.ip("PA", p.HEAD, seq=HEAD_END, ack=SENT)


def _asked(about: str, inner: bytes, before: dict[str, Any], after: dict[str, Any]) -> Row:
    """A question that is not answered, of what has no application."""
    return Row(about=f"type 5, without an application: {about}",
               steps=[rx("back", locates.asked(inner), "drop")],
               counts={"FRAMES_RECEIVED": 1, "DROP_FRAME_LOCATE": 1},
               before=before, after=after)  # fmt: skip


def _stays(about: str, inner: bytes, before: dict[str, Any]) -> Row:
    return _asked(f"{about}: nothing changes", inner, before, before)


def _answers(about: str, inner: bytes, before: dict[str, Any], iss: int, irs: int) -> Row:
    question = locates.asked(inner)
    answer = locates.located(locates.question_of(question), to=p.MAC2, by=p.BACK, iss=iss, irs=irs,
                             endpoint=p.SERVICE, endpoint_port=p.WEB)  # fmt: skip
    return Row(about=f"type 5, without an application: {about}",
               steps=[rx("back", question, "redirect", to_back(answer))],
               counts={"FRAMES_RECEIVED": 1, "FRAMES_SENT": 1, "LOCATE_ANSWERED": 1},
               before=before, after={"holding": [(KEY, {"hs": _located(before)})]})  # fmt: skip


def _located(before: dict[str, Any]) -> dict[str, Any]:
    handshake = before["holding"][0][1]["hs"]
    return {**handshake, "options": handshake["options"] | LOCATED}


def _arrives(about: str, inner: bytes, verdict: str, *sent: Any, **counts: int) -> Row:
    return Row(about=f"type 2 for an endpoint that waits here: {about}",
               steps=[rx("back", p.sent_packet(inner, to=p.BACK, by=p.MAC2, endpoint=p.SERVICE),
                         verdict, *sent)],
               counts={"FRAMES_RECEIVED": 1, **counts}, before=_WAITS)  # fmt: skip


CLIENT = [
    Row(about="its handshake was here, and more has happened elsewhere: all are asked",
        steps=[rx("front", p.from_router(ACK), "redirect", to_back(locates.locate(ACK)))],
        counts={"LOCATE_ASKED": 1}, config=SHARED, before=_OPEN,
        after={"questions": [(KEY, {"count": 1, "client_end": HEAD_END})]}),
    Row(about="its handshake was here, and its request is: nobody is asked",
        steps=[rx("front", p.client("A"), "drop")], counts={"ABSORBED": 1}, config=SHARED,
        before=_OPEN),
]  # fmt: skip

ASKED = [
    _asked("a handshake alone goes, because its cookie opens where its packets are", REQUEST,
           _OPEN, {"temporary": []}),
    _stays("not its client's number", ACK, _OPEN),
    _stays("a reset", RST, _OPEN),
    _asked("a part of a request that was not acknowledged goes, too", REQUEST,
           {"holding": [(KEY, {**HOLDING, "acknowledged": 0})]}, {"holding": []}),
    _stays("it is being given to another server", DATA,
           {**_WAITS, "forward": [(KEY, forward(acknowledged=0))]}),
    _stays("it waits here, and the packet has no data", ACK, _WAITS),
    _stays("it waits here, and the packet is a FIN", _FIN, _WAITS),
    _stays("it has been answered", DATA, {"holding": [(KEY, {**IDLE, "answer": 9})]}),
    _stays("it moves", DATA, {"holding": [(KEY, {**IDLE, "moving": 1})]}),
    _answers("it has had one, and waits here", DATA, _WAITS, p.ISS, p.IRS),
]  # fmt: skip

ARRIVES = [
    _arrives("its next request", _NEXT, "redirect",
             into_front(p.ether(_NEXT, p.FRONT, p.MAC2, 0, 0)), DECAPSULATED=1),
    _arrives("an acknowledgement", ACK, "drop", ABSORBED=1),
]  # fmt: skip

ROWS = [*CLIENT, *ASKED, *ARRIVES]
