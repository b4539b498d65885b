# SPDX-License-Identifier: Apache-2.0
"""Packets of IPv6 for golden rows, built by scapy as those of `packets`.

Addresses are the same numbers as IPv4's there, so tables of rows are written alike.
"""

from __future__ import annotations

import struct
from ipaddress import IPv6Address
from typing import Any

from scapy.layers.inet import TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

from ipos.handshake.siphash import siphash64
from ipos.wire.tags import packet_tag
from tests.support.golden import packets as p

CLIENT, SERVICE, S2 = (f"::{address}" for address in (p.CLIENT, p.SERVICE, p.S2))
ELSEWHERE = "::203.0.113.9"  # no service's
ROUTER = "fe80::99"
OUR_MSS, CLIENT_MSS = 1396, 1440
MSS_TABLE = (1220, 1340, 1400, 1440)
FIRST_KEY_OF_PAYLOAD = 17
ALL_NODES, ALL_NODES_MAC = "ff02::1", "33:33:00:00:00:01"


def cookie(mss: int = CLIENT_MSS, *, stamps: bool = True) -> tuple[int, int]:
    """As `packets.cookie`, of a SYN with SACK and window scale."""
    word = p.CLIENT_SCALE | 1 << 4
    index = max(i for i, entry in enumerate(MSS_TABLE) if entry <= max(mss, MSS_TABLE[0]))
    word |= max(mss, MSS_TABLE[0]) << 6 if stamps else index << 6
    message = IPv6Address(CLIENT).packed + IPv6Address(SERVICE).packed
    message += struct.pack("!HHIII", p.PORT, p.WEB, p.IRS, word, stamps)
    mac = siphash64(p.COOKIE_KEYS[p.EPOCH], message)
    if stamps:
        return mac >> 33 << 1 | p.EPOCH & 1, (mac & 0x3FF) << 22 | word
    return mac >> 39 << 7 | index << 5 | (word & 0x1F), 0


ISS, OUR_TS = cookie()


def ether(packet: Packet | bytes, to: str, by: str, vlan: int = 0) -> bytes:
    head = Ether(dst=to, src=by, type=0x8100 if vlan else 0x86DD)
    if vlan:
        head = head / Dot1Q(vlan=vlan, type=0x86DD)
    return bytes(head / Raw(bytes(packet)))


def from_router(packet: Packet | bytes) -> bytes:
    return ether(packet, p.FRONT, p.ROUTER)


def ip(flags: str, data: bytes = b"", between: Packet | None = None, **fields: Any) -> bytes:
    """The client's packet. between: headers before TCP's."""
    fields.setdefault("options", p.echo(echoed=OUR_TS))
    to = fields.pop("to", SERVICE)
    tcp = TCP(sport=p.PORT, dport=p.WEB, flags=flags, window=502,
              **{"seq": p.IRS + 1, "ack": ISS + 1 if "A" in flags else 0, **fields})  # fmt: skip
    head = IPv6(src=CLIENT, dst=to, hlim=60)
    return bytes((head if between is None else head / between) / tcp / data)


def client(flags: str, data: bytes = b"", **fields: Any) -> bytes:
    return from_router(ip(flags, data, **fields))


def syn(mss: int = CLIENT_MSS, *, stamps: bool = True) -> bytes:
    return client("S", seq=p.IRS, options=p.syn_options(mss=mss, stamps=stamps))


def answer(flags: str, seq: int, ack: int, window: int, options: list[tuple[str, Any]]) -> bytes:
    """The iNIC's own: hop limit 64, neither traffic class nor flow label."""
    tcp = TCP(sport=p.WEB, dport=p.PORT, seq=seq, ack=ack, flags=flags, window=window,
              options=options)  # fmt: skip
    return ether(IPv6(src=SERVICE, dst=CLIENT, hlim=64) / tcp, p.ROUTER, p.FRONT)


def syn_ack(mss: int = CLIENT_MSS, *, stamps: bool = True) -> bytes:
    iss, value = cookie(mss, stamps=stamps)
    options: list[tuple[str, Any]] = [("MSS", OUR_MSS)]
    if not stamps:
        options += [("NOP", None), ("NOP", None)]
    options.append(("SAckOK", b""))
    if stamps:
        options.append(("Timestamp", (value, p.TS)))
    options += [("NOP", None), ("WScale", p.OUR_SCALE)]
    return answer("SA", iss, p.IRS + 1, p.WINDOW, options)


