# SPDX-License-Identifier: Apache-2.0
"""Frames that nothing is believed of, and packets that are not ours or not sound."""

from __future__ import annotations

from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether

from tests.golden import packets as p
from tests.golden.machine import Config
from tests.golden.row import Row, Step, rx, to_back
from tests.golden.rows_handshake import KEY, OPENED
from tests.golden.rows_migration import GIVEN, OFFERED, ours
from tests.golden.rows_request import ATTACHED, HOLDING, PENDING

_REQUEST = p.ip("PA", p.HEAD)


_OF_ALL = {"to", "by", "protocol", "chksum", "tag", "vlan", "cut"}


def _of_all(fields: dict[str, Any]) -> dict[str, Any]:
    """Those that a frame about no connection has, too."""
    return {key: value for key, value in fields.items() if key in _OF_ALL}


def _frames(**fields: Any) -> dict[str, bytes]:
    """One frame of every type that is sent to us, with these fields wrong."""
    carried = {key: value for key, value in fields.items() if key != "cut"}
    return {
        "1": p.connection(**{"to": p.BACK, "by": p.MAC2, "endpoint": p.SERVICE, **fields}),
        "2": p.packet(_REQUEST, **carried),
        "3": p.notice(3, **fields),
        "4": p.notice(4, **fields),
        "7": p.notice(7, reason=2, **fields),
        "8": p.probe(8, **_of_all(fields)),
        "9": p.probe(9, asker=p.SERVICE, asked=p.S2, **_of_all(fields)),
    }


# Tables in which every one of those frames would change something if it were believed.
_TABLES: dict[str, Any] = {**OFFERED, **ours(PENDING)}


def _refuses(about: str, counter: str, where: str = "back", config: Config | None = None,
             **fields: Any) -> list[Row]:  # fmt: skip
    return [
        Row(about=f"type {kind} {about}", steps=[rx(where, frame, "drop")], counts={counter: 1},
            before=_TABLES, config=config or Config())
        for kind, frame in _frames(**fields).items()
    ]  # fmt: skip


def _cut(frame: bytes, at: int) -> bytes:
    return frame[:at]


def _broken(about: str, frame: bytes, counter: str, **fields: Any) -> Row:
    return Row(about=about, steps=[rx("back", frame, "drop")], counts={counter: 1}, before=_TABLES,
               **fields)  # fmt: skip


_SOUND = p.packet(_REQUEST)
_FRAGMENT = p.ip_checksum_right(_REQUEST[:6] + b"\x20\x00" + _REQUEST[8:])

