# SPDX-License-Identifier: Apache-2.0
"""One client at one unattached endpoint, told in segments."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipos.handshake.segment import Flag
from ipos.wire import responses
from spec.handshake.unattached import Action, Event, State
from spec.requests.acknowledge import PAUSE_NS
from spec.requests.endpoint import Endpoint
from tests.requests.client_of_endpoint import AROUND, FULL, REQUEST, Client

U32 = 0xFFFF_FFFF
A, P, F, R, S = Flag.ACK, Flag.PSH, Flag.FIN, Flag.RST, Flag.SYN


@pytest.fixture
def client() -> Client:
    return Client().opened()


def test_a_syn_stores_nothing() -> None:
    client = Client()
    assert client.syn().action is Action.SYN_ACK
    assert client.endpoint == Endpoint()


def test_a_request_in_one_segment(client: Client) -> None:
    result = client.send(A | P, 0, REQUEST)
    assert (result.events, result.endpoint.state) == ((Event.COMPLETE,), State.DECIDED)
    assert result.endpoint.window.data == REQUEST
    assert result.endpoint.head.length == len(REQUEST)


def test_a_request_with_the_proof_in_it() -> None:
    client = Client()
    client.syn()
    result = client.send(A | P | F, 0, REQUEST)
    assert result.events == (Event.COOKIE, Event.COMPLETE)
    assert result.counters == ("COOKIE_ACCEPTED",)


def test_a_forgotten_row_loses_nothing(client: Client) -> None:
    client.send(A, 0, FULL)
    assert client.endpoint.state is State.HOLDING
    client.endpoint = Endpoint()
    assert client.send(A | P, 0, REQUEST).events == (Event.COOKIE, Event.COMPLETE)


@pytest.mark.parametrize("cut", range(1, len(REQUEST)))
def test_cut_at_every_byte_in_both_orders(cut: int) -> None:
    for order in ([0, 1], [1, 0]):
        client = Client().opened()
        parts = [(0, REQUEST[:cut]), (cut, REQUEST[cut:])]
        first, last = (client.send(A, *parts[n]) for n in order)
        assert first.action is Action.ACK
        assert last.events == (Event.COMPLETE,)
        assert last.endpoint.window.data == REQUEST


def test_one_byte_at_a_time(client: Client) -> None:
    for at in range(len(REQUEST) - 1):
        result = client.send(A, at, REQUEST[at : at + 1])
        assert result.events == (Event.HOLD_ACK,)
        assert result.answer is not None
        assert result.answer.ack == client.isn + 2 + at & 0xFFFF_FFFF
        assert result.answer.window == (14600 - at - 1 + 127) >> 7
    assert client.send(A, len(REQUEST) - 1, REQUEST[-1:]).events == (Event.COMPLETE,)


def test_a_pause_is_counted_from_the_last_data(client: Client) -> None:
    client.wait(PAUSE_NS + 1)
    assert client.send(A, 0, FULL).events == (Event.HOLD,)
    client.wait(PAUSE_NS + 1)
    assert client.send(A, 524, FULL).events == (Event.HOLD_ACK,)
    assert client.send(A, 1048, FULL).events == (Event.HOLD,)


def test_four_held_segments_are_acknowledged_and_then_four_more(client: Client) -> None:
    events = [client.send(A, 524 * n, FULL).events[0] for n in range(9)]
    assert [n for n, event in enumerate(events) if event is Event.HOLD_ACK] == [3, 7]
    assert client.endpoint.state is State.ACKNOWLEDGED
    assert client.endpoint.acknowledged == 8 * 524


def test_a_short_segment_is_acknowledged(client: Client) -> None:
    assert client.send(A, 0, FULL[1:]).events == (Event.HOLD_ACK,)


def test_a_repeated_segment_is_acknowledged(client: Client) -> None:
    assert client.send(A, 0, FULL).events == (Event.HOLD,)
    result = client.send(A, 0, FULL)
    assert (result.events, result.action) == ((Event.DUPLICATE,), Action.ACK)
    assert result.endpoint.state is State.ACKNOWLEDGED


def test_a_gap_is_answered_without_a_promise(client: Client) -> None:
    for event in (Event.GAP_ACK, Event.GAP_DUPLICATE):
        result = client.send(A, 3, b" /")
        assert result.events == (event,)
        assert result.answer is not None
        assert result.answer.ack == client.isn + 1 & 0xFFFF_FFFF
        assert result.endpoint.state is State.HOLDING


def test_keepalives_are_told_what_was_told_before(client: Client) -> None:
    result = client.send(A, -1, b"\0")
    assert (result.events, result.action) == ((Event.KEEPALIVE,), Action.ACK)
    assert result.answer is not None
    assert result.answer.seq == client.iss + 1 & 0xFFFF_FFFF
    client.send(A, 0, FULL)
    result = client.send(A, -1)
    assert result.answer is not None
    assert result.answer.ack == client.isn + 1 & 0xFFFF_FFFF
    assert result.endpoint.state is State.HOLDING
    client.send(A, 0, FULL)
    result = client.send(A, 523)
    assert result.events == (Event.KEEPALIVE,)
    assert result.answer is not None
    assert result.answer.ack == client.isn + 525 & 0xFFFF_FFFF


def test_a_monitor_that_connects_and_closes(client: Client) -> None:
    result = client.send(A | F)
    assert (result.events, result.endpoint.state) == ((Event.FIN,), State.CLOSED)
    assert result.answer is not None
    assert (result.answer.flags, result.answer.seq) == (F | A, client.iss + 1 & 0xFFFF_FFFF)
    assert result.answer.ack == client.isn + 2 & 0xFFFF_FFFF
    again = client.send(A | F)
    assert (again.events, again.answer) == ((Event.FIN_AGAIN,), result.answer)
    # It has our FIN, but not our acknowledgement of its own.
    later = client.send(A | F, ack=client.iss + 2)
    assert later.answer is not None
    assert (later.answer.flags, later.answer.seq) == (A, client.iss + 2 & 0xFFFF_FFFF)
    assert client.send(A, 1, ack=client.iss + 2).counters == ("ABSORBED",)


def test_a_late_duplicate_after_the_end_opens_nothing(client: Client) -> None:
    client.send(A | F)
    result = client.send(A | P, 0, REQUEST)
    assert (result.counters, result.answer) == (("DROP_COOKIE_USED",), None)
    assert client.send(A).counters == ("DROP_COOKIE_USED",)


def test_the_port_is_used_again_after_the_end(client: Client) -> None:
    client.send(A | F)
    ended = client.endpoint
    client.isn = 77
    assert client.syn().endpoint == ended
    assert client.send(A).events == (Event.COOKIE, Event.PURE_ACK)


@pytest.mark.parametrize("data", [b"GET", b"\x16\x03\x01\x00\x09\1b"])
def test_a_close_within_a_head_is_reset_and_again(client: Client, data: bytes) -> None:
    result = client.send(A | F, 0, data)
    assert (result.events, result.action) == ((Event.FIN_CUT,), Action.RST)
    assert result.answer is not None
    assert (result.answer.flags, result.answer.seq) == (R, client.iss + 1 & 0xFFFF_FFFF)
    late = client.send(A | F, 0, data)
    assert (late.events, late.answer) == ((Event.LATE,), result.answer)
    assert client.send(A | R, 4).answer is None


def test_a_fin_alone_behind_part_of_a_head_and_ahead_of_missing_data(client: Client) -> None:
    assert client.send(A | F, 5).events == (Event.FIN_EARLY,)
    client.send(A, 0, b"GET")
    assert client.send(A | F, 2).events == (Event.DUPLICATE,)  # it ends before what is held
    assert client.send(A | F, 3).events == (Event.FIN_CUT,)


@pytest.mark.parametrize(
    ("flags", "offset", "ack", "event"),
    [
        (R, 524, 0, Event.RST_EXACT),  # at the end of what is held
        (R, 523, 0, Event.RST_OTHER),
        (R, 525, 0, Event.RST_OTHER),
        (R, 0, 0, Event.RST_EXACT),  # at the end of what was acknowledged
        (R | A, 9000, None, Event.RST_EXACT),
        (R | A, 14600, None, Event.RST_EXACT),
        (R | A, 14601, None, Event.RST_OTHER),
        (R | A, -1, None, Event.RST_OTHER),
        (R | A, 9000, 1, Event.RST_OTHER),
    ],
)
def test_resets(client: Client, flags: Flag, offset: int, ack: int | None, event: Event) -> None:
    client.send(A, 0, FULL)
    before = client.endpoint
    result = client.send(flags, offset, ack=ack)
    assert (result.events, result.answer) == ((event,), None)
    if event is Event.RST_OTHER:
        assert client.endpoint == before
    else:
        assert client.endpoint.state is State.CLOSED


@pytest.mark.parametrize("offset", [-5, -2, 14601])
def test_empty_segments_outside_the_window(client: Client, offset: int) -> None:
    assert client.send(A, offset).counters == ("DROP_BAD_SEQUENCE",)


@pytest.mark.parametrize("offset", [-2, -1, 14600, 1 << 31])
def test_data_outside_the_window(client: Client, offset: int) -> None:
    assert client.send(A, offset, b"ab").counters == ("DROP_BAD_SEQUENCE",)


def test_another_acknowledgement_is_a_strangers(client: Client) -> None:
    before = client.endpoint
    assert client.send(A, 0, REQUEST, ack=5).counters == ("DROP_NO_COOKIE",)
    assert client.endpoint == before


@pytest.mark.parametrize("flags", [Flag(0), P, F, S | A, S | R, S | F, S | A | R])
@pytest.mark.parametrize("is_open", [False, True])
def test_bad_flags(flags: Flag, is_open: bool) -> None:
    client = Client().opened() if is_open else Client()
    result = client.send(flags, 0, b"data")
    assert (result.counters, result.answer) == (("DROP_BAD_FLAGS",), None)


def test_a_new_attempt_displaces_what_is_not_acknowledged(client: Client) -> None:
    client.send(A, 0, FULL)
    client.isn = 1234
    assert client.syn().endpoint.state is State.HOLDING
    assert client.send(A, 0, REQUEST).events == (Event.COOKIE, Event.COMPLETE)


def test_a_new_attempt_first_resets_what_is_acknowledged(client: Client) -> None:
    client.send(A | P, 0, b"GET")
    client.isn, old = 1234, client.isn
    result = client.syn()
    assert result.action is Action.ACK
    assert result.answer is not None
    assert result.answer.ack == old + 4 & 0xFFFF_FFFF
    rst = replace(client.segment(R), seq=result.answer.ack, ack=0)
    assert client.deliver(rst).events == (Event.RST_EXACT,)
    assert client.syn().action is Action.SYN_ACK
    assert client.send(A).events == (Event.COOKIE, Event.PURE_ACK)


def test_a_cookie_displaces_nothing_that_is_acknowledged(client: Client) -> None:
    other = Client(isn=1234)
    other.syn()
    client.send(A | P, 0, b"GET")
    before = client.endpoint
    assert client.deliver(other.segment(A)).counters == ("DROP_NO_COOKIE",)
    assert client.endpoint == before


@pytest.mark.parametrize("held", [b"", b"GET"])
def test_what_a_reset_carries_or_skips_is_never_acknowledged(client: Client, held: bytes) -> None:
    if held:
        client.send(A | P, 0, held)
    for offset, data in ((len(held), FULL), (len(held) + 13, b"")):
        other = replace(client)
        assert other.send(R | A, offset, data).events == (Event.RST_EXACT,)
        late = other.send(A | F, offset + len(data) - 1)
        assert (late.events, late.answer) == ((Event.LATE,), None)
        last = other.send(A, len(held))
        assert (last.events, last.answer) == ((Event.PURE_ACK,), None)


def test_a_head_whose_end_is_in_a_segment_that_crosses_the_edge(client: Client) -> None:
    client.send(A, 0, b"X" * 14000)
    assert client.send(A, 14000, b"\n\n" + bytes(1000)).events == (Event.COMPLETE,)


def test_no_room_keeps_nothing_but_a_whole_request_needs_none(client: Client) -> None:
    client.around = replace(client.around, room=False)
    before = client.endpoint
    result = client.send(A, 0, b"GET")
    assert (result.counters, result.endpoint) == (("DROP_HOLD_FULL",), before)
    assert client.send(A, 0, REQUEST).events == (Event.COMPLETE,)


def test_what_is_held_already_needs_no_room(client: Client) -> None:
    client.send(A, 0, b"GET")
    client.around = replace(client.around, room=False)
    assert client.send(A, 0, b"GET").events == (Event.DUPLICATE,)


def test_a_fin_behind_a_gap_waits_for_what_is_missing(client: Client) -> None:
    assert client.send(A | F, 3, REQUEST[3:]).events == (Event.GAP_ACK,)
    assert client.send(A, 0, REQUEST[:3]).events == (Event.COMPLETE,)


def test_nobody_ready() -> None:
    client = Client(around=replace(AROUND, server_ready=False))
    result = client.syn()
    assert (result.events, result.action) == ((Event.SYN_NO_SERVER,), Action.RST)
    assert result.answer is not None
    assert result.answer.ack == client.isn + 1
    client = Client().opened()
    client.around = replace(AROUND, server_ready=False)
    result = client.send(A, 0, REQUEST)
    assert (result.events, result.action) == ((Event.COMPLETE_NO_SERVER,), Action.ANSWER)
    assert result.answer is not None
    assert result.answer.data == responses.nobody()
    client = Client().opened()
    client.around = replace(AROUND, server_ready=False)
    result = client.send(A, 0, b"\x16\x03\x01\x00\x00")
    assert (result.events, result.action) == ((Event.COMPLETE_NO_SERVER_OTHER,), Action.RST)
    assert client.send(A, 0, REQUEST).action is Action.RST


def test_a_request_waits_until_its_application_is_started() -> None:
    client = Client(around=replace(AROUND, server_ready=False, starts=True))
    assert client.syn().events == (Event.SYN,)
    client = Client().opened()
    client.around = replace(AROUND, server_ready=False, starts=True)
    result = client.send(A, 0, REQUEST)
    assert (result.events, result.action) == ((Event.COMPLETE_AWAITED,), Action.DROP)
    client.around = AROUND
    assert client.send(A, 0, REQUEST).events == (Event.COMPLETE,)


def test_a_service_that_selects_on_connection() -> None:
    client = Client(around=replace(AROUND, on_connection=True))
    for _ in range(2):
        assert client.syn().action is Action.GIVE
    assert client.send(A).action is Action.GIVE
    assert client.send(R).action is Action.GIVE


def test_without_window_scale_the_window_is_in_bytes() -> None:
    client = Client(options=b"").opened()
    result = client.send(A | P, 0, b"GET")
    assert result.answer is not None
    assert (result.answer.window, result.answer.options) == (14597, b"")


flags = st.sampled_from([A, A | P, A | F, R, R | A, F, S | A])
anything = st.tuples(
    flags,
    st.sampled_from([-2, -1, 0, 1, 2, 3, 5, 8, 13, 14599, 14600, 14601]) | st.integers(-9, 40),
    st.sampled_from([b"", b"G", b"GET /", b"\n", b"\r\n\r\n", FULL, b"X" * 1460]),
    st.sampled_from([None, None, None, 0]),
)


@given(st.lists(st.just("syn") | st.just("new") | st.just("pause") | anything, max_size=30))
def test_whatever_comes_the_promises_are_kept(
    story: list[str | tuple[Flag, int, bytes, int | None]],
) -> None:
    client = Client().opened()
    for part in story:
        before = client.endpoint
        if before.state is State.DECIDED:
            break
        if part == "pause":
            client.wait(PAUSE_NS)
            continue
        if part == "new":
            client.isn = client.isn + 7919 & 0xFFFF_FFFF
            continue
        result = client.syn() if isinstance(part, str) else client.send(*part)
        after = result.endpoint
        assert after.acknowledged <= after.window.held
        if after.state in (State.NONE, State.OPEN, State.HOLDING):
            assert after.acknowledged == 0
        if before.state is State.ACKNOWLEDGED and after.state is State.ACKNOWLEDGED:
            assert after.handshake == before.handshake
            assert after.window.data.startswith(before.window.data)
        if result.answer is not None and Flag.ACK in result.answer.flags and after.handshake:
            told = result.answer.ack - after.handshake.irs - 1 & 0xFFFF_FFFF
            in_order = after.window.held + (after.state is State.CLOSED)
            assert told <= in_order or result.action is Action.SYN_ACK
