# SPDX-License-Identifier: Apache-2.0
"""What the agent says of old rows: resets, type 4 frames, questions and answers."""

import struct
from collections.abc import Callable
from ipaddress import IPv4Address

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Dot1Q, Ether

from ipos.abi.codec import Codec
from ipos.abi.layout import layout
from ipos.abi.rows import Settings, SettingsFlags, Tuple
from ipos.agent.expiry import expiry_rules, notices, query_message
from ipos.agent.expiry.owner_query import ANSWER_NS, ASKED, Inquiry
from ipos.agent.expiry.query_message import Answer, Connection, Lost, Question, Said
from ipos.wire import NoticePacket, PacketType, WireError, ethernet
from tests.agent.made_up_farm import KEY, MS, NOW_NS, back

FRAME_KEY = bytes(range(16, 32))
FRONT_MAC, BACK_MAC = bytes((2, 0, 0, 0, 1, 1)), bytes((2, 0, 0, 0, 2, 1))
ROUTER_MAC, FIRST_MAC = bytes((2, 0, 0, 0, 1, 9)), bytes((2, 0, 0, 0, 2, 2))
CLIENT, SERVICE = IPv4Address("10.99.0.11"), IPv4Address("203.0.113.1")
ROW = Codec(Tuple).encode(Tuple(CLIENT, SERVICE, 40_000, 80))
ENDS = expiry_rules.ENDS.read(ROW)


def settings(*, authenticate: bool = True, vlan: int = 0) -> Settings:
    flags = SettingsFlags.AUTHENTICATE if authenticate else SettingsFlags(0)
    first, second = struct.unpack("<QQ", FRAME_KEY)
    return Settings(
        abi=1, flags=flags, front_ifindex=2, back_ifindex=3, front_vlan=vlan, back_vlan=vlan,
        ethertype=7, self=1, front_mac=FRONT_MAC, back_mac=BACK_MAC,
        self_ip=IPv4Address("203.0.113.1"), wall_offset_ns=0, frame_key=(first, second),
        header_timeout_ms=5000, idle_s=3600,
    )  # fmt: skip


@pytest.mark.parametrize("vlan", [0, 12])
def test_a_reset_as_scapy_reads_it(vlan: int) -> None:
    raw = notices.reset_frame(settings(vlan=vlan), ENDS, ROUTER_MAC, 0xFFFF_FFFF)
    frame = Ether(raw)
    assert (frame.dst, frame.src) == ("02:00:00:00:01:09", "02:00:00:00:01:01")
    assert (frame[Dot1Q].vlan if vlan else None) == (vlan or None)
    ip, tcp = frame[IP], frame[TCP]
    assert (ip.src, ip.dst, tcp.sport, tcp.dport) == ("203.0.113.1", "10.99.0.11", 80, 40_000)
    assert (tcp.seq, tcp.ack, str(tcp.flags), len(tcp.payload)) == (0, 0, "R", 0)
    sums = ip.chksum, tcp.chksum
    del ip.chksum, tcp.chksum
    again = Ether(bytes(frame))
    assert (again[IP].chksum, again[TCP].chksum) == sums


@pytest.mark.parametrize(("options", "window"), [(7, 115), (0, 14_600)])
def test_a_response_as_scapy_reads_it(options: int, window: int) -> None:
    hs = {"iss": 999, "irs": 499, "options": options, "ts_recent": 70, "ts_sent": 80}
    held = {"hs": hs, "held": 20, "client_mac": ROUTER_MAC, "head_state": 1}
    row = expiry_rules.HELD.read(layout("ipos_holding").pack(held))
    kept = expiry_rules.answered(row, b"the answer", NOW_NS)
    assert (kept.acknowledged, kept.complete, kept.created_ns) == (20, 1, NOW_NS)
    frame = Ether(notices.answer_frame(settings(), ENDS, kept, b"the answer"))
    tcp = frame[TCP]
    assert frame.dst == "02:00:00:00:01:09"
    assert (tcp.seq, tcp.ack, str(tcp.flags), tcp.window) == (1000, 520, "FPA", window)
    assert bytes(tcp.payload) == b"the answer"
    stamps = [value for name, value in tcp.options if name == "Timestamp"]
    assert stamps == ([(80, 70)] if options else [])
    late = layout("ipos_temporary").unpack(expiry_rules.ended(kept, expiry_rules.RESET, NOW_NS))
    assert late["client_end"] == 520


