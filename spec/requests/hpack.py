# SPDX-License-Identifier: Apache-2.0
"""Header blocks of HTTP/2 (HPACK, RFC 7541): bytes -> fields.

A whole decoder for the first block of a connection, when both tables are as they begin: the
static one of appendix A and an empty dynamic one of 4,096 bytes.
"""

from __future__ import annotations

import functools

from spec.requests.hpack_tables import LENGTHS, STATIC

TABLE_SIZE = 4096  # bytes; SETTINGS_HEADER_TABLE_SIZE before any SETTINGS of the server's
_ENTRY = 32  # bytes that an entry counts beside its name and value (section 4.1)

Field = tuple[bytes, bytes]


class HpackError(Exception):
    """The block cannot be decoded; the server ends such a connection."""


def huffman(data: bytes) -> bytes:
    """A string out of its Huffman code (section 5.2)."""
    decoded, code, length = bytearray(), 0, 0
    for byte in data:
        for bit in range(7, -1, -1):
            code, length = code << 1 | byte >> bit & 1, length + 1
            symbol = _codes().get((length, code))
            if symbol is None:
                continue
            if symbol == 256:
                raise HpackError("the symbol that ends strings, inside of one")
            decoded.append(symbol)
            code = length = 0
    if length > 7 or code != (1 << length) - 1:
        raise HpackError("padding that is more than seven bits, or not all ones")
    return bytes(decoded)


@functools.cache
def _codes() -> dict[tuple[int, int], int]:
    """Symbols by the length and value of their codes, which are canonical."""
    codes: dict[tuple[int, int], int] = {}
    code = length = 0
    for symbol in sorted(range(len(LENGTHS)), key=lambda symbol: (LENGTHS[symbol], symbol)):
        code <<= LENGTHS[symbol] - length
        length = LENGTHS[symbol]
        codes[length, code] = symbol
        code += 1
    return codes


class _Block:
    """A block being read."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0
        self.dynamic: list[Field] = []
        self.size = TABLE_SIZE

    def byte(self) -> int:
        if self.at >= len(self.data):
            raise HpackError("the block ends inside a field")
        self.at += 1
        return self.data[self.at - 1]

    def integer(self, first: int, bits: int) -> int:
        """Section 5.1; what takes more than three further bytes is too large for anyone."""
        number = first & (1 << bits) - 1
        if number < (1 << bits) - 1:
            return number
        for shift in (0, 7, 14):
            byte = self.byte()
            number += (byte & 127) << shift
            if not byte & 128:
                return number
        raise HpackError("an integer that is too large")

    def string(self) -> bytes:
        first = self.byte()
        length = self.integer(first, 7)
        raw = self.data[self.at : self.at + length]
        if len(raw) < length:
            raise HpackError("a string that is longer than its block")
        self.at += length
        return huffman(raw) if first & 128 else raw

    def entry(self, index: int) -> Field:
        if 1 <= index <= len(STATIC):
            return STATIC[index - 1]
        if not 0 < index <= len(STATIC) + len(self.dynamic):
            raise HpackError("an index that no table has")
        return self.dynamic[index - len(STATIC) - 1]

    def insert(self, field: Field) -> None:
        self.dynamic.insert(0, field)
        self.evict()

    def evict(self) -> None:
        while sum(len(n) + len(v) + _ENTRY for n, v in self.dynamic) > self.size:
            self.dynamic.pop()


def fields(data: bytes) -> list[Field]:
    """The fields of a connection's first header block; HpackError if it is none."""
    block, found = _Block(data), list[Field]()
    while block.at < len(data):
        first = block.byte()
        if first & 0x80:
            found.append(block.entry(block.integer(first, 7)))
            continue
        if first & 0xE0 == 0x20:
            block.size = block.integer(first, 5)
            if block.size > TABLE_SIZE or found:
                raise HpackError("a size of the table that is too large, or not at the start")
            continue
        index = block.integer(first, 6 if first & 0x40 else 4)
        name = block.entry(index)[0] if index else block.string()
        field = (name, block.string())
        found.append(field)
        if first & 0x40:
            block.insert(field)
    return found
