# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 with prior knowledge (RFC 9113): where the first flight of a client ends.

After the preface come frames. The first header block is what there is to decide by: a HEADERS
frame and as many CONTINUATION frames as it takes to END_HEADERS, with no other frame between them.
Other frames are stepped over, also those of unknown types (RFC 9113 section 5.5).

Some clients, gRPC's among them, send no HEADERS before they have seen the server's SETTINGS. They
have no more to say when their bytes end with a whole frame; then the connection is decided by
what it is, not by a path.

Framing that the server must refuse (a frame longer than 16,384 bytes, something else inside a
header block, a CONTINUATION of nothing) ends the head where it is seen. The server says so to the
client.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntFlag

from spec.requests import hpack, url

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_MAX = 16_384  # bytes; SETTINGS_MAX_FRAME_SIZE before any SETTINGS of the server's
HEADER_LEN = 9
HEADERS = 0x01
CONTINUATION = 0x09


class Flag(IntFlag):
    """Flags of HEADERS and CONTINUATION (RFC 9113 sections 6.2 and 6.10)."""

    END_HEADERS = 0x04
    PADDED = 0x08
    PRIORITY = 0x20


class FrameError(Exception):
    """The frames break a rule; ``end`` is the offset after the byte that shows it."""

    def __init__(self, end: int) -> None:
        super().__init__(f"broken framing before offset {end}")
        self.end = end


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that is whole: its type, its flags, its payload, the offset of its end."""

    type: int
    flags: int
    payload: bytes
    end: int

    @property
    def is_headers(self) -> bool:
        """Whether it carries a piece of a header block."""
        return self.type in (HEADERS, CONTINUATION)

    @property
    def ends_block(self) -> bool:
        """Whether the block ends with it."""
        return self.is_headers and bool(self.flags & Flag.END_HEADERS)


def frames(data: bytes) -> Iterator[Frame]:
    """Whole frames after the preface, up to the end of the first header block."""
    at, block = len(PREFACE), False
    while True:
        header = data[at : at + HEADER_LEN]
        length = int.from_bytes(header[:3], "big")
        if len(header) >= 3 and length > FRAME_MAX:
            raise FrameError(at + 3)
        if len(header) >= 4 and block != (header[3] == CONTINUATION):
            raise FrameError(at + 4)
        end = at + HEADER_LEN + length
        if len(header) < HEADER_LEN or len(data) < end:
            return
        frame = Frame(header[3], header[4], data[at + HEADER_LEN : end], end)
        yield frame
        if frame.ends_block:
            return
        at, block = end, frame.is_headers


def block_end(data: bytes) -> int | None:
    """The offset after the first header block, or after what breaks the framing; else None."""
    try:
        return next((frame.end for frame in frames(data) if frame.ends_block), None)
    except FrameError as error:
        return error.end


def at_rest(data: bytes) -> bool:
    """Whether the bytes end with a whole frame, outside of any header block."""
    whole = list(frames(data))
    return bool(whole) and not whole[-1].is_headers and whole[-1].end == len(data)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the first request asks for; nothing of one that breaks a rule, or that is not there."""

    host: bytes = b""
    path: bytes = b""


def asked(data: bytes) -> Asked:
    """Host and path of a flight's first request, as HTTP/1's are called (`spec.requests.url`).

    A path is visible ASCII from its slash on. One of 640 bytes or more without its
    query is not looked at, and neither is a host of 256.
    """
    try:
        found = hpack.fields(_block(data))
        path = [value for name, value in found if name == b":path"]
        hosts = [value for name, value in found if name == b":authority"]
        hosts = hosts or [value for name, value in found if name == b"host"]
        if max(len(path), len(hosts)) > 1:
            return Asked()
        raw = path[0].partition(b"?")[0].partition(b"#")[0] if path else b""
        if raw and (raw[:1] != b"/" or any(not 0x21 <= byte <= 0x7E for byte in raw)):
            return Asked()
        text = url.normalise(raw).text if raw else b""
        host = url.host(hosts[0])[0] if hosts and hosts[0] else b""
    except (FrameError, hpack.HpackError, url.UrlError):
        return Asked()
    return Asked(host, text)


def cookies(data: bytes) -> bytes:
    """The first request's Cookie header, put together of its crumbs (RFC 9113 section 8.2.3)."""
    try:
        found = hpack.fields(_block(data))
    except (FrameError, hpack.HpackError):
        return b""
    return b"; ".join(value for name, value in found if name == b"cookie")


def _block(data: bytes) -> bytes:
    """The first header block, out of its frames, without padding and priority."""
    block, whole = b"", False
    for frame in frames(data):
        if not frame.is_headers:
            continue
        payload, padding = frame.payload, 0
        if frame.type == HEADERS and frame.flags & Flag.PADDED:
            padding, payload = payload[0], payload[1:]
        if frame.type == HEADERS and frame.flags & Flag.PRIORITY:
            payload = payload[5:]
        block += payload[: len(payload) - padding]
        whole = frame.ends_block
    if not whole:
        raise hpack.HpackError("the block is not whole")
    return block
