# SPDX-License-Identifier: Apache-2.0
"""The table keeps the rules its module states, and its diagrams say what it says."""

from __future__ import annotations

import pytest

from spec.handshake.unattached import TABLE, Action, Event, State, as_markdown, as_mermaid

ALL = [(state, event) for state, row in TABLE.items() for event in row]


def test_every_state_is_there_and_every_event_somewhere() -> None:
    assert set(TABLE) == set(State)
    assert {event for _, event in ALL} == set(Event)


@pytest.mark.parametrize(("state", "event"), ALL)
def test_nothing_is_dropped_without_a_counter(state: State, event: Event) -> None:
    then = TABLE[state][event]
    assert then.counters or then.action is Action.DECIDE


@pytest.mark.parametrize(("state", "event"), ALL)
def test_every_reset_is_counted_and_nothing_else_is(state: State, event: Event) -> None:
    then = TABLE[state][event]
    assert ("RST_SENT" in then.counters) == (then.action is Action.RST)


@pytest.mark.parametrize("state", State)
def test_resets_and_strangers_get_no_answer(state: State) -> None:
    for event in (Event.RST_EXACT, Event.RST_OTHER, Event.NO_COOKIE, Event.BAD_FLAGS):
        if event in TABLE[state]:
            assert TABLE[state][event].action is Action.DROP


def test_without_proof_no_row_appears_and_none_changes() -> None:
    unproven = {
        Event.SYN,
        Event.SYN_NO_SERVER,
        Event.NO_COOKIE,
        Event.RST_OTHER,
        Event.BAD_FLAGS,
        Event.OUTSIDE,
    }
    for state, event in ALL:
        if event in unproven:
            assert TABLE[state][event].state is state


def test_what_was_acknowledged_is_delivered_or_reset() -> None:
    ends = {
        (then.state, then.action)
        for event, then in TABLE[State.ACKNOWLEDGED].items()
        if then.state is not State.ACKNOWLEDGED and event is not Event.RST_EXACT
    }
    assert ends == {
        (State.DECIDED, Action.DECIDE),
        (State.RESET, Action.RST),
        (State.ANSWERED, Action.ANSWER),
    }
    assert Event.COOKIE not in TABLE[State.ACKNOWLEDGED]


def test_an_ended_row_opens_only_by_a_new_cookie() -> None:
    for ended in (State.CLOSED, State.RESET):
        left = {e for e, then in TABLE[ended].items() if then.state is not ended}
        assert left == {Event.COOKIE, Event.SYN_ON_CONNECTION}


def test_the_markdown_has_a_row_for_every_pair() -> None:
    lines = as_markdown().splitlines()
    assert len(lines) == len(ALL) + 2
    assert {line.count("|") for line in lines} == {6}
    assert "| OPEN | FIN before any request | CLOSED | FIN and ACK | FIN_ANSWERED |" in lines


def test_the_diagram_has_an_arrow_for_every_change() -> None:
    drawn = as_mermaid()
    assert drawn.startswith("stateDiagram-v2\n")
    for state, event in ALL:
        then = TABLE[state][event]
        arrow = f"    {state.name} --> {then.state.name}: "
        events = [line.removeprefix(arrow) for line in drawn.splitlines() if arrow in line]
        assert (then.state is state) == (not events)
        assert not events or event.name in events[0].split(", ")
