# SPDX-License-Identifier: Apache-2.0
"""Reads one constant from an ELF file (64 bit, little endian: what clang emits for eBPF)."""

import struct
from typing import Final

from ipos.kernel.libbpf.errors import LoadError

_SECTION: Final = struct.Struct("<IIQQQQIIQQ")
_SYMBOL: Final = struct.Struct("<IBBHQQ")
_SYMBOL_TABLE: Final = 2
_FIRST_RESERVED_SECTION: Final = 0xFF00


def read_u32(image: bytes, symbol: str) -> int | None:
    """The 32-bit value at `symbol`; None when the object defines no such symbol."""
    if image[:6] != b"\x7fELF\x02\x01":
        raise LoadError("this is no eBPF object file: no 64-bit little-endian ELF header")
    try:
        return _read(image, symbol.encode())
    except (struct.error, IndexError) as error:
        raise LoadError(f"the eBPF object file is damaged: {error}") from None


def _read(image: bytes, symbol: bytes) -> int | None:
    (table,) = struct.unpack_from("<Q", image, 40)
    entry_size, count = struct.unpack_from("<HH", image, 58)
    sections = [_SECTION.unpack_from(image, table + i * entry_size) for i in range(count)]
    for _, kind, _, _, offset, size, link, _, _, _ in sections:
        if kind != _SYMBOL_TABLE:
            continue
        names = sections[link][4]
        for at in range(offset, offset + size, _SYMBOL.size):
            name, _, _, section, value, _ = _SYMBOL.unpack_from(image, at)
            end = image.index(b"\0", names + name)
            if image[names + name : end] == symbol and 0 < section < _FIRST_RESERVED_SECTION:
                (found,) = struct.unpack_from("<I", image, sections[section][4] + value)
                return int(found)
    return None
