# SPDX-License-Identifier: Apache-2.0
"""Look-ups that the agent says need not be made."""

from tests.support.golden import packets as p
from tests.support.golden.machine import Config
from tests.support.golden.row import Row, Step, rx
from tests.support.golden.rows_front import LATER_FRAGMENT

_UNPROVEN = p.client("A", ack=5)

# fmt: off
ROWS = [
    Row(about="gate: no network is denied, so the table is not asked",
        steps=[rx("front", _UNPROVEN, "drop")], counts={"DROP_NO_COOKIE": 1},
        config=Config(deny=((p.CLIENT, 32),), deny_empty=True)),
    Row(about="gate: a port that no service ever had", counts={"PASSED": 1},
        steps=[Step(hook="xdp", where="front", frame=p.syn(), verdict="pass")],
        config=Config(foreign_ports=(p.WEB,))),
    Row(about="gate: an address that no service ever had", counts={"PASSED": 1},
        steps=[Step(hook="xdp", where="front", frame=p.syn(), verdict="pass")],
        config=Config(foreign_addresses=(p.SERVICE,))),
    Row(about="gate: its neighbours are services'",
        steps=[rx("front", _UNPROVEN, "drop")], counts={"DROP_NO_COOKIE": 1},
        config=Config(foreign_ports=(p.WEB - 1, p.WEB + 1),
                      foreign_addresses=("203.0.113.9", p.CLIENT))),
    Row(about="gate: of a foreign port, and denied",
        steps=[rx("front", p.syn(), "drop")], counts={"DROP_DENIED": 1},
        config=Config(deny=((p.CLIENT, 32),), foreign_ports=(p.WEB,))),
    Row(about="gate: a fragment has no port that could be foreign",
        steps=[rx("front", p.from_router(LATER_FRAGMENT), "drop")], counts={"DROP_FRAGMENT": 1},
        config=Config(foreign_ports=(0, p.WEB))),
]
# fmt: on
