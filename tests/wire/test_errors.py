# SPDX-License-Identifier: Apache-2.0
"""Every way a frame can be wrong, with the field and the offset the error must name.

Frames are built with scapy and damaged at offsets written down as numbers, so that the tables in
the code have nothing to agree with but the figure.
"""

from __future__ import annotations

import pytest

from ipos.errors import IposError
from ipos.wire import Packet, PacketType, WireError, ethernet
from ipos.wire.checksum import checksum
from tests.support.scapy_layers import built
from tests.support.strategies import (
    ACKNOWLEDGEMENT,
    CONNECTION_TCP,
    CONNECTION_UDP,
    DATA_TCP,
    DATA_UDP,
    KEY,
    PROBE,
    frame,
    header,
)
from tests.wire.scapy_frames import ETHER, INFORMATION_TCP, control_block, ipos, trailer


def refusal(raw: bytes, key: bytes | None = None) -> WireError:
    with pytest.raises(WireError) as caught:
        ethernet.decode(raw, key)
    assert "\n" not in str(caught.value)
    return caught.value


def put(raw: bytes, offset: int, new: bytes) -> bytes:
    assert raw[offset : offset + len(new)] != new
    return raw[:offset] + new + raw[offset + len(new) :]


TRUNCATIONS = [
    # bytes left, field, offset
    (CONNECTION_TCP, 0, "destination_mac", 0),
    (CONNECTION_TCP, 11, "source_mac", 6),
    (CONNECTION_TCP, 13, "ethertype", 12),
    (CONNECTION_TCP, 14, "source_ip", 14),
    (CONNECTION_TCP, 25, "destination_port", 24),
    (CONNECTION_TCP, 29, "checksum", 28),
    (CONNECTION_TCP, 33, "server_ip", 30),
    (CONNECTION_TCP, 35, "server_port", 34),
    (CONNECTION_TCP, 36, "version", 36),
    (CONNECTION_TCP, 36 + 17, "snd_nxt", 36 + 16),
    (CONNECTION_TCP, 36 + 55, "zero", 36 + 54),
    (CONNECTION_TCP, 36 + 103, "migration_number", 36 + 96),
    (CONNECTION_TCP, 175, "tag", 36 + 124),
    (CONNECTION_UDP, 35, "server_port", 34),
    (CONNECTION_UDP, 39, "sent_s", 36),
    (CONNECTION_UDP, 49, "tag", 42),
    (DATA_TCP, 30, "inner_ip_header", 30),
    (DATA_TCP, 69, "inner_tcp_header", 50),
    (DATA_TCP, 81, "inner_tcp_options", 70),
    (DATA_TCP, 99, "inner_data", 82),
    (DATA_TCP, 30 + 70 + 7, "tag", 30 + 70),
    (DATA_UDP, 57, "inner_udp_header", 50),
    (ACKNOWLEDGEMENT, 30, "service_ip", 30),
    (ACKNOWLEDGEMENT, 37, "reason", 36),
    (ACKNOWLEDGEMENT, 41, "iss", 38),
    (ACKNOWLEDGEMENT, 49, "tag", 42),
    (PROBE, 41, "nonce", 30),
    (PROBE, 49, "tag", 42),
]


@pytest.mark.parametrize(("packet", "left", "field", "offset"), TRUNCATIONS)
def test_truncated(packet: Packet, left: int, field: str, offset: int) -> None:
    error = refusal(ethernet.encode(frame(packet))[:left])
    assert (error.field, error.offset) == (field, offset)
    assert "truncated" in str(error)


def test_truncated_inside_the_vlan_tag() -> None:
    error = refusal(bytes(12) + b"\x81\x00\x00")
    assert (error.field, error.offset) == ("vlan", 14)


def with_type(number: int) -> bytes:
    return built(ETHER, ipos(number), trailer())


def with_block(offset: int, new: bytes) -> bytes:
    return put(built(ETHER, ipos(1), INFORMATION_TCP, control_block()), 36 + offset, new)


def with_inner(offset: int, new: bytes, packet: Packet = DATA_TCP) -> bytes:
    return put(ethernet.encode(frame(packet)), 30 + offset, new)


