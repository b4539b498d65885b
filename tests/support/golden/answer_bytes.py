# SPDX-License-Identifier: Apache-2.0
"""The responses that the iNIC gives itself, as golden rows have them: written down once more."""

from __future__ import annotations

from typing import Any

from tests.support.golden import packets as p

FULL = 14_600
END = p.IRS + 1 + FULL  # behind the bytes that a refused head of this length takes


def response(status: str, why: str) -> bytes:
    """Written down once more, from RFC 9112."""
    body = b"refused: " + why.encode() + b"\n"
    head = (
        f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/plain\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


TOO_LONG = response(
    "431 Request Header Fields Too Large", "a head that does not end within 14,600 bytes"
)
HEARD = p.ISS + 1 + len(TOO_LONG) + 1


def answered(data: bytes = TOO_LONG, *, seq: int = p.ISS + 1, ack: int = END, ts: int = p.TS_LATER,
             flags: str = "FPA", **fields: Any) -> bytes:  # fmt: skip
    """Our response, or what is left of it."""
    given = {"options": p.echo(p.OUR_TS, ts), "window": -(-p.WINDOW >> p.OUR_SCALE), **fields}
    return p.answer(flags, seq=seq, ack=ack, data=data, **given)


NOBODY = response("503 Service Unavailable\r\nRetry-After: 5", "no server is left that may have it")


def nobody(end: int = p.IRS + 1 + len(p.HEAD), ts: int = p.TS_LATER, **fields: Any) -> bytes:
    """Our response to a request that no server is left for."""
    return answered(NOBODY, ack=end, ts=ts, **fields)


def acked(ack: int = END, seq: int = HEARD, ts: int = p.TS_LATER) -> bytes:
    """A pure ACK behind all of the response."""
    return answered(b"", seq=seq, ack=ack, ts=ts, flags="A")
