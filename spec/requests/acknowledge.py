# SPDX-License-Identifier: Apache-2.0
"""When an unattached endpoint acknowledges the part of a request that it holds.

To acknowledge is a promise: from then on the bytes must reach an application or the connection is
reset, and the endpoint can no longer be forgotten. So the segments of a request are first held in
silence, and most requests are whole before anything has to be said. But a client may be waiting
for an acknowledgement: its congestion window may be full, or Nagle's algorithm (RFC 9293 section
3.7.4) keeps the next write back until the last is acknowledged. There is no timer; an arriving
segment decides.
"""

from __future__ import annotations

from enum import Enum

from ipos.handshake.options import OUR_MSS
from spec.requests.window import Insertion

SEGMENTS_MAX = 4
PAUSE_NS = 5_000_000
OPTIONS_MAX = 12  # bytes of every segment that timestamps take from its data


class Acknowledge(Enum):
    """Why now, or why not."""

    HOLD = "hold"
    DUPLICATE = "duplicate"
    GAP = "gap"
    SEGMENTS = "segments"
    SHORT = "short"
    PAUSE = "pause"

    @property
    def now(self) -> bool:
        """Whether an acknowledgement goes out."""
        return self is not Acknowledge.HOLD


def decide(
    insertion: Insertion,
    *,
    length: int,
    mss: int,
    unacknowledged: int,
    last_seen_ns: int,
    now_ns: int,
) -> Acknowledge:
    """Whether to acknowledge, after a segment that leaves the head incomplete.

    ``length`` is its data and ``mss`` the client's, in bytes; ``unacknowledged`` counts the
    segments kept since the last acknowledgement, this one included; ``last_seen_ns`` is when the
    last data before this came, or now if it is the first, on the clock of
    ``now_ns``. The first that applies:

    -   DUPLICATE: it brought nothing new, so the client has given up waiting
    -   GAP: something before it is missing, and the client learns of it by an acknowledgement
        that repeats (RFC 5681 section 4.2); it promises nothing that is not in order
    -   SEGMENTS: four are held
    -   SHORT: its data and 12 bytes of timestamps are less than the smaller of the client's MSS
        and ours: the client had no more to send, and Nagle's algorithm may keep back its next
        write. Without this rule a client that writes its head in two parts stands still for its
        retransmission timeout
    -   PAUSE: more than 5 ms since the last data: a slow writer

    Otherwise HOLD. A segment outside the window or without room is not asked about.
    """
    if insertion is Insertion.DUPLICATE:
        return Acknowledge.DUPLICATE
    if insertion is Insertion.GAP:
        return Acknowledge.GAP
    if unacknowledged >= SEGMENTS_MAX:
        return Acknowledge.SEGMENTS
    if is_short(length, mss):
        return Acknowledge.SHORT
    if now_ns - last_seen_ns > PAUSE_NS:
        return Acknowledge.PAUSE
    return Acknowledge.HOLD


def is_short(length: int, mss: int) -> bool:
    """Whether a segment's data and timestamps leave room in it: its writer had no more to send."""
    return length + OPTIONS_MAX < min(mss, OUR_MSS)
