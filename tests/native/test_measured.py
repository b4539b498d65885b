# SPDX-License-Identifier: Apache-2.0
"""The times of answers and migrations, as the data plane measures them, by a clock of the test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from ipos.abi.families import AnyDecision
from ipos.abi.layout import constant
from ipos.abi.rows import Decided, DecisionFlags, Outcome, Timed
from ipos.agent.view.measures import quantile_s
from ipos.kernel import decisions
from ipos.kernel.tallies import Tallies, bounds_s
from native.values import Tc
from tests.support.golden import packets as p
from tests.support.golden.machine import NOW_NS, Config, NativeMachine
from tests.support.golden.row import Row, prepare
from tests.support.golden.rows_close import SENT, local
from tests.support.golden.rows_migration import HEAD_END, OFFERED
from tests.support.golden.rows_move import ANSWERED, EVERY, FOLLOWED, NEXT

US = 1_000
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
KEPT = replace(EVERY, answers_unread=False)


class Server:
    """One data plane of service 1, prepared as a golden row says."""

    def __init__(self, machine: NativeMachine, config: Config, before: dict[str, Any]) -> None:
        self.machine = machine
        row = Row(about="", steps=(), counts={}, config=config, before=before, sockets=(ANSWERED,))
        prepare(machine, row)
        self.tallies = Tallies(machine.node.store)
        self.told: list[AnyDecision] = []

    def at(self, us: int) -> None:
        self.machine.moment = NOW_NS + us * US
        self.machine.node.clock(self.machine.moment)

    def says(self, data: bytes, seq: int, flags: str = "PA") -> None:
        """Our kernel sends this to the client."""
        frame = p.answer(flags, seq=seq, ack=HEAD_END, window=500, data=data)
        ran = self.machine.node.egress(frame, self.machine.ifindex("front"))
        assert ran.verdict == Tc.OK
        self.told += map(decisions.decode, ran.decided)

    def took(self, what: Timed) -> list[int]:
        """Microseconds below which each of them was, in order; and the sum fits."""
        told = self.tallies.histogram(1, what)
        found = [2**bits for bits, count in enumerate(told.buckets) for _ in range(count)]
        assert sum(found) / 2 <= told.sum_ns / US <= sum(found)
        return found


@pytest.fixture
def machine() -> Iterator[NativeMachine]:
    made = NativeMachine()
    yield made
    made.close()


def test_an_answer_in_two_pieces(machine: NativeMachine) -> None:
    asked = local(**{**FOLLOWED, "answered": 0, "asked_ns": 0})
    server = Server(machine, KEPT, asked)
    server.at(3_000)
    server.says(HEAD + b"01234", SENT)
    assert (server.took(Timed.FIRST_BYTE), server.took(Timed.REQUEST)) == ([4096], [])
    server.at(70_000)
    server.says(b"56789", SENT + len(HEAD) + 5)
    assert (server.took(Timed.FIRST_BYTE), server.took(Timed.REQUEST)) == ([4096], [131072])
    server.at(90_000)
    server.says(b"56789", SENT + len(HEAD) + 5)  # sent again: no other answer
    server.says(b"", SENT + len(HEAD) + 10, "FA")
    assert (server.took(Timed.FIRST_BYTE), server.took(Timed.REQUEST)) == ([4096], [131072])


def test_the_next_request_is_timed_from_when_it_comes(machine: NativeMachine) -> None:
    server = Server(machine, KEPT, local(**FOLLOWED))
    server.at(50_000)
    assert machine.xdp(p.from_router(NEXT), "front").verdict == "pass"
    assert machine.ingress(p.from_router(NEXT), "front").verdict == "ok"
    assert server.tallies.service(1).decided[Decided.STAYS] == 1
    server.at(50_900)
    server.says(HEAD + b"0123456789", SENT)
    assert (server.took(Timed.FIRST_BYTE), server.took(Timed.REQUEST)) == ([1024], [1024])


def test_pipelined_requests_are_timed_one_behind_the_other(machine: NativeMachine) -> None:
    asked = local(**{**FOLLOWED, "asked": 2, "answered": 0, "asked_ns": 0})
    server = Server(machine, KEPT, asked)
    server.at(200)
    server.says(HEAD + b"0123456789", SENT)
    server.at(200 + 3_000)
    server.says(HEAD + b"0123456789", SENT + len(HEAD) + 10)
    assert server.took(Timed.REQUEST) == [256, 4096]


def test_an_answer_that_ends_with_the_connection(machine: NativeMachine) -> None:
    asked = local(**{**FOLLOWED, "answered": 0, "asked_ns": 0})
    server = Server(machine, KEPT, asked)
    server.at(10)
    server.says(b"HTTP/1.1 200 OK\r\n\r\nanything", SENT)
    assert (server.took(Timed.FIRST_BYTE), server.took(Timed.REQUEST)) == ([16], [])
    server.at(1_500)
    server.says(b"", SENT + 27, "FA")
    server.at(900_000)
    server.says(b"", SENT + 27, "FA")
    assert (server.took(Timed.FIRST_BYTE), server.took(Timed.REQUEST)) == ([16], [2048])


def test_a_connection_that_is_decided_once_is_one_answer(machine: NativeMachine) -> None:
    server = Server(machine, Config(), local(asked_ns=0))
    server.at(100)
    server.says(b"220 mail\r\n", SENT)
    server.at(5_000)
    server.says(b"250 OK\r\n", SENT + 10)
    server.at(100_000)
    server.says(b"", SENT + 18, "FA")
    assert (server.took(Timed.FIRST_BYTE), server.took(Timed.REQUEST)) == ([128], [131072])


def test_who_closes_without_an_answer_has_not_answered(machine: NativeMachine) -> None:
    server = Server(machine, Config(), local(asked_ns=0))
    server.at(100)
    server.says(b"", SENT, "FA")
    assert (server.took(Timed.FIRST_BYTE), server.took(Timed.REQUEST)) == ([], [])


def test_a_migration_ends_with_the_word_of_the_owner(machine: NativeMachine) -> None:
    server = Server(machine, Config(), OFFERED)
    holding = machine.table("holding")
    ((key, row),) = holding.items()
    holding[key] = {**row, "offered_us": NOW_NS // US % 2**32}
    server.at(700)
    assert machine.xdp(p.notice(3), "back").verdict == "drop"
    assert machine.xdp(p.notice(3), "back").verdict == "drop"
    assert server.took(Timed.MIGRATION) == [1024]


def test_bounds_and_quantiles(machine: NativeMachine) -> None:
    assert bounds_s()[:3] == [1e-06, 2e-06, 4e-06]
    server = Server(machine, Config(), local(asked_ns=0))
    server.at(100)
    server.says(b"220 mail\r\n", SENT)
    before = server.tallies.histogram(1, Timed.FIRST_BYTE)
    assert quantile_s(before, 0.5) == bounds_s()[7] == 128e-6
    assert quantile_s(before, 0.5, before) == 0


LOGGED = constant("IPOS_ANSWER_LOGGED")


def test_an_answer_that_is_logged_is_told_when_it_is_over(machine: NativeMachine) -> None:
    asked = local(**{**FOLLOWED, "answered": 0, "asked_ns": 0, "timed": LOGGED})
    server = Server(machine, KEPT, asked)
    server.at(3_000)
    server.says(HEAD + b"01234", SENT)
    assert server.told == []
    server.at(70_000)
    server.says(b"56789", SENT + len(HEAD) + 5)
    server.says(b"56789", SENT + len(HEAD) + 5)
    (record,) = server.told
    assert (record.outcome, record.status, record.answers) == (Outcome.ANSWERED, 200, 1)
    assert (record.bytes, record.first_us, record.took_ns) == (len(HEAD) + 10, 3_000, 70_000 * US)
    assert decisions.is_of_request(record)


def test_the_bytes_of_a_connection_that_is_decided_once(machine: NativeMachine) -> None:
    server = Server(machine, Config(), local(asked_ns=0, timed=LOGGED))
    server.at(100)
    server.says(b"220 mail\r\n", SENT)
    server.says(b"250 OK\r\n", SENT + 10, "FPA")
    (record,) = server.told
    assert (record.bytes, record.status) == (SENT + 18 - (p.ISS + 1), 0)


def test_an_answer_that_a_reset_cuts_off_is_told_once(machine: NativeMachine) -> None:
    asked = local(**{**FOLLOWED, "answered": 0, "asked_ns": 0, "timed": LOGGED})
    server = Server(machine, KEPT, asked)
    server.at(3_000)
    server.says(HEAD + b"01234", SENT)
    server.at(5_000)
    server.says(b"", SENT + len(HEAD) + 5, "RA")
    (record,) = server.told
    assert record.flags == DecisionFlags.LOGGED | DecisionFlags.UNFINISHED
    assert (record.bytes, record.status, record.first_us) == (len(HEAD) + 5, 200, 3_000)
    assert record.took_ns == 5_000 * US
    assert server.took(Timed.REQUEST) == [], "it is no time of an answer"


def test_a_client_that_resets_before_an_answer(machine: NativeMachine) -> None:
    asked = local(**{**FOLLOWED, "answered": 0, "asked_ns": 0, "timed": LOGGED})
    server = Server(machine, KEPT, {**asked})
    server.at(7_000)
    ran = machine.node.ingress(p.client("R", seq=HEAD_END), machine.ifindex("front"))
    (record,) = map(decisions.decode, ran.decided)
    assert DecisionFlags.BY_CLIENT | DecisionFlags.UNFINISHED in record.flags
    assert (record.bytes, record.status, record.first_us) == (0, 0, 0)
    assert record.took_ns == 7_000 * US