@pytest.mark.parametrize("vlan", [0, 12])
@pytest.mark.parametrize("authenticate", [True, False])
def test_type_4_is_what_the_wire_says(vlan: int, authenticate: bool) -> None:
    row = {"endpoint_ip": int(SERVICE), "endpoint_port": 8080, "hs": {"iss": 77}}
    raw = notices.closed_frame(
        settings(authenticate=authenticate, vlan=vlan),
        ENDS,
        expiry_rules.OWNED.read(layout("ipos_endpoint").pack(row)),
        FIRST_MAC,
    )
    assert len(raw) >= 60
    frame = ethernet.decode(raw, FRAME_KEY if authenticate else None)
    assert (frame.destination_mac, frame.source_mac) == (FIRST_MAC, BACK_MAC)
    notice = frame.packet
    assert isinstance(notice, NoticePacket)
    assert notice.header.type is PacketType.CLOSED
    assert (notice.header.source_ip, notice.header.source_port) == (CLIENT, 40_000)
    assert (str(notice.header.destination_ip), notice.header.destination_port) == (
        "203.0.113.1",
        8080,
    )
    assert (notice.service_ip, notice.service_port) == (SERVICE, 80)
    assert (notice.iss, notice.reason) == (77, 0)
    if not authenticate:
        with pytest.raises(WireError, match="tag"):
            ethernet.decode(raw, FRAME_KEY)


SAID: list[Said] = [
    Question(1 << 62, [Connection(1, 2, 3, 4, 0xFFFF_FFFF)]),
    Question(7, [Connection(1, 2, 3, 4, 5, live=True)], of_first=True),
    Lost(1 << 62),
    Question(5, []),
    Answer(1 << 62, [True, False]),
]


@pytest.mark.parametrize("said", SAID)
def test_round_trip(said: Said) -> None:
    datagram = query_message.encode(said, KEY)
    assert query_message.is_one(datagram)
    assert query_message.decode(datagram, KEY) == said


@pytest.mark.parametrize("said", SAID)
def test_no_changed_byte_is_believed(said: Said) -> None:
    datagram = query_message.encode(said, KEY)
    assert query_message.decode(datagram, bytes(16)) is None
    for position in range(len(datagram)):
        changed = bytearray(datagram)
        changed[position] ^= 0x40
        assert query_message.decode(bytes(changed), KEY) is None
        assert query_message.decode(datagram[:position], KEY) is None


def test_a_question_under_an_answers_letter_is_nothing() -> None:
    forged = b"A" + query_message.encode(SAID[0], KEY)[1:]
    assert query_message.decode(forged, KEY) is None


def test_the_largest_question_fits_into_a_datagram() -> None:
    row = Connection(*(0xFFFF_FFFF, 0xFFFF) * 2, 0xFFFF_FFFF)
    assert len(query_message.encode(Question(1 << 62, [row] * query_message.ROWS_MAX), KEY)) < 1400


