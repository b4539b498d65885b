# SPDX-License-Identifier: Apache-2.0
"""The protocol is written twice: here its bytes are held against the data plane's `abi/ipos.h`."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Any

import pytest

from ipos.abi.layout import constant, header, layout
from ipos.wire import ControlFlags, PacketType, Protocol, ethernet, tags
from ipos.wire.control import CONTROL_BLOCK
from ipos.wire.fields import Layout
from ipos.wire.header import HEADER
from ipos.wire.packets import (
    CONNECTION_INFORMATION,
    LEARNED,
    LOCATED,
    PROBE,
    STATE,
    TRAILER,
)


@pytest.mark.parametrize(
    ("ours", "struct"),
    [
        (HEADER, "ipos_header"),
        (CONTROL_BLOCK, "ipos_tcb"),
        (TRAILER, "ipos_trailer"),
        (PROBE, "ipos_probe"),
        (LEARNED, "ipos_learned"),
        (LOCATED, "ipos_located"),
        (STATE, "ipos_numbers"),
    ],
)
def test_the_same_places(ours: Layout[Any], struct: str) -> None:
    theirs = layout(struct)
    assert [(row.at.offset, row.at.size) for row in ours.rows] == [
        (field.offset, field.size) for field in theirs.fields
    ]
    assert ours.size == theirs.size


@pytest.mark.parametrize(
    ("ours", "struct"),
    [(TRAILER.of_six(), "ipos_trailer6"), (LOCATED.of_six(), "ipos_located6")],
)
def test_the_same_places_of_six(ours: Layout[Any], struct: str) -> None:
    test_the_same_places(ours, struct)


def test_the_control_block_follows_the_service_address() -> None:
    for tag, ours in (("ipos_connection", CONNECTION_INFORMATION),
                      ("ipos_connection6", CONNECTION_INFORMATION.of_six())):  # fmt: skip
        information = layout(tag)
        assert information.field("tcb").offset == ours.size
        assert information.size == ours.size + CONTROL_BLOCK.size


@pytest.mark.parametrize(
    ("ours", "enum"),
    [(PacketType, "ipos_type"), (Protocol, "ipos_protocol"), (ControlFlags, "ipos_options")],
)
def test_the_same_numbers(ours: type[IntEnum | IntFlag], enum: str) -> None:
    assert [member.value for member in ours] == list(header().enums[enum].values())


def test_the_same_constants() -> None:
    assert constant("IPOS_ETHERTYPE") == ethernet.ETHERTYPE
    assert constant("IPOS_HEADER_LEN") == HEADER.size
    assert constant("IPOS_TCB_LEN") == CONTROL_BLOCK.size
    assert constant("IPOS_TRAILER_LEN") == TRAILER.size
    assert constant("IPOS_TAG_LEN") == tags.TAG_SIZE


def test_the_mss_offered_leaves_room_for_what_a_packet_gains() -> None:
    gained = HEADER.size + tags.TAG_SIZE + ethernet.VLAN_TAG_SIZE
    assert constant("IPOS_MSS") == 1500 - 40 - gained
