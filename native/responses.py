# SPDX-License-Identifier: Apache-2.0
"""The core's readers of an application's responses by themselves, for tests and the fuzzer.

Each takes what an application sends in pieces of up to 1024 bytes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping
from typing import Any

from ipos.abi.layout import constant, layout
from native.binding import library
from native.library import Node


def answer(node: Node, endpoint: Mapping[str, Any], pieces: Iterable[bytes]) -> dict[str, Any]:
    """`struct ipos_endpoint` after these pieces; fields that are not given are zero."""
    shape = layout("ipos_endpoint")
    row = ctypes.create_string_buffer(shape.pack(endpoint), shape.size)
    for piece in pieces:
        library().ipos_answer_feed(node.handle, row, piece, len(piece))
    return shape.unpack(row.raw)


def learn(node: Node, service: int, pieces: Iterable[bytes]) -> bool:
    """Whether the head goes on; what is learned of it is in the node's tables then."""
    shape = layout("ipos_learning")
    row = ctypes.create_string_buffer(shape.pack({"service": service}), shape.size)
    feed = library().ipos_learn_feed
    return all(feed(node.handle, row, piece, len(piece)) for piece in pieces)


def insertion(pieces: Iterable[bytes]) -> int | None:
    """How many bytes come before the place of a session's line; None: it is not there."""
    shape = layout("ipos_endpoint")
    start = shape.pack({"insert": constant("IPOS_INSERT_STATUS")})
    row = ctypes.create_string_buffer(start, shape.size)
    before = sum(library().ipos_insert_feed(row, piece, len(piece)) for piece in pieces)
    here = shape.unpack(row.raw)["insert"] == constant("IPOS_INSERT_HERE")
    return before if here else None
