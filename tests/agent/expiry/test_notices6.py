# SPDX-License-Identifier: Apache-2.0
"""What the agent says of old rows of connections by IPv6."""

import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from scapy.layers.inet import TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from ipos.abi.codec import Codec
from ipos.abi.layout import layout
from ipos.abi.rows import Tuple, Tuple6
from ipos.agent.expiry import expiry_rules, notices, query_message
from ipos.agent.expiry.owner_query import Inquiry
from ipos.agent.expiry.query_message import Connection, Question
from ipos.wire import NoticePacket, PacketType, Protocol, ethernet
from tests.agent.expiry.test_query_messages import (
    BACK_MAC,
    FIRST_MAC,
    FRAME_KEY,
    ROUTER_MAC,
    settings,
)
from tests.agent.made_up_farm import KEY, NOW_NS, back

CLIENT, SERVICE = IPv6Address("2001:db8:63::11"), IPv6Address("2001:db8::1")
ROW = Codec(Tuple6).encode(Tuple6(CLIENT, SERVICE, 40_000, 80))
ENDS = expiry_rules.ENDS.read(ROW)
FOUR = Codec(Tuple).encode(Tuple(IPv4Address("10.99.0.11"), IPv4Address("203.0.113.1"), 4, 80))


def test_a_key_says_of_which_family_it_is() -> None:
    assert (ENDS.client_ip, ENDS.service_ip) == (CLIENT.packed, SERVICE.packed)
    assert struct.unpack("!HH", ENDS.client_port + ENDS.service_port) == (40_000, 80)
    assert len(expiry_rules.ENDS.read(FOUR).service_ip) == 4


def test_a_reset_as_scapy_reads_it() -> None:
    frame = Ether(notices.reset_frame(settings(), ENDS, ROUTER_MAC, 0xFFFF_FFFF))
    ip, tcp = frame[IPv6], frame[TCP]
    assert frame.dst == "02:00:00:00:01:09"
    assert (ip.src, ip.dst, ip.hlim, ip.plen) == (str(SERVICE), str(CLIENT), 64, 20)
    assert (tcp.sport, tcp.dport, tcp.seq, str(tcp.flags)) == (80, 40_000, 0, "R")
    told = tcp.chksum
    del tcp.chksum
    assert Ether(bytes(frame))[TCP].chksum == told


@pytest.mark.parametrize("vlan", [0, 12])
@pytest.mark.parametrize("authenticate", [True, False])
def test_type_4_is_what_the_contract_says(vlan: int, authenticate: bool) -> None:
    row = layout("ipos_endpoint").pack(
        {"endpoint_ip": int(IPv4Address("203.0.113.2")), "endpoint_port": 8080, "hs": {"iss": 77}}
    )
    raw = notices.closed_frame(
        settings(authenticate=authenticate, vlan=vlan),
        ENDS,
        expiry_rules.OWNED.read(row),
        FIRST_MAC,
    )
    frame = ethernet.decode(raw, FRAME_KEY if authenticate else None)
    assert (frame.destination_mac, frame.source_mac) == (FIRST_MAC, BACK_MAC)
    notice = frame.packet
    assert isinstance(notice, NoticePacket)
    assert (notice.header.type, notice.header.protocol) == (PacketType.CLOSED, Protocol.TCP6)
    assert (notice.header.source_ip, notice.header.source_port) == (CLIENT, 40_000)
    assert str(notice.header.destination_ip) == "203.0.113.2"
    assert (notice.service_ip, notice.service_port, notice.iss) == (SERVICE, 80, 77)


def test_questions_of_both_families_go_together() -> None:
    sent: list[bytes] = []
    asks = Inquiry(KEY, lambda datagram, _: sent.append(datagram))
    for key in (ROW, FOUR):
        asks.doubt(back(2), key, 5)
    asks.ask(NOW_NS)
    (said,) = (query_message.decode(one, KEY) for one in sent)
    assert isinstance(said, Question)
    assert said.connections[0] == Connection(CLIENT.packed, 40_000, SERVICE.packed, 80, 5)
    answers = Inquiry(KEY, lambda datagram, _: sent.append(datagram))
    seen = []

    def knows(who: IPv4Address, key: bytes, asked: Connection, of_first: bool) -> bool:
        seen.append(key)
        return key == FOUR

    source = (str(back(1)), 7077)
    assert not list(answers.receive(sent[0], source, {back(1)}, knows))
    assert seen == [ROW, FOUR]
    denied = list(asks.receive(sent[1], (str(back(2)), 7077), {back(2)}, knows))
    assert denied == [(ROW, 5, False)]


def test_addresses_of_two_families_are_no_connection() -> None:
    mixed = Connection(CLIENT.packed, 1, 2, 3, 4)
    sent: list[bytes] = []
    answers = Inquiry(KEY, lambda datagram, _: sent.append(datagram))
    datagram = query_message.encode(Question(1, [mixed]), KEY)
    list(answers.receive(datagram, (str(back(1)), 7077), {back(1)}, lambda who, key, *_: bool(key)))
    answer = query_message.decode(sent[0], KEY)
    assert isinstance(answer, query_message.Answer)
    assert answer.known == [False]
