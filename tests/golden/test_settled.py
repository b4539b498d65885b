# SPDX-License-Identifier: Apache-2.0
"""What XDP says, by its metadata, of a packet for a connection that lives here.

Four bytes that are always the same: tc has nothing to do, and GRO may merge it with others. Eight
that differ: tc may make another frame of it, nothing may be merged. None: tc takes note.
"""

from typing import Any

import pytest

from ipos.abi.layout import constant
from native.values import Xdp
from tests.support.golden import packets as p
from tests.support.golden.machine import LISTENER, Config, NativeMachine, configure
from tests.support.golden.rows_close import LIVE
from tests.support.golden.rows_handshake import KEY
from tests.support.golden.rows_migration import HEAD_END

_NOTHING, _TRACKS, _ALONE = 4, 0, 8


@pytest.mark.parametrize(
    ("flags", "changes", "config", "metadata"),
    [
        ("PA", {}, Config(), _NOTHING),
        ("A", {}, Config(), _NOTHING),
        ("FA", {}, Config(), _TRACKS),
        ("R", {}, Config(), _TRACKS),
        ("S", {}, Config(), _TRACKS),
        ("A", {"server_fin_seen": 1}, Config(), _TRACKS),
        ("A", {"flags": constant("IPOS_EP_HANDSHAKE")}, Config(), _TRACKS),
        ("A", {"follow": constant("IPOS_FOLLOW_LENGTH")}, Config(), _TRACKS),
        ("A", {"follow": constant("IPOS_FOLLOW_OPAQUE")}, Config(), _NOTHING),
        ("A", {}, Config(front_vlan=9), _TRACKS),
        ("PA", {"state": constant("IPOS_EP_ADOPTING")}, Config(), _ALONE),
        ("A", {"flags": constant("IPOS_EP_WAITING")}, Config(), _ALONE),
        ("A", {"flags": constant("IPOS_EP_MOVING")}, Config(), _ALONE),
    ],
)
def test_what_tc_has_to_do(
    flags: str, changes: dict[str, Any], config: Config, metadata: int
) -> None:
    machine = NativeMachine()
    try:
        machine.listen([LISTENER])
        configure(machine, config)
        machine.table("local")[KEY] = {**LIVE, **changes}
        data = b"more" if "P" in flags else b""
        frame = p.client(flags, data, seq=HEAD_END, vlan=config.front_vlan)
        outcome = machine.node.xdp(frame, machine.ifindex("front"))
    finally:
        machine.close()
    assert (outcome.verdict, outcome.metadata) == (Xdp.PASS, metadata)
