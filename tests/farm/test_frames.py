# SPDX-License-Identifier: Apache-2.0
"""Frames on the back LAN against Figure 11, read by scapy layers that share nothing with ours."""

import socket
import time

import pytest
from scapy.layers.inet import IP, TCP

from ipos.abi.layout import constant
from tests.farm.wire import Capture, Tagger, capturing
from tests.support.farm import CLIENT, ELSEWHERE, MAPPED, Farm, read_answer, request
from tests.support.scapy_layers import ConnectionInformation, ControlBlockV1, IposHeader, Trailer

pytestmark = pytest.mark.farm
STATE = constant("IPOS_STATE")  # which servers say all the time

_HEADER = 14
_MINIMUM = 60


def _of_type(capture: Capture, number: int) -> list[bytes]:
    return [frame for frame in capture.ipos() if frame[_HEADER + 12] == number]


def _header(frame: bytes) -> IposHeader:
    """The ipOS header, whose checksum scapy finds right."""
    header = IposHeader(frame[_HEADER : _HEADER + 16])
    again = header.copy()
    again.chksum = None
    assert IposHeader(bytes(again)).chksum == header.chksum
    return header


def _of_connections(capture: Capture) -> list[bytes]:
    return [frame for frame in capture.ipos() if _header(frame).type != STATE]


def _mac(farm: Farm, server: str, interface: str = "back") -> bytes:
    text = farm.lab.nodes[server].interface(interface).mac
    return bytes.fromhex(text.replace(":", ""))


@pytest.mark.parametrize(("port", "application"), [(ELSEWHERE, ELSEWHERE), (MAPPED, 8080)])
def test_a_migration_as_figure_11_draws_it(farm: Farm, port: int, application: int) -> None:
    tagger = Tagger(farm)
    head = request("/?figure=11")
    with capturing(farm, "s2", "back") as capture:
        with farm.connect(port) as connection:
            client_port = connection.getsockname()[1]
            connection.sendall(head)
            assert read_answer(connection).served_by == "s2"
            assert connection.recv(1) == b""
        farm.wait_idle()
        capture.wait_for(5)

    endpoint = (farm.address("s2"), application)
    for frame in _of_connections(capture):
        header = _header(frame)
        assert (header.src, header.sport) == (CLIENT, client_port)
        assert (header.dst, header.dport, header.protocol) == (*endpoint, 1)
        outward = frame[:12] == _mac(farm, "s2") + _mac(farm, "s1")
        assert outward == (header.type in (1, 2))
        assert outward or frame[:12] == _mac(farm, "s1") + _mac(farm, "s2")

    (connection_frame,) = _of_type(capture, 1)
    assert len(connection_frame) == 176
    information = ConnectionInformation(connection_frame[30:36])
    assert (information.server, information.port) == (farm.address("s1"), port)
    block = ControlBlockV1(connection_frame[36:])
    assert (block.version, block.state) == (1, 1)
    assert (block.snd_una, block.snd_nxt, block.snd_max) == (block.iss + 1,) * 3
    assert block.rcv_nxt == block.irs + 1
    assert (block.peer_mss, block.rcv_wscale) == (1460, 7)
    assert block.flags & 7 == 7, "SACK, timestamps and window scale, as the client's Linux offers"
    assert (block.zero54, block.zero113, block.first) == (0, bytes(3), 0)
    assert block.receive_queue_bytes == 0
    assert abs(block.sent_s - time.time()) < 60
    assert block.tag == tagger.wide(connection_frame[14:160])

    packets = _of_type(capture, 2)
    for frame in packets:
        inner = IP(frame[30:])
        length = inner.len
        assert len(frame) == max(14 + 16 + length + 8, _MINIMUM)
        assert (inner.src, inner.dst, inner[TCP].dport) == (CLIENT, farm.address("s1"), port)
        assert inner[TCP].sport == client_port
        again = IP(bytes(inner)[:length])
        read = (again.chksum, again[TCP].chksum)
        del again.chksum, again[TCP].chksum
        again = IP(bytes(again))
        assert read == (again.chksum, again[TCP].chksum)
        headers = 20 + inner[TCP].dataofs * 4
        tag = frame[30 + length : 38 + length]
        payload = frame[30 + headers : 30 + length]
        covered = payload if len(payload) <= 1024 else b""
        assert tag == tagger.packet(frame[14 : 30 + headers], covered)
    first = IP(packets[0][30:])
    assert bytes(first[TCP].payload)[: len(head)] == head
    assert (first[TCP].seq, first[TCP].ack) == (block.irs + 1, block.iss + 1)
    assert capture.ipos().index(connection_frame) < capture.ipos().index(packets[0])

    (acknowledgement,) = _of_type(capture, 3)
    (closed,) = _of_type(capture, 4)
    for frame in (acknowledgement, closed):
        assert len(frame) == _MINIMUM, "30 bytes, a trailer of 20, and padding"
        trailer = Trailer(frame[30:50])
        assert (trailer.service, trailer.port) == (farm.address("s1"), port)
        offer = block.migration_number & 0xFFFF if frame is acknowledgement else 0
        assert (trailer.reason, trailer.iss) == (offer, block.iss)
        assert trailer.tag == tagger.short(frame[14:42] + frame[:12])
    # It repeats the header of what it acknowledges, except the type and so the checksum.
    assert acknowledgement[14:26] == connection_frame[14:26]


def test_the_captured_handshake_has_right_checksums(farm: Farm) -> None:
    with capturing(farm, "s1", "front") as capture:
        farm.get(port=ELSEWHERE)
        farm.wait_idle()
    answers = [
        IP(frame[14:])
        for frame in capture.frames
        if frame[12:14] == b"\x08\x00" and frame[26:30] == socket.inet_aton(farm.address("s1"))
    ]
    syn_acks = [packet for packet in answers if packet.haslayer(TCP) and packet[TCP].flags == "SA"]
    assert len(syn_acks) == 1
    (answer,) = syn_acks
    read = (answer.chksum, answer[TCP].chksum)
    del answer.chksum, answer[TCP].chksum
    answer = IP(bytes(answer))
    assert read == (answer.chksum, answer[TCP].chksum)
    options = dict(answer[TCP].options)
    assert (options["MSS"], options["WScale"]) == (1432, 7)
    assert answer[TCP].window == 14600
