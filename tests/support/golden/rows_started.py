# SPDX-License-Identifier: Apache-2.0
"""Requests of a service whose application is started for them."""

from __future__ import annotations

from ipos.agent.expiry.notices import MARK_LATE
from tests.support.golden import packets as p
from tests.support.golden.answer_bytes import answered, response
from tests.support.golden.machine import Config, Out, refusers
from tests.support.golden.row import Row, Step, rx, to_front
from tests.support.golden.rows_handshake import KEY, RESET
from tests.support.golden.rows_migration import CHUNK, HEAD_END, HELD_ROW, OFFERED
from tests.support.golden.rows_request import ELSEWHERE, HELLO, OPEN_ROW, forward, offered

_UNAVAILABLE = "503 Service Unavailable\r\nRetry-After: 5"
_UNSTARTED = response(_UNAVAILABLE, "its application could not be started")
_UNREADY = response(_UNAVAILABLE, "its application was not started in time")
_NOBODY = Config(candidates=(), starts="WAIT")
_FAILED = Config(candidates=(), starts="FAILED")
_WAITS = {**CHUNK, "holding": [(KEY, {**HELD_ROW, "looked": 1})]}
_GONE = {"UNAVAILABLE": 1, "ANSWERED": 1, "DROP_NO_SERVER": 1}


def _told(data: bytes) -> Out:
    return to_front(answered(data, ack=HEAD_END))


def _agent(verdict: str, *sent: Out) -> Step:
    """The agent says that it may be decided now."""
    return Step(hook="tc", where="front", mark=MARK_LATE, frame=p.notice(4), verdict=verdict,
                sent=sent)  # fmt: skip


ROWS = [
    Row(about="SYN, no server has the application, and one is to start it: SYN-ACK",
        steps=[rx("front", p.syn(), "redirect", to_front(p.syn_ack()))], counts={"SYN_ACK": 1},
        config=_NOBODY),
    Row(about="a request waits for its application",
        steps=[rx("front", p.client("PA", p.HEAD), "shot")],
        counts={"HELD": 1, "START_AWAITED": 1}, config=_NOBODY, before=OPEN_ROW,
        after={"temporary": [],
               "holding": [(KEY, {"held": len(p.HEAD), "complete": 1, "looked": 1})]}),
    Row(about="it comes again: it goes on to wait",
        steps=[rx("front", p.client("PA", p.HEAD), "shot")],
        counts={"HELD": 1, "START_AWAITED": 1}, config=_NOBODY,
        before={**_WAITS, "holding": [(KEY, {**_WAITS["holding"][0][1],
                                             "last_seen_ns": -60_000_000})]},
        after={"holding": [(KEY, {"looked": 1, "answer": 0})]}),
    Row(about="type 7 from the last server that had it: it waits, and all may be asked again",
        steps=[rx("back", p.notice(7, reason=1), "shot")],
        counts={"FRAMES_RECEIVED": 1, "CHOSEN_AGAIN": 1, "START_AWAITED": 1},
        config=Config(candidates=(2,), starts="WAIT"), before=OFFERED, traffic={2: (0, 1)},
        after={"forward": [], "holding": [(KEY, {"refused": refusers(), "looked": 1})]}),
    Row(about="the agent: there is a server, which gets it",
        steps=[_agent("shot", *offered(p.HEAD))], counts={"MIGRATED": 1, "FRAMES_SENT": 2},
        config=ELSEWHERE, before=_WAITS, traffic={2: (1, 0)},
        after={"forward": [(KEY, forward())], "holding": [(KEY, {"looked": 1})]}),
    Row(about="the agent, of a request that was offered meanwhile: nothing",
        steps=[_agent("shot")], counts={}, config=ELSEWHERE,
        before={**OFFERED, "holding": [(KEY, {**HELD_ROW, "looked": 1})]}),
    Row(about="the agent, of one that has found a server at once: nothing",
        steps=[_agent("shot")], counts={}, config=ELSEWHERE,
        before={**CHUNK, "holding": [(KEY, HELD_ROW)]}),
    Row(about="the agent: there is none yet, it goes on to wait",
        steps=[_agent("shot")], counts={"START_AWAITED": 1}, config=_NOBODY, before=_WAITS,
        after={"holding": [(KEY, {"looked": 1, "answer": 0})]}),
    Row(about="the agent: it has waited for too long: 503",
        steps=[_agent("shot", _told(_UNREADY))], counts=_GONE, config=_NOBODY,
        before={**_WAITS, "holding": [(KEY, {**_WAITS["holding"][0][1], "crowded_ms": 1})]},
        after={"holding": [(KEY, {"answer": len(_UNREADY)})]}),
    Row(about="the agent: no server could start it: 503",
        steps=[_agent("shot", _told(_UNSTARTED))], counts=_GONE, config=_FAILED, before=_WAITS,
        after={"holding": [(KEY, {"answer": len(_UNSTARTED)})]}),
    Row(about="a request while no server can start its application: 503 at once",
        steps=[rx("front", p.client("PA", p.HEAD), "shot", _told(_UNSTARTED))],
        counts={"HELD": 1, **_GONE}, config=_FAILED, before=OPEN_ROW,
        after={"temporary": [], "holding": [(KEY, {"answer": len(_UNSTARTED)})]}),
    Row(about="the same of TLS: RST",
        steps=[rx("front", p.client("PA", HELLO), "redirect",
                  to_front(p.reset()))],
        counts={"HELD": 1, "DROP_NO_SERVER": 1, "RST_SENT": 1}, config=_FAILED, before=OPEN_ROW,
        after={"temporary": [(KEY, {"state": RESET})]}),
]  # fmt: skip
