# SPDX-License-Identifier: Apache-2.0
"""What comes from the clients' side and is no business of ours, or malformed."""

from __future__ import annotations

import struct
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether

from tests.support.golden import packets as p
from tests.support.golden.machine import SERVERS, Config
from tests.support.golden.row import Row, Step, rx
from tests.support.golden.rows_frames import REQUEST, TABLES, framed
from tests.support.golden.rows_handshake import KEY, OPENED
from tests.support.golden.rows_migration import GIVEN
from tests.support.golden.rows_owner import ours
from tests.support.golden.rows_request import ATTACHED, HOLDING, PENDING

_ETHER = {"dst": p.FRONT, "src": p.ROUTER}

_PLAIN = IP(src=p.CLIENT, dst=p.SERVICE, id=7)


def _passes(about: str, packet: Any, counts: dict[str, int] | None = None, where: str = "front",
            **fields: Any) -> Row:  # fmt: skip
    frame = bytes(packet).ljust(60, b"\0")
    return Row(about=f"untouched: {about}", steps=[rx(where, frame, "to kernel")],
               counts={"PASSED": 1} if counts is None else counts, **fields)  # fmt: skip


_SYN = p.ip("S", seq=p.IRS, options=p.syn_options())

_WITH_OPTIONS = IP(src=p.CLIENT, dst=p.SERVICE, options=[IPOption_NOP()]) / TCP(
    sport=p.PORT, dport=p.WEB, flags="S"
)

_FIRST_FRAGMENT = p.ip_checksum_right(_SYN[:6] + b"\x20\x00" + _SYN[8:])

LATER_FRAGMENT = p.ip_checksum_right(_SYN[:6] + b"\x20\x05" + _SYN[8:])

_TINY = [
    bytes(IP(src=p.CLIENT, dst=p.SERVICE, proto=6, flags=flags, frag=at) / part)
    for flags, at, part in (("MF", 0, _SYN[20:28]), (0, 1, _SYN[28:]))
]

_TOO_LONG = p.ip_checksum_right(_SYN[:2] + b"\x00\xff" + _SYN[4:])

_TOO_SHORT = p.ip_checksum_right(_SYN[:2] + b"\x00\x1e" + _SYN[4:])

_OFFSET = _SYN[:32] + b"\x40" + _SYN[33:]

_BEYOND = _SYN[:32] + b"\xf0" + _SYN[33:]

_TAG_TYPES = {"802.1Q": 0x8100, "802.1ad": 0x88A8, "0x9100": 0x9100, "0x9200": 0x9200,
              "0x9300": 0x9300}  # fmt: skip


def _in_tags(frame: bytes, *types: int) -> bytes:
    """With these VLAN tags, of id 0, in front of its type."""
    tags = b"".join(struct.pack("!HH", kind, 0) for kind in types)
    return frame[:12] + tags + frame[12:]


def _tagged_rows() -> list[Row]:
    """What the kernel would unpack, and XDP reads no further than one 802.1Q tag."""
    stacks: dict[str, tuple[int, ...]] = {}
    for name, kind in _TAG_TYPES.items():
        stacks[f"two tags, the inner of type {name}"] = (0x8100, kind)
        if kind != 0x8100:
            stacks[f"a tag of type {name}"] = (kind,)
    frames = {
        "a SYN": p.syn(),
        "a request": p.client("PA", p.HEAD),
        "type 7": p.notice(7, reason=2),
        "type 1": framed()["1"],
    }
    rows = [
        Row(about=f"{what} on {where} behind {stack}",
            steps=[rx(where, _in_tags(frame, *types), "drop")], counts={"DROP_VLAN_TAGS": 1},
            before=TABLES, config=Config(deny=((p.CLIENT, 32),)))
        for stack, types in stacks.items()
        for what, frame in frames.items()
        for where in ("front", "back")
    ]  # fmt: skip
    rows += [
        Row(about=f"{what} on {where}: tc finds a tag behind the one that the kernel took",
            steps=[Step(hook="tc", where=where, frame=_in_tags(frame, 0x8100, 0x8100),
                        verdict="shot")],
            counts={"DROP_VLAN_TAGS": 1}, before=TABLES)
        for what, frame in frames.items()
        for where in ("front", "back")
    ]  # fmt: skip
    return [
        *rows,
        Row(about="untouched: two tags on a third interface", counts={"PASSED": 1},
            steps=[Step(hook="xdp", where="elsewhere", frame=_in_tags(p.syn(), 0x8100, 0x8100),
                        verdict="pass")]),
    ]  # fmt: skip


