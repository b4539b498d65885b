# SPDX-License-Identifier: Apache-2.0
"""Clients that come by one of several front interfaces."""

from tests.support.golden import packets as p
from tests.support.golden.machine import Config, Out
from tests.support.golden.row import Row, rx, to_front
from tests.support.golden.uplinks import ELSEWHERE_MAC

_HERE, _OTHER = Config(uplinks=("front", "elsewhere")), Config(uplinks=("elsewhere", "front"))


def _by_other(frame: bytes, source: int) -> bytes:
    """The same frame on the other front interface: `source` is where our MAC address stands."""
    mac = bytes.fromhex(ELSEWHERE_MAC.replace(":", ""))
    return frame[:source] + mac + frame[source + 6 :]


# fmt: off
ROWS = [
    Row(about="uplinks: a SYN by the uplink of its service address is answered there",
        steps=[rx("front", p.syn(), "redirect", to_front(p.syn_ack()))],
        counts={"SYN_ACK": 1}, config=_HERE),
    Row(about="uplinks: a SYN by the other front interface is answered by that one",
        steps=[rx("elsewhere", _by_other(p.syn(), 0), "redirect",
                  Out("elsewhere", _by_other(p.syn_ack(), 6)))],
        counts={"SYN_ACK": 1}, config=_OTHER),
    Row(about="uplinks: what comes by another uplink than its service address's is dropped",
        steps=[rx("front", p.syn(), "drop"), rx("front", p.client("A"), "drop")],
        counts={"DROP_UPLINK": 2}, config=_OTHER),
    Row(about="uplinks: what is for no service passes, by whichever it comes",
        steps=[rx("front", p.syn(to_port=81), "to kernel")],
        counts={"PASSED": 1}, config=_OTHER),
]
# fmt: on
