# SPDX-License-Identifier: Apache-2.0
"""What `traffic` says of each server when connections move, come home and come back refused.

Every row of all tables is checked for it: see `balance`. These ways no other row takes.
"""

from __future__ import annotations

from typing import Any

from ipos.abi.layout import constant
from tests.support.golden import offers
from tests.support.golden import packets as p
from tests.support.golden.machine import network
from tests.support.golden.row import MARK, THIS_CPU, Establishes, Row, Step, into_front, rx, to_back
from tests.support.golden.rows_close import SENT, local
from tests.support.golden.rows_handshake import KEY
from tests.support.golden.rows_migration import HEAD_END
from tests.support.golden.rows_move import EVERY, FOLLOWED, MOVING, ROUTER, WAITING
from tests.support.golden.rows_owner import OURS, told
from tests.support.golden.rows_request import (
    ADOPTING,
    ATTACHED,
    HOLDING,
    PENDING,
    SOCKET,
    forward,
    piece,
)

LIVE = constant("IPOS_EP_LIVE")
_HELD: dict[str, Any] = {
    **HOLDING, "hs": {**HOLDING["hs"], "iss": SENT - 1, "irs": HEAD_END - 1}, "moving": 1,
    "held": len(p.HEAD), "complete": 1, "client_mac": ROUTER,
}  # fmt: skip
_TO_S3: dict[str, Any] = {"server": 3, "destination_ip": network(p.S3)}
_OFFERED = {"flags": MOVING | WAITING, **FOLLOWED}
_TAKEN = p.notice(3, by=p.MAC3, endpoint=p.S3)
_LEAVES = into_front(p.from_router(piece(b"", len(p.HEAD), fin=True, ack=SENT), pad=False))
_HOME: dict[str, Any] = {**OURS, "first": 1, "state": ADOPTING, "adopting": THIS_CPU,
                         "flags": LIVE, "migration": 2}  # fmt: skip

ROWS = [
    Row(about="our connection has moved on: its row of Local goes, the one of Forward stays",
        steps=[rx("back", _TAKEN, "shot", _LEAVES)],
        counts={"FRAMES_RECEIVED": 1, "ACKNOWLEDGED": 1, "MOVED": 1}, config=EVERY,
        traffic={1: (0, 1)},
        before={**local(**_OFFERED), "holding": [(KEY, _HELD)],
                "forward": [(KEY, forward(**_TO_S3))]},
        after={"local": [], "holding": [], "left_behind": [(KEY, {"server": 0})],
               "forward": [(KEY, {"acknowledged": 1})]}),
    Row(about="and one that came from s2, to which the rest of it is s2's affair",
        steps=[rx("back", _TAKEN, "shot",
                  to_back(told(6, constant("IPOS_REFUSE_NONE"), endpoint=p.S3)), _LEAVES)],
        counts={"FRAMES_RECEIVED": 1, "FRAMES_SENT": 1, "ACKNOWLEDGED": 1, "MOVED": 1},
        config=EVERY, traffic={3: (0, 1)},
        before={"connect": [(KEY, {**OURS, "state": ATTACHED, **_OFFERED})],
                "holding": [(KEY, _HELD)], "forward": [(KEY, forward(**_TO_S3, first=2))]},
        after={"connect": [], "holding": [], "left_behind": [(KEY, {"server": 3, "first": 2})],
               "forward": []}),
    Row(about="type 4 instead of type 3: it was taken and is over; our application sees the end",
        steps=[rx("back", p.notice(4, by=p.MAC3, endpoint=p.S3), "shot", _LEAVES)],
        counts={"FRAMES_RECEIVED": 1, "CLOSED": 1}, config=EVERY, traffic={1: (0, 1), 3: (0, 1)},
        before={**local(**_OFFERED), "holding": [(KEY, _HELD)],
                "forward": [(KEY, forward(**_TO_S3))]},
        after={"local": [], "holding": [], "left_behind": [(KEY, {"server": 0})],
               "forward": [], "temporary": [(KEY, {"state": constant("IPOS_TEMP_CLOSED")})]}),
    Row(about="the same of one that came from s2, which is told",
        steps=[rx("back", p.notice(4, by=p.MAC3, endpoint=p.S3), "shot", to_back(told(4)),
                  _LEAVES)],
        counts={"FRAMES_RECEIVED": 1, "FRAMES_SENT": 1, "CLOSED": 1},
        config=EVERY, traffic={3: (0, 1)},
        before={"connect": [(KEY, {**OURS, "state": ATTACHED, **_OFFERED})],
                "holding": [(KEY, _HELD)], "forward": [(KEY, forward(**_TO_S3, first=2))]},
        after={"connect": [], "holding": [], "left_behind": [(KEY, {"server": 0})],
               "forward": [], "temporary": [(KEY, {"state": constant("IPOS_TEMP_CLOSED")})]}),
    Row(about="a connection comes home: its row of Forward gives way",
        steps=[Establishes(socket=SOCKET)], counts={"ADOPTED": 1}, config=EVERY,
        traffic={2: (0, 1)},
        before={"local": [(KEY, _HOME)], "forward": [(KEY, forward(acknowledged=1, migration=1))]},
        after={"local": [(KEY, {"state": ATTACHED})], "forward": []}),
    Row(about="it was offered to another server meanwhile, whose type 3 was lost",
        steps=[Establishes(socket=SOCKET)], counts={"ADOPTED": 1}, config=EVERY,
        traffic={3: (0, 1)},
        before={"connect": [(KEY, {**_HOME, "first": 2})],
                "forward": [(KEY, forward(**_TO_S3, first=2))]},
        after={"connect": [(KEY, {"state": ATTACHED})], "forward": []}),
    Row(about="it comes home, and our kernel does not take it: type 7",
        steps=[Step(hook="inward", where="front", mark=MARK, frame=told(3), verdict="redirect",
                    sent=(to_back(told(7, constant("IPOS_REFUSE_NOT_ADOPTED"),
                                       offer=_HOME["migration"])),))],
        counts={"FRAMES_SENT": 1, "REFUSED": 1}, config=EVERY, traffic={1: (0, 1)},
        before={"local": [(KEY, _HOME)], "forward": [(KEY, forward(acknowledged=1, migration=1))]},
        after={"local": [], "forward": [(KEY, {"server": 2})],
               "temporary": [(KEY, {"state": constant("IPOS_TEMP_REFUSED")})]}),
    Row(about="type 1 brings one home: it is counted as it is offered",
        steps=[rx("back", offers.connection(to=p.BACK, by=p.MAC2, endpoint=p.SERVICE, migration=2,
                                       snd_nxt=SENT, rcv_nxt=HEAD_END), "drop")],
        counts={"FRAMES_RECEIVED": 1}, config=EVERY, traffic={1: (1, 0)},
        before={"forward": [(KEY, forward(acknowledged=1, migration=1))]},
        after={"local": [(KEY, {"state": PENDING, "first": 1, "giver": 2, "flags": LIVE})],
               "forward": [(KEY, {"server": 2})]}),
    Row(about="type 1 brings one whose first server is not the one that lists its address",
        steps=[rx("back", offers.connection(to=p.BACK, by=p.MAC2, endpoint=p.SERVICE, migration=2,
                                       snd_nxt=SENT, rcv_nxt=HEAD_END, first=p.S3), "drop")],
        counts={"FRAMES_RECEIVED": 1}, config=EVERY,
        after={"connect": [(KEY, {"state": PENDING, "first": 3, "giver": 2, "flags": LIVE})]}),
]  # fmt: skip
