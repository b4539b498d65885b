# SPDX-License-Identifier: Apache-2.0
"""AES-128 as FIPS 197 describes it: byte by byte, with an S-box that is computed. Pure."""

from __future__ import annotations

ROUNDS = 10


def _times_x(a: int) -> int:
    return (a << 1 ^ (0x11B if a & 0x80 else 0)) & 0xFF


def multiply(a: int, b: int) -> int:
    """In the field of 256 elements (4.2)."""
    product = 0
    while b:
        if b & 1:
            product ^= a
        a, b = _times_x(a), b >> 1
    return product


def _box_entry(a: int) -> int:
    """The inverse and the affine transformation of 5.1.1."""
    inverse = next((b for b in range(256) if multiply(a, b) == 1), 0)
    rotated = [(inverse << n | inverse >> (8 - n)) & 0xFF for n in range(5)]
    return rotated[0] ^ rotated[1] ^ rotated[2] ^ rotated[3] ^ rotated[4] ^ 0x63


S_BOX = bytes(_box_entry(a) for a in range(256))


def expand(key: bytes) -> list[bytes]:
    """The keys of all rounds, 16 bytes each (5.2)."""
    words, constant = [key[at : at + 4] for at in range(0, 16, 4)], 1
    while len(words) < 4 * (ROUNDS + 1):
        word = words[-1]
        if len(words) % 4 == 0:
            word = bytes(S_BOX[b] for b in word[1:] + word[:1])
            word = bytes([word[0] ^ constant]) + word[1:]
            constant = _times_x(constant)
        words.append(bytes(a ^ b for a, b in zip(words[-4], word, strict=True)))
    return [b"".join(words[at : at + 4]) for at in range(0, len(words), 4)]


def encrypt(keys: list[bytes], block: bytes) -> bytes:
    """One block of 16 bytes (5.1)."""
    state = _xor(block, keys[0])
    for number in range(1, ROUNDS + 1):
        state = bytes(S_BOX[b] for b in state)
        state = bytes(state[(at + 4 * (at % 4)) % 16] for at in range(16))  # ShiftRows
        if number < ROUNDS:
            state = b"".join(_mixed(state[at : at + 4]) for at in range(0, 16, 4))
        state = _xor(state, keys[number])
    return state


def _mixed(column: bytes) -> bytes:
    twice, thrice = [multiply(b, 2) for b in column], [multiply(b, 3) for b in column]
    return bytes(
        twice[at] ^ thrice[(at + 1) % 4] ^ column[(at + 2) % 4] ^ column[(at + 3) % 4]
        for at in range(4)
    )


def _xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def stream(key: bytes, nonce: bytes, length: int, first: int = 2) -> bytes:
    """The key stream of GCM (SP 800-38D): by a nonce of 12 bytes, from this counter on."""
    keys, made = expand(key), b""
    while len(made) < length:
        made += encrypt(keys, nonce + first.to_bytes(4, "big"))
        first += 1
    return made[:length]
