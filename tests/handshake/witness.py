# SPDX-License-Identifier: Apache-2.0
"""scapy as the witness: packets that ipOS did not build, and a reader it did not write."""

from __future__ import annotations

from typing import Any

from scapy.layers.inet import IP, TCP

from ipos.handshake.keys import FarmKeys
from ipos.handshake.segment import Segment, parse_packet

CLIENT = "10.99.0.7"
SERVICE = "203.0.113.1"
KEYS = FarmKeys(b"the secret of a farm in a test", "shop")
NOW_S = 1_700_000_000.0


def tcp(flags: str, options: list[tuple[str, Any]] | None = None, **fields: Any) -> Any:
    """scapy's packet from the client to the service; fields are scapy's."""
    data = fields.pop("data", b"")
    header = TCP(
        **{"sport": 40001, "dport": 80, "flags": flags, "options": options or [], **fields}
    )
    return IP(src=CLIENT, dst=SERVICE) / header / data


def segment(flags: str, options: list[tuple[str, Any]] | None = None, **fields: Any) -> Segment:
    return parse_packet(bytes(tcp(flags, options, **fields)))


def checked(packet: bytes) -> Any:
    """scapy's reading of a packet whose checksums scapy finds right."""
    read = IP(packet)
    again = IP(packet)
    del again[IP].chksum, again[TCP].chksum
    again = IP(bytes(again))
    assert (read[IP].chksum, read[TCP].chksum) == (again[IP].chksum, again[TCP].chksum)
    return read