FRAMES = [
    *_refuses("from the front side", "DROP_FRAME_ON_FRONT", where="front"),
    *_refuses("from a third interface", "DROP_FRAME_ON_FRONT", where="elsewhere"),
    *_refuses("in a VLAN that is not back's", "DROP_FRAME_ON_FRONT", vlan=p.VLAN),
    *_refuses("from a foreign MAC", "DROP_FRAME_FOREIGN", by=p.STRANGER),
    *[
        Row(about=f"type {kind} to another MAC, flooded by a switch",
            steps=[rx("back", bytes.fromhex(p.MAC3.replace(":", "")) + frame[6:], "drop")],
            counts={"DROP_FRAME_ELSEWHERE": 1}, before=_TABLES)
        for kind, frame in _frames().items()
    ],
    *_refuses("with a wrong header checksum", "DROP_FRAME_CHECKSUM", chksum=0x1234),
    *_refuses("of a protocol we do not know", "DROP_FRAME_TYPE", protocol=3),
    *_refuses("for UDP", "DROP_FRAME_TYPE", protocol=2),
    _broken("type 1 with a wrong tag",
            p.connection(to=p.BACK, by=p.MAC2, endpoint=p.SERVICE, tag=bytes(16)),
            "DROP_FRAME_TAG"),
    _broken("type 2 with a wrong tag", p.packet(_REQUEST, tag=b"no tag.."), "DROP_FRAME_TAG"),
    *(
        _broken(f"type {kind} with a wrong tag", p.notice(kind, tag=b"no tag.."), "DROP_FRAME_TAG")
        for kind in (3, 4, 7)
    ),
    _broken("type 1 cut within its control block", _cut(_frames()["1"], 175), "DROP_FRAME_SHORT"),
    _broken("type 1 cut within our header", _cut(_frames()["1"], 29), "DROP_FRAME_SHORT"),
    _broken("type 1 of a later version",
            p.connection(to=p.BACK, by=p.MAC2, endpoint=p.SERVICE, version=2),
            "DROP_FRAME_VERSION"),
    _broken("type 2 cut within the inner IP header", _cut(_SOUND, 45), "DROP_FRAME_SHORT"),
    _broken("type 2 cut within the inner TCP header", _cut(_SOUND, 65), "DROP_FRAME_SHORT"),
    _broken("type 2 cut within its data", _cut(_SOUND, len(_SOUND) - 12), "DROP_FRAME_SHORT"),
    _broken("type 2 cut within its tag", _cut(_SOUND, len(_SOUND) - 1), "DROP_FRAME_SHORT"),
    _broken("type 2 with a fragment", p.packet(_FRAGMENT), "DROP_FRAME_SHORT"),
    _broken("type 2 of another client's packet",
            p.packet(p.ip("PA", p.HEAD, port=p.PORT + 1), port=p.PORT), "DROP_FRAME_UNKNOWN"),
    *(
        _broken(f"type {kind} cut within its trailer", p.notice(kind, cut=35), "DROP_FRAME_SHORT")
        for kind in (3, 4, 7)
    ),
    *(
        Row(about=f"type {kind} with another iss",
            steps=[rx("back", p.notice(kind, iss=1), "drop")],
            counts={"FRAMES_RECEIVED": 1, "DROP_FRAME_ISS": 1}, before=_TABLES)
        for kind in (3, 4, 7)
    ),
    *(
        Row(about=f"type {kind} from a member that is not the owner",
            steps=[rx("back", p.notice(kind, by=p.MAC3), "drop")],
            counts={"FRAMES_RECEIVED": 1, "DROP_FRAME_ISS": 1}, before=_TABLES)
        for kind in (3, 4, 7)
    ),
    *(
        Row(about=f"type {kind} for a connection that is not here",
            steps=[rx("back", p.notice(kind, port=p.PORT + 1), "drop")],
            counts={"FRAMES_RECEIVED": 1, "DROP_FRAME_UNKNOWN": 1}, before=_TABLES)
        for kind in (3, 4, 7)
    ),
    _broken("type 5: locate is not served yet", p.packet(_REQUEST, kind=5), "DROP_FRAME_LOCATE"),
    _broken("type 200: nobody knows it", p.notice(200), "DROP_FRAME_TYPE"),
    *(
        _broken(f"type {kind} with a wrong tag", p.probe(kind, tag=b"no tag.."), "DROP_FRAME_TAG")
        for kind in (8, 9)
    ),
    *(
        _broken(f"type {kind} cut within its nonce", p.probe(kind, cut=20), "DROP_FRAME_SHORT")
        for kind in (8, 9)
    ),
    Row(about="type 8: the data plane answers the question, nobody else does",
        steps=[rx("back", p.probe(8), "redirect",
                  to_back(p.probe(9, to=p.MAC2, by=p.BACK)))],
        counts={"FRAMES_RECEIVED": 1, "PROBE_ANSWERED": 1, "FRAMES_SENT": 1}, before=_TABLES),
    Row(about="type 8 in back's VLAN is answered there",
        steps=[rx("back", p.probe(8, vlan=p.VLAN), "redirect",
                  to_back(p.probe(9, to=p.MAC2, by=p.BACK, vlan=p.VLAN)))],
        counts={"FRAMES_RECEIVED": 1, "PROBE_ANSWERED": 1, "FRAMES_SENT": 1},
        config=Config(back_vlan=p.VLAN)),
    Row(about="type 8 without authentication is answered without a tag",
        steps=[rx("back", p.probe(8), "redirect",
                  to_back(p.probe(9, to=p.MAC2, by=p.BACK, tag=bytes(8))))],
        counts={"FRAMES_RECEIVED": 1, "PROBE_ANSWERED": 1, "FRAMES_SENT": 1},
        config=Config(authenticate=False)),
    Row(about="type 8 while this server is in maintenance: its data plane works",
        steps=[rx("back", p.probe(8), "redirect", to_back(p.probe(9, to=p.MAC2, by=p.BACK)))],
        counts={"FRAMES_RECEIVED": 1, "PROBE_ANSWERED": 1, "FRAMES_SENT": 1},
        config=Config(states=((1, "MAINT"),))),
    Row(about="type 8 that asks another server",
        steps=[rx("back", p.probe(8, asked=p.S3), "drop")],
        counts={"FRAMES_RECEIVED": 1, "DROP_FRAME_UNKNOWN": 1}, before=_TABLES),
    Row(about="type 9 goes up to our agent",
        steps=[rx("back", p.probe(9, asker=p.SERVICE, asked=p.S2), "to kernel")],
        counts={"FRAMES_RECEIVED": 1}, before=_TABLES),
    Row(about="type 9 to another asker",
        steps=[rx("back", p.probe(9), "drop")],
        counts={"FRAMES_RECEIVED": 1, "DROP_FRAME_UNKNOWN": 1}, before=_TABLES),
    _broken("type 0", p.notice(0), "DROP_FRAME_TYPE"),
    Row(about="our own kind of frame on ingress without our mark: type 4",
        steps=[Step(hook="tc", where="back", frame=p.notice(4), verdict="shot")],
        counts={"DROP_FRAME_TYPE": 1}, before=_TABLES),
    Row(about="type 3 on ingress for a connection that is not here",
        steps=[Step(hook="tc", where="back", frame=p.notice(3, port=9), verdict="shot")],
        counts={"DROP_FRAME_UNKNOWN": 1}, before=_TABLES),
    Row(about="a frame cut short on ingress",
        steps=[Step(hook="tc", where="back", frame=p.notice(3, cut=30), verdict="shot")],
        counts={"DROP_FRAME_SHORT": 1}, before=_TABLES),
    Row(about="type 7 on ingress for a connection that is not here",
        steps=[Step(hook="tc", where="back", frame=p.notice(7, port=9), verdict="shot")],
        counts={"DROP_FRAME_UNKNOWN": 1}, before=_TABLES),
]  # fmt: skip

