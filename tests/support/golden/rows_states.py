# SPDX-License-Identifier: Apache-2.0
"""States of other servers that come in frames: what is believed, and what is written down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.support.golden import packets as p
from tests.support.golden.machine import Config
from tests.support.golden.row import Row, Step, Table, rx
from tests.support.golden.server_states import BOOT, EDITION, SEQUENCE, numbers

KNOWN: dict[str, Table] = {
    "editions": [(2, {"boot": BOOT, "sequence": SEQUENCE, "edition": EDITION})],
    "traffic": [(2, {"sent": 9, "closed": 4})],
}
_NUMBERS: dict[str, Any] = {
    "tcp_connections": 77, "cpu_permille": 250, "memory_available": 1 << 34,
    "bandwidth_available": 9_000_000_000, "memory_short": 60, "bandwidth_short": 70,
}  # fmt: skip
_NONE = dict.fromkeys(_NUMBERS, 0)
HEARD: dict[str, Table] = {
    "servers": [(2, {**_NUMBERS, "base": 5, "sent": 9, "state": 1}), (3, _NONE)],
    "heard": [(2, {**_NUMBERS, "boot": BOOT, "sequence": SEQUENCE + 1, "sent": 9, "closed": 4})],
}
NOT_HEARD: dict[str, Table] = {
    "servers": [(2, {**_NONE, "base": 0}), (3, _NONE)],
    "heard": [(2, {**_NONE, "boot": 0, "sequence": 0}), (3, {"boot": 0})],
}


def _believed(about: str, *frames: bytes, heard: Mapping[str, Table] = HEARD, **row: Any) -> Row:
    steps = [rx("back", frame, "drop") for frame in frames]
    counts = {"STATE_HEARD": len(frames), **row.pop("counts", {})}
    before = {**KNOWN, **row.pop("before", {})}
    return Row(about=about, steps=steps, counts=counts, before=before, also=heard,
               traffic={2: (9, 4)}, **row)  # fmt: skip


def _dropped(about: str, frame: bytes, reason: str, **row: Any) -> Row:
    before = {**KNOWN, **row.pop("before", {})}
    return Row(about=about, steps=[rx("back", frame, "drop")], counts={reason: 1}, before=before,
               also=row.pop("also", NOT_HEARD), traffic={2: (9, 4)}, **row)  # fmt: skip


ROWS = (
    _believed("type 13: numbers of a server that the agent knows", numbers()),
    _believed("type 13 in back's VLAN", numbers(vlan=p.VLAN), config=Config(back_vlan=p.VLAN)),
    _believed(
        "type 13 where a state was lost between",
        numbers(sequence=SEQUENCE + 9),
        heard={"heard": [(2, {"sequence": SEQUENCE + 9})]},
    ),
    _believed(
        "type 13 of a new life of its agent, behind one of the life before",
        numbers(),
        before={"heard": [(2, {"boot": BOOT - 1, "sequence": 1 << 40})]},
    ),
    _believed(
        "type 13 of the largest numbers there are",
        numbers(
            connections=0xFFFF_FFFF,
            cpu=0xFFFF,
            short=(0xFF, 0xFF),
            memory=(1 << 64) - 1,
            bandwidth=(1 << 64) - 1,
            sequence=(1 << 64) - 1,
        ),
        heard={
            "heard": [
                (
                    2,
                    {
                        "tcp_connections": 0xFFFF_FFFF,
                        "sequence": (1 << 64) - 1,
                        "memory_available": (1 << 64) - 1,
                        "cpu_permille": 0xFFFF,
                        "memory_short": 0xFF,
                        "bandwidth_short": 0xFF,
                    },
                )
            ]
        },
    ),
    _believed(
        "type 13 under the other key, while keys change",
        numbers(key=p.OTHER_FRAME_KEY),
        config=Config(keys_change=True),
        counts={"FRAMES_OTHER_KEY": 1},
    ),
    Row(
        about="type 13 that comes twice counts once",
        steps=[rx("back", numbers(), "drop"), rx("back", numbers(), "drop")],
        counts={"STATE_HEARD": 1, "DROP_STATE_OLD": 1},
        before=KNOWN,
        also=HEARD,
        traffic={2: (9, 4)},
    ),
    Row(
        about="type 13 that overtakes another: the older one is not written over it",
        steps=[
            rx("back", numbers(sequence=SEQUENCE + 2), "drop"),
            rx("back", numbers(connections=1), "drop"),
        ],
        counts={"STATE_HEARD": 1, "DROP_STATE_OLD": 1},
        before=KNOWN,
        traffic={2: (9, 4)},
        also={"servers": [(2, _NUMBERS)], "heard": [(2, {"sequence": SEQUENCE + 2})]},
    ),
    _dropped(
        "type 13 from before the state that the agent has read",
        numbers(sequence=SEQUENCE - 1),
        "DROP_STATE_OLD",
    ),
    _dropped(
        "type 13 as old as the state that the agent has read",
        numbers(sequence=SEQUENCE),
        "DROP_STATE_OLD",
    ),
    _dropped(
        "type 13 of an edition that the agent has not read",
        numbers(edition=EDITION + 1),
        "DROP_STATE_UNKNOWN",
    ),
    _dropped("type 13 of the edition before", numbers(edition=EDITION - 1), "DROP_STATE_UNKNOWN"),
    _dropped("type 13 of another life of its agent", numbers(boot=BOOT + 1), "DROP_STATE_UNKNOWN"),
    _dropped(
        "type 13 of a server of whom the agent has read nothing",
        numbers(),
        "DROP_STATE_UNKNOWN",
        before={"editions": [(2, {"boot": 0})]},
    ),
    _dropped(
        "type 13 of no life, of a server of whom the agent has read nothing",
        numbers(boot=0, edition=0),
        "DROP_STATE_UNKNOWN",
        before={"editions": [(2, {"boot": 0})]},
    ),
    _dropped(
        "type 13 of s2, played back under s3's MAC address",
        numbers(by=p.MAC3),
        "DROP_STATE_UNKNOWN",
        before={
            "editions": [*KNOWN["editions"], (3, {"boot": BOOT, "sequence": 1, "edition": EDITION})]
        },
    ),
    _dropped("type 13 from a stranger", numbers(by=p.STRANGER), "DROP_FRAME_FOREIGN"),
    _dropped("type 13 with a wrong tag", numbers(tag=b"no tag.."), "DROP_FRAME_TAG"),
    _dropped("type 13 without a tag", numbers(tag=bytes(8)), "DROP_FRAME_TAG"),
    _dropped(
        "type 13 under the other key, when keys do not change",
        numbers(key=p.OTHER_FRAME_KEY),
        "DROP_FRAME_TAG",
    ),
    _dropped("type 13 with a wrong checksum", numbers(chksum=1), "DROP_FRAME_CHECKSUM"),
    _dropped("type 13 cut within its numbers", numbers(cut=60), "DROP_FRAME_SHORT"),
    _dropped(
        "type 13 without authentication: anybody could send it",
        numbers(tag=bytes(8)),
        "DROP_FRAME_TYPE",
        config=Config(authenticate=False),
    ),
    _dropped("type 13 to us alone", numbers(to=p.BACK), "DROP_FRAME_TYPE"),
    *(
        _dropped(
            f"type 13 that is {age} seconds old",
            numbers(sent_s=(p.SENT_S - age) % 2**32),
            "DROP_FRAME_TIME",
        )
        for age in (8, 60, -8, 0x8000_0000)
    ),
    Row(
        about="type 13 on front",
        steps=[rx("front", numbers(), "drop")],
        counts={"DROP_FRAME_ON_FRONT": 1},
        before=KNOWN,
        also=NOT_HEARD,
        traffic={2: (9, 4)},
    ),
    Row(
        about="type 13 on back's ingress that XDP has not seen",
        steps=[Step(hook="tc", where="back", frame=numbers(), verdict="shot")],
        counts={"DROP_FRAME_UNSEEN": 1},
        before=KNOWN,
        also=NOT_HEARD,
        traffic={2: (9, 4)},
    ),
)