def fragment(of: Packet) -> bytes:
    return from_router(IPv6(src=CLIENT, dst=SERVICE) / IPv6ExtHdrFragment(m=1, id=7) / of)


TCP_FRAGMENT = fragment(TCP(sport=p.PORT, dport=p.WEB, flags="S"))
UDP_FRAGMENT = fragment(UDP(sport=p.PORT, dport=p.WEB) / Raw(bytes(8)))
EXTENSIONS = {
    "hop-by-hop options": IPv6ExtHdrHopByHop(),
    "destination options": IPv6ExtHdrDestOpt(),
    "a routing header": IPv6ExtHdrRouting(),
}


def too_big(mtu: int = 1280) -> bytes:
    """From a router on the way to the client: the quoted packet is one the farm sent."""
    quoted = IPv6(src=SERVICE, dst=CLIENT, plen=1400) / TCP(
        sport=p.WEB, dport=p.PORT, seq=ISS + 1, ack=p.IRS + 1, flags="A"
    )
    return bytes(IPv6(src="2001:db8::fe", dst=SERVICE) / ICMPv6PacketTooBig(mtu=mtu) / quoted)


# ---- Figure 11 ----------------------------------------------------------------------------------


def header(kind: int, endpoint: str = p.S2, endpoint_port: int = p.APPLICATION) -> bytes:
    """32 bytes: the figure's, of protocol 3, and the client's whole address."""
    whole = IPv6Address(CLIENT).packed
    rest = IPv6Address(f"::{endpoint}").packed[-4:] + struct.pack("!HBB", endpoint_port, kind, 3)
    head = whole[-4:] + struct.pack("!H", p.PORT) + rest
    total = sum(struct.unpack("!15H", head + whole))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return head + struct.pack("!H", total ^ 0xFFFF) + whole


def sent_packet(inner: bytes, to: str = p.MAC2, by: str = p.BACK, **fields: Any) -> bytes:
    """Type 2 with a whole inner IPv6 packet; `fields` are the header's."""
    outer = header(2, **fields)
    size = 40 + ((inner[52] >> 4) * 4 if inner[6] == 6 else 8)
    payload = inner[size:] if len(inner) - size <= 1024 else b""
    told = packet_tag(p.FRAME_KEY, outer + inner[:size], payload, FIRST_KEY_OF_PAYLOAD)
    return p.on_back(outer + inner + told, to, by, shortest=0)


def notice(kind: int, reason: int = 0, *, by: str = p.MAC2, to: str = p.BACK,
           endpoint: str = p.S2) -> bytes:  # fmt: skip
    """Types 3, 4, 6 and 7 from another server."""
    body = header(kind, endpoint) + IPv6Address(SERVICE).packed
    body += struct.pack("!HHI", p.WEB, reason, ISS)
    ends = bytes.fromhex((to + by).replace(":", ""))
    return p.on_back(body + p.tag64(body + ends), to, by)


# ---- neighbour discovery ------------------------------------------------------------------------


def solicitation(
    asked: str = SERVICE, by: str = ROUTER, to: str = "33:33:ff:00:71:01", vlan: int = 0,
    hops: int = 255, code: int = 0,
) -> bytes:  # fmt: skip
    """A neighbour asks; `::` has no address of its own yet."""
    group = f"ff02::1:ff{IPv6Address(asked).packed[-3]:02x}:{IPv6Address(asked).packed[-2]:02x}01"
    packet = IPv6(src=by, dst=group, hlim=hops) / ICMPv6ND_NS(tgt=asked, code=code)
    if by != "::":
        packet /= ICMPv6NDOptSrcLLAddr(lladdr=p.ROUTER)
    return ether(packet, to, p.ROUTER, vlan)


def advertisement(asked: str = SERVICE, to: str = ROUTER, vlan: int = 0) -> bytes:
    """The answer; to all where the one who asked has no address."""
    nobody = to == "::"
    told = ICMPv6ND_NA(R=0, S=not nobody, O=1, tgt=asked) / ICMPv6NDOptDstLLAddr(lladdr=p.FRONT)
    packet = IPv6(src=asked, dst=ALL_NODES if nobody else to, hlim=255) / told
    return ether(packet, ALL_NODES_MAC if nobody else p.ROUTER, p.FRONT, vlan)
