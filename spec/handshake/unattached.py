# SPDX-License-Identifier: Apache-2.0
"""What an endpoint without an application does, as a table: state x event -> transition.

Rules the table keeps:

1.  Nothing without proof. A row appears only through a valid cookie (or the farm's own choice for
    a service that selects on connection), and only a segment that acknowledges our ISN + 1, or
    stands at the exact sequence number, changes it.
2.  Until a byte is acknowledged the row may be forgotten, because the cookie still opens the
    connection. So a SYN or a cookie of another connection attempt replaces OPEN and HOLDING, and
    never ACKNOWLEDGED or IDLE: there the SYN is answered by an ACK (RFC 5961 section 4), and a
    client that has started anew resets.
3.  A closed row's cookie opens nothing, for as long as the row stays.
4.  What was acknowledged is delivered or reset, so a client that closes within a head is reset.
5.  A reset that got lost is repeated: RESET answers every late segment. Otherwise the client would
    wait in vain.
6.  A reset is never answered, and neither is a segment of a stranger. A client that proves a cookie
    which is too old is no stranger: its row was evicted while it was silent, and it gets a reset.
7.  A head that no server may serve is answered in HTTP, by a whole response and FIN. So is a
    request of HTTP/1 for which no server is left. The endpoint then behaves like a TCP that closed
    first: it sends the response again until the client has it, acknowledges what the client still
    sends and throws it away, and ends with the client's FIN. A reset would make some clients lose
    the response that they have not read (RFC 9112 section 9.6).
8.  An application has had the connection of an IDLE endpoint, so no cookie opens it. Its row has
    the sequence numbers where the stream continues; in place of its ISN it has the number of the
    last byte that the client has acknowledged. When the first bytes of its next request are held,
    it is ACKNOWLEDGED.

A pair that is not in the table cannot happen. `spec.requests.endpoint` says which event a segment
is; COOKIE is the one event after which the same segment is judged again, by OPEN.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """What is known of a four-tuple. Each value says it in words."""

    NONE = "no row"
    OPEN = "handshake proven, nothing held"
    HOLDING = "part of a request held, none of it acknowledged"
    ACKNOWLEDGED = "part of a request held and acknowledged: cannot be forgotten"
    IDLE = "between two requests, the last one's application has left: cannot be forgotten"
    ANSWERED = "answered by the iNIC: the client has not acknowledged all of it, or not closed"
    CLOSED = "ended in order, or reset by the client"
    RESET = "reset by us"
    SYN_GIVEN = "the SYN went to the selected server's kernel"
    DECIDED = "the request is whole: Local or Forward has the connection"


class Event(Enum):
    """What a segment, or the passing of time, means to the endpoint."""

    SYN = "SYN, a server is ready"
    SYN_NO_SERVER = "SYN, no server is ready"
    SYN_ON_CONNECTION = "SYN for a service that selects on connection"
    COOKIE = "cookie of a new connection"
    NO_COOKIE = "a segment that is not this endpoint's and has no valid cookie"
    EXPIRED = "data or FIN with a right cookie that is too old"
    PURE_ACK = "nothing new"
    KEEPALIVE = "keepalive"
    HOLD = "data, kept without an acknowledgement"
    HOLD_ACK = "data, kept; acknowledge what is in order"
    GAP_ACK = "data, kept; nothing is in order yet"
    DUPLICATE = "data that is held already"
    GAP_DUPLICATE = "data that is held already; nothing is in order yet"
    COMPLETE = "the request head is whole"
    COMPLETE_NO_SERVER = "the request head is whole, no server is ready"
    COMPLETE_AWAITED = "the request head is whole, a server is to start its application"
    COMPLETE_NO_SERVER_OTHER = "the request head is whole and not HTTP/1, no server is ready"
    TOO_LONG = "14,600 bytes and no head"
    MISSING = "the client misses a part of our response"
    MORE = "more data of the client after our whole response"
    LAST_FIN = "the client's FIN after our whole response"
    HEARD = "our whole response is acknowledged, and the client has closed"
    NO_ROOM = "data, no room to keep it"
    OUTSIDE = "outside the window"
    FIN = "FIN before any request"
    FIN_CUT = "FIN within a request head"
    FIN_EARLY = "FIN ahead of missing data"
    FIN_AGAIN = "FIN repeated after the end"
    LATE = "late duplicate after the end"
    RST_EXACT = "RST that proves itself"
    RST_OTHER = "any other RST"
    BAD_FLAGS = "no ACK and no RST, or SYN with either or with FIN"
    TIMEOUT = "header timeout"
    TIMEOUT_OTHER = "header timeout of a head that is not HTTP/1"
    SILENT = "the client has sent nothing in time"
    ANY = "any segment but a SYN"


class Action(Enum):
    """What goes out."""

    DROP = "nothing"
    SYN_ACK = "SYN-ACK"
    ACK = "ACK"
    FIN_ACK = "FIN and ACK"
    ANSWER = "our own response, FIN and ACK"
    RST = "RST"
    DECIDE = "the request, to the selected server"
    GIVE = "the segment itself, to the selected server"


@dataclass(frozen=True, slots=True)
class Transition:
    """The state after, what goes out, and the counters of ``abi/ipos.h`` that count it."""

    state: State
    action: Action
    counters: tuple[str, ...] = ()


def _drop(state: State, counter: str) -> Transition:
    return Transition(state, Action.DROP, (counter,))


def _syn(state: State) -> dict[Event, Transition]:
    """A SYN where nothing stands in its way; nothing is stored for it."""
    return {
        Event.SYN: Transition(state, Action.SYN_ACK, ("SYN_ACK",)),
        Event.SYN_NO_SERVER: Transition(state, Action.RST, ("DROP_NO_SERVER", "RST_SENT")),
        Event.SYN_ON_CONNECTION: Transition(State.SYN_GIVEN, Action.GIVE, ("SYN_FORWARDED",)),
        Event.BAD_FLAGS: _drop(state, "DROP_BAD_FLAGS"),
        Event.COOKIE: _drop(State.OPEN, "COOKIE_ACCEPTED"),
        Event.NO_COOKIE: _drop(state, "DROP_NO_COOKIE"),
        Event.EXPIRED: Transition(state, Action.RST, ("COOKIE_EXPIRED", "RST_SENT")),
    }


def _request(state: State) -> dict[Event, Transition]:
    """The client's segments while its request is awaited."""
    kept = State.ACKNOWLEDGED if state in (State.ACKNOWLEDGED, State.IDLE) else State.HOLDING
    end = Transition(State.RESET, Action.RST, ("RST_SENT",))
    return {
        Event.PURE_ACK: _drop(state, "ABSORBED"),
        Event.KEEPALIVE: Transition(state, Action.ACK, ("KEEPALIVE_ANSWERED",)),
        Event.HOLD: Transition(kept, Action.DROP, ("HELD",)),
        Event.HOLD_ACK: Transition(State.ACKNOWLEDGED, Action.ACK, ("HELD", "HOLD_ACKED")),
        Event.COMPLETE: Transition(State.DECIDED, Action.DECIDE),
        Event.COMPLETE_NO_SERVER: Transition(
            State.ANSWERED, Action.ANSWER, ("HELD", "DROP_NO_SERVER", "UNAVAILABLE", "ANSWERED")
        ),
        Event.COMPLETE_NO_SERVER_OTHER: Transition(
            State.RESET, Action.RST, ("HELD", "DROP_NO_SERVER", "RST_SENT")
        ),
        Event.COMPLETE_AWAITED: Transition(kept, Action.DROP, ("HELD", "START_AWAITED")),
        Event.TOO_LONG: Transition(
            State.ANSWERED, Action.ANSWER, ("DROP_HEAD_TOO_LONG", "ANSWERED")
        ),
        Event.NO_ROOM: _drop(state, "DROP_HOLD_FULL"),
        Event.OUTSIDE: _drop(state, "DROP_BAD_SEQUENCE"),
        Event.FIN_CUT: Transition(end.state, end.action, ("FIN_ANSWERED", *end.counters)),
        Event.FIN_EARLY: _drop(state, "DROP_BAD_SEQUENCE"),
        Event.RST_EXACT: _drop(State.CLOSED, "ABSORBED"),
        Event.RST_OTHER: _drop(state, "DROP_BAD_SEQUENCE"),
    }


