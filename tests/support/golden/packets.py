# SPDX-License-Identifier: Apache-2.0
"""Every packet of the golden rows, built by scapy and written down from the design alone.

Nothing of `ipos.wire` or `ipos.handshake` is used, SipHash excepted, which has its own published
vectors. One farm: this server is index 1 (s1), its peers are 2 and 3; a client behind a router
talks to s1's service address.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address
from typing import Any

from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw
from scapy.utils import checksum

from ipos.handshake.siphash import siphash64
from ipos.wire.tags import packet_tag
from tests.support.scapy_layers import (
    IposHeader,
    Trailer,
)

CLIENT, PORT = "10.99.0.7", 40001
SERVICE = "203.0.113.1"
S2, S3 = "203.0.113.2", "203.0.113.3"
ROUTER = "02:00:00:00:00:99"
FRONT, BACK = "02:00:00:00:01:01", "02:00:00:00:02:01"
MAC2, MAC3, STRANGER = "02:00:00:00:02:02", "02:00:00:00:02:03", "02:00:00:00:02:66"
WEB, APPLICATION, MAIL = 80, 8080, 25
VLAN = 42

EPOCH = 100_000_001  # of the clock of every row; odd
COOKIE_KEYS = {EPOCH: b"cookie key now..", EPOCH - 1: b"cookie key then.",
               EPOCH - 2: b"an old cookie's.", EPOCH - 3: b"an older cookie'"}  # fmt: skip
FRAME_KEY = b"the tag's secret"
OTHER_FRAME_KEY = b"the next secret."  # believed while keys change
OTHER_COOKIE_KEY = b"another cookie's"
SENT_S = EPOCH * 16 + 4  # the clock of every row, in seconds
VOUCH = 0x0123_4567_89AB_CDEF  # what s1's XDP says to its tc

IRS = 0x1000_0000  # the client's ISN
CLIENT_MSS, CLIENT_SCALE = 1460, 10
TS, TS_LATER = 7_000_000, 7_000_050
OUR_MSS, OUR_SCALE, WINDOW = 1432, 7, 14_600
HEAD = b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"

SACK, STAMPS, SCALE, ECN = 1, 2, 4, 8
MSS_TABLE = (536, 1220, 1400, 1460)


def cookie(
    *,
    mss: int = CLIENT_MSS,
    scale: int | None = CLIENT_SCALE,
    sack: bool = True,
    stamps: bool = True,
    ecn: bool = False,
    epoch: int = EPOCH,
    irs: int = IRS,
    port: int = PORT,
    service: str = SERVICE,
    service_port: int = WEB,
    key: bytes | None = None,
) -> tuple[int, int]:
    """(ISN, TSval) of the SYN-ACK to a SYN with these options; TSval 0 without timestamps."""
    word = (15 if scale is None else scale) | sack << 4
    index = max(i for i, entry in enumerate(MSS_TABLE) if entry <= mss)
    word |= (ecn << 5 | mss << 6) if stamps else index << 6
    message = IPv4Address(CLIENT).packed + IPv4Address(service).packed
    message += struct.pack("!HHIII", port, service_port, irs, word, stamps)
    mac = siphash64(COOKIE_KEYS[epoch] if key is None else key, message)
    parity = epoch & 1
    if stamps:
        return mac >> 33 << 1 | parity, (mac & 0x3FF) << 22 | word
    return mac >> 39 << 7 | index << 5 | (word & 0x1F), 0


ISS, OUR_TS = cookie()
ISS_BARE, _ = cookie(mss=536, scale=None, sack=False, stamps=False)


# ---- the client's side --------------------------------------------------------------------------


def syn_options(
    mss: int | None = CLIENT_MSS,
    scale: int | None = CLIENT_SCALE,
    sack: bool = True,
    stamps: bool = True,
) -> list[tuple[str, Any]]:
    """As Linux orders them."""
    options: list[tuple[str, Any]] = []
    if mss is not None:
        options.append(("MSS", mss))
    if sack:
        options.append(("SAckOK", b""))
    if stamps:
        options.append(("Timestamp", (TS, 0)))
    if scale is not None:
        options += [("NOP", None), ("WScale", scale)]
    return options


def echo(value: int = TS_LATER, echoed: int = OUR_TS) -> list[tuple[str, Any]]:
    return [("NOP", None), ("NOP", None), ("Timestamp", (value, echoed))]


def ip(
    flags: str,
    data: bytes = b"",
    *,
    seq: int = IRS + 1,
    ack: int = ISS + 1,
    options: list[tuple[str, Any]] | None = None,
    port: int = PORT,
    to: str = SERVICE,
    to_port: int = WEB,
    window: int = 502,
    reserved: int = 0,
    urgent: int = 0,
    damage: int = 0,
    **header: Any,
) -> bytes:
    """The client's packet; options None: the timestamps of an established connection.

    damage: what the TCP checksum is wrong by, in ones' complement.
    """
    if "A" not in flags:
        ack = 0
    tcp = TCP(
        sport=port,
        dport=to_port,
        seq=seq & 0xFFFFFFFF,
        ack=ack & 0xFFFFFFFF,
        flags=flags,
        window=window,
        reserved=reserved,
        options=echo() if options is None else options,
        urgptr=urgent,
    )
    packet = bytearray(bytes(IP(src=CLIENT, dst=to, id=7, flags="DF", **header) / tcp / data))
    if damage:
        (right,) = struct.unpack_from("!H", packet, 36)
        struct.pack_into("!H", packet, 36, (right + damage) % 0xFFFF)
    return bytes(packet)


def from_router(packet: bytes, vlan: int = 0, pad: bool = True) -> bytes:
    """A packet as it comes in on front, padded to 60 bytes as a wire would."""
    return ether(packet, FRONT, ROUTER, vlan, 60 if pad else 0)


def ether(packet: bytes, to: str, by: str, vlan: int, shortest: int) -> bytes:
    if vlan:
        frame = bytes(Ether(dst=to, src=by) / Dot1Q(vlan=vlan, type=0x0800) / Raw(packet))
    else:
        frame = bytes(Ether(dst=to, src=by, type=0x0800) / Raw(packet))
    return frame.ljust(shortest, b"\0")


def client_hello(name: str) -> bytes:
    """With a server name alone (RFC 8446, 4.1.2; RFC 6066, 3)."""

    def sized(size: int, data: bytes) -> bytes:
        return len(data).to_bytes(size, "big") + data

    names = sized(2, b"\0" + sized(2, name.encode()))
    body = b"\3\3" + bytes(32) + b"\0" + sized(2, b"\x13\1") + b"\1\0"
    body += sized(2, b"\0\0" + sized(2, names))
    return b"\x16\3\1" + sized(2, b"\1" + sized(3, body))


def client(flags: str, data: bytes = b"", vlan: int = 0, **fields: Any) -> bytes:
    return from_router(ip(flags, data, **fields), vlan)


def syn(
    options: list[tuple[str, Any]] | None = None, flags: str = "S", vlan: int = 0, **fields: Any
) -> bytes:
    fields.setdefault("seq", IRS)
    given = syn_options() if options is None else options
    return client(flags, options=given, vlan=vlan, **fields)


# ---- our answers --------------------------------------------------------------------------------


def answer(
    flags: str,
    *,
    seq: int,
    ack: int = 0,
    window: int = 0,
    options: list[tuple[str, Any]] | None = None,
    port: int = PORT,
    by: str = SERVICE,
    by_port: int = WEB,
    vlan: int = 0,
    source_mac: str = FRONT,
    data: bytes = b"",
) -> bytes:
    """A segment of the iNIC's own: DF, id 0, TTL 64, not padded."""
    tcp = TCP(
        sport=by_port,
        dport=port,
        seq=seq & 0xFFFFFFFF,
        ack=ack & 0xFFFFFFFF,
        flags=flags,
        window=window,
        options=options or [],
    )
    packet = bytes(IP(src=by, dst=CLIENT, id=0, flags="DF", ttl=64) / tcp / data)
    return ether(packet, ROUTER, source_mac, vlan, 0)


