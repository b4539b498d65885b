# SPDX-License-Identifier: Apache-2.0
"""Figure 11 byte for byte: frames built by scapy on one side, by the codecs on the other."""

from __future__ import annotations

import hashlib
import struct

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.l2 import Dot1Q, Ether

from ipos.handshake.siphash import siphash64, siphash64_short, siphash128
from ipos.wire import (
    DataPacket,
    Header,
    LearnedPacket,
    LocatedPacket,
    NoticePacket,
    Packet,
    PacketType,
    ProbePacket,
    Protocol,
    StatePacket,
    VlanTag,
    ethernet,
)
from ipos.wire.control import CONTROL_BLOCK
from ipos.wire.header import HEADER
from ipos.wire.packets import PROBE as PROBE_LAYOUT
from ipos.wire.packets import TRAILER
from tests.support.scapy_layers import (
    ControlBlockV1,
    IposHeader,
    Learned,
    Located,
    Numbers,
    Probe,
    Trailer,
    built,
    offsets,
)
from tests.support.strategies import (
    ACKNOWLEDGEMENT,
    CONNECTION_TCP,
    CONNECTION_UDP,
    CONTROL,
    DATA_TCP,
    DATA_UDP,
    EXAMPLES,
    INNER_TCP,
    INNER_UDP,
    KEY,
    PROBE,
    SERVICE,
    frame,
    header,
)
from tests.wire.scapy_frames import (
    ETHER,
    INFORMATION_TCP,
    INFORMATION_UDP,
    control_block,
    ipos,
    probe,
    trailer,
)

