# SPDX-License-Identifier: Apache-2.0
"""One segment at one unattached endpoint: which event it is, then what the table says.

Four-tuples that Local, Forward or Forward-Connect know never come here. Offsets are signed 32-bit
differences from the client's ISN + 1. A segment is judged by the first rule that applies:

1.  SYN without ACK, RST and FIN: SYN, SYN_NO_SERVER or SYN_ON_CONNECTION. An ACKNOWLEDGED, IDLE or
    ANSWERED endpoint takes any of them as SYN; one whose SYN was given away takes them as
    SYN_ON_CONNECTION.
2.  neither ACK nor RST, or SYN with anything: BAD_FLAGS.
3.  SYN_GIVEN: ANY.
4.  CLOSED or RESET, and it acknowledges our ISN + 1 or (CLOSED) ends where the client's stream
    ended: RST_EXACT if RST; FIN_AGAIN if CLOSED and a FIN that ends there; PURE_ACK if CLOSED and
    empty and ends there; else LATE.
5.  ANSWERED: by its offset from what we acknowledged of the client, and by how much of our
    response and its FIN it acknowledges. RST_EXACT if RST and exactly there, or if it acknowledges
    some of it and is at most 14,600 bytes away; other RST: RST_OTHER. Acknowledges what we did not
    send: NO_COOKIE. Further away than that: OUTSIDE. Data and FIN that are next in order are taken.
    While not all of our response is acknowledged: MISSING, but PURE_ACK if it is empty and not next
    in order. When all of it is acknowledged: LAST_FIN or HEARD if the client has closed, else MORE
    or PURE_ACK; the second of each pair if the segment is empty and next in order.
6.  RST: RST_EXACT if there is a row that awaits a request and the segment's offset is the end of
    what is held or of what was acknowledged, or it has ACK for our ISN + 1 and an offset of 0 to
    14,600; else RST_OTHER.
7.  no row that awaits a request, or the segment does not acknowledge its ISN + 1: COOKIE if it
    proves one and the row is neither ACKNOWLEDGED nor IDLE, else LATE if RESET (the client may be
    far into a connection that an owner has denied), else EXPIRED if it has data or FIN, no request
    is held and it proves a cookie that is too old, else NO_COOKIE. After COOKIE it is judged again,
    by the new OPEN row.
8.  at most one byte of data, no FIN, offset from -1 to before what was acknowledged: KEEPALIVE
    (RFC 9293 section 3.8.4). The last acknowledgement is sent again, and nothing else.
9.  no data: an offset of -1 or less or above 14,600 is OUTSIDE; without FIN it is PURE_ACK; with
    FIN: at the end of what is held it is FIN if nothing is held, else FIN_CUT; ahead of it
    FIN_EARLY; behind it DUPLICATE.
10. data goes into the window (`spec.requests.window`), bytes in order go to the head parser
    (`spec.requests.head`): OUTSIDE; COMPLETE or, without a server, COMPLETE_AWAITED of a service
    whose application is to be started, COMPLETE_NO_SERVER of HTTP/1 and COMPLETE_NO_SERVER_OTHER,
    also if the head waits for the server, no gap is left and the segment
    is a duplicate, the fourth or late; TOO_LONG; FIN_CUT if
    it has FIN and ends where the bytes in order end; NO_ROOM if the window or the hold pool has
    none; and otherwise as `spec.requests.acknowledge` decides: HOLD, HOLD_ACK or GAP_ACK if it was
    kept, DUPLICATE or GAP_DUPLICATE if not; the GAP ones while nothing at all is in order.

A FIN that is not in order is not remembered; the client sends it again. A request that its own
segment completes needs no room in the hold pool.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ipos.handshake.options import Timestamps, parse_options, write_timestamps
from ipos.handshake.segment import Flag, Segment, signed
from ipos.wire import responses
from spec.handshake import answers
from spec.handshake.cookies import Agreed, CookieKey, Handshake, check, is_expired, is_syn
from spec.handshake.unattached import TABLE, Action, Event, State
from spec.requests.acknowledge import decide
from spec.requests.head import Grammar, Head, Progress
from spec.requests.window import WINDOW, Insertion, ReceiveWindow

_TAKES = (
    Event.HOLD_ACK, Event.GAP_ACK, Event.DUPLICATE, Event.GAP_DUPLICATE,
)  # fmt: skip
_KEPT = (State.ACKNOWLEDGED, State.IDLE)
_AWAITING = (State.OPEN, State.HOLDING, *_KEPT)
_U32 = 0xFFFF_FFFF
_EMPTY_WINDOW = ReceiveWindow()
_NO_HEAD = Head()


@dataclass(frozen=True, slots=True)
class Around:
    """What the data plane knows beside the segment; clocks in seconds and nanoseconds."""

    key: CookieKey
    now_wall_s: float
    now_ns: int
    server_ready: bool = True
    starts: bool = False  # a server is to start the application for a request that finds none
    on_connection: bool = False
    room: bool = True  # in the hold pool and its table


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What is kept of one four-tuple; counts are bytes of the request, from the ISN + 1.

    ``unacknowledged`` counts segments; ``last_seen_ns`` is when the last data within the window
    came; ``client_end`` is the sequence number after the client's last byte or FIN, known when
    CLOSED and, of what we took, when ANSWERED: ``fin`` says that a FIN is part of it, ``answer`` is
    our response. ``began`` is the handshake of a connection that applications have had, as its
    cookie has it: ``handshake`` has the numbers of where the stream goes on. ``idle`` says that the
    client has closed it between two requests.
    """

    state: State = State.NONE
    handshake: Handshake | None = None
    window: ReceiveWindow = _EMPTY_WINDOW
    head: Head = _NO_HEAD
    acknowledged: int = 0
    unacknowledged: int = 0
    last_seen_ns: int = 0
    client_end: int = 0
    fin: bool = False
    answer: bytes = b""
    began: Handshake | None = None
    idle: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """What came of a segment. ``answer`` goes to the client; DECIDE and GIVE have none."""

    endpoint: Endpoint
    events: tuple[Event, ...]
    action: Action
    counters: tuple[str, ...]
    answer: Segment | None


