# SPDX-License-Identifier: Apache-2.0
"""A UDP service of the golden rows' farm, and its packets, built by scapy."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, Protocol

from scapy.layers.inet import ICMP, IP, UDP
from scapy.packet import Raw

from ipos.abi.layout import constant
from ipos.wire.tags import packet_tag
from native.shapes import Rows
from native.values import Socket, SocketState
from tests.support.golden import packets as p
from tests.support.pools import pool

TABLES = ("udp_flows", "udp_new", "udp_owned", "udp_fragments", "quic_hellos")
DNS = 53
IDLE_S = 60
QUERY = b"what is the address of shop.example?"
MARK_FLOW = constant("IPOS_MARK_FLOW")
LISTENER = Socket(SocketState.CLOSE, IPv4Address(0), DNS)
_SERVICE, _POOL = 2, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Flows:
    """The UDP service: the rest of the farm is as `Config` says."""

    candidates: tuple[int, ...] = (2,)
    policy: str = "FIXED"
    application: str = "0.0.0.0"
    application_port: int = DNS
    mode: str = "AUTO"
    number: tuple[int, int] = (0, 0)  # of QUIC: where in a connection ID, and how many bytes
    numbers: tuple[tuple[int, int], ...] = ()  # number and server


class Tables(Protocol):
    def table(self, name: str) -> Rows: ...


def configure(machine: Tables, flows: Flows, servers: Mapping[int, tuple[str, str]]) -> None:
    """Everything that the agent writes about the service."""
    for index, (address, _) in servers.items():
        key = {"ip": int(IPv4Address(address)), "port": DNS, "protocol": 17}
        machine.table("addresses")[key] = {"service": _SERVICE, "holder": index}
    machine.table("services")[_SERVICE] = {
        "protocol": 17,
        "used": 1,
        "pool": _POOL,
        "listening": _POOL,
        "port": DNS,
        "application_ip": int(IPv4Address(flows.application)),
        "application_port": flows.application_port,
        "flow_idle_s": IDLE_S,
        "mode": constant(f"IPOS_MODE_{flows.mode}"),
        "id_at": flows.number[0],
        "id_bytes": flows.number[1],
    }
    for number, server in flows.numbers:
        machine.table("quic_numbers")[{"number": number, "service": _SERVICE}] = server
    candidates = ({"server": one, "port": flows.application_port} for one in flows.candidates)
    machine.table("pools")[_POOL] = pool(candidates, policy=constant(f"IPOS_{flows.policy}"))


def key(service: str = p.SERVICE, port: int = p.PORT, service_port: int = DNS) -> dict[str, Any]:
    """Of a flow, in all tables of flows."""
    return {
        "client_ip": int(IPv4Address(p.CLIENT)),
        "service_ip": int(IPv4Address(service)),
        "client_port": port,
        "service_port": service_port,
        "protocol": 17,
    }


KEY = key()
ANY = key("0.0.0.0")
"""Of what the client asked last by the application's port."""


def flow(server: int = 2, **fields: Any) -> dict[str, Any]:
    """A row of a flow that has been offered and is in use."""
    address = {1: p.SERVICE, 2: p.S2, 3: p.S3}[server]
    return {
        "destination_ip": int(IPv4Address(address)), "destination_port": DNS, "server": server,
        "service": _SERVICE, "offer": 1, "state": 1, "last_seen_ns": -1_000_000,
        "offered_ns": -1_000_000, **fields,
    }  # fmt: skip


