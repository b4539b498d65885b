# SPDX-License-Identifier: Apache-2.0
"""Authentication tags: what a 16-bit checksum cannot be.

A tag is SipHash-2-4 under the farm's frame key, in the byte order of the reference implementation.
Type 1 creates a connection from one frame and has room in the figure's control block, so it
carries 128 bits; the others refer to an entry that exists and carry 64. Without a key
(authentication off) tags are sent as zero and received without a look.
"""

from __future__ import annotations

from hmac import compare_digest

from ipos.handshake.siphash import siphash64, siphash128
from ipos.wire.errors import WireError

TAG_SIZE = 8
CONNECTION_TAG_SIZE = 16


def tag(key: bytes | None, covered: bytes) -> bytes:
    """The 8-byte tag of every type but 1."""
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