def syn_ack(
    *,
    mss: int = CLIENT_MSS,
    scale: int | None = CLIENT_SCALE,
    sack: bool = True,
    stamps: bool = True,
    ecn: bool = False,
    vlan: int = 0,
    **cookie_fields: Any,
) -> bytes:
    """To a SYN with these options: MSS, SACK and timestamps, window scale, in our order."""
    iss, value = cookie(mss=mss, scale=scale, sack=sack, stamps=stamps, ecn=ecn, **cookie_fields)
    options: list[tuple[str, Any]] = [("MSS", OUR_MSS)]
    nops: list[tuple[str, Any]] = [("NOP", None), ("NOP", None)]
    if stamps:
        options += [("SAckOK", b"")] if sack else nops
        options.append(("Timestamp", (value, TS)))
    elif sack:
        options += [*nops, ("SAckOK", b"")]
    if scale is not None:
        options += [("NOP", None), ("WScale", OUR_SCALE)]
    return answer(
        "SAE" if ecn else "SA",
        seq=iss,
        ack=cookie_fields.get("irs", IRS) + 1,
        window=WINDOW,
        options=options,
        port=cookie_fields.get("port", PORT),
        vlan=vlan,
    )


def ack(
    acknowledged: int = 0, flags: str = "A", seq: int = 1, ts_echo: int = TS_LATER, vlan: int = 0
) -> bytes:
    """Of a request's first bytes, by a connection with all options."""
    return answer(
        flags,
        seq=ISS + seq,
        ack=IRS + 1 + acknowledged,
        window=-(-(WINDOW - acknowledged) >> OUR_SCALE),
        options=echo(OUR_TS, ts_echo),
        vlan=vlan,
    )


