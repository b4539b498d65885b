# SPDX-License-Identifier: Apache-2.0
"""The HTTP responses that the data plane itself gives, byte for byte (RFC 9110, RFC 9112).

Each is whole and says that the connection closes. What refuses a request fits into one segment of
536 bytes with timestamps, a redirect into two. They leave out Date, as RFC 9110 section 6.6.1 lets
an origin server without a clock.
"""

ANSWER_MAX = 524
"""Bytes: what a segment of the smallest MSS holds beside timestamps."""


def refused(why: str) -> bytes:
    """The response to a head that no server may serve: `why` is a text of `IPOS_AMBIGUITIES`."""
    return _response("400 Bad Request", why)


def too_long() -> bytes:
    """For a head that does not end within the window of an unattached endpoint."""
    return _response(
        "431 Request Header Fields Too Large", "a head that does not end within 14,600 bytes"
    )


def timed_out() -> bytes:
    """For a head that does not end within the header timeout."""
    return _response("408 Request Timeout", "a head that does not end in time")


RETRY_AFTER_S = 5


def nobody() -> bytes:
    """For a request that no server is left for (RFC 9110 section 15.6.4)."""
    return _unavailable("no server is left that may have it")


def unstarted() -> bytes:
    """For a request whose application no server could start."""
    return _unavailable("its application could not be started")


def unready() -> bytes:
    """For a request whose application is not there in time."""
    return _unavailable("its application was not started in time")


REDIRECT_MAX = 1024
"""Bytes: what two such segments and one piece of the hold pool hold."""


def redirect_start(place: str) -> bytes:
    """A redirect to a server's own name, up to the target (RFC 9110, 15.4.8).

    place: the URL without a path.
    """
    return (
        "HTTP/1.1 307 Temporary Redirect\r\nConnection: close\r\nCache-Control: no-store\r\n"
        f"Content-Length: 0\r\nLocation: {place}"
    ).encode("ascii")


def redirect_place(start: bytes) -> str:
    """The place that such a beginning names."""
    return start.rpartition(b"Location: ")[2].decode("ascii")


def redirect(place: str, head: bytes) -> bytes | None:
    """The whole redirect of a request, whose head was accepted.

    Its target stays byte for byte. None where the client cannot be sent on: the target is no path
    and query, it does not end in the head's first 1,024 bytes, or the response would be longer.
    """
    _, space, rest = head[:REDIRECT_MAX].partition(b" ")
    target, end, _ = rest.partition(b" ")
    response = redirect_start(place) + target + b"\r\n\r\n"
    fits = space and end and target.startswith(b"/") and len(response) <= REDIRECT_MAX
    return response if fits else None


def _unavailable(why: str) -> bytes:
    return _response(f"503 Service Unavailable\r\nRetry-After: {RETRY_AFTER_S}", why)


def _response(status: str, why: str) -> bytes:
    body = f"refused: {why}\n"
    return (
        f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/plain\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode("ascii")
