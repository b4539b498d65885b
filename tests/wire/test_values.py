# SPDX-License-Identifier: Apache-2.0
"""A value that cannot be is refused where it is made, in words, and never as a `WireError`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from ipaddress import IPv6Address
from typing import Any

import pytest

from ipos.wire import DataPacket, NoticePacket, PacketType, Protocol, VlanTag
from tests.support.strategies import (
    ACKNOWLEDGEMENT,
    CONNECTION_TCP,
    CONNECTION_UDP,
    CONTROL,
    DATA_TCP,
    INNER_TCP,
    INNER_UDP,
    frame,
    header,
)

IMPOSSIBLE: list[tuple[Callable[[], Any], str]] = [
    (
        lambda: replace(header(PacketType.PACKET), source_port=65536),
        "Header.source_port must be 0 to 65535, not 65536",
    ),
    (
        lambda: replace(header(PacketType.PACKET), source_ip="10.99.0.7"),  # type: ignore[arg-type]
        "Header.source_ip must be IPv4Address or IPv6Address, not '10.99.0.7'",
    ),
    (
        lambda: replace(header(PacketType.PACKET), destination_ip=IPv6Address("::1")),  # type: ignore[arg-type]
        "Header.destination_ip must be IPv4Address",
    ),
    (
        lambda: replace(header(PacketType.PACKET), type=2),  # type: ignore[arg-type]
        "Header.type must be PacketType, not 2",
    ),
    (lambda: replace(CONTROL, iss=-1), "ControlBlock.iss must be 0 to 4294967295, not -1"),
    (lambda: replace(CONTROL, snd_wscale=15), "ControlBlock.snd_wscale must be 0 to 14, not 15"),
    (lambda: replace(CONTROL, version=2), "ControlBlock.version must be 1, not 2"),
    (lambda: replace(CONNECTION_TCP, server_port=-1), "ConnectionPacket.server_port must be 0 to"),
    (lambda: replace(CONNECTION_TCP, control_block=None), "if, and only if, it is TCP"),
    (lambda: replace(CONNECTION_UDP, control_block=CONTROL), "if, and only if, it is TCP"),
    (
        lambda: replace(CONNECTION_TCP, header=header(PacketType.PACKET)),
        "the header's type must be CONNECTION, not PACKET",
    ),
    (
        lambda: replace(DATA_TCP, header=header(PacketType.CLOSED)),
        "the header's type must be PACKET or LOCATE, not CLOSED",
    ),
    (
        lambda: replace(ACKNOWLEDGEMENT, header=header(PacketType.LOCATE)),
        "the header's type must be ACKNOWLEDGEMENT or CLOSED or MOVED or REFUSED, not LOCATE",
    ),
    (lambda: replace(ACKNOWLEDGEMENT, reason=1 << 16), "NoticePacket.reason must be 0 to 65535"),
    (lambda: replace(DATA_TCP, inner=INNER_TCP[:-1]), "cannot be carried: inner_data at byte 52"),
    (lambda: replace(DATA_TCP, inner=INNER_TCP + b"\0"), "cannot be carried: end at byte 70"),
    (lambda: replace(DATA_TCP, inner=INNER_UDP), "cannot be carried: inner_protocol at byte 9"),
    (
        lambda: replace(frame(DATA_TCP), source_mac=bytes(5)),
        "Frame.source_mac must be 6 bytes, not 5",
    ),
    (lambda: replace(frame(DATA_TCP), ethertype=0x8100), "0x8100 is not"),
    (lambda: replace(frame(DATA_TCP), ethertype=0x10000), "0x10000 is not"),
    (lambda: VlanTag(id=4095), "a VLAN id is 0 to 4094, not 4095"),
    (lambda: VlanTag(id=1, priority=8), "a VLAN priority is 0 to 7, not 8"),
]


@pytest.mark.parametrize(
    ("make", "sentence"), IMPOSSIBLE, ids=[sentence for _, sentence in IMPOSSIBLE]
)
def test_impossible_values(make: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert sentence in str(caught.value)


def test_values_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        CONTROL.iss = 0  # type: ignore[misc]


def test_an_answer_repeats_the_header_and_names_the_connection() -> None:
    notice = NoticePacket.answering(CONNECTION_TCP, PacketType.REFUSED, reason=3)
    assert notice.header == header(PacketType.REFUSED)
    assert (notice.service_ip, notice.service_port) == (CONNECTION_TCP.server_ip, 80)
    assert (notice.reason, notice.iss) == (3, CONTROL.iss)
    taken = NoticePacket.answering(CONNECTION_TCP, PacketType.ACKNOWLEDGEMENT)
    assert taken.reason == CONTROL.migration_number & 0xFFFF


def test_an_answer_for_udp_has_no_sequence_number() -> None:
    notice = NoticePacket.answering(CONNECTION_UDP, PacketType.ACKNOWLEDGEMENT)
    assert notice.header.protocol is Protocol.UDP
    assert notice.iss == 0


def test_a_locate_is_a_packet_by_another_name() -> None:
    assert DataPacket(header=header(PacketType.LOCATE), inner=INNER_TCP).inner == DATA_TCP.inner