# ---- front --------------------------------------------------------------------------------------

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
_LATER_FRAGMENT = p.ip_checksum_right(_SYN[:6] + b"\x20\x05" + _SYN[8:])
_TOO_LONG = p.ip_checksum_right(_SYN[:2] + b"\x00\xff" + _SYN[4:])
_TOO_SHORT = p.ip_checksum_right(_SYN[:2] + b"\x00\x1e" + _SYN[4:])
_OFFSET = _SYN[:32] + b"\x40" + _SYN[33:]
_BEYOND = _SYN[:32] + b"\xf0" + _SYN[33:]

FRONT = [
    _passes("ARP", Ether(**_ETHER) / ARP(pdst=p.SERVICE)),
    _passes("IPv6", Ether(**_ETHER) / IPv6() / TCP(dport=p.WEB)),
    _passes("UDP to a service's port", Ether(**_ETHER) / _PLAIN / UDP(dport=p.WEB)),
    _passes("TCP to a port of no service", Ether(**_ETHER) / _PLAIN / TCP(dport=81, flags="S")),
    _passes("TCP to an address of no service",
            Ether(**_ETHER) / IP(src=p.CLIENT, dst="203.0.113.9") / TCP(dport=p.WEB, flags="S")),
    _passes("a service that is not in use", p.syn(), counts={}, config=Config(used=False)),
    _passes("ping", Ether(**_ETHER) / _PLAIN / ICMP(), counts={}),
    _passes("a later fragment: without ports it can do nothing", p.from_router(_LATER_FRAGMENT)),
    Row(about="untouched: another interface", counts={"PASSED": 1},
        steps=[Step(hook="xdp", where="elsewhere", frame=p.syn(), verdict="pass")]),
    _passes("no settings of this version", p.syn(), counts={}, config=Config(settings=False)),
    _passes("client packets on back for no service", Ether(**_ETHER) / _PLAIN / TCP(dport=81),
            where="back"),
    Row(about="a client's packet on back, without a frame",
        steps=[rx("back", p.from_router(_REQUEST), "drop")], counts={"DROP_BACK_DIRECT": 1},
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
        steps=[rx("front", p.from_router(_REQUEST[:-1] + b"\0"), "shot")],
        counts={"DROP_BAD_CHECKSUM": 1}, before={"holding": [(KEY, HOLDING)]}),
]  # fmt: skip

ROWS = [*FRAMES, *FRONT]