FRONT = [
    *_tagged_rows(),
    _passes("ARP", Ether(**_ETHER) / ARP(pdst=p.SERVICE)),
    _passes("IPv6", Ether(**_ETHER) / IPv6() / TCP(dport=p.WEB)),
    _passes("UDP to a service's port", Ether(**_ETHER) / _PLAIN / UDP(dport=p.WEB)),
    _passes("TCP to a port of no service", Ether(**_ETHER) / _PLAIN / TCP(dport=81, flags="S")),
    _passes("TCP to an address of no service",
            Ether(**_ETHER) / IP(src=p.CLIENT, dst="203.0.113.9") / TCP(dport=p.WEB, flags="S")),
    _passes("a service that is not in use", p.syn(), counts={}, config=Config(used=False)),
    _passes("ping", Ether(**_ETHER) / _PLAIN / ICMP(), counts={}),
    _passes("a fragment of UDP", Ether(**_ETHER) / IP(src=p.CLIENT, dst=p.SERVICE, flags="MF") /
            UDP(dport=p.WEB)),
    _passes("a fragment to an address of no service",
            Ether(**_ETHER) / IP(src=p.CLIENT, dst="203.0.113.9", flags="MF", proto=6) /
            _SYN[20:28]),
    Row(about="untouched: another interface", counts={"PASSED": 1},
        steps=[Step(hook="xdp", where="elsewhere", frame=p.syn(), verdict="pass")]),
    _passes("no settings of this version", p.syn(), counts={}, config=Config(settings=False)),
    _passes("client packets on back for no service", Ether(**_ETHER) / _PLAIN / TCP(dport=81),
            where="back"),
    Row(about="a client's packet on back, without a frame",
        steps=[rx("back", p.from_router(REQUEST), "drop")], counts={"DROP_BACK_DIRECT": 1},
        before=ours(PENDING)),
    Row(about="denied: the whole prefix, before anything else",
        steps=[rx("front", p.syn(), "drop")], counts={"DROP_DENIED": 1},
        config=Config(deny=(("10.99.0.0", 24),))),
    Row(about="denied: one address, for a live connection too",
        steps=[rx("front", p.client("A"), "drop")], counts={"DROP_DENIED": 1}, before=GIVEN,
        config=Config(deny=((p.CLIENT, 32),))),
    Row(about="denied: ping too",
        steps=[rx("front", bytes(Ether(**_ETHER) / _PLAIN / ICMP()).ljust(60, b"\0"), "drop")],
        counts={"DROP_DENIED": 1}, config=Config(deny=((p.CLIENT, 32),))),
    Row(about="a neighbour of what is denied is not",
        steps=[rx("front", p.client("A", ack=5), "drop")], counts={"DROP_NO_COOKIE": 1},
        config=Config(deny=(("10.99.0.8", 29),))),
    Row(about="the first of several fragments",
        steps=[rx("front", p.from_router(_FIRST_FRAGMENT), "drop")], counts={"DROP_FRAGMENT": 1}),
    Row(about="a later fragment: its address alone tells",
        steps=[rx("front", p.from_router(LATER_FRAGMENT), "drop")], counts={"DROP_FRAGMENT": 1}),
    Row(about="a first fragment of eight bytes, and the second, which has the flags",
        steps=[rx("front", p.from_router(tiny), "drop") for tiny in _TINY],
        counts={"DROP_FRAGMENT": 2}),
    Row(about="a fragment for another port of a service's address",
        steps=[rx("front", p.from_router(p.ip_checksum_right(
            _FIRST_FRAGMENT[:22] + b"\0\x51" + _FIRST_FRAGMENT[24:])), "drop")],
        counts={"DROP_FRAGMENT": 1}),
    Row(about="a fragment on back, without a frame",
        steps=[rx("back", p.from_router(LATER_FRAGMENT), "drop")],
        counts={"DROP_BACK_DIRECT": 1}),
    Row(about="IP options", counts={"DROP_IP_OPTIONS": 1},
        steps=[rx("front", p.from_router(bytes(_WITH_OPTIONS)), "drop")]),
    Row(about="an IP length beyond the frame",
        steps=[rx("front", p.from_router(_TOO_LONG), "drop")], counts={"DROP_MALFORMED": 1}),
    Row(about="an IP length within the TCP header",
        steps=[rx("front", p.from_router(_TOO_SHORT), "drop")], counts={"DROP_MALFORMED": 1}),
    Row(about="a TCP data offset of 16", counts={"DROP_MALFORMED": 1},
        steps=[rx("front", p.from_router(_OFFSET), "drop")]),
    Row(about="a TCP data offset beyond the packet",
        steps=[rx("front", p.from_router(_BEYOND[:36] + _BEYOND[36:40]), "drop")],
        counts={"DROP_MALFORMED": 1}),
    Row(about="an IP header of 16 bytes: not IP", counts={"PASSED": 1},
        steps=[rx("front", p.from_router(b"\x44" + _SYN[1:]), "to kernel")]),
    Row(about="an attached socket's packet passes",
        steps=[rx("front", p.client("A"), "to kernel")], counts={},
        before={"local": [(KEY, {**ours(ATTACHED)["connect"][0][1], "first": 1})]}),
    Row(about="data for a SYN that nobody has: no flags we know",
        steps=[Step(hook="tc", where="front", frame=p.client("A"), verdict="shot")],
        counts={"DROP_BAD_FLAGS": 1}, before={"temporary": [(KEY, OPENED)]}),
    Row(about="held data with a wrong checksum in its payload",
        steps=[rx("front", p.from_router(REQUEST[:-1] + b"\0"), "shot")],
        counts={"DROP_BAD_CHECKSUM": 1}, before={"holding": [(KEY, HOLDING)]}),
    Row(about="a SYN in the name of a server, where servers' own programs are clients",
        steps=[rx("front", p.from_router(bytes(IP(src=SERVERS[2][0], dst=p.SERVICE)
                                               / TCP(sport=p.PORT, dport=p.WEB))), "drop")],
        counts={"DROP_OWN_ADDRESS": 1}, config=Config(own_pair=True)),
    Row(about="a SYN from outside to a service that is for own programs alone",
        steps=[rx("front", p.from_router(_SYN), "drop")],
        counts={"DROP_OWN_ONLY": 1}, config=Config(own_pair=True, own_only=True)),
    Row(about="the same before there is a way for own programs",
        steps=[rx("front", p.from_router(_SYN), "drop")],
        counts={"DROP_OWN_ONLY": 1}, config=Config(own_only=True)),
]  # fmt: skip

ROWS = FRONT
