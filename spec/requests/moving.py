# SPDX-License-Identifier: Apache-2.0
"""The owner of a connection that is decided at every request: what becomes of the next. Pure;
`tc/stream.h` and `tc/later_decision.h` of the data plane are it in C.

    state     event                      then
    FOLLOWED  a whole request, HERE      FOLLOWED: our application's
    FOLLOWED  any other bytes of one     as WAITING that is decided
    WAITING   it is decided              see `_decided`; until it can be, WAITING
    OFFERED   TAKEN, type 3              LEFT: our application is told the end
    OFFERED   REFUSED, type 7            decided again, without who refused

A request is decided when it stays, or when the connection is quiet: nothing of it is on its way in
either direction, so that another server may go on from two sequence numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """FOLLOWED: the application has all there is. WAITING: a request is held. OFFERED: with its
    endpoint, to another server. LEFT: taken there. RESET: the client was, or has an answer of the
    iNIC's, which is the last.
    """

    FOLLOWED = "followed"
    WAITING = "waiting"
    OFFERED = "offered"
    LEFT = "left"
    RESET = "reset"


class Event(Enum):
    """REQUEST: its first segment. HEARD: anything after which the connection may be quiet."""

    REQUEST = "request"
    HEARD = "heard"
    TAKEN = "taken"
    REFUSED = "refused"


class Head(Enum):
    """WHOLE: may be decided. PART: goes on. UNFIT: no server may serve it."""

    WHOLE = "whole"
    PART = "part"
    UNFIT = "unfit"


class Place(Enum):
    """Whether the request may stay: HERE, where its route and its session have it; ALLOWED here by
    them, but this server is to lose its connections; ELSEWHERE.
    """

    HERE = "here"
    ALLOWED = "allowed"
    ELSEWHERE = "elsewhere"


@dataclass(frozen=True, slots=True)
class Socket:
    """Our kernel's side. Sequence numbers: received and read, of the client's; sent and written."""

    established: bool
    received: int
    read: int
    sent: int
    written: int


@dataclass(frozen=True, slots=True)
class Around:
    """`next` and `acknowledged`: where the request begins, and what the client has of ours.

    `unanswered`: requests that the application was given and has not answered; None when ends of
    its answers are not known. `other`: the server that is chosen if this one is not, None: none.
    `room`: in the table of forwarded connections.
    """

    head: Head
    place: Place
    other: int | None
    socket: Socket | None
    next: int
    acknowledged: int
    unanswered: int | None
    room: bool = True


@dataclass(frozen=True, slots=True)
class Step:
    """`offered_to`: the server that type 1 goes to. `served`: the application gets the request."""

    state: State
    offered_to: int | None = None
    served: bool = False


def quiet(around: Around) -> bool:
    """Whether nothing is on its way. A client that has closed is what the socket knows of."""
    socket = around.socket
    return (
        socket is not None
        and socket.established
        and not around.unanswered
        and socket.received == socket.read == around.next
        and socket.sent == socket.written == around.acknowledged
    )


@dataclass(frozen=True, slots=True)
class Unread:
    """A connection that is decided once. It is not known where its requests begin, and a segment
    has come while its server drains. `last`: our application has spoken since it heard anything,
    `ever`: it has spoken at all. `head` is of what begins the segment."""

    socket: Socket | None
    last: bool
    ever: bool
    head: Head
    next: int
    acknowledged: int


def joins(unread: Unread) -> bool:
    """Whether the segment begins the next request, so that the connection is FOLLOWED from here."""
    socket = unread.socket
    return (
        socket is not None
        and socket.established
        and socket.received == socket.read == unread.next
        and socket.sent == socket.written == unread.acknowledged
        and unread.last
        and unread.ever
        and unread.head is Head.WHOLE
    )


def step(state: State, event: Event, around: Around) -> Step:
    """What an event makes of a connection. ValueError for one that its state does not have."""
    if (state, event) == (State.OFFERED, Event.TAKEN):
        return Step(State.LEFT)
    allowed = {State.FOLLOWED: Event.REQUEST, State.WAITING: Event.HEARD,
               State.OFFERED: Event.REFUSED}  # fmt: skip
    if allowed.get(state) is not event:
        raise ValueError(f"{event.value} cannot happen to a connection that is {state.value}")
    return _decided(around)


def _decided(around: Around) -> Step:
    stays = Step(State.FOLLOWED, served=True)
    if around.head is Head.WHOLE and around.place is Place.HERE:
        return stays
    if around.head is Head.PART or not quiet(around):
        return Step(State.WAITING)
    unknown = around.unanswered is None
    may_stay = around.head is Head.WHOLE and around.place is Place.ALLOWED
    if may_stay and (unknown or around.other is None):
        return stays
    if around.head is not Head.WHOLE or unknown or around.other is None or not around.room:
        return Step(State.RESET)
    return Step(State.OFFERED, offered_to=around.other)