DAMAGES = [
    # what, frame, field, offset
    ("checksum", put(with_type(3), 28, b"\xff\xff"), "checksum", 28),
    ("checksum after a changed address", put(with_type(3), 14, b"\x0b"), "checksum", 28),
    ("type 0", with_type(0), "type", 26),
    ("type 200", with_type(200), "type", 26),
    ("protocol 0", built(ETHER, ipos(3, 0), trailer()), "protocol", 27),
    ("protocol 6, IANA's", built(ETHER, ipos(3, 6), trailer()), "protocol", 27),
    ("ethertype IPv4", put(with_type(3), 12, b"\x08\x00"), "ethertype", 12),
    ("version 0", with_block(0, b"\x00"), "version", 36),
    ("version 2, reserved bytes in use", with_block(0, b"\x02" + b"\xff" * 123), "version", 36),
    ("state 0", with_block(1, b"\x00"), "state", 37),
    ("state 13", with_block(1, b"\x0d"), "state", 37),
    ("a ninth flag", with_block(2, b"\x01\x00"), "flags", 38),
    ("snd_wscale 15", with_block(52, b"\x0f"), "snd_wscale", 88),
    ("rcv_wscale 15", with_block(53, b"\x0f"), "rcv_wscale", 89),
    ("byte 55 in use", with_block(55, b"\x01"), "zero", 90),
    ("body 4", with_block(112, b"\x04"), "body", 148),
    ("byte 115 in use", with_block(115, b"\x01"), "zero", 149),
    ("inner IPv6", with_inner(0, b"\x65"), "inner_version", 30),
    ("inner IHL 4", with_inner(0, b"\x44"), "inner_header_length", 30),
    ("inner first fragment", with_inner(6, b"\x20\x00"), "inner_fragment", 36),
    ("inner later fragment", with_inner(6, b"\x00\x01"), "inner_fragment", 36),
    ("inner UDP in a TCP packet", with_inner(9, b"\x11"), "inner_protocol", 39),
    ("inner TCP in a UDP packet", with_inner(9, b"\x06", DATA_UDP), "inner_protocol", 39),
    ("inner GRE", with_inner(9, b"\x2f"), "inner_protocol", 39),
    ("inner data offset 4", with_inner(20 + 12, b"\x40"), "inner_data_offset", 62),
    ("inner length 51 of 52", with_inner(2, b"\x00\x33"), "inner_total_length", 32),
]


@pytest.mark.parametrize(
    ("raw", "field", "offset"), [row[1:] for row in DAMAGES], ids=[row[0] for row in DAMAGES]
)
def test_damaged(raw: bytes, field: str, offset: int) -> None:
    error = refusal(raw)
    assert (error.field, error.offset) == (field, offset)
    assert str(error).startswith(f"{field} at byte {offset}: ")


def test_both_zeros_of_the_checksum() -> None:
    # A port that makes the header sum to 0xffff, for which 0x0000 is sent.
    raw = bytearray(with_type(3))
    raw[18:20] = bytes(2)
    raw[18:20] = checksum(bytes(raw[14:28])).to_bytes(2, "big")
    for zero in (b"\x00\x00", b"\xff\xff"):
        raw[28:30] = zero
        assert ethernet.decode(bytes(raw)).packet.header.source_port == raw[18] << 8 | raw[19]


def test_offsets_move_with_a_vlan_tag() -> None:
    raw = with_block(0, b"\x02")
    error = refusal(raw[:12] + b"\x81\x00\x00\x4d" + raw[12:])
    assert (error.field, error.offset) == ("version", 40)


def test_vlan_id_4095_is_reserved() -> None:
    raw = with_type(3)
    error = refusal(raw[:12] + b"\x81\x00\x0f\xff" + raw[12:])
    assert (error.field, error.offset) == ("vlan", 14)


def test_a_second_vlan_tag_is_no_ethertype_of_ours() -> None:
    raw = with_type(3)
    error = refusal(raw[:12] + b"\x81\x00\x00\x01\x81\x00\x00\x02" + raw[12:])
    assert (error.field, error.offset) == ("ethertype", 16)


OVER_LONG = [
    # a frame of this length, with so many bytes behind it, is refused at this offset
    (CONNECTION_TCP, 1, 176),
    (CONNECTION_UDP, 60 - 50 + 1, 60),
    (DATA_TCP, 1, 14 + 16 + 70 + 8),
    (ACKNOWLEDGEMENT, 60 - 50 + 1, 60),
]


