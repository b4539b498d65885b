# SPDX-License-Identifier: Apache-2.0
"""Frames that nothing is believed of, and packets that are not ours or not sound."""

from __future__ import annotations

from typing import Any

from ipos.abi.layout import constant
from tests.support.golden import offers, probes
from tests.support.golden import packets as p
from tests.support.golden.machine import Config
from tests.support.golden.row import Row, Step, rx, to_back
from tests.support.golden.rows_handshake import KEY
from tests.support.golden.rows_migration import OFFERED
from tests.support.golden.rows_owner import ours
from tests.support.golden.rows_request import ATTACHED, PENDING

REQUEST = p.ip("PA", p.HEAD)


_OF_ALL = {"to", "by", "protocol", "chksum", "tag", "vlan", "cut", "key"}


def _of_all(fields: dict[str, Any]) -> dict[str, Any]:
    """Those that a frame about no connection has, too."""
    return {key: value for key, value in fields.items() if key in _OF_ALL}


def framed(**fields: Any) -> dict[str, bytes]:
    """One frame of every type that is sent to us, with these fields wrong."""
    carried = {key: value for key, value in fields.items() if key != "cut"}
    return {
        "1": offers.connection(**{"to": p.BACK, "by": p.MAC2, "endpoint": p.SERVICE, **fields}),
        "2": p.packet(REQUEST, **carried),
        "3": p.notice(3, **fields),
        "4": p.notice(4, **fields),
        "7": p.notice(7, reason=2, **fields),
        "8": probes.probe(8, **_of_all(fields)),
        "9": probes.probe(9, asker=p.SERVICE, asked=p.S2, **_of_all(fields)),
    }


# Tables in which every one of those frames would change something if it were believed.
TABLES: dict[str, Any] = {**OFFERED, **ours(PENDING)}


def _refuses(about: str, counter: str, where: str = "back", config: Config | None = None,
             **fields: Any) -> list[Row]:  # fmt: skip
    return [
        Row(about=f"type {kind} {about}", steps=[rx(where, frame, "drop")], counts={counter: 1},
            before=TABLES, config=config or Config())
        for kind, frame in framed(**fields).items()
    ]  # fmt: skip


def _cut(frame: bytes, at: int) -> bytes:
    return frame[:at]


def _broken(about: str, frame: bytes, counter: str, **fields: Any) -> Row:
    return Row(about=about, steps=[rx("back", frame, "drop")], counts={counter: 1}, before=TABLES,
               **fields)  # fmt: skip


def _readdressed(frame: bytes) -> bytes:
    """To our MAC address, whoever it was for."""
    return bytes.fromhex(p.BACK.replace(":", "")) + frame[6:]


def _sent_by(frame: bytes, mac: str) -> bytes:
    return frame[:6] + bytes.fromhex(mac.replace(":", "")) + frame[12:]


def _swapped(frame: bytes, one: int, other: int) -> bytes:
    """With two words of two bytes changed about: their sum stays."""
    raw = bytearray(frame)
    assert raw[one : one + 2] != raw[other : other + 2]
    raw[one : one + 2], raw[other : other + 2] = raw[other : other + 2], raw[one : one + 2]
    return bytes(raw)


_SOUND = p.packet(REQUEST)
_FRAGMENT = p.ip_checksum_right(REQUEST[:6] + b"\x20\x00" + REQUEST[8:])

_FOR_UDP = {"1": "DROP_FRAME_TAG", "2": "DROP_FRAME_SHORT", "4": "DROP_FRAME_TYPE",
            "8": "DROP_FRAME_TYPE", "9": "DROP_FRAME_TYPE"}  # fmt: skip
"""What is wrong with a frame of a TCP connection if its header says UDP."""

