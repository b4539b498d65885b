# SPDX-License-Identifier: Apache-2.0
"""The ones' complement checksum of RFC 1071."""

from __future__ import annotations

import struct


def checksum(data: bytes) -> int:
    """The complement of the ones' complement sum of big-endian 16-bit words.

    Its own field counts as zero. The length is even: only the 16 bytes of the ipOS header are
    summed here.
    """
    words: tuple[int, ...] = struct.unpack(f"!{len(data) // 2}H", data)
    total = sum(words)
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
