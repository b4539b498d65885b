# SPDX-License-Identifier: Apache-2.0
"""The responses that the iNIC gives itself, byte for byte (RFC 9110, RFC 9112).

Each is whole, says that the connection closes and fits into one segment of 536 bytes with
timestamps. They leave out Date, as RFC 9110 section 6.6.1 lets an origin server without a clock.
"""

ANSWER_MAX = 524
"""Bytes: what a segment of the smallest MSS holds beside timestamps."""


def refused(why: str) -> bytes:
    """For a head that nobody may serve: `why` is one of the texts of `IPOS_AMBIGUITIES`."""
    return _response("400 Bad Request", why)


def too_long() -> bytes:
    """For a head that does not end within the window of an unattached endpoint."""
    return _response(
        "431 Request Header Fields Too Large", "a head that does not end within 14,600 bytes"
    )


def timed_out() -> bytes:
    """For a head that does not end within the header timeout."""
    return _response("408 Request Timeout", "a head that does not end in time")


def _response(status: str, why: str) -> bytes:
    body = f"refused: {why}\n"
    return (
        f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/plain\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode("ascii")