GOLDEN: dict[str, tuple[Packet, bytes, int]] = {
    # what: (value, scapy's frame, its length: the figure's + our trailer)
    "TCP connection (11e)": (
        CONNECTION_TCP,
        built(ETHER, ipos(1), INFORMATION_TCP, control_block()),
        176,
    ),
    "UDP connection (11f)": (
        CONNECTION_UDP,
        built(ETHER, ipos(1, 2), INFORMATION_UDP, bytes.fromhex("5f5e10140123") + bytes(8)),
        36 + 14,
    ),
    "TCP packet (11g)": (
        DATA_TCP,
        built(ETHER, ipos(2), INNER_TCP, bytes(8)),
        14 + 16 + len(INNER_TCP) + 8,
    ),
    "UDP packet (11h)": (
        DATA_UDP,
        built(ETHER, ipos(2, 2), INNER_UDP, bytes(8)),
        14 + 16 + 28 + len(b"query") + 8,
    ),
    "migration acknowledgement (11i)": (
        ACKNOWLEDGEMENT,
        built(ETHER, ipos(3), trailer()),
        30 + 20,
    ),
    "probe": (PROBE, built(ETHER, ipos(8), probe()), 30 + 20),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_without_authentication(name: str) -> None:
    packet, golden, length = GOLDEN[name]
    assert len(golden) == length
    assert ethernet.encode(frame(packet)).hex() == golden.hex()
    assert ethernet.decode(golden) == frame(packet)


def test_a_tcp_packet_without_options_or_data_is_40_bytes_inside() -> None:
    inner = bytes(IP(src="10.99.0.7", dst="203.0.113.1") / TCP(sport=40001, dport=80, flags="A"))
    raw = built(ETHER, ipos(2), inner, bytes(8))
    assert len(raw) == 14 + 16 + 40 + 8
    assert ethernet.encode(ethernet.decode(raw)) == raw


def packet_tag(headers: bytes, payload: bytes) -> bytes:
    """NH (RFC 4418 5.2.2) under two stretches of one key, and SipHash-1-3 of what it gives."""
    keys = hashlib.shake_128(b"ipos packet" + KEY).digest(16 + 4 * 282)
    nh = [int.from_bytes(keys[at : at + 4], "little") for at in range(16, len(keys), 4)]
    words: list[tuple[int, int, int]] = []  # place in the key, and the two halves
    for place, part in ((0, headers), (24, payload)):
        part += bytes(-len(part) % 8)
        for at in range(0, len(part), 8):
            low, high = struct.unpack_from("<II", part, at)
            words.append((place + at // 4, low, high))
    message = b""
    for shift in (0, 2):
        total = sum(
            (low + nh[at + shift]) % 2**32 * ((high + nh[at + shift + 1]) % 2**32)
            for at, low, high in words
        )
        message += (total % 2**64).to_bytes(8, "little")
    lengths = len(headers).to_bytes(2, "little") + len(payload).to_bytes(2, "little")
    return siphash64_short(keys[:16], message + lengths).to_bytes(8, "little")


def test_tag_of_type_1_covers_header_information_and_block() -> None:
    covered = built(ipos(1), INFORMATION_TCP, control_block())[:-16]
    assert len(covered) == 16 + 6 + 124
    tag = siphash128(KEY, covered).to_bytes(16, "little")
    golden = built(ETHER, ipos(1), INFORMATION_TCP, control_block(tag))
    assert ethernet.encode(frame(CONNECTION_TCP), KEY).hex() == golden.hex()
    assert ethernet.decode(golden, KEY) == frame(CONNECTION_TCP)


@pytest.mark.parametrize("packet_type", [PacketType.PACKET, PacketType.LOCATE])
@pytest.mark.parametrize("ip_options", [0, 8])
@pytest.mark.parametrize("size", [0, 1, 8, 13, 1024, 1025])
def test_tag_of_types_2_and_5_covers_headers_and_a_short_payload(
    packet_type: PacketType, ip_options: int, size: int
) -> None:
    ip = IP(src="10.99.0.7", dst="203.0.113.1", options=[IPOption_NOP()] * ip_options)
    tcp = TCP(sport=40001, dport=80, options=[("NOP", None), ("NOP", None), ("Timestamp", (5, 6))])
    headers = bytes(ip / tcp)
    payload = bytes(n * 7 % 251 for n in range(size))
    inner = bytes(ip / tcp / payload)
    assert len(headers) == 20 + ip_options + 20 + 12
    raw = built(ipos(packet_type), inner)
    covered = built(ipos(packet_type), inner[: len(headers)])
    tag = packet_tag(covered, payload if size <= 1024 else b"")
    golden = built(ETHER, raw, tag)
    assert ethernet.encode(ethernet.decode(golden, KEY), KEY).hex() == golden.hex()


def test_an_icmp_error_travels_as_a_packet_of_the_connection() -> None:
    quote = IP(src="203.0.113.2", dst="10.99.0.7") / TCP(sport=80, dport=40001)
    error = IP(src="192.0.2.1", dst="203.0.113.1") / ICMP(type=3, code=4, nexthopmtu=1400)
    inner = bytes(error / quote)
    tag = packet_tag(built(ipos(2), inner[: 20 + 8]), inner[20 + 8 :])
    golden = built(ETHER, ipos(2), inner, tag)
    assert ethernet.decode(golden, KEY) == frame(
        DataPacket(header=header(PacketType.PACKET), inner=inner)
    )
    assert ethernet.encode(ethernet.decode(golden, KEY), KEY).hex() == golden.hex()


def test_tag_of_a_udp_connection_covers_its_offer_and_both_ends() -> None:
    covered = built(ipos(1, 2), INFORMATION_UDP, bytes.fromhex("5f5e10140123"))
    ends = ethernet.encode(frame(CONNECTION_UDP))[:12]
    golden = built(ETHER, covered, siphash64(KEY, covered + ends).to_bytes(8, "little"))
    assert ethernet.encode(frame(CONNECTION_UDP), KEY).hex() == golden.hex()


def test_later_fragment_of_udp_has_no_ports() -> None:
    inner = bytes(IP(src="10.99.0.7", dst="203.0.113.1", proto=17, frag=181) / (b"x" * 24))
    tag = packet_tag(built(ipos(2, 2), inner[:20]), inner[20:])
    golden = built(ETHER, ipos(2, 2), inner, tag)
    data = DataPacket(header=header(PacketType.PACKET, Protocol.UDP), inner=inner)
    assert ethernet.decode(golden, KEY) == frame(data)
    assert ethernet.encode(frame(data), KEY).hex() == golden.hex()


def test_tag_of_a_udp_packet_covers_it() -> None:
    tag = packet_tag(built(ipos(2, 2), INNER_UDP[:28]), INNER_UDP[28:])
    golden = built(ETHER, ipos(2, 2), INNER_UDP, tag)
    assert ethernet.encode(frame(DATA_UDP), KEY).hex() == golden.hex()


@pytest.mark.parametrize(
    "packet_type",
    [PacketType.ACKNOWLEDGEMENT, PacketType.CLOSED, PacketType.MOVED, PacketType.REFUSED],
)
def test_tag_of_notices_covers_header_trailer_and_both_addresses(packet_type: PacketType) -> None:
    taken = packet_type is PacketType.ACKNOWLEDGEMENT
    reason = CONTROL.migration_number & 0xFFFF if taken else 0
    plain = trailer(reason=reason)
    covered = built(ipos(packet_type), plain)[: 16 + 12] + bytes(ETHER)[:12]
    tag = siphash64(KEY, covered).to_bytes(8, "little")
    golden = built(ETHER, ipos(packet_type), trailer(tag, reason))
    notice = NoticePacket.answering(CONNECTION_TCP, packet_type)
    assert ethernet.encode(frame(notice), KEY).hex() == golden.hex()
    assert ethernet.decode(golden, KEY) == frame(notice)


@pytest.mark.parametrize("packet_type", [PacketType.PROBE, PacketType.PROBE_ANSWER])
def test_tag_of_probes_covers_header_and_nonce(packet_type: PacketType) -> None:
    covered = built(ipos(packet_type), probe())[: 16 + 12]
    golden = built(ETHER, ipos(packet_type), probe(siphash64(KEY, covered).to_bytes(8, "little")))
    value = ProbePacket(header=header(packet_type), nonce=PROBE.nonce)
    assert ethernet.encode(frame(value), KEY).hex() == golden.hex()
    assert ethernet.decode(golden, KEY) == frame(value)


@pytest.mark.parametrize("packet_type", [PacketType.LEARNED, PacketType.FORGOTTEN])
def test_tag_of_news_of_cookies_covers_the_time(packet_type: PacketType) -> None:
    plain = Learned(hash=b"8 bytes.", sent_s=1_600_000_020)
    covered = built(ipos(packet_type), plain)[: 16 + 12]
    plain.tag = siphash64(KEY, covered).to_bytes(8, "little")
    golden = built(ETHER, ipos(packet_type), plain)
    value = LearnedPacket(header=header(packet_type), hash=b"8 bytes.", sent_s=1_600_000_020)
    assert ethernet.encode(frame(value), KEY).hex() == golden.hex()
    assert ethernet.decode(golden, KEY) == frame(value)


def test_tag_of_an_answer_to_locate_covers_question_and_addresses() -> None:
    plain = Located(service="203.0.113.1", port=80, move=7, iss=1, irs=2, question=3)
    covered = built(ipos(12), plain)[: 16 + 20] + built(ETHER)[:12]
    plain.tag = siphash64(KEY, covered).to_bytes(8, "little")
    golden = built(ETHER, ipos(12), plain)
    value = LocatedPacket(
        header=header(PacketType.LOCATED), service_ip=SERVICE, service_port=80, move=7, iss=1,
        irs=2, question=3,
    )  # fmt: skip
    assert ethernet.encode(frame(value), KEY).hex() == golden.hex()
    assert ethernet.decode(golden, KEY) == frame(value)


def test_tag_of_a_state_covers_all_its_numbers() -> None:
    plain = Numbers(
        boot=1,
        sequence=2,
        memory=3,
        bandwidth=4,
        connections=5,
        cpu=6,
        edition=7,
        sent_s=8,
        memory_short=9,
        bandwidth_short=10,
    )
    covered = built(ipos(PacketType.STATE), plain)[: 16 + 48]
    plain.tag = siphash64(KEY, covered).to_bytes(8, "little")
    golden = built(ETHER, ipos(PacketType.STATE), plain)
    value = StatePacket(
        header=header(PacketType.STATE), boot=1, sequence=2, memory_available=3,
        bandwidth_available=4, tcp_connections=5, cpu_permille=6, edition=7, sent_s=8,
        memory_short=9, bandwidth_short=10,
    )  # fmt: skip
    assert ethernet.encode(frame(value), KEY).hex() == golden.hex()
    assert ethernet.decode(golden, KEY) == frame(value)


@pytest.mark.parametrize("packet", EXAMPLES)
def test_a_tag_changes_no_length(packet: Packet) -> None:
    assert len(ethernet.encode(frame(packet), KEY)) == len(ethernet.encode(frame(packet)))


def test_vlan_tag() -> None:
    tagged = Ether(dst=ETHER.dst, src=ETHER.src, type=0x8100) / Dot1Q(
        prio=5, dei=1, vlan=77, type=0x0007
    )
    golden = built(tagged, ipos(3), trailer())
    value = frame(ACKNOWLEDGEMENT, VlanTag(id=77, priority=5, drop_eligible=True))
    assert len(golden) == 4 + 30 + 20
    assert ethernet.encode(value).hex() == golden.hex()
    assert ethernet.decode(golden) == value


def test_the_other_ethertype() -> None:
    golden = built(Ether(dst=ETHER.dst, src=ETHER.src, type=0x88B5), ipos(3), trailer())
    decoded = ethernet.decode(golden, ethertype=0x88B5)
    assert decoded.packet == ACKNOWLEDGEMENT
    assert ethernet.encode(decoded).hex() == golden.hex()


def test_control_block_table_is_scapys() -> None:
    ours = [(row.at.offset, row.at.size) for row in CONTROL_BLOCK.rows]
    assert ours == list(offsets(ControlBlockV1).values())
    names = {row.name for row in CONTROL_BLOCK.rows} - {"zero"}
    assert names == {name for name in offsets(ControlBlockV1) if not name.startswith("zero")}


def test_header_and_trailer_tables_are_scapys() -> None:
    for layout, layer in ((HEADER, IposHeader), (TRAILER, Trailer), (PROBE_LAYOUT, Probe)):
        ours = [(row.at.offset, row.at.size) for row in layout.rows]
        assert ours == list(offsets(layer).values())


def test_sizes_of_the_figure() -> None:
    assert HEADER.size == 16
    assert CONTROL_BLOCK.size == 140
    assert TRAILER.size == 20


def test_scapy_reads_our_control_block() -> None:
    raw = ethernet.encode(frame(CONNECTION_TCP))
    seen = ControlBlockV1(raw[-140:])
    assert seen.version == 1
    assert seen.iss == CONTROL.iss
    assert str(seen.flags) == "sack+ts+ws"
    assert seen.migration_number == CONTROL.migration_number


def test_scapy_reads_our_header() -> None:
    seen = IposHeader(ethernet.encode(frame(DATA_TCP))[14:30])
    expected: Header = header(PacketType.PACKET)
    assert (seen.src, seen.sport) == (str(expected.source_ip), expected.source_port)
    assert (seen.dst, seen.dport) == (str(expected.destination_ip), expected.destination_port)
    assert (seen.type, seen.protocol) == (2, 1)


def test_udp_inner_packet_is_scapys() -> None:
    inner = IP(ethernet.encode(frame(DATA_UDP))[30:-8])
    assert inner[UDP].dport == 53
    assert bytes(inner[UDP].payload) == b"query"