def step(endpoint: Endpoint, segment: Segment, around: Around) -> Step:
    """The endpoint after one segment, and what goes out."""
    events: tuple[Event, ...] = ()
    counters: tuple[str, ...] = ()
    while True:
        event, judged = _judge(endpoint, segment, around)
        then = TABLE[endpoint.state][event]
        events += (event,)
        counters += then.counters
        if event is not Event.COOKIE:
            break
        endpoint = replace(judged, state=State.OPEN)
    after = replace(judged, state=then.state)
    if then.action is Action.ACK and event in _TAKES:
        after = replace(after, acknowledged=after.window.held, unacknowledged=0)
    if then.state is State.CLOSED and endpoint.state not in (State.CLOSED, State.ANSWERED):
        after = replace(after, client_end=_stream_end(judged, segment))
    if then.state in (State.CLOSED, State.RESET) and endpoint.began is not None:
        idle = endpoint.state is State.IDLE and then.action is Action.FIN_ACK
        after = replace(after, handshake=endpoint.began, began=None, idle=idle)
    if then.state is State.ANSWERED and endpoint.state is not State.ANSWERED:
        too_long = event is Event.TOO_LONG
        after = _answered(after, segment, responses.too_long() if too_long else responses.nobody())
    # The client of an answer stands behind that, whichever handshake the end is remembered by.
    stands = judged.handshake if endpoint.state is State.ANSWERED else after.handshake
    answer = _answer(then.action, replace(after, handshake=stands), segment, around)
    return Step(after, events, then.action, counters, answer)


def _stream_end(endpoint: Endpoint, segment: Segment) -> int:
    """Where the stream ends that this segment closes.

    A reset closes it where we have it: its own data are no part of it (RFC 9293 section 3.5.3, as
    in 3.10.7.4, where a segment with RST is never taken for its text), nor is what it skips.
    """
    if Flag.RST not in segment.flags:
        return segment.end
    assert endpoint.handshake is not None
    return endpoint.handshake.irs + 1 + endpoint.window.held & _U32


def _judge(endpoint: Endpoint, segment: Segment, around: Around) -> tuple[Event, Endpoint]:
    """Rules 1 to 6; the endpoint returned holds what the segment brought."""
    state, flags, handshake = endpoint.state, segment.flags, endpoint.handshake
    if is_syn(segment):
        return _judge_syn(state, around), endpoint
    if not flags & (Flag.ACK | Flag.RST) or Flag.SYN in flags:
        return Event.BAD_FLAGS, endpoint
    if state is State.SYN_GIVEN:
        return Event.ANY, endpoint
    ours = handshake is not None and segment.ack == handshake.iss + 1 & _U32
    if state is State.CLOSED and (ours or segment.end == endpoint.client_end):
        return _judge_closed(endpoint, segment), endpoint
    if state is State.RESET and ours:
        return Event.RST_EXACT if Flag.RST in flags else Event.LATE, endpoint
    if state is State.ANSWERED and handshake is not None:
        return _judge_answered(endpoint, handshake, segment)
    if Flag.RST in flags:
        return _judge_reset(endpoint, segment), endpoint
    if state not in _AWAITING or handshake is None or not ours:
        proven = None
        if state not in _KEPT:
            proven = check(segment, around.key, around.now_wall_s)
        if proven is None:
            return _judge_stranger(state, segment, around), endpoint
        return Event.COOKIE, Endpoint(handshake=proven, last_seen_ns=around.now_ns)
    offset = signed(segment.seq - handshake.irs - 1)
    if len(segment.data) <= 1 and Flag.FIN not in flags and -1 <= offset < endpoint.acknowledged:
        return Event.KEEPALIVE, endpoint
    if not segment.data:
        return _judge_empty(endpoint, offset, fin=Flag.FIN in flags), endpoint
    return _judge_data(endpoint, segment, offset, handshake.mss, around)