def _gap(state: State) -> dict[Event, Transition]:
    """The first byte is missing: what is acknowledged is the handshake, or the request before."""
    kept = State.ACKNOWLEDGED if state in (State.ACKNOWLEDGED, State.IDLE) else State.HOLDING
    return {
        Event.GAP_ACK: Transition(kept, Action.ACK, ("HELD", "HOLD_ACKED")),
        Event.GAP_DUPLICATE: Transition(state, Action.ACK, ("HELD", "HOLD_ACKED")),
    }


def _kept(state: State) -> dict[Event, Transition]:
    """What would begin anew where something stands in its way."""
    return {
        Event.SYN: Transition(state, Action.ACK, ("ACK_REPEATED",)),
        Event.NO_COOKIE: _drop(state, "DROP_NO_COOKIE"),
        Event.BAD_FLAGS: _drop(state, "DROP_BAD_FLAGS"),
    }


_AGAIN = Transition(State.ACKNOWLEDGED, Action.ACK, ("HELD", "HOLD_ACKED"))
_TIMEOUT = {
    Event.TIMEOUT: Transition(State.ANSWERED, Action.ANSWER, ("HEAD_TIMEOUT",)),
    Event.TIMEOUT_OTHER: Transition(State.RESET, Action.RST, ("HEAD_TIMEOUT", "RST_SENT")),
}

