# SPDX-License-Identifier: Apache-2.0
"""Where tables of fixed size have what is about a connection, a source or a port."""

from __future__ import annotations

import struct
import sys
from collections.abc import Mapping, Sequence

from ipos.abi.layout import constant
from ipos.handshake.siphash import siphash64


def lock_of(key: Mapping[str, int]) -> int:
    """Which element of `locks` is a connection's."""
    sizes = {"client_ip": 4, "service_ip": 4, "client_port": 2, "service_port": 2}
    raw = {name: int.from_bytes(key[name].to_bytes(size, "big"), sys.byteorder)
           for name, size in sizes.items()}  # fmt: skip
    mix = raw["client_ip"] << 32 | raw["client_port"] << 16 | raw["service_port"]
    mix ^= raw["service_ip"]
    return mix * 0x9E3779B97F4A7C15 % 2**64 >> 48


def bits(numbers: Sequence[int], size: int) -> bytes:
    """A string of bits, as `gates` has them."""
    return sum(1 << number for number in numbers).to_bytes(size, "little")


def question_slots(key: int, client_ip: bytes) -> tuple[int, int]:
    """Of `locates`: a source's, and that of all. key: `vouch` of the settings."""
    most = constant("IPOS_GUESSES_SLOTS")
    hashed = siphash64(struct.pack("<QQ", key, 2), client_ip)
    return hashed & most - 2, most - 1