def _judge_stranger(state: State, segment: Segment, around: Around) -> Event:
    if state is State.RESET:
        return Event.LATE
    says = segment.data or Flag.FIN in segment.flags
    awaited = state in (State.HOLDING, *_KEPT)
    if says and not awaited and is_expired(segment, around.key, around.now_wall_s):
        return Event.EXPIRED
    return Event.NO_COOKIE


def _judge_syn(state: State, around: Around) -> Event:
    if state in (*_KEPT, State.ANSWERED):
        return Event.SYN
    if around.on_connection or state is State.SYN_GIVEN:
        return Event.SYN_ON_CONNECTION
    return Event.SYN if around.server_ready or around.starts else Event.SYN_NO_SERVER


def _judge_closed(endpoint: Endpoint, segment: Segment) -> Event:
    if Flag.RST in segment.flags:
        return Event.RST_EXACT
    if segment.end != endpoint.client_end:
        return Event.LATE
    if Flag.FIN in segment.flags:
        return Event.FIN_AGAIN
    return Event.LATE if segment.data else Event.PURE_ACK


def _judge_reset(endpoint: Endpoint, segment: Segment) -> Event:
    handshake = endpoint.handshake
    if endpoint.state not in _AWAITING or handshake is None:
        return Event.RST_OTHER
    offset = signed(segment.seq - handshake.irs - 1)
    acknowledges = Flag.ACK in segment.flags and segment.ack == handshake.iss + 1 & _U32
    exact = offset in (endpoint.window.held, endpoint.acknowledged)
    if exact or (acknowledges and 0 <= offset <= WINDOW):
        return Event.RST_EXACT
    return Event.RST_OTHER


def _judge_answered(
    endpoint: Endpoint, handshake: Handshake, segment: Segment
) -> tuple[Event, Endpoint]:
    """Rule 5."""
    whole = len(endpoint.answer) + 1
    had = segment.ack - handshake.iss - 1 & _U32
    known = Flag.ACK in segment.flags and had <= whole
    offset = signed(segment.seq - endpoint.client_end)
    near = abs(offset) <= WINDOW
    if Flag.RST in segment.flags:
        if offset and not (known and near):
            return Event.RST_OTHER, endpoint
        return Event.RST_EXACT, endpoint
    if not known:
        return Event.NO_COOKIE, endpoint
    if not near:
        return Event.OUTSIDE, endpoint
    after = _noted(endpoint, segment)
    if offset <= 0 < signed(segment.end - endpoint.client_end) and not endpoint.fin:
        after = replace(after, client_end=segment.end, fin=Flag.FIN in segment.flags)
    empty = segment.end == segment.seq
    if had < whole:
        return Event.PURE_ACK if empty and offset else Event.MISSING, after
    if empty and not offset:
        return Event.HEARD if after.fin else Event.PURE_ACK, after
    return Event.LAST_FIN if after.fin else Event.MORE, after


def _answered(endpoint: Endpoint, segment: Segment, response: bytes) -> Endpoint:
    """The endpoint when it has just been given its answer, by the segment that decided that."""
    assert endpoint.handshake is not None
    end = endpoint.handshake.irs + 1 + endpoint.window.held & _U32
    fin = Flag.FIN in segment.flags and segment.end - 1 & _U32 == end
    return replace(
        endpoint,
        acknowledged=endpoint.window.held,
        client_end=end + fin & _U32,
        fin=fin,
        answer=response,
    )


def _noted(endpoint: Endpoint, segment: Segment) -> Endpoint:
    """With the timestamps of a segment that was taken: an answer without one to answer has them."""
    stamps = parse_options(segment.options).timestamps
    if stamps is None or endpoint.handshake is None:
        return endpoint
    told = replace(endpoint.handshake, ts_recent=stamps.value, ts_sent=stamps.echo)
    return replace(endpoint, handshake=told)


