# SPDX-License-Identifier: Apache-2.0
"""Decisions and answers put together, one entry for each request."""

from typing import Any

import pytest

from ipos.abi.layout import constant, header
from ipos.agent.access import answered
from ipos.agent.access.answered import Requests
from ipos.kernel import decisions
from tests.agent.view.test_events import record

ME = 1
TIMES: dict[str, Any] = {
    "status": 200,
    "bytes": 700,
    "first_us": 1500,
    "took_ns": 2_000_000,
    "answers": 1,
}
DONE = {"status": 200, "bytes": 700, "first_byte": 0.0015, "took": 0.002}


class Log:
    def __init__(self) -> None:
        self.requests = Requests()

    def take(self, outcome: str, path: str = "/", **fields: Any) -> list[dict[str, Any]]:
        """A record; in words it is its path alone."""
        values = {"server": ME, **fields, "outcome": constant(f"IPOS_OUTCOME_{outcome}")}
        decision = decisions.decode(record(**values))
        return self.requests.take(decision, {"path": path}, ME)


def test_a_request_is_complete_when_it_is_answered() -> None:
    log = Log()
    assert log.take("NEW", "/a") == []
    assert log.take("ANSWERED", **TIMES) == [{"path": "/a", **DONE}]
    assert log.take("STAYS", "/b") == []
    assert log.take("ANSWERED", **TIMES) == [{"path": "/b", **DONE}]


@pytest.mark.parametrize(
    ("by", "first_us", "told"),
    [
        (16, 1500, {"first_byte": 0.0015, "ended_by": "client"}),
        (0, 0, {"first_byte": None, "ended_by": "server"}),
    ],
)
def test_a_connection_that_ends_before_the_answer(
    by: int, first_us: int, told: dict[str, Any]
) -> None:
    log = Log()
    log.take("NEW", "/a")
    ended = log.take("ANSWERED", **{**TIMES, "first_us": first_us, "flags": 1 | 8 | by})
    assert ended == [{"path": "/a", **DONE, **told}]
    assert log.requests.give_up(10**18, lambda key: False) == []


def test_pipelined_requests_in_their_order() -> None:
    log = Log()
    log.take("NEW", "/a")
    log.take("STAYS", "/b")
    log.take("STAYS", "/c")
    assert log.take("ANSWERED", **TIMES) == [{"path": "/a", **DONE}]
    both = log.take("ANSWERED", **{**TIMES, "answers": 2})
    assert both == [{"path": "/b", **DONE}, {"path": "/c", **DONE, "bytes": 0}]


def test_who_serves_it_tells_of_it() -> None:
    log = Log()
    assert log.take("NEW", "/a", server=2) == []
    assert log.take("MOVED", "/b", server=2) == []
    assert log.take("TAKEN", "/c") == []
    assert log.take("ANSWERED", **TIMES) == [{"path": "/c", **DONE}]


def test_refusals_and_redirects_are_complete_at_once() -> None:
    number = {one.name: one.number for one in header().ambiguities}
    for reason, refusal, status in (
        ("HEAD", number["LINE_FEED"], 400), ("HEAD", number["TOO_LONG"], 431),
        ("TIMEOUT", 0, 408), ("NO_SERVER", 0, 503),
    ):  # fmt: skip
        why = constant(f"IPOS_REASON_{reason}")
        fields: dict[str, Any] = {"reason": why, "refusal": refusal, "server": 0}
        assert Log().take("REFUSED", **fields) == [{"path": "/", "status": status, "bytes": None}]
    sent = Log().take("NEW", reason=constant("IPOS_REASON_REDIRECTED"), server=2)
    assert sent == [{"path": "/", "status": 307, "bytes": None}]


def test_a_choice_that_came_to_nothing_has_no_line() -> None:
    log = Log()
    log.take("NEW", "/a")
    assert log.take("AGAIN", "/a", server=2) == []
    assert log.take("ANSWERED", "?", **TIMES) == [{"path": "?", **DONE}], "nobody asked for it"


def test_who_gets_no_answer_is_told_without_times() -> None:
    log = Log()
    log.take("NEW", "/a")
    assert log.take("NEW", "/b") == [{"path": "/a"}], "another connection on the same ports"
    late_ns = 5_000_000_000 + answered.PATIENCE_NS
    assert log.requests.give_up(late_ns - 1, lambda _: False) == []
    assert log.requests.give_up(late_ns, lambda _: True) == []
    assert log.requests.give_up(late_ns, lambda _: False) == [{"path": "/b"}]
    assert log.requests.give_up(late_ns, lambda _: False) == []


def test_not_too_many_wait() -> None:
    log = Log()
    told = [log.take("NEW", str(n), port=n) for n in range(answered.MOST + 2)]
    assert [one for each in told for one in each] == [{"path": "0"}, {"path": "1"}]
