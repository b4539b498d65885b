# SPDX-License-Identifier: Apache-2.0
"""The map `roles`: how many rows of each table a connection may have (`lib/roles.h`)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ipos.abi.codec import Codec
from ipos.abi.layout import constant, layout
from ipos.abi.rows import Settings
from ipos.agent.expiry import expiry_rules, notices
from native import roles
from native.values import Tc
from tests.support.golden import packets as p
from tests.support.golden.machine import LISTENER, Config, NativeMachine, configure
from tests.support.golden.rows_close import LIVE
from tests.support.golden.rows_handshake import KEY, OPENED
from tests.support.golden.rows_owner import OURS
from tests.support.golden.rows_request import forward

RAW = layout("ipos_tuple").pack(KEY)
ROWS = {"forward": forward(), "local": LIVE, "connect": OURS, "holding": {}}
MARK_LATE = constant("IPOS_MARK_LATE")


@pytest.fixture
def machine() -> Iterator[NativeMachine]:
    made = NativeMachine()
    made.listen([LISTENER])
    configure(made, Config())
    yield made
    made.close()


def word(machine: NativeMachine) -> int:
    return int(machine.table("roles")[roles.slot(RAW)])


@pytest.mark.parametrize("name", ROWS)
def test_rows_are_counted_where_python_says(machine: NativeMachine, name: str) -> None:
    machine.table(name)[KEY] = ROWS[name]
    told = {other: roles.count(word(machine), other) for other in ROWS}
    assert told == {other: int(other == name) for other in ROWS}
    del machine.table(name)[KEY]
    assert word(machine) == 0


@pytest.mark.parametrize("name", ROWS)
def test_the_agent_tells_what_it_has_taken(machine: NativeMachine, name: str) -> None:
    for other, row in ROWS.items():
        machine.table(other)[KEY] = row
    before = word(machine)
    raw = machine.node.store("settings").get(bytes(4))
    assert raw is not None
    settings, ends = Codec(Settings).decode(raw), expiry_rules.ENDS.read(RAW)
    frame = notices.taken_frame(settings, ends, roles.ROLES[name])
    unmarked = machine.node.ingress(frame, machine.ifindex("back"))
    assert (unmarked.verdict, word(machine)) == (Tc.SHOT, before)
    machine.node.ingress(frame, machine.ifindex("back"), MARK_LATE)
    assert word(machine) == before - (1 << roles.ROLES[name] * roles.BITS)
    nobody = notices.taken_frame(settings, ends, 4)
    machine.node.ingress(nobody, machine.ifindex("back"), MARK_LATE)
    assert word(machine) == before - (1 << roles.ROLES[name] * roles.BITS)


def test_a_count_does_not_run_over(machine: NativeMachine) -> None:
    """With as many rows in one slot as it counts, there is no room for one more."""
    most = (1 << roles.BITS) - 4096
    full = most << roles.ROLES["local"] * roles.BITS
    machine.table("temporary")[KEY] = OPENED
    machine.table("roles")[roles.slot(RAW)] = full
    frame = p.client("PA", p.HEAD)
    passed = machine.node.xdp(frame, machine.ifindex("front"))
    machine.node.ingress(passed.frame, machine.ifindex("front"))
    assert KEY not in machine.table("local")
    assert machine.counters()["DROP_TABLE_FULL"]
    assert roles.count(word(machine), "local") == most
    assert roles.count(word(machine), "connect") == 0