def _judge_empty(endpoint: Endpoint, offset: int, *, fin: bool) -> Event:
    held = endpoint.window.held
    if not 0 <= offset <= WINDOW:
        return Event.OUTSIDE
    if not fin:
        return Event.PURE_ACK
    if offset != held:
        return Event.FIN_EARLY if offset > held else Event.DUPLICATE
    return Event.FIN_CUT if held or endpoint.window.pieces else Event.FIN


def _judge_data(
    endpoint: Endpoint, segment: Segment, offset: int, mss: int, around: Around
) -> tuple[Event, Endpoint]:
    window, insertion = endpoint.window.insert(offset, segment.data)
    if insertion is Insertion.OUTSIDE:
        return Event.OUTSIDE, endpoint
    head = endpoint.head.feed(window.data[endpoint.window.held :])
    kept = insertion in (Insertion.EXTENDED, Insertion.GAP)
    after = replace(
        _noted(endpoint, segment),
        window=window,
        head=head,
        unacknowledged=endpoint.unacknowledged + kept,
        last_seen_ns=around.now_ns,
    )
    mute = head.waits and not window.pieces and around.room  # its client may wait for the server
    now = decide(
        insertion,
        length=WINDOW if mute else len(segment.data),
        mss=mss,
        unacknowledged=after.unacknowledged,
        last_seen_ns=around.now_ns if endpoint.state is State.OPEN else endpoint.last_seen_ns,
        now_ns=around.now_ns,
    ).now
    if head.progress is Progress.COMPLETE or (mute and now):
        return _complete(head.grammar, around), after
    if head.progress is Progress.TOO_LONG:
        return Event.TOO_LONG, after
    if Flag.FIN in segment.flags and offset + len(segment.data) == window.held:
        return Event.FIN_CUT, after
    if insertion is Insertion.NO_ROOM or (kept and not around.room):
        return Event.NO_ROOM, endpoint
    if kept and not now:
        return Event.HOLD, after
    if kept:
        return Event.HOLD_ACK if window.held else Event.GAP_ACK, after
    return Event.DUPLICATE if window.held else Event.GAP_DUPLICATE, after


def _complete(grammar: Grammar, around: Around) -> Event:
    if around.server_ready:
        return Event.COMPLETE
    if around.starts:
        return Event.COMPLETE_AWAITED
    http1 = grammar is Grammar.HTTP1
    return Event.COMPLETE_NO_SERVER if http1 else Event.COMPLETE_NO_SERVER_OTHER


def _answer(action: Action, after: Endpoint, to: Segment, around: Around) -> Segment | None:
    if action is Action.SYN_ACK:
        return answers.syn_ack(to, around.key, around.now_wall_s)
    if action is Action.RST:
        return answers.reset(to)
    handshake = after.handshake
    if action is Action.ANSWER:
        return _response(after, to)
    if action not in (Action.ACK, Action.FIN_ACK) or handshake is None:
        return None
    scaled = Agreed.WINDOW_SCALE in handshake.options
    if action is Action.ACK and after.answer:
        behind = handshake.iss + 1 + len(after.answer) + 1 & _U32
        return answers.acknowledge(to, seq=behind, ack=after.client_end, held=0, scaled=scaled)
    if action is Action.ACK:
        held = after.acknowledged
        ack = handshake.irs + 1 + held & _U32
        return answers.acknowledge(
            to, seq=handshake.iss + 1 & _U32, ack=ack, held=held, scaled=scaled
        )
    answer = answers.acknowledge(to, seq=to.ack, ack=after.client_end, held=0, scaled=scaled)
    # A client that acknowledges our FIN needs only its own acknowledged again.
    ours_unseen = to.ack == handshake.iss + 1 & _U32 or after.idle
    return replace(answer, flags=answer.flags | Flag.FIN) if ours_unseen else answer


def _response(after: Endpoint, to: Segment) -> Segment:
    """What the client has not acknowledged of our answer, and FIN: one segment."""
    assert after.handshake is not None
    handshake, scaled = after.handshake, Agreed.WINDOW_SCALE in after.handshake.options
    had = to.ack - handshake.iss - 1 & _U32
    start = had if had < len(after.answer) else 0
    stamps = b""
    if Agreed.TIMESTAMPS in handshake.options:
        stamps = write_timestamps(Timestamps(handshake.ts_sent, handshake.ts_recent))
    acknowledgement = answers.acknowledge(
        to, seq=handshake.iss + 1 + start & _U32, ack=after.client_end, held=0, scaled=scaled
    )
    return replace(
        acknowledgement,
        flags=Flag.ACK | Flag.PSH | Flag.FIN,
        options=stamps,
        data=after.answer[start:],
    )