def told(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a row must hold afterwards: times and counts aside."""
    return {name: value for name, value in row.items() if not name.endswith("_ns")}


def owned(service: str = p.SERVICE, **fields: Any) -> dict[str, Any]:
    """A row of the owner's."""
    return {"service_ip": int(IPv4Address(service)), "service_port": DNS, "service": _SERVICE,
            "last_seen_ns": -1_000_000, **fields}  # fmt: skip


def fragment_key(packet_id: int = 7, *, outbound: bool = False, of: str = "") -> dict[str, Any]:
    ends = [int(IPv4Address(p.CLIENT)), int(IPv4Address(of or p.SERVICE))]
    return {"source": ends[outbound], "destination": ends[not outbound], "id": packet_id,
            "outbound": int(outbound), "zero": 0}  # fmt: skip


# ---- packets ------------------------------------------------------------------------------------


def datagram(
    data: bytes = QUERY, *, to: str = p.SERVICE, to_port: int = DNS, **header: Any
) -> bytes:
    """The client's IP packet."""
    udp = UDP(sport=p.PORT, dport=to_port)
    return bytes(IP(src=p.CLIENT, dst=to, id=7, **header) / udp / data)


def fragments(data: bytes, size: int, **fields: Any) -> list[bytes]:
    """The same in IP fragments, each of so many bytes behind its header."""
    return _cut(datagram(data, **fields), size)


def _cut(packet: bytes, size: int) -> list[bytes]:
    head, body = IP(packet[:20]), packet[20:]
    found = []
    for at in range(0, len(body), size):
        last = at + size >= len(body)
        more = bool(head.flags.MF) or not last
        piece = IP(src=head.src, dst=head.dst, id=head.id, ttl=head.ttl, proto=17,
                   flags="MF" if more else 0, frag=head.frag + at // 8)  # fmt: skip
        found.append(bytes(piece / Raw(body[at : at + size])))
    return found


def split(packet: bytes) -> tuple[bytes, bytes]:
    """A packet that is too long for one frame, as it travels."""
    first, second = _cut(packet, 1448)
    return first, second


def answer(
    data: bytes = b"it is 203.0.113.9", *, by: str, by_port: int = DNS, checksum: bool = True,
    **header: Any,
) -> bytes:  # fmt: skip
    """What an application sends to the client, as IP packet."""
    udp = (
        UDP(sport=by_port, dport=p.PORT) if checksum else UDP(sport=by_port, dport=p.PORT, chksum=0)
    )
    return bytes(IP(src=by, dst=p.CLIENT, id=9, **header) / udp / data)


def answer_fragments(data: bytes, size: int, by: str) -> list[bytes]:
    return _cut(answer(data, by=by), size)


def readdressed(packet: bytes, by: str) -> bytes:
    """A later fragment by another source."""
    ip = IP(packet)
    ip.src = by
    del ip.chksum
    return bytes(ip)


def leaves(packet: bytes) -> bytes:
    """On its way out on front."""
    return p.ether(packet, p.ROUTER, p.FRONT, 0, 0)


def unreachable(quoted: int = 8, by_port: int = DNS, kind: int = 3) -> bytes:
    """The client's kernel about an answer: nobody has the port any more."""
    inner = bytes(
        IP(src=p.SERVICE, dst=p.CLIENT, id=9) / UDP(sport=by_port, dport=p.PORT) / b"xxxxxxxxx"
    )
    return bytes(IP(src=p.CLIENT, dst=p.SERVICE, id=8) / ICMP(type=kind, code=3) /
                 Raw(inner[: 20 + quoted]))  # fmt: skip


def too_long(packet: bytes) -> bytes:
    """What the first server says about a packet that may not be split."""
    said = IP(src=p.SERVICE, dst=p.CLIENT, id=0, ttl=64) / ICMP(type=3, code=4, nexthopmtu=1472)
    return p.ether(bytes(said / Raw(packet[:28])), p.ROUTER, p.FRONT, 0, 0)


# ---- Figure 11 ----------------------------------------------------------------------------------


def offer(
    *, to: str = p.MAC2, by: str = p.BACK, endpoint: str = p.S2, endpoint_port: int = DNS,
    number: int = 1, sent_s: int = p.SENT_S, service: str = p.SERVICE, service_port: int = DNS,
    vlan: int = 0, tag: bytes | None = None, cut: int | None = None, **fields: Any,
) -> bytes:  # fmt: skip
    """Figure 11f, type 1, and our offer behind it."""
    outer = p.header(1, endpoint=endpoint, endpoint_port=endpoint_port, protocol=2, **fields)
    plain = IPv4Address(service).packed + struct.pack("!HIH", service_port, sent_s, number)
    ends = bytes.fromhex((to + by).replace(":", ""))
    body = outer + plain + (p.tag64(outer + plain + ends) if tag is None else tag)
    return p.on_back(body if cut is None else body[:cut], to, by, vlan, shortest=60 * (cut is None))


def offered(**fields: Any) -> bytes:
    """The same from s2 to us."""
    return offer(**{"to": p.BACK, "by": p.MAC2, "endpoint": p.SERVICE, **fields})


def packet(
    inner: bytes, *, to: str = p.MAC2, by: str = p.BACK, endpoint: str = p.S2,
    vlan: int = 0, tag: bytes | None = None, shortest: int = 0, **fields: Any,
) -> bytes:  # fmt: skip
    """Figure 11h, type 2: the client's packet, whole, and its tag."""
    outer = p.header(2, endpoint=endpoint, endpoint_port=DNS, protocol=2, **fields)
    later = inner[9] == 17 and int.from_bytes(inner[6:8], "big") & 0x1FFF
    headers = 20 if later else 28
    payload = inner[headers:]
    made = packet_tag(
        p.FRAME_KEY, outer + inner[:headers], payload if len(payload) <= 1024 else b""
    )
    return p.on_back(
        outer + inner + (made if tag is None else tag), to, by, vlan, shortest=shortest
    )


def arrives(inner: bytes, **fields: Any) -> bytes:
    """The same from s2 to us, padded."""
    return packet(inner, **{"to": p.BACK, "by": p.MAC2, "endpoint": p.SERVICE, "shortest": 60,
                            **fields})  # fmt: skip


def out_of_frame(inner: bytes, vlan: int = 0) -> bytes:
    """What XDP leaves of it: as if it had come in on front."""
    return p.ether(inner, p.FRONT, p.MAC2, vlan, 0)


def notice(kind: int, *, number: int = 1, reason: int = 0, **fields: Any) -> bytes:
    """Types 3 and 7 about the flow, by default from s2 to us."""
    return p.notice(kind, **{"protocol": 2, "endpoint_port": DNS, "service_port": DNS, "iss": 0,
                             "reason": number << 4 | reason, **fields})  # fmt: skip


def says(kind: int, **fields: Any) -> bytes:
    """The same from us to s2."""
    return notice(kind, **{"to": p.MAC2, "by": p.BACK, "endpoint": p.SERVICE, **fields})
