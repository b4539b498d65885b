# SPDX-License-Identifier: Apache-2.0
"""The examples of `tests.support.strategies` as scapy builds them."""

from __future__ import annotations

from scapy.layers.l2 import Ether

from tests.support.scapy_layers import (
    ConnectionInformation,
    ControlBlockV1,
    IposHeader,
    Probe,
    Trailer,
    offsets,
)
from tests.support.strategies import CONTROL, NONCE

ETHER = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01", type=0x0007)


def ipos(packet_type: int, protocol: int = 1) -> IposHeader:
    return IposHeader(
        src="10.99.0.7",
        sport=40001,
        dst="203.0.113.2",
        dport=8080,
        type=packet_type,
        protocol=protocol,
    )


def control_block(tag: bytes = bytes(16)) -> ControlBlockV1:
    names = [name for name in offsets(ControlBlockV1) if hasattr(CONTROL, name)]
    return ControlBlockV1(**{name: int(getattr(CONTROL, name)) for name in names}, tag=tag)


def trailer(tag: bytes = bytes(8), reason: int = CONTROL.migration_number & 0xFFFF) -> Trailer:
    """Of a type 3; reason: the number of the offer."""
    return Trailer(service="203.0.113.1", port=80, reason=reason, iss=CONTROL.iss, tag=tag)


def probe(tag: bytes = bytes(8)) -> Probe:
    return Probe(nonce=NONCE, tag=tag)


INFORMATION_TCP = ConnectionInformation(server="203.0.113.1", port=80)
INFORMATION_UDP = ConnectionInformation(server="203.0.113.1", port=53)
