# SPDX-License-Identifier: Apache-2.0
"""What an endpoint does with a head that nobody may serve: its answer, sent until it is closed."""

from __future__ import annotations

import pytest

from ipos.handshake.segment import Flag
from spec.handshake.unattached import Action, Event, State
from spec.requests.endpoint import Step
from tests.requests.client_of_endpoint import REQUEST, Client

U32 = 0xFFFF_FFFF
A, P, F, R = Flag.ACK, Flag.PSH, Flag.FIN, Flag.RST


@pytest.fixture
def client() -> Client:
    return Client().opened()


def test_a_head_that_is_too_long(client: Client) -> None:
    result = too_long(client)
    assert (result.events, result.action) == ((Event.TOO_LONG,), Action.ANSWER)
    answer = result.answer
    assert answer is not None
    assert (answer.seq, answer.ack) == (client.iss + 1 & U32, client.isn + 14_601 & U32)
    assert answer.flags == A | P | F
    head, _, body = answer.data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 ")
    assert b"\r\nConnection: close\r\n" in head
    assert f"\r\nContent-Length: {len(body)}".encode() in head


def too_long(client: Client) -> Step:
    for at in range(0, 14600, 1460):
        result = client.send(A, at, b"X" * 1460)
    return result


def test_an_answer_is_sent_again_from_where_the_client_has_it(client: Client) -> None:
    whole = too_long(client).answer
    assert whole is not None
    again = client.send(A, 13140, b"X" * 1460)  # the request's last segment, not acknowledged
    assert (again.events, again.answer) == ((Event.MISSING,), whole)
    rest = client.send(A, 14600, ack=client.iss + 1 + 100)  # it has seen 100 bytes
    assert rest.answer is not None
    assert (rest.answer.seq, rest.answer.data) == (whole.seq + 100 & U32, whole.data[100:])


def test_an_answered_client_that_closes_is_let_go(client: Client) -> None:
    whole = too_long(client).answer
    assert whole is not None
    heard = client.iss + 2 + len(whole.data)
    assert client.send(A, 14600, ack=heard).events == (Event.PURE_ACK,)
    more = client.send(A | P, 14600, b"the body", ack=heard)
    assert (more.events, more.action) == ((Event.MORE,), Action.ACK)
    last = client.send(A | F, 14608, ack=heard)
    assert (last.events, client.endpoint.state) == ((Event.LAST_FIN,), State.CLOSED)
    assert last.answer is not None
    assert (last.answer.seq, last.answer.ack) == (heard & U32, client.isn + 14_610 & U32)
    assert client.send(A | F, 14608, ack=heard).events == (Event.FIN_AGAIN,)
    assert client.send(A, 0, REQUEST).events == (Event.LATE,)


def test_a_client_that_closes_before_it_hears_gets_the_answer_first(client: Client) -> None:
    whole = too_long(client).answer
    assert whole is not None
    first = client.send(A | F, 14600)
    assert first.events == (Event.MISSING,)
    assert first.answer is not None
    assert (first.answer.data, first.answer.ack) == (whole.data, client.isn + 14_602 & U32)
    heard = client.iss + 2 + len(whole.data)
    assert client.send(A, 14601, ack=heard).events == (Event.HEARD,)
    assert client.endpoint.state is State.CLOSED


def test_an_answer_is_ended_by_a_proven_reset_alone(client: Client) -> None:
    too_long(client)
    assert client.send(R, 14601).events == (Event.RST_OTHER,)
    assert client.send(A, 14600, ack=client.iss).events == (Event.NO_COOKIE,)
    assert client.send(A, 14600 + 14601).events == (Event.OUTSIDE,)
    assert client.send(R, 14600).events == (Event.RST_EXACT,)
    assert client.endpoint.state is State.CLOSED
