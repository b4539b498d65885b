# SPDX-License-Identifier: Apache-2.0
"""Authentication tags, which prove what a 16-bit checksum cannot.

A tag is SipHash-2-4 under the farm's frame key, in the byte order of the reference implementation.
Type 1 creates a connection from one frame and has room in the figure's control block, so it
carries 128 bits; the others refer to an entry that exists and carry 64. Without a key
(authentication off) tags are sent as zero and received without a look.

Packets (types 2 and 5) are many, so their tag is made otherwise: two sums of NH (Black, Halevi,
Krawczyk, Krovetz, Rogaway, "UMAC: fast and secure message authentication", 1999; RFC 4418 5.2),
one multiplication for each eight bytes, and SipHash-1-3 of the sums and the lengths, 20 bytes.
"""

from __future__ import annotations

import functools
import hashlib
import struct
from dataclasses import dataclass
from hmac import compare_digest

from ipos.handshake.siphash import KEY_SIZE, siphash64, siphash64_short, siphash128
from ipos.wire.errors import WireError

TAG_SIZE = 8
CONNECTION_TAG_SIZE = 16
HEADER_WORDS = 12
HEADER_WORDS6 = 17
"""Of IPv6, whose headers are longer; the keys behind IPv4's last ones are of no other use."""
PAYLOAD_WORDS = 128

_U32, _U64 = 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF
_NH_KEYS = 2 * (HEADER_WORDS6 + PAYLOAD_WORDS + 1)


@dataclass(frozen=True, slots=True)
class PacketKey:
    """What tags of packets are made by: SipHash's 16 bytes, and NH's keys of 32 bits."""

    sip: bytes
    nh: tuple[int, ...]


@functools.lru_cache(maxsize=16)
def packet_key(key: bytes) -> PacketKey:
    """From the frame key: SHAKE128 of it behind a label, NH's keys little-endian."""
    stream = hashlib.shake_128(b"ipos packet" + key).digest(KEY_SIZE + 4 * _NH_KEYS)
    return PacketKey(stream[:KEY_SIZE], struct.unpack(f"<{_NH_KEYS}I", stream[KEY_SIZE:]))


def packet_tag(
    key: bytes | None, headers: bytes, payload: bytes, payload_from: int = HEADER_WORDS
) -> bytes:
    """The 8-byte tag of types 2 and 5: over our header and the inner ones, and a payload.

    A payload is summed from word `HEADER_WORDS` on, of IPv6 from `HEADER_WORDS6`, whatever the
    length of the headers. The second sum takes the keys two places further.
    """
    if key is None:
        return bytes(TAG_SIZE)
    parts = packet_key(key)
    one = two = 0
    for first, part in ((0, headers), (payload_from, payload)):
        padded = part + bytes(-len(part) % 8)
        for nth, (low, high) in enumerate(struct.iter_unpack("<II", padded), first):
            a, b, c, d = parts.nh[2 * nth : 2 * nth + 4]
            one += (low + a & _U32) * (high + b & _U32)
            two += (low + c & _U32) * (high + d & _U32)
    message = struct.pack("<QQHH", one & _U64, two & _U64, len(headers), len(payload))
    return siphash64_short(parts.sip, message).to_bytes(TAG_SIZE, "little")


def tag(key: bytes | None, covered: bytes) -> bytes:
    """The 8-byte tag of every type but 2, 5 and the 1 of a TCP connection."""
    if key is None:
        return bytes(TAG_SIZE)
    return siphash64(key, covered).to_bytes(TAG_SIZE, "little")


def connection_tag(key: bytes | None, covered: bytes) -> bytes:
    """The 16-byte tag of type 1."""
    if key is None:
        return bytes(CONNECTION_TAG_SIZE)
    return siphash128(key, covered).to_bytes(CONNECTION_TAG_SIZE, "little")


def verify(key: bytes | None, received: bytes, expected: bytes, offset: int) -> None:
    """``WireError`` for a tag that differs, unless authentication is off."""
    if key is not None and not compare_digest(received, expected):
        raise WireError("tag", offset, "wrong: not from a member, or changed on the way")