class Post:
    """Datagrams that were sent, and to whom."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, tuple[str, int]]] = []

    def __call__(self, datagram: bytes, to: tuple[str, int]) -> None:
        self.sent.append((datagram, to))


MEMBERS = {back(1), back(2), back(3)}


def exchange(
    knows: Callable[[bytes, int], bool], *doubts: tuple[bytes, int], answerer: int = 2
) -> list[tuple[bytes, int]]:
    """s1 asks s2; what comes back from the server `answerer` is told to s1."""
    asking, answering = Post(), Post()
    first, owner = Inquiry(KEY, asking), Inquiry(KEY, answering)

    def known(who: IPv4Address, key: bytes, asked: Connection, of_first: bool) -> bool:
        assert (who, of_first, asked.live) == (back(1), False, False)
        return knows(key, asked.iss)

    for key, iss in doubts:
        first.doubt(back(2), key, iss)
    first.ask(NOW_NS)
    for datagram, to in asking.sent:
        assert to == ("10.77.0.2", 7077)
        assert not list(owner.receive(datagram, ("10.77.0.1", 7077), MEMBERS, known))
    denied: list[tuple[bytes, int]] = []
    for datagram, to in answering.sent:
        assert to == ("10.77.0.1", 7077)
        said = first.receive(datagram, (f"10.77.0.{answerer}", 7077), MEMBERS, known)
        denied += [(key, iss) for key, iss, by_first in said if not by_first]
    return denied


def test_an_owner_denies_what_it_does_not_know() -> None:
    doubts = [(ROW, iss) for iss in range(120)]
    assert exchange(lambda key, iss: key == ROW and iss % 2 == 0, *doubts) == doubts[1::2]


def test_only_the_server_that_was_asked_is_believed() -> None:
    assert exchange(lambda key, iss: False, (ROW, 1), answerer=3) == []


def test_an_answer_is_believed_once() -> None:
    asking, answering = Post(), Post()
    first, owner = Inquiry(KEY, asking), Inquiry(KEY, answering)
    first.doubt(back(2), ROW, 1)
    first.ask(NOW_NS)
    list(owner.receive(asking.sent[0][0], ("10.77.0.1", 7077), MEMBERS, lambda *_: False))
    answer, source = answering.sent[0][0], ("10.77.0.2", 7077)
    assert list(first.receive(answer, source, MEMBERS, lambda *_: False)) == [(ROW, 1, False)]
    assert not list(first.receive(answer, source, MEMBERS, lambda *_: False))


def test_an_owner_asks_the_first_server_and_says_what_it_knows() -> None:
    asking, answering = Post(), Post()
    owner, first = Inquiry(KEY, asking), Inquiry(KEY, answering)
    for iss, live in ((1, False), (2, True)):
        owner.doubt(back(1), ROW, iss, of_first=True, live=live)
    owner.doubt(back(1), ROW, 3)
    owner.ask(NOW_NS)
    asked: list[tuple[int, bool, bool]] = []

    def known(who: IPv4Address, key: bytes, about: Connection, of_first: bool) -> bool:
        assert (who, key) == (back(2), ROW)
        asked.append((about.iss, about.live, of_first))
        return about.iss == 2

    for datagram, _ in asking.sent:
        list(first.receive(datagram, ("10.77.0.2", 7077), MEMBERS, known))
    assert asked == [(1, False, True), (2, True, True), (3, False, False)]
    denied = [
        one
        for datagram, _ in answering.sent
        for one in owner.receive(datagram, ("10.77.0.1", 7077), MEMBERS, known)
    ]
    assert denied == [(ROW, 1, True), (ROW, 3, False)]


def test_who_has_reset_connections_of_ours_is_told_apart() -> None:
    post = Post()
    loser, owner = Inquiry(KEY, post), Inquiry(KEY, Post())
    loser.tell_lost(back(2))
    ((datagram, to),) = post.sent
    assert to == ("10.77.0.2", 7077)
    assert not list(owner.receive(datagram, ("10.77.0.1", 7077), MEMBERS, lambda *_: True))
    assert not list(owner.receive(datagram, ("10.77.0.9", 7077), MEMBERS, lambda *_: True))
    assert owner.told_lost() == {back(1)}
    assert owner.told_lost() == set()


def test_no_answer_denies_nothing_and_late_ones_are_not_heard() -> None:
    asking, answering = Post(), Post()
    first, owner = Inquiry(KEY, asking), Inquiry(KEY, answering)
    first.doubt(back(2), ROW, 1)
    first.ask(NOW_NS)
    assert not first.is_busy
    ((question, _),) = asking.sent
    list(owner.receive(question, ("10.77.0.1", 7077), MEMBERS, lambda *_: False))
    ((answer, _),) = answering.sent
    first.ask(NOW_NS + ANSWER_NS + MS)
    assert not list(first.receive(answer, ("10.77.0.2", 7077), MEMBERS, lambda *_: False))


def test_strangers_get_no_answer() -> None:
    post = Post()
    owner = Inquiry(KEY, post)
    datagram = query_message.encode(Question(1, []), KEY)
    assert not list(owner.receive(datagram, ("10.77.0.9", 7077), MEMBERS, lambda *_: True))
    assert not list(owner.receive(datagram[:-1], ("10.77.0.2", 7077), MEMBERS, lambda *_: True))
    assert post.sent == []


def test_questions_are_bounded() -> None:
    post = Post()
    first = Inquiry(KEY, post)
    for iss in range(ASKED + 1):
        first.doubt(back(2), ROW, iss)
    first.ask(NOW_NS)
    assert len(post.sent) == ASKED // query_message.ROWS_MAX
    assert first.is_busy
    first.ask(NOW_NS)
    assert len(post.sent) == ASKED // query_message.ROWS_MAX + 1
    assert not first.is_busy
