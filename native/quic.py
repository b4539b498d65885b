# SPDX-License-Identifier: Apache-2.0
"""The reader of QUIC's Initial packets in the native library."""

import ctypes

from ipos.abi.layout import layout
from native.binding import library
from native.library import Node
from native.shapes import unpack

READS = ("unreadable", "part", "whole", "too long")
"""`enum quic_read`, as `spec.quic.initial.Said` has it."""


def read(node: Node, datagrams: list[bytes]) -> list[str]:
    """What each UDP payload of one first flight is for its ClientHello."""
    library().ipos_quic_begin(node.handle)
    return [READS[library().ipos_quic_read(node.handle, one, len(one))] for one in datagrams]


def hello(node: Node) -> bytes:
    """The ClientHello's bytes that have come, up to the first that is missing."""
    shape = layout("ipos_hello")
    row = unpack(shape, ctypes.string_at(library().ipos_quic_hello(node.handle), shape.size))
    here = b"".join(word.to_bytes(8, "little") for word in row["here"])
    length = 0
    while length < len(row["hello"]) - 8 and here[length >> 3] >> (length & 7) & 1:
        length += 1
    return bytes(row["hello"][:length])


def hmac_sha256(node: Node, key: bytes, message: bytes) -> bytes:
    made = ctypes.create_string_buffer(32)
    if library().ipos_quic_hmac(node.handle, key, len(key), message, len(message), made):
        raise ValueError(f"a key of {len(key)} and a message of {len(message)} bytes")
    return made.raw


def aes_block(node: Node, key: bytes, block: bytes) -> bytes:
    made = ctypes.create_string_buffer(16)
    library().ipos_quic_aes(node.handle, key, block, made)
    return made.raw
