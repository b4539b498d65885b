# SPDX-License-Identifier: Apache-2.0
"""Packets that scapy built are read as scapy reads them; ours are right in scapy's eyes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP

from ipos.handshake.segment import Flag, Segment, SegmentError, checksum, parse_packet, signed

from .witness import CLIENT, SERVICE, checked, segment, tcp

U16 = st.integers(0, 0xFFFF)
U32 = st.integers(0, 0xFFFF_FFFF)


def test_the_worked_example_of_rfc_1071() -> None:
    # Section 3: the sum of these words is ddf2.
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xDDF2 ^ 0xFFFF


def test_an_odd_byte_is_padded_on_the_right() -> None:
    assert checksum(b"\x12\x34\x56") == checksum(b"\x12\x34\x56\x00")


def test_a_sum_of_ffff_complements_to_zero() -> None:
    assert checksum(b"\xff\xff") == checksum(b"\xff\xff\xff\xff") == 0
    assert checksum(b"\0\0") == 0xFFFF


def test_comparison_is_modulo_2_to_the_32() -> None:
    assert signed(1 - 0xFFFF_FFFF) == 2
    assert signed(0xFFFF_FFFF - 1) == -2
    assert signed(0x8000_0000) == -0x8000_0000


@given(
    seq=U32, ack=U32, window=U16, flags=st.integers(0, 0x1FF), port=U16, data=st.binary(max_size=40)
)
def test_scapy_and_we_read_alike(
    seq: int, ack: int, window: int, flags: int, port: int, data: bytes
) -> None:
    built = tcp("", [("MSS", 1400)], seq=seq, ack=ack, window=window, sport=port, data=data)
    built[TCP].flags = flags
    read = parse_packet(bytes(built) + b"padding")
    assert (str(read.source), str(read.destination)) == (CLIENT, SERVICE)
    assert (read.source_port, read.destination_port) == (port, 80)
    assert (read.seq, read.ack, read.window, read.flags) == (seq, ack, window, flags)
    assert (read.options, read.data) == (bytes.fromhex("02040578"), data)


@given(seq=U32, ack=U32, flags=st.integers(0, 0x1FF), words=st.integers(0, 10), data=st.binary())
def test_our_packets_are_read_back_and_scapy_finds_the_checksums_right(
    seq: int, ack: int, flags: int, words: int, data: bytes
) -> None:
    ours = Segment(
        source=segment("S").source,
        source_port=1,
        destination=segment("S").destination,
        destination_port=2,
        seq=seq,
        ack=ack,
        flags=Flag(flags),
        options=b"\x01" * 4 * words,
        data=data,
    )
    assert parse_packet(ours.packet()) == ours
    seen = checked(ours.packet())
    assert (seen.ttl, seen.id, seen.tos, str(seen.flags)) == (64, 0, 0, "DF")


def damaged(packet: bytes, at: int, value: int) -> bytes:
    return packet[:at] + bytes((value,)) + packet[at + 1 :]


SYN = bytes(tcp("S"))


@pytest.mark.parametrize(
    ("what", "packet", "counter"),
    [
        ("nothing", b"", "PASSED"),
        ("19 bytes", SYN[:19], "PASSED"),
        ("IPv5", damaged(SYN, 0, 0x55), "PASSED"),
        ("header length 16", damaged(SYN, 0, 0x44), "PASSED"),
        ("UDP", bytes(IP() / UDP()), "PASSED"),
        ("ICMP", bytes(IP() / ICMP()), "PASSED"),
        ("last fragment", bytes(IP(proto=6, frag=3) / SYN), "DROP_FRAGMENT"),
        ("last fragment of UDP", bytes(IP(proto=17, frag=3) / SYN), "PASSED"),
        ("middle fragment", bytes(IP(proto=6, flags="MF", frag=3) / SYN), "DROP_FRAGMENT"),
        ("first fragment", bytes(IP(flags="MF") / TCP()), "DROP_FRAGMENT"),
        ("IP options", bytes(IP(options=b"\1\1\1\1") / TCP()), "DROP_IP_OPTIONS"),
        ("total length beyond the frame", damaged(SYN, 3, 41), "DROP_MALFORMED"),
        ("total length within the TCP header", damaged(SYN, 3, 39), "DROP_MALFORMED"),
        ("total length within the IP header", damaged(SYN, 3, 19), "DROP_MALFORMED"),
        ("data offset 4", damaged(SYN, 32, 0x40), "DROP_MALFORMED"),
        ("data offset beyond the total length", damaged(SYN, 32, 0x60), "DROP_MALFORMED"),
        ("IP checksum", damaged(SYN, 10, SYN[10] ^ 1), "DROP_BAD_CHECKSUM"),
        ("TCP checksum", damaged(SYN, 36, SYN[36] ^ 1), "DROP_BAD_CHECKSUM"),
    ],
)
def test_the_fate_of_what_is_no_segment(what: str, packet: bytes, counter: str) -> None:
    with pytest.raises(SegmentError) as caught:
        parse_packet(packet)
    assert caught.value.counter == counter, what


@given(st.binary(max_size=80))
def test_no_bytes_are_an_error_of_another_kind(packet: bytes) -> None:
    try:
        parse_packet(packet)
    except SegmentError:
        pass


def test_syn_and_fin_and_data_take_sequence_space() -> None:
    assert segment("SF", seq=0xFFFF_FFFF, data=b"ab").end == 3
    assert segment("A", seq=5).end == 5