@pytest.mark.parametrize(("packet", "more", "offset"), OVER_LONG)
def test_over_long(packet: Packet, more: int, offset: int) -> None:
    raw = ethernet.encode(frame(packet))
    error = refusal(raw + bytes(more))
    assert (error.field, error.offset) == ("end", offset)
    assert "over-long: 1 bytes too many" in str(error)


@pytest.mark.parametrize("padding", [0, 1, 10])
def test_padding_is_not_over_long(padding: int) -> None:
    raw = ethernet.encode(frame(ACKNOWLEDGEMENT)) + b"\xaa" * padding
    assert ethernet.decode(raw).packet == ACKNOWLEDGEMENT


def test_a_vlan_tag_put_into_a_padded_frame() -> None:
    raw = ethernet.pad(ethernet.encode(frame(ACKNOWLEDGEMENT)))
    tagged = raw[:12] + b"\x81\x00\x00\x4d" + raw[12:]
    assert len(tagged) == 64
    assert ethernet.decode(tagged).packet == ACKNOWLEDGEMENT
    assert refusal(tagged + b"\0").offset == 64


def test_unknown_type_is_told_from_other_faults() -> None:
    assert refusal(with_type(200)).unknown_type == 200
    assert refusal(with_type(0)).unknown_type == 0
    assert refusal(put(with_type(200), 28, b"\0\0")).unknown_type is None
    assert refusal(with_block(0, b"\x02")).unknown_type is None


TAGS = [
    (CONNECTION_TCP, 36 + 124, 16),
    (DATA_TCP, 30 + 70, 8),
    (DATA_UDP, 30 + 33, 8),
    (ACKNOWLEDGEMENT, 42, 8),
    (PROBE, 42, 8),
]


@pytest.mark.parametrize(("packet", "offset", "size"), TAGS)
def test_wrong_tag(packet: Packet, offset: int, size: int) -> None:
    raw = ethernet.encode(frame(packet), KEY)
    unsigned = ethernet.encode(frame(packet))
    assert unsigned[offset : offset + size] == bytes(size)
    last = offset + size - 1
    for forged in (
        unsigned,
        ethernet.encode(frame(packet), bytes(16)),
        put(raw, offset, bytes([raw[offset] ^ 1])),
        put(raw, last, bytes([raw[last] ^ 0x80])),
    ):
        error = refusal(forged, KEY)
        assert (error.field, error.offset) == ("tag", offset)
        # With authentication off the same frame is taken.
        assert ethernet.decode(forged).packet == packet


def rewrite_header(raw: bytes, offset: int, new: bytes) -> bytes:
    """A change that keeps the checksum right, as a forger's would be."""
    changed = put(raw, offset, new)
    right = checksum(changed[14:28] + b"\0\0").to_bytes(2, "big")
    return changed[:28] + right + changed[30:]


@pytest.mark.parametrize(("packet", "offset", "size"), TAGS)
def test_the_tag_covers_the_header(packet: Packet, offset: int, size: int) -> None:
    raw = ethernet.encode(frame(packet), KEY)
    error = refusal(rewrite_header(raw, 20, b"\x0a\x4d\x00\x09"), KEY)
    assert (error.field, error.offset) == ("tag", offset)


def test_a_notice_does_not_become_another() -> None:
    raw = ethernet.encode(frame(ACKNOWLEDGEMENT), KEY)
    assert refusal(rewrite_header(raw, 26, b"\x04"), KEY).field == "tag"


def test_authentication_comes_before_interpretation() -> None:
    # Unauthenticated version 2 is a forgery first; a member's version 2 is an unknown version.
    assert refusal(with_block(0, b"\x02"), KEY).field == "tag"


def test_udp_connections_are_authenticated() -> None:
    raw = ethernet.encode(frame(CONNECTION_UDP))
    error = refusal(ethernet.pad(raw), KEY)
    assert (error.field, error.offset) == ("tag", 42)


def test_wire_errors_are_sentences_for_users() -> None:
    assert issubclass(WireError, IposError)
    error = refusal(with_block(0, b"\x02"))
    assert str(error) == "version at byte 36: must be 1, not 2"


def test_header_helper_matches_the_frames_used_here() -> None:
    assert ethernet.decode(with_type(3)).packet.header == header(PacketType.ACKNOWLEDGEMENT)