TABLE: dict[State, dict[Event, Transition]] = {
    State.NONE: {
        **_syn(State.NONE),
        Event.RST_OTHER: _drop(State.NONE, "DROP_NO_COOKIE"),
    },
    State.OPEN: {
        **_syn(State.OPEN),
        **_request(State.OPEN),
        Event.GAP_ACK: _gap(State.OPEN)[Event.GAP_ACK],
        Event.FIN: Transition(State.CLOSED, Action.FIN_ACK, ("FIN_ANSWERED",)),
        Event.SILENT: Transition(State.RESET, Action.RST, ("SILENT_CLOSED", "RST_SENT")),
    },
    State.HOLDING: {
        **_syn(State.HOLDING),
        **_request(State.HOLDING),
        **_gap(State.HOLDING),
        **_TIMEOUT,
        Event.DUPLICATE: _AGAIN,
    },
    State.ACKNOWLEDGED: {
        **_request(State.ACKNOWLEDGED),
        **_gap(State.ACKNOWLEDGED),
        **_TIMEOUT,
        **_kept(State.ACKNOWLEDGED),
        Event.DUPLICATE: _AGAIN,
    },
    State.IDLE: {
        **_request(State.IDLE),
        **_kept(State.IDLE),
        Event.GAP_ACK: _gap(State.IDLE)[Event.GAP_ACK],
        Event.FIN: Transition(State.CLOSED, Action.FIN_ACK, ("FIN_ANSWERED",)),
        Event.SILENT: Transition(State.RESET, Action.RST, ("SILENT_CLOSED", "RST_SENT")),
    },
    State.ANSWERED: {
        Event.SYN: Transition(State.ANSWERED, Action.ACK, ("ACK_REPEATED",)),
        Event.BAD_FLAGS: _drop(State.ANSWERED, "DROP_BAD_FLAGS"),
        Event.NO_COOKIE: _drop(State.ANSWERED, "DROP_NO_COOKIE"),
        Event.OUTSIDE: _drop(State.ANSWERED, "DROP_BAD_SEQUENCE"),
        Event.PURE_ACK: _drop(State.ANSWERED, "ABSORBED"),
        Event.MISSING: Transition(State.ANSWERED, Action.ANSWER, ("ANSWER_REPEATED",)),
        Event.MORE: Transition(State.ANSWERED, Action.ACK, ("ANSWER_ACKED",)),
        Event.LAST_FIN: Transition(State.CLOSED, Action.ACK, ("ANSWER_ACKED",)),
        Event.HEARD: _drop(State.CLOSED, "ABSORBED"),
        Event.RST_EXACT: _drop(State.CLOSED, "ABSORBED"),
        Event.RST_OTHER: _drop(State.ANSWERED, "DROP_BAD_SEQUENCE"),
        Event.TIMEOUT: _drop(State.RESET, "ANSWER_EXPIRED"),
    },
    State.CLOSED: {
        **_syn(State.CLOSED),
        Event.FIN_AGAIN: Transition(State.CLOSED, Action.FIN_ACK, ("FIN_REPEATED",)),
        Event.PURE_ACK: _drop(State.CLOSED, "ABSORBED"),
        Event.LATE: _drop(State.CLOSED, "DROP_COOKIE_USED"),
        Event.RST_EXACT: _drop(State.CLOSED, "ABSORBED"),
        Event.RST_OTHER: _drop(State.CLOSED, "DROP_NO_COOKIE"),
    },
    State.RESET: {
        **_syn(State.RESET),
        Event.LATE: Transition(State.RESET, Action.RST, ("DROP_COOKIE_USED", "RST_SENT")),
        Event.RST_EXACT: _drop(State.RESET, "ABSORBED"),
        Event.RST_OTHER: _drop(State.RESET, "DROP_NO_COOKIE"),
    },
    State.SYN_GIVEN: {
        Event.SYN_ON_CONNECTION: Transition(State.SYN_GIVEN, Action.GIVE, ("SYN_FORWARDED",)),
        Event.BAD_FLAGS: _drop(State.SYN_GIVEN, "DROP_BAD_FLAGS"),
        Event.ANY: Transition(State.SYN_GIVEN, Action.GIVE, ("FORWARDED",)),
    },
    State.DECIDED: {},
}


def as_markdown() -> str:
    """The table for people: one row for each pair of state and event."""
    lines = ["| State | Event | Then | Goes out | Counted |", "|---|---|---|---|---|"]
    for state, row in TABLE.items():
        for event, then in row.items():
            lines.append(
                f"| {state.name} | {event.value} | {then.state.name} | {then.action.value} "
                f"| {', '.join(then.counters)} |"
            )
    return "\n".join(lines) + "\n"


def as_mermaid() -> str:
    """The state diagram, in Mermaid's language; events that change nothing are left out."""
    lines = ["stateDiagram-v2", "    [*] --> NONE"]
    for state, row in TABLE.items():
        arrows: dict[State, list[str]] = {}
        for event, then in row.items():
            if then.state is not state:
                arrows.setdefault(then.state, []).append(event.name)
        for after, events in arrows.items():
            lines.append(f"    {state.name} --> {after.name}: {', '.join(events)}")
    lines.append("    DECIDED --> [*]")
    return "\n".join(lines) + "\n"
