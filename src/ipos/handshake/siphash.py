# SPDX-License-Identifier: Apache-2.0
"""SipHash-2-4, the keyed hash behind every cookie and every frame tag.

Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012), with the 128-bit output
of their reference implementation. Two compression rounds per 8-byte word, four to finish.

Python's own ``hash()`` is SipHash-1-3 under a key nobody can choose, and ``hashlib`` has none, so
it is written out here. The data plane has the same function in C; this one is its oracle.

Results are integers. The bytes the reference implementation emits, which are the bytes on the
wire, are ``value.to_bytes(8, "little")`` and ``value.to_bytes(16, "little")``.
"""

from __future__ import annotations

import struct

KEY_SIZE = 16

_U64 = 0xFFFF_FFFF_FFFF_FFFF
_COMPRESSION_ROUNDS = 2
_FINALIZATION_ROUNDS = 4

_State = tuple[int, int, int, int]


def siphash64(key: bytes, message: bytes) -> int:
    """The 64-bit SipHash-2-4 of a message; ``ValueError`` unless the key is 16 bytes."""
    v0, v1, v2, v3 = _absorb(_initial(key), message)
    v0, v1, v2, v3 = _rounds((v0, v1, v2 ^ 0xFF, v3), _FINALIZATION_ROUNDS)
    return v0 ^ v1 ^ v2 ^ v3


def siphash64_short(key: bytes, message: bytes) -> int:
    """SipHash-1-3: half of the rounds for a message that nobody without the key can choose."""
    v0, v1, v2, v3 = _absorb(_initial(key), message, 1)
    v0, v1, v2, v3 = _rounds((v0, v1, v2 ^ 0xFF, v3), 3)
    return v0 ^ v1 ^ v2 ^ v3


def siphash128(key: bytes, message: bytes) -> int:
    """The 128-bit SipHash-2-4; its low half is the half the reference emits first.

    It is a function of its own, not an extension of the 64-bit one: the constants 0xee and 0xdd
    keep the two apart under one key. ``ValueError`` unless the key is 16 bytes.
    """
    v0, v1, v2, v3 = _initial(key)
    v0, v1, v2, v3 = _absorb((v0, v1 ^ 0xEE, v2, v3), message)
    v0, v1, v2, v3 = _rounds((v0, v1, v2 ^ 0xEE, v3), _FINALIZATION_ROUNDS)
    low = v0 ^ v1 ^ v2 ^ v3
    v0, v1, v2, v3 = _rounds((v0, v1 ^ 0xDD, v2, v3), _FINALIZATION_ROUNDS)
    return (v0 ^ v1 ^ v2 ^ v3) << 64 | low


def _initial(key: bytes) -> _State:
    if len(key) != KEY_SIZE:
        raise ValueError(f"a SipHash key is {KEY_SIZE} bytes, this one is {len(key)}")
    k0, k1 = struct.unpack("<QQ", key)
    # The paper's constants: "somepseudorandomlygeneratedbytes".
    return (
        k0 ^ 0x736F6D6570736575,
        k1 ^ 0x646F72616E646F6D,
        k0 ^ 0x6C7967656E657261,
        k1 ^ 0x7465646279746573,
    )


def _absorb(state: _State, message: bytes, rounds: int = _COMPRESSION_ROUNDS) -> _State:
    """Mix in every 8-byte word; the last is zero-padded and ends with the length modulo 256."""
    padding = bytes(7 - len(message) % 8)
    padded = message + padding + bytes((len(message) & 0xFF,))
    for (word,) in struct.iter_unpack("<Q", padded):
        v0, v1, v2, v3 = state
        v0, v1, v2, v3 = _rounds((v0, v1, v2, v3 ^ word), rounds)
        state = (v0 ^ word, v1, v2, v3)
    return state


def _rounds(state: _State, count: int) -> _State:
    """``count`` SipRounds. Rotations are spelled out: a call for each doubles the time."""
    v0, v1, v2, v3 = state
    for _ in range(count):
        v0 = v0 + v1 & _U64
        v1 = (v1 << 13 & _U64 | v1 >> 51) ^ v0
        v0 = v0 << 32 & _U64 | v0 >> 32
        v2 = v2 + v3 & _U64
        v3 = (v3 << 16 & _U64 | v3 >> 48) ^ v2
        v0 = v0 + v3 & _U64
        v3 = (v3 << 21 & _U64 | v3 >> 43) ^ v0
        v2 = v2 + v1 & _U64
        v1 = (v1 << 17 & _U64 | v1 >> 47) ^ v2
        v2 = v2 << 32 & _U64 | v2 >> 32
    return v0, v1, v2, v3