FRAMES = [
    *_refuses("from the front side", "DROP_FRAME_ON_FRONT", where="front"),
    *_refuses("from a third interface", "DROP_FRAME_ON_FRONT", where="elsewhere"),
    *_refuses("in a VLAN that is not back's", "DROP_FRAME_ON_FRONT", vlan=p.VLAN),
    *_refuses("from a foreign MAC", "DROP_FRAME_FOREIGN", by=p.STRANGER),
    *[
        Row(about=f"type {kind} to another MAC, flooded by a switch",
            steps=[rx("back", bytes.fromhex(p.MAC3.replace(":", "")) + frame[6:], "drop")],
            counts={"DROP_FRAME_ELSEWHERE": 1}, before=TABLES)
        for kind, frame in framed().items()
    ],
    *_refuses("with a wrong header checksum", "DROP_FRAME_CHECKSUM", chksum=0x1234),
    *_refuses("of a protocol we do not know", "DROP_FRAME_TYPE", protocol=3),
    *[
        Row(about=f"type {kind} for UDP", steps=[rx("back", frame, "drop")],
            counts={counter: 1}, before=TABLES)
        for kind, frame in framed(protocol=2).items()
        if (counter := _FOR_UDP.get(kind))
    ],
    _broken("type 1 with a wrong tag",
            offers.connection(to=p.BACK, by=p.MAC2, endpoint=p.SERVICE, tag=bytes(16)),
            "DROP_FRAME_TAG"),
    _broken("type 2 with a wrong tag", p.packet(REQUEST, tag=b"no tag.."), "DROP_FRAME_TAG"),
    *(
        _broken(f"type {kind} with a wrong tag", p.notice(kind, tag=b"no tag.."), "DROP_FRAME_TAG")
        for kind in (3, 4, 7)
    ),
    _broken("type 1 cut within its control block", _cut(framed()["1"], 175), "DROP_FRAME_SHORT"),
    _broken("type 1 cut within our header", _cut(framed()["1"], 29), "DROP_FRAME_SHORT"),
    _broken("type 1 of a later version",
            offers.connection(to=p.BACK, by=p.MAC2, endpoint=p.SERVICE, version=2),
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
            counts={"FRAMES_RECEIVED": 1, "DROP_FRAME_ISS": 1}, before=TABLES)
        for kind in (3, 4, 7)
    ),
    *(
        Row(about=f"type 3 that answers another offer of the connection, number {number:#x}",
            steps=[rx("back", p.notice(3, reason=number), "drop")],
            counts={"FRAMES_RECEIVED": 1, "DROP_FRAME_OFFER": 1},
            before={"forward": [(KEY, {**OFFERED["forward"][0][1], "migration": 0x5_0307})],
                    "holding": OFFERED["holding"]})
        for number in (0x0306, 0x0407, 0)
    ),
    Row(about="a new offer by who gave it to us, and did not hear that we took it: type 3",
        steps=[rx("back", offers.connection(to=p.BACK, by=p.MAC2, endpoint=p.SERVICE,
                                       migration=0x1_0007), "redirect",
                  to_back(p.notice(3, to=p.MAC2, by=p.BACK, endpoint=p.SERVICE, reason=7)))],
        counts={"FRAMES_RECEIVED": 1, "FRAMES_SENT": 1}, before=ours(ATTACHED),
        after={"connect": [(KEY, {"state": 3})]}),
    Row(about="a later offer by another than who gave it to us: dropped",
        steps=[rx("back", offers.connection(to=p.BACK, by=p.MAC3, endpoint=p.SERVICE, migration=7),
                  "drop")],
        counts={"FRAMES_RECEIVED": 1, "DROP_FRAME_ISS": 1}, before=ours(ATTACHED)),
    *(
        Row(about=f"type {kind} from a member that is not the owner",
            steps=[rx("back", p.notice(kind, by=p.MAC3), "drop")],
            counts={"FRAMES_RECEIVED": 1, "DROP_FRAME_ISS": 1}, before=TABLES)
        for kind in (3, 4, 7)
    ),
    *(
        Row(about=f"type {kind} for a connection that is not here",
            steps=[rx("back", p.notice(kind, port=p.PORT + 1), "drop")],
            counts={"FRAMES_RECEIVED": 1, "DROP_FRAME_UNKNOWN": 1}, before=TABLES)
        for kind in (3, 4, 7)
    ),
    _broken("type 200: nobody knows it", p.notice(200), "DROP_FRAME_TYPE"),
    *(
        _broken(f"type {kind} with a wrong tag", probes.probe(kind, tag=b"no tag.."),
                "DROP_FRAME_TAG")
        for kind in (8, 9)
    ),
    *(
        _broken(f"type {kind} cut within its nonce", probes.probe(kind, cut=20), "DROP_FRAME_SHORT")
        for kind in (8, 9)
    ),
    Row(about="type 8: the data plane answers the question, nobody else does",
        steps=[rx("back", probes.probe(8), "redirect",
                  to_back(probes.probe(9, to=p.MAC2, by=p.BACK)))],
        counts={"FRAMES_RECEIVED": 1, "PROBE_ANSWERED": 1, "FRAMES_SENT": 1}, before=TABLES),
    Row(about="type 8 in back's VLAN is answered there",
        steps=[rx("back", probes.probe(8, vlan=p.VLAN), "redirect",
                  to_back(probes.probe(9, to=p.MAC2, by=p.BACK, vlan=p.VLAN)))],
        counts={"FRAMES_RECEIVED": 1, "PROBE_ANSWERED": 1, "FRAMES_SENT": 1},
        config=Config(back_vlan=p.VLAN)),
    Row(about="type 8 without authentication is answered without a tag",
        steps=[rx("back", probes.probe(8), "redirect",
                  to_back(probes.probe(9, to=p.MAC2, by=p.BACK, tag=bytes(8))))],
        counts={"FRAMES_RECEIVED": 1, "PROBE_ANSWERED": 1, "FRAMES_SENT": 1},
        config=Config(authenticate=False)),
    Row(about="type 8 while this server is in maintenance: its data plane works",
        steps=[rx("back", probes.probe(8), "redirect",
                  to_back(probes.probe(9, to=p.MAC2, by=p.BACK)))],
        counts={"FRAMES_RECEIVED": 1, "PROBE_ANSWERED": 1, "FRAMES_SENT": 1},
        config=Config(states=((1, "MAINT"),))),
    Row(about="type 8 that asks another server",
        steps=[rx("back", probes.probe(8, asked=p.S3), "drop")],
        counts={"FRAMES_RECEIVED": 1, "DROP_FRAME_UNKNOWN": 1}, before=TABLES),
    Row(about="type 9 goes up to our agent",
        steps=[rx("back", probes.probe(9, asker=p.SERVICE, asked=p.S2), "to kernel")],
        counts={"FRAMES_RECEIVED": 1}, before=TABLES),
    Row(about="type 9 to another asker",
        steps=[rx("back", probes.probe(9), "drop")],
        counts={"FRAMES_RECEIVED": 1, "DROP_FRAME_UNKNOWN": 1}, before=TABLES),
    *(
        Row(about=f"type {kind} made for another server: only its MAC address is ours",
            steps=[rx("back", frame, "drop")], counts=counts, before=TABLES)
        for kind, frame, counts in (
            ("1", offers.connection(to=p.BACK, by=p.MAC2, endpoint=p.S3),
             {"DROP_FRAME_RECEIVER": 1}),
            ("2", p.packet(REQUEST, endpoint=p.S3), {"DROP_FRAME_RECEIVER": 1}),
            *((str(kind), _readdressed(p.notice(kind, to=p.MAC3, reason=2)),
               {"DROP_FRAME_TAG": 1}) for kind in (3, 4, 6, 7)),
        )
    ),
    *(
        _broken(f"type {kind} of another server, under this one's MAC address",
                _sent_by(p.notice(kind, by=p.MAC3, reason=2), p.MAC2), "DROP_FRAME_TAG")
        for kind in (3, 4, 6, 7)
    ),
    *(
        _broken(f"type 1 that is {age} seconds old", offers.connection(
            to=p.BACK, by=p.MAC2, endpoint=p.SERVICE, sent_s=(p.SENT_S - age) % 2**32),
            "DROP_FRAME_TIME")
        for age in (8, 60, -8, 0x8000_0000)
    ),
    _broken("type 2 with another payload of the same sum", _swapped(_SOUND, 82, 84),
            "DROP_FRAME_TAG"),
    *_refuses("under the other key, when keys do not change", "DROP_FRAME_TAG",
              key=p.OTHER_FRAME_KEY),
    *_refuses("under a third key, while keys change", "DROP_FRAME_TAG",
              config=Config(keys_change=True), key=b"nobody's key is."),
    *(
        Row(about=f"type {kind} under the other key, while keys change: as under our own",
            steps=[rx("back", frame, verdict, *sent)],
            counts={"FRAMES_OTHER_KEY": 1, "FRAMES_RECEIVED": 1, **counts},
            config=Config(keys_change=True), before=before, after=after)
        for kind, frame, verdict, sent, counts, before, after in (
            (4, p.notice(4, key=p.OTHER_FRAME_KEY, iss=1), "drop", (), {"DROP_FRAME_ISS": 1},
             OFFERED, {}),
            (8, probes.probe(8, key=p.OTHER_FRAME_KEY), "redirect",
             (to_back(probes.probe(9, to=p.MAC2, by=p.BACK)),),
             {"PROBE_ANSWERED": 1, "FRAMES_SENT": 1}, {}, {}),
            (1, offers.connection(to=p.BACK, by=p.MAC2, endpoint=p.SERVICE, key=p.OTHER_FRAME_KEY,
                             iss=p.ISS + 9),
             "redirect", (to_back(p.notice(7, to=p.MAC2, by=p.BACK, endpoint=p.SERVICE, reason=3,
                                           iss=p.ISS + 9)),),
             {"REFUSED": 1, "FRAMES_SENT": 1}, ours(ATTACHED, first=3),
             {"temporary": [(KEY, {"state": constant("IPOS_TEMP_REFUSED")})]}),
            (2, p.packet(REQUEST, port=p.PORT, key=p.OTHER_FRAME_KEY), "redirect",
             (to_back(p.notice(7, to=p.MAC2, by=p.BACK, endpoint=p.SERVICE, reason=6,
                               iss=p.ISS + 1)),),
             {"REFUSED": 1, "FRAMES_SENT": 1, "DROP_FRAME_UNKNOWN": 1}, {}, {}),
        )
    ),
    _broken("type 0", p.notice(0), "DROP_FRAME_TYPE"),
    *(
        Row(about=f"type {kind} on {where}'s ingress that XDP has not seen: nothing is believed",
            steps=[Step(hook="tc", where=where, frame=frame, verdict="shot")],
            counts={"DROP_FRAME_UNSEEN": 1}, before=TABLES)
        for kind, frame in framed().items()
        if kind != "9"
        for where in ("front", "back")
    ),
    Row(about="a frame on ingress in a VLAN that is not back's, vouched for or not",
        steps=[Step(hook="tc", where="back", frame=p.vouched(p.notice(3, vlan=p.VLAN)),
                    verdict="shot")],
        counts={"DROP_FRAME_UNSEEN": 1}, before=TABLES),
    Row(about="type 4 on ingress for a connection that is not offered to anybody",
        steps=[Step(hook="tc", where="back", frame=p.vouched(p.notice(4)), verdict="shot")],
        counts={"DROP_FRAME_UNKNOWN": 1}, before=TABLES),
    Row(about="a type that has nothing to do on ingress",
        steps=[Step(hook="tc", where="back", frame=p.vouched(p.notice(5)), verdict="shot")],
        counts={"DROP_FRAME_TYPE": 1}, before=TABLES),
    Row(about="type 3 on ingress for a connection that is not here",
        steps=[Step(hook="tc", where="back", frame=p.vouched(p.notice(3, port=9)), verdict="shot")],
        counts={"DROP_FRAME_UNKNOWN": 1}, before=TABLES),
    Row(about="a frame cut short on ingress",
        steps=[Step(hook="tc", where="back", frame=p.notice(3, cut=30), verdict="shot")],
        counts={"DROP_FRAME_SHORT": 1}, before=TABLES),
    Row(about="type 7 on ingress for a connection that is not here",
        steps=[Step(hook="tc", where="back", frame=p.vouched(p.notice(7, port=9)), verdict="shot")],
        counts={"DROP_FRAME_UNKNOWN": 1}, before=TABLES),
]  # fmt: skip

# ---- front --------------------------------------------------------------------------------------


ROWS = FRAMES
