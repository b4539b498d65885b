# SPDX-License-Identifier: Apache-2.0
"""Who has refused a request or a SYN: servers by their whole numbers, up to a bound."""

from __future__ import annotations

from tests.support.golden import packets as p
from tests.support.golden.machine import network, refusers
from tests.support.golden.row import Row, rx
from tests.support.golden.rows_close import ASKED_THERE, MAIL, mail
from tests.support.golden.rows_handshake import KEY
from tests.support.golden.rows_migration import BOTH, OFFERED
from tests.support.golden.rows_request import ELSEWHERE, forward, offered

ROWS = [
    Row(
        about="type 7 from the last of too many: silence, until the request comes again",
        steps=[
            rx("back", p.notice(7, reason=1), "shot"),
            rx("front", p.client("PA", p.HEAD), "shot", *offered(p.HEAD)),
        ],
        counts={
            "FRAMES_RECEIVED": 1,
            "CHOSEN_AGAIN": 1,
            "ASKED_LATER": 1,
            "HELD": 1,
            "MIGRATED": 1,
            "FRAMES_SENT": 2,
        },
        config=ELSEWHERE,
        traffic={2: (1, 1)},
        before={
            **OFFERED,
            "holding": [
                (
                    KEY,
                    {
                        **OFFERED["holding"][0][1],
                        "refused": refusers(*range(100, 114)),
                        "last_seen_ns": -60_000_000,
                    },
                )
            ],
        },
        after={
            "forward": [(KEY, forward())],
            "holding": [(KEY, {"refused": refusers(), "looked": 1})],
        },
    ),
    Row(
        about="type 7: a server whose number is 64 higher has not refused it",
        steps=[
            rx("back", p.notice(7, reason=1), "shot", *offered(p.HEAD, to=p.MAC3, endpoint=p.S3))
        ],
        counts={"FRAMES_RECEIVED": 1, "CHOSEN_AGAIN": 1, "MIGRATED": 1, "FRAMES_SENT": 2},
        config=BOTH,
        traffic={2: (0, 1), 3: (1, 0)},
        before={
            **OFFERED,
            "holding": [(KEY, {**OFFERED["holding"][0][1], "refused": refusers(67)})],
        },
        after={
            "forward": [(KEY, forward(server=3, destination_ip=network(p.S3)))],
            "holding": [(KEY, {"refused": refusers(67, 2)})],
        },
    ),
    Row(
        about="type 7 for a SYN that five have refused: silence, until the client sends it again",
        steps=[rx("back", p.notice(7, reason=1, service_port=p.MAIL, iss=p.IRS), "shot")],
        counts={"FRAMES_RECEIVED": 1, "ASKED_LATER": 1},
        config=mail((2, 3)),
        before={
            "temporary": [
                (MAIL, {**ASKED_THERE["temporary"][0][1], "refused": [100, 101, 102, 103, 104]})
            ]
        },
        after={"temporary": []},
    ),
]