def reset(seq: int = ISS + 1, **fields: Any) -> bytes:
    return answer("R", seq=seq, **fields)


# ---- Figure 11 ----------------------------------------------------------------------------------


def header(
    kind: int,
    *,
    endpoint: str = S2,
    endpoint_port: int = APPLICATION,
    protocol: int = 1,
    port: int = PORT,
    chksum: int | None = None,
) -> bytes:
    return bytes(
        IposHeader(
            src=CLIENT, sport=port, dst=endpoint, dport=endpoint_port, type=kind,
            protocol=protocol, chksum=chksum,
        )
    )  # fmt: skip


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def tag64(message: bytes, key: bytes = FRAME_KEY) -> bytes:
    return siphash64(key, message).to_bytes(8, "little")


def on_back(
    body: bytes, to: str, by: str, vlan: int = 0, ethertype: int = 0x0007, shortest: int = 60
) -> bytes:
    if vlan:
        frame = bytes(Ether(dst=to, src=by) / Dot1Q(vlan=vlan, type=ethertype) / Raw(body))
        shortest += 4
    else:
        frame = bytes(Ether(dst=to, src=by, type=ethertype) / Raw(body))
    return frame.ljust(shortest, b"\0")


def sent_packet(
    inner: bytes,
    *,
    to: str = MAC2,
    by: str = BACK,
    vlan: int = 0,
    tag: bytes | None = None,
    key: bytes = FRAME_KEY,
    kind: int = 2,
    **fields: Any,
) -> bytes:
    """Type 2 with a whole inner IP packet; the tag is over our header and the inner headers.

    And over a payload of at most 1024 bytes.
    """
    outer = header(kind, **fields)
    inner_headers = inner[: 20 + (inner[32] >> 4) * 4] if inner[9] == 6 else inner[:28]
    payload = inner[len(inner_headers) : int.from_bytes(inner[2:4], "big")]
    covered = payload if len(payload) <= 1024 else b""
    told = packet_tag(key, outer + inner_headers, covered) if tag is None else tag
    return on_back(outer + inner + told, to, by, vlan, shortest=0)


def packet(inner: bytes, **fields: Any) -> bytes:
    """Type 2 as it comes from s2, padded to 60 bytes."""
    return sent_packet(inner, **{"to": BACK, "by": MAC2, "endpoint": SERVICE, **fields}).ljust(
        60, b"\0"
    )


def notice(
    kind: int,
    *,
    to: str = BACK,
    by: str = MAC2,
    service: str = SERVICE,
    service_port: int = WEB,
    reason: int = 0,
    offer: int = 0,
    iss: int = ISS,
    tag: bytes | None = None,
    key: bytes = FRAME_KEY,
    vlan: int = 0,
    cut: int | None = None,
    **fields: Any,
) -> bytes:
    """Types 3, 4, 6, 7; by default from the owner s2 to us, about our connection.

    offer: of a type 7, the migration number of the offer that is refused.
    """
    outer = header(kind, **fields)
    reason |= (offer & 0xFFF) << 4
    plain = bytes(Trailer(service=service, port=service_port, reason=reason, iss=iss))[:12]
    told = tag64(outer + plain + _mac(to) + _mac(by), key) if tag is None else tag
    body = outer + plain + told
    if cut is not None:
        return on_back(body[:cut], to, by, vlan, shortest=0)
    return on_back(body, to, by, vlan)


def vouched(frame: bytes) -> bytes:
    """A notice as s1's XDP hands it to tc: its own word stands in the tag's place."""
    at = (18 if frame[12:14] == b"\x81\x00" else 14) + 28
    return frame[:at] + VOUCH.to_bytes(8, "little") + frame[at + 8 :]


# ---- checksums --------------------------------------------------------------------------------


def wrong_checksum(packet_: bytes) -> bytes:
    """The TCP checksum of an IP packet, off by one bit."""
    raw = bytearray(packet_)
    raw[36] ^= 1
    return bytes(raw)


def ip_checksum_right(packet_: bytes) -> bytes:
    raw = bytearray(packet_)
    raw[10:12] = b"\0\0"
    raw[10:12] = checksum(bytes(raw[: (raw[0] & 15) * 4])).to_bytes(2, "big")
    return bytes(raw)
