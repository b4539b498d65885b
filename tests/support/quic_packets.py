# SPDX-License-Identifier: Apache-2.0
"""Clients' Initial packets, protected by the oracle's keys. Their tags are made up."""

from __future__ import annotations

from spec.quic import aes
from spec.quic.initial import TAG_LENGTH, VERSION_1, VERSION_2, client_keys

TAG = b"T" * TAG_LENGTH


def variable(value: int, size: int = 0) -> bytes:
    """A variable-length integer in so many bytes, 1, 2, 4 or 8; 0: as few as can be."""
    power = next(n for n in range(4) if size in (0, 1 << n) and value < 1 << (8 * (1 << n) - 2))
    return (value | power << (8 * (1 << power) - 2)).to_bytes(1 << power, "big")


def crypto(start: int, data: bytes) -> bytes:
    """A CRYPTO frame."""
    return b"\x06" + variable(start) + variable(len(data)) + data


def initial(
    destination: bytes,
    frames: bytes,
    *,
    number: int = 0,
    number_size: int = 1,
    version: int = VERSION_1,
    source: bytes = b"",
    token: bytes = b"",
    fill: int = 1200,
) -> bytes:
    """One datagram, filled up with PADDING to so many bytes; 0: it is not."""
    kind = {VERSION_1: 0, VERSION_2: 1}[version]
    first = 0xC0 | kind << 4 | (number_size - 1)
    head = version.to_bytes(4, "big")
    for one in (destination, source):
        head += bytes([len(one)]) + one
    head += variable(len(token)) + token
    frames = frames.ljust(max(4, fill - 1 - len(head) - 2 - number_size - TAG_LENGTH), b"\0")
    head += variable(number_size + len(frames) + TAG_LENGTH, 2)
    keys = client_keys(version, destination)
    nonce = bytes(a ^ b for a, b in zip(keys.iv, number.to_bytes(12, "big"), strict=True))
    key_stream = aes.stream(keys.key, nonce, len(frames))
    body = bytes(a ^ b for a, b in zip(frames, key_stream, strict=True)) + TAG
    plain = number.to_bytes(number_size, "big")
    mask = aes.encrypt(aes.expand(keys.hp), (plain + body)[4:20])
    covered = bytes(a ^ b for a, b in zip(plain, mask[1:], strict=False))
    return bytes([first ^ mask[0] & 0x0F]) + head + covered + body


def short(identifier: bytes, rest: bytes = b"x" * 30) -> bytes:
    """A 1-RTT packet, as far as anybody between can tell."""
    return b"\x40" + identifier + rest
