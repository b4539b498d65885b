# SPDX-License-Identifier: Apache-2.0
"""IPv4 packets of tests as IPv6's: the same segment, at addresses that are the same numbers."""

from dataclasses import replace
from ipaddress import IPv6Address

from ipos.handshake.segment import parse_packet

ETHERNET = 14
IPV4, IPV6 = b"\x08\x00", b"\x86\xdd"


def six(packet: bytes) -> bytes:
    """The IPv6 packet of an IPv4 one, whose sums are right."""
    segment = parse_packet(packet)
    return replace(
        segment,
        source=IPv6Address(int(segment.source)),
        destination=IPv6Address(int(segment.destination)),
    ).packet()


def six_frame(frame: bytes) -> bytes:
    """The same of an untagged Ethernet frame."""
    assert frame[12:ETHERNET] == IPV4
    return frame[:12] + IPV6 + six(frame[ETHERNET:])
