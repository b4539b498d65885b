# SPDX-License-Identifier: Apache-2.0
"""ARP as scapy writes and reads it."""

from ipaddress import IPv4Address

import pytest
from scapy.layers.l2 import ARP

from ipos.agent import signs

MAC = b"\2\0\0\0\0\2"


def test_a_request_is_what_scapy_reads() -> None:
    read = ARP(signs.request(MAC, IPv4Address("10.77.0.1"), IPv4Address("10.77.0.2")))
    assert (read.op, read.hwsrc, read.psrc, read.pdst) == (
        1,
        "02:00:00:00:00:02",
        "10.77.0.1",
        "10.77.0.2",
    )
    assert not read.payload


def test_a_reply_names_address_and_mac() -> None:
    reply = bytes(ARP(op=2, hwsrc="02:00:00:00:00:02", psrc="10.77.0.2"))
    assert signs.parse_reply(reply) == (IPv4Address("10.77.0.2"), MAC)
    assert signs.parse_reply(reply + bytes(18)) == (IPv4Address("10.77.0.2"), MAC)


@pytest.mark.parametrize(
    "raw", [b"", bytes(28), bytes(ARP(op=1)), bytes(ARP(op=2))[:27], bytes(ARP(op=2, hwtype=6))]
)
def test_anything_else_is_no_reply(raw: bytes) -> None:
    assert signs.parse_reply(raw) is None
