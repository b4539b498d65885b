# SPDX-License-Identifier: Apache-2.0
"""Why a connection is still with a server that is to lose all of them. Pure.

why       the connection                                        goes
IDLE      has no request that is not answered                   at once, to its first server
BUSY      is answered, or its next request waits for that       with its next request, or when
                                                                it is idle
MOVING    is on its way to another server, or to its socket     when that server has it
UNREAD    is of a service that decides once: where its next     with its next request, if that
          request starts is not known before it comes           is HTTP/1 and begins a segment
OPAQUE    is none of HTTP/1 any more, or never was, or has an   when it ends
          answer whose end is not known
CLOSING   one side has closed                                   when it ends
"""

from enum import StrEnum
from typing import NamedTuple

from ipos.abi.columns import Columns
from ipos.abi.layout import constant

_ATTACHED = constant("IPOS_EP_ATTACHED")
_HANDSHAKE = constant("IPOS_EP_HANDSHAKE")
_MOVING = constant("IPOS_EP_MOVING")
_WAITING = constant("IPOS_EP_WAITING")
_NOT, _LENGTH = constant("IPOS_FOLLOW_NOT"), constant("IPOS_FOLLOW_LENGTH")
_OPAQUE = constant("IPOS_FOLLOW_OPAQUE")
_UNKNOWN = constant("IPOS_ANSWER_UNKNOWN")


class Why(StrEnum):
    """See above."""

    IDLE = "idle"
    BUSY = "busy"
    MOVING = "moving"
    UNREAD = "unread"
    OPAQUE = "opaque"
    CLOSING = "closing"


class Endpoint(NamedTuple):
    """Of `struct ipos_endpoint`."""

    state: int
    flags: int
    client_fin_seen: int
    server_fin_seen: int
    follow: int
    hs: bytes
    endpoint_ip: bytes
    cookie: int
    body_left: int
    asked: int
    answered: int
    endpoint_port: bytes
    answer: int


ENDPOINT = Columns("ipos_endpoint", Endpoint._fields, Endpoint._make)


def why(row: Endpoint) -> Why:
    """Why the connection of a row is here."""
    if row.state != _ATTACHED or row.flags & _MOVING:
        return Why.MOVING
    if row.client_fin_seen or row.server_fin_seen:
        return Why.CLOSING
    if row.flags & _HANDSHAKE or row.follow == _OPAQUE:
        return Why.OPAQUE
    if row.follow == _NOT:
        return Why.UNREAD
    if row.answer == _UNKNOWN:
        return Why.OPAQUE
    if row.flags & _WAITING or row.follow != _LENGTH or row.body_left:
        return Why.BUSY
    return Why.IDLE if row.asked == row.answered else Why.BUSY
