# SPDX-License-Identifier: Apache-2.0
"""What a router says of a packet of the farm, built by scapy."""

from __future__ import annotations

from scapy.layers.inet import ICMP, IP, TCP
from scapy.packet import Raw

from tests.support.golden.packets import CLIENT, IRS, ISS, PORT, SERVICE, WEB


def fragmentation_needed(port: int = PORT, quoted: int = 8, mtu: int = 1400) -> bytes:
    """From a router on the way to the client: the quoted packet is one the farm sent."""
    inner = IP(src=SERVICE, dst=CLIENT, id=9, flags="DF", len=1500) / TCP(
        sport=WEB, dport=port, seq=ISS + 1, ack=IRS + 1, flags="A"
    )
    return bytes(
        IP(src="10.99.0.254", dst=SERVICE, id=8)
        / ICMP(type=3, code=4, nexthopmtu=mtu)
        / Raw(bytes(inner)[: 20 + quoted])
    )
